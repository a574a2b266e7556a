"""A page that makes loops itself: the weights and the code of scripts/web in one file.

It needs no network and no server. Matrices are int8, with a scale for each column,
which costs nothing that can be measured; all else is float32.
"""
from __future__ import annotations

import base64
import hashlib
import io
import itertools
import os
import re
import typing
from collections.abc import Mapping, Sequence

from drumloops import abilities, errors, grid
from drumloops.errors import UserError
from drumloops.humanize import feel_model, humanizer
from drumloops.humanize import take as takes
from drumloops.midi import drum_kit, drum_maps, loop_file, midi_file, sound, soundfonts
from drumloops.models import fills, groove_model, prior, sliders
from drumloops.output import web_files
from drumloops.runs import checkpoint_files
from drumloops.system import disk, magenta_setup
import numpy as np

if typing.TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config

MAX_MB = 25
COLUMNS = 8  # The kernel multiplies so many at a time.
PARTICLES = 16  # Of a completion; a quarter of a command's, for phones.
GOING_ON = 4  # Where only bars before are kept. By 8, four loops of 16 bars take 2.4 s.
SAMPLED_VELOCITIES = (40, 80, 120)
SAMPLED_SECONDS = 2
SAMPLED_PEAK = 2  # All drums' at once, about as those of the synthesized kit.


def _read(checkpoint: str, names: str) -> dict[str, np.ndarray]:
  """Returns {variable: array} of those of a checkpoint whose names match."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  reader = tf.train.load_checkpoint(checkpoints.plain(checkpoint))
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map() if re.match(names, name)}


def read_tensors(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns {variable: array} of all that a page needs of a checkpoint of patterns."""
  return _read(checkpoint, '(core_decoder|decoder|encoder)/(.+/)?(kernel|bias)$')


def read_groove(checkpoint: str) -> dict[str, np.ndarray]:
  """Returns {variable: array} of a decoder that plays each hit in one stroke."""
  tensors = _read(checkpoint, 'decoder/(?!more/|strokes/)')
  for part in 'velocity', 'offset':
    tensors[f'decoder/{part}/hidden/bias'] += tensors.pop(f'decoder/{part}/strokes')[0]
  return tensors


def quantize(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns a matrix as int8, [rows, columns], and the columns' scales, [columns].

  Args:
    matrix: [rows, columns].
  """
  scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12) / 127
  return np.round(matrix / scale).astype(np.int8), scale.astype(np.float32)


def dequantized(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the tensors as a page computes with them."""
  def read(tensor):
    if tensor.ndim != 2:
      return tensor
    whole, scale = quantize(tensor)
    return whole * scale
  return {name: read(tensor) for name, tensor in tensors.items()}


class Packer:
  """Packs tensors into bytes.

  places: {name: {'shape', 'at': the first byte}}.
  """

  def __init__(self) -> None:
    self.places, self._parts, self._size = {}, [], 0

  def add(self, name: str, array: np.ndarray) -> None:
    """Adds an array of int8, uint32 or float32."""
    array = np.ascontiguousarray(array)
    padding = -self._size % 16
    self.places[name] = {'shape': list(array.shape), 'at': self._size + padding}
    self._parts += [bytes(padding), array.tobytes()]
    self._size += padding + array.nbytes

  def add_tensors(self, tensors: Mapping[str, np.ndarray], prefix: str = '') -> None:
    """Adds a model's tensors, matrices as int8 with their columns' scales."""
    for name, tensor in sorted(tensors.items()):
      if tensor.ndim == 2:
        whole, scale = quantize(tensor)
        pad = -whole.shape[1] % COLUMNS
        self.add(prefix + name, np.pad(whole, [(0, 0), (0, pad)]))
        self.add(f'{prefix}{name}/scale', np.pad(scale, [(0, pad)]))
      else:
        self.add(prefix + name, np.float32(tensor))

  def add_gaussian(self, name: str, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Adds a Gaussian of feels, two of [z_size]."""
    self.add(name + '/mean', np.float32(mean))
    self.add(name + '/deviation', np.float32(deviation))

  def bytes(self) -> bytes:
    """Returns all that was added."""
    return b''.join(self._parts)


def describe_model(config: Config) -> dict[str, object]:
  """Returns what Sampler in sampling.js needs of a config."""
  from magenta.models.music_vae import masked_sampling, upstream
  encoder, decoder = config.model.encoder, config.model.decoder
  hparams = config.hparams
  return {
      'steps': hparams.max_seq_len, 'zSize': hparams.z_size,
      'layers': len(hparams.dec_rnn_size),
      'segments': (upstream.level_lengths(decoder)[0]
                   if masked_sampling.is_hierarchical(decoder) else 1),
      'encoder': {
          'levels': (list(encoder.level_lengths) if hasattr(encoder, 'level_lengths')
                     else [hparams.max_seq_len]),
          'layers': len(hparams.enc_rnn_size)}}


def constants(config: Config) -> dict[str, object]:
  """Returns what the JavaScript of app/ has in common with Python.

  Args:
    config: Of drum patterns, whose pitches the page writes and reads.
  """
  from magenta.models.music_vae import upstream
  pitches = upstream.pitch_classes(config.data_converter)
  return {
      'drums': {
          'names': grid.DRUM_CLASSES, 'pitches': [own[0] for own in pitches],
          'ofPitch': list(map(drum_maps.drum_map(pitches), range(128)))},
      'kits': {name: {'title': kit.title, 'notes': kit.notes}
               for name, kit in drum_maps.MAPS.items()},
      'kitsOfFiles': {
          'shares': drum_maps.SHARES, 'noDrum': drum_maps.NO_DRUM,
          'frequent': drum_maps.FREQUENT, 'moreLikely': drum_maps.MORE_LIKELY,
          'evidence': drum_maps.EVIDENCE, 'moreFrequent': drum_maps.MORE_FREQUENT},
      'grid': {'bar': grid.STEPS_PER_BAR, 'beat': grid.STEPS_PER_QUARTER,
               'part': grid.BARS},
      'limits': {
          'tempos': [grid.MIN_QPM, grid.MAX_QPM], 'bars': grid.MAX_BARS,
          'seed': errors.MOST_SEED, 'feel': takes.MOST,
          'offset': takes.MAX_MICROTIMING},
      'midi': {
          'channel': midi_file.DRUM_CHANNEL, 'tempo': grid.DEFAULT_QPM,
          'ticks': loop_file.TICKS_PER_QUARTER, 'longestBar': midi_file.LONGEST_BAR,
          'shortestNote': midi_file.SHORTEST_NOTE},
      'completion': {'particles': PARTICLES, 'goingOn': GOING_ON},
      'sliders': {
          'attributes': list(sliders.ATTRIBUTES), 'most': sliders.MOST,
          'marks': sliders.LEVELS, 'rounds': sliders.ROUNDS,
          'damping': sliders.DAMPING, 'maxStep': sliders.MAX_STEP,
          'others': sliders.OTHERS, 'strengths': sliders.STRENGTHS,
          'skins': sum(1 << drum for drum in sliders.SKINS),
          'filling': sum(1 << drum for drum in sliders.FILLING), 'full': sliders.FULL},
      'sound': {
          'rate': sound.SAMPLE_RATE, 'peak': sound.PEAK, 'silence': sound.SILENCE,
          'loudest': sound.LOUDEST,
          'tie': sound.TIE, 'choke': drum_kit.CHOKE, 'golden': drum_kit.GOLDEN,
          'gainUnits': drum_kit.GAIN_UNITS, 'panUnits': drum_kit.PAN_UNITS}}


def add_prior(packer: Packer, kept: dict[str, np.ndarray]) -> dict[str, object]:
  """Adds the Gaussians of latents; returns what prior.js needs of them."""
  triangle = np.tril_indices(len(kept['told']))
  packer.add('prior/means', np.float32(kept['means']))
  packer.add('prior/factors', np.float32(kept['factors'][:, *triangle]))
  packer.add('prior/hashes', kept['hashes'])
  return {'styles': kept['names'].tolist(), 'tries': prior.TRIES,
          **{name: kept[name].tolist() for name in ('style', 'weights', 'told')}}


def add_humanizer(packer: Packer) -> tuple[dict[str, object], list[int]]:
  """Adds the project's own humanizer.

  Returns:
    What humanizer.js needs of it, and the drummers' numbers.
  """
  from magenta.models.music_vae import stroke_converter, stroke_network
  checkpoint = checkpoint_files.find_checkpoint(config_name=humanizer.CONFIG)
  packer.add_tensors({name.removeprefix('decoder/'): tensor for name, tensor in
                      read_groove(checkpoint).items()}, 'groove/')
  kept = feel_model.load(checkpoint)
  for name in 'mean', 'root':
    packer.add('feel/' + name, np.float32(kept[name]))
  for name, *gaussian in zip(
      kept['names'], kept['feel_mean'], kept['feel_deviation']):
    packer.add_gaussian(f'drummer/{name.removeprefix("drummer")}', *gaussian)
  return {'before': stroke_network.BEFORE, 'after': stroke_network.AFTER,
          'played': stroke_network.PLAYED, 'memory': stroke_network.MEMORY,
          'lags': stroke_network.LAGS, 'again': stroke_network.AGAIN,
          'recent': stroke_network.RECENT,
          'widths': stroke_network.WIDTHS, 'tempo': stroke_converter.TEMPO,
          'temperatures': groove_model.TEMPERATURES,
          'samePlayer': takes.SAME_PLAYER}, sorted(
              int(name.removeprefix('drummer')) for name in kept['names'])


def drum_kit_of_page() -> dict[str, object]:
  """Returns the synthesized kit: `drum_kit.read_index`, and its FLAC as 'data'."""
  return {**drum_kit.read_index(),
          'data': base64.b64encode(drum_kit.WAVES.read_bytes()).decode()}


def sample_drums(pitches: Sequence[int], soundfont: str) -> dict[str, object]:
  """Returns a SoundFont's sounds of the drums, mono, as `drum_kit_of_page` does.

  Raises:
    UserError: if there is no FluidSynth, or the SoundFont can't be used.
  """
  import soundfile
  try:
    player = sound.Player(soundfont)
  except ImportError as e:
    raise UserError(sound.NO_SOUND) from e
  for remark in player.remarks(pitches):
    print(remark)
  waves, layers, at = [], [], len(drum_kit.MARKS)
  for drum, velocity in itertools.product(range(len(pitches)), SAMPLED_VELOCITIES):
    [(wave, gain)] = player.kit.stroke(pitches[drum], velocity)
    waves.append(gain * (player.kit.sides(pitches[drum]).mean(axis=1) @ wave)[
        :SAMPLED_SECONDS * sound.SAMPLE_RATE])
    layers.append({'drum': drum, 'velocity': velocity, 'edge': 0, 'edges': [],
                   'bodies': [[at, len(waves[-1])]]})
    at += len(waves[-1])
  peaks = sum(np.abs(wave).max(initial=0)
              for wave in waves[len(SAMPLED_VELOCITIES) - 1::len(SAMPLED_VELOCITIES)])
  file = io.BytesIO()
  scale = SAMPLED_PEAK / max(peaks, sound.SILENCE)
  soundfile.write(
      file, np.concatenate([drum_kit.MARKS, *(scale * wave for wave in waves)]),
      sound.SAMPLE_RATE, format='FLAC', subtype='PCM_16')
  return {'pans': drum_kit.read_index()['pans'], 'layers': layers,
          'data': base64.b64encode(file.getvalue()).decode()}


def spec_and_weights(config_name: str, config: Config, checkpoint: str,
                     humanize: bool = True) -> tuple[dict[str, object], bytes]:
  """Returns a page's data, a dict for JSON, and its models' tensors."""
  packer = Packer()
  packer.add_tensors(read_tensors(checkpoint))
  def is_kept(filename: str) -> bool:
    return os.path.exists(checkpoint_files.beside(checkpoint, filename))
  own_prior = (add_prior(packer, prior.load(checkpoint)) if is_kept(prior.PRIOR_FILE)
               else None)
  steering = None
  if is_kept(sliders.SLIDERS_FILE):
    vectors = sliders.load(checkpoint)
    packer.add('sliders', vectors['vectors'])
    steering = {name: vectors[name].tolist() for name in ('levels', 'deviation')}
  own_fills = ({
      'slopes': fills.load(checkpoint)['slopes'].tolist(),
      'candidates': fills.CANDIDATES, 'particles': fills.PARTICLES}
               if is_kept(fills.FILLS_FILE) else None)
  groove, drummers = add_humanizer(packer) if humanize else (None, [])
  common = constants(config)
  return {
      **common, 'completion': {**common['completion'], 'fills': own_fills},
      'title': f'{config_name}, {os.path.basename(checkpoint)}',
      'model': describe_model(config), 'groove': groove, 'drummers': drummers,
      'kit': drum_kit_of_page(), 'prior': own_prior,
      'steering': steering, 'tensors': packer.places, 'wasm': base64.b64encode(
          (web_files.WEB / 'app' / 'kernel.wasm').read_bytes()).decode()
  }, packer.bytes()


def page(spec: Mapping[str, object], weights: bytes) -> str:
  """Returns the HTML of a page."""
  script = web_files.join_modules('app/main.js')
  style = web_files.read('shared/base.css') + web_files.read('app/page.css')
  def hashed(text: str) -> str:
    return "'sha256-" + base64.b64encode(
        hashlib.sha256(text.encode()).digest()).decode() + "'"
  return web_files.fill('app/page.html', {
      'CSP': f"default-src 'none'; script-src {hashed(script)} 'wasm-unsafe-eval'; "
             f"worker-src blob:; style-src {hashed(style)}; img-src data:; "
             "form-action 'none'; base-uri 'none'",
      'CSS': style, 'SCRIPT': script,
      'SPEC': web_files.to_json(spec), 'WEIGHTS': base64.b64encode(weights).decode()})


def write(output: str, config_name: str, run_dir: str | None = None,
          checkpoint_file: str | None = None, hparams: str = '', humanize: bool = True,
          soundfont: str | None = None) -> None:
  """Writes a page, and prints where it is.

  Args:
    output: The HTML file.
    config_name: The checkpoint's config.
    run_dir: Training run whose newest checkpoint is used, ...
    checkpoint_file: ... or a checkpoint, or folder of them.
    hparams: Changes to the config.
    humanize: Whether the page has the humanizer too.
    soundfont: SoundFont that plays the drums, instead of the synthesized kit.

  Raises:
    UserError: if there is no such checkpoint or no page of its config, or if the page
      would be larger than MAX_MB.
  """
  output = os.path.expanduser(output)
  config = magenta_setup.get_config(config_name, hparams)
  abilities.of(config, config_name).require(abilities.PAGE)
  checkpoint = checkpoint_files.find_checkpoint(run_dir, checkpoint_file, config_name)
  spec, weights = spec_and_weights(config_name, config, checkpoint, humanize)
  if soundfont and soundfont != soundfonts.SYNTH:
    spec['kit'] = sample_drums(spec['drums']['pitches'], soundfont)
  text = page(spec, weights).encode()
  size = len(text) / 1e6
  if size > MAX_MB:
    raise UserError(
        f'The page of {config_name} would have {size:.0f} MB; phones and mail take '
        f'{MAX_MB}, as hierdec-drums_4bar and its like have.')
  os.makedirs(os.path.dirname(output) or '.', exist_ok=True)
  with disk.replacing(output) as path, open(path, 'wb') as f:
    f.write(text)
  print(f'{disk.printable(output)}, {size:.1f} MB: open it in any browser, or give '
        'it away.')
