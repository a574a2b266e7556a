"""Whether sliders move what they are of, and how near to drummers loops stay."""
from typing import Any

from drumloops.data import patterns
from drumloops.metrics import reports
from drumloops.models import autoencoder, prior, sliders, variation
import numpy as np

LOOPS = 25  # At a time, with one value of a slider ...
VALUES = 8  # ... of so many from end to end; none is 0, at which it does nothing.
TIMES = 10  # As many loops at each end.
MATCHED = 300  # Loops of the reference.


def spearman(a: np.ndarray, b: np.ndarray) -> float:
  """Returns Spearman's correlation of two [values]."""
  from scipy import stats
  return float(stats.spearmanr(a, b)[0])


def with_as_much(has: np.ndarray, wanted: np.ndarray, count: int,
                 rng: np.random.RandomState) -> np.ndarray:
  """Returns rows of loops that have as much of an attribute as others: [count].

  None comes twice.

  Args:
    has: How much each loop has, [loops]; there are `count` of them or more.
    wanted: How much the others have, whose quantiles are matched.
    count: How many.
    rng: Decides who chooses first, and between loops that have as much.
  """
  has, rows = has + 1e-9 * rng.random_sample(len(has)), []
  free = np.ones(len(has), bool)
  for want in rng.permutation(np.quantile(wanted, (np.arange(count) + 0.5) / count)):
    rows.append(int(np.argmin(np.where(free, np.abs(has - want), np.inf))))
    free[rows[-1]] = False
  return np.array(rows)


def evaluate(config: Any, checkpoint: str, train: np.ndarray, reference: np.ndarray,
             seed: int = 0) -> dict[str, dict[str, Any]]:
  """Returns how sliders move loops, as written files have these.

  Args:
    config: A config of patterns.
    checkpoint: Its prefix; sliders.SLIDERS_FILE lies beside it.
    train: The train split's loops, [loops, steps].
    reference: The evaluated split's loops.
    seed: For what is drawn.

  Returns:
    {attribute: {'spearman': {attribute: its correlation with the slider}, 'at': {value
    of the slider: {'all': distance to the reference, 'samples': to its loops that have
    as much of the attribute, 'floor': the same of training loops that have as much}}}}.
  """
  varier = variation.Varier(config, checkpoint, LOOPS)
  kept, rng = sliders.load(checkpoint), np.random.RandomState(seed)
  latents = prior.of(checkpoint, varier.z_size)
  def sampled(count, **values):
    return reports.deliver(config, sliders.sample(
        varier, kept, sliders.Sliders(**values),
        latents.draw(count, rng), autoencoder.DEFAULT_TEMPERATURE, rng))
  distance, found = patterns.Distance(train, reference), {}
  plain = sampled(TIMES * LOOPS)
  values = np.linspace(-sliders.MOST, sliders.MOST, VALUES)
  for i, name in enumerate(sliders.ATTRIBUTES):
    has = sliders.measure(np.concatenate(
        [sampled(LOOPS, **{name: value}) for value in values]))
    found[name] = {'spearman': {other: spearman(np.repeat(values, LOOPS), own)
                                for other, own in zip(sliders.ATTRIBUTES, has.T)},
                   'at': {}}
    of_reference, of_train = (
        sliders.measure(loops)[:, i] for loops in (reference, train))
    for value in (-sliders.MOST, 0, sliders.MOST):
      loops = sampled(TIMES * LOOPS, **{name: value}) if value else plain
      own = sliders.measure(loops)[:, i]
      near = patterns.Distance(train, reference[with_as_much(
          of_reference, own, min(MATCHED, len(reference)), rng)])
      found[name]['at'][str(value)] = {
          'all': distance(loops), 'samples': near(loops),
          'floor': near(train[with_as_much(
              of_train, own, min(len(loops), len(train)), rng)])}
  return found


def report(found: dict[str, dict[str, Any]]) -> list[str]:
  """Returns lines about what `evaluate` returned."""
  lines = ['', '## Sliders', '',
           f"Spearman's correlation of sliders with attributes, {VALUES * LOOPS} loops:",
           '',
           *reports.table({name: row['spearman'] for name, row in found.items()},
                          tuple(found)), '',
           f'Distance of {TIMES * LOOPS} loops to the split (all), to its loops that '
           'have as much of the attribute (samples), and that of training loops that '
           'have as much (floor):', '']
  return lines + reports.table(
      {f'{name} {value}': numbers for name, row in found.items()
       for value, numbers in row['at'].items()}, ('all', 'samples', 'floor'))
