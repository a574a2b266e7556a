"""How good completions are, beside a floor and baselines."""
from collections.abc import Callable, Iterable
from typing import Any

from drumloops import grid
from drumloops.data import patterns, styles
from drumloops.models import autoencoder, completion, variation
from drumloops.models.constraints import CLASSES, Constraints, roll
from drumloops.metrics import discriminator, reports
import numpy as np

BATCH_SIZE = 64
LONGER_LOOPS = 200  # Of the samples; each is made twice as long.
LOOPS = 500  # Of the split; each is completed once.
TASKS = {
    'kick and snare kept': Constraints.read(keep='kick,snare'),
    'cymbals kept': Constraints.read(keep='cymbals'),
    'bars 1 and 2 kept': Constraints.read(keep_bars='1,2'),
    'rhythm kept': Constraints.read(rhythm=True),
}
COLUMNS = {
    'frechet_distance': 'Frechet distance of groove features to the split.',
    'bar_similarity': 'Hits that neighbouring bars share (Jaccard).',
    'density': 'Hits where the loop was hidden, as a share of those that the '
               'drummer played there.',
    'f1': "F1 of those hits, against the drummer's.",
    'auc': 'How well boosted trees that have learned from half of the performances '
           'tell loops of the others from the originals; 0.5 is not at all. The mean '
           'of six splits.',
    'auc_deviation': 'The standard deviation of that over the six splits.',
}


def hidden(allowed: np.ndarray) -> np.ndarray:
  """Returns which hits a mask leaves open: bool, [loops, bars, steps a bar, drums].

  Args:
    allowed: bool, [loops, steps, CLASSES].
  """
  is_open = roll(allowed)[..., :grid.DRUMS] == 0.5
  return is_open.reshape(len(allowed), -1, grid.STEPS_PER_BAR, grid.DRUMS)


def features(loops: np.ndarray) -> np.ndarray:
  """Returns a classifier's inputs: all hits, groove features: [loops, features]."""
  return np.concatenate([patterns.hits(loops).reshape(len(loops), -1),
                         patterns.features(loops)], axis=1)


def describe(loops: np.ndarray, originals: np.ndarray, allowed: np.ndarray,
             distance: Callable, names: np.ndarray) -> dict[str, float]:
  """Returns COLUMNS' numbers of completed loops.

  Args:
    loops: [loops, steps].
    originals: The drummers' own, [loops, steps].
    allowed: bool, [loops, steps, CLASSES].
    distance: A patterns.Distance.
    names: The originals' performances, [loops].
  """
  is_open = hidden(allowed)
  added, played = (patterns.hits(x) & is_open for x in (loops, originals))
  return {
      'frechet_distance': distance(loops),
      'bar_similarity': float(patterns.bar_similarity(loops).mean()),
      'density': float(added.sum() / max(1, played.sum())),
      'f1': float(2 * (added & played).sum() / max(1, added.sum() + played.sum())),
      **discriminator.auc(features(originals), features(loops), names)}


def fill(originals: np.ndarray, others: np.ndarray, allowed: np.ndarray,
         rng: np.random.RandomState) -> np.ndarray:
  """Returns originals with other loops' hits where a mask is open: [loops, steps].

  In a rhythm a step may not allow them. There, it has the hits of another step of the
  other loop, drawn from those with any.
  """
  is_open = hidden(allowed).reshape(originals.shape + (grid.DRUMS,))
  mask = (is_open << np.arange(grid.DRUMS)).sum(axis=-1)
  filled = originals & ~mask | others & mask
  for loop, other, allows in zip(filled, others, allowed):
    wrong = np.flatnonzero(~allows[np.arange(len(loop)), loop])
    if len(wrong):
      loop[wrong] = rng.choice(other[other > 0] if other.any() else [1], len(wrong))
  return filled


def kept_again(loops: np.ndarray, kept_bars: Iterable[int]) -> np.ndarray:
  """Returns loops that repeat some of their bars (from 0): [loops, steps]."""
  bars = loops.reshape(len(loops), -1, grid.STEPS_PER_BAR)
  kept = bars[:, list(kept_bars)]
  again = np.arange(bars.shape[1]) % kept.shape[1]
  return kept[:, again].reshape(loops.shape)


class Material:
  """Loops of a split to complete, and loops that baselines fill them with.

  Attributes:
    split: All loops of the split, [loops, steps], as all others are.
    train: All training loops.
    originals: Loops of the split.
    names: The originals' performances.
    same_style: For each original, a training loop of its style.
    others: For each original, any training loop.
    independent: As many loops of independent hits.
  """

  def __init__(self, split: list[tuple[str, np.ndarray]],
               train: list[tuple[str, np.ndarray]], seed: int = 0):
    """Draws from what `styles.performances` returns of a split and of train."""
    rng = np.random.RandomState(seed)
    def parts(performances):
      names = np.repeat([name for name, _ in performances],
                        [len(slices) for _, slices in performances])
      return (np.concatenate([slices for _, slices in performances]).astype(int),
              np.array([styles.style_of(name) or '' for name in names]), names)
    self.split, of_style, names = parts(split)
    self.train, of_train, _ = parts(train)
    rows = rng.choice(len(self.split), min(LOOPS, len(self.split)), False)
    self.originals, self.names = self.split[rows], names[rows]
    self.same_style = self.train[[
        rng.choice(np.flatnonzero(of_train == style)
                   if (of_train == style).any() else len(self.train))
        for style in of_style[rows]]]
    self.others = self.train[rng.choice(len(self.train), len(rows))]
    self.independent = patterns.marginal_loops(self.train, len(rows), rng)

  def fillings(self, constraints: Constraints) -> dict[str, np.ndarray]:
    """Returns {what they are: loops that baselines fill the originals with}."""
    return {
        **({'the kept bars again': kept_again(self.originals, constraints.keep_bars)}
           if constraints.keep_bars else {}),
        'another loop of the style': self.same_style, 'another loop': self.others,
        'each hit for itself': self.independent}


def evaluate(config: Any, completer: completion.Completer, material: Material,
             seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
  """Returns {task of TASKS: {what the loops are: COLUMNS' numbers}}.

  Args:
    config: The completer's config.
    completer: A Completer.
    material: A Material.
    seed: For what is drawn.
  """
  rng = np.random.RandomState(seed)
  distance = patterns.Distance(material.train, material.split)
  result = {}
  for name, constraints in TASKS.items():
    allowed = np.array([constraints.allowed(loop) for loop in material.originals])
    def numbers(loops):
      return describe(loops, material.originals, allowed, distance, material.names)
    completed = reports.deliver(config, completer.complete(
        allowed, autoencoder.DEFAULT_TEMPERATURE))
    result[name] = {
        'the originals': numbers(material.originals), 'completed': numbers(completed),
        **{f'baseline: {what}': numbers(fill(material.originals, loops, allowed, rng))
           for what, loops in material.fillings(constraints).items()}}
  return result


def evaluate_longer(config: Any, completer: completion.Completer, loops: np.ndarray,
                    material: Material) -> dict[str, float]:
  """Returns numbers of sampled loops that are made twice as long.

  Args:
    config: The completer's config.
    completer: A Completer.
    loops: Sampled loops, [loops, steps].
    material: A Material.
  """
  distance = patterns.Distance(material.train, material.split)
  loops = reports.deliver(config, completer.go_on(
      loops[:LONGER_LOOPS], 2 * loops.shape[1] // grid.STEPS_PER_BAR,
      autoencoder.DEFAULT_TEMPERATURE))
  first, second = np.split(loops, 2, axis=1)
  similarity = patterns.bar_similarity(loops).mean(axis=0)
  return {'distance of the first half': distance(first),
          'distance of the second half': distance(second),
          'bar similarity inside': float(np.delete(
              similarity, len(similarity) // 2).mean()),
          'bar similarity where it goes on': float(similarity[
              len(similarity) // 2])}


def evaluate_latents(config: Any, varier: variation.Varier, loops: np.ndarray
                     ) -> dict[str, dict[str, float]]:
  """Returns the F1 of reconstructions, from the encoder's latents and refined ones.

  Args:
    config: The varier's config.
    varier: A Varier.
    loops: All loops of a split, [loops, steps].

  Returns:
    {'encoder' or 'refined': {'all' or a drum: F1}}.
  """
  z, _ = varier.encode(loops)
  quiet = np.zeros([len(loops), loops.shape[1], CLASSES], np.float32)
  def scores(z):
    played = reports.deliver(config, varier.play(z, quiet, 1.))
    h, p = patterns.hits(loops), patterns.hits(played)
    return {'all': float(2 * (h & p).sum() / (h.sum() + p.sum())),
            **dict(zip(grid.DRUM_CLASSES,
                       map(float, patterns.drum_scores(loops, played)[2])))}
  return {'encoder': scores(z), 'refined': scores(varier.refine(loops, z))}


def report(result: dict) -> list[str]:
  """Returns lines of a report on what the functions above returned.

  Args:
    result: With 'latents', 'completion', 'longer' and 'between_drummers', if any.
  """
  lines = []
  if 'latents' in result:
    lines += ['', '## Loops from their latents alone, the most likely ones', '']
    lines += reports.table(result['latents'], tuple(result['latents']['encoder']))
  for task, rows in result.get('completion', {}).items():
    lines += ['', f'## Completed: {task}', '', *reports.table(rows, tuple(COLUMNS))]
  if 'completion' in result:
    lines += ['', '## Samples made twice as long', '']
    lines += [f'{name}: {value:.3f}' for name, value in result['longer'].items()]
    lines += [''] + [f'{name}: {meaning}' for name, meaning in COLUMNS.items()]
  if result.get('between_drummers'):
    lines += [discriminator.BETWEEN_DRUMMERS.format(**result['between_drummers'])]
  return lines
