"""Where each style's loops lie in the latent space, for sample.py --style.

GMD names each performance's style (in its file's name). A style is kept as a
Gaussian, the mean and standard deviation of each latent dimension over the
encoded training loops of that style; sample.py --style draws latents from it.
"""
import collections
import os
import re

from drumloops.errors import UserError, field, stage
from drumloops.data import splits
import numpy as np

STYLES_FILE = 'styles.npz'  # Beside a checkpoint.
MIN_LOOPS = 32  # A style of fewer is left out: too few for a Gaussian.


def style_of(filename):
  """Returns GMD's style of a performance: 'funk' of .../1_funk-groove1_138_...

  None if the name is not one of GMD's.
  """
  match = re.match(r'\d+_([a-z]+)[a-z0-9-]*_\d+_(?:beat|fill)_',
                   os.path.basename(filename))
  return match and match[1]


def performances(examples_path, converter):
  """Returns [(file's name, slices)] of a TFRecord's (or glob's) NoteSequences.

  Those without slices are passed over.

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


def slices_by_style(examples_path, converter):
  """Returns {style: slices} of a TFRecord (or glob) of GMD's NoteSequences.

  NoteSequences whose names say no style are passed over.
  """
  found = collections.defaultdict(list)
  for name, slices in performances(examples_path, converter):
    if style := style_of(name):
      found[style].append(slices)
  return {style: np.concatenate(parts) for style, parts in sorted(found.items())}


def fit(evaluator, by_style):
  """Returns arrays to keep: names, counts, means, deviations.

  Args:
    evaluator: An autoencoder.Autoencoder with a checkpoint loaded.
    by_style: {style: slices}, at least one of MIN_LOOPS.

  Returns:
    {'names': [styles], 'counts': loops, [styles], 'mean' and 'deviation':
    float16, [styles, z_size]}.
  """
  kept = {s: loops for s, loops in by_style.items() if len(loops) >= MIN_LOOPS}
  counts = [len(loops) for loops in kept.values()]
  ends = np.cumsum(counts)[:-1]
  mu, variance = (np.split(part ** power, ends) for part, power in zip(
      evaluator.encode(np.concatenate(list(kept.values())), 'Encoding'),
      (1, 2)))
  return {'names': np.array(list(kept)), 'counts': np.array(counts),
          'mean': np.float16([m.mean(axis=0) for m in mu]),
          'deviation': np.float16([np.sqrt(m.var(axis=0) + v.mean(axis=0))
                                   for m, v in zip(mu, variance)])}


def load(checkpoint):
  """Returns what `fit` kept beside a checkpoint, as a dict of arrays.

  Raises:
    UserError: if there is nothing, or it is of another checkpoint.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  path = os.path.join(os.path.dirname(checkpoint), STYLES_FILE)
  try:
    with np.load(path) as kept:
      kept = {key: kept[key] for key in kept}
    styles, z_size = kept['mean'].shape
    if not (kept['names'].dtype.kind == 'U' and
            kept['counts'].dtype.kind == 'i' and
            kept['names'].shape == kept['counts'].shape == (styles,) and
            kept['deviation'].shape == (styles, z_size) and
            np.isfinite([kept['mean'], kept['deviation']]).all()):
      raise ValueError('it has other arrays than it should')
  except Exception as e:  # Which error NumPy raises depends on the damage.
    raise UserError(
        f'There is no readable {path}, which says where the styles lie; '
        f'{stage("export.py")} makes it.') from e
  # Of weights that were made before this was kept, it is not known.
  name = str(kept.pop('checkpoint', os.path.basename(checkpoint)))
  if name != os.path.basename(checkpoint):
    raise UserError(f'{path} is of {name}, not of {checkpoint}; make both '
                        f'with {stage("export.py")}.')
  shapes = tf.train.load_checkpoint(
      checkpoints.plain(checkpoint)).get_variable_to_shape_map()
  if shapes.get('encoder/mu/bias') != [z_size]:
    raise UserError(f'{path} is of a model with another latent than '
                        f'{checkpoint}; make both with {stage("export.py")}.')
  return kept


def gaussian(kept, style):
  """Returns the mean and the deviation of a style's latents: two of [z_size].

  Raises:
    UserError: if there is no such style.
  """
  names = list(kept['names'])
  if style not in names:
    raise UserError(f'There is no style {style!r}; {field("style", "list")} names '
                        f'those there are: {", ".join(names)}.')
  i = names.index(style)
  return kept['mean'][i], kept['deviation'][i]


def draw(kept, style, count, rng):
  """Returns latents of a style: [count, z_size]."""
  mean, deviation = gaussian(kept, style)
  return mean + deviation * rng.standard_normal((count, len(mean)))
