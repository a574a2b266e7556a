"""Loads slices from TFRecords or TFDS, through a cache on disk.

The cache lies beside the TFRecord. Its name has a hash of the TFRecord's content and
of the converter's settings:

  NAME.slices      the slices, one after the other
  NAME.slices.npz  how many slices each NoteSequence has, and a checksum

The slices are memory-mapped, so memory need not hold them all.
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
from collections.abc import Callable

from magenta.models.music_vae import groove_tfds
from magenta.models.music_vae import packed_slices
from magenta.models.music_vae import upstream
import note_seq
import numpy as np
import tensorflow.compat.v1 as tf


def converter_settings(converter: object) -> str:
  """Returns all settings on which a converter's slices depend, as JSON."""
  if packed_slices.is_groove(converter):
    return json.dumps({
        'pitch_classes': sorted(converter.pitch_class_map.items()),
        'bars': upstream.slice_bars(converter),
        'hop': upstream.hop_size(converter),
        'steps_per_bar': upstream.steps_per_bar(converter),
        'steps_per_quarter': upstream.steps_per_quarter(converter),
        **({'depth': converter.output_depth} if packed_slices.has_strokes(converter)
           else {}),
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
  """A folder for caches that can't be kept; it is removed when the program ends."""
  return tempfile.TemporaryDirectory()


def cached_slices(
    source_hash: object, cache_prefix: str, read: Callable[[], tuple],
    converter: object) -> tuple[np.ndarray, np.ndarray]:
  """Returns slices, from the cache or else converted and then cached.

  Args:
    source_hash: A hashlib hash of the data's content.
    cache_prefix: What the cache file's path begins with.
    read: Returns records, parse and total, as packed_slices.pack_each takes them.
    converter: Of a config that packed_slices.can_pack.

  Returns:
    All slices, memory-mapped, of packed_slices.pack's dtype and shape, and how many
    each NoteSequence has, int64 [sequences].
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


def find_files(examples_path: str) -> list[str]:
  """Returns the TFRecord files of a path or a pattern, sorted.

  scripts/make_tfrecord.py puts the validation and test splits beside a TFRecord. Where
  a pattern matches them too, they are left out, and a line on stderr names them.

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


def fingerprint(paths: list[str]) -> object:
  """Returns a hashlib hash of the content of files."""
  source_hash = hashlib.sha256()
  for path in paths:
    with open(path, 'rb') as f:
      while block := f.read(1 << 20):
        source_hash.update(block)
  return source_hash


def load_slices(converter: object, examples_path: str | None = None,
                tfds_name: str | None = None, split: str = 'train') -> np.ndarray:
  """Returns the slices of a TFRecord, or else of a TFDS split, memory-mapped.

  Args:
    converter: Of a config that packed_slices.can_pack; decides dtype and shape, see
      packed_slices.pack.
    examples_path: A TFRecord, or a pattern of them; the slices are in their order.
    tfds_name: A data set of TensorFlow Datasets.
    split: Of the TFDS data set.

  Raises:
    FileNotFoundError: if nothing matches `examples_path`.
    tf.errors.DataLossError: if a TFRecord is truncated or damaged.
  """
  return _load(converter, examples_path, tfds_name, split)[0]


def load_each(
    converter: object, examples_path: str | None = None, tfds_name: str | None = None,
    split: str = 'train') -> list[np.ndarray]:
  """Returns what `load_slices` does, as a list: the slices of each NoteSequence."""
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
