"""A data set's splits: which file belongs to which, and the slices of each."""
import codecs
import collections
from collections.abc import Iterable, Iterator
import contextlib
import csv
import functools
import io
import os
import pathlib
from typing import TYPE_CHECKING
import unicodedata

from drumloops.errors import UserError, field, stage
from drumloops.system import disk
import numpy as np

if TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config

SPLITS = ('train', 'validation', 'test')
LEVELS_ABOVE = 2  # Folders in which to look for GMD's info.csv.
VALIDATION_EXAMPLES = 512  # To score a checkpoint with, in bounded time.
EMPTY = 'is empty', 'has no notes in it'  # What is wrong with some TFRecords.


class TooFewError(UserError):
  """A split gives no slice, or fewer than a batch takes."""


def split_path(examples_path: str | os.PathLike, split: str) -> str:
  """Returns where a split is kept, given where the train split is.

  Args:
    examples_path: TFRecord of the train split, such as drummer.tfrecord.
    split: One of SPLITS; drummer-test.tfrecord for 'test'.
  """
  path = os.path.expanduser(examples_path)
  path = path if '://' in path else os.path.normpath(path)
  stem, ending = os.path.splitext(path)
  return path if split == 'train' else f'{stem}-{split}{ending}'


def load_split(config: 'Config', examples_path: str | None, tfds_name: str | None,
               split: str) -> np.ndarray:
  """Returns a split's slices, as `packed_slices.pack` has them: [slices, steps, ...].

  Args:
    config: A config of drum slices.
    examples_path: TFRecord of the train split, beside which the others lie.
    tfds_name: TensorFlow Datasets name, instead of `examples_path`.
    split: 'train', 'validation' or 'test'.

  Raises:
    FileNotFoundError: if there is no such split.
    TooFewError: if it has no slice.
    UserError: if it is damaged.
  """
  from magenta.models.music_vae import slice_batches, slice_cache
  path = examples_path and split_path(examples_path, split)
  with naming_damage(path):
    slices = slice_cache.load_slices(
        config.data_converter, path, tfds_name, split)
    if not len(slices):
      raise TooFewError(
          f'{slice_batches.NO_SLICES} This is about the {split} split.')
  return slices


def pipeline_path(config: 'Config',
                  examples_path: str | None) -> str | list[str] | None:
  """Returns a path or pattern as the input pipeline of a config takes it.

  Raises:
    FileNotFoundError: if there are no such files.
  """
  from magenta.models.music_vae import checkpoints, packed_slices, slice_cache
  if not examples_path or packed_slices.can_pack(config):
    return examples_path
  return [checkpoints.plain(path) for path in slice_cache.find_files(examples_path)]


@contextlib.contextmanager
def naming_damage(examples_path: str | None) -> Iterator[None]:
  """Names the damaged TFRecord if what is done with TFRecords fails for its damage.

  Args:
    examples_path: TFRecord, or a pattern of them; without one it says nothing.

  Raises:
    UserError: which names it.
  """
  from google.protobuf import message
  from magenta.models.music_vae import slice_batches, slice_cache
  import tensorflow as tf
  try:
    yield
  except (tf.errors.OpError, message.DecodeError, TooFewError,
          slice_batches.NotEnoughExamples) as e:
    for path in slice_cache.find_files(examples_path) if examples_path else ():
      if damage := damage_of(path):
        raise (TooFewError if damage in EMPTY else UserError)(
            f'{disk.printable(path)} {damage}; make it again with '
            f'{stage("make_tfrecord.py")}, or name another.') from e
    raise


def damage_of(path: str) -> str | None:
  """Returns what is wrong with a TFRecord of NoteSequences, None if nothing is."""
  from google.protobuf import message
  import note_seq
  import tensorflow.compat.v1 as tf
  read, notes = 0, 0
  try:
    for record in tf.python_io.tf_record_iterator(path):
      notes += len(note_seq.NoteSequence.FromString(record).notes)
      read += 1
  except tf.errors.DataLossError:
    return (f'is damaged or truncated after NoteSequence {read}' if read else
            'is no TFRecord, or damaged from its beginning on')
  except message.DecodeError:
    return 'has something else in it than NoteSequences'
  return None if notes else EMPTY[min(read, 1)]


def evenly_spaced(slices: np.ndarray, most: int = VALIDATION_EXAMPLES) -> np.ndarray:
  """Returns `most` of the slices, evenly spaced, or all if there are no more."""
  count = min(len(slices), most)
  return slices[np.linspace(0, len(slices) - 1, count).astype(int)]


def bad_info(path: str | os.PathLike, what: str,
             other: str = 'rename it if it is not about splits') -> UserError:
  """Returns the error that says what is wrong with an info.csv, and what to do.

  Args:
    path: The file's.
    what: Is wrong: 'is damaged'.
    other: What the user can do, but for getting it again.
  """
  return UserError(
      f'{disk.printable(path)} {what}; delete it and get it again with '
      f'{stage("download_groove.py")}, or {other}.')


def read_info(path: str | os.PathLike,
              columns: Iterable[str]) -> list[dict[str, str]]:
  """Returns the rows of a data set's info.csv: {column: text}.

  It may come from a spreadsheet: with a BOM, with semicolons or tabs.

  Raises:
    UserError: if one of the columns is missing, or a row breaks off.
  """
  raw = pathlib.Path(path).read_bytes()
  if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
    text = raw.decode('utf-16', 'replace')
  else:
    text = disk.printable(os.fsdecode(raw.removeprefix(codecs.BOM_UTF8)))
  try:
    for delimiter in ',;\t':
      lines = io.StringIO(text, newline='')
      reader = csv.DictReader(lines, delimiter=delimiter)
      missing = [c for c in columns if c not in (reader.fieldnames or ())]
      if not missing:
        break
    else:
      raise bad_info(path, f'has no column {" and no column ".join(missing)}')
    rows = [row for row in reader if any(row.values())]
  except csv.Error as e:
    raise bad_info(path, f'is damaged ({e})') from e
  for number, row in enumerate(rows, 1):
    if None in [row[c] for c in columns]:
      raise bad_info(path, f'breaks off in its row {number}')
  return rows


def plain(name: str | os.PathLike) -> str:
  """Returns a path as it is compared: Windows and macOS write some otherwise."""
  name = disk.printable(name).replace('\\', '/')
  return os.path.normpath(unicodedata.normalize('NFC', name))


def read_info_splits(path: str | os.PathLike) -> dict[str, str]:
  """Returns {MIDI file: split} from an info.csv, the files by `plain` names.

  Raises:
    UserError: if it is damaged, or says two things of a file.
  """
  splits = {}
  for row in read_info(path, ('midi_filename', 'split')):
    name, split = plain(row['midi_filename']), row['split'].strip().lower()
    if split not in SPLITS:
      raise bad_info(path, f'has the split {split!r} of {name}, which is none '
                     f'of {", ".join(SPLITS)}')
    if splits.setdefault(name, split) != split:
      raise bad_info(path, f'has {name} both in the {splits[name]} and in the '
                     f'{split} split')
  return splits


def read_splits(input_dir: str, paths: list[str]) -> dict[str, str]:
  """Returns {path: split} of the paths that have an info.csv around them.

  The info.csv of the nearest folder counts. It must list all files there: a lost row
  must not make a performance of the test split train. Without one inside `input_dir`,
  one above it counts that lists any of them (input_dir may be one drummer's folder).

  Args:
    input_dir: Folder of MIDI files.
    paths: The files', relative to it.

  Raises:
    UserError: if an info.csv is damaged.
  """
  root = pathlib.Path(input_dir)
  has_info = functools.cache(lambda f: (root / f / 'info.csv').is_file())
  listed = collections.defaultdict(list)
  for path in paths:
    folder = next(filter(has_info, pathlib.PurePath(path).parents), None)
    if folder is not None:
      listed[folder].append(path)
  if not listed:
    return read_splits_above(root.resolve(), paths)
  found = {}
  for folder, inside in listed.items():
    info = root / folder / 'info.csv'
    splits = read_info_splits(info)
    names = {p: plain(pathlib.PurePath(p).relative_to(folder)) for p in inside}
    found.update(of_listed(info, names, splits))
  return found


def read_splits_above(root: pathlib.Path, paths: list[str]) -> dict[str, str]:
  """Returns what `read_splits` does, by an info.csv in a folder above `root`."""
  for folder in list(root.parents)[:LEVELS_ABOVE]:
    if not (folder / 'info.csv').is_file():
      continue
    names = {path: plain((root / path).relative_to(folder)) for path in paths}
    try:
      splits = read_info_splits(folder / 'info.csv')
    except UserError:
      continue  # It is about something else.
    if not splits.keys().isdisjoint(names.values()):
      return of_listed(folder / 'info.csv', names, splits)
  return {}


def of_listed(info: pathlib.Path, names: dict[str, str],
              splits: dict[str, str]) -> dict[str, str]:
  """Returns {path: split} of files that an info.csv lists.

  Args:
    info: Where the info.csv is.
    names: {path: the file's name in it}.
    splits: Of `read_info_splits`.

  Raises:
    UserError: if it does not list them all.
  """
  unknown = [name for name in names.values() if name not in splits]
  if unknown:
    raise bad_info(info, f'does not list {len(unknown)} of the {len(names)} '
                   f'MIDI files in its folder, such as {unknown[0]}',
                   'add them to it')
  return {path: splits[name] for path, name in names.items()}


def find_midi(input_dir: str, recursive: bool) -> list[str]:
  """Returns the MIDI files' paths relative to `input_dir`, sorted.

  Args:
    input_dir: A folder.
    recursive: Whether to look in its subfolders too.

  Raises:
    UserError: if there is no folder, or no MIDI file in it.
  """
  root = pathlib.Path(input_dir)
  name = disk.printable(input_dir)
  if not root.is_dir():
    raise UserError(f'There is no folder {name}.')
  paths = sorted(
      p.relative_to(root).as_posix()
      for p in (root.rglob('*') if recursive else root.glob('*'))
      if p.suffix.lower() in ('.mid', '.midi') and p.is_file())
  if not paths:
    raise UserError(
        f'There are no MIDI files in {name}' +
        ('.' if recursive else f'; {field("recursive")} looks in its subfolders too.'))
  return paths
