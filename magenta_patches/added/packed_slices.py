"""Drum slices, packed: converted once, cached, fed without any Python.

DrumsConverter turns a performance into overlapping slices of 64 one-hot steps
of 512 classes. The class is a number with one bit a drum, so a slice is 64
integers, from which both the decoder's one-hot targets and the encoder's
piano roll follow. They are kept beside the TFRecord they came from, in a file
whose name is a hash of the TFRecord's content and the converter's settings.

GrooveConverter's slices are 64 steps of 27 numbers (hits, velocities, offsets
of nine drums). They are the decoder's targets, and as they are or without
velocities and offsets the encoder's inputs. They are large and converted in
seconds, so they are not kept. A converter without a hop, as upstream's groovae_
configs have it, is meant for the clips of TFDS's groove/4bar-midionly; whole
performances are cut as those clips are cut.
"""
import copy
import glob
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import warnings
import zipfile

import note_seq
import numpy as np
import tensorflow.compat.v1 as tf
from tqdm.auto import tqdm


# Magenta's nine drums, in the order of its drum maps.
KICK, SNARE, CLOSED_HIHAT, OPEN_HIHAT = 0, 1, 2, 3
LOW_TOM, MID_TOM, HIGH_TOM, CRASH, RIDE = 4, 5, 6, 7, 8
STEPS_PER_BAR = 16


NO_SLICES = (
    'There is not one slice of drums in the data: a file gives slices if it has '
    'notes on MIDI channel 10, is in 4/4, has one tempo and is as long as a loop '
    'of the config (4 bars for most); scripts/make_tfrecord.py says which it was '
    'when it made the TFRecord.')


class NotEnoughExamples(ValueError):
  """There are fewer examples than one batch."""


class _LazyTfds:
  """`import tensorflow_datasets`, when it is first used.

  The tensorflow_metadata on Colab was generated for a newer protobuf than
  Colab's, whose version check then refuses it although it works; protobuf's
  own switch turns the check off during the import.
  """

  def __getattr__(self, name):
    switch = 'TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK'
    before = os.environ.get(switch)
    os.environ[switch] = 'true'
    try:
      import tensorflow_datasets  # pylint: disable=import-outside-toplevel
    finally:
      if before is None:
        del os.environ[switch]
      else:
        os.environ[switch] = before
    return getattr(tensorflow_datasets, name)


tfds = _LazyTfds()


def prepared_tfds(name):
  """Returns the TFDS builder `name`, downloaded and prepared.

  A local copy of the Groove MIDI Dataset's zip, named by the environment
  variable GROOVE_ZIP, is used instead of the network.

  Raises:
    FileNotFoundError: if TFDS has no data set of MIDI of this name.
  """
  try:
    builder = tfds.builder(name)
  except ValueError:  # TFDS's DatasetNotFoundError is one.
    builder = None
  if builder is None or 'midi' not in builder.info.features:
    raise FileNotFoundError(
        f'TensorFlow Datasets has no MIDI named {name}; for drums there are '
        'groove/full-midionly and groove/4bar-midionly.')
  zip_path = os.environ.get('GROOVE_ZIP')
  if not builder.data_path.exists() and 'bar' in name:
    print(f'TensorFlow Datasets makes {name} once, of some 14 clips a second, '
          'which takes about 20 minutes.', file=sys.stderr)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=os.path.dirname(os.path.abspath(zip_path))
      if zip_path else None))
  return builder


def can_pack(config):
  """Whether the config's data are fixed-length slices, all of them."""
  converter = config.data_converter
  if config.note_sequence_augmenter is not None:
    return False
  if is_groove(converter):  # It never looks at max_tensors_per_notesequence.
    return (bool(converter._split_bars) and not converter._split_instruments and
            not converter._categorical_outputs and not converter._tapify and
            not converter._add_instruments and not converter._note_dropout and
            not converter._fixed_velocities)
  return (type(converter).__name__ == 'DrumsConverter' and
          converter.max_tensors_per_notesequence is None and
          bool(converter._slice_steps) and
          converter.end_token is None and
          converter._roll_input and not converter._roll_output)


def is_groove(converter):
  """Whether slices are of hits, velocities and offsets, not of classes."""
  return type(converter).__name__ == 'GrooveConverter'


def _no_slices(converter):
  if is_groove(converter):
    return np.zeros([0, converter._split_bars * converter._steps_per_bar,
                     converter.output_depth], np.float32)
  return np.zeros([0, converter._slice_steps], np.uint16)


def pack(note_sequence, converter):
  """Returns the slices of a NoteSequence.

  Those of a DrumsConverter are uint16, [slices, steps], sorted and different;
  those of a GrooveConverter float32, [slices, steps, 3 * drums], one after the
  other.
  """
  if is_groove(converter):
    cut = clips if not converter._hop_size else all_windows
    return cut(note_sequence, converter)
  converter = copy.copy(converter)
  converter._roll_input = False  # The rolls follow from the classes.
  outputs = converter.to_tensors(note_sequence).outputs
  if not outputs:
    return _no_slices(converter)
  return np.unique(np.argmax(outputs, axis=-1).astype(np.uint16), axis=0)


def all_windows(note_sequence, converter):
  """Returns a GrooveConverter's slices, float32 [slices, steps, 3 * drums]."""
  if not any(note.is_drum for note in note_sequence.notes):
    return _no_slices(converter)
  outputs = converter.to_tensors(note_sequence).outputs
  return np.array(outputs, np.float32) if outputs else _no_slices(converter)


def clips(note_sequence, converter):
  """Returns the slices of the clips that TFDS's groove data sets would have.

  tensorflow_datasets' groove_dataset_builder cuts a performance at every bar line:
  a note that begins before its clip or ends after it is not in it, nor is a last
  bar that is not half filled, and GrooveConverter makes nothing of a clip whose
  last bar has no hit. A clip is itself cut to just what it is.
  """
  bars, steps_per_bar = converter._split_bars, converter._steps_per_bar
  hop = copy.copy(converter)
  hop._hop_size = steps_per_bar
  windows = all_windows(note_sequence, hop)
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
  steps_per_second = converter._steps_per_quarter * (60 / (new_tick * ticks)) / 60
  if abs(qpm - round(qpm)) < 0.01:  # It cuts by the beats a minute of info.csv.
    qpm = round(qpm)
  bar_seconds = steps_per_bar / converter._steps_per_quarter * 60 / qpm
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
    cells = np.zeros([bars * steps_per_bar + 1, 3, converter._num_drums],
                     np.float32)  # The last step is the one after the clip.
    cells[steps, :, drums[inside]] = np.stack(
        [np.ones(len(steps)), velocities[inside], 2 * (steps - times)], axis=1)
    kept.append(cells[:-1].reshape(len(cells) - 1, -1))
  return np.array(kept) if kept else windows[:0]


_work = None  # What `_pack_one` works on, in a worker process.


def _start_worker(work):
  global _work
  _work = work
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # The parent's Ctrl-C ends us,
  signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by this, whatever it does itself.


def _pack_one(i):
  reads, converter = _work
  return pack(reads[i](), converter)


def pack_all(reads, converter):
  """Packs many NoteSequences, on all cores, with a progress bar.

  Args:
    reads: A list of functions, each of which returns a NoteSequence.
    converter: A DrumsConverter or GrooveConverter.

  Returns:
    What `pack` returns, in the order of `reads`.
  """
  cores = min(os.cpu_count(), len(reads))
  def progress(results):
    return np.concatenate([_no_slices(converter)] + list(tqdm(
        results, total=len(reads), desc='Converting to slices', unit='file')))
  # Only a forked worker need not import TensorFlow for longer than it works;
  # on macOS forking is not safe, and Windows has none.
  if cores < 2 or not sys.platform.startswith('linux'):
    return progress(pack(read(), converter) for read in reads)
  with warnings.catch_warnings():
    # Python 3.12 warns of locks that a thread may hold; ours only run Python.
    warnings.simplefilter('ignore', DeprecationWarning)
    pool = multiprocessing.get_context('fork').Pool(
        cores, _start_worker, ((reads, converter),))
  try:
    packed = progress(pool.imap(_pack_one, range(len(reads)), chunksize=4))
    pool.close()  # Each ends by itself: a signal may find it half started.
  except BaseException:
    pool.terminate()
    raise
  finally:
    pool.join()
  return packed


def converter_settings(converter):
  """All that decides which slices a DrumsConverter makes, as JSON."""
  return json.dumps({
      'pitch_classes': [list(p) for p in converter._pitch_classes],
      'steps': converter._slice_steps,
      'hop': converter._steps_per_bar,
      'steps_per_quarter': converter._steps_per_quarter,
      'pad_to_total_time': converter._pad_to_total_time,
      'presplit': converter._presplit_on_time_changes,
      'extractor': converter._drums_extractor_fn.keywords,
  }, sort_keys=True)


def cached_slices(source_hash, cache_prefix, read_note_sequences, converter):
  """Returns all slices, from the cache or else converted and then cached.

  Args:
    source_hash: A hashlib hash of the data's content.
    cache_prefix: What the cache file's path begins with.
    read_note_sequences: Returns a list of functions, each of which returns a
      NoteSequence.
    converter: A converter of slices that `can_pack`.

  Returns:
    What `pack` returns, of all NoteSequences.
  """
  if is_groove(converter):
    return pack_all(read_note_sequences(), converter)
  source_hash.update(converter_settings(converter).encode())
  digest = source_hash.hexdigest()
  path = f'{cache_prefix}.{digest[:16]}.slices.npz'
  if os.path.exists(path):
    try:
      with zipfile.ZipFile(path) as archive:
        is_whole = archive.testzip() is None  # By checksums.
      with np.load(path) as cache:
        if is_whole and str(cache['digest']) == digest:
          return cache['slices']
    except Exception:  # Which error NumPy raises depends on the damage.
      pass
    print(f'Making the damaged cache {path} again.', file=sys.stderr)
  slices = pack_all(read_note_sequences(), converter)
  temporary = f'{path}.{os.getpid()}.tmp'
  try:
    with open(temporary, 'wb') as f:
      np.savez(f, digest=digest, slices=slices)
    os.replace(temporary, path)
  except OSError as e:
    print(f'The converted slices could not be kept in {path} ({e.strerror}); '
          'they will be converted again next time.', file=sys.stderr)
    if os.path.exists(temporary):
      os.remove(temporary)
  return slices


def find_files(examples_path):
  """Returns the TFRecord files of a path or a pattern, sorted.

  A pattern leaves out the validation and test splits of what it matches too, as
  scripts/make_tfrecord.py puts them beside it, and says so.

  Raises:
    FileNotFoundError: if there are none.
  """
  path = os.path.expanduser(examples_path)
  folder, name = os.path.split(path)
  found = ([path] if os.path.isfile(path) else  # It may have brackets in it.
           tf.gfile.Glob(path) if '://' in path else
           glob.glob(path) or
           glob.glob(os.path.join(glob.escape(folder), name)))
  if not found:
    raise FileNotFoundError(
        f'No TFRecord file matches {examples_path}; make one with '
        'scripts/make_tfrecord.py, or name another.')
  def is_other_split(path):
    stem, ending = os.path.splitext(path)
    return any(stem.endswith(split) and stem[:-len(split)] + ending in found
               for split in ('-validation', '-test'))
  others = sorted(filter(is_other_split, found))
  if others:
    print(f'{examples_path} matches other splits too, which are left out: '
          f'{", ".join(map(os.path.basename, others))}.', file=sys.stderr)
  return sorted(set(found) - set(others))


def fingerprint(paths):
  """Returns a hashlib hash of the content of files."""
  source_hash = hashlib.sha256()
  for path in paths:
    with open(path, 'rb') as f:
      while block := f.read(1 << 20):
        source_hash.update(block)
  return source_hash


def load_slices(converter, examples_path=None, tfds_name=None,
                split='train'):
  """Returns the slices of a TFRecord (or glob of them) or of a TFDS split.

  Raises:
    FileNotFoundError: if nothing matches `examples_path`.
    tf.errors.DataLossError: if a TFRecord is truncated or damaged.
  """
  if examples_path:
    paths = find_files(examples_path)
    def read_tfrecords():
      return [lambda r=r: note_seq.NoteSequence.FromString(r)
              for path in paths for r in tf.python_io.tf_record_iterator(path)]
    return cached_slices(
        fingerprint(paths), paths[0], read_tfrecords, converter)
  builder = prepared_tfds(tfds_name)
  def read_tfds():
    examples = tfds.as_numpy(builder.as_dataset(split=split))
    return [lambda midi=e['midi']: note_seq.midi_to_note_sequence(midi)
            for e in examples]
  return cached_slices(
      hashlib.sha256(f'{builder.info.full_name} {split}'.encode()),
      os.path.join(str(builder.data_dir), split), read_tfds, converter)


def unpack(slices, converter):
  """Returns `get_dataset`'s four tensors for a batch of slices.

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
    hits = slices[..., :converter._num_drums]
    inputs = slices if not converter._humanize else tf.concat(
        [hits, tf.zeros_like(slices[..., converter._num_drums:])], axis=-1)
    return inputs, slices, hits[..., :converter.control_depth] > 0, lengths
  slices = tf.cast(slices, tf.int32)
  drums = converter.input_depth - 1
  bits = tf.bitwise.bitwise_and(
      tf.expand_dims(slices, -1), tf.constant([1 << d for d in range(drums)]))
  inputs = tf.concat(
      [bits > 0, tf.expand_dims(tf.equal(slices, 0), -1)], axis=-1)
  outputs = tf.one_hot(slices, converter.output_depth, True, False, dtype=tf.bool)
  return inputs, outputs, tf.zeros([batch, steps, 0], tf.bool), lengths


def _exchange(slices, one, other):
  """Returns classes in which the drums (bits) `one` and `other` swap."""
  bits = tf.bitwise
  differ = bits.bitwise_and(
      bits.bitwise_xor(bits.right_shift(slices, one),
                       bits.right_shift(slices, other)), 1)
  return bits.bitwise_xor(slices, differ * ((1 << one) | (1 << other)))


def augment(slices, probability):
  """Returns slices some of which are changed in ways that keep them grooves.

  Each change is made to a slice with `probability`: its bars go round, the
  closed hi-hat and the ride swap, two toms swap, the crash is left out.

  Args:
    slices: int32, [batch, steps], of Magenta's nine drums.
    probability: Between 0 and 1.
  """
  batch, steps = tf.unstack(tf.shape(slices))
  def sometimes(changed):
    return tf.where_v2(
        tf.random.uniform([batch, 1]) < probability, changed, slices)
  shift = STEPS_PER_BAR * tf.random.uniform(
      [batch, 1], 0, steps // STEPS_PER_BAR, tf.int32)
  slices = sometimes(tf.gather(
      slices, (tf.range(steps)[tf.newaxis] + shift) % steps, batch_dims=1))
  slices = sometimes(_exchange(slices, CLOSED_HIHAT, RIDE))
  slices = sometimes(_exchange(slices, LOW_TOM, MID_TOM))
  slices = sometimes(_exchange(slices, MID_TOM, HIGH_TOM))
  return sometimes(tf.bitwise.bitwise_and(slices, ~(1 << CRASH)))


def batches(slices, converter, batch_size, is_training, seed=None,
            augment_probability=0.):
  """Returns a tf.data.Dataset of `unpack`ed batches of slices."""
  dataset = tf.data.Dataset.from_tensor_slices(slices)
  if is_training:
    dataset = dataset.shuffle(len(slices), seed=seed).repeat()
  dataset = dataset.batch(batch_size, drop_remainder=True)
  if is_training and augment_probability:
    dataset = dataset.map(
        lambda s: augment(tf.cast(s, tf.int32), augment_probability))
  return dataset.map(lambda s: unpack(s, converter)).prefetch(tf.data.AUTOTUNE)


def get_dataset(config, is_training, seed=None):
  """Does what `data.get_dataset` does for configs that `can_pack` accepts.

  Training shuffles the whole data anew each epoch and repeats for ever; with
  a `seed`, or a graph-level one, always in the same order.

  Raises:
    NotEnoughExamples: if there is not even one batch.
  """
  batch_size = config.hparams.batch_size
  converter = config.data_converter
  slices = load_slices(
      converter,
      config.train_examples_path if is_training else config.eval_examples_path,
      config.tfds_name, 'train' if is_training else 'validation')
  if not len(slices):
    raise NotEnoughExamples(NO_SLICES)
  if len(slices) < batch_size:
    raise NotEnoughExamples(
        f'There are {len(slices)} examples, but a batch takes {batch_size}; '
        f'use more data or a smaller batch (--hparams=batch_size='
        f'{max(1, min(64, len(slices)))}).')
  return batches(slices, converter, batch_size, is_training, seed,
                 config.hparams.get('augment_probability', 0.))
