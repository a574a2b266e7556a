"""Gives finished weights away, with card and examples, on the Hugging Face Hub.

    python3 scripts/share.py --config=hierdec-drums_4bar \
        --checkpoint_file=runs/mine/weights --repo=your-name/my-drummer

Needs a token that may write (https://huggingface.co/settings/tokens) in HF_TOKEN,
in Colab as a secret of this name. Everybody then plays them with
--checkpoint_file=hf://your-name/my-drummer.
"""
from drumloops import backend, cli, sharing
from absl import flags


def define_flags():
  flags.DEFINE_string('config', backend.DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('checkpoint_file', None, 'Finished weights.', required=True)
  flags.DEFINE_string('repo', None, 'your-name/name on the Hub.', required=True)
  flags.DEFINE_string('evaluation_dir', None, 'Where evaluate.py wrote to; default: '
                      'the folder of the weights.')
  flags.DEFINE_bool('private', False, 'Whether only you see it.')


def main():
  FLAGS = flags.FLAGS
  sharing.share(
      FLAGS.repo, FLAGS.config, FLAGS.checkpoint_file, FLAGS.evaluation_dir,
      FLAGS.private, FLAGS.hparams)


if __name__ == '__main__':
  cli.run(main, define_flags)
