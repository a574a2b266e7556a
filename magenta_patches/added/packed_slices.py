"""Drum slices, packed: from NoteSequences to few numbers, and from these to tensors.

A DrumsConverter cuts a performance into overlapping slices of 64 steps of 512 classes.
A class is a number with one bit a drum, so a slice is 64 integers. The decoder's
one-hot targets and the encoder's piano roll follow from them.

A GrooveConverter's slices are 64 steps of 27 numbers: hits, velocities (0 to 1) and
offsets (-1 to 1, in half steps) of nine drums. They are the decoder's targets. The
encoder's inputs are the same, or have zeros for velocities and offsets. Upstream's
groovae_ configs have no hop, since they are for the clips of TFDS's
groove/4bar-midionly. With them, whole performances are cut as those clips are. A
StrokeConverter's slices have 64 numbers a step: see there.
"""
import collections
from concurrent import futures
import multiprocessing
from multiprocessing import connection
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator

from magenta.models.music_vae import upstream
import note_seq
import numpy as np
import tensorflow.compat.v1 as tf
from tqdm.auto import tqdm


AHEAD = 4  # Records that wait for each core.


def can_pack(config: object) -> bool:
  """Whether this module converts a config's data: drums in fixed-length slices."""
  converter = config.data_converter
  return config.note_sequence_augmenter is None and (
      _can_pack_groove(converter) if is_groove(converter) else
      _can_pack_classes(converter))


def _can_pack_groove(converter):
  # GrooveConverter never reads max_tensors_per_notesequence.
  return (bool(upstream.slice_bars(converter)) and
          not upstream.changes_hits(converter))


def _can_pack_classes(converter):
  return (type(converter).__name__ == 'DrumsConverter' and
          converter.max_tensors_per_notesequence is None and
          bool(upstream.slice_steps(converter)) and
          converter.end_token is None and
          upstream.has_roll_input(converter) and
          not upstream.has_roll_output(converter))


def is_groove(converter: object) -> bool:
  """Whether slices have hits, velocities and offsets, not classes."""
  return type(converter).__name__ == 'GrooveConverter' or has_strokes(converter)


def has_strokes(converter: object) -> bool:
  """Whether they have all strokes of a hit, and the tempo."""
  return type(converter).__name__ == 'StrokeConverter'


def no_slices(converter: object) -> np.ndarray:
  """Returns an array of no slices, of `pack`'s dtype and shape."""
  if is_groove(converter):
    steps = upstream.slice_bars(converter) * upstream.steps_per_bar(converter)
    return np.zeros([0, steps, converter.output_depth], np.float32)
  return np.zeros([0, upstream.slice_steps(converter)], np.uint16)


def pack(note_sequence: note_seq.NoteSequence, converter: object) -> np.ndarray:
  """Returns the slices of a NoteSequence.

  Args:
    note_sequence: A performance.
    converter: Of a config that `can_pack`.

  Returns:
    With a DrumsConverter the different slices, sorted, uint16 [slices, steps]; with a
    GrooveConverter all slices in order, float32 [slices, steps, 3 * drums].
  """
  if is_groove(converter):
    cut = all_windows if upstream.hop_size(converter) else clips
    return cut(note_sequence, converter)
  # The rolls follow from the classes.
  converter = upstream.changed(converter, roll_input=False)
  outputs = converter.to_tensors(note_sequence).outputs
  if not outputs:
    return no_slices(converter)
  return np.unique(np.argmax(outputs, axis=-1).astype(np.uint16), axis=0)


def all_windows(note_sequence: note_seq.NoteSequence, converter: object) -> np.ndarray:
  """Returns a GrooveConverter's slices, float32 [slices, steps, 3 * drums]."""
  if not any(note.is_drum for note in note_sequence.notes):
    return no_slices(converter)
  outputs = converter.to_tensors(note_sequence).outputs
  return np.array(outputs, np.float32) if outputs else no_slices(converter)


def clips(note_sequence: note_seq.NoteSequence, converter: object) -> np.ndarray:
  """Returns the slices of the clips that TFDS's groove data sets would have.

  tensorflow_datasets' groove_dataset_builder begins a clip at every bar line. A note
  that begins before its clip, or ends after it, is left out. So is a last bar that is
  not half filled. GrooveConverter makes no slice of a clip whose last bar has no hit.
  A sequence that is a clip already gives one slice, its own.

  Returns:
    float32, [slices, steps, 3 * drums].
  """
  bars = upstream.slice_bars(converter)
  steps_per_bar = upstream.steps_per_bar(converter)
  steps_per_quarter = upstream.steps_per_quarter(converter)
  windows = all_windows(
      note_sequence, upstream.changed(converter, hop_size=steps_per_bar))
  if not len(windows):  # It is too short, or not in 4/4.
    return windows
  end = max([note_sequence.total_time] + [e.time for events in (
      note_sequence.control_changes, note_sequence.pitch_bends,
      note_sequence.tempos, note_sequence.time_signatures) for e in events])
  qpm, ticks = note_sequence.tempos[0].qpm, note_sequence.ticks_per_quarter
  tick_seconds = 60 / (qpm * ticks)
  # A clip is a file, for which pretty_midi rounds the tempo down to microseconds. The
  # order of operations counts: the last bit decides the step of a hit between two.
  new_tick = 60 / (6e7 / int(6e7 / (60 / (tick_seconds * ticks))) * ticks)
  steps_per_second = steps_per_quarter * (60 / (new_tick * ticks)) / 60
  if abs(qpm - round(qpm)) < 0.01:  # TFDS cuts by the beats a minute of info.csv.
    qpm = round(qpm)
  bar_seconds = steps_per_bar / steps_per_quarter * 60 / qpm
  classes = converter.pitch_class_map
  # The loudest hit of a step and drum counts, of equal ones the first. It comes last
  # here, and overwrites the others below.
  notes = sorted((n for n in reversed(note_sequence.notes)
                  if n.is_drum and n.pitch in classes), key=lambda n: n.velocity)
  starts, ends = (np.array([getattr(n, name) for n in notes])
                  for name in ('start_time', 'end_time'))
  drums = np.array([classes[n.pitch] for n in notes])
  velocities = np.array([n.velocity / 127 for n in notes])
  kept = []
  for i in range(int(round(end / bar_seconds)) - bars + 1):
    begin = i * bar_seconds
    inside = (starts >= begin) & (ends <= (i + bars) * bar_seconds)
    times = np.round((starts[inside] - begin) / tick_seconds) * new_tick * (
        steps_per_second)
    steps = np.floor(times + 0.5).astype(int)
    if not len(steps) or steps.max() < (bars - 1) * steps_per_bar:
      continue
    # The last row is for hits that round to the step after the clip.
    cells = np.zeros([bars * steps_per_bar + 1, 3, upstream.drum_count(converter)],
                     np.float32)
    cells[steps, :, drums[inside]] = np.stack(
        [np.ones(len(steps)), velocities[inside], 2 * (steps - times)], axis=1)
    kept.append(cells[:-1].reshape(len(cells) - 1, -1))
  return np.array(kept) if kept else windows[:0]


_function = None  # What a worker process does.


def _start_worker(function):
  global _function
  _function = function
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent ends this on Ctrl-C.
  signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Not the parent's handler.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
  """Ends this worker when its parent is killed, which can't tell it to."""
  connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)


def _work_on(item):
  return _function(item)


def _on_cores(cores, function, items):
  """Yields function(item) of each item, in order, computed by forked processes.

  They are only a few items ahead, so that neither items nor results fill the memory.
  """
  # This pool ends its workers by messages. multiprocessing.Pool ends them by signals;
  # a worker that is just being forked can lose its signal and is waited for for ever.
  pool = futures.ProcessPoolExecutor(
      cores, multiprocessing.get_context('fork'), _start_worker, (function,))
  pending = collections.deque()
  try:
    for item in items:
      with warnings.catch_warnings():
        # Python 3.12 warns of locks that a thread may hold; ours only run Python.
        warnings.simplefilter('ignore', DeprecationWarning)
        pending.append(pool.submit(_work_on, item))
      if len(pending) > AHEAD * cores:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)


def pack_each(
    records: Iterable, parse: Callable, converter: object,
    total: int) -> Iterator[np.ndarray]:
  """Yields what `pack` returns for each NoteSequence, with a progress bar.

  All cores work. Memory holds only the records that are worked on.

  Args:
    records: Of NoteSequences; each can be pickled.
    parse: Returns a record's NoteSequence.
    converter: Of a config that `can_pack`.
    total: Number of records.
  """
  def pack_one(record):
    return pack(parse(record), converter)
  cores = min(os.cpu_count(), total)
  # A worker that is not forked would import TensorFlow for longer than it works. On
  # macOS forking is not safe, and Windows can't.
  forks = cores > 1 and sys.platform.startswith('linux')
  packed = _on_cores(cores, pack_one, records) if forks else map(pack_one, records)
  yield from tqdm(packed, total=total, desc='Converting to slices', unit='file')


def unpack(
    slices: tf.Tensor,
    converter: object) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
  """Returns data.get_dataset's four tensors for a batch of slices.

  Args:
    slices: A batch of what `pack` returned.
    converter: The converter they were made with.

  Returns:
    inputs: bool, [batch, steps, drums + 1]; the last is true where no drum is hit.
      With a GrooveConverter float32, [batch, steps, input_depth].
    outputs: bool, [batch, steps, 2 ** drums], one-hot; with a GrooveConverter
      float32, [batch, steps, output_depth].
    controls: bool, [batch, steps, control_depth]: the hits, or of depth 0. With a
      StrokeConverter float32, the hits and the tempo.
    lengths: int32, [batch], in steps.
  """
  batch, steps = tf.unstack(tf.shape(slices)[:2])
  lengths = tf.fill([batch], steps)
  if is_groove(converter):
    drums = upstream.drum_count(converter)
    hits = slices[..., :drums]
    if has_strokes(converter):
      return slices, slices, tf.concat([hits, slices[..., -1:]], axis=-1), lengths
    inputs = slices if not upstream.is_humanizing(converter) else tf.concat(
        [hits, tf.zeros_like(slices[..., drums:])], axis=-1)
    return inputs, slices, hits[..., :converter.control_depth] > 0, lengths
  slices = tf.cast(slices, tf.int32)
  drums = converter.input_depth - 1
  bits = tf.bitwise.bitwise_and(
      tf.expand_dims(slices, -1), tf.constant([1 << d for d in range(drums)]))
  inputs = tf.concat(
      [bits > 0, tf.expand_dims(tf.equal(slices, 0), -1)], axis=-1)
  outputs = tf.one_hot(slices, converter.output_depth, True, False, dtype=tf.bool)
  return inputs, outputs, tf.zeros([batch, steps, 0], tf.bool), lengths
