"""Writes one HTML file that makes loops itself, offline, in a browser.

    python3 scripts/web.py --checkpoint_file=runs/mine/weights --output=drums.html

    python3 scripts/web.py --magentajs=folder   # what magenta.js loads

The models and the code that runs them are in the file. Without --run_dir or
--checkpoint_file, the weights in weights/ are used.
"""
import os

from drumloops.export import magentajs, web_app
from drumloops.runs import checkpoint_files
from drumloops.system import cli, magenta_setup
from absl import flags


def define_flags() -> None:
  """Defines the flags of this command."""
  cli.define_weights(magenta_setup.DEFAULT_CONFIG)
  flags.DEFINE_string('output', 'drums.html', 'HTML file to write.')
  flags.DEFINE_bool('humanize', True, 'Whether the page plays its loops with a '
                    "drummer's dynamics and timing.")
  flags.DEFINE_string('soundfont', None, 'SoundFont (.sf2) that plays the drums, which '
                      'the page then holds; by default it synthesizes them.')
  flags.DEFINE_string('magentajs', None, 'Folder to write instead: the weights as '
                      "magenta.js's MusicVAE loads them.")


def main() -> None:
  """Runs this command."""
  FLAGS = flags.FLAGS
  if FLAGS.magentajs:
    magentajs.write(
        magenta_setup.get_config(FLAGS.config, FLAGS.hparams), FLAGS.config,
        checkpoint_files.find_checkpoint(
            FLAGS.run_dir, FLAGS.checkpoint_file, FLAGS.config),
        os.path.expanduser(FLAGS.magentajs))
    return
  web_app.write(
      FLAGS.output, FLAGS.config, FLAGS.run_dir, FLAGS.checkpoint_file, FLAGS.hparams,
      FLAGS.humanize, FLAGS.soundfont)


if __name__ == '__main__':
  cli.run(main, define_flags)
