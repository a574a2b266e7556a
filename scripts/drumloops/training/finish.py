"""Weights to share of a training run: small, and ready to sample from."""
import os
import tempfile
from typing import Any

from drumloops.data import patterns, splits, styles
from drumloops import abilities
from drumloops.humanize import feel_model
from drumloops.models import (
    autoencoder, encoder_finetuning, fills, latent, prior, sliders)
from drumloops.runs import checkpoint_files, run_folder
import numpy as np

# Of export.py, beside a checkpoint of an autoencoder. prior.npz replaced styles.npz.
BESIDE = 'styles.npz', prior.PRIOR_FILE, sliders.SLIDERS_FILE, fills.FILLS_FILE
ENCODER_STAYS = 'Its encoder was not fine-tuned: that takes a config of patterns.'


def finish(config: Any, run_dir: str, examples_path: str, output_dir: str,
           encoder_steps: int = 0) -> str:
  """Writes weights of the best checkpoint of a run, and what is kept beside them.

  Args:
    config: The run's config.
    run_dir: Training run.
    examples_path: TFRecord of the train split.
    output_dir: Folder to write to; a checkpoint that is there is replaced.
    encoder_steps: Of encoder fine-tuning.

  Returns:
    The new checkpoint's prefix.

  Raises:
    UserError: if the run has no checkpoint, or the output_dir is a run's.
  """
  able = abilities.of(config)
  able.require(abilities.FINISH)
  run_folder.refuse_run(output_dir)
  prefix = checkpoint_files.find_finished(
      run_dir, run_folder.validation_id(examples_path))
  new_prefix = os.path.join(output_dir, os.path.basename(prefix))
  if able.can(abilities.HUMANIZE):
    if encoder_steps:
      print(ENCODER_STAYS)
    finish_humanizer(config, prefix, new_prefix, examples_path)
  else:
    finish_autoencoder(config, prefix, new_prefix, examples_path, encoder_steps)
  return new_prefix


def finish_humanizer(config: Any, prefix: str, new_prefix: str, examples_path: str
                     ) -> None:
  """Writes weights of a config that humanizes, and how takes differ.

  Args:
    config: The checkpoint's config.
    prefix: The checkpoint's.
    new_prefix: That of the weights.
    examples_path: TFRecord of the train split.
  """
  from magenta.models.music_vae import checkpoints
  checkpoints.save_slim(prefix, new_prefix)
  checkpoints.remove_others(new_prefix)
  if abilities.of(config).can(abilities.TAKES):
    names = feel_model.finish(config, new_prefix, examples_path)
    print(f'{new_prefix}, and the feel of {", ".join(names) or "all"}.')
  else:  # Its latents are never sampled.
    print(f'{new_prefix}.')


def finish_autoencoder(config: Any, prefix: str, new_prefix: str, examples_path: str,
                       encoder_steps: int) -> None:
  """Writes weights, where latents are drawn, and what sliders and fills need.

  Args:
    config: The checkpoint's config.
    prefix: The checkpoint's.
    new_prefix: That of the weights.
    examples_path: TFRecord of the train split.
    encoder_steps: Of encoder fine-tuning.
  """
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import packed_slices
  model = autoencoder.Autoencoder(config)
  total = splits.load_split(config, examples_path, None, 'train')
  slices = splits.evenly_spaced(total, latent.MOST_FITTED)
  if len(slices) < len(total):
    print(f'The latent is fitted to {len(slices):,} of {len(total):,} loops, evenly '
          'spaced.')
  tensors = whiten_checkpoint(model, prefix, slices)
  for name in BESIDE:
    path = os.path.join(os.path.dirname(new_prefix), name)
    if os.path.exists(path):
      os.remove(path)  # Of the weights that are replaced.
  checkpoints.save(tensors, new_prefix)
  if encoder_steps and packed_slices.is_groove(config.data_converter):
    print(ENCODER_STAYS)
  elif encoder_steps:
    encoder_finetuning.finetune_checkpoint(config, new_prefix, slices, encoder_steps)
  checkpoints.remove_others(new_prefix)
  model.load(new_prefix)
  phrases = styles.phrases(examples_path, config.data_converter)
  found = prior.finish(model, new_prefix, phrases, patterns.of_slices(total),
                       autoencoder.DEFAULT_TEMPERATURE)
  if abilities.of(config).can(abilities.COMPLETE):
    sliders.finish(model, new_prefix, slices, found, autoencoder.DEFAULT_TEMPERATURE)
    if not fills.finish(config, new_prefix, np.concatenate(list(phrases.values())),
                        styles.fills(examples_path, config.data_converter),
                        autoencoder.DEFAULT_TEMPERATURE):
      print('It makes no fills: that takes files whose names say so, as those of GMD.')
  if found.styles:
    print(f'{new_prefix}, and the styles ' + ', '.join(
        f'{name} ({count})' for name, count in found.styles.items()) + '.')
  else:
    print(f'{new_prefix}, without styles: the names of the files in '
          f'{examples_path} do not say them as those of GMD do.')


def whiten_checkpoint(model: autoencoder.Autoencoder, prefix: str, slices: np.ndarray
              ) -> dict[str, np.ndarray]:
  """Returns a checkpoint's variables, with a latent that fits the prior.

  Args:
    model: A graph of the checkpoint's config.
    prefix: The checkpoint's.
    slices: Training loops.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  model.load(prefix)
  mu, sigma = model.encode(slices, 'Encoding')
  reader = tf.train.load_checkpoint(prefix)
  tensors = latent.whiten(
      {name: reader.get_tensor(name)
       for name in reader.get_variable_to_shape_map()}, mu, sigma)
  with tempfile.TemporaryDirectory() as folder:
    whitened = os.path.join(folder, 'model.ckpt')
    checkpoints.save(tensors, whitened)
    model.load(whitened)
  shift = latent.density_shift(
      lambda z: patterns.of_slices(model.decode(
          z, autoencoder.DEFAULT_TEMPERATURE, 'Sampling')),
      mu.shape[1], np.mean(patterns.of_slices(slices) == 0))
  return latent.change_basis(tensors, shift, np.eye(len(shift)))
