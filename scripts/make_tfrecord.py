"""Converts a folder of MIDI files into a TFRecord of NoteSequences.

    python3 scripts/make_tfrecord.py --input_dir=dataset/groove/ \
        --output_file=dataset/drummer.tfrecord --recursive

The Groove MIDI Dataset has an official split: drummer.tfrecord then holds the
train split, drummer-validation.tfrecord and drummer-test.tfrecord the others.
"""
import collections
import csv
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
from absl import flags
from tqdm import tqdm


def split_path(output_file, split):
  """Where a split is kept: the train split under the name that was asked for."""
  path = pathlib.Path(output_file)
  return path if split == 'train' else path.with_name(
      f'{path.stem}-{split}{path.suffix}')


def read_splits(input_dir):
  """Returns {MIDI file: split} from the folder's info.csv, {} without one."""
  info = pathlib.Path(input_dir) / 'info.csv'
  if not info.is_file():
    return {}
  with open(info, newline='') as f:
    return {row['midi_filename']: row['split'] for row in csv.DictReader(f)
            if 'midi_filename' in row and 'split' in row}


def find_midi(input_dir, recursive):
  """Returns the MIDI files' paths relative to `input_dir`, sorted."""
  root = pathlib.Path(input_dir)
  if not root.is_dir():
    raise common.UserError(f'There is no folder {input_dir}.')
  paths = sorted(
      p.relative_to(root).as_posix()
      for p in (root.rglob('*') if recursive else root.glob('*'))
      if p.suffix.lower() in ('.mid', '.midi') and p.is_file())
  if not paths:
    raise common.UserError(
        f'There are no MIDI files in {input_dir}' +
        ('.' if recursive else '; --recursive looks in its subfolders too.'))
  return paths


def make_tfrecord(input_dir, output_file, recursive=False):
  """Converts all MIDI files; returns {split: number of NoteSequences}.

  The NoteSequences are those of Magenta's convert_dir_to_note_sequences, byte
  for byte. Corrupt files are skipped, counted and named. The files appear
  under their names once all are complete.
  """
  common.music_vae()
  from magenta.scripts import convert_dir_to_note_sequences as upstream
  import tensorflow as tf
  input_dir, output_file = map(os.path.expanduser, (input_dir, output_file))
  paths = find_midi(input_dir, recursive)
  splits = read_splits(input_dir)
  os.makedirs(os.path.dirname(output_file) or '.', exist_ok=True)
  writers, counts, corrupt = {}, collections.Counter(), []
  try:
    for path in tqdm(paths, desc='Converting MIDI', unit='file'):
      sequence = upstream.convert_midi(
          input_dir, os.path.dirname(path), os.path.join(input_dir, path))
      if sequence is None:
        corrupt.append(path)
        continue
      split = splits.get(path, 'train')
      if split not in writers:
        writers[split] = tf.io.TFRecordWriter(
            f'{split_path(output_file, split)}.tmp')
      writers[split].write(sequence.SerializeToString())
      counts[split] += 1
    for split, writer in writers.items():
      writer.close()
    for split in writers:
      path = split_path(output_file, split)
      os.replace(f'{path}.tmp', path)
  finally:
    for split in writers:
      pathlib.Path(f'{split_path(output_file, split)}.tmp').unlink(
          missing_ok=True)
  if corrupt:
    print(f'Skipped {len(corrupt)} of {len(paths)} files that are not valid '
          f'MIDI: {", ".join(corrupt)}')
  if not counts:
    raise common.UserError(f'No file in {input_dir} is valid MIDI.')
  for split, count in counts.items():
    print(f'{split_path(output_file, split)}: {count} NoteSequences' +
          (f' ({split} split)' if splits else ''))
  return dict(counts)


def define_flags():
  common.music_vae()
  # Magenta's own flags: --input_dir, --output_file, --recursive, --log.
  from magenta.scripts import convert_dir_to_note_sequences
  flags.mark_flags_as_required(['input_dir', 'output_file'])


def main():
  FLAGS = flags.FLAGS
  make_tfrecord(FLAGS.input_dir, FLAGS.output_file, FLAGS.recursive)


if __name__ == '__main__':
  common.run(main, define_flags)
