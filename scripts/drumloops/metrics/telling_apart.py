"""How well a classifier tells what a model made from what drummers played."""
import numpy as np


def auc(real, made, is_learned):
  """Returns the AUC of boosted trees; 0.5 is not at all.

  Args:
    real: Features, [rows, features], NaN where there is nothing to measure.
    made: As many, of what was made after the same rows.
    is_learned: bool, [rows]: of which the classifier learns. The others are of
      other performances, or it would know those again.
  """
  import threadpoolctl
  from sklearn import ensemble, metrics
  known = ~np.isnan(real[is_learned]).all(axis=0)  # scikit-learn fails on the rest.
  def both(rows):
    return np.concatenate([part[rows][:, known] for part in (real, made)])
  def labels(rows):
    return np.repeat([0, 1], rows.sum())
  # Two threads that wait for each other beside another program wait for ever.
  with threadpoolctl.threadpool_limits(1, 'openmp'):
    classifier = ensemble.HistGradientBoostingClassifier(random_state=0).fit(
        both(is_learned), labels(is_learned))
    score = classifier.decision_function(both(~is_learned))
  return float(metrics.roc_auc_score(labels(~is_learned), score))
