"""Splits a TFRecord of NoteSequences into 4-bar examples, each one once.

    python3 scripts/preprocess_tfrecord.py --config=hierdec-drums_4bar \
        --input_tfrecord=dataset/drummer.tfrecord \
        --output_tfrecord=dataset/examples.tfrecord --output_shards=1

This is Magenta's own step, patched (see magenta_patches). Training does not need it,
since scripts/train.py converts what it reads. It filters loops, removes those that
several files share, and shows what a model is trained on. It runs on Apache Beam where
that is installed, and gives the same examples without.
"""
import contextlib
import glob
import os

from drumloops.data import splits
from drumloops.errors import UserError, stage
from drumloops.system import cli, magenta_setup
from absl import flags


def define_flags() -> None:
  magenta_setup.music_vae()
  # Magenta's own flags: --input_tfrecord, --output_tfrecord, --config, ...
  from magenta.models.music_vae import preprocess_tfrecord
  flags.adopt_module_key_flags(preprocess_tfrecord)
  flags.mark_flags_as_required(['input_tfrecord', 'output_tfrecord', 'config'])


def main() -> None:
  FLAGS = flags.FLAGS
  magenta_setup.get_config(FLAGS.config)
  from magenta.models.music_vae import checkpoints, preprocess_tfrecord
  import tensorflow as tf
  # Beam takes brackets in a folder's name for a pattern.
  FLAGS.input_tfrecord = checkpoints.plain(FLAGS.input_tfrecord)
  if not tf.io.gfile.glob(FLAGS.input_tfrecord):
    raise UserError(f'No TFRecord file matches {FLAGS.input_tfrecord}; '
                    f'make one with {stage("make_tfrecord.py")}.')
  os.makedirs(os.path.dirname(FLAGS.output_tfrecord) or '.', exist_ok=True)
  with splits.naming_damage(FLAGS.input_tfrecord):
    preprocess_tfrecord.main(None)
  remove_empty_folders_of_beam(FLAGS.output_tfrecord)
  print(f'Wrote {FLAGS.output_tfrecord}-*-of-{FLAGS.output_shards:05d}.')


def remove_empty_folders_of_beam(output_tfrecord: str) -> None:
  """Removes what Beam on Dask leaves beside its output."""
  folder, name = os.path.split(output_tfrecord)
  for path in glob.glob(os.path.join(
      glob.escape(folder), f'beam-temp-{glob.escape(name)}-*')):
    with contextlib.suppress(OSError):
      os.rmdir(path)


if __name__ == '__main__':
  cli.run(main, define_flags)
