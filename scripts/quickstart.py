"""The main job of run.sh: four drum loops in outputs/.

From the trained weights in weights/ if there are any; else it first trains
briefly, on the Groove MIDI Dataset if that can be had, else on drum loops that
it writes itself.
"""
import os
import pathlib
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import download_groove
import make_tfrecord
import sample
import train
from absl import flags

# Layers small enough to learn something on a CPU in two minutes.
STEPS = 300
LAYERS = 'enc_rnn_size=[128],dec_rnn_size=[128],z_size=64'
TRAINING = ('batch_size=64,learning_rate=0.003,sampling_schedule=constant,'
            'sampling_rate=0')
OWN_LOOPS = 48

# Beats for write_own_loops: for each drum's pitch, 16 steps of a bar.
PATTERNS = (
    {36: 'x.......x.......', 38: '....x.......x...', 42: 'x.x.x.x.x.x.x.x.'},
    {36: 'x..x....x.x.....', 38: '....x.......x..x', 42: 'xxxxxxxxxxxxxxxx'},
    {36: 'x...x...x...x...', 38: '....x.......x...', 46: '..x...x...x...x.'},
    {36: 'x.....x...x.....', 38: '....x..x.x..x...', 51: 'x.x.x.x.x.x.x.x.'},
)
FILL = {38: 'x.x.xx..........', 50: '......x.x.......', 47: '.........xx.....',
        43: '...........x.xxx', 36: 'x...x...x...x...'}


def write_own_loops(folder, count=OWN_LOOPS, bars=12, seed=0):
  """Writes `count` MIDI files of drum beats with small random changes."""
  import note_seq
  rng = random.Random(seed)
  pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
  for i in range(count):
    sequence = note_seq.NoteSequence(ticks_per_quarter=220)
    qpm = rng.choice((90, 100, 110, 120))
    sequence.tempos.add(qpm=qpm)
    sequence.time_signatures.add(numerator=4, denominator=4)
    step_seconds = 60 / qpm / 4
    for bar in range(bars):
      pattern = FILL if bar % 4 == 3 else PATTERNS[i % len(PATTERNS)]
      for pitch, steps in pattern.items():
        for step, mark in enumerate(steps):
          if (mark == 'x') != (rng.random() < 0.03):
            start = (bar * 16 + step) * step_seconds
            sequence.notes.add(
                pitch=pitch, velocity=rng.randint(60, 120), start_time=start,
                end_time=start + step_seconds / 2, is_drum=True, instrument=9)
    sequence.total_time = bars * 16 * step_seconds
    note_seq.sequence_proto_to_midi_file(
        sequence, os.path.join(folder, f'loop-{i + 1:02d}.mid'))


def get_data(dataset, zip_path=None):
  """Returns the TFRecord to train on, and makes it first if need be."""
  groove = dataset / 'groove.tfrecord'
  if groove.exists():
    return groove
  try:
    folder = download_groove.download_groove(dataset, zip_path)
    make_tfrecord.make_tfrecord(str(folder), str(groove), recursive=True)
    return groove
  except common.UserError as e:
    if zip_path:
      raise
    print(f'{e}\nGoing on with drum loops of our own.')
  own = dataset / 'own.tfrecord'
  if not own.exists():
    write_own_loops(dataset / 'own')
    make_tfrecord.make_tfrecord(str(dataset / 'own'), str(own))
  return own


def main():
  name = sample.DEFAULT_CONFIG
  if sample.weights_dir(name).is_dir():
    sample.sample(name, output_dir=str(common.ROOT / 'outputs'))
    return
  common.music_vae()
  from magenta.models.music_vae import checkpoints
  run_dir = common.ROOT / 'runs' / 'quickstart'
  trained = checkpoints.repair(str(run_dir / 'train'))
  if not trained or checkpoints.step_of(trained) < STEPS:
    print('There are no trained weights in weights/ yet, so a small model is '
          f'trained for {STEPS} steps first; that is enough to hear drums, not '
          'enough to hear a drummer.')
    examples = get_data(common.ROOT / 'dataset', flags.FLAGS.zip)
    config = common.get_config(name, f'{LAYERS},{TRAINING}')
    train.train(config._replace(train_examples_path=str(examples)),
                str(run_dir), STEPS, checkpoints_to_keep=1)
  sample.sample(name, run_dir=str(run_dir), hparams=LAYERS,
                output_dir=str(common.ROOT / 'outputs'))


def define_flags():
  flags.DEFINE_string('zip', os.environ.get('GROOVE_ZIP'),
                      'A local copy of the Groove MIDI Dataset\'s zip.')


if __name__ == '__main__':
  common.run(main, define_flags)
