"""Fills: bars that are filled in around what is kept, as drummers end phrases.

Fills are bars that the model decodes given the bars around, and in which each drum is
hit at each step as often as in GMD's fills (Gillick et al. 2019, arXiv 1905.06118). The
distribution nearest to the model's with these means is the model's times an exponential
of the hits; `fit` finds its slopes. Of several bars the one is taken that is most of a
fill. A crash may come after it.
"""
from collections.abc import Iterable
import os

from drumloops import grid
from drumloops.data import patterns
from drumloops.errors import UserError, field
from drumloops.models import completion, constraints
from drumloops.runs import checkpoint_files
from magenta_patches.added.drum_classes import CRASH
import numpy as np
from tqdm.auto import trange

FIELD = 'fill'
FILLS_FILE = 'fills.npz'  # Beside a checkpoint.
CANDIDATES, PARTICLES = 8, 8  # For one fill.
# How often GMD's drummers play a crash after a fill between two bars that are none.
CRASH_AFTER = 0.37
LEAST_BARS = 100  # Fills that `fit` needs.
LOOPS, ROUNDS, DAMPING, MOST_SLOPE = 160, 9, 0.8, 8
PRIOR_BARS = 8  # Each drum counts as if so many bars had it at any step.


_WITH_CRASH = patterns.bits(np.arange(constraints.CLASSES))[:, CRASH]


def read(typed: str | int | Iterable[int]) -> tuple[int, ...]:
  """Returns bars, from 0, of '4' or '4,8', as `constraints.read_bars` reads them."""
  return constraints.read_bars(typed, FIELD)


def bars_of(asked: tuple[int, ...], bars: int) -> tuple[int, ...]:
  """Returns in which bars of a loop fills are, from 0.

  Args:
    asked: Of `read`. One bar stands for all its multiples: 4, 8, 12 for 4.
    bars: How many the loop has.

  Raises:
    UserError: if it has no such bar.
  """
  if asked and asked[-1] >= bars:
    raise UserError(f'{field(FIELD)} goes up to {bars}, the number of bars that are '
                    f'made; {field("bars")} makes more.')
  return tuple(range(asked[0], bars, asked[0] + 1)) if len(asked) == 1 else asked


def favor(slopes: np.ndarray) -> np.ndarray:
  """Returns what is added to a bar's logits: [steps a bar, CLASSES].

  Args:
    slopes: Of `fit`, [steps a bar, drums].
  """
  return slopes.astype(float) @ patterns.bits(np.arange(constraints.CLASSES)).T


def _log_odds(bars):
  """Returns the log odds of each drum at each step: [steps a bar, drums]."""
  hits = patterns.bits(bars)
  often = (hits.sum(axis=0) + PRIOR_BARS * hits.mean(axis=(0, 1))) / (
      len(bars) + PRIOR_BARS)
  often = np.clip(often, 0.5 / len(bars), 1 - 0.5 / len(bars))
  return np.log(often / (1 - often))


def fit(completer: completion.Completer, loops: np.ndarray, bars: np.ndarray,
        temperature: float, seed: int = 0) -> np.ndarray:
  """Returns the slopes of fills: float16, [steps a bar, drums].

  Args:
    completer: Of the model.
    loops: Patterns, [loops, steps], whose last bars are filled in to find out.
    bars: Fills, [bars, steps a bar].
    temperature: Of the softmax each step is sampled from.
    seed: For what is drawn.
  """
  rng, wanted = np.random.RandomState(seed), _log_odds(bars)
  completer.reseed(seed)
  slopes = np.zeros(wanted.shape)
  for _ in trange(ROUNDS, desc='Fitting fills', unit='round', leave=False):
    some = loops[rng.choice(len(loops), LOOPS)]
    allowed = completion.alone(some)
    allowed[:, -len(slopes):] = True
    favored = np.zeros(allowed.shape[1:])
    favored[-len(slopes):] = favor(slopes)
    made = completer.complete(allowed, temperature, favor=favored)[:, -len(slopes):]
    slopes = np.clip(slopes + DAMPING * (wanted - _log_odds(made)),
                     -MOST_SLOPE, MOST_SLOPE)
  return np.float16(slopes)


def finish(config: object, checkpoint: str, loops: np.ndarray, bars: np.ndarray,
           temperature: float) -> bool:
  """Writes FILLS_FILE beside a checkpoint; returns whether there are fills enough.

  Args:
    config: The checkpoint's.
    checkpoint: Its prefix.
    loops: As for `fit`.
    bars: As for `fit`.
    temperature: Of sampled loops.
  """
  if len(bars) < LEAST_BARS:
    return False
  slopes = fit(completion.Completer(config, checkpoint, particles=PARTICLES),
               loops, bars, temperature)
  checkpoint_files.save_beside(checkpoint, FILLS_FILE, {
      'slopes': slopes, 'z_size': np.array(config.hparams.z_size)})
  return True


def are_kept(checkpoint: str) -> bool:
  """Whether FILLS_FILE lies beside a checkpoint, given its prefix."""
  return os.path.exists(checkpoint_files.beside(checkpoint, FILLS_FILE))


def load(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns {'slopes': of `fit`}, as kept beside a checkpoint.

  Args:
    checkpoint: Its prefix.

  Raises:
    UserError: if nothing is kept there, or it is of another checkpoint.
  """
  def z_size_of(kept):
    if not (kept['slopes'].shape == (grid.STEPS_PER_BAR, grid.DRUMS) and
            np.isfinite(kept['slopes']).all()):
      raise ValueError('it has other arrays than it should')
    return int(kept['z_size'])
  return checkpoint_files.load_beside(
      checkpoint, FILLS_FILE,
      'which fills need (of data that names its fills, as GMD does)', z_size_of)


def fill(completer: completion.Completer, slopes: np.ndarray, loop: np.ndarray,
         bars: Iterable[int], allowed: np.ndarray, temperature: float, style: str,
         rng: np.random.RandomState) -> np.ndarray:
  """Returns a loop with fills: int, [steps].

  Args:
    completer: One of PARTICLES.
    slopes: Of `fit`.
    loop: Classes, [steps].
    bars: Where to fill, from 0.
    allowed: Which classes steps may have, [steps, CLASSES].
    temperature: Of the softmax each step is sampled from.
    style: A style of GMD's, or ''.
    rng: Decides on crashes.
  """
  loop, bars, favored = loop.copy(), list(bars), favor(slopes)
  for bar in bars:
    first, last = bar * grid.STEPS_PER_BAR, (bar + 1) * grid.STEPS_PER_BAR
    # The bar ends a phrase, if there are bars enough before it.
    begin = min(max(0, last - completer.steps), len(loop) - completer.steps)
    here = slice(first - begin, last - begin)
    part = completion.alone(loop[begin:begin + completer.steps])
    part[here] = allowed[first:last]
    favors = np.zeros(part.shape)
    favors[here] = favored
    made = completer.complete(np.repeat([part], CANDIDATES, axis=0), temperature, style,
                              favor=favors)[:, here]
    loop[first:last] = made[np.argmax(
        favored[np.arange(len(favored)), made].sum(axis=1))]
    if last < len(loop) and bar + 1 not in bars and (
        allowed[last, _WITH_CRASH].any()) and rng.random_sample() < CRASH_AFTER:
      loop[last] |= 1 << CRASH
  return loop
