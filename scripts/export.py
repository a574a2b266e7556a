"""Makes weights to share of a training run: small, and ready to sample from.

    python3 scripts/export.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --output_dir=run/weights

It takes run_dir/best (the newest checkpoint, if there is no best of these data),
without the optimizer's state. It makes the latent space fit N(0, I), and keeps where
latents are drawn and styles lie (prior.npz), and what sliders (sliders.npz) and fills
(fills.npz) need. With --encoder_steps, it fine-tunes the encoder for sample.py
--mode=complete. Of performances, it keeps how takes differ (feel.npz). The weights are
a checkpoint like any other; stock Magenta loads them where it has their decoder.
"""
import os

from drumloops.system import cli, magenta_setup
from drumloops.training import finish
from absl import flags


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_string('config', magenta_setup.DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run.', required=True)
  flags.DEFINE_string('examples_path', None, 'TFRecord of the train split.',
                      required=True)
  flags.DEFINE_string('output_dir', None, 'Folder to write to.', required=True)
  flags.DEFINE_integer(
      'encoder_steps', 0, 'Steps of encoder fine-tuning: it learns inputs of which '
      'parts are hidden. The project\'s own weights took 3000.')


def main() -> None:
  """Runs this command."""
  FLAGS = flags.FLAGS
  finish.finish(
      magenta_setup.get_config(FLAGS.config, FLAGS.hparams),
      os.path.expanduser(FLAGS.run_dir), os.path.expanduser(FLAGS.examples_path),
      os.path.expanduser(FLAGS.output_dir), FLAGS.encoder_steps)


if __name__ == '__main__':
  cli.run(main, define_flags)
