"""Swing: whether a loop's off-beats are late, and by how much."""
from collections.abc import Sequence
from typing import NamedTuple

from drumloops import grid
from drumloops.grid import Hit
import numpy as np

# Hits between the beats have a distance from a straight grid and from a swung one.
# SWUNG: The second must be at most this share of the first. EVIDENCE: It must be smaller
# by so many steps in all, two triplets at least. CLEAR: A beat swings if it is smaller
# by so much there. Two such beats are needed, a quarter of all that are hit, and more
# than those where it is as clearly larger: a fill of triplets is no swing. Of the 491
# beats of GMD in 4/4, 74 swing in their first four bars.
SWUNG, EVIDENCE, CLEAR = 0.65, 0.65, 0.1


class Swing(NamedTuple):
  """How off-beats are played.

  unit: What swings, 'eighths' or 'sixteenths'.
  share: Where the second of two such notes begins, as a share of both.
  beat: Where a beat's four sixteenths are played, in steps. A shuffle has three places.
  """
  unit: str
  share: float
  beat: tuple[float, ...]


SWINGS = [swing for share in np.linspace(0.52, 0.7, 55) for swing in (
    Swing('sixteenths', share, (0, 2 * share, 2, 2 + 2 * share)),
    Swing('eighths', share, (
        0, 2 * share, 4 * share, 2 + 2 * share if share < 0.6 else 4 * share)))]


def find_swing(hits: Sequence[Hit]) -> Swing | None:
  """Returns the Swing of a file's hits, None if they do not swing."""
  strokes = {}  # Without grace notes: the loudest of a drum in a sixteenth.
  for hit in sorted(hits, key=lambda hit: hit.velocity):
    strokes[hit.drum, hit.step] = hit.start
  starts = np.array(list(strokes.values()))
  steps = np.floor(starts + 0.5)
  on_beats = (starts - steps)[steps % grid.STEPS_PER_QUARTER == 0]
  late = np.median(on_beats) if len(on_beats) else 0  # All of them; that is no swing.
  hit, beats = np.unique(np.floor((starts - late + 0.5) / grid.STEPS_PER_QUARTER),
                         return_inverse=True)
  places = (starts - late) % grid.STEPS_PER_QUARTER
  between = (places > 0.5) & (places < grid.STEPS_PER_QUARTER - 0.5)
  def away(beat: Sequence[float]) -> np.ndarray:
    points = np.append(beat, grid.STEPS_PER_QUARTER)
    return np.abs(places[between, np.newaxis] - points).min(axis=1)
  swing = min(SWINGS, key=lambda swing: away(swing.beat).sum())
  straight, swung = away(range(grid.STEPS_PER_QUARTER)), away(swing.beat)
  gains = np.bincount(beats[between], straight - swung)  # Beat by beat.
  swinging, others = np.sum(gains > CLEAR), np.sum(gains < -CLEAR)
  return swing if (
      swung.sum() < SWUNG * straight.sum() and gains.sum() > EVIDENCE and
      swinging >= max(2, len(hit) / 4) and swinging > others) else None


def play_swung(hits: Sequence[Hit], swing: Swing) -> list[Hit]:
  """Returns hits, which are on the grid, as they are played with a swing."""
  there = {(hit.pitch, hit.step) for hit in hits}
  def swung(hit: Hit) -> Hit:
    beat, sixteenth = divmod(hit.step, grid.STEPS_PER_QUARTER)
    place = swing.beat[sixteenth]
    # In a shuffle two steps have one place; of two hits the first stays straight.
    is_shared = (place in swing.beat[sixteenth + 1:] and
                 (hit.pitch, hit.step + 1) in there)
    return hit if is_shared else hit._replace(
        time=(beat * grid.STEPS_PER_QUARTER + place) / grid.STEPS_PER_QUARTER)
  return [swung(hit) for hit in hits]
