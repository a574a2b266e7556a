"""Loops completed around what a musician keeps.

Many latents decode a loop among the allowed classes only; see masked_sampling.
"""
from collections.abc import Iterator
from typing import Any

from drumloops import grid
from drumloops.models import constraints, graph, prior
import numpy as np
from tqdm.auto import tqdm

PARTICLES = 64  # Latents that decode a loop side by side, of which one is chosen.
LOOPS = 4  # At a time, with so many.


class Completer(graph.ModelGraph):
  """The graph that completes loops."""

  def __init__(self, config: Any, checkpoint: str, seed: int = 0,
               particles: int | None = None, loops: int | None = None):
    """Builds the graph and loads a checkpoint.

    Args:
      config: A config of patterns.
      checkpoint: Its prefix.
      seed: For all that is drawn.
      particles: Latents of a loop; None for PARTICLES.
      loops: At a time; None for as many as have as many latents as by default.

    Raises:
      UserError: if it is not of the config.
    """
    self._particles = particles or PARTICLES
    self._priors = {}  # By style.
    super().__init__(config, loops or max(1, LOOPS * PARTICLES // self._particles),
                     checkpoint, seed)
    self._rng = np.random.RandomState(seed)

  def _build(self) -> None:
    import tensorflow.compat.v1 as tf
    from magenta.models.music_vae import masked_sampling
    size, loops = self.z_size, self.batch_size
    self._allowed = tf.placeholder(tf.bool, [loops, self.steps, constraints.CLASSES])
    self._inputs = tf.placeholder(tf.float32, [
        loops, self.steps, self.config.data_converter.input_depth])
    self._temperature = tf.placeholder(tf.float32, [])
    self._favor = tf.placeholder(tf.float32, [loops, self.steps, constraints.CLASSES])
    posterior = self.model.encode(self._inputs, tf.fill([loops], self.steps))
    self._posterior = posterior.loc, posterior.stddev()
    self._z = tf.placeholder(tf.float32, [loops, self._particles, size])
    self._completed = masked_sampling.sample(
        self.model.decoder, tf.reshape(self._z, [-1, size]), self._allowed,
        self._temperature, self._favor)

  def reseed(self, seed: int) -> None:
    """Makes all as if the graph had just been built with this seed, and loaded."""
    super().reseed(seed)
    self._rng = np.random.RandomState(seed)

  def complete(self, allowed: np.ndarray, temperature: float,
               style: str = '', progress: bool = False,
               favor: np.ndarray | None = None) -> np.ndarray:
    """Returns loops of allowed classes, int [loops, steps].

    Loops that are longer than the model's are completed from the beginning on. Each
    next part is completed by its mask and by the bars before it.

    Args:
      allowed: bool, [loops, steps, CLASSES].
      temperature: Of the softmax each step is sampled from.
      style: A style of GMD's that the weights know, if any.
      progress: Whether a progress bar is shown.
      favor: The log of how much likelier a class shall be, [steps, CLASSES].

    Raises:
      UserError: if there is no such style.
    """
    loops = np.argmax(allowed, axis=-1)
    if style not in self._priors:
      self._priors[style] = prior.of(self.checkpoint, self.z_size, style)
    latents = self._priors[style]
    windows, size = list(self._windows(allowed.shape[1])), self.batch_size
    for i, (begin, known) in tqdm(
        [(i, window) for i in range(0, len(loops), size) for window in windows],
        desc='Completing', unit='part', leave=False, disable=not progress):
      rows, steps = slice(i, i + size), slice(begin, begin + self.steps)
      part = allowed[rows, steps].copy()
      part[:, :known] = alone(loops[rows, begin:begin + known])
      if (part.sum(axis=-1) == 1).all():
        continue  # All of it is kept.
      inputs = constraints.roll(part)
      posterior = self._run(self._posterior, {self._inputs: inputs})
      z = np.array([latents.given(*own, self._particles, self._rng, style)
                    for own in zip(*posterior)])
      loops[rows, steps] = self._run(
          self._completed, {self._allowed: part, self._inputs: inputs, self._z: z},
          {self._temperature: temperature, self._favor: np.broadcast_to(
              0 if favor is None else favor[steps], self._favor.shape)})
    return loops

  def _windows(self, steps: int) -> Iterator[tuple[int, int]]:
    """Yields where each part begins, and how many of its steps are known then."""
    begin = known = 0
    while True:
      yield begin, known
      left = steps - begin - self.steps
      if left <= 0:
        return
      new = min(left, self.steps // 2)
      begin, known = begin + new, self.steps - new

  def go_on(self, loops: np.ndarray, bars: int, temperature: float,
            style: str = '', progress: bool = False) -> np.ndarray:
    """Returns loops, int [loops, steps], with more bars after their own.

    Args:
      loops: Classes, [loops, steps].
      bars: The length of what is returned.
      temperature: As for `complete`.
      style: As for `complete`.
      progress: As for `complete`.
    """
    steps = bars * grid.STEPS_PER_BAR
    allowed = np.ones((len(loops), steps, constraints.CLASSES), bool)
    allowed[:, :loops.shape[1]] = alone(loops)
    return self.complete(allowed, temperature, style, progress)


def alone(loops: np.ndarray) -> np.ndarray:
  """Returns masks that allow just the classes of loops: bool, [..., CLASSES]."""
  return np.eye(constraints.CLASSES, dtype=bool)[loops]
