"""The latent space: interpolation, and a fit to the prior."""
from collections.abc import Callable

import numpy as np

MOST_FITTED = 50_000  # Loops that the latent is fitted to: all in memory.
CALIBRATION_LOOPS = 2000  # Sampled to see how dense samples are.
MAX_SHIFT = 0.5  # In standard deviations of the prior.


def slerp(p0: np.ndarray, p1: np.ndarray, t: float) -> np.ndarray:
  """Returns the spherical interpolation of two latents, [z_size], as upstream's."""
  omega = np.arccos(np.clip(np.dot(
      p0 / np.linalg.norm(p0), p1 / np.linalg.norm(p1)), -1, 1))
  if np.sin(omega) < 1e-6:  # The same direction: there is no arc to follow.
    return (1 - t) * p0 + t * p1
  return (np.sin((1 - t) * omega) * p0 + np.sin(t * omega) * p1) / np.sin(omega)


def inverse_softplus(x: np.ndarray) -> np.ndarray:
  """Returns the numbers whose softplus is x."""
  return np.log(np.expm1(np.maximum(x, 1e-6)))


def change_basis(tensors: dict[str, np.ndarray], mean: np.ndarray, matrix: np.ndarray
                 ) -> dict[str, np.ndarray]:
  """Returns a model's variables in other coordinates u of its latent z.

  z = mean + u matrix. It is folded into the layers before and after the latent,
  so loops are encoded and decoded as before.

  Args:
    tensors: {variable: array} of a MusicVAE whose latent goes to LSTM cells.
    mean: [z_size].
    matrix: [z_size, z_size], which has an inverse.
  """
  tensors = dict(tensors)
  inverse = np.linalg.inv(matrix)
  kernel, bias = 'encoder/mu/kernel', 'encoder/mu/bias'
  tensors[kernel] = tensors[kernel] @ inverse
  tensors[bias] = (tensors[bias] - mean) @ inverse
  def fold(layer, first_row=0):
    kernel, bias = f'{layer}/kernel', f'{layer}/bias'
    rows = slice(first_row, first_row + len(mean))
    of_z = tensors[kernel][rows]
    tensors[bias] = tensors[bias] + mean @ of_z
    tensors[kernel] = tensors[kernel].copy()
    tensors[kernel][rows] = matrix @ of_z
  if 'decoder/hierarchical_level_0/initial_state/kernel' in tensors:
    fold('decoder/hierarchical_level_0/initial_state')
  else:  # A flat decoder is given the latent at every step too.
    fold('decoder/z_to_initial_state')
    classes = tensors['decoder/output_projection/bias'].shape[0]
    fold('decoder/multi_rnn_cell/cell_0/lstm_cell', first_row=classes)
  return {name: value.astype(np.float32) if np.ndim(value) else value
          for name, value in tensors.items()}


def whiten(tensors: dict[str, np.ndarray], mu: np.ndarray, sigma: np.ndarray
           ) -> dict[str, np.ndarray]:
  """Returns a model's variables with a latent of mean 0 and covariance 1.

  The free bits let the training loops' latents leave the prior N(0, I) that samples
  are drawn from. This makes their first two moments fit it. (Ghosh et al. 2020, arXiv
  1903.12436, fit the prior to the latents instead.)

  Many linear changes do so. In the coordinates of this one, the noise of the encoder
  is independent on average, as an encoder's has to be. In single loops it is not quite,
  which is lost: the encoder's new deviations are fitted by least squares.

  Args:
    tensors: {variable: array} of a MusicVAE.
    mu: The training loops' posterior means, [loops, z_size].
    sigma: Their deviations, [loops, z_size].
  """
  covariance = np.cov(mu, rowvar=False) + np.diag((sigma ** 2).mean(axis=0))
  values, vectors = np.linalg.eigh(covariance)
  whitening = vectors / np.sqrt(values)
  _, rotation = np.linalg.eigh(
      whitening.T * (sigma ** 2).mean(axis=0) @ whitening)
  inverse = whitening @ rotation
  tensors = change_basis(tensors, mu.mean(axis=0), np.linalg.inv(inverse))
  new_sigma = np.sqrt(sigma ** 2 @ inverse ** 2)
  before = np.concatenate(
      [inverse_softplus(sigma), np.ones([len(sigma), 1])], axis=1)
  fit = np.linalg.lstsq(before, inverse_softplus(new_sigma), rcond=None)[0]
  kernel, bias = 'encoder/sigma/kernel', 'encoder/sigma/bias'
  tensors[kernel] = (tensors[kernel] @ fit[:-1]).astype(np.float32)
  tensors[bias] = (tensors[bias] @ fit[:-1] + fit[-1]).astype(np.float32)
  return tensors


def density_shift(decode: Callable[[np.ndarray], np.ndarray], z_size: int,
                  empty_step_ratio: float, seed: int = 0) -> np.ndarray:
  """Returns the smallest shift of the prior that makes samples dense enough.

  Samples are sparser than the training loops: a rest is the safe choice at a low
  temperature, and between the latents of loops. The share of empty steps depends on
  the latent almost linearly. So a small shift in one direction, found by least squares,
  corrects it.

  The shift is 0 where it would be longer than MAX_SHIFT.

  Args:
    decode: From latents, [loops, z_size], to loops, [loops, steps].
    z_size: Size of the latent.
    empty_step_ratio: Steps at which no drum shall be hit, as a share of all.
    seed: For the latents.

  Returns:
    [z_size].
  """
  z = np.random.RandomState(seed).standard_normal((CALIBRATION_LOOPS, z_size))
  empty = (decode(z) == 0).mean(axis=1)
  slope = np.linalg.lstsq(z - z.mean(axis=0), empty - empty.mean(),
                          rcond=None)[0]
  shift = slope * (empty_step_ratio - empty.mean()) / (slope @ slope)
  if not np.linalg.norm(shift) < MAX_SHIFT:
    print("The samples' density was left as it is; this model has learned too "
          'little for its latents to say how dense a loop is.')
    return np.zeros(z_size)
  return shift
