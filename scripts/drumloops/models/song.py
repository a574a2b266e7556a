"""Songs: sections whose loops are near each other for one name, and apart for others.

Each name gets a latent and noise of its own. Every four bars of its sections are
decoded from both, moved a little. A chorus is denser than a verse, and rides.
"""
from collections.abc import Callable, Iterable
import re
from typing import NamedTuple

from drumloops import grid
from drumloops.data import patterns
from drumloops.errors import UserError, field
from drumloops.models import constraints, sliders, variation
from magenta_patches.added.drum_classes import (
    CLOSED_HIHAT, CRASH, OPEN_HIHAT, RIDE)
import numpy as np

CANDIDATES = variation.LOOPS  # Latents of a name, of which one is chosen.
# How much four bars of a name differ: from 0, not at all, to 1, as of two names.
LATENT_SHARE, NOISE_SHARE = 0.1, 0.1
DENSITIES = {'intro': -1, 'verse': -0.5, 'chorus': 1, 'outro': -1}  # Others' are free.
CHORUS = 'chorus'


class Section(NamedTuple):
  """A part of a song.

  name: What it is: 'verse'.
  bars: How many.
  """
  name: str
  bars: int

  def __str__(self) -> str:
    return f'{self.name}{self.bars}'


def read_form(typed: str | Iterable[str]) -> tuple[Section, ...]:
  """Returns the sections of 'intro4,verse8,chorus8', or of a list of such parts.

  Raises:
    UserError: if they are not names with numbers of bars, or too long.
  """
  parts, form = typed.split(',') if isinstance(typed, str) else list(typed), []
  for part in parts:
    match = re.fullmatch(r'\s*([A-Za-z]+(?:-[A-Za-z]+)*) ?([1-9]\d{0,2})\s*', part)
    if not match:
      raise UserError(
          f'{field("form")} takes names with numbers of bars, such as '
          f'intro4,verse8,chorus8, not {part!r}.')
    form.append(Section(match[1].lower(), int(match[2])))
  if sum(section.bars for section in form) > grid.MAX_BARS:
    raise UserError(f'{field("form")} has {sum(section.bars for section in form)} bars; '
                    f'a song has {grid.MAX_BARS} at most.')
  return tuple(form)


def riding(loops: np.ndarray) -> np.ndarray:
  """Returns the share of ride and crash in the hits of the cymbals: [loops]."""
  hits = patterns.hits(loops).sum(axis=(1, 2))
  ride, hihat = (hits[:, drums].sum(axis=1) for drums in (
      [RIDE, CRASH], [CLOSED_HIHAT, OPEN_HIHAT]))
  return ride / np.maximum(1, ride + hihat)


def play(varier: variation.Varier, kept: dict[str, np.ndarray],
         form: tuple[Section, ...], draw: Callable[[int], np.ndarray],
         temperature: float, rng: np.random.RandomState) -> np.ndarray:
  """Returns a song: int, [steps].

  Args:
    varier: A Varier.
    kept: Of `sliders.load`, for its checkpoint.
    form: Its sections.
    draw: Returns so many latents, [count, z_size].
    temperature: Of the softmax each step is sampled from.
    rng: Draws the noise.
  """
  def draw_noise(count):
    return rng.gumbel(size=(count, varier.steps, constraints.CLASSES))
  names = {}
  for name in dict.fromkeys(section.name for section in form):
    noise = draw_noise(CANDIDATES)
    loops, z = sliders.steer(
        varier, kept, sliders.Sliders(density=DENSITIES.get(name, 0)), None,
        draw(CANDIDATES), noise, temperature)
    best = np.argmax(riding(loops) * (1 if name == CHORUS else -1))
    names[name] = z[best], noise[best]
  parts = [names[section.name] for section in form
           for _ in range(-(-section.bars * grid.STEPS_PER_BAR // varier.steps))]
  z, noise = map(np.array, zip(*parts))
  z = (np.sqrt(1 - LATENT_SHARE ** 2) * z +
       LATENT_SHARE * rng.standard_normal(z.shape))
  noise = variation.mix_noise(noise, draw_noise(len(parts)), NOISE_SHARE)
  loops, song = list(varier.play(z, noise, temperature)), []
  for section in form:
    steps = section.bars * grid.STEPS_PER_BAR
    count = -(-steps // varier.steps)
    song.append(np.concatenate(loops[:count])[:steps])
    del loops[:count]
  return np.concatenate(song)
