"""What a user asks of a model, as a value that checks itself."""
import dataclasses

from drumloops import grid
from drumloops.errors import UserError, check_seeds, field
from drumloops.models import fills
from drumloops.models.constraints import Constraints
from drumloops.models.sliders import Sliders
from drumloops.models.song import Section

# Each way to make loops, and how many loops it takes.
SAMPLE, RECONSTRUCT, INTERPOLATE = 'sample', 'reconstruct', 'interpolate'
COMPLETE, VARY, SONG = 'complete', 'vary', 'song'
INPUTS = {SAMPLE: 0, RECONSTRUCT: 1, INTERPOLATE: 2, COMPLETE: 1, VARY: 1, SONG: 0}
DEFAULT_TEMPERATURE = 0.65  # Chosen on validation.
GREEDY = 0.  # The temperature at which the most likely drums play.
DEFAULT_AMOUNT = 0.3


@dataclasses.dataclass(frozen=True)
class LoopRequest:
  """Loops that a model shall make.

  Attributes:
    mode: Of INPUTS.
    count: How many.
    temperature: How random each step is; None for DEFAULT_TEMPERATURE, or, to
      reconstruct, for the most likely drums.
    seed: The same seed gives the same loops.
    style: Of GMD's, '' for any.
    qpm: The tempo in quarters a minute; None for that of the given loop, else 120.
    bars: Their length; None for that of the model's loops. More bars go on with those
      before.
    amount: To vary, from 0, the loop itself, to 1, others of its kind.
    constraints: To complete, what is kept.
    sliders: To sample and to vary, how much of each attribute the loops have.
    form: Of a song, its sections; they decide the length.
    fill: The bars, from 0, that get a fill: see `fills.bars_of`.
  """
  mode: str = SAMPLE
  count: int = 4
  temperature: float | None = None
  seed: int = 0
  style: str = ''
  qpm: float | None = None
  bars: int | None = None
  amount: float = DEFAULT_AMOUNT
  constraints: Constraints = Constraints()
  sliders: Sliders = Sliders()
  form: tuple[Section, ...] = ()
  fill: tuple[int, ...] = ()

  def __post_init__(self) -> None:
    """Raises UserError if this can't be asked of any model."""
    if self.count < 1:
      raise UserError(f'{field("count")} must be more than 0.')
    if self.temperature is not None and not self.temperature > 0:
      raise UserError(f'{field("temperature")} must be more than 0.')
    if self.qpm is not None and not grid.MIN_QPM <= self.qpm <= grid.MAX_QPM:
      raise UserError(
          f'{field("qpm")} must be from {grid.MIN_QPM} to {grid.MAX_QPM}.')
    if self.style and self.mode not in (SAMPLE, COMPLETE, SONG):
      raise UserError(f'{field("style")} goes with {field("mode", SAMPLE)}, {COMPLETE} '
                      f'and {SONG} only.')
    if self.mode == SONG and not self.form:
      raise UserError(f'A song needs {field("form", "intro4,verse8,chorus8")}.')
    if self.form and self.mode != SONG:
      raise UserError(f'{field("form")} makes a song; leave out '
                      f'{field("mode", self.mode)}.')
    if self.form and self.bars not in (None, sum(bars for _, bars in self.form)):
      raise UserError(f'{field("form")} says how many bars there are; leave out '
                      f'{field("bars")}.')
    if self.mode == COMPLETE and not (self.constraints.keeps_anything or self.fill):
      raise UserError(f'To complete a loop, say what to keep of it: '
                      f'{field("keep", "kick,snare")}, {field("keep_bars", "1,2")} or '
                      f'{field("rhythm")}; or where to fill it: {field("fill", 4)}.')
    if self.fill and self.mode not in (SAMPLE, COMPLETE, VARY):
      raise UserError(f'{field("fill")} goes with {field("mode", SAMPLE)}, {COMPLETE} '
                      f'and {VARY} only; a song has fills where its sections end.')
    if self.mode != COMPLETE and self.constraints != Constraints():
      raise UserError(f'What is kept of a loop goes with {field("mode", COMPLETE)}.')
    if self.sliders and self.mode not in (SAMPLE, VARY):
      raise UserError(f'Sliders ({", ".join(map(field, self.sliders.by_name))}) go '
                      f'with {field("mode", SAMPLE)} and {VARY} only.')
    if not 0 <= self.amount <= 1:
      raise UserError(f'{field("amount")} must be from 0 to 1.')
    if self.bars is not None:
      self.check_length(self.bars)
    check_seeds(seed=self.seed)

  def check_length(self, bars: int) -> None:
    """Raises UserError unless loops of so many bars can be made, and be kept of."""
    if not 1 <= bars <= grid.MAX_BARS:
      raise UserError(f'{field("bars")} must be from 1 to {grid.MAX_BARS}.')
    if set(self.constraints.keep_bars) - set(range(bars)):
      raise UserError(f'{field("keep_bars")} goes up to {bars}, the number of bars that '
                      f'are made; {field("bars")} makes more.')

  @property
  def is_greedy(self) -> bool:
    """Whether the most likely drums play, so that all loops are the same."""
    return self.mode == RECONSTRUCT and self.temperature is None

  @property
  def softmax_temperature(self) -> float:
    """The temperature at which each step is sampled, GREEDY for the most likely."""
    return GREEDY if self.is_greedy else self.temperature or DEFAULT_TEMPERATURE

  def for_model(self, own_bars: int | None) -> 'LoopRequest':
    """Returns the request with the length that a model takes.

    Args:
      own_bars: How many bars its loops have; None where it does not say.

    Raises:
      UserError: if it makes no loops that are so short.
    """
    if self.form:
      return dataclasses.replace(self, bars=sum(bars for _, bars in self.form))
    bars = own_bars if self.bars is None else self.bars
    if own_bars and bars < own_bars:
      raise UserError(f'{field("bars")} must be from {own_bars} to {grid.MAX_BARS}.')
    if bars:
      self.check_length(bars)
      if both := set(fills.bars_of(self.fill, bars)) & set(self.constraints.keep_bars):
        raise UserError(f'Bar {min(both) + 1} is both in {field("keep_bars")} and in '
                        f'{field("fill")}; leave it in one of them.')
    return dataclasses.replace(self, bars=bars)
