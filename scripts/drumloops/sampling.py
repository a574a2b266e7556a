"""Samples, interpolations and reconstructions as loops."""
import os

from drumloops import (
    autoencoder, backend, checkpoint_files, cli, disk, grid, humanizing, latent,
    loop_midi, midi, page, plots, sound, styles)
import numpy as np

MAX_BATCH_SIZE = 1024
MIN_QPM, MAX_QPM = 30, 300  # Quarters a minute.
INPUTS = {'sample': 0, 'reconstruct': 1, 'interpolate': 2}  # MIDI files.


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
    raise cli.UserError(checkpoint_files.does_not_fit(checkpoint)) from e


def bars_of(config):
  """Returns how many bars a config's loops have, None where it does not say."""
  from magenta.models.music_vae import upstream
  return (config.hparams.max_seq_len // grid.STEPS_PER_BAR
          if upstream.steps_per_bar(config.data_converter) == grid.STEPS_PER_BAR
          else None)


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
    cli.UserError: if it is not MIDI, not in 4/4 or without drums.
  """
  from magenta.models.music_vae import upstream
  converter, steps = config.data_converter, config.hparams.max_seq_len
  pitch_classes = upstream.pitch_classes(converter)
  found = midi.first_bars(midi_path, grid.drum_map(pitch_classes),
                          steps // grid.STEPS_PER_BAR)
  drums = len(pitch_classes)
  hits, velocities, offsets = np.zeros([3, steps, drums], np.float32)
  for drum, start, velocity, _ in found.hits:
    step = grid.nearest_step(start)
    if velocity / 127 > velocities[step, drum]:  # As upstream: the loudest.
      hits[step, drum], velocities[step, drum] = 1, velocity / 127
      offsets[step, drum] = 2 * (step - start)  # From -1 to 1; early is more.
  if type(converter).__name__ == 'GrooveConverter':
    kept = 0 if upstream.is_humanizing(converter) else 1
    return np.concatenate([hits, kept * velocities, kept * offsets], axis=-1)
  if upstream.has_roll_input(converter):
    return np.append(hits, hits.sum(axis=1, keepdims=True) == 0, axis=1) > 0
  return np.eye(converter.input_depth, dtype=bool)[
      (hits.astype(int) << np.arange(drums)).sum(axis=1)]


def encode(model, midi_paths, config):
  """Returns the means of the latents of MIDI files' first bars."""
  slices = [first_slice(path, config) for path in midi_paths]
  return model.encode_tensors(slices, [len(s) for s in slices])[1]


def why_not_sampled(config_name, config):
  """Returns why a config can't be sampled here, None if it can."""
  if not config.data_converter.control_depth:
    return None
  if type(config.data_converter).__name__ == 'GrooveConverter':
    return (f'Models of {config_name} need to be told the hits; see '
            'scripts/humanize.py.')
  return (f'Models of {config_name} need to be told the chords, which only '
          "Magenta's own code can: see TrainedModel.sample's c_input.")


def can_be_humanized(config_name, config):
  """Whether loops of a config have no velocities and timing yet; says if not."""
  from magenta.models.music_vae import upstream
  converter = config.data_converter
  if type(converter).__name__ == 'DrumsConverter' and (
      bars_of(config) and len(upstream.pitch_classes(converter)) == grid.DRUMS):
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
        sequence.tempos[0].qpm if sequence.tempos else midi.DEFAULT_QPM) / 60
    bars = max(1, int(np.ceil(quarters / 4)))
  return loop_midi.as_loop(sequence, qpm, bars)


def print_styles(config_name, run_dir=None, checkpoint_file=None):
  """Prints the styles that `sample` takes, and of how many loops they are."""
  backend.music_vae()
  kept = styles.load(
      checkpoint_files.find_checkpoint(run_dir, checkpoint_file, config_name))
  for name, count in sorted(zip(kept['names'], kept['counts']),
                            key=lambda pair: -pair[1]):
    print(f'{name}: {count} training loops')


def check_request(mode, inputs, num_outputs, temperature, style, qpm):
  """Raises cli.UserError unless `sample` could do what it is asked."""
  if num_outputs < 1 or not temperature > 0:
    raise cli.UserError(
        '--num_outputs and --temperature must be more than 0.')
  if not MIN_QPM <= qpm <= MAX_QPM:
    raise cli.UserError(f'--qpm must be from {MIN_QPM} to {MAX_QPM}.')
  if style and mode != 'sample':
    raise cli.UserError('--style goes with --mode=sample only.')
  if None in inputs:
    raise cli.UserError(
        f'--mode={mode} needs ' + ' and '.join(
            f'--input_midi_{i + 1}' for i in range(len(inputs))) + '.')


def decode(config, checkpoint, inputs, style, count, temperature, seed):
  """Returns NoteSequences, decoded from latents.

  Those are drawn from the prior, or from a style's Gaussian; with one MIDI file as
  input they are all its latent, with two they go from one to the other.
  """
  drawn = styles.draw(styles.load(checkpoint), style, count,
                      np.random.RandomState(seed)) if style else None
  model = load_model(config, checkpoint, min(count, MAX_BATCH_SIZE), seed)
  length = config.hparams.max_seq_len
  if not inputs and not style:
    return model.sample(count, length, temperature)
  if inputs:
    mu = encode(model, inputs, config)
    drawn = np.array([latent.slerp(*mu, t) for t in np.linspace(0, 1, count)]
                     ) if len(mu) == 2 else np.repeat(mu, count, axis=0)
  return model.decode(drawn, length, temperature)


def sample(config_name, run_dir=None, checkpoint_file=None, mode='sample',
           num_outputs=4, temperature=autoencoder.DEFAULT_TEMPERATURE, seed=0,
           input_midi_1=None, input_midi_2=None, hparams='',
           output_dir='outputs', name=None, style=None,
           qpm=midi.DEFAULT_QPM, humanize=False, soundfont=None):
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
    soundfont: Of `sound.find_soundfont`.

  Raises:
    cli.UserError: if the input is wrong.
  """
  inputs = [input_midi_1, input_midi_2][:INPUTS[mode]]
  check_request(mode, inputs, num_outputs, temperature, style, qpm)
  output_dir = os.path.expanduser(output_dir)
  config = backend.get_config(config_name, hparams)
  sound.find_soundfont(soundfont)  # Sooner than after sampling.
  if why := why_not_sampled(config_name, config) or (
      inputs and why_not_encoded(config_name, config)):
    raise cli.UserError(why)
  checkpoint = checkpoint_files.find_checkpoint(
      run_dir, checkpoint_file, config_name)
  backend.warn_of_new_gpu()
  sequences = decode(
      config, checkpoint, inputs, style, num_outputs, temperature, seed)
  humanize = humanize and can_be_humanized(config_name, config)
  if humanize:
    sequences = humanizing.humanize_loops(sequences, humanizing.load())
  loops = [as_loop(sequence, qpm, config) for sequence in sequences]
  # As much of where the checkpoint lies as tells it from others.
  checkpoint_name = '/'.join(os.path.abspath(checkpoint).split(os.sep)[-3:])
  paths = page.write_loops(
      loops, output_dir, name or style or mode,
      {'config': config_name, 'checkpoint': checkpoint_name, 'mode': mode,
       'inputs': [disk.printable(os.path.basename(p)) for p in inputs],
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
