"""Samples drum loops from a checkpoint: MIDI, WAV, pictures, a page to listen on.

    python3 scripts/sample.py --run_dir=run --num_outputs=4
    python3 scripts/sample.py --style=funk --humanize --qpm=100
    python3 scripts/sample.py --run_dir=run --mode=interpolate \
        --input_midi_1=a.mid --input_midi_2=b.mid --num_outputs=8
    python3 scripts/sample.py --run_dir=run --mode=reconstruct \
        --input_midi_1=a.mid

Without --run_dir or --checkpoint_file, the weights in weights/ are used.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import evaluate
import humanize as humanizing
import midi
import page
import plots
import render
import styles
from absl import flags
import numpy as np

MAX_BATCH_SIZE = 1024
DEFAULT_CONFIG = 'hierdec-drums_4bar'
MIN_QPM, MAX_QPM = 30, 300  # Quarters a minute.


def all_checkpoints(run_dir):
  """Returns a run's complete checkpoints, oldest first, the best one last."""
  common.music_vae()
  from magenta.models.music_vae import checkpoints
  return [prefix for folder in ('train', 'best') for prefix in reversed(list(
      checkpoints.all_complete(os.path.join(run_dir, folder))))]


def load_model(config, checkpoint, batch_size, seed):
  """Returns Magenta's TrainedModel, whose samples `seed` decides."""
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import TrainedModel
  import tensorflow.compat.v1 as tf
  tf.set_random_seed(seed)
  np.random.seed(seed)
  try:
    return TrainedModel(config, batch_size, checkpoints.plain(checkpoint))
  except (ValueError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError) as e:
    raise common.UserError(common.does_not_fit(checkpoint)) from e


def bars_of(config):
  """Returns how many bars a config's loops have, None where it does not say."""
  converter = config.data_converter
  steps_per_bar = getattr(converter, '_steps_per_bar', None)
  return (config.hparams.max_seq_len // steps_per_bar
          if steps_per_bar == midi.STEPS_PER_BAR else None)


def why_not_encoded(config_name, config):
  """Returns why no MIDI file can be given to a config, None if it can."""
  from magenta.models.music_vae import packed_slices
  kind = type(config.data_converter).__name__
  if kind not in ('DrumsConverter', 'GrooveConverter'):
    return (f'{config_name} is no model of drums, and the MIDI files that are '
            'read here are drums; name a drum config.')
  if kind == 'GrooveConverter' and not packed_slices.can_pack(config):
    return (f'What {config_name} encodes is not a loop as it is played (it is '
            'tapped, thinned out or told the hits); use groovae_4bar.')
  return None


def first_slice(midi_path, config):
  """Returns the first bars of drums of a MIDI file as the encoder's input.

  Unlike Magenta's converters, which take all slices there are, this starts with
  the first bar in which a drum plays, and fills up with silence.

  Args:
    midi_path: A MIDI file, in 4/4 there.
    config: A config for which `why_not_encoded` has no reason.

  Returns:
    [steps, input_depth]: bool and a class or a drum each with a DrumsConverter,
    float32 (hits, velocities, offsets) with a GrooveConverter.

  Raises:
    common.UserError: if it is not MIDI, not in 4/4 or without drums.
  """
  converter, steps = config.data_converter, config.hparams.max_seq_len
  found = midi.first_bars(midi_path, midi.drum_map(converter._pitch_classes),
                          steps // midi.STEPS_PER_BAR)
  drums = len(converter._pitch_classes)
  hits, velocities, offsets = np.zeros([3, steps, drums], np.float32)
  for drum, start, velocity, _ in found.hits:
    step = midi.nearest_step(start)
    if velocity / 127 > velocities[step, drum]:  # As upstream: the loudest.
      hits[step, drum], velocities[step, drum] = 1, velocity / 127
      offsets[step, drum] = 2 * (step - start)  # From -1 to 1; early is more.
  if type(converter).__name__ == 'GrooveConverter':
    kept = 0 if converter._humanize else 1
    return np.concatenate([hits, kept * velocities, kept * offsets], axis=-1)
  if converter._roll_input:
    return np.append(hits, hits.sum(axis=1, keepdims=True) == 0, axis=1) > 0
  return np.eye(converter.input_depth, dtype=bool)[
      (hits.astype(int) << np.arange(drums)).sum(axis=1)]


def encode(model, midi_paths, config):
  """Returns the means of the latents of MIDI files' first bars."""
  slices = [first_slice(path, config) for path in midi_paths]
  return model.encode_tensors(slices, [len(s) for s in slices])[1]


def needs_controls(config_name, config):
  """Returns the sentence that says why a config can't be sampled here."""
  if type(config.data_converter).__name__ == 'GrooveConverter':
    return (f'Models of {config_name} need to be told the hits; see '
            'scripts/humanize.py.')
  return (f'Models of {config_name} need to be told the chords, which only '
          "Magenta's own code can: see TrainedModel.sample's c_input.")


def can_be_humanized(config_name, config):
  """Whether loops of a config have no velocities and timing yet; says if not."""
  converter = config.data_converter
  if type(converter).__name__ == 'DrumsConverter' and (
      bars_of(config) and len(converter._pitch_classes) == len(plots.LANES)):
    return True
  print(f'Loops of {config_name} are not humanized: '
        + ('it gives them velocities and timing of its own.'
           if type(converter).__name__ == 'GrooveConverter' else
           'they are no patterns of the nine drums.'))
  return False


def as_loop(sequence, qpm, config):
  """Returns a decoded NoteSequence as a loop of as many bars as the config's."""
  bars = bars_of(config)
  if bars is None:  # As many as there are notes in.
    quarters = sequence.total_time * (
        sequence.tempos[0].qpm if sequence.tempos else render.DEFAULT_QPM) / 60
    bars = max(1, int(np.ceil(quarters / 4)))
  return render.as_loop(sequence, qpm, bars)


def print_styles(config_name, run_dir=None, checkpoint_file=None):
  """Prints the styles that `sample` takes, and of how many loops they are."""
  common.music_vae()
  kept = styles.load(
      common.find_checkpoint(run_dir, checkpoint_file, config_name))
  for name, count in sorted(zip(kept['names'], kept['counts']),
                            key=lambda pair: -pair[1]):
    print(f'{name}: {count} training loops')


def sample(config_name, run_dir=None, checkpoint_file=None, mode='sample',
           num_outputs=4, temperature=evaluate.DEFAULT_TEMPERATURE, seed=0,
           input_midi_1=None, input_midi_2=None, hparams='',
           output_dir='outputs', name=None, style=None,
           qpm=render.DEFAULT_QPM, humanize=False, soundfont=None):
  """Makes loops and writes them; returns what `page.write_loops` returns.

  Args:
    config_name: Name of the checkpoint's config.
    run_dir: Training run whose newest checkpoint is used, ...
    checkpoint_file: ... or a checkpoint, or folder of checkpoints.
    mode: 'sample' from the prior, 'interpolate' between two MIDI files in
      `num_outputs` steps, or 'reconstruct' a MIDI file from its latent.
    num_outputs: Number of loops.
    temperature: Of the softmax each step is sampled from.
    seed: The same seed gives the same bytes.
    input_midi_1: MIDI file to start from or to reconstruct.
    input_midi_2: MIDI file to end at.
    hparams: Changes to the config that the checkpoint was trained with.
    output_dir: Folder to write to.
    name: What the files' names begin with; default: the style or the mode.
    style: With mode 'sample', a style of GMD's that the weights know.
    qpm: Tempo, in quarters a minute.
    humanize: Whether to give the loops a drummer's dynamics and timing.
    soundfont: Of `render.find_soundfont`.

  Raises:
    common.UserError: if the input is wrong.
  """
  if num_outputs < 1 or not temperature > 0:
    raise common.UserError(
        '--num_outputs and --temperature must be more than 0.')
  if not MIN_QPM <= qpm <= MAX_QPM:
    raise common.UserError(f'--qpm must be from {MIN_QPM} to {MAX_QPM}.')
  if style and mode != 'sample':
    raise common.UserError('--style goes with --mode=sample only.')
  inputs = {'sample': [], 'interpolate': [input_midi_1, input_midi_2],
            'reconstruct': [input_midi_1]}[mode]
  if None in inputs:
    raise common.UserError(
        f'--mode={mode} needs ' + ' and '.join(
            f'--input_midi_{i + 1}' for i in range(len(inputs))) + '.')
  output_dir = os.path.expanduser(output_dir)
  config = common.get_config(config_name, hparams)
  render.find_soundfont(soundfont)  # Sooner than after sampling.
  if config.data_converter.control_depth:
    raise common.UserError(needs_controls(config_name, config))
  if inputs and (why := why_not_encoded(config_name, config)):
    raise common.UserError(why)
  checkpoint = common.find_checkpoint(run_dir, checkpoint_file, config_name)
  common.warn_of_new_gpu()
  z = styles.draw(styles.load(checkpoint), style, num_outputs,
                  np.random.RandomState(seed)) if style else None
  model = load_model(config, checkpoint, min(num_outputs, MAX_BATCH_SIZE), seed)
  length = config.hparams.max_seq_len
  if inputs:
    mu = encode(model, inputs, config)
    z = (np.array([evaluate.slerp(mu[0], mu[1], t)
                   for t in np.linspace(0, 1, num_outputs)])
         if mode == 'interpolate' else np.repeat(mu, num_outputs, axis=0))
  sequences = (model.sample(num_outputs, length, temperature) if z is None else
               model.decode(z, length, temperature))
  humanize = humanize and can_be_humanized(config_name, config)
  if humanize:
    sequences = humanizing.humanize_loops(sequences, humanizing.load())
  loops = [as_loop(sequence, qpm, config) for sequence in sequences]
  # As much of where the checkpoint lies as tells it from others.
  checkpoint_name = '/'.join(os.path.abspath(checkpoint).split(os.sep)[-3:])
  paths = page.write_loops(
      loops, output_dir, name or style or mode,
      {'config': config_name, 'checkpoint': checkpoint_name, 'mode': mode,
       'inputs': [common.printable(os.path.basename(p)) for p in inputs],
       'style': style or None, 'number': num_outputs, 'seed': seed,
       'temperature': temperature, 'qpm': qpm, 'humanized': humanize},
      soundfont)
  if mode == 'interpolate':
    paths['strip'] = os.path.join(output_dir, paths['name'] + '.png')
    plots.plot_interpolation(loops, *map(os.path.basename, inputs)).savefig(
        paths['strip'], dpi=100)
  print(f'{len(sequences)} loops from {checkpoint}: '
        f'{paths["midi"][0]} ...; listen to them in {paths["page"]}')
  return paths


def define_flags():
  flags.DEFINE_string('config', DEFAULT_CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to sample from.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint, or folder of them, instead of --run_dir.')
  flags.DEFINE_enum('mode', 'sample', ['sample', 'interpolate', 'reconstruct'],
                    'What to make.')
  flags.DEFINE_integer('num_outputs', 4, 'Number of loops.')
  flags.DEFINE_float('temperature', evaluate.DEFAULT_TEMPERATURE,
                     'Randomness of each step.')
  flags.DEFINE_string('style', None,
                      'Style to sample, such as funk; list names them all.')
  flags.DEFINE_integer('seed', 0, 'The same seed gives the same bytes.')
  flags.DEFINE_string('input_midi_1', None,
                      'MIDI file to interpolate from, or to reconstruct.')
  flags.DEFINE_string('input_midi_2', None, 'MIDI file to interpolate to.')
  flags.DEFINE_float('qpm', render.DEFAULT_QPM,
                     'Tempo in quarters (beats) a minute.')
  flags.DEFINE_bool('humanize', False,
                    "Whether to give the loops a drummer's dynamics and timing.")
  flags.DEFINE_string('soundfont', None,
                      'SoundFont (.sf2) that plays the drums; default: the '
                      'environment variable SOUNDFONT, else a small one.')
  flags.DEFINE_string('output_dir', 'outputs', 'Folder to write to.')


def main():
  FLAGS = flags.FLAGS
  if FLAGS.style == 'list':
    print_styles(FLAGS.config, FLAGS.run_dir, FLAGS.checkpoint_file)
    return
  sample(FLAGS.config, FLAGS.run_dir, FLAGS.checkpoint_file, FLAGS.mode,
         FLAGS.num_outputs, FLAGS.temperature, FLAGS.seed, FLAGS.input_midi_1,
         FLAGS.input_midi_2, FLAGS.hparams, FLAGS.output_dir,
         style=FLAGS.style, qpm=FLAGS.qpm, humanize=FLAGS.humanize,
         soundfont=FLAGS.soundfont)


if __name__ == '__main__':
  common.run(main, define_flags)
