"""The graph of a groove model that is told the hits: performances of patterns.

GrooVAE (Gillick et al. 2019, arXiv 1905.06118). Slices of performances are float32,
[slices, 64, 27]: hits, velocities from 0 to 1 and offsets of nine drums, as
GrooveConverter has them (from -1 to 1, in half steps, early is more than 0).
"""
import copy
import os
from typing import Any, Callable

from drumloops import grid
from drumloops.models import graph
import numpy as np

BATCH_SIZE = 64
CHANCE = 4 * grid.DRUMS  # Numbers a step that `play` gives to its `spread`.


def flat(hits: np.ndarray) -> np.ndarray:
  """Returns slices of which only the hits are known, [..., 27], of [..., 9]."""
  hits = np.asarray(hits, np.float32)
  return np.concatenate([hits, np.zeros_like(hits), np.zeros_like(hits)], axis=-1)


class GrooveModel(graph.ModelGraph):
  """A model that gives hits their velocities and offsets.

  Attributes:
    pitch_classes: The config's drum map: MIDI pitches of each drum.
  """

  def __init__(self, config: Any, checkpoint: str):
    """Builds the graph and restores `checkpoint`.

    Raises:
      UserError: if the checkpoint is of another config.
    """
    from magenta.models.music_vae import upstream
    self.pitch_classes = upstream.pitch_classes(config.data_converter)
    self._spreads = {}  # Of the batches that are being played, by number.
    super().__init__(config, BATCH_SIZE, checkpoint)

  def _build(self) -> None:
    import tensorflow.compat.v1 as tf
    posterior = self._encode()
    self._posterior = posterior.loc, posterior.stddev()
    self._z = tf.placeholder(tf.float32, [BATCH_SIZE, self.z_size])
    self._chance = tf.placeholder(tf.float32, [BATCH_SIZE, self.steps, CHANCE])
    self._batch = tf.placeholder(tf.int32, [BATCH_SIZE])
    self._said = _velocities_and_offsets(self._reconstruct(self._z)[1])
    self._played = self._decode_hits()

  def _decode_hits(self) -> Any:
    """Returns performances of the hits of `_slices`: [batch, steps, 27].

    The pattern is not the model's to change: the decoder reads which drums are hit.
    Of its own outputs it reads the velocities and offsets of those only.
    """
    import tensorflow.compat.v1 as tf
    from magenta.contrib import seq2seq
    from magenta.models.music_vae import upstream
    depth = self.config.data_converter.output_depth
    hits = self._slices[..., :grid.DRUMS]

    def reads(outputs, time):
      return tf.concat([outputs, self._z, tf.gather(hits, time, axis=1)], axis=1)

    def played(time, outputs, state):
      del state
      said, now = _velocities_and_offsets(outputs), tf.gather(hits, time, axis=1)
      values = tf.numpy_function(
          self._draw, [self._batch, time, now, said, self._chance[:, time]],
          tf.float32)
      values.set_shape(said.shape)
      return tf.concat([now, values * tf.tile(now, [1, 2])], axis=1)

    helper = seq2seq.CustomHelper(
        initialize_fn=lambda: (
            tf.zeros([BATCH_SIZE], tf.bool),
            reads(tf.zeros([BATCH_SIZE, depth]), 0)),
        sample_fn=played,
        next_inputs_fn=lambda time, outputs, state, sample_ids: (
            False, reads(sample_ids, tf.minimum(time + 1, self.steps - 1)), state),
        sample_ids_shape=[depth], sample_ids_dtype=tf.float32)
    return upstream.decode(
        self.model.decoder, self._z, helper, tf.TensorShape([
            depth + self.z_size + grid.DRUMS]), self.steps).samples

  def _draw(self, batch, *step):
    """Returns what a batch's spread makes of a step: [batch, 18]."""
    return self._spreads[batch[0]](*step)

  def encode(self, slices: np.ndarray, progress: str | None = None
             ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the latents' means and deviations: two of [slices, z_size]."""
    return self._run(self._posterior, {self._slices: slices}, progress=progress,
                     threads=os.cpu_count())

  def say(self, slices: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the decoder's velocities and offsets, given the true steps before.

    Args:
      slices: [slices, 64, 27].
      z: Latents, [slices, z_size].

    Returns:
      Velocities and offsets of all drums: [slices, 64, 18].
    """
    return self._run(self._said, {self._slices: slices, self._z: z},
                     threads=os.cpu_count())

  def play(self, hits: np.ndarray, z: np.ndarray, spread: Callable | None = None,
           chance: np.ndarray | None = None, progress: str | None = None
           ) -> np.ndarray:
    """Returns how hits are played.

    Args:
      hits: [slices, 64, 9].
      z: Latents, [slices, z_size].
      spread: Changes, step by step, the decoder's velocities and offsets: a
        `feel_model.Spread`.
      chance: What its `chance` returned, [slices, 64, CHANCE].
      progress: What a progress bar says, if there shall be one.

    Returns:
      Slices of performances, [slices, 64, 27].
    """
    if spread is None:
      chance = np.zeros([len(hits), self.steps, CHANCE], np.float32)
      def spread(step, hits, said, chance):
        return said
    batches = np.arange(len(hits)) // BATCH_SIZE
    # Each its own, for it remembers what it has played.
    self._spreads = {batch: copy.copy(spread) for batch in set(batches)}
    # A batch, played step by step, keeps hardly more than one core busy.
    return self._run(
        self._played, {self._slices: flat(hits), self._z: z, self._chance: chance,
                       self._batch: batches}, progress=progress,
        threads=os.cpu_count())


def _velocities_and_offsets(outputs):
  """Returns velocities, 0 to 1, and offsets, -1 to 1, of the decoder's outputs."""
  import tensorflow.compat.v1 as tf
  _, velocities, offsets = tf.split(outputs, 3, axis=-1)
  return tf.concat([tf.sigmoid(velocities), tf.tanh(offsets)], axis=-1)
