"""The grid that loops lie on: bars, steps, drum classes and their pitches."""
import functools

from magenta_patches.added.drum_classes import (
    BARS, DRUM_CLASSES, STEPS_PER_BAR, STEPS_PER_QUARTER)
import numpy as np

DRUMS = len(DRUM_CLASSES)


def nearest_step(start):
  """Returns the step that a hit at `start` steps counts for."""
  return int(np.floor(start + 0.5))


def step_of(start, steps):
  """Returns the step, of so many, that a hit counts for: what is later for the last."""
  return min(nearest_step(start), steps - 1)


def drum_map(pitch_classes):
  """Returns a function from a pitch to its drum class (from 0), None if it is none.

  Args:
    pitch_classes: A config's own map, which counts first. If it is of Magenta's
      nine drums, its other maps say of what drum a pitch is that is not in it.
  """
  from magenta.models.music_vae import data
  maps = [pitch_classes]
  if len(pitch_classes) == len(data.ROLAND_DRUM_PITCH_CLASSES):
    maps += [data.ROLAND_DRUM_PITCH_CLASSES, data.REDUCED_DRUM_PITCH_CLASSES]
  drums = {}
  for classes in maps:
    for drum, pitches_of_drum in enumerate(classes):
      for pitch in pitches_of_drum:
        drums.setdefault(pitch, drum)
  return drums.get


@functools.cache
def class_of_pitch(pitch):
  """Returns the drum class of a pitch of decoded loops, None if it is none.

  A config decodes each drum to one pitch, of the Roland TD-11's map or of
  General MIDI's. They differ in the toms, but none of these pitches is another
  drum in the other. In users' files there are more pitches: see `drum_map`.
  """
  from magenta.models.music_vae import data
  for classes in (data.ROLAND_DRUM_PITCH_CLASSES,
                  data.REDUCED_DRUM_PITCH_CLASSES):
    for drum, pitches in enumerate(classes):
      if pitch == pitches[0]:
        return drum
  return None
