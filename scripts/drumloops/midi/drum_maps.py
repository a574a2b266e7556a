"""Which drum a MIDI note is: Magenta's maps, and those of kits in drum_maps.json."""
import collections
import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.system import magenta_setup
from magenta_patches.added.drum_classes import (
    CLOSED_HIHAT, KICK, OPEN_HIHAT, RIDE, SNARE)

# General MIDI's notes of a drum kit. Other percussion that counts as one of the nine
# drums gives it its note only where nothing else does.
OF_A_KIT = {*range(35, 54), 55, 57, 59}
# By which map a file was most likely written: `likelihood`. Of 100 hits of GMD, so many
# are of each drum. NO_DRUM: The probability of a note that a map has not.
SHARES = 20, 30, 27, 3, 3, 1, 3, 1, 12
NO_DRUM = 1e-4
FREQUENT = KICK, SNARE, CLOSED_HIHAT, OPEN_HIHAT, RIDE
# A map is clearly better if by it the probability of a file's notes has a logarithm that
# is larger by so much a hit, and in all, and if so many more of the hits are FREQUENT.
MORE_LIKELY, EVIDENCE, MORE_FREQUENT = 0.5, 25, 0.1


@dataclasses.dataclass(frozen=True)
class DrumMap:
  """Which notes a kit plays its drums with.

  Attributes:
    name: What a user calls it.
    title: The kit.
    notes: Of each of grid.DRUM_CLASSES; the first is written. A drum may have none.
  """
  name: str
  title: str
  notes: tuple[tuple[int, ...], ...]

  @functools.cached_property
  def _drums(self) -> dict[int, int]:
    return {note: drum for drum, own in enumerate(self.notes) for note in own}

  def drum_of(self, pitch: int) -> int | None:
    """Returns a note's drum (from 0), None if it is none."""
    return self._drums.get(pitch)

  @property
  def written(self) -> dict[int, int]:
    """The note that is written of each drum (from 0) that has one."""
    return {drum: own[0] for drum, own in enumerate(self.notes) if own}

  def pitch_of(self, drum: int) -> int:
    """Returns the note that is written of a drum (from 0).

    Raises:
      UserError: if there is none.
    """
    if not self.notes[drum]:
      raise UserError(f'The map {self.name} has no note of the '
                      f'{grid.DRUM_CLASSES[drum]}, which is to be written.')
    return self.notes[drum][0]

  def require_all(self) -> 'DrumMap':
    """Returns the map.

    Raises:
      UserError: if it has no note of one of the nine drums, so that a model's loops
        may not be written by it.
    """
    for drum, _ in enumerate(self.notes):
      self.pitch_of(drum)
    return self

  @property
  def hi_hats(self) -> set[int]:
    """The notes of the hi-hat, open or closed."""
    return {note for note, drum in self._drums.items()
            if 'hi-hat' in grid.DRUM_CLASSES[drum]}

  def likelihood(self, counts: collections.Counter[int]) -> float:
    """Returns the mean logarithm of the probability of hits' notes.

    Drums are as frequent as in GMD. A drum's first note has half of its hits, and the
    others share the rest.

    Args:
      counts: {note: how often it is hit}.
    """
    def probability(note: int) -> float:
      drum = self.drum_of(note)
      if drum is None:
        return NO_DRUM
      own = self.notes[drum]
      share = SHARES[drum] / 100
      return share if len(own) == 1 else share / 2 if note == own[0] else (
          share / 2 / (len(own) - 1))
    return sum(count * math.log(probability(note)) for note, count in counts.items()
               ) / counts.total()


def _read_map(name: str, content: object, said: str) -> DrumMap:
  """Returns the DrumMap of an object of a JSON file.

  Args:
    name: Of the map.
    content: {drum: its notes}; 'title' and 'source' are texts.
    said: How a sentence calls it.

  Raises:
    UserError: if it is no map.
  """
  texts = 'title', 'source'
  if not isinstance(content, dict) or not all(
      isinstance(own, list) for drum, own in content.items() if drum not in texts):
    raise UserError(f'{said} gives no list of notes for each drum, such as '
                    '{"kick": [36, 35]}.')
  for drum in content:
    if drum not in (*texts, *grid.DRUM_CLASSES):
      raise UserError(f'{said} has a drum {drum!r}; the nine are '
                      f'{", ".join(grid.DRUM_CLASSES)}.')
  notes = [content.get(drum, ()) for drum in grid.DRUM_CLASSES]
  there = [note for own in notes for note in own]
  for note in there:
    if type(note) is not int or not 0 <= note <= 127:
      raise UserError(f'{said} has the note {json.dumps(note)}; notes are whole numbers '
                      'from 0 to 127.')
    if there.count(note) > 1:
      raise UserError(f'{said} has the note {note} twice; a note is of one drum.')
  if not there:
    raise UserError(f'{said} has no note of any drum.')
  return DrumMap(name, str(content.get('title', name)), tuple(map(tuple, notes)))


MAPS = {name: _read_map(name, content, name) for name, content in json.loads(
    pathlib.Path(__file__).with_suffix('.json').read_text(encoding='utf-8')).items()}
GM = MAPS['gm']
HI_HATS = MAPS['td11'].hi_hats  # General MIDI's are among them.
# Pads of GMD's TD-11 that General MIDI lacks, or that mean a vibraslap in it.
GENERAL_MIDI = {note: own[0] for own in MAPS['td11'].notes for note in own
                if GM.drum_of(note) is None}


def find(name: str | DrumMap | None, asked: str = 'map') -> DrumMap | None:
  """Returns the DrumMap of a name, or of a JSON file as drum_maps.json has them.

  Args:
    name: One of MAPS, or a path; '' or None for none.
    asked: The field that names it.

  Raises:
    UserError: if there is no such map, or the file has none.
  """
  if not name or isinstance(name, DrumMap):
    return name or None
  if name in MAPS:
    return MAPS[name]
  said = field(asked, name)
  try:
    # Windows' editors begin a file with a mark, which utf-8-sig skips.
    text = pathlib.Path(os.path.expanduser(name)).read_bytes().decode('utf-8-sig')
  except OSError as e:
    raise UserError(f'{said} is neither a JSON file nor one of {", ".join(MAPS)} '
                    f'({e.strerror}).') from e
  except ValueError as e:  # Of bytes that are no text.
    raise UserError(f'{said} is not JSON: {e}.') from e
  try:
    content = json.loads(text)
  except (ValueError, RecursionError) as e:
    raise UserError(f'{said} is not JSON: {e}.') from e
  return _read_map(name, content, said)


def define_flags() -> None:
  """Defines the flags that say which notes a kit has: those read, those written."""
  from absl import flags
  kits = f'{", ".join(MAPS)}, or a JSON file of your own'
  flags.DEFINE_string('map', '', 'Kit that the MIDI file was made for, which says what '
                      f'drum a note is: {kits}. Default: General MIDI and the TD-11.')
  flags.DEFINE_string('output_map', '', 'Kit that MIDI is written for: as --map. '
                      "Default: General MIDI; what is kept of a file has the file's "
                      'notes.')


def _magenta_data() -> object:
  """Returns Magenta's module of maps, imported quietly."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import data
  return data


def drum_map(pitch_classes: Sequence[Sequence[int]] | None = None
             ) -> Callable[[int], int | None]:
  """Returns a function from a pitch to its drum (from 0), None if it is none.

  Args:
    pitch_classes: A config's own map, [pitches of a drum] for each drum, which counts
      first; by default the TD-11's. If it is of Magenta's nine drums, its other maps
      say of what drum a pitch is that is not in it.
  """
  data = _magenta_data()
  maps = [pitch_classes or data.ROLAND_DRUM_PITCH_CLASSES]
  if len(maps[0]) == len(data.ROLAND_DRUM_PITCH_CLASSES):
    maps += [data.ROLAND_DRUM_PITCH_CLASSES, data.REDUCED_DRUM_PITCH_CLASSES]
  drums = {}
  for classes in maps:
    for drum, pitches_of_drum in enumerate(classes):
      for pitch in pitches_of_drum:
        drums.setdefault(pitch, drum)
  return drums.get


def better_map(name: str, pitches: Iterable[int], used: DrumMap | None = None
               ) -> list[str]:
  """Returns a sentence on a map that fits a file clearly better, if there is one.

  Args:
    name: The file's.
    pitches: Of its drum hits.
    used: By which it is read; None for Magenta's maps.
  """
  counts = collections.Counter(pitches)
  hits = counts.total()
  best = max(MAPS.values(), key=lambda kit: kit.likelihood(counts))
  gain = best.likelihood(counts) - max(
      kit.likelihood(counts) for kit in ([used] if used else [GM, MAPS['td11']]))
  def count(drum_of: Callable[[int], int | None]) -> int:
    return sum(n for note, n in counts.items() if drum_of(note) in FREQUENT)
  def usual(kit: DrumMap) -> Callable[[int], int | None]:
    return {note: drum for drum, note in kit.written.items()}.get
  what, there, here = max(
      (('', count(best.drum_of), count(used.drum_of if used else drum_map())),
       ('the usual notes of ', count(usual(best)), count(usual(used or GM)))),
      key=lambda way: way[1] - way[2])
  if gain < max(MORE_LIKELY, EVIDENCE / hits) or there - here < MORE_FREQUENT * hits:
    return []
  return [f'{name} reads like {best.name}: {there} of {hits} hits are {what}kick, snare, '
          f'hi-hat or ride there, {here} here. {field("map", best.name)} reads it so.']


@functools.cache
def drum_of_decoded(pitch: int) -> int | None:
  """Returns the drum (from 0) of a decoded loop's pitch, None if it is none.

  A config decodes each drum to one pitch, of the Roland TD-11's map or of
  General MIDI's. They differ in the toms, but none of these pitches is another
  drum in the other. In users' files there are more pitches: see `drum_map`.
  """
  data = _magenta_data()
  for classes in (data.ROLAND_DRUM_PITCH_CLASSES,
                  data.REDUCED_DRUM_PITCH_CLASSES):
    for drum, pitches in enumerate(classes):
      if pitch == pitches[0]:
        return drum
  return None


@functools.cache
def drum_of_written(pitch: int) -> int | None:
  """Returns the drum (from 0) of a loop's pitch, None if it is none.

  That is a decoded one, or, where hits of a user's file are kept, any of `drum_map`.
  """
  drum = drum_of_decoded(pitch)
  return drum_map()(pitch) if drum is None else drum
