"""Gives the drums of a MIDI file a drummer's velocity and microtiming.

    python3 scripts/humanize.py in.mid out.mid

    python3 scripts/humanize.py in.mid out.mid --take=2 --amount=0.7
    python3 scripts/humanize.py in.mid out.mid --velocity=snare:0.5 --swing=62
    python3 scripts/humanize.py in.mid out.mid --like=played.mid
    python3 scripts/humanize.py in.mid out.mid --map=addictive2 --output_map=superior3

After GrooVAE (Gillick et al. 2019, arXiv 1905.06118): a model that has learned from
drummers draws each hit's velocity and microtiming, one hit after the other. With
--ornaments, hits become flams and drags. All else in the file stays as it is.
"""
from drumloops import Humanizer
from drumloops.errors import in_words
from drumloops.humanize import humanizer, take
from drumloops.humanize.take import TakeRequest
from drumloops.midi import drum_maps, midi_file
from drumloops.system import cli
from absl import flags


def define_flags() -> None:
  """Defines the flags of a take and of its input."""
  cli.define_weights(humanizer.CONFIG)
  flags.DEFINE_float('amount', 1., 'How much of the take, from 0, which leaves the file '
                     'as it is, byte for byte, to 1.2.')
  flags.DEFINE_string('like', None, 'MIDI file of a performance whose feel is taken.')
  midi_file.define_flags()
  drum_maps.define_flags()
  take.define_flags()


def main(input_midi: str, output_midi: str) -> None:
  """Humanizes a file."""
  FLAGS = flags.FLAGS
  request = TakeRequest(FLAGS.take, FLAGS.amount, FLAGS.velocity, FLAGS.timing,
                        FLAGS.drummer, FLAGS.like, FLAGS.swing,
                        FLAGS.ornaments or 0.)
  for sentence in Humanizer(
      cli.read_weights(), FLAGS.config, FLAGS.hparams, progress=True).humanize_file(
          input_midi, output_midi, request, FLAGS.drum_channel, FLAGS.map,
          FLAGS.output_map):
    print(in_words(sentence))


if __name__ == '__main__':
  cli.run(main, define_flags, ('in.mid', 'out.mid'))
