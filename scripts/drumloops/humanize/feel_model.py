"""What differs from take to take, kept beside a groove model's weights.

A take is a feel, which says how all hits are played, and chance: how far each hit
strays from what the decoder then says, which is the mean of what drummers do there.

- A feel is where the latent of a performance lies among those that its hits, when
  they alone are heard, leave open; standard normal over the training performances.
  So a feel can be given to other hits. Those of each drummer of GMD are kept as
  Gaussians; those of styles are not, since played by these a style's hits came no
  nearer to its drummers'.
- Some slices are played more evenly than others: bar by bar almost the same, or not.
  All that follows is kept for each of KINDS, from even to uneven, of each drum's
  velocities and of its timing. Which one it is goes with the feel as far as a line
  tells, and with that of the other drums.
- What was played before at the same step of the bar, and of the beat, the decoder
  does not know by heart; so what it says is moved towards that, as far as is best
  on average.
- How far hits strayed from this in performances that the model had not learned, by
  drum and by what was said, is kept as quantiles, and how they go together as a
  Gaussian copula: drums stray together at a step (a kick and a hi-hat, both late),
  and what strayed strays again a bar later.
"""
import collections
import os
import re

from drumloops import grid
from drumloops.errors import UserError, stage
from drumloops.data import splits, styles
from drumloops.models import encoder_finetuning, groove_model
from drumloops.system import disk
import numpy as np
from scipy import special

FEEL_FILE = 'feel.npz'  # Beside a checkpoint.
LISTENING_STEPS = 1500
CHANNELS = 2 * grid.DRUMS  # Velocities, then offsets.
KINDS = 5  # Of slices, from even to uneven, equally many of each.
BINS = 8  # Of what the decoder said, equally many hits in each.
# Of what was played minus what was said.
LEVELS = np.concatenate([[.002, .01], np.linspace(.025, .975, 39), [.99, .998]])
PERIODS = grid.STEPS_PER_BAR, grid.STEPS_PER_QUARTER  # In which drummers repeat.
MAX_HELD_OUT = 4000  # Slices, for its memory.
MIN_PAIRS = 100  # For a correlation.
PRIOR_HITS, PRIOR_PAIRS = 4, 2000  # What weighs as much as what is found.
LEAST = np.repeat([1 / 127, -.98], grid.DRUMS).astype(np.float32)
MOST = np.repeat([1., .98], grid.DRUMS).astype(np.float32)


def drummer_of(filename):
  """Returns 'drummer1' of a performance of GMD; None if the name is not one."""
  match = re.search(r'(?:^|/)(drummer\d+)/', filename)
  return match and match[1]


def fit(performer, train, held_out, drummers, seed=0):
  """Returns arrays to keep.

  Args:
    performer: A groove_model.GrooveModel.
    train: Slices that the model has learned from.
    held_out: Slices that it has not.
    drummers: For each of `train`, who played it; None where that is not known.
    seed: For the latents.

  Returns:
    What `fit_spread` returns, and 'mean', [z_size], and 'root', [z_size, z_size],
    of the latents that hits leave open; 'names' of drummers, and their
    'feel_mean' and 'feel_deviation', float16 [names, z_size].
  """
  rng = np.random.RandomState(seed)
  def draw(slices):
    mu, sigma = performer.encode(slices, 'Hearing performances')
    z = mu + sigma * rng.standard_normal(mu.shape).astype(np.float32)
    mu, sigma = performer.encode(
        groove_model.flat(slices[..., :grid.DRUMS]), 'Hearing hits alone')
    return z, (z - mu) / sigma
  _, left_open = draw(train)
  mean = left_open.mean(axis=0)
  root = np.linalg.cholesky(
      np.cov(left_open, rowvar=False) + 1e-6 * np.eye(len(mean)))
  def standardize(left_open):
    return np.linalg.solve(root, (left_open - mean).T).T
  feels = standardize(left_open)
  held_out = held_out[rng.permutation(len(held_out))[:MAX_HELD_OUT]]
  z, left_open = draw(held_out)
  rows = collections.defaultdict(list)
  for i, name in enumerate(drummers):
    rows[name].append(i)
  kept = {name: feels[r] for name, r in rows.items()
          if name and len(r) >= styles.MIN_LOOPS}
  return {**fit_spread(performer.say(held_out, z), held_out, standardize(left_open)),
          'mean': np.float32(mean), 'root': np.float32(root),
          'names': np.array(list(kept), str),
          'feel_mean': np.float16(
              [part.mean(axis=0) for part in kept.values()]).reshape(-1, len(mean)),
          'feel_deviation': np.float16(
              [part.std(axis=0) for part in kept.values()]).reshape(-1, len(mean))}


def finish(config, checkpoint, examples_path, listening_steps=0):
  """Teaches a checkpoint's encoder to hear hits alone; writes FEEL_FILE beside it.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix; it is replaced.
    examples_path: TFRecord of the train split. From the validation split, if one
      lies beside it, is learned how far hits stray.
    listening_steps: Of `encoder_finetuning.teach`; 0 for LISTENING_STEPS.

  Returns:
    The drummers whose feel is known.

  Raises:
    UserError: if there are too few slices.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  def read(path):
    return styles.performances(path, config.data_converter)
  performances = read(examples_path)
  train = [slices for _, slices in performances]
  if sum(map(len, train)) < 2:
    raise UserError(f'There are too few 4-bar slices in {examples_path} to learn '
                        'from; it takes at least 2.')
  train = np.concatenate(train)
  drummers = [drummer_of(name) for name, slices in performances for _ in slices]
  validation = splits.split_path(examples_path, 'validation')
  held_out = ([slices for _, slices in read(validation)]
              if os.path.exists(validation) else [])
  if not held_out:
    print(f'Without {validation}, how far hits stray is learned from performances '
          'that the model knows, so its takes are too even.')
  held_out = np.concatenate(held_out or [train])
  path = os.path.join(os.path.dirname(checkpoint), FEEL_FILE)
  if os.path.exists(path):
    os.remove(path)  # Of the weights that are replaced.
  reader = tf.train.load_checkpoint(checkpoint)
  tensors = {name: reader.get_tensor(name)
             for name in reader.get_variable_to_shape_map()}
  tensors.update(encoder_finetuning.teach(config, checkpoint, train,
                                 listening_steps or LISTENING_STEPS))
  checkpoints.save(tensors, checkpoint)
  kept = fit(groove_model.GrooveModel(config, checkpoint), train, held_out, drummers)
  with disk.replacing(path) as temporary:
    np.savez_compressed(temporary, checkpoint=os.path.basename(checkpoint), **kept)
  return list(kept['names'])


def load(checkpoint):
  """Returns what `fit` kept beside a checkpoint.

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


def gaussian(kept, name):
  """Returns the mean and the deviation of a drummer's feels: two of [z_size].

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


def feel_of(performer, kept, slices):
  """Returns the feel of a performance, [z_size]: the mean of its slices'."""
  z, _ = performer.encode(slices)
  mu, sigma = performer.encode(groove_model.flat(slices[..., :grid.DRUMS]))
  return np.linalg.solve(
      kept['root'], ((z - mu) / sigma).mean(axis=0) - kept['mean'])


def fit_spread(said, slices, feels):
  """Returns arrays that say how drummers strayed from what the decoder said.

  Args:
    said: What GrooveModel.say returned, [slices, 64, 18].
    slices: What was played, [slices, 64, 27].
    feels: [slices, z_size].

  Returns:
    What `fit_kinds` does, and {'trust': [KINDS, 18, bars, PERIODS], 'said': [KINDS, 2,
    18, BINS], 'strayed': [KINDS, 2, 18, BINS, LEVELS], 'correlation': [18, 18],
    'repetition': [18, steps]}.
  """
  hits, played = np.tile(slices[..., :grid.DRUMS] > 0, 2), slices[..., grid.DRUMS:]
  found, counts = zip(*(remembered(hits, played, period) for period in PERIODS))
  memories = np.stack([np.where(count, memory - said, 0) for memory, count in zip(
      found, counts)], axis=-1)
  kinds, kept = fit_kinds(np.where(
      hits & (counts[0] > 0), played - found[0], np.nan), feels)
  trust = np.zeros([KINDS, CHANNELS, grid.BARS, len(PERIODS)], np.float32)
  # Apart for hits with nothing to go by, as in the first bar, and others.
  centres = np.zeros([KINDS, 2, CHANNELS, BINS], np.float32)
  quantiles = np.zeros([KINDS, 2, CHANNELS, BINS, len(LEVELS)], np.float32)
  scores = np.full(said.shape, np.nan)  # Standard normal, as in a copula.
  for kind in range(KINDS):
    for c in range(CHANNELS):
      rows = hits[..., c] & (kinds[:, c] == kind)[:, np.newaxis]
      if not rows.any():
        continue
      count, memory = counts[0][..., c][rows], memories[..., c, :][rows]
      trust[kind, c] = fit_trust(
          (played - said)[..., c][rows], memory, count)
      expected = said[..., c][rows] + np.sum(trust[kind, c, count] * memory, axis=-1)
      score = np.empty(len(expected))
      for known in range(2):
        part = (count > 0) == known
        centres[kind, known, c], quantiles[kind, known, c], score[part] = (
            fit_quantiles(expected[part], played[..., c][rows][part] - expected[part]))
      scores[..., c][rows] = score
  return {**kept, 'trust': trust, 'said': centres, 'strayed': quantiles,
          'correlation': fit_correlation(scores.reshape(-1, CHANNELS)),
          'repetition': fit_repetition(scores).astype(np.float32)}


def fit_correlation(scores):
  """Returns the correlation of standard normal scores, [rows, 18]: [18, 18].

  NaN is where there is none; of too few pairs it is 0.
  """
  known = ~np.isnan(scores)
  pairs = known.T.astype(float) @ known
  products = np.nan_to_num(scores).T @ np.nan_to_num(scores)
  correlation = np.where(pairs >= MIN_PAIRS, products / np.maximum(pairs, 1), 0)
  np.fill_diagonal(correlation, 1)
  return nearest_correlation(correlation).astype(np.float32)


def fit_kinds(differing, feels):
  """Returns how evenly slices are played.

  Args:
    differing: From the bars before, [slices, steps, 18]; NaN where there is nothing
      to compare.
    feels: [slices, z_size].

  Returns:
    Kinds, int [slices, 18], and {'even': what of the evenness goes with the feel, so
    that its product with a feel has a variance of less than 1, [18, z_size];
    'rest': the correlation of what does not, [18, 18]}.
  """
  from scipy import stats  # Which takes half a second, and only learning needs.
  square, known = np.nan_to_num(differing ** 2), ~np.isnan(differing)
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


def fit_quantiles(said, strayed):
  """Returns what was said, on average, in BINS, quantiles there, and scores.

  Args:
    said: [hits].
    strayed: [hits].

  Returns:
    [BINS], [BINS, LEVELS] and [hits], which are standard normal in each bin.
  """
  from scipy import stats
  centres, quantiles = np.zeros([BINS]), np.zeros([BINS, len(LEVELS)])
  scores = np.zeros(len(said))
  for b, rows in enumerate(np.array_split(np.argsort(said, kind='stable'), BINS)):
    if len(rows):
      centres[b] = said[rows].mean()
      quantiles[b] = np.quantile(strayed[rows], LEVELS)
      scores[rows] = special.ndtri(
          (stats.rankdata(strayed[rows]) - 0.5) / len(rows))
    elif b:  # There are fewer hits than bins.
      centres[b], quantiles[b] = centres[b - 1], quantiles[b - 1]
  return centres, quantiles, scores


def remembered(hits, played, period):
  """Returns what was played before at the same step of each period, on average.

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


def fit_trust(strayed, memories, counts):
  """Returns how far to go towards what is remembered: [bars, PERIODS].

  By least squares, for each number of bars in which the drum was hit at that step;
  with what weighs as much as PRIOR_HITS hits at 0.

  Args:
    strayed: What was played minus what was said, [hits].
    memories: What was remembered minus what was said, [hits, PERIODS].
    counts: Of the first period's.
  """
  trust = np.zeros([grid.BARS, len(PERIODS)])
  for n in range(grid.BARS):
    x, y = memories[counts == n], strayed[counts == n]
    if len(x):
      trust[n] = np.linalg.solve(
          x.T @ x * (1 + PRIOR_HITS / len(x) * np.eye(len(PERIODS)))
          + 1e-6 * np.eye(len(PERIODS)), x.T @ y)
  return trust


def fit_repetition(scores):
  """Returns how steps correlate, by how far apart they are: [18, steps].

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


def nearest_correlation(matrix):
  """Returns a correlation matrix near one whose pairs were measured apart."""
  values, vectors = np.linalg.eigh(matrix)
  matrix = vectors * np.maximum(values, 1e-3) @ vectors.T
  scale = np.sqrt(matrix.diagonal())
  return matrix / scale / scale[:, np.newaxis]


def symmetric_root(matrix):
  values, vectors = np.linalg.eigh(matrix)
  return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


class Spread:
  """Lets hits stray from what a decoder says as far as drummers do."""

  def __init__(self, kept):
    """Takes what `fit_spread` returned."""
    self._kept = kept
    self.correlation_root = symmetric_root(kept['correlation'])
    steps = np.arange(kept['repetition'].shape[1])
    lags = np.abs(np.subtract.outer(steps, steps))
    self.repetition_roots = np.array([symmetric_root(nearest_correlation(row[lags]))
                                 for row in kept['repetition']])
    self.rest_root = symmetric_root(kept['rest']) * np.sqrt(
        1 - np.minimum((kept['even'] ** 2).sum(axis=1), 1))

  def chance(self, count, feel, evenness, rng):
    """Returns what is left to chance in slices of the same feel.

    Args:
      count: Of slices.
      feel: [z_size].
      evenness: What does not go with the feel, standard normal, [18].
      rng: A RandomState.

    Returns:
      How likely a hit would stray less, [count, steps, 18], and the kinds of the
      slices, [count, steps, 18], in one array.
    """
    steps = self.repetition_roots.shape[1]
    scores = rng.standard_normal((count, steps, CHANNELS)) @ self.correlation_root
    scores = np.einsum('cts,nsc->ntc', self.repetition_roots, scores)
    kinds = KINDS * special.ndtr(
        self._kept['even'] @ feel + evenness @ self.rest_root)
    return np.concatenate([special.ndtr(scores), np.broadcast_to(
        np.clip(kinds.astype(int), 0, KINDS - 1), scores.shape)],
                          axis=-1).astype(np.float32)

  def __call__(self, step, hits, said, chance):
    """Returns velocities and offsets: [slices, 18].

    Args:
      step: They are played one after the other from 0 on.
      hits: [slices, 9].
      said: What the decoder says, [slices, 18].
      chance: The step's, [slices, 36].
    """
    if step == 0:  # Sums of what was played, and of how many hits, by period.
      self._before = [np.zeros((2, period) + said.shape) for period in PERIODS]
    here = [before[:, step % len(before[0])] for before in self._before]
    memories = np.stack([np.where(count, total / np.maximum(count, 1) - said, 0)
                         for total, count in here], axis=-1)
    kinds = chance[:, CHANNELS:].astype(int)
    channels = np.arange(CHANNELS)
    bars = here[0][1].astype(int)
    trust = self._kept['trust'][kinds, channels, bars]
    table = kinds, (bars > 0).astype(int), channels
    expected = said + np.sum(trust * memories, axis=-1)
    bins, share = _place(expected, self._kept['said'][table])
    levels, level_share = _place(chance[:, :CHANNELS], LEVELS)
    def strayed(b):
      low, high = (self._kept['strayed'][(*table, b, levels + i)]
                   for i in (0, 1))
      return low + level_share * (high - low)
    low, high = strayed(bins), strayed(bins + 1)
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
