"""The grid that loops lie on: bars, steps, drums, and the hits on them."""
from typing import NamedTuple

from magenta_patches.added.drum_classes import (
    BARS, DRUM_CLASSES, STEPS_PER_BAR, STEPS_PER_QUARTER)
import numpy as np

__all__ = ['BARS', 'DRUM_CLASSES', 'STEPS_PER_BAR', 'STEPS_PER_QUARTER']

DRUMS = len(DRUM_CLASSES)
QUARTERS_PER_BAR = STEPS_PER_BAR // STEPS_PER_QUARTER
DEFAULT_QPM = 120.  # Of a file without a tempo. Magenta decodes at it, too.
MIN_QPM, MAX_QPM = 30, 300  # Quarters a minute, of loops that are made.
MAX_BARS = 64
DEFAULT_VELOCITY = 100


class Hit(NamedTuple):
  """One stroke of a drum.

  drum: One of DRUM_CLASSES; None where the pitch is none of the nine.
  time: Beats (quarter notes) from the loop's beginning, as played.
  velocity: How hard, from 1 to 127.
  pitch: The MIDI note; None for General MIDI's of the drum.
  """
  drum: str | None
  time: float
  velocity: int = DEFAULT_VELOCITY
  pitch: int | None = None

  @property
  def index(self) -> int | None:
    """The drum's place in DRUM_CLASSES, None if it has none."""
    return None if self.drum is None else DRUM_CLASSES.index(self.drum)

  @property
  def start(self) -> float:
    """When it is played, in steps (sixteenths)."""
    return self.time * STEPS_PER_QUARTER

  @property
  def step(self) -> int:
    """The step that it counts for."""
    return nearest_step(self.start)


def hit_at(index: int | None, start: float, velocity: int,
           pitch: int | None = None) -> Hit:
  """Returns the Hit of a drum's place in DRUM_CLASSES at `start` steps."""
  return Hit(None if index is None else DRUM_CLASSES[index],
             start / STEPS_PER_QUARTER, velocity, pitch)


def nearest_step(start: float) -> int:
  """Returns the step that a hit at `start` steps counts for."""
  return int(np.floor(start + 0.5))


def step_of(start: float, steps: int) -> int:
  """Returns the step of a hit in a loop of so many; what is outside is at its ends."""
  return min(max(nearest_step(start), 0), steps - 1)


def offset_of(start: float, step: int) -> float:
  """Returns GrooveConverter's offset of a hit: in half steps, early is more than 0."""
  return 2 * (step - start)


def microtiming_of(offsets: np.ndarray) -> np.ndarray:
  """Returns how many steps late hits with GrooveConverter's offsets are."""
  return -offsets / 2
