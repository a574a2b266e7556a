"""The 4-bar drum configs: 4 bars of 16 steps, 9 drums.

Those of patterns have 512 classes a step. Flat models decode 64 steps in a row;
hierarchical ones (`hierdec-`, after Roberts et al. 2018, arXiv 1803.05428) let a
conductor make 16 embeddings, one a beat, from each of which 4 steps are decoded
(or 4, one a bar).
The one that humanizes (Gillick et al. 2019, arXiv 1905.06118) has a hit, a
velocity and an offset for each drum.
"""
from magenta.common import merge_hparams
from magenta.contrib import training as contrib_training
from magenta.models.music_vae import data
from magenta.models.music_vae import lstm_models
from magenta.models.music_vae.base_model import MusicVAE
from magenta.models.music_vae.drum_classes import (
    BARS, STEPS_PER_BAR, STEPS_PER_QUARTER)

STEPS = BARS * STEPS_PER_BAR
# Segments of a hierarchy: 16 of 4 steps ...
BEATS = [STEPS // STEPS_PER_QUARTER, STEPS_PER_QUARTER]
BARS_OF_STEPS = [BARS, STEPS_PER_BAR]  # ... or 4 of 16.

# name: (encoder, decoder, encoder units, decoder units, latent, free bits,
#        drum map, segments if not BEATS)
# GENERAL_MIDI is Magenta's default map, which the 2022 projects used. ROLAND
# is the one of the TD-11 that the Groove MIDI Dataset was played on.
GENERAL_MIDI = data.REDUCED_DRUM_PITCH_CLASSES
ROLAND = data.ROLAND_DRUM_PITCH_CLASSES
SIZES = {
    'hierdec-drums_4bar':
        ('flat', 'hier', [256], [256] * 2, 128, 48, ROLAND),
    # As large, but without hierarchy, to compare with.
    'flat-drums_4bar_roland':
        ('flat', 'flat', [256], [360] * 2, 128, 48, ROLAND),
    'hierdec-drums_4bar_small':
        ('flat', 'hier', [512] * 2, [256] * 2, 256, 48, GENERAL_MIDI),
    'hierdec-drums_4bar_large':
        ('flat', 'hier', [1024] * 2, [512] * 2, 256, 48, GENERAL_MIDI),
    # The size of the paper's models.
    'hierdec-drums_4bar_paper':
        ('flat', 'hier', [2048] * 2, [1024] * 2, 512, 256, GENERAL_MIDI),
    'flat-drums_4bar':
        ('flat', 'flat', [1024] * 2, [512] * 2, 256, 48, GENERAL_MIDI),
    # Magenta.js loads hierarchical models with a one-layer encoder a level.
    'hier-drums_4bar':
        ('hier', 'hier', [512], [256] * 2, 256, 48, GENERAL_MIDI),
    # One of the 2022 projects' own: bars as segments (and no hierarchical encoder,
    # whatever its name says).
    'hier-drums_4bar_small':
        ('flat', 'hier', [512], [256] * 2, 256, 48, GENERAL_MIDI, BARS_OF_STEPS),
    # Says back what it heard: its latent holds some 480 bits, not some 35.
    'hier-drums_4bar_echo':
        ('hier', 'hier', [224], [288], 256, 500, ROLAND, BARS_OF_STEPS),
    # The 4-bar sibling of upstream's cat-drums_2bar_big.
    'cat-drums_4bar_big':
        ('flat', 'flat', [2048], [2048] * 3, 512, 48, GENERAL_MIDI),
    # For tests: it learns little, but in seconds.
    'hierdec-drums_4bar_tiny':
        ('flat', 'hier', [32], [32], 16, 48, ROLAND),
}

# Trains on GMD's 13,251 slices on two CPU cores; configs that are not in RECIPES
# are trained as upstream trains. weights/ says how they were found.
RECIPE = dict(batch_size=64, warmup_steps=300, adam_beta2=0.99,
              adam_epsilon=1e-6, dropout_keep_prob=0.8, augment_probability=0.1,
              sampling_schedule='constant', sampling_rate=0.)
RECIPES = {
    'hierdec-drums_4bar': RECIPE,
    'flat-drums_4bar_roland': RECIPE,
    'hier-drums_4bar_echo': dict(
        RECIPE, dropout_keep_prob=1., mix_probability=0.6, hide_probability=0.5,
        input_dropout=0.25),
}


def make_config(config_cls, encoder, decoder, enc_rnn_size, dec_rnn_size,
                z_size, free_bits, pitch_classes, level_lengths=BEATS):
  """Returns the `Config` for a row of `SIZES`."""
  core_encoder = lstm_models.BidirectionalLstmEncoder
  core_decoder = lstm_models.CategoricalLstmDecoder()
  return config_cls(
      model=MusicVAE(
          lstm_models.HierarchicalLstmEncoder(core_encoder,
                                              level_lengths[::-1])
          if encoder == 'hier' else core_encoder(),
          lstm_models.HierarchicalLstmDecoder(
              core_decoder, level_lengths=level_lengths,
              disable_autoregression=True)
          if decoder == 'hier' else core_decoder),
      hparams=merge_hparams(
          lstm_models.get_default_hparams(),
          contrib_training.HParams(
              batch_size=512,
              max_seq_len=STEPS,
              z_size=z_size,
              enc_rnn_size=enc_rnn_size,
              dec_rnn_size=dec_rnn_size,
              free_bits=free_bits,
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
          pitch_classes=pitch_classes,
          max_tensors_per_notesequence=None),  # Every slice of every file.
      train_examples_path=None,
      eval_examples_path=None)


def make_groove_config(two_bars, humanize, **hparams):
  """Returns a groove config of upstream's for 4 bars.

  The decoder is told which drums play, as in upstream's groovae_2bar_hits_control:
  the latent's bits are less than a 4-bar pattern holds. With less dropout, smaller
  batches and a warm-up it trains in an hour on a CPU. Slices begin at every bar,
  and all of them are used.

  Args:
    two_bars: Upstream's config.
    humanize: Whether the encoder is told the hits alone.
    **hparams: Others than those of the recipe.
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


def register(config_map, config_cls):
  """Adds the configs above to Magenta's CONFIG_MAP."""
  # Its encoder is told no more than the hits.
  config_map['groovae_4bar_humanize'] = make_groove_config(
      config_map['groovae_2bar_humanize'], humanize=True)
  # Its encoder hears how they are played, and the latent holds that.
  config_map['groovae_4bar_hits_control'] = make_groove_config(
      config_map['groovae_2bar_hits_control_tfds'], humanize=False,
      enc_rnn_size=[256], z_size=128, free_bits=64., max_beta=0.08,
      dropout_keep_prob=1., input_dropout=0.15)
  for name, row in SIZES.items():
    config_map[name] = make_config(config_cls, *row)
    config_map[name].hparams.override_from_dict(RECIPES.get(name, {}))
