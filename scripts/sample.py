"""Samples drum loops from a checkpoint: MIDI, WAV, pictures, a page to listen on.

    python3 scripts/sample.py --run_dir=run --num_outputs=4
    python3 scripts/sample.py --style=funk --humanize --qpm=100
    python3 scripts/sample.py --run_dir=run --mode=interpolate \
        --input_midi_1=a.mid --input_midi_2=b.mid --num_outputs=8
    python3 scripts/sample.py --run_dir=run --mode=reconstruct \
        --input_midi_1=a.mid
    python3 scripts/sample.py --mode=complete --input_midi_1=a.mid --keep=kick,snare
    python3 scripts/sample.py --mode=vary --input_midi_1=a.mid --amount=0.2

Without --run_dir or --checkpoint_file, the weights in weights/ are used.
"""
from drumloops import sampling
from drumloops.humanize import humanizer
from drumloops.midi import midi_file
from drumloops.models import autoencoder, constraints
from drumloops.system import cli, magenta_setup
from absl import flags


def define_flags():
  flags.DEFINE_string('config', magenta_setup.DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to sample from.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint, or folder of them, instead of --run_dir.')
  flags.DEFINE_enum('mode', 'sample', 
                    ['sample', 'interpolate', 'reconstruct', 'complete', 'vary'],
                    'What to make.')
  flags.DEFINE_integer('num_outputs', 4, 'Number of loops.')
  flags.DEFINE_float('temperature', None, 'Randomness of each step. Default: '
                     f'{autoencoder.DEFAULT_TEMPERATURE}; to reconstruct, none, so '
                     'that the most likely drums play.')
  flags.DEFINE_string('style', None,
                      'Style to sample, such as funk; list names them all.')
  flags.DEFINE_integer('seed', 0, 'The same seed gives the same bytes.')
  flags.DEFINE_string('input_midi_1', None,
                      'MIDI file to interpolate from, to reconstruct, to complete '
                      'or to vary.')
  flags.DEFINE_string('input_midi_2', None, 'MIDI file to interpolate to.')
  midi_file.define_flags()
  flags.DEFINE_integer('first_bar', 0, 'Bar that the MIDI files begin with, from 1. '
                       'Default: the first in which a drum plays.', lower_bound=0)
  constraints.define_flags()
  flags.DEFINE_float('amount', None, 'To vary: from 0, the loop itself, to 1, others '
                     f'of its kind (default {sampling.DEFAULT_AMOUNT}). Else, with '
                     '--humanize: how much of the feel, from 0 to '
                     f'{humanizer.MOST} (default 1).')
  flags.DEFINE_integer('bars', None, 'Length; the bars after the first 4 go on with '
                       'those before. Default: as the config has it, 4.')
  flags.DEFINE_float('qpm', None, 'Tempo in quarters (beats) a minute. Default: the '
                     "MIDI file's, else 120.")
  flags.DEFINE_bool('humanize', False,
                    "Whether to give the loops a drummer's dynamics and timing.")
  humanizer.define_flags()
  flags.DEFINE_string('soundfont', None,
                      'SoundFont (.sf2) that plays the drums; default: the '
                      'environment variable SOUNDFONT, else a small one.')
  flags.DEFINE_bool('sound', True, 'Whether to write WAV files.')
  flags.DEFINE_bool('pictures', True, 'Whether to write pictures.')
  flags.DEFINE_string('output_dir', 'outputs', 'Folder to write to.')


def main():
  FLAGS = flags.FLAGS
  if FLAGS.style == 'list':
    sampling.print_styles(FLAGS.config, FLAGS.run_dir, FLAGS.checkpoint_file)
    return
  sampling.sample(
      FLAGS.config, FLAGS.run_dir, FLAGS.checkpoint_file, FLAGS.mode,
      FLAGS.num_outputs, FLAGS.temperature, FLAGS.seed, FLAGS.input_midi_1,
      FLAGS.input_midi_2, FLAGS.hparams, FLAGS.output_dir, style=FLAGS.style,
      qpm=FLAGS.qpm, humanize=FLAGS.humanize, soundfont=FLAGS.soundfont,
      constraints=constraints.Constraints.of_flags(FLAGS),
      amount=FLAGS.amount, bars=FLAGS.bars, take=FLAGS.take,
      drummer=FLAGS.drummer, velocity=FLAGS.velocity, timing=FLAGS.timing,
      sounds=FLAGS.sound, pictures=FLAGS.pictures, first_bar=FLAGS.first_bar,
      drum_channel=FLAGS.drum_channel)


if __name__ == '__main__':
  cli.run(main, define_flags)
