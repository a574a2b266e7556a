"""The feels of a groove model: how takes differ, as kept beside its weights.

A take has a feel, which decides how all hits are played, and chance. Chance decides
how far each hit deviates from the decoder's velocity and offset. Those are the mean
of what drummers play there.

- Feel: Where a performance's latent lies in the posterior of its hits alone, in
  standard deviations. Over the training performances it is standard normal, so a
  feel can be given to other hits. The feels of each drummer of GMD are kept as
  Gaussians. Those of styles are not: hits of a style came no nearer to its drummers.
- Evenness: Some slices repeat their bars almost exactly, others do not. All that
  follows is kept for each of KINDS, from even to uneven, separately for each drum's
  velocities and for its timing. The kind depends linearly on the feel, and correlates
  with that of the other drums.
- Memory: The decoder does not remember exactly what it played before at the same step
  of the bar, and of the beat. Its values are moved towards that, as far as is best on
  average.
- Deviations: How far the hits of held-out performances were from the values so moved,
  by drum and by value, is kept as quantiles. How they go together is kept as a
  Gaussian copula: a kick and a hi-hat at one step are both late, and a hit that
  deviates does so again a bar later.

`fit_feel` makes this file; a `Spread` plays by it.
"""
import os
import re

from drumloops import grid
from drumloops.errors import UserError, stage
from drumloops.models import groove_model
import numpy as np
from scipy import special

FEEL_FILE = 'feel.npz'  # Beside a checkpoint.
CHANNELS = 2 * grid.DRUMS  # Velocities, then offsets.
KINDS = 5  # Of slices, from even to uneven, equally many of each.
BINS = 8  # Of the decoder's values, equally many hits in each.
# Of the quantiles that are kept of deviations.
LEVELS = np.concatenate([[.002, .01], np.linspace(.025, .975, 39), [.99, .998]])
PERIODS = grid.STEPS_PER_BAR, grid.STEPS_PER_QUARTER  # In which drummers repeat.
LEAST = np.repeat([1 / 127, -.98], grid.DRUMS).astype(np.float32)
MOST = np.repeat([1., .98], grid.DRUMS).astype(np.float32)


def drummer_of(filename: str) -> str | None:
  """Returns 'drummer1' of a performance of GMD; None if the name is not one."""
  match = re.search(r'(?:^|/)(drummer\d+)/', filename)
  return match and match[1]


def load(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns what `fit_feel.fit` kept beside a checkpoint.

  Raises:
    UserError: if there is nothing, or it is of another checkpoint.
  """
  path = os.path.join(os.path.dirname(checkpoint), FEEL_FILE)
  try:
    with np.load(path) as kept:
      kept = {key: kept[key] for key in kept}
    names, z_size = kept['feel_mean'].shape
    for key, shape in (
        ('trust', (KINDS, CHANNELS, grid.BARS, len(PERIODS))),
        ('said', (KINDS, 2, CHANNELS, BINS)),
        ('strayed', (KINDS, 2, CHANNELS, BINS, len(LEVELS))),
        ('correlation', (CHANNELS, CHANNELS)), ('even', (CHANNELS, z_size)),
        ('rest', (CHANNELS, CHANNELS)),
        ('repetition', (CHANNELS, grid.BARS * grid.STEPS_PER_BAR)),
        ('mean', (z_size,)), ('root', (z_size, z_size)), ('names', (names,)),
        ('feel_deviation', (names, z_size))):
      if kept[key].shape != shape or (
          key != 'names' and not np.isfinite(kept[key]).all()):
        raise ValueError(f'its {key} is not what it should be')
    name = str(kept.pop('checkpoint'))
  except Exception as e:  # Which error NumPy raises depends on the damage.
    raise UserError(
        f'There is no readable {path}, which says how takes differ; '
        f'{stage("export.py")} makes it.') from e
  if name != os.path.basename(checkpoint):
    raise UserError(f'{path} is of {name}, not of {checkpoint}; make both '
                    f'with {stage("export.py")}.')
  return kept


def gaussian(kept: dict[str, np.ndarray], name: str
             ) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and the deviation of a drummer's feels: two of [z_size].

  Args:
    kept: What `load` returned.
    name: A drummer, such as 'drummer1'.

  Raises:
    UserError: if there is no such one.
  """
  names = list(kept['names'])
  if name not in names:
    raise UserError(
        f'The feel of {name} is not known; it is of ' + (
            ', '.join(sorted(names, key=lambda n: (len(n), n))) or 'nobody') + '.')
  i = names.index(name)
  return kept['feel_mean'][i], kept['feel_deviation'][i]


def feel_of(model: groove_model.GrooveModel, kept: dict[str, np.ndarray],
            slices: np.ndarray) -> np.ndarray:
  """Returns the feel of a performance, [z_size]: the mean of its slices'.

  Args:
    model: The model.
    kept: What `load` returned.
    slices: [slices, 64, 27].
  """
  z, _ = model.encode(slices)
  mu, sigma = model.encode(groove_model.flat(slices[..., :grid.DRUMS]))
  return np.linalg.solve(
      kept['root'], ((z - mu) / sigma).mean(axis=0) - kept['mean'])


def nearest_correlation(matrix: np.ndarray) -> np.ndarray:
  """Returns a correlation matrix near one whose pairs were measured separately."""
  values, vectors = np.linalg.eigh(matrix)
  matrix = vectors * np.maximum(values, 1e-3) @ vectors.T
  scale = np.sqrt(matrix.diagonal())
  return matrix / scale / scale[:, np.newaxis]


def _symmetric_root(matrix):
  values, vectors = np.linalg.eigh(matrix)
  return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


class Spread:
  """Lets hits deviate from a decoder's values as far as drummers do.

  Attributes:
    correlation_root: A root of the correlation of a step's deviations, [18, 18].
    repetition_roots: Of each channel's, between steps: [18, steps, steps].
    rest_root: Of evenness that does not depend on the feel: [18, 18].
  """

  def __init__(self, kept: dict[str, np.ndarray]):
    """Takes what `load` or `fit_feel.fit_spread` returned."""
    self._kept = kept
    self.correlation_root = _symmetric_root(kept['correlation'])
    steps = np.arange(kept['repetition'].shape[1])
    lags = np.abs(np.subtract.outer(steps, steps))
    self.repetition_roots = np.array([
        _symmetric_root(nearest_correlation(row[lags])) for row in kept['repetition']])
    self.rest_root = _symmetric_root(kept['rest']) * np.sqrt(
        1 - np.minimum((kept['even'] ** 2).sum(axis=1), 1))

  def chance(self, count: int, feel: np.ndarray, evenness: np.ndarray,
             rng: np.random.RandomState) -> np.ndarray:
    """Returns the chance of slices of the same feel: float32, [count, steps, 36].

    Args:
      count: Of slices.
      feel: [z_size].
      evenness: The part that does not depend on the feel, standard normal, [18].
      rng: A RandomState.

    Returns:
      Side by side, for each channel: how likely a hit deviates less, and the kind of
      the slices.
    """
    steps = self.repetition_roots.shape[1]
    scores = rng.standard_normal((count, steps, CHANNELS)) @ self.correlation_root
    scores = np.einsum('cts,nsc->ntc', self.repetition_roots, scores)
    kinds = KINDS * special.ndtr(
        self._kept['even'] @ feel + evenness @ self.rest_root)
    return np.concatenate([special.ndtr(scores), np.broadcast_to(
        np.clip(kinds.astype(int), 0, KINDS - 1), scores.shape)],
                          axis=-1).astype(np.float32)

  def __call__(self, step: int, hits: np.ndarray, decoded: np.ndarray,
               chance: np.ndarray) -> np.ndarray:
    """Returns velocities and offsets: float32, [slices, 18].

    Args:
      step: Steps come one after the other, from 0 on.
      hits: [slices, 9].
      decoded: The decoder's velocities and offsets, [slices, 18].
      chance: The step's, [slices, 36].
    """
    if step == 0:  # Sums of what was played, and of how many hits, by period.
      self._before = [np.zeros((2, period) + decoded.shape) for period in PERIODS]
    here = [before[:, step % len(before[0])] for before in self._before]
    memories = np.stack([np.where(count, total / np.maximum(count, 1) - decoded, 0)
                         for total, count in here], axis=-1)
    kinds = chance[:, CHANNELS:].astype(int)
    channels = np.arange(CHANNELS)
    bars = here[0][1].astype(int)
    trust = self._kept['trust'][kinds, channels, bars]
    table = kinds, (bars > 0).astype(int), channels
    expected = decoded + np.sum(trust * memories, axis=-1)
    bins, share = _place(expected, self._kept['said'][table])
    levels, level_share = _place(chance[:, :CHANNELS], LEVELS)
    def deviation(b):
      low, high = (self._kept['strayed'][(*table, b, levels + i)]
                   for i in (0, 1))
      return low + level_share * (high - low)
    low, high = deviation(bins), deviation(bins + 1)
    played = np.clip(expected + low + share * (high - low), LEAST, MOST).astype(
        np.float32)
    hits = np.tile(hits, [1, 2])
    for part in here:
      part += np.stack([hits * played, hits])
    return played


def _place(values, points):
  """Returns between which of sorted points values lie, and how far from the first.

  Values beyond the ends are taken for them.

  Args:
    values: [...].
    points: [points], or for each value its own, [..., points].
  """
  points = np.broadcast_to(points, values.shape + np.shape(points)[-1:])
  i = np.clip((points <= values[..., np.newaxis]).sum(axis=-1) - 1, 0,
              points.shape[-1] - 2)
  first, then = (np.take_along_axis(points, (i + k)[..., np.newaxis], axis=-1)[..., 0]
                 for k in (0, 1))
  return i, np.clip((values - first) / np.where(then > first, then - first, 1), 0, 1)
