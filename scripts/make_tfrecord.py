"""Converts a folder of MIDI files into a TFRecord of NoteSequences.

    python3 scripts/make_tfrecord.py --input_dir=dataset/groove/ \
        --output_file=dataset/drummer.tfrecord --recursive

The Groove MIDI Dataset has official splits: drummer.tfrecord then holds the train
split, drummer-validation.tfrecord and drummer-test.tfrecord hold the others.
"""
from drumloops.data import tfrecord
from drumloops.midi import midi_file
from drumloops.system import cli, magenta_setup
from absl import flags


def define_flags() -> None:
  magenta_setup.music_vae()
  # Magenta's own flags: --input_dir, --output_file, --recursive, --log.
  from magenta.scripts import convert_dir_to_note_sequences
  flags.adopt_module_key_flags(convert_dir_to_note_sequences)
  midi_file.define_flags()
  flags.mark_flags_as_required(['input_dir', 'output_file'])


def main() -> None:
  FLAGS = flags.FLAGS
  tfrecord.make_tfrecord(FLAGS.input_dir, FLAGS.output_file, FLAGS.recursive,
                         FLAGS.drum_channel)


if __name__ == '__main__':
  cli.run(main, define_flags)
