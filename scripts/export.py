"""Makes weights to share of a training run: small, and ready to sample from.

    python3 scripts/export.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --output_dir=run/weights

Takes run_dir/best (the newest checkpoint, if there is no best of these data),
leaves out the optimizer's state, makes the latent space fit the prior that is
sampled from, teaches the encoder to hear loops of which parts are hidden, for
sample.py --mode=complete, and keeps where each style lies in the latent space
(styles.npz); of performances, how takes differ (feel.npz). What comes is a checkpoint
like any other, for stock Magenta too.
"""
import os
import tempfile

from drumloops.errors import UserError
from drumloops.data import patterns, splits, styles
from drumloops.humanize import feel_model, humanizer
from drumloops.models import autoencoder, encoder_finetuning, latent
from drumloops.runs import checkpoint_files, run_folder
from drumloops.system import cli, disk, magenta_setup
from absl import flags
import numpy as np


def export(config, run_dir, examples_path, output_dir, listening_steps=0):
  """Writes the best checkpoint of a run, as said above, and its styles.

  Args:
    config: The run's config.
    run_dir: Training run.
    examples_path: TFRecord of the train split.
    output_dir: Folder to write to; a checkpoint that is there is replaced.
    listening_steps: Of `encoder_finetuning.teach`.

  Returns:
    The new checkpoint's prefix.

  Raises:
    UserError: if the run has no checkpoint, or the output_dir is a run's.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import packed_slices
  if not (packed_slices.can_pack(config) and (
      humanizer.can_humanize(config) or not config.data_converter.control_depth)):
    raise UserError(
        'Only drum configs whose data are slices of one length, such as '
        "hierdec-drums_4bar and groovae_4bar, are finished; other configs' "
        'checkpoints are sampled as they are, with --run_dir.')
  run_folder.refuse_run(output_dir)
  prefix = checkpoint_files.find_finished(
      run_dir, run_folder.validation_id(examples_path))
  new_prefix = os.path.join(output_dir, os.path.basename(prefix))
  if humanizer.can_humanize(config):
    checkpoints.save_slim(prefix, new_prefix)
    checkpoints.remove_others(new_prefix)
    if humanizer.has_takes(config):
      names = feel_model.finish(config, new_prefix, examples_path, listening_steps)
      print(f'{new_prefix}, and the feel of ' + (', '.join(names) or 'all') + '.')
    else:  # Its latents are never sampled.
      print(f'{new_prefix}.')
    return new_prefix
  evaluator = autoencoder.Autoencoder(config)
  evaluator.load(prefix)
  total = splits.load_split(config, examples_path, None, 'train')
  slices = splits.evenly_spaced(total, latent.MOST_FITTED)
  if len(slices) < len(total):
    print(f'The latent is fitted to {len(slices):,} of {len(total):,} loops, evenly '
          'spaced.')
  mu, sigma = evaluator.encode(slices, 'Encoding')
  reader = tf.train.load_checkpoint(prefix)
  tensors = latent.whiten(
      {name: reader.get_tensor(name)
       for name in reader.get_variable_to_shape_map()}, mu, sigma)
  with tempfile.TemporaryDirectory() as folder:
    whitened = os.path.join(folder, 'model.ckpt')
    checkpoints.save(tensors, whitened)
    evaluator.load(whitened)
  shift = latent.density_shift(
      lambda z: patterns.of_slices(evaluator.decode(
          z, autoencoder.DEFAULT_TEMPERATURE, 'Sampling')),
      mu.shape[1], np.mean(patterns.of_slices(slices) == 0))
  styles_path = os.path.join(output_dir, styles.STYLES_FILE)
  if os.path.exists(styles_path):
    os.remove(styles_path)  # Of the weights that are replaced.
  tensors = latent.change_basis(tensors, shift, np.eye(len(shift)))
  checkpoints.save(tensors, new_prefix)
  if listening_steps and packed_slices.is_groove(config.data_converter):
    print('Its encoder did not learn to hear parts of loops: that takes a config of '
          'patterns.')
  elif listening_steps:
    tensors.update(encoder_finetuning.teach(config, new_prefix, slices, listening_steps))
    checkpoints.save(tensors, new_prefix)
  checkpoints.remove_others(new_prefix)
  evaluator.load(new_prefix)
  by_style = styles.slices_by_style(examples_path, config.data_converter)
  if max(map(len, by_style.values()), default=0) < styles.MIN_LOOPS:
    print(f'{new_prefix}, without styles: the names of the files in '
          f'{examples_path} do not say them as those of GMD do.')
    return new_prefix
  kept = styles.fit(evaluator.encode, by_style)
  with disk.replacing(styles_path) as path:
    np.savez_compressed(path, checkpoint=os.path.basename(new_prefix), **kept)
  print(f'{new_prefix}, and the styles ' + ', '.join(
      f'{s} ({n})' for s, n in zip(kept['names'], kept['counts'])) + '.')
  return new_prefix


def define_flags():
  flags.DEFINE_string('config', magenta_setup.DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run.', required=True)
  flags.DEFINE_string('examples_path', None, 'TFRecord of the train split.',
                      required=True)
  flags.DEFINE_string('output_dir', None, 'Folder to write to.', required=True)
  flags.DEFINE_integer('listening_steps', 0, 'Training steps in which the encoder '
                       'learns to hear parts of loops; the project\'s own weights '
                       'took 3000. Of performances, it learns to hear the hits alone; '
                       f'default: {feel_model.LISTENING_STEPS}.')


def main():
  FLAGS = flags.FLAGS
  export(magenta_setup.get_config(FLAGS.config, FLAGS.hparams),
         os.path.expanduser(FLAGS.run_dir),
         os.path.expanduser(FLAGS.examples_path),
         os.path.expanduser(FLAGS.output_dir), FLAGS.listening_steps)


if __name__ == '__main__':
  cli.run(main, define_flags)
