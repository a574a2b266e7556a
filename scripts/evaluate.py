"""Prints how good a checkpoint is, in numbers beside a floor and baselines.

    python3 scripts/evaluate.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --split=test

As in training, --examples_path names the train split, with which samples are
compared; the split that is evaluated lies beside it (drummer-test.tfrecord).
Prints tables; with --output_dir, also writes evaluation.json and a figure. The
samples at the default temperature are read from written MIDI files.
"""
import os

from drumloops.errors import UserError
from drumloops.runs import checkpoint_files
from drumloops.system import cli, magenta_setup
from drumloops.metrics import evaluation
from absl import flags


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_string('config', magenta_setup.DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to evaluate.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint to evaluate, instead of --run_dir.')
  flags.DEFINE_string('examples_path', None,
                      'TFRecord of the train split; the others lie beside it.')
  flags.DEFINE_string('tfds_name', None,
                      'TensorFlow Datasets name, instead of --examples_path.')
  flags.DEFINE_enum('split', 'validation', ['train', 'validation', 'test'],
                    'The split to evaluate.')
  flags.DEFINE_string('output_dir', None,
                      'Where to write evaluation.json and the figures.')
  flags.DEFINE_bool('completion', False, 'Whether loops are completed, and '
                    'reconstructed from refined latents, too; some minutes more.')


def main() -> None:
  """Runs this command."""
  FLAGS = flags.FLAGS
  config = magenta_setup.get_config(FLAGS.config, FLAGS.hparams)
  if (FLAGS.examples_path is None) == (FLAGS.tfds_name is None):
    raise UserError('Give either --examples_path or --tfds_name.')
  evaluation.evaluate(
      config,
      checkpoint_files.find_checkpoint(FLAGS.run_dir, FLAGS.checkpoint_file),
      FLAGS.examples_path and os.path.expanduser(FLAGS.examples_path),
      FLAGS.tfds_name, FLAGS.split,
      FLAGS.output_dir and os.path.expanduser(FLAGS.output_dir),
      FLAGS.completion)


if __name__ == '__main__':
  cli.run(main, define_flags)
