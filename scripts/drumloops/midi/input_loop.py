"""The bars of a user's MIDI file that are used: their hits, tempo and own notes."""
import collections
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.grid import Hit
from drumloops.midi import drum_maps, midi_file
from drumloops.midi.drum_maps import DrumMap
from drumloops.system import disk


class Bars(NamedTuple):
  """Bars of a file.

  hits: By time. A pitch that is none of the drums has no drum.
  qpm: The tempo there, in quarters a minute.
  count: How many bars there are.
  pitches: {drum (from 0): the note that the file mostly plays it with}.
  left_out: Sentences that say what of the file is not in it.
  """
  hits: tuple[Hit, ...]
  qpm: float
  count: int
  pitches: dict[int, int]
  left_out: tuple[str, ...]


class _Place(NamedTuple):
  """Where the bars lie: their first tick and number, how many there are, how far on."""
  begin: float
  number: int
  used: int
  is_end: bool

  def __str__(self) -> str:
    last = self.number + self.used - 1
    return f'bar {last}' if self.used == 1 else f'bars {self.number} to {last}'


def read_bars(path: str, bars: int = grid.BARS, first_bar: int = 0,
              drum_channel: int = midi_file.DRUM_CHANNEL + 1,
              pitch_classes: Sequence[Sequence[int]] | None = None,
              kit: DrumMap | None = None) -> Bars:
  """Returns the Bars of a file: from the first bar in which a drum plays.

  Args:
    path: A MIDI file, in 4/4 there.
    bars: How many at most. The file's end is that of its tracks.
    first_bar: The bar to begin with instead, counted as `midi_file.bar_of` does; 0 for
      none.
    drum_channel: Of `midi_file.read`.
    pitch_classes: Of `drum_maps.drum_map`.
    kit: The map that says instead which drum a note is.

  Raises:
    UserError: if it can't be read, is not in 4/4 or has no such drums.
  """
  if first_bar < 0:
    raise UserError(f'{field("first_bar")} is the number of a bar, from 1.')
  drum_of = kit.drum_of if kit else drum_maps.drum_map(pitch_classes)
  midi = midi_file.read(path, drum_channel)
  tracks = next((p for p in midi.patterns if midi_file.find_hits(p)), midi.tracks)
  notes = midi_file.find_hits(tracks)
  if not notes:
    raise UserError(midi_file.no_drums(path, midi))
  known = [note for note in notes if drum_of(note.pitch) is not None]
  if not known:
    raise UserError(midi_file.none_of_the_nine(path, midi, notes))
  place = _find_place(path, midi, tracks, known[0], bars, first_bar)
  hits, remarks = _hits_in(path, midi, notes, drum_of, place,
                           place.begin if first_bar else known[0].on.tick)
  if not kit and pitch_classes and len(pitch_classes) != grid.DRUMS:
    hits = [hit._replace(drum=None) for hit in hits]
  return Bars(
      tuple(hits), midi_file.tempo_at(tracks, place.begin), place.used,
      # What is in these bars counts before what is elsewhere in the file.
      {**(kit.written if kit else {}),
       **_most_frequent((note.pitch for note in known), drum_of, kit),
       **_most_frequent((hit.pitch for hit in hits), drum_of, kit)},
      (*midi_file.remarks_on_channel(path, midi, drum_channel), *remarks,
       *drum_maps.better_map(disk.printable(os.path.basename(path)),
                             [note.pitch for note in notes], kit)))


def _find_place(path: str, midi: midi_file.Midi, tracks: list, first: midi_file.Note,
                bars: int, first_bar: int) -> _Place:
  # What is early for a bar's first beat belongs to that bar.
  begin, number = midi_file.bar_of(
      midi, tracks, int(first.on.tick + midi.ticks_per_step / 2))
  if first_bar:
    begin, number = midi_file.tick_of_bar(midi, tracks, first_bar), first_bar
  last = midi_file.last_counted(midi, tracks)
  bar = grid.STEPS_PER_BAR * midi.ticks_per_step
  own_bars = int((last - begin) // bar) + 1
  if first_bar and own_bars < 1:
    raise UserError(
        f'{path} ends with its bar {midi_file.bar_of(midi, tracks, last)[1]}; '
        f'{field("first_bar")} goes no further.')
  place = _Place(begin, number, max(1, min(bars, own_bars)), own_bars <= bars)
  if not midi_file.is_four_four(midi, tracks, begin, begin + place.used * bar):
    raise UserError(
        f'{path} is not in 4/4 throughout its {place}, which would be used; '
        f'{field("first_bar", "N")} begins with another bar.')
  return place


def _hits_in(path: str, midi: midi_file.Midi, notes: list[midi_file.Note],
             drum_of: Callable[[int], int | None], place: _Place, earliest: float
             ) -> tuple[list[Hit], list[str]]:
  """Returns the hits of a place, and what to say of those that are not in it."""
  length = place.used * grid.STEPS_PER_BAR
  # In the middle of the file, a hit that is early for the next bar is not in these.
  end = length if place.is_end else length - 0.5
  hits, before, after = [], 0, 0
  for note in notes:
    drum = drum_of(note.pitch)
    start = (note.on.tick - place.begin) / midi.ticks_per_step
    if start <= -0.5 and note.on.tick < earliest:
      before += drum is not None
    elif start > end:
      after += 1
    else:
      hits.append(grid.hit_at(None if drum is None else drum % grid.DRUMS, start,
                              note.velocity, note.pitch))
  unknown = [hit for hit in hits if drum_of(hit.pitch) is None]
  if len(unknown) == len(hits):
    raise UserError(f'{path} has no hit of the nine drums in its {place}.')
  name, remarks = disk.printable(os.path.basename(path)), []
  if unknown:
    remarks.append(
        f'{name}: {len(unknown)} of {len(hits)} hits are left out, because the pitches '
        f'{midi_file.numbers({hit.pitch for hit in unknown})} are none of the nine '
        'drums.')
  left_out = ' and '.join([f'the {before} hits before'] * bool(before) +
                          [f'the {after} hits after'] * bool(after))
  if left_out:
    remarks.append(f'{name}: {place} {"is" if place.used == 1 else "are"} used, '
                   f'{left_out} them are not.')
  return hits, remarks


def _most_frequent(pitches: Iterable[int], drum_of: Callable[[int], int | None],
                   kit: DrumMap | None) -> dict[int, int]:
  """Returns the note of each drum that is there most often: {drum: pitch}."""
  counts = collections.Counter(
      pitch if kit else drum_maps.GENERAL_MIDI.get(pitch, pitch) for pitch in pitches)
  return {drum_of(pitch): pitch for pitch in sorted(counts, key=lambda pitch: (
      kit is not None or pitch in drum_maps.OF_A_KIT, counts[pitch], -pitch))
          if drum_of(pitch) is not None}
