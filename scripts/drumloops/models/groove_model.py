"""The graphs of groove models that are told the hits: how patterns are played.

GrooVAE (Gillick et al. 2019, arXiv 1905.06118). Slices of performances are float32,
[slices, 64, 27]: hits, velocities from 0 to 1 and offsets of nine drums, as
GrooveConverter has them (from -1 to 1, in half steps, early is more than 0). Models
that draw strokes have 64 numbers a step: see stroke_converter.
"""
import collections
import functools
import os
from concurrent import futures
from collections.abc import Sequence
from typing import Any

from drumloops import grid
from drumloops.models import graph
from drumloops.runs import checkpoint_files
import numpy as np
import threadpoolctl
from tqdm.auto import tqdm

BATCH_SIZE = 64
STROKE_BATCH_SIZE = 128
TEMPERATURES = 0.9, 0.95  # Of velocities, and of offsets: chosen on validation.


def flat(hits: np.ndarray) -> np.ndarray:
  """Returns slices of which only the hits are known, [..., 27], of [..., 9]."""
  hits = np.asarray(hits, np.float32)
  return np.concatenate([hits, np.zeros_like(hits), np.zeros_like(hits)], axis=-1)


def load(config: Any, checkpoint: str) -> 'MeanModel | StrokeModel':
  """Returns the model of a checkpoint.

  Raises:
    UserError: if the checkpoint is of another config.
  """
  from magenta.models.music_vae import packed_slices
  has_strokes = packed_slices.has_strokes(config.data_converter)
  return (StrokeModel if has_strokes else MeanModel)(config, checkpoint)


class MeanModel(graph.ModelGraph):
  """A model that gives each hit the mean of what drummers play.

  Attributes:
    pitch_classes: The config's drum map: MIDI pitches of each drum.
    longest: How many steps it plays at a time, None for any number.
  """

  def __init__(self, config: Any, checkpoint: str):
    """Builds the graph and restores `checkpoint`; see `load`."""
    from magenta.models.music_vae import upstream
    self.pitch_classes = upstream.pitch_classes(config.data_converter)
    self.longest = config.hparams.max_seq_len
    super().__init__(config, BATCH_SIZE, checkpoint)

  def _build(self) -> None:
    z = self._encode().loc
    self._played = self._decode_hits(z)

  def _decode_hits(self, z: Any) -> Any:
    """Returns performances of the hits of `_slices`: [batch, steps, 27].

    The pattern is not the model's to change: the decoder reads which drums are hit.
    Of its own outputs it reads the velocities and offsets of those only.

    Args:
      z: Latents, [batch, z_size].
    """
    import tensorflow.compat.v1 as tf
    from magenta.contrib import seq2seq
    from magenta.models.music_vae import upstream
    depth = self.config.data_converter.output_depth
    hits = self._slices[..., :grid.DRUMS]

    def reads(outputs, time):
      return tf.concat([outputs, z, tf.gather(hits, time, axis=1)], axis=1)

    def played(time, outputs, state):
      del state
      _, velocities, offsets = tf.split(outputs, 3, axis=-1)
      now = tf.gather(hits, time, axis=1)
      return tf.concat(
          [now, now * tf.sigmoid(velocities), now * tf.tanh(offsets)], axis=1)

    helper = seq2seq.CustomHelper(
        initialize_fn=lambda: (
            tf.zeros([BATCH_SIZE], tf.bool),
            reads(tf.zeros([BATCH_SIZE, depth]), 0)),
        sample_fn=played,
        next_inputs_fn=lambda time, outputs, state, sample_ids: (
            False, reads(sample_ids, tf.minimum(time + 1, self.steps - 1)), state),
        sample_ids_shape=[depth], sample_ids_dtype=tf.float32)
    return upstream.decode(
        self.model.decoder, z, helper, tf.TensorShape([
            depth + self.z_size + grid.DRUMS]), self.steps).samples

  def play(self, hits: Sequence[np.ndarray], progress: str | None = None
           ) -> list[np.ndarray]:
    """Returns how sections are played: a slice of each, [steps, 27].

    Args:
      hits: Of each, bool [steps, 9].
      progress: What a progress bar says, if there shall be one.
    """
    # A batch, played step by step, keeps hardly more than one core busy.
    return list(self._run(self._played, {self._slices: flat(np.array(hits))},
                          progress=progress, threads=os.cpu_count()))


class StrokeModel:
  """A model that draws how many strokes each hit has, and how these are played.

  Attributes:
    pitch_classes: The config's drum map: MIDI pitches of each drum.
    longest: How many steps it plays at a time, None for any number.
  """
  longest = None

  def __init__(self, config: Any, checkpoint: str):
    """Reads `checkpoint`; see `load`."""
    from magenta.models.music_vae import stroke_network, upstream
    self.pitch_classes = upstream.pitch_classes(config.data_converter)
    self._config, self._checkpoint = config, checkpoint
    hparams = config.hparams
    self._weights = checkpoint_files.read_weights(
        checkpoint, stroke_network.shapes(hparams.dec_rnn_size[0], hparams.z_size),
        'decoder/')

  @functools.cached_property
  def _encoder(self) -> '_Encoder':
    return _Encoder(self._config, BATCH_SIZE, self._checkpoint)

  def encode(self, slices: np.ndarray, progress: str | None = None
             ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the latents' means and deviations: two of [slices, z_size]."""
    return self._encoder.encode(slices, progress)

  def play(self, hits: Sequence[np.ndarray], qpm: Sequence[float], z: np.ndarray,
           chance: Sequence[np.ndarray], ornaments: float = 0.,
           progress: str | None = None) -> list[np.ndarray]:
    """Returns how sections are played: a slice of each, [steps, 64].

    Args:
      hits: Of each, bool [steps, 9]; of any number of steps.
      qpm: Their tempos, in quarters a minute.
      z: Latents, [sections, z_size].
      chance: Uniform numbers, [steps, 9, stroke_network.CHANCE] of each.
      ornaments: How likely several strokes are, as a share of how likely drummers'
        are.
      progress: What a progress bar says, if there shall be one.
    """
    from magenta.models.music_vae import stroke_converter, stroke_network
    told = [np.concatenate([section, np.full([len(section), 1], np.log2(
        tempo / stroke_converter.TEMPO))], axis=1) for section, tempo in zip(hits, qpm)]
    rows_of = collections.defaultdict(list)  # By length.
    for i, section in enumerate(hits):
      rows_of[len(section)].append(i)
    batches = [rows[begin:begin + STROKE_BATCH_SIZE] for rows in rows_of.values()
               for begin in range(0, len(rows), STROKE_BATCH_SIZE)]
    def draw(rows: list[int]) -> np.ndarray:
      return stroke_network.draw(
          self._weights, np.array([told[i] for i in rows]), z[rows],
          np.array([chance[i] for i in rows]), ornaments, TEMPERATURES)
    # Matrices are small, so several threads for a product would wait for each other.
    with threadpoolctl.threadpool_limits(1, 'blas'), (
        futures.ThreadPoolExecutor(os.cpu_count())) as pool:
      found = list(tqdm(pool.map(draw, batches), desc=progress, total=len(batches),
                        unit='batch', leave=False,
                        disable=progress is None or len(batches) < 2))
    played = {i: section for rows, sections in zip(batches, found)
              for i, section in zip(rows, sections)}
    return [played[i] for i in range(len(hits))]


class _Encoder(graph.ModelGraph):
  """The graph of a StrokeModel's encoder."""

  def _build(self) -> None:
    posterior = self._encode()
    self._posterior = posterior.loc, posterior.stddev()

  def encode(self, slices: np.ndarray, progress: str | None) -> tuple:
    """Returns what StrokeModel.encode does."""
    return self._run(self._posterior, {self._slices: slices}, progress=progress,
                     threads=os.cpu_count())
