"""Which drum a MIDI note is: Magenta's maps, General MIDI's and the Roland TD-11's."""
import functools
from collections.abc import Callable, Sequence

from drumloops.system import magenta_setup

# General MIDI's notes of a drum kit. Other percussion that counts as one of the nine
# drums gives it its note only where nothing else does.
OF_A_KIT = {*range(35, 54), 55, 57, 59}
# Pads of GMD's TD-11 that General MIDI lacks, or that mean a vibraslap in it.
GENERAL_MIDI = {22: 42, 26: 46, 58: 43}
HI_HATS = (22, 26, 42, 44, 46)  # Of both.


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


def pitch_of(drum: int) -> int:
  """Returns General MIDI's note of one of the nine drums."""
  data = _magenta_data()
  return data.REDUCED_DRUM_PITCH_CLASSES[drum][0]


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


def drum_of_written(pitch: int) -> int | None:
  """Returns the drum (from 0) of a loop's pitch, None if it is none.

  That is a decoded one, or, where hits of a user's file are kept, any of `drum_map`.
  """
  drum = drum_of_decoded(pitch)
  return drum_map()(pitch) if drum is None else drum
