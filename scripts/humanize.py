"""Gives the drums of a MIDI file a drummer's dynamics and timing.

    python3 scripts/humanize.py in.mid out.mid

    python3 scripts/humanize.py in.mid out.mid --take=2 --amount=0.7
    python3 scripts/humanize.py in.mid out.mid --like=played.mid

GrooVAE (Gillick et al. 2019, arXiv 1905.06118): from which drums fall on which
sixteenth of 4 bars, a model trained on drummers says how loud each is and how
far from its sixteenth. All else in the file stays as it is.
"""
import os

from drumloops.humanize import humanizer
from drumloops.midi import midi_file
from drumloops.system import cli
from absl import flags


def define_flags():
  flags.DEFINE_string('config', humanizer.CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to use.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint, or folder of them, instead of --run_dir.')
  flags.DEFINE_float('amount', 1., 'How much of the take: 0 leaves the file as it is, '
                     'byte for byte.', lower_bound=0, upper_bound=humanizer.MOST)
  flags.DEFINE_string('like', None, 'MIDI file of a performance whose feel is taken.')
  midi_file.define_flags()
  humanizer.define_flags()


def main(input_midi, output_midi):
  FLAGS = flags.FLAGS
  humanizer.humanize_file(
      os.path.expanduser(input_midi), os.path.expanduser(output_midi),
      humanizer.load(
          FLAGS.run_dir, FLAGS.checkpoint_file, FLAGS.config, FLAGS.hparams,
          FLAGS.take, FLAGS.like, FLAGS.drummer, FLAGS.drum_channel),
      humanizer.read_amount(FLAGS.amount, FLAGS.velocity, FLAGS.timing),
      FLAGS.drum_channel)


if __name__ == '__main__':
  cli.run(main, define_flags, ('in.mid', 'out.mid'))
