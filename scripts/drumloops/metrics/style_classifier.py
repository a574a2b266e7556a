"""Whether loops are of the style that was asked for."""
from typing import Any

from drumloops.data import patterns
from drumloops.models.prior import Prior
import numpy as np

PER_STYLE = 50  # Loops a style in the evaluation.
RIDGE = 0.1  # Added to the classifier's covariance, as a share of its diagonal.


def groove_features(slices: np.ndarray) -> np.ndarray:
  """Returns `patterns.features` of slices: [slices, features]."""
  return patterns.features(patterns.of_slices(slices))


class Classifier:
  """Names the style of loops by their groove features.

  Linear discriminant analysis: one covariance for all styles, and the same prior
  probability.

  Attributes:
    names: The styles.
  """

  def __init__(self, by_style: dict[str, np.ndarray]):
    """Learns from {style: slices}."""
    self.names = list(by_style)
    means, within = [], 0
    for slices in by_style.values():
      features = groove_features(slices)
      means.append(features.mean(axis=0))
      features -= means[-1]
      within += features.T @ features
    means = np.array(means)
    covariance = within / sum(map(len, by_style.values()))
    covariance += RIDGE * np.diag(covariance.diagonal() + 1e-4)
    self._weights = np.linalg.solve(covariance, means.T)
    self._bias = -0.5 * np.sum(means.T * self._weights, axis=0)

  def __call__(self, slices: np.ndarray) -> np.ndarray:
    """Returns the index in `names` of each slice's style: [slices]."""
    return np.argmax(
        groove_features(slices) @ self._weights + self._bias, axis=1)


def evaluate_styles(model: Any, prior: Prior,
                    train: dict[str, np.ndarray], reference: dict[str, np.ndarray],
                    temperature: float, seed: int = 0) -> dict[str, Any]:
  """Returns how often a classifier names the style that was asked for.

  Args:
    model: An autoencoder.Autoencoder with a checkpoint loaded.
    prior: The checkpoint's, which has styles.
    train: {style: slices}, with which the classifier is trained.
    reference: The same of another split.
    temperature: Of the samples.
    seed: For what is drawn.

  Returns:
    {'real', 'styled', 'unstyled': share that is named right, the mean over the
    styles that both splits have; 'chance'; 'styles': how many those are; 'by_style':
    {style: {'styled', and 'real' if the reference has it}}}.
  """
  rng = np.random.RandomState(seed)
  names = list(prior.styles)
  classifier = Classifier({s: train[s] for s in names})
  def right(loops, i):
    return float(np.mean(classifier(loops) == i))
  def sampled(count, style=''):
    return prior.sample(lambda number: model.decode(
        prior.draw(number, rng, style), temperature), count)
  by_style = {s: {'styled': right(sampled(PER_STYLE, s), i),
                  **({'real': right(reference[s], i)} if s in reference else {})}
              for i, s in enumerate(names)}
  unstyled = classifier(sampled(PER_STYLE * len(names)))
  common = [i for i, s in enumerate(names) if s in reference]
  return {
      **{column: float(np.mean([by_style[names[i]][column] for i in common]))
         for column in ('real', 'styled')},
      'unstyled': float(np.mean([np.mean(unstyled == i) for i in common])),
      'chance': 1 / len(names), 'styles': len(common), 'by_style': by_style}
