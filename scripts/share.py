"""Shares finished weights on the Hugging Face Hub, with a card and examples.

    python3 scripts/share.py --config=hierdec-drums_4bar \
        --checkpoint_file=runs/mine/weights --repo=your-name/my-drummer \
        --license=apache-2.0 --noprivate

Needs a token that may write (https://huggingface.co/settings/tokens) in HF_TOKEN,
in Colab as a secret of this name. With --noprivate everybody sees them, and may play
them by the licence you name, with --checkpoint_file=hf://your-name/my-drummer.
"""
from drumloops.export import hub
from drumloops.system import cli, magenta_setup
from absl import flags


def define_flags() -> None:
  """Defines the flags of this command."""
  flags.DEFINE_string('config', magenta_setup.DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('checkpoint_file', None, 'Finished weights.', required=True)
  flags.DEFINE_string('repo', None, 'your-name/name on the Hub.', required=True)
  flags.DEFINE_string('evaluation_dir', None, 'Where evaluate.py wrote to; default: '
                      'the folder of the weights.')
  flags.DEFINE_string('license', None, 'What others may do with the weights, as the '
                      'Hub calls it, such as apache-2.0; without one, nothing.')
  flags.DEFINE_bool('private', True, 'Whether only you see a new repository.')


def main() -> None:
  """Runs this command."""
  FLAGS = flags.FLAGS
  hub.share(
      FLAGS.repo, FLAGS.config, FLAGS.checkpoint_file, FLAGS.evaluation_dir,
      FLAGS.private, FLAGS.license, FLAGS.hparams)


if __name__ == '__main__':
  cli.run(main, define_flags)
