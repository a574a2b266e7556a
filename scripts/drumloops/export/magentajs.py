"""Weights for the MusicVAE of magenta.js (@magenta/music 1.23.1), in browsers.

`new MusicVAE(URL)` there loads a folder: config.json (the loop's grid and drums),
weights_manifest.json and the float32 weights that it names. Its decoders are the same
as Magenta's. Its encoders have one layer, and are hierarchical if the decoder is. In
place of other encoders it gets zeros in too small a shape: magenta.js loads these, and
encoding fails instead of giving wrong latents.

Its `encodeTensors` is the same encoder. Its `encode(noteSequences)` tells the encoder
one step too early that no drum is hit (DrumsConverter.toTensor). On 49 loops of GMD's
validation split, the hits of hier-drums_4bar_echo's reconstructions then had an F1 of
0.851 instead of 0.855.
"""
from __future__ import annotations

import itertools
import json
import os
import re
import typing
from collections.abc import Mapping

from drumloops import abilities
from drumloops.midi import drum_maps
from drumloops.models import autoencoder
from drumloops.system import disk
import numpy as np

if typing.TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config
  from magenta.models.music_vae.data import BaseNoteSequenceConverter

WEIGHTS_FILE = 'group1-shard1of1.bin'  # As TensorFlow.js's converter calls it.
DECODER = r'((core_)?decoder|encoder/mu)/.*(kernel|bias)$'
ENCODER = r'encoder/(?!mu/|sigma/).*(kernel|bias)$'


def count_segments(config: Config, config_name: str) -> int | None:
  """Returns in how many segments a config decodes loops; None if it is flat.

  Raises:
    UserError: if magenta.js has no such decoder.
  """
  from magenta.models.music_vae import masked_sampling
  from magenta.models.music_vae import upstream
  abilities.of(config, config_name).require(abilities.MAGENTAJS)
  decoder = config.model.decoder
  return (upstream.level_lengths(decoder)[0]
          if masked_sampling.is_hierarchical(decoder) else None)


def pitch_classes(converter: BaseNoteSequenceConverter) -> list[list[int]]:
  """Returns all pitches of each drum by `drum_maps.drum_map`, the decoded one first."""
  from magenta.models.music_vae import upstream
  own = upstream.pitch_classes(converter)
  drum = drum_maps.drum_map(own)
  return [pitches + [p for p in range(128) if drum(p) == i and p not in pitches]
          for i, pitches in enumerate(own)]


def encoder_variables(segments: int | None) -> set[str]:
  """Returns the names of the encoder's LSTMs that magenta.js asks for."""
  levels = ('hierarchical_level_0/', 'hierarchical_level_1/') if segments else ('',)
  return {f'encoder/{level}cell_0/bidirectional_rnn/{direction}/multi_rnn_cell/'
          f'cell_0/lstm_cell/{part}' for level, direction, part in itertools.product(
              levels, ('fw', 'bw'), ('kernel', 'bias'))}


def choose(tensors: Mapping[str, np.ndarray], segments: int | None
           ) -> tuple[dict[str, np.ndarray], bool]:
  """Returns the tensors that magenta.js loads, and whether it can encode with them.

  Args:
    tensors: {variable's name: array} of a checkpoint.
    segments: Of `count_segments`.
  """
  chosen = {n: t for n, t in tensors.items() if re.match(DECODER, n)}
  encoder = {n: t for n, t in tensors.items() if re.match(ENCODER, n)}
  names = encoder_variables(segments)
  encodes = set(encoder) == names
  if not encodes:
    encoder = {n: np.zeros([4] if n.endswith('bias') else [1, 4]) for n in names}
  return {**chosen, **encoder}, encodes


def write(config: Config, config_name: str, checkpoint: str, folder: str) -> None:
  """Writes the folder that magenta.js loads, and prints what that can do with it.

  Args:
    config: Of drum patterns.
    config_name: Its name.
    checkpoint: The checkpoint's prefix.
    folder: To write to, made if need be.

  Raises:
    UserError: if magenta.js has no such model, or the checkpoint is another config's.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  segments = count_segments(config, config_name)
  autoencoder.Autoencoder(config, sample=False).load(checkpoint)  # If it fits.
  reader = tf.train.load_checkpoint(checkpoints.plain(checkpoint))
  tensors, encodes = choose({n: reader.get_tensor(n)
                             for n in reader.get_variable_to_shape_map()}, segments)
  names = sorted(tensors)
  args = {'numSteps': config.hparams.max_seq_len,
          'pitchClasses': pitch_classes(config.data_converter)}
  if segments:
    args['numSegments'] = segments
  contents = {
      WEIGHTS_FILE: b''.join(tensors[n].astype('<f4').tobytes() for n in names),
      'weights_manifest.json': json.dumps([{
          'paths': [WEIGHTS_FILE],
          'weights': [{'name': n, 'shape': tensors[n].shape, 'dtype': 'float32'}
                      for n in names]}]).encode(),
      'config.json': json.dumps({
          'type': 'MusicVAE',
          'dataConverter': {'type': 'DrumsConverter', 'args': args}}).encode()}
  os.makedirs(folder, exist_ok=True)
  for name, content in contents.items():
    with disk.replacing(os.path.join(folder, name)) as path, open(path, 'wb') as f:
      f.write(content)
  print(f'{folder}, to be served and loaded by its URL: new MusicVAE(URL) of '
        '@magenta/music 1.23.1 samples from it' + (
            ' and encodes.' if encodes else
            ', but does not encode, which takes a model like hier-drums_4bar.'))
