"""Sliders: how much of an attribute loops have, by vectors in the latent space.

An attribute's vector is the mean latent of the training loops that have much of it,
less that of those that have little (Roberts et al. 2018, arXiv 1803.05428, 5.2). A
latent is moved along it until its loop, decoded with the same noise, has as much of the
attribute as the slider asks for.

A slider counts in shares of the training loops. 0 is as much as the middle one has, and
LEVELS and SHARES say the rest. From a musician's loop it counts from what that has.
"""
from collections.abc import Callable
import dataclasses
from typing import Any

from drumloops import grid
from drumloops.data import patterns
from drumloops.errors import UserError, field
from drumloops.models import constraints, latent, variation
from drumloops.models.prior import Prior
from drumloops.runs import checkpoint_files
from magenta_patches.added.drum_classes import HIGH_TOM, KICK, LOW_TOM, MID_TOM, SNARE
import numpy as np

SLIDERS_FILE = 'sliders.npz'  # Beside a checkpoint.
MOST = 2
# A slider at a level is what so many percent of the training loops have at most. Only
# musicians' loops begin so far out that they reach the ends.
LEVELS = (-3, -2, -1, 0, 1, 2, 3)
SHARES = (0, 10, 25, 50, 75, 90, 100)
LITTLE, MUCH = 25, 75  # Percent of the training loops, for the vectors.
ROUNDS = 8  # In each, latents go on by DAMPING of what their loops lack.
DAMPING, MAX_STEP = 0.7, 1.5
OTHERS = 0.05  # How much the other attributes' change counts, beside what lacks.
LEAST_DEVIATION = 1e-3  # Where all loops have as much.
PART = 256  # Loops at a time, whose noise is in memory.

# How strong each sixteenth of a bar is (Longuet-Higgins & Lee 1984): one less each time
# that the bar, its halves, quarters and eighths are halved.
STRENGTHS = (0, -4, -3, -4, -2, -4, -3, -4, -1, -4, -3, -4, -2, -4, -3, -4)
FILLING = [SNARE, LOW_TOM, MID_TOM, HIGH_TOM]
SKINS = [KICK, *FILLING]
FULL = 8  # Hits; a bar of fewer counts as one of so many, so that it is no fill.


def density(loops: np.ndarray) -> np.ndarray:
  """Returns hits a bar: [loops]."""
  return patterns.hits(loops).sum(axis=(2, 3)).mean(axis=1)


def syncopation(loops: np.ndarray) -> np.ndarray:
  """Returns the syncopation of what kick, snare and toms play together: [loops].

  By Longuet-Higgins & Lee 1984, a bar: each hit counts by how much stronger the
  strongest step is after it and before the next hit. A loop repeats.
  """
  hit = patterns.hits(loops)[..., SKINS].any(axis=-1).reshape(len(loops), -1)
  steps = hit.shape[1]
  found, strongest = np.zeros(len(loops)), np.full(len(loops), -np.inf)
  for t in range(2 * steps - 1, -1, -1):  # Backwards, and first for the loop again.
    now, strength = hit[:, t % steps], STRENGTHS[t % grid.STEPS_PER_BAR]
    if t < steps:
      found += np.where(now, np.maximum(strongest - strength, 0), 0)
    strongest = np.where(now, -np.inf, np.maximum(strongest, strength))
  return found * grid.STEPS_PER_BAR / steps


def fills(loops: np.ndarray) -> np.ndarray:
  """Returns how much of a fill the bar is that is most of one: [loops].

  That is the share of snare and toms in its hits. Of the train split's bars, it tells
  the Groove MIDI Dataset's fills (Gillick et al. 2019, arXiv 1905.06118) from its
  beats with an AUC of 0.88. The number of toms has 0.78.
  """
  hits = patterns.hits(loops).sum(axis=2)
  return (hits[..., FILLING].sum(axis=-1) / np.maximum(hits.sum(axis=-1), FULL)
          ).max(axis=1)


ATTRIBUTES = {'density': density, 'syncopation': syncopation, 'fills': fills}


@dataclasses.dataclass(frozen=True)
class Sliders:
  """How much of each attribute loops shall have, from -MOST to MOST.

  0 leaves it as it comes.
  """
  density: float = 0
  syncopation: float = 0
  fills: float = 0

  def __post_init__(self) -> None:
    """Raises UserError if a slider is further out than sliders go."""
    for name, value in self.by_name.items():
      if not -MOST <= value <= MOST:
        raise UserError(
            f'{field(name)} must be from {-MOST} to {MOST}, not {value:g}.')

  @property
  def by_name(self) -> dict[str, float]:
    """{attribute: value}, in the order of ATTRIBUTES."""
    return {name: getattr(self, name) for name in ATTRIBUTES}

  @classmethod
  def read(cls, **typed: float) -> 'Sliders':
    """Returns the Sliders of what a user typed: density=1.

    Raises:
      UserError: if there is no such slider, or it is further out than sliders go.
    """
    if unknown := set(typed) - set(ATTRIBUTES):
      raise UserError(f'There is no slider {min(unknown)}; there are '
                      f'{", ".join(map(field, ATTRIBUTES))}.')
    return cls(**typed)

  @classmethod
  def of_flags(cls, flags: Any) -> 'Sliders':
    """Returns the Sliders of absl's flags, as `define_flags` defines them."""
    return cls(**{name: getattr(flags, name) for name in ATTRIBUTES})

  def __bool__(self) -> bool:
    return any(self.by_name.values())

  def __str__(self) -> str:
    return ', '.join(f'{name} {value:+g}' for name, value in self.by_name.items()
                     if value)


def define_flags() -> None:
  """Defines a flag for each slider."""
  from absl import flags
  for name, what in (('density', 'many hits'), ('syncopation', 'much syncopation'),
                     ('fills', 'much of a fill')):
    flags.DEFINE_float(name, 0., (
        f'To sample: how {what} loops have beside those of drummers, from {-MOST} to '
        f'{MOST}; 0: as it comes. To vary: how much more than the MIDI file.'))


def measure(loops: np.ndarray) -> np.ndarray:
  """Returns how much of each attribute patterns have: [loops, attributes]."""
  return np.stack([of(loops) for of in ATTRIBUTES.values()], axis=1)


def fit(mu: np.ndarray, loops: np.ndarray,
        drawn: np.ndarray, decode: Callable[[np.ndarray], np.ndarray]
        ) -> dict[str, np.ndarray]:
  """Returns the attributes' vectors and levels, as arrays to keep.

  Args:
    mu: The training loops' latents, [loops, z_size].
    loops: Their patterns, [loops, steps].
    drawn: Latents of samples, [samples, z_size].
    decode: From latents to sampled patterns.

  Returns:
    {'attributes': their names; 'vectors': float32, [attributes, z_size], along each of
    which samples have one more of that attribute, and as much of the others; 'levels':
    what SHARES of the training loops have, [attributes, LEVELS]; 'deviation': of the
    training loops, [attributes]}.
  """
  has = measure(loops)
  directions = np.array([
      mu[own >= np.percentile(own, MUCH)].mean(axis=0) -
      mu[own <= np.percentile(own, LITTLE)].mean(axis=0) for own in has.T])
  along = drawn @ directions.T
  slopes = np.linalg.lstsq(
      np.append(along, np.ones([len(drawn), 1]), axis=1), measure(decode(drawn)),
      rcond=None)[0][:-1]
  vectors = np.linalg.pinv(directions @ directions.T @ slopes) @ directions
  return {'attributes': np.array(list(ATTRIBUTES)), 'vectors': np.float32(vectors),
          'levels': np.percentile(has, SHARES, axis=0).T,
          'deviation': np.maximum(has.std(axis=0), LEAST_DEVIATION)}


def finish(model: Any, checkpoint: str, slices: np.ndarray, prior: Prior,
           temperature: float) -> None:
  """Writes SLIDERS_FILE beside a checkpoint.

  Args:
    model: An Autoencoder with the checkpoint loaded.
    checkpoint: Its prefix.
    slices: Training loops, classes, [loops, steps].
    prior: Draws latents.
    temperature: Of sampled loops.
  """
  kept = fit(model.encode(slices, 'Encoding')[0], slices,
             prior.draw(latent.CALIBRATION_LOOPS, np.random.RandomState(0)),
             lambda z: model.decode(z, temperature, 'Sampling'))
  checkpoint_files.save_beside(checkpoint, SLIDERS_FILE, kept)


def load(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns what `fit` returned, as kept beside a checkpoint.

  Args:
    checkpoint: Its prefix.

  Raises:
    UserError: if nothing is kept there, or it is of another checkpoint.
  """
  def z_size_of(kept):
    attributes, z_size = kept['vectors'].shape
    if not (list(kept['attributes']) == list(ATTRIBUTES) and
            kept['levels'].shape == (attributes, len(LEVELS)) and
            (np.diff(kept['levels']) >= 0).all() and
            kept['deviation'].shape == (attributes,) and
            (kept['deviation'] >= LEAST_DEVIATION).all() and
            all(np.isfinite(kept[key]).all()
                for key in ('vectors', 'levels', 'deviation'))):
      raise ValueError('it has other arrays than it should')
    return z_size
  return checkpoint_files.load_beside(
      checkpoint, SLIDERS_FILE, 'which sliders and songs need', z_size_of)


def targets(kept: dict[str, np.ndarray], sliders: Sliders,
            own: np.ndarray | None = None) -> np.ndarray:
  """Returns how much of each attribute loops shall have: [attributes].

  Args:
    kept: Of `load`.
    sliders: What is asked for.
    own: What a musician's loop has of each, from which sliders count; None for 0.
  """
  wanted = list(sliders.by_name.values())
  if own is not None:
    wanted = [value + np.interp(has, levels, LEVELS)
              for value, has, levels in zip(wanted, own, kept['levels'])]
  return np.array([np.interp(value, LEVELS, levels)
                   for value, levels in zip(wanted, kept['levels'])])


def steer(varier: variation.Varier, kept: dict[str, np.ndarray], sliders: Sliders,
          own: np.ndarray | None, z: np.ndarray, noise: np.ndarray, temperature: float
          ) -> tuple[np.ndarray, np.ndarray]:
  """Returns loops, int [loops, steps], and the moved latents that they are decoded from.

  Args:
    varier: A Varier.
    kept: Of `load`, for its checkpoint.
    sliders: How much of each attribute they shall have; those at 0 are let be, and
      change as little as can be.
    own: Of `targets`.
    z: The latents to begin with, [loops, z_size].
    noise: Gumbel noise, [loops, steps, classes].
    temperature: Of the softmax each step is sampled from.
  """
  asked = np.array(list(sliders.by_name.values())) != 0
  wanted, start, best = targets(kept, sliders, own), None, np.inf
  for _ in range(1 + ROUNDS):
    loops = varier.play(z, noise, temperature)
    has = measure(loops)
    if start is None:
      start, nearest, nearest_z = has, loops, z
    lacks = (wanted - has) * asked
    away = ((lacks / kept['deviation']) ** 2).sum(axis=1) + OTHERS * (
        ((has - start) * ~asked / kept['deviation']) ** 2).sum(axis=1)
    is_nearer = (away < best)[:, np.newaxis]
    nearest, nearest_z = (np.where(is_nearer, *pair) for pair in (
        (loops, nearest), (z, nearest_z)))
    best = np.minimum(away, best)
    step = DAMPING * lacks @ kept['vectors']
    length = np.linalg.norm(step, axis=1, keepdims=True)
    z = z + step * MAX_STEP / np.maximum(length, MAX_STEP)
  return nearest, nearest_z


def sample(varier: variation.Varier, kept: dict[str, np.ndarray], sliders: Sliders,
           z: np.ndarray, temperature: float, rng: np.random.RandomState) -> np.ndarray:
  """Returns loops sampled from latents near `z`: int, [loops, steps].

  Args:
    varier: A Varier.
    kept: Of `load`, for its checkpoint.
    sliders: How much of each attribute they have.
    z: [loops, z_size].
    temperature: Of the softmax each step is sampled from.
    rng: Draws the noise.
  """
  return np.concatenate([
      steer(varier, kept, sliders, None, part,
            rng.gumbel(size=(len(part), varier.steps, constraints.CLASSES)),
            temperature)[0]
      for part in np.split(z, range(PART, len(z), PART))])
