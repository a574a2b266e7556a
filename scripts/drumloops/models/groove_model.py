"""The graph of a groove model that is told the hits: what it hears, what it plays.

GrooVAE (Gillick et al. 2019, arXiv 1905.06118). Slices of performances are float32,
[slices, 64, 27]: hits, velocities from 0 to 1 and offsets of nine drums, as
GrooveConverter has them (from -1 to 1, in half steps, early is more than 0).
"""
import concurrent.futures
import copy
import os

from drumloops import grid
from drumloops.runs import checkpoint_files
import numpy as np
from tqdm.auto import tqdm

BATCH_SIZE = 64
CHANCE = 4 * grid.DRUMS


def flat(hits):
  """Returns slices of which only the hits are known: from [slices, 64, 9]."""
  hits = np.asarray(hits, np.float32)
  return np.concatenate([hits, np.zeros_like(hits), np.zeros_like(hits)], axis=-1)


class GrooveModel:
  """A model that gives hits their velocities and offsets."""

  def __init__(self, config, checkpoint):
    """Builds the graph and restores `checkpoint`.

    The pattern is not the model's to change: the decoder reads which drums play,
    and of its own outputs only the velocities and offsets of those.

    Raises:
      UserError: if the checkpoint is of another config.
    """
    import tensorflow.compat.v1 as tf
    from magenta.contrib import seq2seq
    from magenta.models.music_vae import packed_slices
    from magenta.models.music_vae import upstream
    config = copy.deepcopy(config)
    model, hparams = config.model, config.hparams
    hparams.batch_size = BATCH_SIZE
    depth = config.data_converter.output_depth
    self.steps, self.z_size = hparams.max_seq_len, hparams.z_size
    self.pitch_classes = upstream.pitch_classes(config.data_converter)
    self._spreads = {}  # Of the batches that are being played, by number.
    with tf.Graph().as_default(), tf.variable_scope('', reuse=tf.AUTO_REUSE):
      model.build(hparams, depth, is_training=False)
      self._slices = tf.placeholder(tf.float32, [BATCH_SIZE, self.steps, depth])
      inputs, _, controls, lengths = packed_slices.unpack(
          self._slices, config.data_converter)
      lengths.set_shape([BATCH_SIZE])
      posterior = model.encode(inputs, lengths, controls)
      self._posterior = posterior.loc, posterior.stddev()
      self._z = tf.placeholder(tf.float32, [BATCH_SIZE, self.z_size])
      self._chance = tf.placeholder(
          tf.float32, [BATCH_SIZE, self.steps, CHANCE])
      self._batch = tf.placeholder_with_default(0, [])
      hits = self._slices[..., :grid.DRUMS]

      def says(outputs):
        _, velocities, offsets = tf.split(outputs, 3, axis=-1)
        return tf.concat([tf.sigmoid(velocities), tf.tanh(offsets)], axis=-1)

      _, _, forced = model.decoder.reconstruction_loss(
          tf.pad(self._slices[:, :-1], [(0, 0), (1, 0), (0, 0)]), self._slices,
          lengths, self._z, tf.to_float(controls))
      self._said = says(forced.rnn_output)

      def reads(outputs, time):
        return tf.concat([outputs, self._z, tf.gather(hits, time, axis=1)], axis=1)

      def played(time, outputs, state):
        del state
        said, now = says(outputs), tf.gather(hits, time, axis=1)
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
              False, reads(sample_ids, tf.minimum(time + 1, self.steps - 1)),
              state),
          sample_ids_shape=[depth], sample_ids_dtype=tf.float32)
      self._played = upstream.decode(
          model.decoder, self._z, helper, tf.TensorShape([
              depth + self.z_size + grid.DRUMS]), self.steps).samples
      self._sess = tf.Session()
      checkpoint_files.restore(tf.train.Saver(), self._sess, checkpoint)

  def _draw(self, batch, *step):
    spread = self._spreads[int(batch)]
    return step[2] if spread is None else spread(*step)

  def _run(self, fetches, feeds, progress=None, spread=None):
    def run(i):
      n = min(BATCH_SIZE, count - i)
      self._spreads[i] = copy.copy(spread)  # It remembers what it has played.
      result = self._sess.run(fetches, {self._batch: i, **{
          key: np.pad(value[i:i + n], [(0, BATCH_SIZE - n)] +
                      [(0, 0)] * (value.ndim - 1))
          for key, value in feeds.items()}})
      del self._spreads[i]
      return [part[:n] for part in result]
    count = len(next(iter(feeds.values())))
    starts = range(0, count, BATCH_SIZE)
    # A batch, played step by step, keeps hardly more than one core busy.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor:
      parts = list(tqdm(
          executor.map(run, starts), total=len(starts), desc=progress, unit='batch',
          disable=progress is None or len(starts) < 2, leave=False))
    return [np.concatenate(part) for part in zip(*parts)]

  def encode(self, slices, progress=None):
    """Returns the latents' means and deviations: two of [slices, z_size]."""
    return self._run(self._posterior, {self._slices: slices}, progress)

  def say(self, slices, z):
    """Returns what the decoder says of each step, given the true ones before.

    Returns:
      Velocities and offsets of all drums: [slices, 64, 18].
    """
    return self._run([self._said], {self._slices: slices, self._z: z})[0]

  def play(self, hits, z, spread=None, chance=None, progress=None):
    """Returns how hits are played.

    Args:
      hits: [slices, 64, 9].
      z: Latents, [slices, z_size].
      spread: Says, step by step, what is played instead of what the decoder says: a
        `feel_model.Spread`.
      chance: What it calls so, [slices, 64, CHANCE].
      progress: What a progress bar calls this, if there shall be one.

    Returns:
      Slices of performances.
    """
    if spread is None:
      chance = np.zeros([len(hits), self.steps, CHANCE], np.float32)
    return self._run([self._played], {
        self._slices: flat(hits), self._z: z, self._chance: chance}, progress,
                     spread)[0]
