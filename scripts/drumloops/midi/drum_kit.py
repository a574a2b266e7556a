"""The synthesized kit: sounds that synthesis.py rendered, which the page has, too.

Gains, places and fades are whole multiples of powers of two, so that sums of a loop's
strokes are exact in float64: whoever adds them, in any order, gets the same samples.
"""
import json
import math
import pathlib

from drumloops.midi import drum_maps
from magenta_patches.added.drum_classes import CLOSED_HIHAT, OPEN_HIHAT
import numpy as np
import soundfile

FOLDER = pathlib.Path(__file__).parent
WAVES, INDEX = FOLDER / 'kit.flac', FOLDER / 'kit.json'
CHOKE = 1024  # Samples in which a hi-hat is closed: 23 ms.
GAIN_UNITS, PAN_UNITS = 2 ** 14, 2 ** 8
MARKS = 0.5, -0.5  # The first samples, since browsers scale what they read.
GOLDEN = 0.6180339887498949  # Its multiples, less whole numbers, spread evenly.


def read_index() -> dict[str, object]:
  """Returns what page and commands know of the sounds.

  {'pans': each drum's place from -1, left, to 1, 'layers': [{'drum', 'velocity',
  'edge': the edges' power over the bodies' at `velocity`, 'bodies', 'edges': [(first
  sample, samples)]}]}.
  """
  return json.loads(INDEX.read_text())


def sides(pan: float) -> np.ndarray:
  """Returns how loud a place is left and right, of equal power: [2]."""
  angle = math.pi / 4 * (1 + pan)
  return np.floor(PAN_UNITS * np.array([math.cos(angle), math.sin(angle)]) + 0.5
                  ) / PAN_UNITS


def gain(velocity: int, edge: float) -> float:
  """Returns a body's gain: 1 at velocity 127, of which an edge gets velocity / 127.

  Both together are as loud as SoundFonts are: their level falls with the square.
  """
  v = velocity / 127
  return v * v * math.sqrt((1 + edge) / (1 + edge * v * v))


def whole(level: float) -> float:
  """Returns a gain as a whole multiple of 1 / GAIN_UNITS."""
  return math.floor(GAIN_UNITS * level + 0.5) / GAIN_UNITS


class DrumKit:
  """The kit, as `sound.mix` takes it, for any number of threads."""

  path = 'The synthesized kit'

  def __init__(self) -> None:
    """Reads its sounds."""
    index, (waves, _) = read_index(), soundfile.read(WAVES)
    self._places = [sides(pan)[np.newaxis] for pan in index['pans']]
    self._drums = [
        (layer['edge'], *([waves[np.newaxis, at:at + samples]
                           for at, samples in layer[name]]
                          for name in ('bodies', 'edges')))
        for layer in index['layers']]

  def remarks(self) -> list[str]:
    """Returns nothing: there is one kit."""
    return []

  def sides(self, pitch: int) -> np.ndarray:
    """Returns how loud a pitch is left and right: [1, 2]."""
    drum = drum_maps.drum_of_written(pitch)
    return np.zeros([1, 2]) if drum is None else self._places[drum]

  def stroke(self, pitch: int, velocity: int, number: int = 0
             ) -> list[tuple[np.ndarray, float]]:
    """Returns a stroke, as waves, float64 [1, samples], and their gains.

    Args:
      pitch: Of General MIDI or the TD-11.
      velocity: From 1 to 127.
      number: How many strokes of the pitch were before; neighbours sound differently.
    """
    drum, turns = drum_maps.drum_of_written(pitch), number * GOLDEN
    if drum is None:
      return [(np.zeros([1, 0]), 1)]
    share, *sounds = self._drums[drum]
    body, edge = (some[math.floor((turns - math.floor(turns)) * len(some))]
                  for some in sounds)
    level = gain(velocity, share)
    return [(body, whole(level)), (edge, whole(level * velocity / 127))]

  def is_cut_off(self, pitch: int, other: int) -> bool:
    """Whether a stroke cuts off one of a pitch: hi-hats do an open hi-hat."""
    return drum_maps.drum_of_written(pitch) == OPEN_HIHAT and (
        drum_maps.drum_of_written(other) in (CLOSED_HIHAT, OPEN_HIHAT))

  def cut_off(self, pitch: int, velocity: int, other: int, samples: int,
              number: int = 0) -> list[tuple[np.ndarray, float]]:
    """Returns a stroke, as `stroke` does, that another cuts off after some samples."""
    def faded(wave):
      wave = wave[:, :samples + CHOKE].copy()
      tail = wave[:, samples:]
      tail *= np.arange(CHOKE, CHOKE - tail.shape[1], -1) / CHOKE
      return wave
    return [(faded(wave), level)
            for wave, level in self.stroke(pitch, velocity, number)]
