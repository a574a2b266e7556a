"""How well a classifier tells what a model made from what drummers played."""
import numpy as np

SEEDS = range(3)  # Of how performances are halved; each half is learned once.
BETWEEN_DRUMMERS = ('The same trees tell half of the drummers from the others with an '
                    'AUC of {auc:.3f} (deviation {auc_deviation:.3f}).')


def auc(real, made, names):
  """Returns the AUC of boosted trees: its mean over six splits, its deviation.

  0.5 is not at all. The trees learn from half of the performances and are asked
  about the others, or they would know those again.

  Args:
    real: Features, [rows, features], NaN where there is nothing to measure.
    made: As many, of what was made after the same rows.
    names: The performances that they are of, [rows].

  Returns:
    {'auc', 'auc_deviation'}.
  """
  if len(set(names)) < 2:
    names = np.arange(len(real))
  rows, labels = np.concatenate([real, made]), np.repeat([False, True], len(real))
  return summary([_auc(rows, labels, learned) for seed in SEEDS
                  for learned in halves(np.tile(names, 2), seed)])


def auc_of_drummers(features, names, drummers):
  """Returns `auc` of half of the drummers against the others; None of too few.

  So well are drummers told from each other; a bound is compared with it.

  Args:
    features: [rows, features].
    names: The performances that they are of, [rows].
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


def halves(names, seed):
  """Returns which rows are of one half of the names, and of the other."""
  order = np.random.RandomState(seed).permutation(sorted(set(names)))
  half = np.isin(names, order[:len(order) // 2])
  return half, ~half


def summary(found):
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
