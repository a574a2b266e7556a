"""MIDI files to NoteSequences, as Magenta converts them, and what it would lose."""
import collections
from collections.abc import Callable, Iterator
import dataclasses
import os
import pathlib
from typing import TYPE_CHECKING
import warnings

from drumloops import grid
from drumloops.data import splits
from drumloops.errors import UserError, field, in_words
from drumloops.midi import drum_maps, midi_file
from drumloops.system import disk, magenta_setup
import numpy as np
from tqdm.auto import tqdm

if TYPE_CHECKING:
  from note_seq import NoteSequence

# A file of more is damaged. pretty_midi keeps 8 bytes for each tick up to the last,
# which are 200 MB at most; of a file of 16 MB mido makes messages of 3 GB.
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


def read(path: str, drum_channel: int) -> tuple[bytes, midi_file.Midi]:
  """Returns a file's bytes, and its Midi, both with drums on channel 10.

  Args:
    path: The file's.
    drum_channel: Where its drums are, from 1.

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


def to_sequence(data: bytes) -> 'NoteSequence | None':
  """Returns Magenta's NoteSequence of a file's bytes, None if it refuses."""
  from note_seq import midi_io
  try:
    return midi_io.midi_to_sequence_proto(data)
  except midi_io.MIDIConversionError as e:
    if isinstance(e.__context__, KeyboardInterrupt):  # It catches all there is.
      raise e.__context__
    return None


def drum_hits(parsed: midi_file.Midi) -> list[list[midi_file.Event]]:
  """Returns the Events of the drums' hits, for each pattern of a file."""
  return [[event for track in tracks for event in track if event.is_hit]
          for tracks in parsed.patterns]


def lost_hits(parsed: midi_file.Midi, hits: list[midi_file.Event],
              sequence: 'NoteSequence') -> collections.Counter[int]:
  """Returns {pitch: hits that a NoteSequence lacks, or has elsewhere}."""
  ticks_per_second = parsed.ticks_per_quarter * sequence.tempos[0].qpm / 60
  lost = collections.Counter((hit.tick, hit.data[1]) for hit in hits)
  lost.subtract((round(note.start_time * ticks_per_second), note.pitch)
                for note in sequence.notes if note.is_drum)
  by_pitch = collections.Counter()
  for (_, pitch), count in (+lost).items():
    by_pitch[pitch] += count
  return by_pitch


def convert(data: bytes, parsed: midi_file.Midi, hits: list[midi_file.Event]
            ) -> tuple['NoteSequence', str | None, int]:
  """Returns a file's NoteSequence: Magenta's, if that has the file whole.

  Magenta drops a hit that lasts no time or that nothing ends. In a recording that is
  one here and there (818 of GMD's), and stays so. Where a drum loses most of its hits,
  a program writes them like that.

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


def why_no_loop(parsed: midi_file.Midi, hits: list[list[midi_file.Event]],
                drum_of: Callable[[int], int | None]) -> str | None:
  """Returns why a file gives no 4-bar loop, None if it gives one.

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
  in_4_4 = [ticks for tracks, ticks in zip(parsed.patterns, map(np.array, known))
            for ticks in ticks_in_4_4(tracks, ticks)]
  if not in_4_4:
    return 'meter'
  return None if any(has_loop(ticks / parsed.ticks_per_step) for ticks in in_4_4) else (
      'bars')


def ticks_in_4_4(tracks: list[list[midi_file.Event]],
                 ticks: np.ndarray) -> Iterator[np.ndarray]:
  """Yields a pattern's hits in each part that is in 4/4, in ticks from its beginning.

  Args:
    tracks: Of the pattern.
    ticks: When its hits are.
  """
  meters = midi_file.meters(tracks)
  for (begin, quarters), (end, _) in zip(meters, meters[1:] + [(float('inf'), 0)]):
    inside = ticks[(ticks >= begin) & (ticks < end)]
    if quarters == 4 and len(inside):
      yield inside - begin


def has_loop(times: np.ndarray) -> bool:
  """Whether hits at these times, in steps, are in 4 bars in a row.

  As Magenta's converter has it, which ends a piece where a bar is silent.
  """
  steps = np.unique(np.floor(times + 0.5))
  last = np.append(np.diff(steps) > grid.STEPS_PER_BAR, True)
  first = np.append(True, last[:-1])
  bars = steps // grid.STEPS_PER_BAR
  return bool((bars[last] - bars[first] >= grid.BARS - 1).any())


@dataclasses.dataclass
class Tally:
  """What the files had that is worth a sentence once all are converted.

  Attributes:
    drum_channel: Where the drums are, from 1.
    files: How many were converted.
    hits: How many they have.
    left_out: How many hits Magenta leaves out.
    changed: {key of CHANGED: files}.
    no_loops: {key of NO_LOOP: files}.
    channels: Those with notes, from 1, of files without drums.
    likely: Those of them that may be the drums'.
    elsewhere: Files whose drums are on channel 10 after all.
  """
  drum_channel: int
  files: int = 0
  hits: int = 0
  left_out: int = 0
  changed: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  no_loops: collections.Counter = dataclasses.field(
      default_factory=collections.Counter)
  channels: set[int] = dataclasses.field(default_factory=set)
  likely: set[int] = dataclasses.field(default_factory=set)
  elsewhere: int = 0

  def add(self, parsed: midi_file.Midi, hits: list[list[midi_file.Event]],
          left_out: int, change: str | None, no_loop: str | None) -> None:
    """Counts a file.

    Args:
      parsed: Its Midi.
      hits: Its `drum_hits`.
      left_out: How many of them its NoteSequence lacks.
      change: Of `convert`.
      no_loop: Of `why_no_loop`.
    """
    self.files += 1
    self.hits += sum(map(len, hits))
    self.left_out += left_out
    self.changed.update([change] if change else [])
    self.no_loops.update([no_loop] if no_loop else [])
    self.elsewhere += parsed.drum_channel != self.drum_channel
    if no_loop == 'channel':
      self.channels.update(midi_file.note_channels(parsed))
      self.likely.update(midi_file.likely_channels(parsed))

  def sentences(self) -> Iterator[str]:
    """Yields what to tell the user, with the marks of fields."""
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


class SplitWriter:
  """Writes NoteSequences to one TFRecord a split, under their names once all are there.

      with SplitWriter('drummer.tfrecord') as writer:
        writer.write(sequence, 'test')
        writer.publish()

  Attributes:
    paths: {split: where its TFRecord will be}.
    counts: {split: NoteSequences written}.
  """

  def __init__(self, output_file: str):
    """Makes the folder of the train split's file, if need be."""
    os.makedirs(os.path.dirname(output_file) or '.', exist_ok=True)
    self.paths = {split: splits.split_path(output_file, split)
                  for split in splits.SPLITS}
    self.counts = collections.Counter()
    self._unfinished = {split: f'{path}.{os.getpid()}.tmp'
                        for split, path in self.paths.items()}
    self._writers = {}

  def __enter__(self) -> 'SplitWriter':
    return self

  def __exit__(self, *_: object) -> None:
    """Removes what was not published."""
    for path in self._unfinished.values():
      pathlib.Path(path).unlink(missing_ok=True)

  def write(self, sequence: 'NoteSequence', split: str) -> None:
    """Writes a NoteSequence of a split."""
    import tensorflow as tf
    if split not in self._writers:
      self._writers[split] = tf.io.TFRecordWriter(
          os.fsencode(self._unfinished[split]))
    self._writers[split].write(sequence.SerializeToString())
    self.counts[split] += 1

  def publish(self) -> list[str]:
    """Gives the files their names, and removes the splits of an earlier conversion.

    Those would be taken for splits of the new data.

    Returns:
      The paths of the removed ones.
    """
    for writer in self._writers.values():
      writer.close()
    with disk.locked(self.paths['train'], -1, ''):  # All are of one conversion.
      for split in self._writers:
        os.replace(self._unfinished[split], self.paths[split])
      old = [path for split, path in self.paths.items()
             if split not in self._writers and os.path.isfile(path)]
      for path in old:
        os.remove(path)
    return old


def make_tfrecord(input_dir: str, output_file: str, recursive: bool = False,
                  drum_channel: int = midi_file.DRUM_CHANNEL + 1) -> dict[str, int]:
  """Converts all MIDI files of a folder, and prints what there is to say of them.

  The NoteSequences are those of Magenta's convert_dir_to_note_sequences, byte for byte,
  of each file that it reads whole; others are made readable first. Damaged files are
  skipped, counted and named.

  Args:
    input_dir: The folder.
    output_file: TFRecord of the train split; the others will lie beside it.
    recursive: Whether to look in subfolders too.
    drum_channel: Where the files have their drums, from 1.

  Returns:
    {split: number of NoteSequences}.

  Raises:
    UserError: if there is nothing to convert, or info.csv is damaged.
  """
  _prepare_magenta()
  drum_of = drum_maps.drum_map()
  input_dir, output_file = map(os.path.expanduser, (input_dir, output_file))
  if os.path.isdir(output_file):
    raise UserError(
        f'{disk.printable(output_file)} is a folder; {field("output_file")} names a '
        'file, such as drummer.tfrecord.')
  paths = splits.find_midi(input_dir, recursive)
  split_of = splits.read_splits(input_dir, paths)
  tally, skipped = Tally(drum_channel), []
  with SplitWriter(output_file) as writer:
    for path in tqdm(paths, desc='Converting MIDI', unit='file'):
      try:
        sequence = _convert_file(input_dir, path, drum_of, tally)
      except midi_file.DamagedError as e:
        skipped.append(f'{disk.printable(path)} {e}')
      else:
        writer.write(sequence, split_of.get(path, 'train'))
    if not writer.counts:
      raise UserError(
          f'No file in {disk.printable(input_dir)} could be converted; '
          f'{skipped[0]}.')
    old = writer.publish()
  if skipped:
    print(f'Skipped {len(skipped)} of {len(paths)} files: {"; ".join(skipped)}.')
  for split, count in writer.counts.items():
    print(f'{disk.printable(writer.paths[split])}: {count} NoteSequences' +
          (f' ({split} split)' if split_of else ''))
  if old:
    print(f'Removed {" and ".join(map(disk.printable, old))}, left by an earlier '
          'conversion: training would have taken it for a split of these data.')
  for sentence in tally.sentences():
    print(in_words(sentence))
  return dict(writer.counts)


def _prepare_magenta() -> None:
  magenta_setup.music_vae()
  import pretty_midi
  # A user can do nothing about what it warns of, and it would break the bar.
  warnings.filterwarnings('ignore', module='pretty_midi')
  # Magenta also reads what is after the end of a track, where `midi_file` stops.
  pretty_midi.pretty_midi.MAX_TICK = MOST_TICKS


def _convert_file(input_dir: str, path: str, drum_of: Callable[[int], int | None],
                  tally: Tally) -> 'NoteSequence':
  """Returns a file's NoteSequence, named as Magenta names it, and counts the file.

  Raises:
    midi_file.DamagedError: if it can't be read.
  """
  from magenta.scripts import convert_dir_to_note_sequences as upstream
  content, parsed = read(os.path.join(input_dir, path), tally.drum_channel)
  hits = drum_hits(parsed)
  sequence, change, left_out = convert(content, parsed, sum(hits, []))
  # As upstream's convert_midi, which takes no name that is not UTF-8.
  sequence.collection_name = disk.printable(os.path.basename(input_dir))
  sequence.filename = disk.printable(path)
  sequence.id = upstream.generate_note_sequence_id(
      sequence.filename, sequence.collection_name, 'midi')
  tally.add(parsed, hits, left_out, change, why_no_loop(parsed, hits, drum_of))
  return sequence
