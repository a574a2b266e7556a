"""Drum slices, packed: what a converter makes of NoteSequences, and back again.

DrumsConverter turns a performance into overlapping slices of 64 one-hot steps
of 512 classes. The class is a number with one bit a drum, so a slice is 64
integers, from which both the decoder's one-hot targets and the encoder's
piano roll follow.

GrooveConverter's slices are 64 steps of 27 numbers (hits, velocities, offsets
of nine drums). They are the decoder's targets, and as they are or without
velocities and offsets the encoder's inputs. A converter without a hop, as
upstream's groovae_ configs have it, is meant for the clips of TFDS's
groove/4bar-midionly; whole performances are cut as those clips are cut.
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

from magenta.models.music_vae import upstream
import numpy as np
import tensorflow.compat.v1 as tf
from tqdm.auto import tqdm


AHEAD = 4  # Records that wait for each core.


def can_pack(config):
  """Whether the config's data are fixed-length slices, all of them."""
  converter = config.data_converter
  return config.note_sequence_augmenter is None and (
      _can_pack_groove(converter) if is_groove(converter) else
      _can_pack_classes(converter))


def _can_pack_groove(converter):
  # It never looks at max_tensors_per_notesequence.
  return (bool(upstream.slice_bars(converter)) and
          not upstream.changes_hits(converter))


def _can_pack_classes(converter):
  return (type(converter).__name__ == 'DrumsConverter' and
          converter.max_tensors_per_notesequence is None and
          bool(upstream.slice_steps(converter)) and
          converter.end_token is None and
          upstream.has_roll_input(converter) and
          not upstream.has_roll_output(converter))


def is_groove(converter):
  """Whether slices are of hits, velocities and offsets, not of classes."""
  return type(converter).__name__ == 'GrooveConverter'


def no_slices(converter):
  if is_groove(converter):
    steps = upstream.slice_bars(converter) * upstream.steps_per_bar(converter)
    return np.zeros([0, steps, converter.output_depth], np.float32)
  return np.zeros([0, upstream.slice_steps(converter)], np.uint16)


def pack(note_sequence, converter):
  """Returns the slices of a NoteSequence.

  Those of a DrumsConverter are uint16, [slices, steps], sorted and different;
  those of a GrooveConverter float32, [slices, steps, 3 * drums], one after the
  other.
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


def all_windows(note_sequence, converter):
  """Returns a GrooveConverter's slices, float32 [slices, steps, 3 * drums]."""
  if not any(note.is_drum for note in note_sequence.notes):
    return no_slices(converter)
  outputs = converter.to_tensors(note_sequence).outputs
  return np.array(outputs, np.float32) if outputs else no_slices(converter)


def clips(note_sequence, converter):
  """Returns the slices of the clips that TFDS's groove data sets would have.

  tensorflow_datasets' groove_dataset_builder cuts a performance at every bar line:
  a note that begins before its clip or ends after it is not in it, nor is a last
  bar that is not half filled, and GrooveConverter makes nothing of a clip whose
  last bar has no hit. A clip is itself cut to just what it is.
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
  # A clip is a file, for which pretty_midi cuts the tempo off to microseconds. In
  # this order, for the last bit decides which step a hit between two belongs to.
  new_tick = 60 / (6e7 / int(6e7 / (60 / (tick_seconds * ticks))) * ticks)
  steps_per_second = steps_per_quarter * (60 / (new_tick * ticks)) / 60
  if abs(qpm - round(qpm)) < 0.01:  # It cuts by the beats a minute of info.csv.
    qpm = round(qpm)
  bar_seconds = steps_per_bar / steps_per_quarter * 60 / qpm
  classes = converter.pitch_class_map
  # The loudest hit of a step and drum counts, of several the first: it is last.
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
    # The last step is the one after the clip.
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
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # Of the parent's Ctrl-C it tells us.
  signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Whatever the parent does itself.
  threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
  """Ends this worker when its parent is killed, which can't tell it to."""
  connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)


def _work_on(item):
  return _function(item)


def _on_cores(cores, function, items):
  """Yields function(item) of each item, in order, made by forked processes.

  Never more than a few items ahead, so that neither these nor what is made of them
  fill the memory.
  """
  # Ended by messages: multiprocessing.Pool ends its workers by signals, which one
  # that is just being forked can lose, and then it is waited for without end.
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


def pack_each(records, parse, converter, total):
  """Yields what `pack` returns of each NoteSequence, with a progress bar.

  On all cores, and with as much memory as the few need that are worked on.

  Args:
    records: What NoteSequences are read from; an iterable of what can be pickled.
    parse: Returns a record's NoteSequence.
    converter: A DrumsConverter or GrooveConverter.
    total: How many records there are.
  """
  def pack_one(record):
    return pack(parse(record), converter)
  cores = min(os.cpu_count(), total)
  # Only a forked worker need not import TensorFlow for longer than it works;
  # on macOS forking is not safe, and Windows has none.
  forks = cores > 1 and sys.platform.startswith('linux')
  packed = _on_cores(cores, pack_one, records) if forks else map(pack_one, records)
  yield from tqdm(packed, total=total, desc='Converting to slices', unit='file')


def unpack(slices, converter):
  """Returns data.get_dataset's four tensors for a batch of slices.

  Args:
    slices: A batch of what `pack` returned.
    converter: The converter they were made with.

  Returns:
    inputs: bool, [batch, steps, drums + 1], the last says that no drum plays;
      with a GrooveConverter float32, [batch, steps, 3 * drums].
    outputs: bool, [batch, steps, 2 ** drums], one-hot; with a GrooveConverter
      float32, [batch, steps, 3 * drums].
    controls: bool, [batch, steps, control_depth]; if any, which drums play.
    lengths: int32, [batch].
  """
  batch, steps = tf.unstack(tf.shape(slices)[:2])
  lengths = tf.fill([batch], steps)
  if is_groove(converter):
    drums = upstream.drum_count(converter)
    hits = slices[..., :drums]
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
