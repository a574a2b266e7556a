"""Evaluates a checkpoint in one pass over a data set.

    python3 scripts/evaluate.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer-test.tfrecord

Prints four numbers and writes them as JSON; each counts every example once.
"""
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
from absl import flags
import numpy as np
from tqdm import tqdm

BATCH_SIZE = 64


class Evaluator:
  """The graph that scores slices under a model's checkpoints.

  As upstream's `MusicVAE.eval`, but with teacher forcing even where training
  uses scheduled sampling, for every example alone, and with a fixed seed.
  """

  def __init__(self, config, sample=True, seed=0):
    """Builds the graph.

    Args:
      config: A config of drum slices (see `packed_slices.can_pack`).
      sample: Whether to measure sampled accuracy too.
      seed: For the latents drawn from the encoder, and for sampling.

    Raises:
      common.UserError: if the config is not of drum slices.
    """
    import copy
    import tensorflow.compat.v1 as tf
    import tensorflow_probability as tfp
    from magenta.models.music_vae import packed_slices
    if not packed_slices.can_pack(config):
      raise common.UserError(
          'Evaluation knows only configs of drum slices, such as '
          'hierdec-drums_4bar.')
    config = copy.deepcopy(config)
    self._config, hparams, model = config, config.hparams, config.model
    hparams.batch_size = BATCH_SIZE
    hparams.sampling_schedule, hparams.sampling_rate = 'constant', 0.
    hparams.dropout_keep_prob = 1.
    steps = hparams.max_seq_len
    with tf.Graph().as_default() as self._graph, tf.variable_scope(
        '', reuse=tf.AUTO_REUSE):  # The same decoder reconstructs and samples.
      tf.set_random_seed(seed)
      model.build(hparams, config.data_converter.output_depth,
                  is_training=False)
      self._slices = tf.placeholder(tf.int32, [BATCH_SIZE, steps])
      inputs, outputs, _, lengths = packed_slices.unpack(
          self._slices, config.data_converter)
      targets = tf.to_float(outputs)
      lengths.set_shape([BATCH_SIZE])
      posterior = model.encode(inputs, lengths)
      z = posterior.sample()
      loss, _, decoded = model.decoder.reconstruction_loss(
          tf.pad(targets[:, :-1], [(0, 0), (1, 0), (0, 0)]), targets, lengths, z)
      kl = tfp.distributions.kl_divergence(
          posterior, tfp.distributions.MultivariateNormalDiag(
              tf.zeros([hparams.z_size]), tf.ones([hparams.z_size])))
      def is_true(one_hot_or_logits):
        return tf.reduce_mean(tf.to_float(tf.equal(
            tf.argmax(one_hot_or_logits, -1, output_type=tf.int32),
            self._slices)), axis=1)
      self._scores = {
          'reconstruction_loss': loss,
          'kl_bits': kl / np.log(2),
          'teacher_forced_accuracy': is_true(decoded.rnn_output)}
      if sample:
        sampled, _ = model.sample(
            BATCH_SIZE, max_length=steps, z=z, temperature=1.)
        self._scores['sampled_accuracy'] = is_true(sampled)
      self._saver = tf.train.Saver()

  def evaluate(self, checkpoint, slices, progress=False):
    """Returns the means over `slices` ([examples, steps]) as a dict.

    reconstruction_loss: nats a sequence, given the true earlier steps.
    kl_bits: what the latent says about the sequence.
    loss: what training minimizes, with the KL cost at its full weight.
    teacher_forced_accuracy: steps whose most likely class is the true one.
    sampled_accuracy: steps that are the true ones when the whole loop is
      sampled (temperature 1) from its latent alone.
    """
    import tensorflow.compat.v1 as tf
    scores = {name: [] for name in self._scores}
    with tf.Session(graph=self._graph) as sess:
      restore(self._saver, sess, checkpoint)
      for i in tqdm(range(0, len(slices), BATCH_SIZE), desc='Evaluating',
                    unit='batch', disable=not progress):
        batch = slices[i:i + BATCH_SIZE]
        padded = np.pad(batch, [(0, BATCH_SIZE - len(batch)), (0, 0)])
        for name, value in sess.run(
            self._scores, {self._slices: padded}).items():
          scores[name].append(value[:len(batch)])
    scores = {name: np.concatenate(v).astype(float)
              for name, v in scores.items()}
    hparams = self._config.hparams
    kl_cost = np.log(2) * np.maximum(scores['kl_bits'] - hparams.free_bits, 0)
    scores['loss'] = scores['reconstruction_loss'] + hparams.max_beta * kl_cost
    return {'examples': len(slices),
            **{name: float(np.mean(v)) for name, v in scores.items()}}


def restore(saver, sess, checkpoint):
  """Restores a checkpoint; says so if it belongs to another config.

  Raises:
    common.UserError: if the checkpoint does not fit the graph.
  """
  import tensorflow.compat.v1 as tf
  try:
    saver.restore(sess, checkpoint)
  except (ValueError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError) as e:
    raise common.UserError(does_not_fit(checkpoint)) from e


def does_not_fit(checkpoint):
  return (f'{checkpoint} does not fit this config; give the --config (and '
          '--hparams) it was trained with.')


def find_checkpoint(run_dir=None, checkpoint_file=None):
  """Returns the prefix of the checkpoint that a user means.

  Args:
    run_dir: A training run; its newest complete checkpoint is meant.
    checkpoint_file: Instead, a checkpoint (with or without .index), or a folder
      of checkpoints.

  Raises:
    common.UserError: if there is no such checkpoint, or it is damaged.
  """
  from magenta.models.music_vae import checkpoints
  if (run_dir is None) == (checkpoint_file is None):
    raise common.UserError('Give either --run_dir or --checkpoint_file.')
  path = os.path.expanduser(
      checkpoint_file or os.path.join(run_dir, 'train'))
  if checkpoint_file and not os.path.isdir(path):
    path = path.removesuffix('.index')
    if not os.path.exists(path + '.index'):
      raise common.UserError(f'There is no checkpoint {path}.')
    if not checkpoints.is_complete(path):
      raise common.UserError(f'The checkpoint {path} is damaged or only half '
                             'written; use another.')
    return path
  try:
    return checkpoints.newest_complete(path)
  except FileNotFoundError as e:
    raise common.UserError(str(e)) from e


def define_flags():
  flags.DEFINE_string('config', 'hierdec-drums_4bar', 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to evaluate.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint to evaluate, instead of --run_dir.')
  flags.DEFINE_string('examples_path', None, 'TFRecord of NoteSequences.')
  flags.DEFINE_string('tfds_name', None,
                      'TensorFlow Datasets name, instead of --examples_path.')
  flags.DEFINE_enum('split', 'validation', ['train', 'validation', 'test'],
                    'Which split of --tfds_name.')
  flags.DEFINE_string('output_file', None, 'Where to write the JSON.')


def main():
  FLAGS = flags.FLAGS
  config = common.get_config(FLAGS.config, FLAGS.hparams)
  from magenta.models.music_vae import packed_slices
  if (FLAGS.examples_path is None) == (FLAGS.tfds_name is None):
    raise common.UserError('Give either --examples_path or --tfds_name.')
  checkpoint = find_checkpoint(FLAGS.run_dir, FLAGS.checkpoint_file)
  evaluator = Evaluator(config)
  slices = packed_slices.load_slices(
      config.data_converter, FLAGS.examples_path, FLAGS.tfds_name, FLAGS.split)
  if not len(slices):
    raise common.UserError('There is no 4-bar slice of drums in these data.')
  result = {'checkpoint': checkpoint, 'config': FLAGS.config,
            **evaluator.evaluate(checkpoint, slices, progress=True)}
  text = json.dumps(result, indent=2)
  print(text)
  if FLAGS.output_file:
    os.makedirs(os.path.dirname(FLAGS.output_file) or '.', exist_ok=True)
    with open(FLAGS.output_file, 'w') as f:
      f.write(text + '\n')


if __name__ == '__main__':
  common.run(main, define_flags)
