"""Where each style's loops lie in the latent space.

The file names of GMD's performances say their style. A style is kept as a Gaussian:
the mean and standard deviation of each latent dimension over the encoded training
loops of that style. Sampling a style draws latents from it.
"""
import collections
from collections.abc import Callable
import os
import re
from typing import TYPE_CHECKING

from drumloops.data import splits
from drumloops.errors import UserError, field
from drumloops.runs import checkpoint_files
import numpy as np

if TYPE_CHECKING:
  from magenta.models.music_vae.data import BaseNoteSequenceConverter

STYLES_FILE = 'styles.npz'  # Beside a checkpoint.
MIN_LOOPS = 32  # A style of fewer is left out: too few for a Gaussian.


def style_of(filename: str) -> str | None:
  """Returns GMD's style of a performance, None if the name is not one of GMD's.

  'funk' of .../1_funk-groove1_138_beat_4-4.mid.
  """
  match = re.match(r'\d+_([a-z]+)[a-z0-9-]*_\d+_(?:beat|fill)_',
                   os.path.basename(filename))
  return match and match[1]


def performances(examples_path: str, converter: 'BaseNoteSequenceConverter'
                 ) -> list[tuple[str, np.ndarray]]:
  """Returns [(file's name, slices)] of NoteSequences, but for those without slices.

  Args:
    examples_path: A TFRecord, or a pattern of them.
    converter: Makes the slices, [slices, steps, ...].

  Raises:
    UserError: if a TFRecord is damaged.
  """
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import slice_cache
  with splits.naming_damage(examples_path):
    names = [note_seq.NoteSequence.FromString(record).filename
             for path in slice_cache.find_files(examples_path)
             for record in tf.python_io.tf_record_iterator(path)]
    return [(name, slices) for name, slices in zip(
        names, slice_cache.load_each(converter, examples_path)) if len(slices)]


def slices_by_style(examples_path: str, converter: 'BaseNoteSequenceConverter'
                    ) -> dict[str, np.ndarray]:
  """Returns {style: slices} of those `performances` whose names say a style."""
  found = collections.defaultdict(list)
  for name, slices in performances(examples_path, converter):
    if style := style_of(name):
      found[style].append(slices)
  return {style: np.concatenate(parts) for style, parts in sorted(found.items())}


def fit(encode: Callable[[np.ndarray, str], tuple[np.ndarray, np.ndarray]],
        by_style: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the Gaussian of each style that has enough loops, as arrays to keep.

  Args:
    encode: Returns the latents' means and deviations, two of [slices, z_size], given
      slices and the progress bar's title.
    by_style: {style: slices}; at least one style has MIN_LOOPS.

  Returns:
    {'names': [styles], 'counts': loops, [styles], 'mean' and 'deviation':
    float16, [styles, z_size]}.
  """
  kept = {s: loops for s, loops in by_style.items() if len(loops) >= MIN_LOOPS}
  counts = [len(loops) for loops in kept.values()]
  ends = np.cumsum(counts)[:-1]
  mu, variance = (np.split(part ** power, ends) for part, power in zip(
      encode(np.concatenate(list(kept.values())), 'Encoding'), (1, 2)))
  return {'names': np.array(list(kept)), 'counts': np.array(counts),
          'mean': np.float16([m.mean(axis=0) for m in mu]),
          'deviation': np.float16([np.sqrt(m.var(axis=0) + v.mean(axis=0))
                                   for m, v in zip(mu, variance)])}


def load(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns what `fit` returned, as kept beside a checkpoint.

  Args:
    checkpoint: Its prefix.

  Raises:
    UserError: if nothing is kept there, or it is of another checkpoint.
  """
  def z_size_of(kept):
    styles, z_size = kept['mean'].shape
    if not (kept['names'].dtype.kind == 'U' and
            kept['counts'].dtype.kind == 'i' and
            kept['names'].shape == kept['counts'].shape == (styles,) and
            kept['deviation'].shape == (styles, z_size) and
            np.isfinite([kept['mean'], kept['deviation']]).all()):
      raise ValueError('it has other arrays than it should')
    return z_size
  return checkpoint_files.load_beside(
      checkpoint, STYLES_FILE, 'which says where the styles lie', z_size_of)


def gaussian(kept: dict[str, np.ndarray],
             style: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean and the deviation of a style's latents: two of [z_size].

  Args:
    kept: Of `load`.
    style: One of its names.

  Raises:
    UserError: if there is no such style.
  """
  names = list(kept['names'])
  if style not in names:
    raise UserError(f'There is no {field("style")} {style!r}; the styles are '
                    f'{", ".join(names)}.')
  i = names.index(style)
  return kept['mean'][i], kept['deviation'][i]


def draw(kept: dict[str, np.ndarray], style: str, count: int,
         rng: np.random.RandomState) -> np.ndarray:
  """Returns latents of a style: [count, z_size].

  Args:
    kept: Of `load`.
    style: One of its names.
    count: How many.
    rng: Draws them.

  Raises:
    UserError: if there is no such style.
  """
  mean, deviation = gaussian(kept, style)
  return mean + deviation * rng.standard_normal((count, len(mean)))
