"""A take: one way to play a pattern, with a drummer's velocity and microtiming.

This is GrooVAE (Gillick et al. 2019, arXiv 1905.06118). A model trained on drummers
reads a pattern: drums at the 64 steps of 4 bars. It gives each hit a velocity and a
microtiming, as drummers play.
"""
import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from drumloops import grid
from drumloops.errors import UserError, check_seeds, field
from drumloops.grid import Hit
from drumloops.humanize import feel_model
from drumloops.midi import swing as swings
from drumloops.midi.swing import MAX_MICROTIMING, Swing
from drumloops.models import constraints, groove_model
import numpy as np

DEFAULT_TAKE = 1
MEAN_TAKE = 0  # What drummers do on average.
# So much of a feel's variance goes by the hits, as if these said who plays: then two
# takes differ as two performances of one beat by one drummer of GMD do.
SAME_PLAYER = 0.3
MOST = 1.2  # Of an Amount.


# One number for all drums, or one for each of grid.DRUM_CLASSES where these differ.
ByDrum = float | tuple[float, ...]


class Amount(NamedTuple):
  """How much of a take is played, from 0, which changes nothing, to MOST."""
  velocity: ByDrum = 1.
  timing: ByDrum = 1.


WHOLE = Amount()


def read_by_drum(value: float | str | Mapping | tuple | None, name: str, others: float
                 ) -> ByDrum:
  """Returns how much is played of each drum.

  Args:
    value: What a user typed: 0.5, 'snare:0.5,hi-hat:1', '0.8,snare:0.5' or {'snare':
      0.5}; None or '' for nothing. What this returned is taken, too.
    name: The name of its field.
    others: How much of the drums that are not named.

  Raises:
    UserError: if it is something else, or names a drum twice.
  """
  if isinstance(value, tuple):
    value = dict(zip(grid.DRUM_CLASSES, value, strict=True))
  pairs = value.items() if isinstance(value, Mapping) else [
      part.rpartition(':')[::2] for part in str('' if value is None else value).split(',')
      if part.strip()]
  found = {}
  for i, (drums, typed) in enumerate(pairs):
    indices = constraints.read_drums(drums, name)
    try:
      number = float(typed)
      if not indices and i:  # Which drums is it of?
        raise ValueError
    except (TypeError, ValueError):
      raise UserError(f'{field(name)} takes a number, or one for each drum such as '
                      f'snare:0.5,hi-hat:1, not {value!r}.') from None
    check_share(number, name)
    if not indices:
      others = number
    for drum in indices:
      if drum in found:
        raise UserError(f'{field(name)} has two numbers for the '
                        f'{grid.DRUM_CLASSES[drum]}; leave one of them.')
      found[drum] = number
  each = tuple(found.get(drum, others) for drum in range(grid.DRUMS))
  return each if len(set(each)) > 1 else each[0]


def check_share(number: float, name: str) -> None:
  """Raises UserError unless so much of a take can be played."""
  if not 0 <= number <= MOST:
    raise UserError(f'{field(name)} must be from 0 to {MOST}.')


def to_typed(much: ByDrum) -> float | str:
  """Returns what `read_by_drum` reads as that: 0.5, or '1,snare:0.5'."""
  if not isinstance(much, tuple):
    return much
  most = max(much, key=much.count)
  return ','.join([f'{most:g}', *(
      f'{drum}:{number:g}' for drum, number in zip(grid.DRUM_CLASSES, much)
      if number != most)])


def define_flags() -> None:
  """Defines the flags of a take, which sample.py and humanize.py share."""
  from absl import flags
  flags.DEFINE_integer('take', DEFAULT_TAKE, 'Which of any number of ways to play; 0 is '
                       'what drummers do on average.', lower_bound=0)
  flags.DEFINE_integer('drummer', None, 'Of GMD, whose feel is taken; default: '
                       'anyone\'s.')
  for name, what in (('velocity', 'velocity'), ('timing', 'microtiming')):
    flags.DEFINE_string(name, None, f'How much of the take\'s {what}: a number, or by '
                        'drum, such as snare:0.5,hi-hat:1. Default, and for drums that '
                        'are not named: --amount.')
  flags.DEFINE_string('swing', None, 'Where the second of two sixteenths is played, in '
                      'percent of both: 50 is straight, 66.7 triplets, 75 the most. Of '
                      'eighths: eighths:66. Default: straight, or as the MIDI file '
                      'swings.')


@dataclasses.dataclass(frozen=True)
class TakeRequest:
  """How a humanizer shall play hits.

  Attributes:
    take: Which of any number of ways to play; 0 is what drummers do on average.
    amount: How much of it, from 0, which changes nothing, to MOST.
    velocity: The same of its velocities alone, by drum: see `read_by_drum`.
    timing: The same of its microtiming alone.
    drummer: The number of a drummer of GMD, whose feel is taken.
    like: Instead, a MIDI file of a performance whose feel is taken.
    swing: Where off-beats are played, as `swing.read_swing` takes it; None for where
      the hits have them.
  """
  take: int = DEFAULT_TAKE
  amount: float = 1.
  velocity: float | str | Mapping[str, float] | None = None
  timing: float | str | Mapping[str, float] | None = None
  drummer: int | None = None
  like: str | None = None
  swing: float | str | Swing | None = None

  def __post_init__(self) -> None:
    """Raises UserError if this can't be asked of any humanizer."""
    check_seeds(take=self.take)
    check_share(self.amount, 'amount')
    for name in ('velocity', 'timing'):
      object.__setattr__(
          self, name, read_by_drum(getattr(self, name), name, self.amount))
    object.__setattr__(self, 'swing', swings.read_swing(self.swing))
    if self.like and self.drummer is not None:
      raise UserError(f'Name a performance ({field("like")}) or a {field("drummer")}, '
                      'not both.')

  @property
  def how_much(self) -> Amount:
    """How much of the velocities, and of the microtiming."""
    return Amount(self.velocity, self.timing)


class PlaysHits(Protocol):
  """What `play` takes: a Take, or what does the same.

  Attributes:
    pitch_classes: Of its config.
    shape: Steps and drums of a slice.
  """
  pitch_classes: Sequence[Sequence[int]]
  shape: tuple[int, int]

  def __call__(self, hits: np.ndarray, patterns: Sequence[int]
               ) -> tuple[np.ndarray, np.ndarray]:
    """Returns velocities and microtiming: see `Take`."""


class Take:
  """Gives hits their velocity and microtiming: one take of a model."""

  def __init__(self, performer: groove_model.GrooveModel,
               kept: dict[str, np.ndarray] | None = None, take: int = DEFAULT_TAKE,
               feel: tuple[np.ndarray, np.ndarray | float] | None = None,
               progress: bool = False):
    """Sets up a take.

    Args:
      performer: The model.
      kept: What `feel_model.load` returned; None where the latents hold no feel, or it
        is not known how they lie.
      take: A seed, or MEAN_TAKE for what drummers do on average.
      feel: The mean and the deviation of the feels of which one is taken: two of
        [z_size]; any drummer's by default.
      progress: Whether long work shows a progress bar.
    """
    self.pitch_classes = performer.pitch_classes
    self.shape = (performer.steps, grid.DRUMS)
    self._performer, self._kept, self._take = performer, kept, take
    self._progress = 'Humanizing' if progress else None
    self._feel = (np.zeros(performer.z_size), 1.) if feel is None else feel
    self._spread = feel_model.Spread(kept) if kept and take != MEAN_TAKE else None

  def __call__(self, hits: np.ndarray, patterns: Sequence[int]
               ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the velocity and microtiming of hits.

    Args:
      hits: bool, [slices, 64, 9]: steps of a sixteenth, grid.DRUM_CLASSES.
      patterns: A number for each slice. Those of the same pattern are played with
        the same feel.

    Returns:
      velocities: from 0 to 1, [slices, 64, 9].
      microtiming: In steps, [slices, 64, 9]. Late hits have more than 0.
    """
    performer, kept = self._performer, self._kept
    z, sigma = performer.encode(groove_model.flat(hits))
    chance = np.zeros((len(hits), self.shape[0], groove_model.CHANCE), np.float32)
    for pattern in set(patterns) if kept else ():
      rows = np.equal(patterns, pattern)
      # By the hits too, or all patterns would be played with the same chance.
      seed = zlib.crc32(np.packbits(hits[rows]))
      of_hits = np.random.RandomState(seed)
      of_take = np.random.RandomState([self._take, seed])
      def draw(size: int) -> np.ndarray:
        return (np.sqrt(SAME_PLAYER) * of_hits.standard_normal(size) +
                np.sqrt(1 - SAME_PLAYER) * of_take.standard_normal(size))
      feel, deviation = self._feel
      if self._spread:
        feel = feel + deviation * draw(performer.z_size)
        chance[rows] = self._spread.chance(
            rows.sum(), feel, draw(feel_model.CHANNELS), of_take)
      z[rows] += sigma[rows] * (kept['mean'] + kept['root'] @ feel)
    played = performer.play(hits, z, self._spread, chance, self._progress)
    _, velocities, offsets = np.split(played, 3, axis=-1)
    return velocities, grid.microtiming_of(offsets)


def play(take: PlaysHits, patterns: Sequence[Sequence[Hit]], amount: Amount = WHOLE,
         swing: Swing | None = None) -> list[list[Hit | None]]:
  """Returns hits as a drummer would play them.

  All patterns are one batch. Each is played 4 bars at a time, from its step 0 on.

  They move as `swing.move` says. So flams, triplets and a drummer's own timing stay in
  their order, and every hit in its sixteenth, if no eighths swing.

  Of several hits of a drum in one sixteenth, the loudest gets the take's velocity. The
  others keep their ratio to it, and softer ones stay softer.

  Args:
    take: Says how they are played.
    patterns: The hits of each.
    amount: How much of the take.
    swing: Where off-beats are played; the hits are straight then.

  Returns:
    For each hit the new one; None for one that is none of the nine drums.
  """
  steps, drums = take.shape
  cells = [[(*divmod(hit.step, steps), hit.index) for hit in pattern]
           for pattern in patterns]
  # Only 4 bars in which something is hit are a slice, however far apart they are.
  places = {}
  for i, pattern in enumerate(cells):
    for part, _, drum in pattern:
      if drum is not None:
        places.setdefault((i, part), len(places))
  if not places:
    return [[None] * len(pattern) for pattern in patterns]
  slices = np.zeros([len(places), steps, drums], bool)
  given = {}  # Velocities, by place.
  for i, pattern in enumerate(cells):
    for (part, *cell), hit in zip(pattern, patterns[i]):
      if None not in cell:
        slices[places[i, part], *cell] = True
        given.setdefault((places[i, part], *cell), set()).add(hit.velocity)
  velocities, microtiming = take(slices, [i for i, _ in places])
  microtiming = np.clip(
      np.multiply(amount.timing, microtiming), -MAX_MICROTIMING, MAX_MICROTIMING)
  louder = {place: _louder(
      sorted(known, reverse=True), 127 * float(velocities[place]),
      float(np.broadcast_to(amount.velocity, drums)[place[-1]]))
            for place, known in given.items()}
  def played(i: int, pattern: Sequence[tuple]) -> list[Hit | None]:
    hits = [hit for hit in patterns[i] if hit.index is not None]
    at = [(places[i, part], *cell) for part, *cell in pattern if None not in cell]
    starts = swings.move(
        hits, np.array([microtiming[place] for place in at]), swing)
    new = iter([hit._replace(
        time=float(start) / grid.STEPS_PER_QUARTER,
        velocity=louder[place][hit.velocity])
                for hit, place, start in zip(hits, at, starts)])
    return [None if hit.index is None else next(new) for hit in patterns[i]]
  return [played(i, pattern) for i, pattern in enumerate(cells)]


def _louder(velocities: Sequence[int], wanted: float, amount: float) -> dict[int, int]:
  """Returns the new velocity of each of a drum's hits in one sixteenth.

  Args:
    velocities: From the loudest to the softest, each once.
    wanted: The take's velocity of the loudest.
    amount: How far it goes there, as a share of the way.
  """
  loudest, count = velocities[0], len(velocities)
  last = min(max(round(loudest + amount * (wanted - loudest)), count), 127)
  new = {loudest: last}
  for i, velocity in enumerate(velocities[1:], 1):
    softer = min(round(new[loudest] * velocity / loudest), last - 1)
    last = new[velocity] = max(softer, count - i)
  return new
