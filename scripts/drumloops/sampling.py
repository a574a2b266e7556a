"""Loops: sampled, reconstructed, completed, varied, between two."""
import copy
import os

from drumloops import errors, grid
from drumloops.errors import UserError
from drumloops.data import patterns, styles
from drumloops.humanize import humanizer
from drumloops.midi import input_loop, loop_file, midi_file, sound
from drumloops.models import autoencoder, completion, latent, variation
from drumloops.models.constraints import CLASSES, Constraints
from drumloops.output import gallery, plots
from drumloops.runs import checkpoint_files
from drumloops.system import disk, magenta_setup
import numpy as np

MAX_BATCH_SIZE = 1024
GREEDY = 0  # The temperature at which the most likely class of each step is played.
MIN_QPM, MAX_QPM = 30, 300  # Quarters a minute.
INPUTS = {'sample': 0, 'reconstruct': 1, 'interpolate': 2, 'complete': 1,
          'vary': 1}  # MIDI files.
ECHO_CONFIG = 'hier-drums_4bar_echo'  # Of the weights that reconstruct best.
DEFAULT_AMOUNT = 0.3  # Of what is varied.
MAX_BARS = 64


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
    raise UserError(checkpoint_files.does_not_fit(checkpoint)) from e


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


def encode(model, parts, config):
  """Returns the means of the latents of what is given."""
  slices = [part.encoder_input(config.data_converter) for part in parts]
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


def as_loop(sequence, qpm, bars):
  """Returns a decoded NoteSequence as a loop of so many bars, or of its own."""
  if bars is None:  # As many as there are notes in.
    quarters = sequence.total_time * (
        sequence.tempos[0].qpm if sequence.tempos else midi_file.DEFAULT_QPM) / 60
    bars = max(1, int(np.ceil(quarters / 4)))
  return loop_file.as_loop(sequence, qpm, bars)


def print_styles(config_name, run_dir=None, checkpoint_file=None):
  """Prints the styles that `sample` takes, and of how many loops they are."""
  magenta_setup.music_vae()
  kept = styles.load(
      checkpoint_files.find_checkpoint(run_dir, checkpoint_file, config_name))
  for name, count in sorted(zip(kept['names'], kept['counts']),
                            key=lambda pair: -pair[1]):
    print(f'{name}: {count} training loops')


def why_not_completed(config_name, config):
  """Returns why no part of a config's loops can be kept, None if it can."""
  from magenta.models.music_vae import masked_sampling
  from magenta.models.music_vae import packed_slices
  if packed_slices.can_pack(config) and (
      config.data_converter.output_depth == CLASSES and
      config.data_converter.input_depth == grid.DRUMS + 1 and
      masked_sampling.can_decode(config)):
    return None
  return (f'{config_name} can neither complete, vary nor go on with a loop: that '
          'takes a config of patterns, such as hierdec-drums_4bar.')


def check_request(mode, inputs, num_outputs, temperature, style, qpm, constraints, amount,
                  bars, own_bars, humanize, velocity, timing, first_bar,
                  drum_channel):
  """Raises UserError unless `sample` could do what it is asked."""
  if num_outputs < 1 or not (temperature is None or temperature > 0):
    raise UserError(
        '--num_outputs and --temperature must be more than 0.')
  if qpm is not None and not MIN_QPM <= qpm <= MAX_QPM:
    raise UserError(f'--qpm must be from {MIN_QPM} to {MAX_QPM}.')
  if style and mode not in ('sample', 'complete'):
    raise UserError('--style goes with --mode=sample and complete only.')
  if None in inputs:
    raise UserError(
        f'--mode={mode} needs ' + ' and '.join(
            f'--input_midi_{i + 1}' for i in range(len(inputs))) + '.')
  if mode == 'complete' and not constraints.keeps_anything:
    raise UserError('--mode=complete needs what to keep: --keep=kick,snare, '
                        '--keep_bars=1,2 or --rhythm.')
  if (first_bar or drum_channel != midi_file.DRUM_CHANNEL + 1) and not inputs:
    raise UserError('--first_bar and --drum_channel say how a MIDI file is read, '
                        'so they need one; loops are written on channel 10.')
  if mode != 'complete' and constraints != Constraints():
    raise UserError('--keep, --keep_bars, --rhythm and --without go with '
                        '--mode=complete.')
  most = 1 if mode == 'vary' else humanizer.MOST
  if amount is not None and not 0 <= amount <= most:
    raise UserError(f'--amount must be from 0 to {most}.')
  if not humanize and (velocity or timing or amount and mode != 'vary'):
    raise UserError('--velocity, --timing and, but to vary a loop, --amount say '
                        'how much of a feel to give, so they go with --humanize.')
  if own_bars and not own_bars <= bars <= MAX_BARS:
    raise UserError(f'--bars must be from {own_bars} to {MAX_BARS}.')
  if set(constraints.keep_bars) - set(range(bars or 0)):
    raise UserError(f'--keep_bars goes up to {bars}, the number of bars that '
                        'are made; --bars makes more.')


def decode(config, checkpoint, parts, style, count, temperature, seed):
  """Returns NoteSequences, decoded from latents.

  Those are drawn from the prior, or from a style's Gaussian; with one Given they
  are all its latent, with two they go from one to the other.
  """
  drawn = styles.draw(styles.load(checkpoint), style, count,
                      np.random.RandomState(seed)) if style else None
  model = load_model(config, checkpoint, min(count, MAX_BATCH_SIZE), seed)
  length = config.hparams.max_seq_len
  if not parts and not style:
    return model.sample(count, length, temperature)
  if parts:
    mu = encode(model, parts, config)
    drawn = np.array([latent.slerp(*mu, t) for t in np.linspace(0, 1, count)]
                     ) if len(mu) == 2 else np.repeat(mu, count, axis=0)
  # Nothing is as likely as the most likely one then, but for what rounding does.
  return model.decode(drawn, length, temperature or 1e-6)


def to_sequences(config, slices):
  """Returns slices of a config as its decoded NoteSequences.

  Args:
    config: A config of drum slices.
    slices: Classes, int [loops, steps], or what a GrooveConverter's are.
  """
  converter = copy.copy(config.data_converter)
  converter.set_mode('infer')
  return converter.from_tensors(
      slices if slices.ndim == 3 else np.eye(converter.output_depth)[slices])


def say_what_is_kept(part, loops):
  """Prints how much of what was given reconstructions have."""
  hits, played = patterns.hits([part.loop]), patterns.hits(loops)
  right = (hits & played).sum(axis=(1, 2, 3))
  f1 = 2 * right / (hits.sum() + played.sum(axis=(1, 2, 3)))
  print(f'Of the {hits.sum()} hits that were given, the latent kept '
        f'{right.mean() / hits.sum():.0%}; '
        f'{1 - right.sum() / max(1, played.sum()):.0%} of those that are played are '
        f'others (F1 {f1.mean():.2f}).')


def make(config, checkpoint, mode, parts, style, count, temperature, seed, constraints,
         amount, bars):
  """Returns NoteSequences, and which of their hits are given ones.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    mode: As the others, of `sample`.
    parts: A input_loop.Given for each MIDI file.
    style: A style, or None.
    count: How many.
    temperature: Of the softmax each step is sampled from, or GREEDY.
    seed: The same seed gives the same.
    constraints: What is kept.
    amount: How much is varied.
    bars: Their length; None where the config does not say.

  Returns:
    NoteSequences, and bool, [loops, steps, drums] (None: nothing is kept).
  """
  can_complete = not why_not_completed('', config)
  kept = None
  if mode == 'complete':
    completer = completion.Completer(config, checkpoint, seed)
    loops = completer.complete(
        np.repeat([constraints.allowed(parts[0].loop)], count, axis=0), temperature, style)
    kept = np.repeat([constraints.kept(parts[0].loop)], count, axis=0)
  elif can_complete and parts:
    varier, given_loops = variation.Varier(config, checkpoint), [
        part.loop for part in parts]
    if mode == 'vary':
      loops = variation.vary(varier, *given_loops, amount, count, temperature, seed)
      kept = patterns.bits(loops & given_loops)
    elif mode == 'interpolate':
      loops = variation.interpolate(varier, *given_loops, count, temperature, seed)
    else:
      loops = variation.reconstruct(varier, *given_loops, count, temperature, seed)
      say_what_is_kept(parts[0], loops)
  else:
    sequences = decode(config, checkpoint, parts, style, count, temperature, seed)
    if bars == bars_of(config):
      return sequences, None
    loops = input_loop.patterns(sequences, config.hparams.max_seq_len)
  if bars * grid.STEPS_PER_BAR > loops.shape[1]:
    more = completion.Completer(config, checkpoint, seed).go_on(
        loops, bars, temperature or autoencoder.DEFAULT_TEMPERATURE, style)
    if kept is not None:
      kept = np.pad(kept, [(0, 0), (0, more.shape[1] - loops.shape[1]), (0, 0)])
    loops = more
  return to_sequences(config, loops), kept


def weights_for(mode, config_name, run_dir, checkpoint_file):
  """Returns the config, and the checkpoint_file, that a mode uses.

  Where none are named, there are others to reconstruct with.
  """
  if (mode == 'reconstruct' and config_name == magenta_setup.DEFAULT_CONFIG and
      not (run_dir or checkpoint_file)):
    return ECHO_CONFIG, str(checkpoint_files.OWN_WEIGHTS / ECHO_CONFIG)
  return config_name, checkpoint_file


def sample(config_name, run_dir=None, checkpoint_file=None, mode='sample',
           num_outputs=4, temperature=None, seed=0,
           input_midi_1=None, input_midi_2=None, hparams='',
           output_dir='outputs', name=None, style=None,
           qpm=None, humanize=False, soundfont=None, constraints=Constraints(),
           amount=None, bars=None, take=humanizer.DEFAULT_TAKE, drummer=None,
           velocity=None, timing=None, sounds=True, pictures=True, first_bar=0,
           drum_channel=midi_file.DRUM_CHANNEL + 1):
  """Makes loops and writes them; returns what `gallery.write_loops` returns.

  Args:
    config_name: Name of the checkpoint's config.
    run_dir: Training run whose newest checkpoint is used, ...
    checkpoint_file: ... or a checkpoint, or folder of checkpoints.
    mode: 'sample' from the prior, 'interpolate' between two MIDI files in
      `num_outputs` steps, 'reconstruct' a MIDI file from its latent, 'complete' what
      is kept of it, or 'vary' it.
    num_outputs: Number of loops.
    temperature: Of the softmax each step is sampled from; default: with mode
      'reconstruct' GREEDY, else autoencoder.DEFAULT_TEMPERATURE.
    seed: The same seed gives the same bytes.
    input_midi_1: MIDI file to start from, to reconstruct, to complete or to vary.
    input_midi_2: MIDI file to end at.
    hparams: Changes to the config that the checkpoint was trained with.
    output_dir: Folder to write to.
    name: What the files' names begin with; default: the style or the mode.
    style: With mode 'sample' or 'complete', a style of GMD's that the weights know.
    qpm: Tempo, in quarters a minute; default: the first MIDI file's, else 120.
    humanize: Whether to give the loops a drummer's dynamics and timing; hits that
      were given keep their own.
    soundfont: Of `sound.find_soundfont`.
    constraints: With mode 'complete', what is kept: a Constraints.
    amount: With mode 'vary', from 0, the loop itself, to 1, others of its kind.
      Else, where loops are humanized, how much of the feel.
    bars: Their length; default: the config's own. Bars after these go on with
      those before.
    take: Of the feel: see `humanizer.load`, as for `drummer`.
    velocity: How much of the feel's velocities, if not `amount`.
    timing: The same of its timing.
    sounds: Whether to write WAV files.
    pictures: Whether to write pictures.
    first_bar: Of the MIDI files, from 1; 0 for the first in which a drum plays.
    drum_channel: Of the MIDI files: see `midi_file.read`.

  Raises:
    UserError: if the input is wrong.
  """
  inputs = [input_midi_1, input_midi_2][:INPUTS[mode]]
  output_dir = os.path.expanduser(output_dir)
  config_name, checkpoint_file = weights_for(
      mode, config_name, run_dir, checkpoint_file)
  config = magenta_setup.get_config(config_name, hparams)
  from magenta.models.music_vae import packed_slices, upstream
  own_bars = bars_of(config)
  bars = own_bars if bars is None else bars
  if why := why_not_sampled(config_name, config) or (
      inputs and why_not_encoded(config_name, config)) or (
          (mode in ('complete', 'vary') or bars != own_bars) and
          why_not_completed(config_name, config)):
    raise UserError(why)
  check_request(mode, inputs, num_outputs, temperature, style, qpm, constraints, amount,
                bars, own_bars, humanize, velocity, timing, first_bar, drum_channel)
  errors.check_seeds(seed=seed, take=take)
  if temperature is None:
    temperature = (GREEDY if mode == 'reconstruct' else
                   autoencoder.DEFAULT_TEMPERATURE)
    if mode == 'reconstruct' and bars == own_bars and num_outputs > 1:
      print('Without --temperature every reconstruction is the same, so one is made.')
      num_outputs = 1
  sound.find_soundfont(soundfont)  # Sooner than after sampling.
  checkpoint = checkpoint_files.find_checkpoint(
      run_dir, checkpoint_file, config_name)
  magenta_setup.warn_of_new_gpu()
  parts = [input_loop.read(
      path, config, bars if mode == 'complete' else own_bars, constraints,
      first_bar=first_bar, drum_channel=drum_channel) for path in inputs]
  if qpm is None:
    qpm = parts[0].qpm if parts else midi_file.DEFAULT_QPM
    if not MIN_QPM <= qpm <= MAX_QPM:
      raise UserError(f'{inputs[0]} is at {qpm:g} quarters a minute; choose a '
                          f'tempo from {MIN_QPM} to {MAX_QPM} with --qpm.')
  varied = DEFAULT_AMOUNT if amount is None else amount
  sequences, kept = make(
      config, checkpoint, mode, parts, style, num_outputs, temperature, seed, constraints,
      varied, bars)
  # Which file's swing and notes each loop has: between two, the nearer one's.
  origins = [parts[round(i * (len(parts) - 1) / max(1, len(sequences) - 1))]
             for i in range(len(sequences))] if parts else ()
  if type(config.data_converter).__name__ == 'DrumsConverter':
    for path, part in zip(inputs, parts):
      if part.swing:
        print(f'{disk.printable(os.path.basename(path))} swings ({part.swing.unit} at '
              f'{part.swing.share:.0%}), and so does what is made from it.')
    for i, (sequence, part) in enumerate(zip(sequences, origins)):
      part.swing_with(sequence, None if kept is None else kept[i])
  humanize = humanize and can_be_humanized(config_name, config)
  feel = {'take': None}
  if humanize:
    much = humanizer.read_amount(None if mode == 'vary' else amount, velocity, timing)
    feel = {'take': take, 'drummer': drummer, **much._asdict()}
    sequences = humanizer.humanize_loops(
        sequences, humanizer.load(take=take, drummer=drummer), much)
  drum_of = grid.class_of_pitch
  # A reconstruction is what a latent says, which holds no notes.
  if mode != 'reconstruct' and parts and (
      len(upstream.pitch_classes(config.data_converter)) == grid.DRUMS):
    drum_of = grid.drum_map(upstream.pitch_classes(config.data_converter))
    for i, (sequence, part) in enumerate(zip(sequences, origins)):
      part.give_back(sequence, None if kept is None else kept[i])
  loops = [as_loop(sequence, qpm, bars) for sequence in sequences]
  # As much of where the checkpoint lies as tells it from others.
  checkpoint_name = '/'.join(os.path.abspath(checkpoint).split(os.sep)[-3:])
  paths = gallery.write_loops(
      loops, output_dir, name or style or mode,
      {'config': config_name, 'checkpoint': checkpoint_name, 'mode': mode,
       'inputs': [disk.printable(os.path.basename(p)) for p in inputs],
       'style': style or None, 'number': num_outputs, 'seed': seed,
       'temperature': temperature, 'qpm': qpm, 'humanized': humanize, **feel,
       'amount': varied if mode == 'vary' else None, 'kept': str(constraints) or None},
      soundfont, kept, drum_of, sounds, pictures)
  if paths['wav']:
    drums = (upstream.pitch_classes(config.data_converter)
             if packed_slices.can_pack(config) else ())
    sound.Player(soundfont).say_what_is_missing({
        *(pitches[0] for pitches in drums),
        *(note.pitch for loop in loops for note in loop.notes if note.is_drum)})
  if mode == 'interpolate':
    paths['strip'] = os.path.join(output_dir, paths['name'] + '.png')
    plots.plot_interpolation(
        loops, *map(os.path.basename, inputs), drum_of).savefig(
            paths['strip'], dpi=100)
  print(f'{len(sequences)} loops from {checkpoint}: '
        f'{paths["midi"][0]} ...; listen to them in {paths["page"]}')
  if paths['was_there']:
    print(errors.in_words('They were there already: the same seed gives the same loops' + (
        f', and --seed={seed + 1} gives others.'
        if mode == 'sample' and seed < errors.MOST_SEED else '.')))
  return paths
