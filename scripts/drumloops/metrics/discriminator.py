"""How well a classifier tells a model's loops from drummers'."""
from collections.abc import Sequence

import numpy as np

SEEDS = range(3)  # Each halves the performances. The trees learn each half once.
BETWEEN_DRUMMERS = ('The same trees tell half of the drummers from the others with an '
                    'AUC of {auc:.3f} (deviation {auc_deviation:.3f}).')


def auc(real: np.ndarray, made: np.ndarray, names: Sequence[str]) -> dict[str, float]:
  """Returns the AUC of boosted trees: its mean over six splits, its deviation.

  0.5 is chance. The trees learn from half of the performances and are tested with the
  others: they would recognize those they learned from.

  Args:
    real: Features, [rows, features], NaN where there is nothing to measure.
    made: As many, of the model's loops for the same rows.
    names: Their performances, [rows].

  Returns:
    {'auc', 'auc_deviation'}.
  """
  if len(set(names)) < 2:
    names = np.arange(len(real))
  rows, labels = np.concatenate([real, made]), np.repeat([False, True], len(real))
  return summary([_auc(rows, labels, learned) for seed in SEEDS
                  for learned in halves(np.tile(names, 2), seed)])


def auc_of_drummers(features: np.ndarray, names: Sequence[str],
                    drummers: Sequence[str | None]) -> dict[str, float] | None:
  """Returns `auc` of half of the drummers against the others; None of too few.

  A model's AUC is compared with it.

  Args:
    features: [rows, features].
    names: Their performances, [rows].
    drummers: Who played them, [rows]; None where that is not known.
  """
  known = [i for i, drummer in enumerate(drummers) if drummer]
  features, names, drummers = (np.array(x)[known] for x in (features, names, drummers))
  found = []
  for seed in SEEDS:
    labels, _ = halves(drummers, seed)
    found += [_auc(features, labels, learned) for learned in halves(names, seed)
              if len(set(labels[learned])) == len(set(labels[~learned])) == 2]
  return summary(found) if found else None


def halves(names: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns which rows are of one half of the names, and of the other: bool, [rows]."""
  order = np.random.RandomState(seed).permutation(sorted(set(names)))
  half = np.isin(names, order[:len(order) // 2])
  return half, ~half


def summary(found: Sequence[float]) -> dict[str, float]:
  """Returns the mean and the standard deviation of AUCs."""
  return {'auc': float(np.mean(found)), 'auc_deviation': float(np.std(found))}


def _auc(rows, labels, learned):
  import threadpoolctl
  from sklearn import ensemble, metrics
  known = ~np.isnan(rows[learned]).all(axis=0)  # scikit-learn fails on the rest.
  # Two threads that wait for each other beside another program wait for ever.
  with threadpoolctl.threadpool_limits(1, 'openmp'):
    classifier = ensemble.HistGradientBoostingClassifier(random_state=0).fit(
        rows[learned][:, known], labels[learned])
    scores = classifier.decision_function(rows[~learned][:, known])
  return metrics.roc_auc_score(labels[~learned], scores)
