"""A network that tells a decoder what a loop keeps, ahead too, and what it had before.

It adds to the first gates and to the logits of a CategoricalLstmDecoder, which alone
knows the latent and the step before. Its last layer begins with zeros, so that a network
without training changes nothing. Its variables lie beside the decoder's, in a scope
that stock Magenta does not look for.

`Known` things of a loop are numbers from 0 to 1, [loops, steps, KNOWN]: whether each
drum is hit, whether none is (see constraints.roll and slice_batches.hide) and whether
the bar is a fill. 0.5 is: not known.
"""
from magenta.models.music_vae import upstream
from magenta.models.music_vae.drum_classes import DRUM_CLASSES
import numpy as np
import tensorflow.compat.v1 as tf

SCOPE = 'completion'
DRUMS = len(DRUM_CLASSES)
KNOWN = DRUMS + 2
UNITS = 256
# Steps ago of which the network is told the hits, and steps ahead of which it is told
# what is known.
BEFORE = (1, 2, 3, 4, 6, 8, 12, 14, 15, 16, 17, 18, 24, 32, 48)
AHEAD = (0, 1, 2, 3, 4, 6, 8, 12, 15, 16, 17, 32, 48)
BITS = ((np.arange(2 ** DRUMS)[:, np.newaxis] >> np.arange(DRUMS)) & 1).astype(
    np.float32)


def _ahead(x, steps):
  """Returns what `x`, [loops, steps, depth], is so many steps ahead, or else zeros."""
  if steps >= 0:
    return tf.pad(x[:, steps:], [(0, 0), (0, steps), (0, 0)])
  return tf.pad(x[:, :steps], [(0, 0), (-steps, 0), (0, 0)])


def _dropped(x, rate):
  return tf.nn.dropout(x, rate=rate) if rate else x


class CompletionNetwork:
  """The variables, and what is known of a batch of loops."""

  def __init__(self, decoder: object, known: tf.Tensor, dropout: float = 0.):
    """Makes the variables.

    Args:
      decoder: A CategoricalLstmDecoder.
      known: [loops, steps, KNOWN].
      dropout: Share of the units that `all_steps` drops out; of the inputs a third of it.
    """
    self._dropout = dropout
    self._before = [n for n in BEFORE if n < known.shape[1]]
    ahead = [n for n in AHEAD if n < known.shape[1]]
    self._gates = 4 * decoder.hparams.dec_rnn_size[0]
    steps, depth = int(known.shape[1]), upstream.output_depth(decoder)
    with tf.variable_scope(SCOPE, reuse=tf.AUTO_REUSE):
      def variable(name, rows, columns, initializer=None):
        return tf.get_variable(name, [rows, columns], initializer=initializer)
      self._of_before = variable('before/kernel', len(self._before) * DRUMS, UNITS)
      of_ahead = variable('ahead/kernel', len(ahead) * 2 * KNOWN, UNITS)
      of_step = variable('step/kernel', steps, UNITS, tf.zeros_initializer())
      self._kernel = variable('output/kernel', UNITS, self._gates + depth,
                              tf.zeros_initializer())
    told = tf.concat([tf.cast(tf.equal(known, value), tf.float32)
                      for value in (1., 0.5)], axis=-1)
    # [loops, steps, UNITS].
    self._known = of_step + tf.tensordot(
        _dropped(tf.concat([_ahead(told, n) for n in ahead], axis=-1), dropout / 3),
        of_ahead, 1)

  def _outputs(self, hidden, dropout=0.):
    hidden = _dropped(tf.nn.relu(hidden), dropout)
    return tf.split(tf.tensordot(hidden, self._kernel, 1),
                    [self._gates, self._kernel.shape[1] - self._gates], axis=-1)

  def all_steps(self, loops: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what is added to gates and logits, [loops, steps, ...] each.

    Args:
      loops: Classes, [loops, steps].
    """
    bits = tf.gather(tf.constant(BITS), loops)
    before = _dropped(
        tf.concat([_ahead(bits, -n) for n in self._before], axis=-1), self._dropout / 3)
    return self._outputs(
        self._known + tf.tensordot(before, self._of_before, 1), self._dropout)

  def step(self, t: tf.Tensor, history: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what is added to a step's gates and logits, [batch, ...] each.

    Args:
      t: The step, a scalar.
      history: Classes of the steps before, the last one at the end, [batch, steps]; 0
        before the loop. As many of the batch are of each loop, in a row.
    """
    bits = tf.gather(tf.constant(BITS), tf.stack(
        [history[:, -n] for n in self._before], axis=1))
    known = tf.repeat(self._known[:, t],
                      int(history.shape[0]) // int(self._known.shape[0]), axis=0)
    return self._outputs(known + tf.matmul(
        tf.reshape(bits, [-1, len(self._before) * DRUMS]), self._of_before))
