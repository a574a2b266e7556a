"""MIDI files to NoteSequences, as Magenta converts them, and what it would lose."""
import collections
import dataclasses
import os
import pathlib
import warnings

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.data import splits
from drumloops.midi import drum_maps, midi_file
from drumloops.system import disk, magenta_setup
import numpy as np
from tqdm.auto import tqdm

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
               'read from channel {drums}{likely})',
    'drums': 'with none of the nine drums on MIDI channel {drums}',
    'meter': 'not in 4/4',
    'bars': 'without 4 bars of drums in a row',
}


def read(path, drum_channel):
  """Returns a file's bytes, and its Midi, both with drums on channel 10.

  Raises:
    midi_file.DamagedError: if it is none, or would take gigabytes.
  """
  if os.path.getsize(path) > MOST_BYTES:
    raise midi_file.DamagedError(f'has more than {MOST_BYTES / 1e6:.0f} MB')
  with open(path, 'rb') as f:
    data = f.read()
  parsed = midi_file.parse(data)
  bar = parsed.last_tick // (4 * parsed.ticks_per_quarter) + 1
  if bar > MOST_BARS or parsed.last_tick > MOST_TICKS:
    raise midi_file.DamagedError(f'is damaged: its last event is in bar {bar}')
  exchanged = midi_file.with_drums_of(parsed, drum_channel)
  return data if exchanged is parsed else midi_file.to_bytes(exchanged), exchanged


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
    midi_file.DamagedError: if Magenta can't be made to read it.
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
  sequence = to_sequence(midi_file.to_bytes(midi_file.flatten(parsed)))
  if sequence is None:
    raise midi_file.DamagedError('is not valid MIDI')
  return sequence, why, 0


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
    return 'channel' if midi_file.note_channels(parsed) else 'empty'
  known = [[hit.tick for hit in some if drum_of(hit.data[1]) is not None]
           for some in hits]
  if not any(known):
    return 'drums'
  why = 'meter'
  for tracks, ticks in zip(parsed.patterns, map(np.array, known)):
    meters = midi_file.meters(tracks)
    for (begin, quarters), (end, _) in zip(
        meters, meters[1:] + [(float('inf'), 0)]):
      inside = ticks[(ticks >= begin) & (ticks < end)]
      if quarters != 4 or not len(inside):
        continue
      why = 'bars'
      steps = np.unique(np.floor(
          (inside - begin) / parsed.ticks_per_step + 0.5))
      last = np.append(np.diff(steps) > grid.STEPS_PER_BAR, True)
      first = np.append(True, last[:-1])
      bars = steps // grid.STEPS_PER_BAR
      if (bars[last] - bars[first] >= grid.BARS - 1).any():
        return None
  return why


@dataclasses.dataclass
class Tally:
  """What the files had that is worth a sentence once all are converted."""
  drum_channel: int
  files: int = 0
  hits: int = 0
  left_out: int = 0
  changed: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  no_loops: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  channels: set = dataclasses.field(default_factory=set)  # Counted from 1.
  likely: set = dataclasses.field(default_factory=set)
  elsewhere: int = 0  # Files whose drums are on channel 10 after all.

  def add(self, parsed, hits, left_out, change, no_loop):
    """Counts a file: its Midi, its `drum_hits`, and what was found of it."""
    self.files += 1
    self.hits += sum(map(len, hits))
    self.left_out += left_out
    self.changed.update([change] if change else [])
    self.no_loops.update([no_loop] if no_loop else [])
    self.elsewhere += parsed.drum_channel != self.drum_channel
    if no_loop == 'channel':
      self.channels.update(midi_file.note_channels(parsed))
      self.likely.update(midi_file.likely_channels(parsed))

  def sentences(self):
    if self.left_out:
      yield (f'{self.left_out} of {self.hits} hits are left out, as Magenta '
             'does: they last no time, or nothing ends them.')
    for change, count in sorted(self.changed.items()):
      yield f'In {count} file{"s" * (count > 1)} {CHANGED[change]}'
    if self.elsewhere:
      yield (f'{self.elsewhere} of {self.files} files have no notes on MIDI channel '
             f'{self.drum_channel}, so their drums were read from channel 10.')
    if self.no_loops:
      words = {'channels': midi_file.numbers(self.channels), 'drums': self.drum_channel,
               'likely': midi_file.hint(self.likely)}
      reasons = ', '.join(f'{count} {NO_LOOP[reason].format(**words)}'
                          for reason, count in self.no_loops.most_common())
      yield (f'{self.no_loops.total()} of {self.files} files give no 4-bar '
             f'loops: {reasons}.')
    if self.no_loops['bars'] and self.no_loops.total() < self.files:
      yield ('Single fills and beats are shorter than 4 bars, so that is normal (GMD '
             'has 684 in 1,150 files): the loops come from the other files.')


def make_tfrecord(input_dir, output_file, recursive=False,
                  drum_channel=midi_file.DRUM_CHANNEL + 1):
  """Converts all MIDI files; returns {split: number of NoteSequences}.

  The NoteSequences are those of Magenta's convert_dir_to_note_sequences, byte
  for byte, of each file that it reads whole; others are made readable first.
  Damaged files are skipped, counted and named. The files appear under their
  names once all are complete. Then the splits that an earlier conversion left
  beside them are removed, or they would be taken for those of the new data.

  Raises:
    UserError: if there is nothing to convert, or info.csv is damaged.
  """
  magenta_setup.music_vae()
  from magenta.models.music_vae import data as magenta_data
  from magenta.scripts import convert_dir_to_note_sequences as upstream
  import pretty_midi
  import tensorflow as tf
  # A user can do nothing about what it warns of, and it would break the bar.
  warnings.filterwarnings('ignore', module='pretty_midi')
  # Magenta also reads what is after the end of a track, where `midi` stops.
  pretty_midi.pretty_midi.MAX_TICK = MOST_TICKS
  drum_of = drum_maps.drum_map()
  input_dir, output_file = map(os.path.expanduser, (input_dir, output_file))
  if os.path.isdir(output_file):
    raise UserError(
        f'{disk.printable(output_file)} is a folder; {field("output_file")} names a '
        'file, such as drummer.tfrecord.')
  paths = splits.find_midi(input_dir, recursive)
  split_of = splits.read_splits(input_dir, paths)
  os.makedirs(os.path.dirname(output_file) or '.', exist_ok=True)
  targets = {split: splits.split_path(output_file, split)
             for split in splits.SPLITS}
  unfinished = {split: f'{path}.{os.getpid()}.tmp'
                for split, path in targets.items()}
  writers, counts, skipped, tally = {}, collections.Counter(), [], Tally(
      drum_channel)
  try:
    for path in tqdm(paths, desc='Converting MIDI', unit='file'):
      name = disk.printable(path)
      try:
        data, parsed = read(os.path.join(input_dir, path), drum_channel)
        hits = drum_hits(parsed)
        sequence, change, left_out = convert(data, parsed, sum(hits, []))
      except midi_file.DamagedError as e:
        skipped.append(f'{name} {e}')
        continue
      # As upstream's convert_midi, which takes no name that is not UTF-8.
      sequence.collection_name = disk.printable(os.path.basename(input_dir))
      sequence.filename = name
      sequence.id = upstream.generate_note_sequence_id(
          name, sequence.collection_name, 'midi')
      split = split_of.get(path, 'train')
      if split not in writers:
        writers[split] = tf.io.TFRecordWriter(os.fsencode(unfinished[split]))
      writers[split].write(sequence.SerializeToString())
      counts[split] += 1
      tally.add(parsed, hits, left_out, change,
                why_no_loop(parsed, hits, drum_of))
    if not writers:
      raise UserError(
          f'No file in {disk.printable(input_dir)} could be converted; '
          f'{skipped[0]}.')
    for writer in writers.values():
      writer.close()
    with disk.locked(output_file, -1, ''):  # All splits are of one conversion.
      for split in writers:
        os.replace(unfinished[split], targets[split])
      old = [targets[split] for split in splits.SPLITS
             if split not in writers and os.path.isfile(targets[split])]
      for path in old:
        os.remove(path)
  finally:
    for path in unfinished.values():
      pathlib.Path(path).unlink(missing_ok=True)
  if skipped:
    print(f'Skipped {len(skipped)} of {len(paths)} files: '
          f'{"; ".join(skipped)}.')
  for split, count in counts.items():
    print(f'{disk.printable(targets[split])}: {count} NoteSequences' +
          (f' ({split} split)' if split_of else ''))
  if old:
    print(f'Removed {" and ".join(disk.printable(path) for path in old)}, '
          'left by an earlier conversion: training would have taken it for a '
          'split of these data.')
  for sentence in tally.sentences():
    print(sentence)
  return dict(counts)
