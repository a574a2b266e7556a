"""Makes weights to share of a training run: small, and ready to sample from.

    python3 scripts/export.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --output_dir=weights/mine

Takes run_dir/best (the newest checkpoint, if there is no best of these data), leaves out the
optimizer's state, makes the latent space fit the prior that is sampled from, and
keeps where each style lies in it (styles.npz). What comes is a checkpoint like
any other, for stock Magenta too.
"""
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import evaluate
import groove_metrics
import humanize
import runs
import styles
from absl import flags
import numpy as np

CALIBRATION_LOOPS = 2000  # Sampled to see how dense samples are.
MAX_SHIFT = 0.5  # In standard deviations of the prior.


def inverse_softplus(x):
  return np.log(np.expm1(np.maximum(x, 1e-6)))


def change_latent(tensors, mean, matrix):
  """Returns a model's variables in other coordinates u of its latent z.

  z = mean + u matrix. It is folded into the layers before and after the latent,
  so that decoding is the same function as before.

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


def standardize(tensors, mu, sigma):
  """Returns a model's variables with a latent of mean 0 and covariance 1.

  The free bits let the training loops' latents stray from the prior N(0, I)
  that samples are drawn from; this makes the first two moments fit (Ghosh et
  al. 2020, arXiv 1903.12436, fit the prior to the latents instead). Of all
  linear changes that do, it is the one in whose coordinates the noise of the
  encoder is, on average, independent as the encoder has it; what is left of
  its dependence in single loops is lost, and the encoder's deviations are
  fitted by least squares.

  Args:
    tensors: {variable: array} of a MusicVAE.
    mu: The training loops' posterior means, [loops, z_size].
    sigma: Their deviations, [loops, z_size].
  """
  covariance = np.cov(mu, rowvar=False) + np.diag((sigma ** 2).mean(axis=0))
  values, vectors = np.linalg.eigh(covariance)
  whiten = vectors / np.sqrt(values)
  _, rotation = np.linalg.eigh(
      whiten.T * (sigma ** 2).mean(axis=0) @ whiten)
  inverse = whiten @ rotation
  tensors = change_latent(tensors, mu.mean(axis=0), np.linalg.inv(inverse))
  new_sigma = np.sqrt(sigma ** 2 @ inverse ** 2)
  before = np.concatenate(
      [inverse_softplus(sigma), np.ones([len(sigma), 1])], axis=1)
  fit = np.linalg.lstsq(before, inverse_softplus(new_sigma), rcond=None)[0]
  kernel, bias = 'encoder/sigma/kernel', 'encoder/sigma/bias'
  tensors[kernel] = (tensors[kernel] @ fit[:-1]).astype(np.float32)
  tensors[bias] = (tensors[bias] @ fit[:-1] + fit[-1]).astype(np.float32)
  return tensors


def density_shift(decode, z_size, silent_share, seed=0):
  """Returns the smallest shift of the prior that makes samples dense enough.

  Samples are sparser than the loops that the model learned from: a rest is the
  safe choice at a low temperature, and between the latents of loops. How sparse
  a loop is depends on its latent almost linearly, so a small shift along that
  direction, found by least squares, makes up for it.

  No shift where it would be longer than MAX_SHIFT.

  Args:
    decode: From latents, [loops, z_size], to loops, [loops, steps].
    z_size: Size of the latent.
    silent_share: Steps at which no drum shall play, as a share of all.
    seed: For the latents.
  """
  z = np.random.RandomState(seed).standard_normal((CALIBRATION_LOOPS, z_size))
  silent = (decode(z) == 0).mean(axis=1)
  slope = np.linalg.lstsq(z - z.mean(axis=0), silent - silent.mean(),
                          rcond=None)[0]
  shift = slope * (silent_share - silent.mean()) / (slope @ slope)
  if not np.linalg.norm(shift) < MAX_SHIFT:
    print("The samples' density was left as it is; this model has learned too "
          'little for its latents to say how dense a loop is.')
    return np.zeros(z_size)
  return shift


def refuse_run(output_dir):
  """Raises common.UserError if a folder has what training goes on from.

  Exporting replaces all checkpoints of its folder.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  if os.path.exists(os.path.join(output_dir, runs.BEST_JSON)) or any(
      name.endswith('/Adam') for prefix in checkpoints.all_complete(output_dir)
      for name in tf.train.load_checkpoint(
          checkpoints.plain(prefix)).get_variable_to_shape_map()):
    raise common.UserError(
        f'{output_dir} holds checkpoints of a run, which would be replaced; name '
        'another --output_dir, such as RUN/weights.')


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
    common.UserError: if the run has no checkpoint, or the output_dir is a run's.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import packed_slices
  if not (packed_slices.can_pack(config) and (
      humanize.can_humanize(config) or not config.data_converter.control_depth)):
    raise common.UserError(
        'Only drum configs whose data are slices of one length, such as '
        "hierdec-drums_4bar and groovae_4bar, are finished; other configs' "
        'checkpoints are sampled as they are, with --run_dir.')
  refuse_run(output_dir)
  prefix = runs.find_finished(run_dir, runs.validation_id(examples_path))
  new_prefix = os.path.join(output_dir, os.path.basename(prefix))
  if humanize.can_humanize(config):  # Its latents are never sampled.
    checkpoints.save_slim(prefix, new_prefix)
    checkpoints.remove_others(new_prefix)
    print(f'{new_prefix}.')
    return new_prefix
  evaluator = evaluate.Evaluator(config)
  evaluator.load(prefix)
  slices = evaluate.load_split(config, examples_path, None, 'train')
  mu, sigma = evaluator.encode(slices, 'Encoding')
  reader = tf.train.load_checkpoint(prefix)
  tensors = standardize(
      {name: reader.get_tensor(name)
       for name in reader.get_variable_to_shape_map()}, mu, sigma)
  with tempfile.TemporaryDirectory() as folder:
    standardized = os.path.join(folder, 'model.ckpt')
    checkpoints.save(tensors, standardized)
    evaluator.load(standardized)
  shift = density_shift(
      lambda z: groove_metrics.patterns(evaluator.decode(
          z, evaluate.DEFAULT_TEMPERATURE, 'Sampling')),
      mu.shape[1], np.mean(groove_metrics.patterns(slices) == 0))
  styles_path = os.path.join(output_dir, styles.STYLES_FILE)
  if os.path.exists(styles_path):
    os.remove(styles_path)  # Of the weights that are replaced.
  checkpoints.save(change_latent(tensors, shift, np.eye(len(shift))), new_prefix)
  checkpoints.remove_others(new_prefix)
  evaluator.load(new_prefix)
  by_style = styles.slices_by_style(examples_path, config.data_converter)
  if max(map(len, by_style.values()), default=0) < styles.MIN_LOOPS:
    print(f'{new_prefix}, without styles: the names of the files in '
          f'{examples_path} do not say them as those of GMD do.')
    return new_prefix
  kept = styles.fit(evaluator, by_style)
  np.savez_compressed(styles_path, checkpoint=os.path.basename(new_prefix),
                      **kept)
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
