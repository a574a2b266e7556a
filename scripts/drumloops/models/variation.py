"""Loops near a musician's: a loop as a latent and noise, both of which can be moved.

A step is sampled as argmax(logits / temperature + Gumbel noise). For a loop and a
latent, one can draw noise with which the decoder samples just that loop (Maddison,
Tarlow & Minka 2014, arXiv 1411.0030; for counterfactuals Oberst & Sontag 2019,
arXiv 1905.05824). So the noise holds what the latent does not, and a path through
both begins and ends at the loops themselves, hit for hit.
"""
from collections.abc import Callable
from typing import Any

from drumloops.models import constraints, graph, latent
import numpy as np

LOOPS = 8  # At a time.
REFINING_STEPS, REFINING_RATE = 30, 0.15
MARGIN = 1e-3  # By which a loop's class has the maximum, beyond what rounding can do.


def noise_of(logits: np.ndarray, classes: np.ndarray,
             rng: np.random.RandomState) -> np.ndarray:
  """Returns Gumbel noise with which classes have the maximum: [..., classes].

  The class that has the maximum has the value whose distribution is the logits'
  log-sum-exp with Gumbel noise; the other classes' values are cut off below it.

  Args:
    logits: Divided by the temperature, [..., classes].
    classes: int, [...].
    rng: A NumPy RandomState.
  """
  logits = np.asarray(logits, float)
  is_first = np.arange(logits.shape[-1]) == np.asarray(classes)[..., np.newaxis]
  highest = np.logaddexp.reduce(logits, axis=-1, keepdims=True) + rng.gumbel(
      size=logits.shape[:-1] + (1,))
  values = logits + rng.gumbel(size=logits.shape)
  values = np.minimum(highest - np.logaddexp(0, highest - values),
                      highest - MARGIN)
  return np.where(is_first, highest, values) - logits


def mix_noise(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
  """Returns Gumbel noise between two: `a` at a share of 0, `b` at 1.

  As Gaussian noise, the two are turned into one another. So what is between them
  has their distribution.
  """
  from scipy import special
  if share in (0, 1):
    return b if share else a
  a, b = (special.ndtri_exp(-np.exp(-x)) for x in (a, b))
  angle = share * np.pi / 2
  return -np.log(-special.log_ndtr(np.cos(angle) * a + np.sin(angle) * b))


class Varier(graph.ModelGraph):
  """The graph that encodes loops, and decodes latents with noise."""

  def __init__(self, config: Any, checkpoint: str, batch_size: int = LOOPS):
    """Builds the graph and loads a checkpoint, for so many loops at a time.

    Raises:
      UserError: if it is not of the config.
    """
    super().__init__(config, batch_size, checkpoint)

  def _build(self) -> None:
    import tensorflow.compat.v1 as tf
    from magenta.models.music_vae import masked_sampling
    posterior = self._encode()
    self._posterior = posterior.loc, posterior.stddev()
    self._z = tf.placeholder(tf.float32, [self.batch_size, self.z_size])
    loss, self._logits = self._reconstruct(self._z)
    self._gradient, = tf.gradients(loss, self._z)
    self._noise = tf.placeholder(tf.float32, [
        self.batch_size, self.steps, self.config.data_converter.output_depth])
    self._temperature = tf.placeholder(tf.float32, [])
    self._decoded = masked_sampling.sample_with_noise(
        self.model.decoder, self._z, self._noise, self._temperature)

  def encode(self, loops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the latents' means and deviations: two of [loops, z_size]."""
    return self._run(self._posterior, {self._slices: loops})

  def refine(self, loops: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns latents that reconstruct loops better, found from `z` on.

    By REFINING_STEPS of Adam on each loop's nats (semi-amortized inference, Kim et
    al. 2018, arXiv 1802.02550).

    Args:
      loops: Classes, [loops, steps].
      z: [loops, z_size].
    """
    z = np.array(z)
    mean, square = np.zeros([2, *z.shape])
    for i in range(1, REFINING_STEPS + 1):
      gradient = self._run(self._gradient, {self._slices: loops, self._z: z})
      mean += 0.1 * (gradient - mean)
      square += 0.01 * (gradient ** 2 - square)
      z -= REFINING_RATE * (mean / (1 - 0.9 ** i)) / (
          np.sqrt(square / (1 - 0.99 ** i)) + 1e-8)
    return z

  def logits(self, loops: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Returns the decoder's outputs, given each loop's true steps before.

    Args:
      loops: Classes, [loops, steps].
      z: [loops, z_size].

    Returns:
      float32, [loops, steps, classes].
    """
    return self._run(self._logits, {self._slices: loops, self._z: z})

  def noise(self, loops: np.ndarray, z: np.ndarray, temperature: float,
            rng: np.random.RandomState) -> np.ndarray:
    """Returns noise with which latents are decoded to just these loops.

    Args:
      loops: Classes, [loops, steps].
      z: [loops, z_size].
      temperature: Of the softmax each step is sampled from.
      rng: A NumPy RandomState.

    Returns:
      Gumbel noise, [loops, steps, classes].
    """
    return noise_of(self.logits(loops, z) / temperature, loops, rng)

  def play(self, z: np.ndarray, noise: np.ndarray, temperature: float) -> np.ndarray:
    """Returns the loops that latents and noise decide: int, [loops, steps]."""
    return self._run(self._decoded, {self._z: z, self._noise: noise},
                     {self._temperature: temperature})


def vary(varier: Varier, loop: np.ndarray, amount: float, count: int,
         temperature: float, seed: int,
         play: Callable[[np.ndarray, np.ndarray, float], np.ndarray] | None = None
         ) -> np.ndarray:
  """Returns variations of a loop: int, [count, steps].

  Args:
    varier: A Varier.
    loop: Classes, [steps].
    amount: From 0, the loop itself, to 1, other loops with a similar latent.
    count: How many.
    temperature: Of the softmax each step is sampled from.
    seed: The same seed gives the same loops.
    play: Decodes them instead of `Varier.play`, and takes the same.
  """
  if not amount and not play:  # Nor does rounding change it, however low the temperature.
    return np.repeat([loop], count, axis=0)
  rng = np.random.RandomState(seed)
  mu, sigma = varier.encode([loop])
  own = varier.noise([loop], mu, temperature, rng)
  z = mu + amount * sigma * rng.standard_normal((count, mu.shape[1]))
  fresh = rng.gumbel(size=(count,) + own.shape[1:])
  noise = mix_noise(np.repeat(own, count, axis=0), fresh, amount)
  return (play or varier.play)(z, noise, temperature)


def reconstruct(varier: Varier, loop: np.ndarray, count: int, temperature: float,
                seed: int) -> np.ndarray:
  """Returns loops decoded from a loop's refined latent: int, [count, steps].

  Args:
    varier: A Varier.
    loop: Classes, [steps].
    count: How many.
    temperature: Of the softmax each step is sampled from. 0 gives the most likely
      class of each.
    seed: The same seed gives the same loops.
  """
  rng = np.random.RandomState(seed)
  z = np.repeat(varier.refine([loop], varier.encode([loop])[0]), count, axis=0)
  noise = rng.gumbel(size=(count, len(loop), constraints.CLASSES))
  return varier.play(z, noise * bool(temperature), temperature or 1.)


def interpolate(varier: Varier, a: np.ndarray, b: np.ndarray, count: int,
                temperature: float, seed: int) -> np.ndarray:
  """Returns loops from one to another, ends included: int, [count, steps].

  Args:
    varier: A Varier.
    a: Classes, [steps].
    b: Classes, [steps].
    count: How many.
    temperature: Of the softmax each step is sampled from.
    seed: The same seed gives the same loops.
  """
  rng = np.random.RandomState(seed)
  mu, _ = varier.encode([a, b])
  own = varier.noise([a, b], mu, temperature, rng)
  shares = np.linspace(0, 1, count)
  loops = varier.play(
      [latent.slerp(*mu, share) for share in shares],
      [mix_noise(*own, share) for share in shares], temperature)
  loops[0] = a  # As they are but for what rounding does at low temperatures.
  if count > 1:
    loops[-1] = b
  return loops
