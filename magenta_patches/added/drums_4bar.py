"""The 4-bar drum configs: 4 bars of 16 steps, 9 drums.

The configs of patterns (`PATTERNS`) have 512 classes a step. Flat models decode 64
steps in a row. Hierarchical ones (`hierdec-`, after Roberts et al. 2018, arXiv
1803.05428) have a conductor, which makes an embedding for each segment. A segment is a
beat or a bar, and is decoded from its embedding.

The groove configs (Gillick et al. 2019, arXiv 1905.06118) have a hit, a velocity and an
offset for each drum and step.

Stock Magenta on Python 3.7 can import this module too.
"""
from typing import Any, Dict, List, NamedTuple, Optional

from magenta.common import merge_hparams
from magenta.contrib import training as contrib_training
from magenta.models.music_vae import data
from magenta.models.music_vae import lstm_models
from magenta.models.music_vae.base_model import MusicVAE
from magenta.models.music_vae.drum_classes import (
    BARS, STEPS_PER_BAR, STEPS_PER_QUARTER)

STEPS = BARS * STEPS_PER_BAR
# Number of segments and steps of each.
BEATS_AS_SEGMENTS = [STEPS // STEPS_PER_QUARTER, STEPS_PER_QUARTER]
BARS_AS_SEGMENTS = [BARS, STEPS_PER_BAR]
# Magenta's default drum map, which the 2022 projects used.
GENERAL_MIDI = data.REDUCED_DRUM_PITCH_CLASSES
# The map of the TD-11 that the Groove MIDI Dataset was played on.
ROLAND = data.ROLAND_DRUM_PITCH_CLASSES


class PatternConfig(NamedTuple):
  """What one config of patterns has of its own; `make_config` has the rest."""
  enc_rnn_size: List[int]  # Units of each layer.
  dec_rnn_size: List[int]  # Of the conductor too, if there is one.
  z_size: int
  segments: Optional[List[int]] = BEATS_AS_SEGMENTS  # None: a flat decoder.
  hierarchical_encoder: bool = False  # Of the same segments.
  free_bits: int = 48
  pitch_classes: List[List[int]] = GENERAL_MIDI
  recipe: Dict[str, Any] = {}  # Hyperparameters of training; else upstream's.


# Trains on GMD's 13,251 slices on two CPU cores. weights/ says how it was found.
RECIPE = dict(batch_size=64, warmup_steps=300, adam_beta2=0.99,
              adam_epsilon=1e-6, dropout_keep_prob=0.8, augment_probability=0.1,
              sampling_schedule='constant', sampling_rate=0.)

PATTERNS = {
    'hierdec-drums_4bar': PatternConfig(
        enc_rnn_size=[256], dec_rnn_size=[256] * 2, z_size=128,
        pitch_classes=ROLAND, recipe=RECIPE),
    # As large, but without hierarchy, to compare with.
    'flat-drums_4bar_roland': PatternConfig(
        enc_rnn_size=[256], dec_rnn_size=[360] * 2, z_size=128, segments=None,
        pitch_classes=ROLAND, recipe=RECIPE),
    'hierdec-drums_4bar_small': PatternConfig(
        enc_rnn_size=[512] * 2, dec_rnn_size=[256] * 2, z_size=256),
    'hierdec-drums_4bar_large': PatternConfig(
        enc_rnn_size=[1024] * 2, dec_rnn_size=[512] * 2, z_size=256),
    # The size of the paper's models.
    'hierdec-drums_4bar_paper': PatternConfig(
        enc_rnn_size=[2048] * 2, dec_rnn_size=[1024] * 2, z_size=512,
        free_bits=256),
    'flat-drums_4bar': PatternConfig(
        enc_rnn_size=[1024] * 2, dec_rnn_size=[512] * 2, z_size=256,
        segments=None),
    # Magenta.js loads hierarchical models with a one-layer encoder a level.
    'hier-drums_4bar': PatternConfig(
        enc_rnn_size=[512], dec_rnn_size=[256] * 2, z_size=256,
        hierarchical_encoder=True),
    # One of the 2022 projects' own. Its encoder is flat, whatever the name says.
    'hier-drums_4bar_small': PatternConfig(
        enc_rnn_size=[512], dec_rnn_size=[256] * 2, z_size=256,
        segments=BARS_AS_SEGMENTS),
    # For reconstruction: its latent holds some 480 bits, not some 35.
    'hier-drums_4bar_echo': PatternConfig(
        enc_rnn_size=[224], dec_rnn_size=[288], z_size=256,
        segments=BARS_AS_SEGMENTS, hierarchical_encoder=True, free_bits=500,
        pitch_classes=ROLAND, recipe=dict(
            RECIPE, dropout_keep_prob=1., mix_probability=0.6,
            hide_probability=0.5, input_dropout=0.25)),
    # The 4-bar sibling of upstream's cat-drums_2bar_big.
    'cat-drums_4bar_big': PatternConfig(
        enc_rnn_size=[2048], dec_rnn_size=[2048] * 3, z_size=512, segments=None),
    # For tests: it learns little, but in seconds.
    'hierdec-drums_4bar_tiny': PatternConfig(
        enc_rnn_size=[32], dec_rnn_size=[32], z_size=16, pitch_classes=ROLAND),
}


def make_config(config_cls: type, row: PatternConfig) -> object:
  """Returns Magenta's `Config` (`config_cls`) for a row of `PATTERNS`."""
  encoder = lstm_models.BidirectionalLstmEncoder
  decoder = lstm_models.CategoricalLstmDecoder()
  config = config_cls(
      model=MusicVAE(
          lstm_models.HierarchicalLstmEncoder(encoder, row.segments[::-1])
          if row.hierarchical_encoder else encoder(),
          lstm_models.HierarchicalLstmDecoder(
              decoder, level_lengths=row.segments, disable_autoregression=True)
          if row.segments else decoder),
      hparams=merge_hparams(
          lstm_models.get_default_hparams(),
          contrib_training.HParams(
              batch_size=512,
              max_seq_len=STEPS,
              z_size=row.z_size,
              enc_rnn_size=row.enc_rnn_size,
              dec_rnn_size=row.dec_rnn_size,
              free_bits=row.free_bits,
              max_beta=0.2,
              warmup_steps=0,
              adam_beta2=0.999,
              adam_epsilon=1e-8,
              augment_probability=0.,
              mix_probability=0.,
              hide_probability=0.,
              input_dropout=0.,
              sampling_schedule='inverse_sigmoid',
              sampling_rate=1000.)),
      note_sequence_augmenter=None,
      data_converter=data.DrumsConverter(
          max_bars=100,  # Truncate long drum sequences before slicing.
          slice_bars=BARS,
          steps_per_quarter=STEPS_PER_QUARTER,
          roll_input=True,
          pitch_classes=row.pitch_classes,
          max_tensors_per_notesequence=None),  # Every slice of every file.
      train_examples_path=None,
      eval_examples_path=None)
  config.hparams.override_from_dict(row.recipe)
  return config


def make_groove_config(
    two_bars: object, humanize: bool, **hparams: object) -> object:
  """Returns a groove config of upstream's for 4 bars.

  The decoder is told all hits, as in upstream's groovae_2bar_hits_control: a latent has
  fewer bits than a 4-bar pattern. With less dropout, smaller batches and a warm-up it
  trains in an hour on a CPU. Slices begin at every bar, and all are used.

  Args:
    two_bars: Upstream's config.
    humanize: Whether the encoder reads the hits alone.
    **hparams: Hyperparameters that are not upstream's, nor those above.
  """
  values = {**dict(warmup_steps=300, adam_beta2=0.99, adam_epsilon=1e-6,
                   max_seq_len=STEPS, batch_size=64, dropout_keep_prob=0.9),
            **hparams}
  of_upstream = {name: value for name, value in two_bars.hparams.values().items()
                 if name not in values}
  return two_bars._replace(
      model=MusicVAE(lstm_models.BidirectionalLstmEncoder(),
                     lstm_models.GrooveLstmDecoder()),
      hparams=contrib_training.HParams(**of_upstream, **values),
      data_converter=data.GrooveConverter(
          split_bars=BARS, hop_size=STEPS_PER_BAR,
          steps_per_quarter=STEPS_PER_QUARTER,
          quarters_per_bar=4, max_tensors_per_notesequence=None,
          humanize=humanize, hits_as_controls=True, pitch_classes=ROLAND,
          inference_pitch_classes=data.REDUCED_DRUM_PITCH_CLASSES),
      tfds_name='groove/full-midionly')


def register(config_map: dict, config_cls: type) -> None:
  """Adds the configs above to Magenta's CONFIG_MAP.

  Args:
    config_map: {name: Config}.
    config_cls: Magenta's Config.
  """
  # Its encoder reads the hits alone.
  config_map['groovae_4bar_humanize'] = make_groove_config(
      config_map['groovae_2bar_humanize'], humanize=True)
  # Its encoder reads velocities and microtiming too, and the latent holds these.
  config_map['groovae_4bar_hits_control'] = make_groove_config(
      config_map['groovae_2bar_hits_control_tfds'], humanize=False,
      enc_rnn_size=[256], z_size=128, free_bits=64., max_beta=0.08,
      dropout_keep_prob=1., input_dropout=0.15)
  for name, row in PATTERNS.items():
    config_map[name] = make_config(config_cls, row)
