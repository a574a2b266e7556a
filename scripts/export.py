"""Makes weights to share of a training run: small, and ready to sample from.

    python3 scripts/export.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --output_dir=weights/mine

Takes run_dir/best (the newest checkpoint, if there is no best), leaves out the
optimizer's state, standardizes the latent space and keeps where each style lies
in it (styles.npz). What comes is a checkpoint like any other, for stock Magenta
too.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import evaluate
import styles
from absl import flags
import numpy as np


def inverse_softplus(x):
  return np.log(np.expm1(np.maximum(x, 1e-6)))


def standardize(tensors, mu, sigma):
  """Returns a model's variables with a latent of mean 0 and covariance 1.

  The free bits let the training loops' latents stray from the prior N(0, I)
  that samples are drawn from. A linear change of the latent's coordinates,
  z = mean + u A with A'A = covariance, makes the first two moments fit (Ghosh
  et al. 2020, arXiv 1903.12436, fit the prior to the latents instead). It is
  folded into the layers before and after the latent, so that decoding is the
  same function as before. Of all such A, this is the one in whose coordinates
  the noise of the encoder, on average, is independent as the encoder has it;
  what is left of its dependence in single loops is lost, and the encoder's
  deviations are fitted by least squares.

  Args:
    tensors: {variable: array} of a MusicVAE with a BidirectionalLstmEncoder.
    mu: The training loops' posterior means, [loops, z_size].
    sigma: Their deviations, [loops, z_size].
  """
  tensors = dict(tensors)
  mean = mu.mean(axis=0)
  covariance = np.cov(mu, rowvar=False) + np.diag((sigma ** 2).mean(axis=0))
  values, vectors = np.linalg.eigh(covariance)
  whiten = vectors / np.sqrt(values)
  _, rotation = np.linalg.eigh(
      whiten.T * (sigma ** 2).mean(axis=0) @ whiten)
  inverse = whiten @ rotation  # u = (z - mean) inverse
  root = np.linalg.inv(inverse)

  new_sigma = np.sqrt(sigma ** 2 @ inverse ** 2)
  before = np.concatenate(
      [inverse_softplus(sigma), np.ones([len(sigma), 1])], axis=1)
  fit = np.linalg.lstsq(before, inverse_softplus(new_sigma), rcond=None)[0]
  for name, matrix, shift in (('mu', inverse, -mean @ inverse),
                              ('sigma', fit[:-1], fit[-1])):
    kernel, bias = f'encoder/{name}/kernel', f'encoder/{name}/bias'
    tensors[kernel] = tensors[kernel] @ matrix
    tensors[bias] = tensors[bias] @ matrix + shift

  def fold(layer, first_row=0):
    kernel, bias = f'{layer}/kernel', f'{layer}/bias'
    rows = slice(first_row, first_row + len(mean))
    of_z = tensors[kernel][rows]
    tensors[bias] = tensors[bias] + mean @ of_z
    tensors[kernel] = tensors[kernel].copy()
    tensors[kernel][rows] = root @ of_z
  if 'decoder/hierarchical_level_0/initial_state/kernel' in tensors:
    fold('decoder/hierarchical_level_0/initial_state')
  else:  # A flat decoder is given the latent at every step too.
    fold('decoder/z_to_initial_state')
    classes = tensors['decoder/output_projection/bias'].shape[0]
    fold('decoder/multi_rnn_cell/cell_0/lstm_cell', first_row=classes)
  return {name: value.astype(np.float32) if np.ndim(value) else value
          for name, value in tensors.items()}


def export(config, run_dir, examples_path, output_dir):
  """Writes the best checkpoint of a run, as said above, and its styles.

  Args:
    config: The run's config.
    run_dir: Training run.
    examples_path: TFRecord of the train split.
    output_dir: Folder to write to; a checkpoint that is there is replaced.

  Returns:
    The new checkpoint's prefix.

  Raises:
    common.UserError: if the run has no checkpoint.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  best = os.path.join(run_dir, 'best')
  prefix = (evaluate.find_checkpoint(checkpoint_file=best)
            if os.path.isdir(best) else evaluate.find_checkpoint(run_dir))
  evaluator = evaluate.Evaluator(config, sample=False)
  evaluator.load(prefix)
  slices = evaluate.load_split(config, examples_path, None, 'train')
  mu, sigma = evaluator.encode(slices, 'Encoding')
  reader = tf.train.load_checkpoint(prefix)
  tensors = standardize(
      {name: reader.get_tensor(name)
       for name in reader.get_variable_to_shape_map()}, mu, sigma)
  new_prefix = os.path.join(output_dir, os.path.basename(prefix))
  checkpoints.save(tensors, new_prefix)
  checkpoints.remove_others(new_prefix)
  evaluator.load(new_prefix)
  by_style = styles.slices_by_style(examples_path, config.data_converter)
  if max(map(len, by_style.values()), default=0) < styles.MIN_LOOPS:
    print(f'{new_prefix}, without styles: the names of the files in '
          f'{examples_path} do not say them as those of GMD do.')
    return new_prefix
  kept = styles.fit(evaluator, by_style)
  np.savez_compressed(os.path.join(output_dir, styles.STYLES_FILE), **kept)
  print(f'{new_prefix}, and the styles ' + ', '.join(
      f'{s} ({n})' for s, n in zip(kept['names'], kept['counts'])) + '.')
  return new_prefix


def define_flags():
  flags.DEFINE_string('config', 'hierdec-drums_4bar', 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run.', required=True)
  flags.DEFINE_string('examples_path', None, 'TFRecord of the train split.',
                      required=True)
  flags.DEFINE_string('output_dir', None, 'Folder to write to.', required=True)


def main():
  FLAGS = flags.FLAGS
  export(common.get_config(FLAGS.config, FLAGS.hparams),
         os.path.expanduser(FLAGS.run_dir),
         os.path.expanduser(FLAGS.examples_path),
         os.path.expanduser(FLAGS.output_dir))


if __name__ == '__main__':
  common.run(main, define_flags)
