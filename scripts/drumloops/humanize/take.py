"""A take: one way to play a pattern, with a drummer's velocity and microtiming.

After GrooVAE (Gillick et al. 2019, arXiv 1905.06118): a model that has learned from
drummers reads a pattern, and draws each hit's velocity and microtiming.
"""
import dataclasses
import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from drumloops import grid
from drumloops.errors import UserError, check_seeds, field
from drumloops.grid import Hit
from drumloops.midi import swing as swings
from drumloops.midi.swing import MAX_MICROTIMING, Swing
from drumloops.models import constraints, groove_model
import numpy as np

DEFAULT_TAKE = 1
MEAN_TAKE = 0  # What drummers do on average.
# So much of a feel's variance goes by the hits, as if these said who plays: then two
# takes differ as two performances of one beat by one drummer of GMD do.
SAME_PLAYER = 0.6
MOST = 1.2  # Of an Amount.
PART = grid.BARS * grid.STEPS_PER_BAR  # Steps.


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
  flags.DEFINE_float('ornaments', None, 'How often hits become flams and drags, from 0 '
                     'to 1, which is as often as drummers\' do. Default: 1 for loops of '
                     'the model, 0 for MIDI files.')
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
    ornaments: How often hits become flams and drags, from 0 to 1, which is as often as
      drummers' do.
  """
  take: int = DEFAULT_TAKE
  amount: float = 1.
  velocity: float | str | Mapping[str, float] | None = None
  timing: float | str | Mapping[str, float] | None = None
  drummer: int | None = None
  like: str | None = None
  swing: float | str | Swing | None = None
  ornaments: float = 0.

  def __post_init__(self) -> None:
    """Raises UserError if this can't be asked of any humanizer."""
    check_seeds(take=self.take)
    check_share(self.amount, 'amount')
    for name in ('velocity', 'timing'):
      object.__setattr__(
          self, name, read_by_drum(getattr(self, name), name, self.amount))
    object.__setattr__(self, 'swing', swings.read_swing(self.swing))
    if not 0 <= self.ornaments <= 1:
      raise UserError(f'{field("ornaments")} must be from 0 to 1.')
    if self.like and self.drummer is not None:
      raise UserError(f'Name a performance ({field("like")}) or a {field("drummer")}, '
                      'not both.')

  @property
  def how_much(self) -> Amount:
    """How much of the velocities, and of the microtiming."""
    return Amount(self.velocity, self.timing)


class Section(NamedTuple):
  """Bars of a pattern that are played in a row.

  Attributes:
    hits: bool, [steps, 9]: steps of a sixteenth, grid.DRUM_CLASSES.
    pattern: The pattern's number. Sections of one have the same feel.
    qpm: The tempo, in quarters a minute.
  """
  hits: np.ndarray
  pattern: int
  qpm: float


class PlaysHits(Protocol):
  """What `play` takes: a Take, or what does the same.

  Attributes:
    pitch_classes: Of its config.
    longest: Steps of a section at most; None for any number.
    adds_strokes: Whether a hit may have several strokes.
  """
  pitch_classes: Sequence[Sequence[int]]
  longest: int | None
  adds_strokes: bool

  def __call__(self, sections: Sequence[Section]) -> list[np.ndarray]:
    """Returns how sections are played: see `Take`."""


class Take:
  """Gives hits their velocity and microtiming: one take of a model."""

  def __init__(self, model: 'groove_model.MeanModel | groove_model.StrokeModel',
               kept: dict[str, np.ndarray] | None = None, take: int = DEFAULT_TAKE,
               feel: tuple[np.ndarray, np.ndarray | float] | None = None,
               ornaments: float = 0., progress: bool = False):
    """Sets up a take.

    Args:
      model: The model.
      kept: What `feel_model.load` returned; None of a MeanModel, which has one take.
      take: A seed, or MEAN_TAKE for what drummers do on average.
      feel: The mean and the deviation of the feels of which one is taken: two of
        [z_size]; any drummer's by default.
      ornaments: How likely a hit has several strokes: see TakeRequest.
      progress: Whether long work shows a progress bar.
    """
    self.pitch_classes, self.longest = model.pitch_classes, model.longest
    self._model, self._kept, self._take = model, kept, take
    self._ornaments, self.adds_strokes = ornaments, ornaments > 0
    self._progress = 'Humanizing' if progress else None
    self._feel = feel

  def __call__(self, sections: Sequence[Section]) -> list[np.ndarray]:
    """Returns the velocities and microtiming of hits.

    Args:
      sections: Of one length, if `longest` says so.

    Returns:
      Of each section [strokes, 2, steps, 9]: of each hit's strokes, from the loudest
      on, velocities from 0 to 1, and how late they are, in steps. Velocities are 0
      where there is no stroke.
    """
    hits = [section.hits for section in sections]
    if self._kept is None:
      played = self._model.play(hits, self._progress)
    else:
      z, chance = self._chance(sections)
      played = self._model.play(hits, [section.qpm for section in sections], z, chance,
                                self._ornaments, self._progress)
    def split(slice_: np.ndarray) -> np.ndarray:
      _, *parts = np.split(slice_, range(grid.DRUMS, slice_.shape[1], grid.DRUMS), axis=1)
      strokes = len(parts) // 2
      values = np.array(parts[:2 * strokes]).reshape(strokes, 2, len(slice_), -1)
      values[:, 1] = grid.microtiming_of(values[:, 1])
      return values
    return list(map(split, played))

  def _chance(self, sections: Sequence[Section]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns latents, [sections, z_size], and what StrokeModel.play draws with."""
    from magenta.models.music_vae import stroke_network
    kept, latents, chances = self._kept, [], []
    mean, deviation = (0., 1.) if self._feel is None else self._feel
    for _, found in itertools.groupby(sections, lambda section: section.pattern):
      own = list(found)
      # By the hits too, or all patterns would be played with the same chance.
      seed = zlib.crc32(b''.join(np.packbits(section.hits) for section in own))
      of_hits = np.random.RandomState(seed)
      of_take = np.random.RandomState([self._take, seed])
      feel = np.broadcast_to(mean, kept['mean'].shape)
      if self._take != MEAN_TAKE:
        drawn, other = (rng.standard_normal(len(feel)) for rng in (of_hits, of_take))
        feel = feel + deviation * (np.sqrt(SAME_PLAYER) * drawn +
                                   np.sqrt(1 - SAME_PLAYER) * other)
      for section in own:
        shape = *section.hits.shape, stroke_network.CHANCE
        latents.append(kept['mean'] + kept['root'] @ feel)
        chances.append(of_take.uniform(size=shape) if self._take != MEAN_TAKE else
                       np.full(shape, stroke_network.MEAN))
    return np.array(latents), chances


class Ornament(NamedTuple):
  """A stroke that a take adds to a hit, so that it is a flam or a drag.

  Attributes:
    index: The hit's place in its pattern.
    hit: The stroke.
  """
  index: int
  hit: Hit


def play(take: PlaysHits, patterns: Sequence[Sequence[Hit]], amount: Amount = WHOLE,
         swing: Swing | None = None, qpm: Sequence[float] | None = None,
         stays: Sequence[Sequence[bool]] | None = None
         ) -> list[tuple[list[Hit | None], list[Ornament]]]:
  """Returns hits as a drummer would play them.

  All patterns are one batch. Each is played from its step 0 on, 4 bars after 4 bars.
  After 4 of them without a hit, it is played as from a beginning.

  They move as `swing.move` says. So flams, triplets and a drummer's own timing stay in
  their order, and every hit in its sixteenth, if no eighths swing.

  Of several hits of a drum in one sixteenth, the loudest gets the take's velocity. The
  others keep their ratio to it, and softer ones stay softer. No stroke is added there,
  nor to a drum of which nothing of the take is played.

  Args:
    take: Says how they are played.
    patterns: The hits of each.
    amount: How much of the take.
    swing: Where off-beats are played; the hits are straight then.
    qpm: The patterns' tempos; None for grid.DEFAULT_QPM.
    stays: Which hits of each stay as they are, whatever is returned of them.

  Returns:
    For each pattern, for each hit the new one, None for one that is none of the nine
    drums; and the strokes that the take adds.
  """
  cells = [[(hit.step, hit.index) for hit in pattern] for pattern in patterns]
  sections, begins = [], {}  # Where 4 bars of a pattern begin: (section, step of it).
  for i, pattern in enumerate(cells):
    parts = sorted({step // PART for step, drum in pattern if drum is not None})
    for run in _runs(parts, take.longest and take.longest // PART):
      for part in run:
        begins[i, part] = len(sections), PART * (part - run[0])
      sections.append(Section(
          np.zeros([PART * len(run), grid.DRUMS], bool), i,
          grid.DEFAULT_QPM if qpm is None else qpm[i]))
  def place(i: int, step: int, drum: int) -> tuple:
    section, begin = begins[i, step // PART]
    return section, begin + step % PART, drum
  given = {}  # Velocities, by place.
  for i, pattern in enumerate(cells):
    for cell, hit in zip(pattern, patterns[i]):
      if hit.index is not None:
        section, *own = at = place(i, *cell)
        sections[section].hits[*own] = True
        given.setdefault(at, []).append(hit.velocity)
  played = take(sections) if sections else []
  amounts, timing = (np.broadcast_to(part, grid.DRUMS) for part in amount)
  louder = {(section, *cell): _louder(
      sorted(set(known), reverse=True), 127 * float(played[section][0, 0][*cell]),
      float(amounts[cell[-1]])) for (section, *cell), known in given.items()}
  def as_played(i: int, pattern: Sequence[tuple]
                ) -> tuple[list[Hit | None], list[Ornament]]:
    indices = [k for k, hit in enumerate(patterns[i]) if hit.index is not None]
    hits = [patterns[i][k] for k in indices]
    at = [place(i, *pattern[k]) for k in indices]
    late = [np.clip(timing[cell[-1]] * played[section][0, 1][*cell],
                    -MAX_MICROTIMING, MAX_MICROTIMING) for section, *cell in at]
    new, ornaments = [None] * len(pattern), []
    for k, hit, cell, start in zip(
        indices, hits, at, swings.move(
            hits, np.array(late), swing, [stays[i][k] for k in indices] if stays
            else False)):
      new[k] = hit._replace(time=float(start) / grid.STEPS_PER_QUARTER,
                            velocity=louder[cell][hit.velocity])
      if len(given[cell]) == 1 and (amounts[cell[-1]] or timing[cell[-1]]):
        ornaments += [Ornament(k, stroke) for stroke in _more_strokes(
            new[k], played[cell[0]][:, :, *cell[1:]],
            (swing or swings.STRAIGHT).room(hit.step, MAX_MICROTIMING))]
    return new, ornaments
  return [as_played(i, pattern) for i, pattern in enumerate(cells)]


def _runs(parts: Sequence[int], longest: int | None) -> list[list[int]]:
  """Returns numbers in runs of those that follow each other, of `longest` at most."""
  runs = []
  for part in parts:
    if runs and part == runs[-1][-1] + 1 and len(runs[-1]) != longest:
      runs[-1].append(part)
    else:
      runs.append([part])
  return runs


def _more_strokes(hit: Hit, strokes: np.ndarray, room: Sequence[float]) -> list[Hit]:
  """Returns the strokes after the first, as loud and as far from `hit` as a take says.

  Args:
    hit: The first, as it is played.
    strokes: A take's velocities and microtiming, [strokes, 2].
    room: From where to where they may be, in steps.
  """
  (loudest, late), *others = strokes.tolist()
  found = {}  # By time.
  for velocity, then in others:
    time = float(np.clip(hit.start + then - late, *room)) / grid.STEPS_PER_QUARTER
    if velocity and time >= 0 and time != hit.time:  # None before the beginning.
      found.setdefault(time, hit._replace(time=time, velocity=max(1, round(
          hit.velocity * min(1., velocity / loudest)))))
  return list(found.values())


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
