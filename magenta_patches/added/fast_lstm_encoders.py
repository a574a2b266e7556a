"""The encoders of lstm_models.py by fast_lstm_layers.

A bidirectional encoder runs each layer in both directions. A hierarchical encoder
encodes the segments of a level as one batch, since each depends on itself alone.
"""
from magenta.models.music_vae import fast_lstm_layers as layers
from magenta.models.music_vae import lstm_utils
from magenta.models.music_vae import upstream
import numpy as np
import tensorflow.compat.v1 as tf


def encode(
    encoder: object, sequence: tf.Tensor, sequence_length: tf.Tensor) -> tf.Tensor:
  """Does what BidirectionalLstmEncoder.encode does, without residual connections.

  Args:
    encoder: A BidirectionalLstmEncoder that has been built.
    sequence: [batch, steps, depth].
    sequence_length: [batch], in steps; 0 gives zeros, as upstream has it.

  Returns:
    The last outputs of both directions, [batch, 2 * units].
  """
  hparams, batch = encoder.hparams, int(sequence.shape[0])
  keep_prob = layers.keep_prob(encoder)
  def reverse(x):  # Each sequence up to its length.
    return tf.reverse_sequence(x, sequence_length, seq_axis=0, batch_axis=1)
  forward = tf.transpose(sequence, [1, 0, 2])
  with tf.variable_scope(upstream.scope(encoder)):
    for layer, units in enumerate(hparams.enc_rnn_size):
      zeros = tf.zeros([batch, units])
      outputs = []
      for name, x in (('fw', forward), ('bw', reverse(forward))):
        outputs.append(layers.run_layer(
            f'cell_{layer}/bidirectional_rnn/{name}/multi_rnn_cell/cell_0',
            layers.masked(x, layers.dropout_mask(tf.shape(x), keep_prob)), units,
            (zeros, zeros))[0])
      forward = tf.concat([outputs[0], reverse(outputs[1])], axis=2)
  last = tf.stack([tf.maximum(sequence_length - 1, 0), tf.range(batch)], axis=1)
  return tf.where(
      sequence_length > 0,
      tf.concat([tf.gather_nd(h, last) for h in outputs], axis=1),
      tf.zeros([batch, 2 * units]))


def encode_hierarchy(
    encoder: object, sequence: tf.Tensor, sequence_length: tf.Tensor) -> tf.Tensor:
  """Does what HierarchicalLstmEncoder.encode does, a level at once.

  Args:
    encoder: A HierarchicalLstmEncoder that has been built.
    sequence: [batch, steps, depth].
    sequence_length: [batch], in steps.

  Returns:
    The last level's embedding, [batch, 2 * units].
  """
  batch = int(sequence.shape[0])
  lengths = lstm_utils.maybe_split_sequence_lengths(
      sequence_length, np.prod(upstream.level_lengths(encoder)[1:]),
      upstream.total_length(encoder))
  for level, (segments, core) in enumerate(upstream.level_encoders(encoder)):
    split = tf.split(sequence, segments, axis=1)
    if level:  # Embeddings, of which none is missing.
      lengths = tf.fill([batch, segments], split[0].shape[1])
    embeddings = core.encode(tf.concat(split, axis=0),
                             tf.reshape(tf.transpose(lengths), [-1]))
    sequence = tf.stack(tf.split(embeddings, segments), axis=1)
  with tf.control_dependencies([tf.assert_equal(tf.shape(sequence)[1], 1)]):
    return sequence[:, 0]
