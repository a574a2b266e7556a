"""Swing: whether a loop's off-beats are late, and by how much."""
import collections
from collections.abc import Sequence
from typing import NamedTuple

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.grid import Hit
import numpy as np

# Hits between the beats have a distance from a straight grid and from a swung one.
# SWUNG: The second must be at most this share of the first. EVIDENCE: It must be smaller
# by so many steps in all, two triplets at least. CLEAR: A beat swings if it is smaller
# by so much there. Two such beats are needed, a quarter of all that are hit, and more
# than those where it is as clearly larger: a fill of triplets is no swing. Of the 491
# beats of GMD in 4/4, 74 swing in their first four bars.
SWUNG, EVIDENCE, CLEAR = 0.65, 0.65, 0.1
SIXTEENTHS, EIGHTHS = 'sixteenths', 'eighths'
LEAST, MOST = 50, 75  # Percent, of what can be asked for.
# How far from its step a hit is played, in steps, so that no rounding, to ticks for
# example, takes it to another sixteenth.
MAX_MICROTIMING = 0.49
ROUNDS = 3  # To find the mean lateness of off-beats, since some hits have no room.


class Swing(NamedTuple):
  """How off-beats are played.

  unit: What swings, EIGHTHS or SIXTEENTHS.
  share: Where the second of two such notes begins, as a share of both.
  beat: Where a beat's four sixteenths are played, in steps. A shuffle has three places.
  """
  unit: str
  share: float
  beat: tuple[float, ...]

  def __str__(self) -> str:
    """Returns it in words: 'sixteenths at 62%'."""
    return f'{self.unit} at {self.share:.0%}'

  @property
  def is_straight(self) -> bool:
    """Whether off-beats are where a straight grid has them."""
    return self.share == STRAIGHT.share

  @property
  def typed(self) -> str:
    """What `read_swing` reads as this: '62', or 'eighths:66'."""
    return f'{self.unit}:' * (self.unit == EIGHTHS) + f'{100 * self.share:g}'

  def room(self, steps: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns from where to where hits of straight steps are played.

    Swung sixteenths stay in their sixteenth, so that whoever reads a file finds the
    same pattern. Of swung eighths this can't be.

    Args:
      steps: Numbers of steps.
      half: Half of a step's width on a straight grid.
    """
    edges = steps - half, steps + half
    return edges if self.unit == SIXTEENTHS else tuple(map(self.place, edges))

  def place(self, starts: np.ndarray) -> np.ndarray:
    """Returns where this is played that a straight grid has at `starts`, in steps."""
    if self.unit == EIGHTHS:
      return _move(starts, range(grid.STEPS_PER_QUARTER), self.beat)
    steps = np.floor(starts + 0.5)
    late = min(2 * self.share - 1, MAX_MICROTIMING) * (steps % 2)
    return starts + late * (1 - 2 * np.abs(starts - steps))

  def straighten(self, hits: Sequence[Hit]) -> list[Hit]:
    """Returns hits that are played so where a straight grid has them."""
    beat = swing_of(self.unit, self.share).beat  # A shuffle has too few places.
    starts = _move([hit.start for hit in hits], beat, range(grid.STEPS_PER_QUARTER))
    return [hit._replace(time=float(start) / grid.STEPS_PER_QUARTER)
            for hit, start in zip(hits, starts)]


def _move(starts: np.ndarray, old: Sequence[float], new: Sequence[float]) -> np.ndarray:
  """Returns `starts` moved as the four places of each beat are."""
  beats, places = np.divmod(starts, grid.STEPS_PER_QUARTER)
  return beats * grid.STEPS_PER_QUARTER + np.interp(places, *(
      (*beat, grid.STEPS_PER_QUARTER) for beat in (old, new)))


def swing_of(unit: str, share: float) -> Swing:
  """Returns the Swing of a unit and a share, with a place for each sixteenth."""
  late = 2 * share
  return Swing(unit, share, (0, late, 2, 2 + late) if unit == SIXTEENTHS else
               (0, late, 2 * late, 2 + late))


STRAIGHT = swing_of(SIXTEENTHS, 0.5)


def read_swing(value: float | str | Swing | None) -> Swing | None:
  """Returns the Swing that a user asks for, None for none.

  Args:
    value: Percent: 62 or '62' of sixteenths, 'eighths:66'. Or a Swing, None or ''.

  Raises:
    UserError: if it is something else.
  """
  if value in (None, '') or isinstance(value, Swing):
    return value or None
  unit, _, typed = str(value).rpartition(':')
  unit = unit.strip().lower() or SIXTEENTHS
  try:
    percent = float(typed)
  except ValueError:
    percent = 0
  if unit not in (SIXTEENTHS, EIGHTHS) or not LEAST <= percent <= MOST:
    raise UserError(f'{field("swing")} takes percent from {LEAST} to {MOST}, such as '
                    f'62 or, of eighths, eighths:66, not {value!r}.')
  return swing_of(unit, percent / 100)


SWINGS = [swing for share in np.linspace(0.52, 0.7, 55) for swing in (
    swing_of(SIXTEENTHS, share),
    Swing(EIGHTHS, share, (
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


def move(hits: Sequence[Hit], late: Sequence[float] | float = 0.,
         swing: Swing | None = None, stays: Sequence[bool] | bool = False
         ) -> np.ndarray:
  """Returns where hits are played, in steps.

  A hit on the grid moves by all of its microtiming. A hit off the grid moves less, the
  farther from its step it is; halfway between two steps it does not move.

  With a swing, its grid replaces the straight one. What off-beats are late on average
  is the swing's then: each is as late for its place as it was for that average.

  Args:
    hits: On a straight grid, or near it.
    late: Their microtiming in steps, up to MAX_MICROTIMING.
    swing: Of all hits.
    stays: Which hits stay whatever is returned, so that no mean is theirs.
  """
  starts = np.array([hit.start for hit in hits])
  steps = np.floor(starts + 0.5)
  near = 1 - 2 * np.abs(starts - steps)
  if swing is None:
    return starts + late * near
  places, swung = swing.place(steps), swing.place(starts)
  low, high = swing.room(steps, MAX_MICROTIMING)
  unit = 1 if swing.unit == SIXTEENTHS else 2
  late = np.where(stays, 0., late)
  is_second = (steps % (2 * unit) == unit) & ~np.asarray(stays, bool)
  for _ in range(ROUNDS):
    # The same for all steps, so that off-beats keep their distance from others.
    late = np.clip(late, np.max(low - places, initial=-MAX_MICROTIMING),
                   np.min(high - places, initial=MAX_MICROTIMING))
    late = late - is_second * _lateness(
        hits, swung - places + late * near, is_second, unit, swing.share)
  return np.clip(swung + late * near, low, high)


def _lateness(hits: Sequence[Hit], away: Sequence[float], is_second: Sequence[bool],
              unit: int, share: float) -> float:
  """Returns how late the second of two notes is for those around it, in steps.

  That is the median of hits. Of what is around a hit, its own drum counts first.

  Args:
    hits: Of all steps.
    away: How far they are from the places of their steps.
    is_second: Which of them count.
    unit: Steps of a note.
    share: Of a Swing.
  """
  found = collections.defaultdict(list)
  for hit, far in zip(hits, away):
    found[hit.step].append(far)
    found[hit.step, hit.drum].append(far)
  means = {place: sum(fars) / len(fars) for place, fars in found.items()}
  late = []
  for hit, far, counts in zip(hits, away, is_second):
    if counts:
      around = [(weight, means.get((step, hit.drum), means[step]))
                for step, weight in ((hit.step - unit, 1 - share),
                                     (hit.step + unit, share)) if step in means]
      late.append(far - sum(weight * mean for weight, mean in around) / (
          sum(weight for weight, _ in around) or 1))
  return float(np.median(late)) if late else 0.
