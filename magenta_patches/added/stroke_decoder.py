"""A decoder that draws how each hit is played: see stroke_network.

Nothing is recurrent, so training takes all hits of a batch at once.
"""
import types

from magenta.contrib import training as contrib_training
from magenta.models.music_vae import base_model
from magenta.models.music_vae import data
from magenta.models.music_vae import lstm_models
from magenta.models.music_vae import stroke_network
from magenta.models.music_vae.drum_classes import BARS, STEPS_PER_BAR, STEPS_PER_QUARTER
from magenta.models.music_vae.stroke_converter import StrokeConverter
from magenta.models.music_vae.stroke_network import CHANCE, DRUMS, MEMORY, STROKES
import numpy as np
import tensorflow.compat.v1 as tf


def _convolve(x, kernel, width):
  return tf.nn.conv1d(x, tf.reshape(
      kernel, [width, x.shape[-1], kernel.shape[-1]]), 1, 'VALID')


def _products(x, y, width):
  """Returns sums of products, x's rows and y's, in the `width` steps before each."""
  sums = tf.cumsum(x[..., np.newaxis] * y[..., np.newaxis, :], axis=1, exclusive=True)
  return sums[:, width:] - sums[:, :-width]


def _ops(kept):
  """Returns what stroke_network.Network computes with.

  Args:
    kept: Share of a layer's outputs that are not dropped out.
  """
  def hidden(x):
    x = tf.nn.relu(x)
    return x if kept == 1 else tf.nn.dropout(x, rate=1 - kept)
  return types.SimpleNamespace(
      concat=lambda parts: tf.concat(parts, axis=-1), stack=tf.stack, repeat=tf.repeat,
      dot=lambda x, kernel: tf.tensordot(x, kernel, 1),
      # tf.gather has gradients that upstream's training can't clip.
      embed=lambda rows, values: tf.tensordot(
          tf.one_hot(values, rows.shape[0]), rows, 1),
      convolve=_convolve, products=_products, hidden=hidden, sum=tf.reduce_sum,
      maximum=tf.maximum, minimum=tf.minimum, sqrt=tf.sqrt, tanh=tf.tanh,
      argmax=tf.argmax, einsum=tf.einsum, floor=lambda x: tf.to_int32(tf.floor(x)),
      number=tf.to_float, swap=tf.linalg.matrix_transpose,
      pad=lambda x, before, after: tf.pad(x, [(0, 0), (before, after), (0, 0)]))


def _variable(name, shape):
  kind = name.rpartition('/')[2]
  return tf.get_variable(
      name, shape, initializer=tf.variance_scaling_initializer(2.) if kind == 'kernel'
      else tf.ones_initializer() if kind == 'gain' else tf.zeros_initializer())


class StrokeDecoder(base_model.BaseDecoder):
  """See the module. The hyperparameter `dec_rnn_size` has the units of a layer."""

  def build(self, hparams: object, output_depth: int, is_training: bool = True) -> None:
    """Makes the variables."""
    self._hidden_share = hparams.get('input_dropout', 0.) if is_training else 0.
    [units] = hparams.dec_rnn_size
    self._network = stroke_network.Network(
        _ops(hparams.dropout_keep_prob if is_training else 1.), _variable, units)
    with tf.variable_scope('decoder', reuse=tf.AUTO_REUSE):
      self._losses(tf.zeros([1, STEPS_PER_BAR, output_depth]),
                   tf.zeros([1, hparams.z_size]), tf.zeros([1, STEPS_PER_BAR, DRUMS + 1]))

  def reconstruction_loss(
      self, x_input: tf.Tensor, x_target: tf.Tensor, x_length: tf.Tensor,
      z: tf.Tensor | None = None, c_input: tf.Tensor | None = None) -> tuple:
    """Returns the nats of each slice's strokes, given its hits: [batch], and metrics.

    Args:
      x_input: Unused; `x_target` has it, a step later.
      x_target: Slices, [batch, steps, 64].
      x_length: Unused; slices are whole.
      z: Latents, [batch, z_size].
      c_input: Hits and tempo, [batch, steps, 10].
    """
    del x_input, x_length
    with tf.variable_scope('decoder', reuse=tf.AUTO_REUSE):
      losses, slices = self._losses(x_target, z, c_input)
    loss = tf.math.unsorted_segment_sum(
        tf.add_n(list(losses.values())), slices, x_target.shape[0])
    return loss, {f'metrics/{name}_nats': tf.metrics.mean(nats)
                  for name, nats in losses.items()}

  def _losses(self, target, z, controls):
    """Returns the nats of hits, {what: [hits]}, and the slices of these, [hits]."""
    network = self._network
    hits, *played = tf.split(target[..., :-1], 1 + 2 * STROKES, axis=-1)
    steps = hits.shape[1]
    known = network.known(hits, *played[:2])
    heard = known
    if self._hidden_share:
      heard *= tf.to_float(
          tf.random.uniform([*hits.shape[:2], 1]) >= self._hidden_share)
    context, own, again, pairs = network.memory(
        tf.pad(heard, [(0, 0), (MEMORY, 0), (0, 0)]))
    context += network.plan(controls, z, tf.range(steps))
    cells = tf.where(hits > 0)  # Rows of slice, step and drum.
    drum = tf.to_int32(cells[:, 2])
    before = tf.tile(tf.to_float(tf.sequence_mask(drum, DRUMS)), [1, 4])
    now = tf.gather_nd(known, cells[:, :2]) * before
    own, again, pairs = (tf.gather_nd(x, cells) for x in (own, again, pairs))
    beside = network.beside(now, pairs)
    features = network.features(
        tf.gather_nd(context, cells[:, :2]), own, drum, now, beside)
    velocities, offsets = ([tf.gather_nd(x, cells) for x in part]
                           for part in (played[::2], played[1::2]))
    strokes = [(network.velocity_bin(v), network.offset_bin(o))
               for v, o in zip(velocities, offsets)]
    count = tf.add_n([tf.to_int32(v > 0) for v in velocities[1:]])
    first = last = strokes[0]
    losses = {
        'strokes': _nats(count, network.count(features)),
        'velocity': _nats(first[0], network.velocity(features, count, again, beside)),
        'offset': _nats(first[1], network.offset(
            features, count, first[0], again, beside, now)),
        'more': tf.zeros(tf.shape(count))}
    for i, stroke in enumerate(strokes[1:]):
      rows = tf.where(count > i)
      features_, count_, *bins = (tf.gather_nd(x, rows) for x in (
          features, count, *first, *last, *stroke))
      hidden = network.more(i, features_, count_, *bins[:4])
      losses['more'] += tf.scatter_nd(
          rows, _nats(bins[4], network.more_velocity(hidden)) +
          _nats(bins[5], network.more_offset(hidden, bins[4])),
          tf.shape(count, out_type=tf.int64))
      last = stroke
    return losses, cells[:, 0]

  def sample(self, n: int, max_length: int | None = None, z: tf.Tensor | None = None,
             c_input: tf.Tensor | None = None, temperature: tf.Tensor | float = 1.
             ) -> tuple[tf.Tensor, None]:
    """Returns how hits are played: slices, [n, max_length, 64], and no more results.

    Args:
      n: Slices.
      max_length: Steps.
      z: Latents, [n, z_size].
      c_input: Hits and tempo of all, [max_length, 10], or of each, [n, max_length, 10].
      temperature: How random velocities and offsets are.
    """
    chance = tf.random.uniform([n, max_length, DRUMS, CHANCE])
    controls = tf.broadcast_to(c_input, [n, max_length, DRUMS + 1])
    variables = {v.op.name.removeprefix('decoder/'): v for v in tf.get_collection(
        tf.GraphKeys.TRAINABLE_VARIABLES, 'decoder/')}
    def draw(controls, z, chance, temperature, *values):
      return stroke_network.draw(dict(zip(variables, values)), controls, z, chance,
                                 temperatures=(temperature, temperature))
    drawn = tf.numpy_function(
        draw, [controls, z, chance, temperature, *variables.values()], tf.float32)
    drawn.set_shape([n, None, stroke_network.DEPTH])
    return drawn, None  # As upstream's decoders, whose second is of a step.


def _nats(bins, logits):
  return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=bins, logits=logits)


def register(config_map: dict) -> None:
  """Adds `groovae_4bar_strokes` to Magenta's CONFIG_MAP."""
  of_hits = config_map['groovae_4bar_hits_control']
  config_map['groovae_4bar_strokes'] = of_hits._replace(
      model=base_model.MusicVAE(
          lstm_models.BidirectionalLstmEncoder(), StrokeDecoder()),
      hparams=contrib_training.HParams(**{
          **of_hits.hparams.values(), 'enc_rnn_size': [128], 'dec_rnn_size': [256],
          'z_size': 32, 'free_bits': 24., 'max_beta': 1., 'dropout_keep_prob': 0.8,
          'input_dropout': 0.05, 'decay_rate': 0.9996, 'min_learning_rate': 5e-5}),
      data_converter=StrokeConverter(
          split_bars=BARS, hop_size=STEPS_PER_BAR,
          steps_per_quarter=STEPS_PER_QUARTER,
          pitch_classes=data.ROLAND_DRUM_PITCH_CLASSES,
          inference_pitch_classes=data.REDUCED_DRUM_PITCH_CLASSES))
