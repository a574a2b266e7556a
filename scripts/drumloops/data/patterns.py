"""What can be measured of sets of drum loops, with NumPy alone.

A set of loops is an integer array [loops, steps]: a class a step, with one bit for
each of Magenta's nine drums; 64 steps for most.
"""
from drumloops import grid
import numpy as np

PART = 4096  # Loops that are looked at at once, so that memory is bounded.


def parts(loops):
  """Returns the loops in parts of at most PART."""
  return np.split(loops, range(PART, len(loops), PART))


def of_slices(slices):
  """Returns the loops of a converter's slices, whatever else they say.

  Args:
    slices: [loops, steps] of classes, or [loops, steps, 3 * drums] of hits,
      velocities and offsets.
  """
  if slices.ndim == 2:
    return slices
  return ((slices[..., :grid.DRUMS] > 0.5) << np.arange(grid.DRUMS)).sum(axis=-1)


def bits(classes):
  """Returns which drums play in classes: bool, [..., drums]."""
  return (np.asarray(classes, np.uint16)[..., np.newaxis] &
          np.uint16(1) << np.arange(grid.DRUMS, dtype=np.uint16)) > 0


def hits(loops):
  """Returns which drums play: bool, [loops, bars, steps a bar, drums]."""
  return bits(loops).reshape(len(loops), -1, grid.STEPS_PER_BAR, grid.DRUMS)


def bar_similarity(loops):
  """Returns the Jaccard similarity of neighbouring bars: [loops, bars - 1].

  Hits that both bars have, as a share of those that either has; 1 where both
  are silent.
  """
  h = hits(loops)
  h = h.reshape(h.shape[:2] + (-1,))
  both = (h[:, 1:] & h[:, :-1]).sum(axis=-1)
  either = (h[:, 1:] | h[:, :-1]).sum(axis=-1)
  return np.where(either, both / np.maximum(either, 1), 1.)


def features(loops):
  """Returns groove features: [loops, 16 * 9 + bars + bars - 1].

  How often each drum falls on each of a bar's steps, hits a step in each bar,
  similarity of neighbouring bars.
  """
  return np.concatenate([np.concatenate([
      hits(part).mean(axis=1).reshape(len(part), -1),
      hits(part).sum(axis=-1).mean(axis=-1),
      bar_similarity(part)], axis=1) for part in parts(loops)])


def frechet_distance(a, b):
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
  """Frechet distance of loops to a reference set, by scaled groove features.

  Each group of features is divided by one number, so that its variance over
  the training loops is one in all: where the drums fall, how dense the loops
  are and how their bars repeat then count alike, and inside a group a drum
  that is rare counts little.
  """

  def __init__(self, train, reference):
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

  def __call__(self, loops):
    return frechet_distance(features(loops) / self._scale, self._reference)


def marginal_loops(train, count, rng):
  """Returns loops whose hits are independent, each as frequent as in `train`.

  A baseline that knows where in a bar each drum falls, and nothing else.
  """
  total = sum(hits(part).sum(axis=(0, 1)) for part in parts(train))
  bars = train.shape[1] // grid.STEPS_PER_BAR
  frequency = total / (len(train) * bars)
  drawn = rng.random_sample((count, bars) + frequency.shape) < frequency
  return (drawn << np.arange(grid.DRUMS)).sum(axis=-1).reshape(count, -1)


def mixed_bars(train, count, rng):
  """Returns loops of bars from different loops of `train`.

  A baseline whose every bar is a drummer's, but which has no thread.
  """
  bars = train.reshape(len(train), -1, grid.STEPS_PER_BAR)
  rows = rng.randint(len(train), size=(count, bars.shape[1]))
  return bars[rows, np.arange(bars.shape[1])].reshape(count, -1)


def nearest(loops, train):
  """Returns how many hits differ from the nearest loop of `train`: [loops]."""
  def rolls(loops):
    return hits(loops).reshape(len(loops), -1).astype(np.float32)
  def differing(part, others):
    return part.sum(axis=1, keepdims=True) + others.sum(axis=1) - 2 * part @ others.T
  return np.concatenate([
      np.min([differing(rolls(part), rolls(others)).min(axis=1)
              for others in parts(train)], axis=0)
      for part in parts(loops)]).astype(int)


def describe(loops, train, distance):
  """Returns the numbers that say what a set of loops is like.

  frechet_distance: to the reference set; smaller is closer.
  hits_per_step, silent_share: how dense the loops are.
  bar_similarity: mean Jaccard similarity of neighbouring bars.
  unique_share: different loops, as a share of all.
  nearest_hits: mean number of hits that differ from the nearest training loop.
  copied_share: loops that are in `train` as they are.
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


def hamming(a, b):
  """Returns how many hits differ between loops: [loops]."""
  return (hits(a) != hits(b)).sum(axis=(1, 2, 3))


def mix(a, b, share, rng):
  """Returns loops each of whose steps is of `b` with probability `share`.

  Interpolation in data space, as MusicVAE's paper compares with.
  """
  return np.where(rng.random_sample(a.shape) < share, b, a)


def drum_scores(truth, predicted):
  """Returns precision, recall and F1 of the hits of each drum: [3, drums]."""
  t, p = hits(truth), hits(predicted)
  right = (t & p).sum(axis=(0, 1, 2))
  precision = right / np.maximum(p.sum(axis=(0, 1, 2)), 1)
  recall = right / np.maximum(t.sum(axis=(0, 1, 2)), 1)
  f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
  return np.stack([precision, recall, f1])
