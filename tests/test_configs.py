"""The 4-bar configs: what they are, and their sizes."""
import conftest
from drumloops.system import magenta_setup
import numpy as np
import pytest

# Trainable parameters, as the README's table has them.
PARAMETERS = {
    'hierdec-drums_4bar': 3_569_408,
    'flat-drums_4bar_roland': 3_528_416,
    'hierdec-drums_4bar_small': 11_984_896,
    'hierdec-drums_4bar_large': 44_940_288,
    'hierdec-drums_4bar_paper': 176_911_872,
    'hier-drums_4bar': 11_984_896,
    'flat-drums_4bar': 40_213_504,
    'hier-drums_4bar_echo': 3_908_096,
    'hier-drums_4bar_small': 5_689_344,
    'cat-drums_4bar_big': 137_582_080,
    'hierdec-drums_4bar_tiny': 111_392,
}


def test_strokes_are_in_the_readme():
  """The model that humanizes has a decoder of its own, so it is no row of PATTERNS."""
  import tensorflow.compat.v1 as tf
  config = magenta_setup.get_config('groovae_4bar_strokes', 'batch_size=2')
  with tf.Graph().as_default():
    config.model.build(config.hparams, config.data_converter.output_depth,
                       is_training=False)
    config.model.encode(tf.zeros([2, 64, 64]), tf.constant([64, 64]),
                        tf.zeros([2, 64, 10]))
    count = sum(int(np.prod(v.shape)) for v in tf.trainable_variables())
  readme = (conftest.SCRIPTS / 'README.md').read_text()
  assert '`groovae_4bar_strokes`' in readme and f'{count:,}' in readme


def test_all_are_tested_and_in_the_readme():
  magenta_setup.music_vae()
  from magenta.models.music_vae import drums_4bar
  assert set(PARAMETERS) == set(drums_4bar.PATTERNS)
  readme = (conftest.SCRIPTS / 'README.md').read_text()
  for name, count in PARAMETERS.items():
    assert f'`{name}`' in readme
    assert f'{count:,}' in readme


@pytest.mark.parametrize('name', PARAMETERS)
def test_parameters(name):
  import tensorflow.compat.v1 as tf
  config = magenta_setup.get_config(name, 'batch_size=2')
  with tf.Graph().as_default():
    config.model.build(config.hparams, config.data_converter.output_depth,
                       is_training=False)
    config.model.encode(tf.zeros([2, 64, 10]), tf.constant([64, 64]))
    config.model.sample(2, 64, tf.zeros([2, config.hparams.z_size]),
                        temperature=1.)
    count = sum(int(np.prod(v.shape)) for v in tf.trainable_variables())
  assert count == PARAMETERS[name]


@pytest.mark.parametrize('name', PARAMETERS)
def test_hyperparameters_and_data(name):
  from magenta.models.music_vae import drums_4bar
  config = magenta_setup.get_config(name)
  hparams = config.hparams
  assert (hparams.max_seq_len, hparams.max_beta) == (64, 0.2)
  recipe = (hparams.batch_size, hparams.sampling_schedule,
            hparams.sampling_rate, hparams.dropout_keep_prob,
            hparams.warmup_steps, hparams.adam_beta2)
  assert recipe == (
      (64, 'constant', 0, 1 if name.endswith('_echo') else 0.8, 300, 0.99)
      if drums_4bar.PATTERNS[name].recipe else
      (512, 'inverse_sigmoid', 1000, 1, 0, 0.999))  # As upstream trains.
  assert hparams.free_bits == {'hierdec-drums_4bar_paper': 256,
                               'hier-drums_4bar_echo': 500}.get(name, 48)
  assert config.data_converter.max_tensors_per_notesequence is None
  assert (config.data_converter.input_depth,
          config.data_converter.output_depth) == (10, 512)


@pytest.mark.parametrize('name,settings,rates', [
    ('hierdec-drums_4bar', (0.99, 1e-6), {0: 1 / 300, 149: 0.5, 299: 1, 999: 1}),
    ('hierdec-drums_4bar_small', (0.999, 1e-8), {0: 1, 299: 1}),
    ('cat-drums_2bar_small', (0.999, 1e-8), {0: 1, 299: 1})])
def test_adam(name, settings, rates):
  """Ours has the recipe's settings, upstream's TensorFlow's defaults."""
  import tensorflow.compat.v1 as tf
  config = magenta_setup.get_config(
      name, 'batch_size=2,enc_rnn_size=[4],dec_rnn_size=[4],z_size=2')
  converter = config.data_converter
  steps = config.hparams.max_seq_len
  with tf.Graph().as_default(), tf.Session() as sess:
    step = tf.train.get_or_create_global_step()
    config.model.build(config.hparams, converter.output_depth, is_training=True)
    adam = config.model.train(tf.zeros([2, steps, converter.input_depth]),
                              tf.zeros([2, steps, converter.output_depth]),
                              tf.fill([2], steps))
    assert (adam._beta2, adam._epsilon) == settings
    for i, share in rates.items():
      decayed = 1e-5 + (1e-3 - 1e-5) * config.hparams.decay_rate ** i
      step.load(i, sess)
      assert sess.run(adam._lr) == pytest.approx(share * decayed, rel=1e-4)


def test_roland_map_is_the_default_configs():
  from magenta.models.music_vae import data
  from magenta.models.music_vae import upstream
  for name, classes in (
      ('hierdec-drums_4bar', data.ROLAND_DRUM_PITCH_CLASSES),
      ('hierdec-drums_4bar_small', data.REDUCED_DRUM_PITCH_CLASSES)):
    converter = magenta_setup.get_config(name).data_converter
    assert upstream.pitch_classes(converter) == classes


def test_magenta_js_can_load_hier_drums():
  """Magenta.js wants 2 encoder levels of one layer, and these names."""
  import tensorflow.compat.v1 as tf
  config = magenta_setup.get_config('hier-drums_4bar', 'batch_size=2')
  with tf.Graph().as_default():
    config.model.build(config.hparams, 512, is_training=False)
    config.model.encode(tf.zeros([2, 64, 10]), tf.constant([64, 64]))
    config.model.sample(2, 64, tf.zeros([2, 256]), temperature=1.)
    names = {v.op.name for v in tf.trainable_variables()}
  cells = {f'encoder/hierarchical_level_{level}/cell_0/bidirectional_rnn/{way}/'
           'multi_rnn_cell/cell_0/lstm_cell/kernel'
           for level in (0, 1) for way in ('fw', 'bw')}
  assert {n for n in names if n.startswith('encoder/hier')
          and n.endswith('kernel')} == cells
  assert {'decoder/hierarchical_level_0/initial_state/kernel',
          'core_decoder/decoder/z_to_initial_state/kernel',
          'core_decoder/decoder/output_projection/kernel'} <= names


def test_upstream_configs_are_still_there():
  for name in ('groovae_4bar', 'cat-drums_2bar_small', 'hier-trio_16bar'):
    assert magenta_setup.get_config(name)


@pytest.mark.parametrize('flags,words', [
    (['--config=nonsense'], ['nonsense', 'hierdec-drums_4bar', 'groovae_4bar']),
    (['--hparams=nonsense=1'], ['--hparams']),
    (['nonsense'], ['nonsense', '--help']),
])
def test_unknown_names(tmp_path, flags, words):
  conftest.check_sentence(conftest.script(
      'train.py', f'--run_dir={tmp_path}', '--examples_path=x', *flags), *words)
