"""Patterns of drum loops, and what can be measured of them with NumPy alone.

Patterns are an integer array [loops, steps]. Each number is a class: one bit for each
of Magenta's nine drums, set where the drum is hit. Most loops have 64 steps.
"""
from drumloops import grid
import numpy as np

PART = 4096  # Loops that are looked at at once, so that memory is bounded.


def parts(loops: np.ndarray) -> list[np.ndarray]:
  """Returns the loops in parts of at most PART."""
  return np.split(loops, range(PART, len(loops), PART))


def of_slices(slices: np.ndarray) -> np.ndarray:
  """Returns the patterns of a converter's slices: integers, [loops, steps].

  Args:
    slices: [loops, steps] of classes, or [loops, steps, 3 * drums] of hits,
      velocities and offsets.
  """
  if slices.ndim == 2:
    return slices
  return ((slices[..., :grid.DRUMS] > 0.5) << np.arange(grid.DRUMS)).sum(axis=-1)


def bits(classes: np.ndarray) -> np.ndarray:
  """Returns which drums are hit in classes of any shape: bool, [..., drums]."""
  return (np.asarray(classes, np.uint16)[..., np.newaxis] &
          np.uint16(1) << np.arange(grid.DRUMS, dtype=np.uint16)) > 0


def hits(loops: np.ndarray) -> np.ndarray:
  """Returns which drums are hit: bool, [loops, bars, steps a bar, drums].

  Args:
    loops: Patterns, [loops, steps].
  """
  return bits(loops).reshape(len(loops), -1, grid.STEPS_PER_BAR, grid.DRUMS)


def bar_similarity(loops: np.ndarray) -> np.ndarray:
  """Returns the Jaccard similarity of neighbouring bars: [loops, bars - 1].

  Hits that both bars have, as a share of those that either has; 1 where both
  are silent.

  Args:
    loops: Patterns, [loops, steps].
  """
  h = hits(loops)
  h = h.reshape(h.shape[:2] + (-1,))
  both = (h[:, 1:] & h[:, :-1]).sum(axis=-1)
  either = (h[:, 1:] | h[:, :-1]).sum(axis=-1)
  return np.where(either, both / np.maximum(either, 1), 1.)


def features(loops: np.ndarray) -> np.ndarray:
  """Returns features of patterns: [loops, 16 * 9 + bars + bars - 1].

  How often each drum falls on each of a bar's steps; hits a step, of each bar; the
  similarity of neighbouring bars.

  Args:
    loops: Patterns, [loops, steps].
  """
  return np.concatenate([np.concatenate([
      hits(part).mean(axis=1).reshape(len(part), -1),
      hits(part).sum(axis=-1).mean(axis=-1),
      bar_similarity(part)], axis=1) for part in parts(loops)])


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the Frechet distance of Gaussians fitted to two sets of features.

  The root of |mean difference|^2 + tr(A + B - 2 (A B)^(1/2)), which Heusel et
  al. 2017 (arXiv 1706.08500) use for images.

  Args:
    a: [samples, features].
    b: [samples, features].
  """
  cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
  # tr((A B)^(1/2)) by the eigenvalues of A^(1/2) B A^(1/2), which is symmetric.
  values, vectors = np.linalg.eigh(cov_a)
  root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
  cross = np.linalg.eigvalsh(root @ cov_b @ root)
  squared = (np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2)
             + np.trace(cov_a) + np.trace(cov_b)
             - 2 * np.sqrt(np.maximum(cross, 0)).sum())
  return float(np.sqrt(max(squared, 0)))


class Distance:
  """Frechet distance of loops to a reference set, by scaled features.

  One number divides each group of features, so that the group's variance over the
  training loops is one in all. So three things count alike: where the drums fall, how
  dense the loops are and how their bars repeat. Inside a group, a rare drum counts
  little.
  """

  def __init__(self, train: np.ndarray, reference: np.ndarray):
    """Finds the scale of each group, and the reference set's features.

    Args:
      train: Patterns, [loops, steps], which the scale is taken of.
      reference: Patterns, [loops, steps], which distances are to.
    """
    def mean(function):
      return sum(function(features(part)).sum(axis=0)
                 for part in parts(train)) / len(train)
    center = mean(lambda f: f)
    variance = mean(lambda f: (f - center) ** 2)
    self._scale = np.empty_like(variance)
    bars = hits(train).shape[1]
    falls, density = grid.STEPS_PER_BAR * grid.DRUMS, bars
    for group in np.split(np.arange(len(variance)),
                          np.cumsum([falls, density])):
      # What never changes is not scaled.
      self._scale[group] = np.sqrt(variance[group].sum()) or 1
    self._reference = features(reference) / self._scale

  def __call__(self, loops: np.ndarray) -> float:
    """Returns the distance of patterns, [loops, steps]."""
    return frechet_distance(features(loops) / self._scale, self._reference)


def marginal_loops(train: np.ndarray, count: int,
                   rng: np.random.RandomState) -> np.ndarray:
  """Returns patterns whose hits are independent, each as frequent as in `train`.

  A baseline that knows where in a bar each drum falls, and nothing else.

  Args:
    train: Patterns, [loops, steps].
    count: How many to return.
    rng: Draws them.

  Returns:
    [count, steps].
  """
  total = sum(hits(part).sum(axis=(0, 1)) for part in parts(train))
  bars = train.shape[1] // grid.STEPS_PER_BAR
  frequency = total / (len(train) * bars)
  drawn = rng.random_sample((count, bars) + frequency.shape) < frequency
  return (drawn << np.arange(grid.DRUMS)).sum(axis=-1).reshape(count, -1)


def mixed_bars(train: np.ndarray, count: int,
               rng: np.random.RandomState) -> np.ndarray:
  """Returns patterns of bars from different loops of `train`.

  A baseline whose every bar is a drummer's, but whose bars do not belong together.

  Args:
    train: Patterns, [loops, steps].
    count: How many to return.
    rng: Draws the bars.

  Returns:
    [count, steps].
  """
  bars = train.reshape(len(train), -1, grid.STEPS_PER_BAR)
  rows = rng.randint(len(train), size=(count, bars.shape[1]))
  return bars[rows, np.arange(bars.shape[1])].reshape(count, -1)


def nearest(loops: np.ndarray, train: np.ndarray) -> np.ndarray:
  """Returns how many hits differ from the nearest loop of `train`: [loops].

  Args:
    loops: Patterns, [loops, steps].
    train: Patterns, [training loops, steps].
  """
  def rolls(loops):
    return hits(loops).reshape(len(loops), -1).astype(np.float32)
  def differing(part, others):
    return part.sum(axis=1, keepdims=True) + others.sum(axis=1) - 2 * part @ others.T
  return np.concatenate([
      np.min([differing(rolls(part), rolls(others)).min(axis=1)
              for others in parts(train)], axis=0)
      for part in parts(loops)]).astype(int)


def describe(loops: np.ndarray, train: np.ndarray,
             distance: Distance) -> dict[str, float]:
  """Returns the numbers that say what a set of loops is like.

  Args:
    loops: Patterns, [loops, steps].
    train: Patterns of the training loops, [training loops, steps].
    distance: To the reference set.

  Returns:
    frechet_distance: To the reference set; smaller is closer.
    hits_per_step, silent_share: How dense the loops are.
    bar_similarity: Mean Jaccard similarity of neighbouring bars.
    unique_share: Different loops, as a share of all.
    nearest_hits: Mean number of hits that differ from the nearest training loop.
    copied_share: Loops that are in `train` as they are, as a share of all.
  """
  differing = nearest(loops, train)
  return {
      'frechet_distance': distance(loops),
      'hits_per_step': float(hits(loops).sum(axis=-1).mean()),
      'silent_share': float((loops == 0).mean()),
      'bar_similarity': float(bar_similarity(loops).mean()),
      'unique_share': len(np.unique(loops, axis=0)) / len(loops),
      'nearest_hits': float(differing.mean()),
      'copied_share': float((differing == 0).mean())}


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Returns how many hits differ between two sets of patterns: [loops]."""
  return (hits(a) != hits(b)).sum(axis=(1, 2, 3))


def mix(a: np.ndarray, b: np.ndarray, share: float,
        rng: np.random.RandomState) -> np.ndarray:
  """Returns patterns each of whose steps is of `b` with probability `share`.

  Interpolation in data space, as MusicVAE's paper compares with.

  Args:
    a: Patterns, [loops, steps].
    b: As many.
    share: From 0, which is `a`, to 1, which is `b`.
    rng: Draws the steps.
  """
  return np.where(rng.random_sample(a.shape) < share, b, a)


def drum_scores(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
  """Returns precision, recall and F1 of the hits of each drum: [3, drums].

  Args:
    truth: Patterns, [loops, steps].
    predicted: As many.
  """
  t, p = hits(truth), hits(predicted)
  right = (t & p).sum(axis=(0, 1, 2))
  precision = right / np.maximum(p.sum(axis=(0, 1, 2)), 1)
  recall = right / np.maximum(t.sum(axis=(0, 1, 2)), 1)
  f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
  return np.stack([precision, recall, f1])
