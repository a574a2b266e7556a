"""Where slices come from: TFRecords or TFDS, by way of a cache on disk.

A drum config's slices are kept beside the TFRecord they came from, in a file whose
name is a hash of the TFRecord's content and the converter's settings. Those of
GrooveConverter are large and converted in seconds, so they are not kept.
"""
import glob
import hashlib
import json
import os
import sys
import zipfile

from magenta.models.music_vae import groove_tfds
from magenta.models.music_vae import packed_slices
from magenta.models.music_vae import upstream
import note_seq
import numpy as np
import tensorflow.compat.v1 as tf


def converter_settings(converter):
  """All that decides which slices a DrumsConverter makes, as JSON."""
  return json.dumps({
      'pitch_classes': [list(p) for p in upstream.pitch_classes(converter)],
      'steps': upstream.slice_steps(converter),
      'hop': upstream.steps_per_bar(converter),
      'steps_per_quarter': upstream.steps_per_quarter(converter),
      'pad_to_total_time': upstream.pads_to_total_time(converter),
      'presplit': upstream.presplits_on_time_changes(converter),
      'extractor': upstream.extractor_settings(converter),
  }, sort_keys=True)


def cached_slices(source_hash, cache_prefix, read_note_sequences, converter):
  """Returns slices, from the cache or else converted and then cached.

  Args:
    source_hash: A hashlib hash of the data's content.
    cache_prefix: What the cache file's path begins with.
    read_note_sequences: Returns a list of functions, each of which returns a
      NoteSequence.
    converter: A converter of slices that packed_slices.can_pack.

  Returns:
    A list of what packed_slices.pack returns of each NoteSequence.
  """
  if packed_slices.is_groove(converter):
    return packed_slices.pack_each(read_note_sequences(), converter)
  source_hash.update(converter_settings(converter).encode())
  digest = source_hash.hexdigest()
  path = f'{cache_prefix}.{digest[:16]}.slices.npz'
  if os.path.exists(path):
    try:
      with zipfile.ZipFile(path) as archive:
        is_whole = archive.testzip() is None  # By checksums.
      with np.load(path) as cache:
        if is_whole and str(cache['digest']) == digest:
          return np.split(cache['slices'], np.cumsum(cache['counts'])[:-1])
    except Exception:  # Which error NumPy raises depends on the damage.
      pass
    print(f'Making the damaged or older cache {path} again.', file=sys.stderr)
  slices = packed_slices.pack_each(read_note_sequences(), converter)
  temporary = f'{path}.{os.getpid()}.tmp'
  try:
    with open(temporary, 'wb') as f:
      np.savez(f, digest=digest, counts=[len(s) for s in slices],
               slices=np.concatenate(
                   [packed_slices.no_slices(converter)] + slices))
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
  """Returns all slices that `load_each` does, in one array."""
  return np.concatenate([packed_slices.no_slices(converter)] + load_each(
      converter, examples_path, tfds_name, split))


def load_each(converter, examples_path=None, tfds_name=None, split='train'):
  """Returns the slices of a TFRecord (or glob of them) or of a TFDS split.

  A list of those of each NoteSequence, in the order of the files.

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
  builder = groove_tfds.prepared(tfds_name)
  def read_tfds():
    examples = groove_tfds.tfds.as_numpy(builder.as_dataset(split=split))
    return [lambda midi=e['midi']: note_seq.midi_to_note_sequence(midi)
            for e in examples]
  return cached_slices(
      hashlib.sha256(f'{builder.info.full_name} {split}'.encode()),
      os.path.join(str(builder.data_dir), split), read_tfds, converter)
