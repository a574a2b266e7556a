"""Where slices come from: TFRecords or TFDS, by way of a cache on disk.

A config's slices are kept beside the TFRecord they came from, in a file whose name
is a hash of the TFRecord's content and the converter's settings: NAME.slices has
them one after the other as they are, NAME.slices.npz how many are of each
NoteSequence. They are mapped into memory, which so need not hold them.
"""
import contextlib
import functools
import glob
import hashlib
import json
import os
import sys
import tempfile
import zlib

from magenta.models.music_vae import groove_tfds
from magenta.models.music_vae import packed_slices
from magenta.models.music_vae import upstream
import note_seq
import numpy as np
import tensorflow.compat.v1 as tf


def converter_settings(converter):
  """All that decides which slices a converter makes, as JSON."""
  if packed_slices.is_groove(converter):
    return json.dumps({
        'pitch_classes': sorted(converter.pitch_class_map.items()),
        'bars': upstream.slice_bars(converter),
        'hop': upstream.hop_size(converter),
        'steps_per_bar': upstream.steps_per_bar(converter),
        'steps_per_quarter': upstream.steps_per_quarter(converter),
    }, sort_keys=True)
  return json.dumps({
      'pitch_classes': [list(p) for p in upstream.pitch_classes(converter)],
      'steps': upstream.slice_steps(converter),
      'hop': upstream.steps_per_bar(converter),
      'steps_per_quarter': upstream.steps_per_quarter(converter),
      'pad_to_total_time': upstream.pads_to_total_time(converter),
      'presplit': upstream.presplits_on_time_changes(converter),
      'extractor': upstream.extractor_settings(converter),
  }, sort_keys=True)


@functools.cache
def _scratch():
  """A folder for what can't be kept, which goes when the program ends."""
  return tempfile.TemporaryDirectory()


def cached_slices(source_hash, cache_prefix, read, converter):
  """Returns slices, from the cache or else converted and then cached.

  Args:
    source_hash: A hashlib hash of the data's content.
    cache_prefix: What the cache file's path begins with.
    read: Returns the arguments of packed_slices.pack_each but the converter.
    converter: A converter of slices that packed_slices.can_pack.

  Returns:
    All slices, memory-mapped, of the dtype and shape that packed_slices.pack has
    them, and how many are of each NoteSequence.
  """
  source_hash.update(converter_settings(converter).encode())
  digest = source_hash.hexdigest()
  path = f'{cache_prefix}.{digest[:16]}.slices'
  if os.path.exists(path + '.npz'):
    try:
      return _open(path, digest, converter)
    except Exception:  # Which error NumPy raises depends on the damage.
      print(f'Making the damaged or older cache {path} again.', file=sys.stderr)
  def convert(path):
    records, parse, total = read()
    with contextlib.closing(packed_slices.pack_each(
        records, parse, converter, total)) as packed:
      _write(path, digest, packed)
    return _open(path, digest, converter)
  try:
    return convert(path)
  except OSError as e:
    print(f'The converted slices could not be kept in {path} ({e.strerror}); '
          'they will be converted again next time.', file=sys.stderr)
    return convert(os.path.join(_scratch().name, os.path.basename(path)))


def _write(path, digest, packed):
  """Writes the two files of a cache; they appear once they are complete."""
  counts, checksum = [], 0
  unfinished = [f'{name}.{os.getpid()}.tmp' for name in (path, path + '.npz')]
  try:
    with open(unfinished[0], 'wb') as f:
      for slices in packed:
        checksum = zlib.crc32(slices.tobytes(), checksum)
        f.write(slices.tobytes())
        counts.append(len(slices))
    counts = np.array(counts, np.int64)
    with open(unfinished[1], 'wb') as f:
      np.savez(f, digest=digest, counts=counts,
               checksum=zlib.crc32(counts.tobytes(), checksum))
    os.replace(unfinished[0], path)
    os.replace(unfinished[1], path + '.npz')
  finally:
    for name in unfinished:
      if os.path.exists(name):
        os.remove(name)


def _open(path, digest, converter):
  """Returns what `cached_slices` does.

  Raises:
    Exception: of some kind, if a file is missing, damaged or of other data.
  """
  with np.load(path + '.npz') as index:
    counts, checksum = index['counts'], index['checksum']
    if str(index['digest']) != digest:
      raise ValueError('it is of other data')
  found = 0
  with open(path, 'rb') as f:
    while block := f.read(1 << 20):
      found = zlib.crc32(block, found)
  if zlib.crc32(counts.tobytes(), found) != checksum:
    raise ValueError('it is damaged')
  empty = packed_slices.no_slices(converter)
  if not counts.sum():  # There is nothing to map.
    return empty, counts
  return np.memmap(path, empty.dtype, 'r', shape=(
      counts.sum(), *empty.shape[1:])), counts


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

  Memory-mapped, in the order of the files; of which dtype and shape
  packed_slices.pack says.

  Raises:
    FileNotFoundError: if nothing matches `examples_path`.
    tf.errors.DataLossError: if a TFRecord is truncated or damaged.
  """
  return _load(converter, examples_path, tfds_name, split)[0]


def load_each(converter, examples_path=None, tfds_name=None, split='train'):
  """Returns what `load_slices` does, as a list of those of each NoteSequence."""
  slices, counts = _load(converter, examples_path, tfds_name, split)
  return np.split(slices, np.cumsum(counts)[:-1])


def _load(converter, examples_path, tfds_name, split):
  if examples_path:
    paths = find_files(examples_path)
    def records():
      return (r for path in paths for r in tf.python_io.tf_record_iterator(path))
    return cached_slices(
        fingerprint(paths), paths[0], lambda: (
            records(), note_seq.NoteSequence.FromString, sum(1 for _ in records())),
        converter)
  builder = groove_tfds.prepared(tfds_name)
  def read_tfds():
    examples = groove_tfds.tfds.as_numpy(builder.as_dataset(split=split))
    return ((e['midi'] for e in examples), note_seq.midi_to_note_sequence,
            builder.info.splits[split].num_examples)
  return cached_slices(
      hashlib.sha256(f'{builder.info.full_name} {split}'.encode()),
      os.path.join(str(builder.data_dir), split), read_tfds, converter)
