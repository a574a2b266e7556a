"""Trains a MusicVAE, or goes on training it from its newest checkpoint.

    python3 scripts/train.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --num_steps=5000 --mode=train

Checkpoints and TensorBoard summaries go to run_dir/train. If the validation split
lies beside the examples (drummer-validation.tfrecord), run_dir/best keeps the best
checkpoint on it, without the optimizer's state. Both are copied to --backup_dir in
the background, and continued from there. At the end run_dir/training.png shows the
curves.

With --init_from=weights/hierdec-drums_4bar (or any other checkpoint, folder or run) a
new run begins with those weights: fine-tuning.

TF_CONFIG in the environment may name several machines, and which of them this is: a
ps, a worker or the chief.
"""
import contextlib
import dataclasses
from typing import TYPE_CHECKING

from drumloops.data import splits
from drumloops.errors import UserError, field
from drumloops.runs import backup, checkpoint_files
from drumloops.system import cli, disk, interrupts, magenta_setup
from drumloops.training import distributed, evaluate_once, trainer
from absl import flags

if TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config

LOCK_SECONDS = 10  # For a training that is just being stopped to save.


def define_flags() -> None:
  flags.DEFINE_string('config', magenta_setup.DEFAULT_CONFIG, 'Name of the config.')
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
  flags.DEFINE_integer('save_seconds', 300, 'How long to train between '
                       'checkpoints.', lower_bound=0)
  flags.DEFINE_string('init_from', None,
                      'Checkpoint, folder of them, or run, whose weights a new run '
                      'begins with.')
  flags.DEFINE_string('backup_dir', None,
                      'Folder, such as one on Google Drive, to copy the run to '
                      'in the background, and to continue it from.')
  flags.DEFINE_integer('backup_megabytes', 4000,
                       'How much to keep in backup_dir at most.', lower_bound=1)
  flags.DEFINE_integer('seed', 0, 'For weights, latents and the order of data.')
  flags.DEFINE_integer('num_sync_workers', 0,
                       'Of several machines, how many take each step together; 0: '
                       'each takes its own.', lower_bound=0)


def main() -> None:
  FLAGS = flags.FLAGS
  if (FLAGS.examples_path is None) == (FLAGS.tfds_name is None):
    raise UserError(
        f'Give either {field("examples_path")} or {field("tfds_name")}.')
  config = magenta_setup.get_config(FLAGS.config, FLAGS.hparams)
  machines = distributed.read() if FLAGS.mode == 'train' else None
  if machines and machines.role == 'ps':
    with interrupts.Stop() as stop:
      distributed.serve(machines, stop)
    return
  warn_of_the_device()
  if FLAGS.mode == 'eval':
    with splits.naming_damage(FLAGS.examples_path):
      evaluate_once.evaluate_once(
          config, FLAGS.run_dir, FLAGS.examples_path, FLAGS.tfds_name)
    return
  if FLAGS.num_sync_workers > (machines.workers if machines else 0):
    raise UserError(f'{field("num_sync_workers")} must not be more than the workers, '
                    'the chief among them, that TF_CONFIG names.')
  config = config._replace(
      train_examples_path=splits.pipeline_path(config, FLAGS.examples_path),
      tfds_name=FLAGS.tfds_name)
  request = trainer.TrainingRequest(
      FLAGS.run_dir, FLAGS.num_steps, FLAGS.checkpoints_to_keep, FLAGS.seed,
      FLAGS.init_from, FLAGS.save_seconds, FLAGS.num_sync_workers)
  if machines and not machines.is_chief:
    with interrupts.Stop() as stop, splits.naming_damage(FLAGS.examples_path):
      trainer.work(config, request, machines, stop)
  else:
    train_and_back_up(config, request, machines)


def warn_of_the_device() -> None:
  """Says so if training will be slow, or start late, on this machine's device."""
  import tensorflow as tf
  if not tf.config.list_physical_devices('GPU'):
    print('No GPU was found, so this runs on the CPU, which is slow; in Colab '
          'choose Runtime > Change runtime type > GPU.')
  magenta_setup.warn_of_new_gpu()


def train_and_back_up(config: 'Config', request: trainer.TrainingRequest,
                      machines: distributed.Cluster | None) -> None:
  """Trains, as a chief or alone, and copies the run to backup_dir meanwhile."""
  FLAGS = flags.FLAGS
  if request.init_from:
    request = dataclasses.replace(request, init_from=checkpoint_files.find_checkpoint(
        checkpoint_file=request.init_from))
  copies = FLAGS.backup_dir and backup.Backup(
      FLAGS.run_dir, FLAGS.backup_dir, FLAGS.backup_megabytes)
  with contextlib.ExitStack() as stack:
    for folder in filter(None, (FLAGS.run_dir, FLAGS.backup_dir)):
      stack.enter_context(disk.locked(
          folder, LOCK_SECONDS, f'Another training uses {folder}; stop that one '
          'first, or name another folder.'))
    stop = stack.enter_context(interrupts.Stop())
    if copies:
      stack.enter_context(copies)
    stack.enter_context(splits.naming_damage(FLAGS.examples_path))
    trainer.train(config, request, copies and copies.notify, stop, machines,
                  checkpoint_files.own_scores(FLAGS.config))


if __name__ == '__main__':
  cli.run(main, define_flags)
