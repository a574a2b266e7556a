"""Converts a folder of MIDI files into a TFRecord of NoteSequences.

    python3 scripts/make_tfrecord.py --input_dir=dataset/groove/ \
        --output_file=dataset/drummer.tfrecord --recursive

The Groove MIDI Dataset has an official split: drummer.tfrecord then holds the
train split, drummer-validation.tfrecord and drummer-test.tfrecord the others.
"""
import codecs
import collections
import csv
import dataclasses
import functools
import io
import os
import pathlib
import sys
import unicodedata
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import midi
import numpy as np
from absl import flags
from tqdm.auto import tqdm

SPLITS = ('train', 'validation', 'test')
LEVELS_ABOVE = 2  # Folders in which to look for GMD's info.csv.
BARS = 4  # Of a loop.
# What takes more is damaged: pretty_midi keeps 8 bytes for each tick up to the
# last, 200 MB at most, and of a file of 16 MB mido makes messages of 3 GB.
MOST_BARS = 10_000
MOST_TICKS = 25_000_000
MOST_BYTES = 16_000_000
# Why a file is not read as Magenta would, and what becomes of it.
CHANGED = {
    'refused': 'there is something that Magenta can not read, such as an '
               'unknown key signature: the notes were taken without it.',
    'tempo': 'the tempo changes: the hits were taken by the beat, at the first '
             'tempo.',
    'lost': 'Magenta would lose or move most hits of a drum, such as those '
            'that nothing ends: all were taken, where they are.',
}
# Why a file gives no loop.
NO_LOOP = {
    'empty': 'without notes',
    'channel': 'with no drums (notes are on MIDI channel {channels}, drums are '
               'read from channel 10)',
    'drums': 'with none of the nine drums on MIDI channel 10',
    'meter': 'not in 4/4',
    'bars': 'without 4 bars of drums in a row',
}


def split_path(output_file, split):
  """Where a split is kept: the train split under the name that is asked for."""
  path = pathlib.Path(output_file)
  return path if split == 'train' else path.with_name(
      f'{path.stem}-{split}{path.suffix}')


def bad_info(path, what, other='rename it if it is not about splits'):
  return common.UserError(
      f'{common.printable(path)} {what}; delete it and get it again with '
      f'scripts/download_groove.py, or {other}.')


def read_info(path, columns):
  """Returns the rows of a data set's info.csv as dicts.

  It may come from a spreadsheet: with a BOM, with semicolons or tabs.

  Raises:
    common.UserError: if one of the columns is missing, or a row breaks off.
  """
  raw = pathlib.Path(path).read_bytes()
  if raw[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
    text = raw.decode('utf-16', 'replace')
  else:
    text = common.printable(os.fsdecode(raw.removeprefix(codecs.BOM_UTF8)))
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


def plain(name):
  """Returns a path as it is compared; Windows and macOS write others."""
  name = common.printable(name).replace('\\', '/')
  return os.path.normpath(unicodedata.normalize('NFC', name))


def read_info_splits(path):
  """Returns {MIDI file: split} from an info.csv, the files by `plain` names."""
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


def read_splits(input_dir, paths):
  """Returns {path: split} of the paths that have an info.csv around them.

  That of the nearest folder counts, and it must list them all: a performance
  of the test split is not to be trained on because a row was lost. Without one
  inside `input_dir`, one above it counts that lists any of them (input_dir may be
  one drummer's folder).

  Raises:
    common.UserError: if an info.csv is damaged.
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


def read_splits_above(root, paths):
  """Returns what `read_splits` does, by an info.csv in a folder above `root`."""
  for folder in list(root.parents)[:LEVELS_ABOVE]:
    if not (folder / 'info.csv').is_file():
      continue
    names = {path: plain((root / path).relative_to(folder)) for path in paths}
    try:
      splits = read_info_splits(folder / 'info.csv')
    except common.UserError:
      continue  # It is about something else.
    if not splits.keys().isdisjoint(names.values()):
      return of_listed(folder / 'info.csv', names, splits)
  return {}


def of_listed(info, names, splits):
  """Returns {path: split}, given {path: its name in an info.csv}.

  Raises:
    common.UserError: if it does not list them all.
  """
  unknown = [name for name in names.values() if name not in splits]
  if unknown:
    raise bad_info(info, f'does not list {len(unknown)} of the {len(names)} '
                   f'MIDI files in its folder, such as {unknown[0]}',
                   'add them to it')
  return {path: splits[name] for path, name in names.items()}


def find_midi(input_dir, recursive):
  """Returns the MIDI files' paths relative to `input_dir`, sorted."""
  root = pathlib.Path(input_dir)
  name = common.printable(input_dir)
  if not root.is_dir():
    raise common.UserError(f'There is no folder {name}.')
  paths = sorted(
      p.relative_to(root).as_posix()
      for p in (root.rglob('*') if recursive else root.glob('*'))
      if p.suffix.lower() in ('.mid', '.midi') and p.is_file())
  if not paths:
    raise common.UserError(
        f'There are no MIDI files in {name}' +
        ('.' if recursive else '; --recursive looks in its subfolders too.'))
  return paths


def read(path):
  """Returns a file's bytes, and its Midi.

  Raises:
    midi.DamagedError: if it is none, or would take gigabytes.
  """
  if os.path.getsize(path) > MOST_BYTES:
    raise midi.DamagedError(f'has more than {MOST_BYTES / 1e6:.0f} MB')
  with open(path, 'rb') as f:
    data = f.read()
  parsed = midi.parse(data)
  bar = parsed.last_tick // (4 * parsed.ticks_per_quarter) + 1
  if bar > MOST_BARS or parsed.last_tick > MOST_TICKS:
    raise midi.DamagedError(f'is damaged: its last event is in bar {bar}')
  return data, parsed


def to_sequence(data):
  """Returns Magenta's NoteSequence of a file's bytes, None if it refuses."""
  from note_seq import midi_io
  try:
    return midi_io.midi_to_sequence_proto(data)
  except midi_io.MIDIConversionError as e:
    if isinstance(e.__context__, KeyboardInterrupt):  # It catches all there is.
      raise e.__context__
    return None


def drum_hits(parsed):
  """Returns the Events of the drums' hits, for each pattern of a file."""
  return [[event for track in tracks for event in track if event.is_hit]
          for tracks in parsed.patterns]


def lost_hits(parsed, hits, sequence):
  """Returns {pitch: hits that a NoteSequence lacks, or has elsewhere}."""
  ticks_per_second = parsed.ticks_per_quarter * sequence.tempos[0].qpm / 60
  lost = collections.Counter((hit.tick, hit.data[1]) for hit in hits)
  lost.subtract((round(note.start_time * ticks_per_second), note.pitch)
                for note in sequence.notes if note.is_drum)
  by_pitch = collections.Counter()
  for (_, pitch), count in (+lost).items():
    by_pitch[pitch] += count
  return by_pitch


def convert(data, parsed, hits):
  """Returns a file's NoteSequence, which is stock's if that has the file whole.

  Stock drops a hit that lasts no time or that nothing ends. In a recording that
  is one here and there (818 of GMD's) and is left so; where a drum loses most
  of its hits, a program writes them like that.

  Args:
    data: The file's bytes.
    parsed: Its Midi.
    hits: Its drum hits, Events.

  Returns:
    (NoteSequence, None or a key of CHANGED, number of hits that it lacks).

  Raises:
    midi.DamagedError: if Magenta can't be made to read it.
  """
  sequence = to_sequence(data)
  if sequence is None:
    why = 'refused'
  elif len(sequence.tempos) > 1:  # Magenta's converter cuts the file at each.
    why = 'tempo'
  else:
    lost = lost_hits(parsed, hits, sequence)
    of_pitch = collections.Counter(hit.data[1] for hit in hits if lost)
    if all(count <= of_pitch[pitch] / 2 for pitch, count in lost.items()):
      return sequence, None, sum(lost.values())
    why = 'lost'
  sequence = to_sequence(midi.to_bytes(midi.flatten(parsed)))
  if sequence is None:
    raise midi.DamagedError('is not valid MIDI')
  return sequence, why, 0


def note_channels(parsed):
  """Returns the channels of a file's notes, counted from 1."""
  return {event.data[0] % 16 + 1 for track in parsed.tracks for event in track
          if event.data[0] & 0xf0 == midi.NOTE_ON}


def why_no_loop(parsed, hits, drum_of):
  """Returns why a file gives no 4-bar loop, None if it gives one.

  As Magenta's converter does, which ends a piece where a bar is silent.

  Args:
    parsed: A Midi.
    hits: Its `drum_hits`.
    drum_of: Returns the drum of a pitch, or None.

  Returns:
    None or a key of NO_LOOP.
  """
  if not any(hits):
    return 'channel' if note_channels(parsed) else 'empty'
  known = [[hit.tick for hit in some if drum_of(hit.data[1]) is not None]
           for some in hits]
  if not any(known):
    return 'drums'
  why = 'meter'
  for tracks, ticks in zip(parsed.patterns, map(np.array, known)):
    meters = midi.meters(tracks)
    for (begin, quarters), (end, _) in zip(
        meters, meters[1:] + [(float('inf'), 0)]):
      inside = ticks[(ticks >= begin) & (ticks < end)]
      if quarters != 4 or not len(inside):
        continue
      why = 'bars'
      steps = np.unique(np.floor(
          (inside - begin) / parsed.ticks_per_step + 0.5))
      last = np.append(np.diff(steps) > midi.STEPS_PER_BAR, True)
      first = np.append(True, last[:-1])
      bars = steps // midi.STEPS_PER_BAR
      if (bars[last] - bars[first] >= BARS - 1).any():
        return None
  return why


@dataclasses.dataclass
class Tally:
  """What the files had that is worth a sentence once all are converted."""
  files: int = 0
  hits: int = 0
  left_out: int = 0
  changed: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  no_loops: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  channels: set = dataclasses.field(default_factory=set)  # Counted from 1.

  def add(self, parsed, hits, left_out, change, no_loop):
    """Counts a file: its Midi, its `drum_hits`, and what was found of it."""
    self.files += 1
    self.hits += sum(map(len, hits))
    self.left_out += left_out
    self.changed.update([change] if change else [])
    self.no_loops.update([no_loop] if no_loop else [])
    if no_loop == 'channel':
      self.channels |= note_channels(parsed)

  def sentences(self):
    if self.left_out:
      yield (f'{self.left_out} of {self.hits} hits are left out, as Magenta '
             'does: they last no time, or nothing ends them.')
    for change, count in sorted(self.changed.items()):
      yield f'In {count} file{"s" * (count > 1)} {CHANGED[change]}'
    if self.no_loops:
      channels = ', '.join(map(str, sorted(self.channels)))
      reasons = ', '.join(f'{count} {NO_LOOP[reason].format(channels=channels)}'
                          for reason, count in self.no_loops.most_common())
      yield (f'{self.no_loops.total()} of {self.files} files give no 4-bar '
             f'loops: {reasons}.')


def make_tfrecord(input_dir, output_file, recursive=False):
  """Converts all MIDI files; returns {split: number of NoteSequences}.

  The NoteSequences are those of Magenta's convert_dir_to_note_sequences, byte
  for byte, of each file that it reads whole; others are made readable first.
  Damaged files are skipped, counted and named. The files appear under their
  names once all are complete. Then the splits that an earlier conversion left
  beside them are removed, or they would be taken for those of the new data.

  Raises:
    common.UserError: if there is nothing to convert, or info.csv is damaged.
  """
  common.music_vae()
  from magenta.models.music_vae import data as magenta_data
  from magenta.scripts import convert_dir_to_note_sequences as upstream
  import pretty_midi
  import tensorflow as tf
  # A user can do nothing about what it warns of, and it would break the bar.
  warnings.filterwarnings('ignore', module='pretty_midi')
  # Magenta also reads what is after the end of a track, where `midi` stops.
  pretty_midi.pretty_midi.MAX_TICK = MOST_TICKS
  drum_of = midi.drum_map(magenta_data.ROLAND_DRUM_PITCH_CLASSES)
  input_dir, output_file = map(os.path.expanduser, (input_dir, output_file))
  if os.path.isdir(output_file):
    raise common.UserError(
        f'{common.printable(output_file)} is a folder; --output_file names a '
        'file, such as drummer.tfrecord.')
  paths = find_midi(input_dir, recursive)
  splits = read_splits(input_dir, paths)
  os.makedirs(os.path.dirname(output_file) or '.', exist_ok=True)
  targets = {split: split_path(output_file, split) for split in SPLITS}
  unfinished = {split: f'{path}.{os.getpid()}.tmp'
                for split, path in targets.items()}
  writers, counts, skipped, tally = {}, collections.Counter(), [], Tally()
  try:
    for path in tqdm(paths, desc='Converting MIDI', unit='file'):
      name = common.printable(path)
      try:
        data, parsed = read(os.path.join(input_dir, path))
        hits = drum_hits(parsed)
        sequence, change, left_out = convert(data, parsed, sum(hits, []))
      except midi.DamagedError as e:
        skipped.append(f'{name} {e}')
        continue
      # As upstream's convert_midi, which takes no name that is not UTF-8.
      sequence.collection_name = common.printable(os.path.basename(input_dir))
      sequence.filename = name
      sequence.id = upstream.generate_note_sequence_id(
          name, sequence.collection_name, 'midi')
      split = splits.get(path, 'train')
      if split not in writers:
        writers[split] = tf.io.TFRecordWriter(os.fsencode(unfinished[split]))
      writers[split].write(sequence.SerializeToString())
      counts[split] += 1
      tally.add(parsed, hits, left_out, change,
                why_no_loop(parsed, hits, drum_of))
    if not writers:
      raise common.UserError(
          f'No file in {common.printable(input_dir)} could be converted; '
          f'{skipped[0]}.')
    for writer in writers.values():
      writer.close()
    with common.locked(output_file, -1, ''):  # All splits are of one conversion.
      for split in writers:
        os.replace(unfinished[split], targets[split])
      old = [targets[split] for split in SPLITS
             if split not in writers and targets[split].is_file()]
      for path in old:
        path.unlink()
  finally:
    for path in unfinished.values():
      pathlib.Path(path).unlink(missing_ok=True)
  if skipped:
    print(f'Skipped {len(skipped)} of {len(paths)} files: '
          f'{"; ".join(skipped)}.')
  for split, count in counts.items():
    print(f'{common.printable(targets[split])}: {count} NoteSequences' +
          (f' ({split} split)' if splits else ''))
  if old:
    print(f'Removed {" and ".join(common.printable(path) for path in old)}, '
          'left by an earlier conversion: training would have taken it for a '
          'split of these data.')
  for sentence in tally.sentences():
    print(sentence)
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
