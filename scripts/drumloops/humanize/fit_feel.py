"""Fits the feels of a groove model: makes the file that feel_model describes."""
import collections
import os
from typing import Any

from drumloops import grid
from drumloops.errors import UserError
from drumloops.data import splits, styles
from drumloops.humanize.feel_model import (
    BINS, CHANNELS, FEEL_FILE, KINDS, LEVELS, PERIODS, drummer_of, nearest_correlation)
from drumloops.models import encoder_finetuning, groove_model
from drumloops.system import disk
import numpy as np
from scipy import special

ENCODER_STEPS = 1500
MAX_HELD_OUT = 4000  # Slices, for its memory.
MIN_PAIRS = 100  # For a correlation.
PRIOR_HITS, PRIOR_PAIRS = 4, 2000  # What weighs as much as what is found.


def finish(config: Any, checkpoint: str, examples_path: str, encoder_steps: int = 0
           ) -> list[str]:
  """Fine-tunes a checkpoint's encoder to hits alone; writes FEEL_FILE beside it.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix; it is replaced.
    examples_path: TFRecord of the train split. How far hits deviate is fitted to the
      validation split, if one lies beside it.
    encoder_steps: Of `encoder_finetuning.finetune`; 0 for ENCODER_STEPS.

  Returns:
    The drummers whose feel is known.

  Raises:
    UserError: if there are too few slices.
  """
  train, held_out, drummers = _read(config, examples_path)
  path = os.path.join(os.path.dirname(checkpoint), FEEL_FILE)
  if os.path.exists(path):
    os.remove(path)  # Of the weights that are replaced.
  encoder_finetuning.finetune_checkpoint(
      config, checkpoint, train, encoder_steps or ENCODER_STEPS)
  kept = fit(groove_model.GrooveModel(config, checkpoint), train, held_out, drummers)
  with disk.replacing(path) as temporary:
    np.savez_compressed(temporary, checkpoint=os.path.basename(checkpoint), **kept)
  return list(kept['names'])


def _read(config, examples_path):
  """Returns training slices, held-out ones, and who played each of the former."""
  def read(path):
    return styles.performances(path, config.data_converter)
  performances = read(examples_path)
  if sum(len(slices) for _, slices in performances) < 2:
    raise UserError(f'There are too few 4-bar slices in {examples_path} to learn '
                    'from; it takes at least 2.')
  train = np.concatenate([slices for _, slices in performances])
  drummers = [drummer_of(name) for name, slices in performances for _ in slices]
  validation = splits.split_path(examples_path, 'validation')
  held_out = ([slices for _, slices in read(validation)]
              if os.path.exists(validation) else [])
  if not held_out:
    print(f'Without {validation}, how far hits deviate is fitted to performances that '
          'the model was trained with, so its takes are too even.')
  return train, np.concatenate(held_out or [train]), drummers


def fit(model: groove_model.GrooveModel, train: np.ndarray, held_out: np.ndarray,
        drummers: list[str | None], seed: int = 0) -> dict[str, np.ndarray]:
  """Returns arrays to keep.

  Args:
    model: The model.
    train: Slices that it was trained with, [slices, 64, 27].
    held_out: Slices that it was not.
    drummers: Who played each of `train`; None where that is not known.
    seed: For the latents.

  Returns:
    What `fit_spread` returns, and 'mean', [z_size], and 'root', [z_size, z_size],
    of latents in the posterior of their hits; 'names' of drummers, and their
    'feel_mean' and 'feel_deviation', float16 [names, z_size].
  """
  rng = np.random.RandomState(seed)
  def draw(slices):
    """Returns latents, and where they lie in the posterior of their hits."""
    mu, sigma = model.encode(slices, 'Encoding performances')
    z = mu + sigma * rng.standard_normal(mu.shape).astype(np.float32)
    mu, sigma = model.encode(
        groove_model.flat(slices[..., :grid.DRUMS]), 'Encoding their hits')
    return z, (z - mu) / sigma
  _, places = draw(train)
  mean = places.mean(axis=0)
  root = np.linalg.cholesky(
      np.cov(places, rowvar=False) + 1e-6 * np.eye(len(mean)))
  def standardize(places):
    return np.linalg.solve(root, (places - mean).T).T
  feels = standardize(places)
  held_out = held_out[rng.permutation(len(held_out))[:MAX_HELD_OUT]]
  z, places = draw(held_out)
  return {**fit_spread(model.say(held_out, z), held_out, standardize(places)),
          'mean': np.float32(mean), 'root': np.float32(root),
          **fit_drummers(feels, drummers)}


def fit_drummers(feels: np.ndarray, drummers: list[str | None]
                 ) -> dict[str, np.ndarray]:
  """Returns 'names', 'feel_mean' and 'feel_deviation', as `fit` does.

  Args:
    feels: [slices, z_size].
    drummers: Who played each slice; None where that is not known. One of fewer than
      styles.MIN_LOOPS slices is left out.
  """
  rows = collections.defaultdict(list)
  for i, name in enumerate(drummers):
    rows[name].append(i)
  kept = {name: feels[r] for name, r in rows.items()
          if name and len(r) >= styles.MIN_LOOPS}
  shape = -1, feels.shape[1]
  return {'names': np.array(list(kept), str),
          'feel_mean': np.float16(
              [part.mean(axis=0) for part in kept.values()]).reshape(shape),
          'feel_deviation': np.float16(
              [part.std(axis=0) for part in kept.values()]).reshape(shape)}


def fit_spread(decoded: np.ndarray, slices: np.ndarray, feels: np.ndarray
               ) -> dict[str, np.ndarray]:
  """Returns how drummers deviate from the decoder's velocities and offsets.

  Args:
    decoded: What GrooveModel.say returned, [slices, 64, 18].
    slices: What was played, [slices, 64, 27].
    feels: [slices, z_size].

  Returns:
    What `fit_kinds` does, and {'trust': [KINDS, 18, bars, PERIODS], 'said': [KINDS, 2,
    18, BINS], 'strayed': [KINDS, 2, 18, BINS, LEVELS], 'correlation': [18, 18],
    'repetition': [18, steps]}.
  """
  hits, played = np.tile(slices[..., :grid.DRUMS] > 0, 2), slices[..., grid.DRUMS:]
  found, counts = zip(*(remembered(hits, played, period) for period in PERIODS))
  memories = np.stack([np.where(count, memory - decoded, 0) for memory, count in zip(
      found, counts)], axis=-1)
  kinds, kept = fit_kinds(np.where(
      hits & (counts[0] > 0), played - found[0], np.nan), feels)
  trust = np.zeros([KINDS, CHANNELS, grid.BARS, len(PERIODS)], np.float32)
  # Separately for hits that remember none, as in the first bar, and others.
  centres = np.zeros([KINDS, 2, CHANNELS, BINS], np.float32)
  quantiles = np.zeros([KINDS, 2, CHANNELS, BINS, len(LEVELS)], np.float32)
  scores = np.full(decoded.shape, np.nan)  # Standard normal, as in a copula.
  for kind in range(KINDS):
    for c in range(CHANNELS):
      rows = hits[..., c] & (kinds[:, c] == kind)[:, np.newaxis]
      if not rows.any():
        continue
      count, memory = counts[0][..., c][rows], memories[..., c, :][rows]
      trust[kind, c] = fit_trust(
          (played - decoded)[..., c][rows], memory, count)
      expected = decoded[..., c][rows] + np.sum(
          trust[kind, c, count] * memory, axis=-1)
      score = np.empty(len(expected))
      for known in range(2):
        part = (count > 0) == known
        centres[kind, known, c], quantiles[kind, known, c], score[part] = (
            fit_quantiles(expected[part], played[..., c][rows][part] - expected[part]))
      scores[..., c][rows] = score
  return {**kept, 'trust': trust, 'said': centres, 'strayed': quantiles,
          'correlation': fit_correlation(scores.reshape(-1, CHANNELS)),
          'repetition': fit_repetition(scores).astype(np.float32)}


def fit_correlation(scores: np.ndarray) -> np.ndarray:
  """Returns the correlation of standard normal scores, [rows, 18]: [18, 18].

  NaN is where there is none; of too few pairs it is 0.
  """
  known = ~np.isnan(scores)
  pairs = known.T.astype(float) @ known
  products = np.nan_to_num(scores).T @ np.nan_to_num(scores)
  correlation = np.where(pairs >= MIN_PAIRS, products / np.maximum(pairs, 1), 0)
  np.fill_diagonal(correlation, 1)
  return nearest_correlation(correlation).astype(np.float32)


def fit_kinds(differences: np.ndarray, feels: np.ndarray
              ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Returns how evenly slices are played.

  Args:
    differences: From the bars before, [slices, steps, 18]; NaN where there is nothing
      to compare.
    feels: [slices, z_size].

  Returns:
    Kinds, int [slices, 18], and {'even': the part of the evenness that depends on the
    feel, so that its product with a feel has a variance of less than 1, [18, z_size];
    'rest': the correlation of the part that does not, [18, 18]}.
  """
  from scipy import stats  # Which takes half a second.
  square, known = np.nan_to_num(differences ** 2), ~np.isnan(differences)
  square /= np.maximum(square.sum(axis=(0, 1)) / np.maximum(
      known.sum(axis=(0, 1)), 1), 1e-9)
  square, count = square.sum(axis=1), known.sum(axis=1)
  scores = np.empty(square.shape)
  for half in np.split(np.arange(CHANNELS), 2):
    # Where a drum is seldom hit again, it counts as the others do.
    total, number = square[:, half].sum(axis=1), count[:, half].sum(axis=1)
    of_all = np.where(number, total / np.maximum(number, 1), 1)
    for c in half:
      size = (square[:, c] + PRIOR_HITS * of_all) / (count[:, c] + PRIOR_HITS)
      scores[:, c] = special.ndtri(
          (stats.rankdata(size, 'ordinal') - 0.5) / len(size))
  # As much at 0 as keeps it from learning slices by heart.
  even = np.linalg.solve(feels.T @ feels + len(feels) / 10 * np.eye(feels.shape[1]),
                         feels.T @ scores).T
  even /= np.maximum(1, np.linalg.norm(even, axis=1, keepdims=True))
  rest = scores - feels @ even.T
  return (KINDS * special.ndtr(scores)).astype(int), {
      'even': even.astype(np.float32),
      'rest': fit_correlation(rest / rest.std(axis=0))}


def fit_quantiles(expected: np.ndarray, deviations: np.ndarray
                  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the mean expected value in BINS, quantiles there, and scores.

  Args:
    expected: [hits].
    deviations: What was played minus what was expected, [hits].

  Returns:
    [BINS], [BINS, LEVELS] and [hits], which are standard normal in each bin.
  """
  from scipy import stats
  centres, quantiles = np.zeros([BINS]), np.zeros([BINS, len(LEVELS)])
  scores = np.zeros(len(expected))
  for b, rows in enumerate(np.array_split(np.argsort(expected, kind='stable'), BINS)):
    if len(rows):
      centres[b] = expected[rows].mean()
      quantiles[b] = np.quantile(deviations[rows], LEVELS)
      scores[rows] = special.ndtri(
          (stats.rankdata(deviations[rows]) - 0.5) / len(rows))
    elif b:  # There are fewer hits than bins.
      centres[b], quantiles[b] = centres[b - 1], quantiles[b - 1]
  return centres, quantiles, scores


def remembered(hits: np.ndarray, played: np.ndarray, period: int
               ) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean of what was played before at the same step of each period.

  Args:
    hits: bool, [slices, steps, 18].
    played: [slices, steps, 18].
    period: In steps.

  Returns:
    The means, 0 where nothing was, and how many there were: two of [slices, steps,
    18].
  """
  shape = [len(hits), -1, period, CHANNELS]
  hits, played = hits.reshape(shape), np.reshape(played, shape)
  def before(x):
    return (np.cumsum(x, axis=1) - x).reshape(len(x), -1, CHANNELS)
  count = before(hits.astype(int))
  return before(played * hits) / np.maximum(count, 1), count


def fit_trust(deviations: np.ndarray, memories: np.ndarray, counts: np.ndarray
              ) -> np.ndarray:
  """Returns how far to move towards what is remembered: [bars, PERIODS].

  By least squares, for each number of bars in which the drum was hit at that step;
  with what weighs as much as PRIOR_HITS hits at 0.

  Args:
    deviations: What was played minus what was decoded, [hits].
    memories: What was remembered minus what was decoded, [hits, PERIODS].
    counts: Hits that the first period remembers, [hits].
  """
  trust = np.zeros([grid.BARS, len(PERIODS)])
  for n in range(grid.BARS):
    x, y = memories[counts == n], deviations[counts == n]
    if len(x):
      trust[n] = np.linalg.solve(
          x.T @ x * (1 + PRIOR_HITS / len(x) * np.eye(len(PERIODS)))
          + 1e-6 * np.eye(len(PERIODS)), x.T @ y)
  return trust


def fit_repetition(scores: np.ndarray) -> np.ndarray:
  """Returns how steps correlate, by their distance: [18, steps].

  Args:
    scores: Standard normal, [slices, steps, 18]; NaN where nothing is hit. Of drums
      that are seldom hit the mean of all counts more.
  """
  steps = scores.shape[1]
  pairs, products = np.zeros((2, CHANNELS, steps))
  for lag in range(steps):
    product = scores[:, lag:] * scores[:, :steps - lag]
    pairs[:, lag] = (~np.isnan(product)).sum(axis=(0, 1))
    products[:, lag] = np.nansum(product, axis=(0, 1))
  found = np.empty_like(pairs)
  for half in np.split(np.arange(CHANNELS), 2):  # Velocities, then offsets.
    common = products[half].sum(axis=0) / np.maximum(pairs[half].sum(axis=0), 1)
    found[half] = (products[half] + PRIOR_PAIRS * common) / (
        pairs[half] + PRIOR_PAIRS)
  return found / np.where(found[:, :1] > 0, found[:, :1], 1)
