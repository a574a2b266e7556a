"""The prior: where new loops' latents are drawn.

A MusicVAE's own prior is N(0, I). The training loops' latents lie in clusters there, and
between the clusters are latents of loops that no drummer plays. So Gaussians are fitted
to clusters of them (as in Ghosh et al. 2020, arXiv 1903.12436). Each cluster is of one
style, so a style is some of the Gaussians.

Only loops that begin where a phrase begins are used: their last bar ends a phrase. At
a temperature below 1 samples have too few toms and too many rests. So Gaussians whose
samples have more toms and fewer rests get more weight.
"""
from collections.abc import Callable, Sequence
import os
import zlib

from drumloops.data import patterns
from drumloops.errors import UserError, field
from drumloops.runs import checkpoint_files
from magenta_patches.added.drum_classes import HIGH_TOM, LOW_TOM, MID_TOM
import numpy as np

PRIOR_FILE = 'prior.npz'  # Beside a checkpoint.
# Chosen on validation.
CLUSTER = 20  # Loops of a cluster, about.
SHRINKAGE = 40  # To a cluster's own loops count so many of the mean covariance.
TOLD = 0.1  # Variance of the means above which the encoder tells a dimension.
CALIBRATION_LOOPS = 24  # Sampled of each Gaussian, for its weight.
# A weight changes at most by this power of e for each standard deviation.
MOST_TILT = 1
MIN_LOOPS = 8  # A style of fewer has no name here.
TRIES = 10  # A loop that is a training loop is drawn anew at most so often.


def hashes(loops: np.ndarray) -> np.ndarray:
  """Returns a hash of each loop's classes: uint32, [loops]."""
  return np.array([zlib.crc32(np.ascontiguousarray(loop, '<u2')) for loop in loops],
                  np.uint32)


def attributes(loops: np.ndarray) -> np.ndarray:
  """Returns toms a bar but for the last, toms in the last, rests' share: [loops, 3]."""
  hits = patterns.hits(loops)
  toms = hits[..., [LOW_TOM, MID_TOM, HIGH_TOM]].sum(axis=(2, 3))
  return np.stack([toms[:, :max(1, toms.shape[1] - 1)].mean(axis=1), toms[:, -1],
                   1 - hits.any(axis=3).mean(axis=(1, 2))], axis=1)


class Prior:
  """N(0, I), or the Gaussians that `fit` found.

  Attributes:
    is_normal: Whether it is N(0, I).
    styles: {name: number of training loops} of the styles that it knows.
  """

  def __init__(self, z_size: int, kept: dict[str, np.ndarray] | None = None):
    """Takes what `fit` returned; None is N(0, I)."""
    self._z_size, self._kept, self.is_normal = z_size, kept, kept is None
    self.styles = {} if kept is None else {
        str(name): int(count) for name, count in zip(kept['names'], kept['counts'])}

  def draw(self, count: int, rng: np.random.RandomState, style: str = ''
           ) -> np.ndarray:
    """Returns latents, [count, z_size].

    Raises:
      UserError: if there is no such style.
    """
    z = rng.standard_normal((count, self._z_size))
    if self.is_normal:
      return z
    chosen = rng.choice(len(self._kept['means']), count, p=self.weights(style))
    return self.place(z, chosen)

  def given(self, mu: np.ndarray, sigma: np.ndarray, count: int,
            rng: np.random.RandomState, style: str = '') -> np.ndarray:
    """Returns latents of the prior, given a part of a loop: [count, z_size].

    The encoder's Gaussian, over N(0, I), is what the part says of the latent. Each of
    the prior's Gaussians times that is a Gaussian again.

    Args:
      mu: The encoder's mean for the part, [z_size].
      sigma: Its deviation, [z_size].
      count: How many.
      rng: Draws them.
      style: Of the prior.
    """
    z = rng.standard_normal((count, self._z_size))
    own = mu + sigma * z
    if self.is_normal:
      return own
    told, means, factors = (self._kept[key] for key in ('told', 'means', 'factors'))
    means, factors = means.astype(float), factors.astype(float)
    precision = np.maximum(sigma[told] ** -2. - 1, 0)
    pull = np.where(precision, mu[told] * sigma[told] ** -2., 0)
    # In a Gaussian's own coordinates it is N(0, I) before, and of this precision after.
    roots = np.linalg.cholesky(np.eye(len(told)) + np.einsum(
        'kji,j,kjl->kil', factors, precision, factors))
    towards = np.linalg.solve(roots, np.einsum(
        'kji,kj->ki', factors, pull - precision * means)[..., np.newaxis])[..., 0]
    with np.errstate(divide='ignore'):
      logits = np.log(self.weights(style)) + (
          (towards ** 2).sum(axis=1) - (precision * means ** 2).sum(axis=1)) / 2 + (
          means @ pull) - np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    shares = np.exp(logits - logits.max())
    chosen = rng.choice(len(means), count, p=shares / shares.sum())
    moved = np.linalg.solve(np.swapaxes(roots[chosen], 1, 2), (
        towards[chosen] + z[:, told])[..., np.newaxis])
    own[:, told] = means[chosen] + (factors[chosen] @ moved)[..., 0]
    return own

  def place(self, z: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns latents of Gaussians, [count, z_size], made of those of N(0, I).

    Args:
      z: [count, z_size].
      chosen: Which Gaussian's each is, [count].
    """
    kept, told = self._kept, self._kept['told']
    means, factors = (kept[key][chosen].astype(float) for key in ('means', 'factors'))
    z = z.copy()
    z[:, told] = means + np.einsum('nij,nj->ni', factors, z[:, told])
    return z

  def is_copy(self, loops: np.ndarray) -> np.ndarray:
    """Returns which loops, [loops, steps], are training loops: bool, [loops]."""
    return np.isin(hashes(loops), [] if self.is_normal else self._kept['hashes'])

  def sample(self, make: Callable[[int], Sequence], count: int,
             of: Callable[[Sequence], np.ndarray] = patterns.of_slices) -> Sequence:
    """Returns loops. One that is a training loop is drawn anew, up to TRIES times.

    Args:
      make: Returns so many loops, other ones each time.
      count: How many.
      of: Returns the patterns of loops.
    """
    loops = make(count)
    for _ in range(TRIES):
      copies = np.flatnonzero(self.is_copy(of(loops)))
      if not len(copies):
        break
      for i, loop in zip(copies, make(len(copies))):
        loops[i] = loop
    return loops

  def weights(self, style: str = '') -> np.ndarray:
    """Returns each Gaussian's probability, in a style or at all: [Gaussians].

    Raises:
      UserError: if there is no such style.
    """
    weights = self._kept['weights'].astype(float)
    if style:
      if style not in self.styles:
        raise UserError(
            f'There is no {field("style")} {style!r}; ' + (
                f'the styles are {", ".join(self.styles)}.' if self.styles else
                'the names of the files that these weights learned from say none.'))
      weights = weights * (self._kept['style'] == list(self.styles).index(style))
    return weights / weights.sum()


def fit(encode: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
        decode: Callable[[np.ndarray], np.ndarray],
        phrases: dict[str, np.ndarray], train: np.ndarray, seed: int = 0
        ) -> dict[str, np.ndarray]:
  """Returns the Gaussians, as arrays to keep.

  Args:
    encode: Returns the latents' means and deviations, two of [slices, z_size].
    decode: From latents, [loops, z_size], to sampled patterns.
    phrases: {style, or '': slices of loops that begin where phrases begin}.
    train: The patterns of all training loops, [loops, steps].
    seed: For all that is drawn.

  Returns:
    'z_size'. 'names' and 'counts' of styles. 'style' of each Gaussian, -1 for none, and
    'weights', [Gaussians]. 'told', their dimensions; the others are N(0, 1). 'means',
    [Gaussians, told]. 'factors' of the covariances, lower triangles, [Gaussians, told,
    told]. 'hashes' of the training loops.
  """
  from sklearn import cluster
  mu, sigma = encode(np.concatenate(list(phrases.values())))
  variance = mu.var(axis=0)
  told = np.flatnonzero(variance >= min(TOLD, variance.max() / 2))
  names = [name for name, loops in phrases.items() if name and len(loops) >= MIN_LOOPS]
  noise = np.diag((sigma[:, told] ** 2).mean(axis=0))
  clusters, style, ends = [], [], np.cumsum([len(loops) for loops in phrases.values()])
  for name, own in zip(phrases, np.split(mu[:, told], ends[:-1])):
    count = max(1, round(len(own) / CLUSTER))
    labels = cluster.KMeans(count, n_init=1, random_state=seed).fit_predict(own)
    clusters += [own[labels == label] for label in sorted(set(labels))]
    style += len(set(labels)) * [names.index(name) if name in names else -1]
  means = np.array([own.mean(axis=0) for own in clusters])
  within = [(own - mean).T @ (own - mean) for own, mean in zip(clusters, means)]
  counts = np.array([len(own) for own in clusters])
  shared = SHRINKAGE * sum(within) / counts.sum()
  factors = np.linalg.cholesky(
      (within + shared) / (counts + SHRINKAGE)[:, np.newaxis, np.newaxis] + noise)
  kept = {
      'z_size': np.array(mu.shape[1]), 'names': np.array(names, str),
      'style': np.array(style),
      'counts': np.array([len(phrases[name]) for name in names], int),
      'weights': counts / counts.sum(), 'told': told, 'means': np.float16(means),
      'factors': np.float16(factors), 'hashes': np.unique(hashes(train))}
  chosen = np.repeat(np.arange(len(counts)), CALIBRATION_LOOPS)
  z = Prior(mu.shape[1], kept).place(np.random.RandomState(seed).standard_normal(
      (len(chosen), mu.shape[1])), chosen)
  kept['weights'] = tilted(
      kept['weights'], attributes(decode(z)).reshape(
          len(counts), CALIBRATION_LOOPS, -1).mean(axis=1),
      attributes(patterns.of_slices(np.concatenate(list(phrases.values())))
                 ).mean(axis=0))
  return kept


def tilted(weights: np.ndarray, has: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """Returns the weights nearest to others, under which means are as wanted.

  Nearest by their relative entropy: each is changed by the exponential of a sum. They
  stay apart from what is wanted where that would change them too much.

  Args:
    weights: [Gaussians], of sum 1.
    has: The mean attributes of each Gaussian's samples, [Gaussians, attributes].
    wanted: [attributes].
  """
  from scipy import optimize, special
  away = (has - wanted) / np.maximum(has.std(axis=0), 1e-6)
  def free_energy(slopes):
    logits = np.log(weights) + away @ slopes
    return special.logsumexp(logits), special.softmax(logits) @ away
  slopes = optimize.minimize(
      free_energy, np.zeros(len(wanted)), jac=True,
      bounds=len(wanted) * [(-MOST_TILT, MOST_TILT)]).x
  return special.softmax(np.log(weights) + away @ slopes)


def finish(model: object, checkpoint: str, phrases: dict[str, np.ndarray],
           train: np.ndarray, temperature: float) -> Prior:
  """Writes PRIOR_FILE beside a checkpoint, and returns the Prior.

  Args:
    model: An Autoencoder with the checkpoint loaded.
    checkpoint: Its prefix.
    phrases: As for `fit`.
    train: As for `fit`.
    temperature: Of sampled loops.
  """
  kept = fit(lambda slices: model.encode(slices, 'Encoding'),
             lambda z: patterns.of_slices(model.decode(z, temperature, 'Sampling')),
             phrases, train)
  checkpoint_files.save_beside(checkpoint, PRIOR_FILE, kept)
  return Prior(model.z_size, kept)


def load(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns what `fit` returned, as kept beside a checkpoint.

  Args:
    checkpoint: Its prefix.

  Raises:
    UserError: if nothing is kept there, or it is of another checkpoint.
  """
  def z_size_of(kept):
    (gaussians, told), names = kept['means'].shape, len(kept['names'])
    if not (kept['names'].dtype.kind == 'U' and
            kept['told'].dtype.kind == kept['style'].dtype.kind == 'i' and
            kept['counts'].shape == (names,) and
            kept['style'].shape == kept['weights'].shape == (gaussians,) and
            (kept['style'] < names).all() and (kept['weights'] > 0).all() and
            kept['told'].shape == (told,) and
            (kept['told'] < int(kept['z_size'])).all() and
            kept['factors'].shape == (gaussians, told, told) and
            kept['hashes'].dtype == np.uint32 and
            all(np.isfinite(kept[key]).all()
                for key in ('weights', 'means', 'factors'))):
      raise ValueError('it has other arrays than it should')
    return int(kept['z_size'])
  return checkpoint_files.load_beside(
      checkpoint, PRIOR_FILE, 'which says where latents are drawn', z_size_of)


def of(checkpoint: str, z_size: int, style: str = '') -> Prior:
  """Returns a checkpoint's Prior: N(0, I) where PRIOR_FILE does not lie beside it.

  Args:
    checkpoint: Its prefix.
    z_size: Of its latents.
    style: If one is asked for, there has to be such a file.

  Raises:
    UserError: as `load`.
  """
  path = checkpoint_files.beside(checkpoint, PRIOR_FILE)
  return Prior(z_size, load(checkpoint) if style or os.path.exists(path) else None)
