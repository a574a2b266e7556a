"""The feels of a model that draws strokes, as kept beside its weights.

A feel decides how loud, how evenly and how late all hits of a take are played. It is a
latent, less the mean of the training performances' and in units of their deviation. So
their feels are standard normal. The decoder is told the hits, so the latent need only
say how they are played, and a feel can be given to other hits. The feels of each drummer
of GMD are kept as Gaussians. Those of styles are not, since styles came no nearer to
their drummers by them.
"""
import collections
import os
import re
from typing import Any

from drumloops.data import styles
from drumloops.errors import UserError
from drumloops.models import groove_model
from drumloops.runs import checkpoint_files
import numpy as np

FEEL_FILE = 'feel.npz'  # Beside a checkpoint.
MIN_LOOPS = 32  # A drummer of fewer is left out.


def drummer_of(filename: str) -> str | None:
  """Returns 'drummer1' of a performance of GMD; None if the name is not one."""
  match = re.search(r'(?:^|/)(drummer\d+)/', filename)
  return match and match[1]


def load(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns what `fit` kept beside a checkpoint.

  Raises:
    UserError: if there is nothing, or it is of another checkpoint.
  """
  def z_size_of(kept):
    names, z_size = kept['feel_mean'].shape
    for key, shape in (
        ('mean', (z_size,)), ('root', (z_size, z_size)), ('names', (names,)),
        ('feel_deviation', (names, z_size)), ('checkpoint', ())):
      if kept[key].shape != shape or (
          key not in ('names', 'checkpoint') and not np.isfinite(kept[key]).all()):
        raise ValueError(f'its {key} is not what it should be')
    return z_size
  return checkpoint_files.load_beside(
      checkpoint, FEEL_FILE, 'which says how takes differ', z_size_of)


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


def feel_of(model: groove_model.StrokeModel, kept: dict[str, np.ndarray],
            slices: np.ndarray) -> np.ndarray:
  """Returns the feel of a performance, [z_size]: the mean of its slices'.

  Args:
    model: The model.
    kept: What `load` returned.
    slices: [slices, 64, 64].
  """
  z, _ = model.encode(slices)
  return np.linalg.solve(kept['root'], z.mean(axis=0) - kept['mean'])


def finish(config: Any, checkpoint: str, examples_path: str) -> list[str]:
  """Writes FEEL_FILE beside a checkpoint; returns the drummers whose feel is known.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    examples_path: TFRecord of the train split.

  Raises:
    UserError: if there are too few slices.
  """
  path = checkpoint_files.beside(checkpoint, FEEL_FILE)
  if os.path.exists(path):
    os.remove(path)  # Of the weights that are replaced.
  performances = styles.performances(examples_path, config.data_converter)
  if sum(len(slices) for _, slices in performances) < 2:
    raise UserError(f'There are too few 4-bar slices in {examples_path} to learn '
                    'from; it takes at least 2.')
  kept = fit(groove_model.load(config, checkpoint),
             np.concatenate([slices for _, slices in performances]),
             [drummer_of(name) for name, slices in performances for _ in slices])
  checkpoint_files.save_beside(checkpoint, FEEL_FILE, kept)
  return list(kept['names'])


def fit(model: groove_model.StrokeModel, slices: np.ndarray,
        drummers: list[str | None], seed: int = 0) -> dict[str, np.ndarray]:
  """Returns arrays to keep.

  Args:
    model: The model.
    slices: Those that it was trained with, [slices, 64, 64].
    drummers: Who played each; None where that is not known. One of fewer slices than
      MIN_LOOPS is left out.
    seed: For the latents.

  Returns:
    'mean', [z_size], and 'root', [z_size, z_size], of the latents; 'names' of drummers,
    and their 'feel_mean' and 'feel_deviation', float16 [names, z_size].
  """
  mu, sigma = model.encode(slices, 'Encoding performances')
  z = mu + sigma * np.random.RandomState(seed).standard_normal(mu.shape)
  mean = z.mean(axis=0)
  root = np.linalg.cholesky(np.cov(z, rowvar=False) + 1e-6 * np.eye(len(mean)))
  feels = np.linalg.solve(root, (z - mean).T).T
  rows = collections.defaultdict(list)
  for i, name in enumerate(drummers):
    rows[name].append(i)
  kept = {name: feels[r] for name, r in rows.items()
          if name and len(r) >= MIN_LOOPS}
  shape = -1, len(mean)
  return {'mean': np.float32(mean), 'root': np.float32(root),
          'names': np.array(list(kept), str),
          'feel_mean': np.float16(
              [part.mean(axis=0) for part in kept.values()]).reshape(shape),
          'feel_deviation': np.float16(
              [part.std(axis=0) for part in kept.values()]).reshape(shape)}
