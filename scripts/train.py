"""Trains a MusicVAE, or goes on training it from its newest checkpoint.

    python3 scripts/train.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --num_steps=5000 --mode=train

Checkpoints and TensorBoard summaries go to run_dir/train. If the validation
split lies beside the examples (drummer-validation.tfrecord), the best
checkpoint on it is kept in run_dir/best, without the optimizer's state. These
two are copied to --backup_dir in the background, and continued from there. When
training is through, run_dir/training.png shows its curves.
"""
import contextlib
import glob
import json
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import backup
import common
import evaluate
import plots
from absl import flags
import numpy as np
from tqdm import tqdm

CHECKPOINT_SECONDS = 300
SUMMARY_STEPS = 10
BEST_JSON = 'best.json'
CURVES = 'training.png'


def build_train_op(config, dataset):
  """Returns upstream's training op, loss and step, with its clipping.

  As `magenta.models.music_vae.music_vae_train.train`, which can't be called
  for it because it runs its own session.
  """
  import tensorflow.compat.v1 as tf
  hparams, converter, model = (
      config.hparams, config.data_converter, config.model)
  model.build(hparams, converter.output_depth, is_training=True)
  inputs, outputs, controls, lengths = (
      tf.data.make_one_shot_iterator(dataset).get_next())
  for tensor, depth in ((inputs, converter.input_depth),
                        (outputs, converter.output_depth),
                        (controls, converter.control_depth)):
    tensor.set_shape([hparams.batch_size, None, depth])
  lengths.set_shape([hparams.batch_size] + lengths.shape[1:].as_list())
  optimizer = model.train(
      inputs, outputs, lengths, controls if converter.control_depth else None)
  gradients, variables = zip(*optimizer.compute_gradients(model.loss))
  norm = tf.global_norm(gradients)
  tf.summary.scalar('global_norm', norm)
  if hparams.clip_mode == 'value':
    clipped = [tf.clip_by_value(g, -hparams.grad_clip, hparams.grad_clip)
               for g in gradients]
  elif hparams.clip_mode == 'global_norm':
    clipped = tf.cond(
        norm < hparams.grad_norm_clip_to_zero,
        lambda: tf.clip_by_global_norm(
            gradients, hparams.grad_clip, use_norm=norm)[0],
        lambda: [tf.zeros(tf.shape(g)) for g in gradients])
  else:
    raise common.UserError(f'There is no clip_mode {hparams.clip_mode!r}; the '
                           'known ones are value and global_norm.')
  return optimizer.apply_gradients(
      zip(clipped, variables), global_step=model.global_step,
      name='train_step')


class Validation:
  """Keeps the best checkpoint on the validation split in run_dir/best."""

  def __init__(self, config, run_dir, slices):
    self._slices = evaluate.evenly_spaced(slices)
    self._evaluator = evaluate.Evaluator(config, sample=False)
    self._dir = os.path.join(run_dir, 'best')
    self._json = os.path.join(self._dir, BEST_JSON)

  def check(self, prefix):
    """Scores a checkpoint; returns its loss and whether it is the best yet."""
    from magenta.models.music_vae import checkpoints
    self._evaluator.load(prefix)
    scores = self._evaluator.score(self._slices)
    try:
      with open(self._json) as f:
        best = json.load(f)['loss']
    except (OSError, ValueError, KeyError):
      best = float('inf')
    if not scores['loss'] < best:
      return scores, False
    name = os.path.basename(prefix)
    checkpoints.save_slim(prefix, os.path.join(self._dir, name))
    with open(self._json + '.tmp', 'w') as f:
      json.dump({'checkpoint': name, **scores}, f, indent=2)
    os.replace(self._json + '.tmp', self._json)
    checkpoints.remove_others(os.path.join(self._dir, name))
    return scores, True


def validation_slices(config):
  """Returns the validation split's slices, None if there is none."""
  from magenta.models.music_vae import packed_slices
  if not packed_slices.can_pack(config):
    return None
  try:
    return evaluate.load_split(config, config.train_examples_path,
                               config.tfds_name, 'validation')
  except (FileNotFoundError, common.UserError):
    return None


def train(config, run_dir, num_steps, checkpoints_to_keep=3, seed=0,
          on_save=None):
  """Trains until step `num_steps`, from the newest complete checkpoint on.

  Args:
    config: With train_examples_path or tfds_name set.
    run_dir: Folder of the run.
    num_steps: Step to stop at.
    checkpoints_to_keep: How many checkpoints, each with the optimizer's state,
      to keep in run_dir/train.
    seed: For the first weights, the latents and the order of the examples.
    on_save: Called without arguments whenever a checkpoint is finished.

  Raises:
    common.UserError: if there are fewer examples than one batch.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import data
  train_dir = os.path.join(os.path.expanduser(run_dir), 'train')
  os.makedirs(train_dir, exist_ok=True)
  for leftover in glob.glob(os.path.join(
      glob.escape(train_dir), '*.tempstate*')):
    os.remove(leftover)  # Of a save that was killed.
  resumed = checkpoints.repair(train_dir)
  start = checkpoints.step_of(resumed) if resumed else 0
  if start >= num_steps:
    print(f'{resumed} has reached step {num_steps}; give a larger --num_steps '
          'to go on.')
    return
  validation = None
  slices = validation_slices(config)
  if slices is None:
    print('There is no validation split beside the examples, so no best '
          'checkpoint is kept.')
  else:
    validation = Validation(config, os.path.expanduser(run_dir), slices)

  with tf.Graph().as_default():
    # Another order of the examples after a resume than before it.
    tf.set_random_seed(seed + start)
    random.seed(seed + start)  # tf_keras takes the first weights' seed from it.
    print('Reading the examples ...')
    dataset = data.get_dataset(config, is_training=True)
    print('Building the graph ...')
    step = tf.train.get_or_create_global_step()
    train_op = build_train_op(config, dataset)
    summary_op = tf.summary.merge_all()
    saver = tf.train.Saver(max_to_keep=checkpoints_to_keep)
    with tf.Session() as sess:
      sess.run(tf.global_variables_initializer())
      if resumed:
        common.restore(saver, sess, resumed)
        saver.recover_last_checkpoints(
            tf.train.get_checkpoint_state(
                train_dir).all_model_checkpoint_paths)
        print(f'Resumed from {resumed}.')
      writer = tf.summary.FileWriter(train_dir, graph=None)
      _loop(sess, step, train_op, summary_op, saver, writer, validation,
            train_dir, start, num_steps, on_save)
  plots.plot_training(os.path.expanduser(run_dir)).savefig(
      os.path.join(os.path.expanduser(run_dir), CURVES), dpi=100)


def _loop(sess, step, train_op, summary_op, saver, writer, validation,
          train_dir, start, num_steps, on_save):
  """Runs the steps from `start` to `num_steps`; saves by time and at the end."""
  import tensorflow.compat.v1 as tf

  def terminate(*_):
    raise KeyboardInterrupt
  signal.signal(signal.SIGTERM, terminate)

  def save():
    i = int(sess.run(step))
    prefix = saver.save(sess, os.path.join(train_dir, 'model.ckpt'),
                        global_step=i, write_meta_graph=False)
    if validation:
      scores, is_best = validation.check(prefix)
      writer.add_summary(tf.Summary(value=[
          tf.Summary.Value(tag=f'validation/{k}', simple_value=v)
          for k, v in scores.items()]), i)
      bar.write(f'Step {i}: validation loss {scores["loss"]:.2f}'
                + (', the best so far.' if is_best else '.'))
    writer.flush()
    if on_save:
      on_save()
    return i

  def run_with_summary(i):
    began = time.time()
    _, summary = sess.run([train_op, summary_op])
    values = {v.tag: v.simple_value
              for v in tf.Summary.FromString(summary).value}
    if not np.isfinite(values['loss']):
      raise common.UserError(
          f'The loss is no longer a number at step {i}; the checkpoints before '
          'are kept, go on from them with a smaller '
          '--hparams=learning_rate=0.0003.')
    writer.add_summary(summary, i + 1)
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(
        tag='global_step/sec', simple_value=1 / (time.time() - began))]), i + 1)
    bar.set_postfix(loss=f'{values["loss"]:.1f}',
                    kl_bits=f'{values["losses/kl_bits"]:.1f}')

  saved, last_save = start, time.time()
  with tqdm(initial=start, total=num_steps, desc='Training',
            unit='step') as bar:
    try:
      for i in range(start, num_steps):
        if i % SUMMARY_STEPS == 0 or i == start:
          run_with_summary(i)
        else:
          sess.run(train_op)
        bar.update()
        if time.time() - last_save >= CHECKPOINT_SECONDS:
          saved, last_save = save(), time.time()
      if saved < num_steps:
        saved = save()
    except tf.errors.OutOfRangeError as e:
      raise common.UserError(
          'There are fewer examples than one batch; use more data or a smaller '
          'batch (--hparams=batch_size=16).') from e
    except KeyboardInterrupt:
      if int(sess.run(step)) > saved:
        saved = save()
      bar.close()
      print(f'Stopped at step {saved} and saved; the same command goes on from '
            'here.')
      raise
  writer.close()
  print(f'Trained to step {saved}: {train_dir}')


def evaluate_once(config, run_dir, examples_path, tfds_name):
  """Evaluates the newest checkpoint and writes summaries to run_dir/eval."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  prefix = common.find_checkpoint(run_dir)
  evaluator = evaluate.Evaluator(config)
  # As upstream: what --examples_path names, whichever split that is.
  slices = evaluate.load_split(config, examples_path, tfds_name,
                               'validation' if tfds_name else 'train')
  evaluator.load(prefix)
  scores = evaluator.score(slices, 'Evaluating')
  with tf.Graph().as_default():
    writer = tf.summary.FileWriter(
        os.path.join(os.path.expanduser(run_dir), 'eval'))
    tags = {'loss': 'loss', 'losses/r_loss': 'reconstruction_loss',
            'losses/kl_bits': 'kl_bits',
            'metrics/accuracy': 'teacher_forced_accuracy',
            'metrics/sampled_accuracy': 'sampled_accuracy'}
    writer.add_summary(tf.Summary(value=[
        tf.Summary.Value(tag=tag, simple_value=scores[name])
        for tag, name in tags.items() if name in scores]),
                       checkpoints.step_of(prefix))
    writer.close()
  print(json.dumps({'checkpoint': prefix, **scores}, indent=2))


def define_flags():
  flags.DEFINE_string('config', 'hierdec-drums_4bar', 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Folder of the run.', required=True)
  flags.DEFINE_string('examples_path', None, 'TFRecord of NoteSequences.')
  flags.DEFINE_string('tfds_name', None,
                      'TensorFlow Datasets name, instead of --examples_path.')
  flags.DEFINE_enum('mode', 'train', ['train', 'eval'],
                    'eval scores the newest checkpoint once.')
  flags.DEFINE_integer('num_steps', 50000, 'Step to stop at.', lower_bound=1)
  flags.DEFINE_integer('checkpoints_to_keep', 3, 'Checkpoints to keep.',
                       lower_bound=1)
  flags.DEFINE_string('backup_dir', None,
                      'Folder, such as one on Google Drive, to copy the run to '
                      'in the background, and to continue it from.')
  flags.DEFINE_integer('backup_megabytes', 4000,
                       'How much to keep in backup_dir at most.', lower_bound=1)
  flags.DEFINE_integer('seed', 0, 'For weights, latents and the order of data.')


def main():
  FLAGS = flags.FLAGS
  if (FLAGS.examples_path is None) == (FLAGS.tfds_name is None):
    raise common.UserError('Give either --examples_path or --tfds_name.')
  config = common.get_config(FLAGS.config, FLAGS.hparams)
  import tensorflow as tf
  if not tf.config.list_physical_devices('GPU'):
    print('No GPU was found, so this runs on the CPU, which is slow; in Colab '
          'choose Runtime > Change runtime type > GPU.')
  if FLAGS.mode == 'eval':
    evaluate_once(config, FLAGS.run_dir, FLAGS.examples_path, FLAGS.tfds_name)
    return
  with (backup.Backup(FLAGS.run_dir, FLAGS.backup_dir, FLAGS.backup_megabytes)
        if FLAGS.backup_dir else contextlib.nullcontext()) as copies:
    train(config._replace(train_examples_path=FLAGS.examples_path,
                          tfds_name=FLAGS.tfds_name),
          FLAGS.run_dir, FLAGS.num_steps, FLAGS.checkpoints_to_keep, FLAGS.seed,
          copies.notify if copies else None)


if __name__ == '__main__':
  common.run(main, define_flags)
