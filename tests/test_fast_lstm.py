"""The fast LSTMs against upstream's own code, in one process.

Upstream's is the lstm_models that magenta_patches keeps as a backup.
"""
import types

import benchmark
from drumloops.system import magenta_setup
import numpy as np
import pytest

magenta_setup.music_vae()
import tensorflow.compat.v1 as tf
from magenta.models.music_vae import fast_lstm_encoders
from magenta.models.music_vae import fast_lstm_hooks
from magenta.models.music_vae import fast_lstm_layers as layers
from magenta.models.music_vae import hooks
from magenta.models.music_vae import lstm_models
from magenta.models.music_vae import packed_slices
from magenta.models.music_vae.base_model import MusicVAE
from tf_keras.src.layers.rnn import gru_lstm_utils
from tf_keras.src.layers.rnn import lstm as keras_lstm

pytestmark = pytest.mark.usefixtures('unoptimized_graphs')
BATCH = 6
TEACHER = ',sampling_schedule=constant,sampling_rate=0'
# Sizes that differ, so that no two can be mistaken for each other.
SIZES = {
    'flat-drums_4bar': 'enc_rnn_size=[24,16],dec_rnn_size=[20,12],z_size=8',
    'hierdec-drums_4bar': 'enc_rnn_size=[24,16],dec_rnn_size=[20,12],z_size=8',
    # Of 4 segments; of 16, as the others, upstream's graph takes long to build.
    'hier-drums_4bar_small': 'enc_rnn_size=[24,16],dec_rnn_size=[20,12],z_size=8',
    'hier-drums_4bar_echo': 'enc_rnn_size=[24],dec_rnn_size=[20,12],z_size=8',
    'groovae_4bar': 'enc_rnn_size=[24,16],dec_rnn_size=[20,12],z_size=8,'
                    'dropout_keep_prob=1',
    'groovae_4bar_hits_control':  # Its decoder is told the hits.
        'enc_rnn_size=[24],dec_rnn_size=[20,12],z_size=8,dropout_keep_prob=1,'
        'input_dropout=0'}
QUICK = [name for name in SIZES if name != 'hierdec-drums_4bar']
RUNS = 150  # Of a graph with random numbers in it.
STANDARD_ERRORS = 4  # The most that two means over RUNS may differ by.


@pytest.fixture(scope='session')
def stock():
  module = benchmark.stock_lstm_models()
  assert not hasattr(module, 'fast_lstm_hooks')
  return module


def make_config(module, name, hparams):
  hparams = f'batch_size={BATCH},{SIZES[name]}{hparams}'
  if not name.startswith('groovae'):
    return benchmark.make_config(module, name, hparams)
  return magenta_setup.get_config(name, hparams)._replace(model=MusicVAE(
      module.BidirectionalLstmEncoder(), module.GrooveLstmDecoder()))


def load_weights(sess, variables):
  """Gives equally named variables equal values, large enough to matter."""
  rng = np.random.RandomState(0)
  for v in sorted(variables, key=lambda v: v.name):
    v.load(rng.normal(0, .3, v.shape.as_list()), sess)


def slices(config):
  rng = np.random.RandomState(0)
  if packed_slices.is_groove(config.data_converter):
    hits = (rng.random_sample([BATCH, 64, 9]) < 0.3).astype(np.float32)
    return np.concatenate(
        [hits, hits * rng.random_sample(hits.shape),
         hits * rng.uniform(-1, 1, hits.shape)], axis=-1).astype(np.float32)
  return rng.choice([0, 0, 0, 1, 2, 4, 5, 260, 511], [BATCH, 64])


def run(module, name, hparams=TEACHER, is_training=True, lengths=None, runs=1,
        device=None):
  """Returns a decoder's losses, results and gradients; of several runs the losses.

  The latent is the posterior's mean, plus its deviation times a fixed noise.
  """
  config = make_config(module, name, hparams)
  with tf.Graph().as_default(), tf.device(device):
    tf.set_random_seed(3)
    model = config.model
    model.build(config.hparams, config.data_converter.output_depth, is_training)
    inputs, outputs, controls, _ = packed_slices.unpack(
        tf.constant(slices(config)), config.data_converter)
    targets = tf.to_float(outputs)
    controls = tf.to_float(controls) if controls.shape[-1] else None
    lengths = tf.constant([64] * BATCH if lengths is None else lengths)
    posterior = model.encode(inputs, lengths, controls)
    noise = np.random.RandomState(1).normal(size=[BATCH, 8])
    z = posterior.loc + posterior.scale.diag * tf.constant(noise, tf.float32)
    losses, metrics, results = model.decoder.reconstruction_loss(
        tf.pad(targets[:, :-1], [(0, 0), (1, 0), (0, 0)]), targets, lengths, z,
        controls)
    variables = tf.trainable_variables()
    with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as sess:
      sess.run([tf.global_variables_initializer(),
                tf.local_variables_initializer()])
      load_weights(sess, variables)
      if runs > 1:
        return np.array([sess.run(losses) for _ in range(runs)])
      gradients = tf.gradients(
          tf.reduce_mean(losses) + tf.reduce_mean(z ** 2), variables)
      fetched = sess.run({
          'losses': losses, 'mu': posterior.loc,
          'gradients': dict(zip([v.name for v in variables], gradients)),
          'results': results._asdict()})
      if not is_training:
        sess.run([update for _, update in metrics.values()])
        fetched['metrics'] = sess.run({k: m[0] for k, m in metrics.items()})
  return fetched


def check_same(ours, upstream):
  """Asserts equal losses, encodings and gradients, to 1e-4 of the largest."""
  np.testing.assert_allclose(ours['losses'], upstream['losses'], rtol=1e-4)
  np.testing.assert_allclose(ours['mu'], upstream['mu'], rtol=1e-4, atol=1e-6)
  assert ours['gradients'].keys() == upstream['gradients'].keys()
  for name, gradient in upstream['gradients'].items():
    largest = np.abs(gradient).max()
    assert largest > 0
    np.testing.assert_allclose(ours['gradients'][name], gradient, rtol=1e-4,
                               atol=1e-4 * largest, err_msg=name)


@pytest.mark.parametrize('name', SIZES)
def test_training_with_teacher_forcing(stock, name):
  ours, upstream = (run(module, name) for module in (lstm_models, stock))
  check_same(ours, upstream)
  ours, upstream = ours['results'], upstream['results']
  for key in ('rnn_input', 'rnn_output', 'samples', 'final_sequence_lengths'):
    assert ours[key].shape == upstream[key].shape, key
    np.testing.assert_allclose(ours[key], upstream[key], rtol=1e-4, atol=1e-4,
                               err_msg=key)
  for a, b in zip(tf.nest.flatten(ours['final_state']),
                  tf.nest.flatten(upstream['final_state'])):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', QUICK)
def test_evaluation(stock, name):
  ours, upstream = (run(module, name, is_training=False)
                    for module in (lstm_models, stock))
  check_same(ours, upstream)
  assert ours['metrics'].keys() == upstream['metrics'].keys()
  # The means over segments are taken before or after their last update.
  for key, value in upstream['metrics'].items():
    if key.startswith('segment') or not name.startswith('hier'):
      np.testing.assert_allclose(ours['metrics'][key], value, rtol=1e-5,
                                 err_msg=key)


@pytest.mark.parametrize('name,lengths', [
    ('flat-drums_4bar', [64, 10, 0, 33, 1, 63]),
    ('groovae_4bar_hits_control', [64, 10, 0, 33, 1, 63]),
    ('hier-drums_4bar_small', [64, 0, 64, 64, 0, 64])])
def test_lengths(stock, name, lengths):
  ours, upstream = (run(module, name, lengths=lengths)
                    for module in (lstm_models, stock))
  check_same(ours, upstream)
  assert [loss == 0 for loss in ours['losses']] == [n == 0 for n in lengths]


def cudnn_stand_in(input, input_h, input_c, params, sequence_lengths, rnn_mode):
  """Does what CudnnRNNV3 documents, on a CPU, by tf_keras's LSTM for CPUs.

  In one op, so that the graph has as many as with CudnnRNNV3.
  """
  assert rnn_mode == 'lstm'
  depth, units = int(input.shape[2]), int(input_h.shape[2])
  def lstm(x, h0, c0, params):
    sizes = [depth * units] * 4 + [units * units] * 4 + [units] * 8
    *kernels, biases = tf.split(params, [*sizes[:8], 8 * units])
    of_inputs, of_outputs = (
        tf.concat([tf.transpose(tf.reshape(k, [units, -1])) for k in part], axis=1)
        for part in (kernels[:4], kernels[4:]))
    _, h, _, c, _ = keras_lstm.standard_lstm(
        x, h0[0], c0[0], of_inputs, of_outputs, tf.add(*tf.split(biases, 2)),
        mask=None, time_major=True, go_backwards=False, sequence_lengths=None,
        zero_output_for_mask=False, return_sequences=True)
    return h, c[tf.newaxis]
  h, c = tf.py_function(lstm, [input, input_h, input_c, params], [tf.float32] * 2)
  h.set_shape(input.shape[:2] + [units])
  c.set_shape(input_c.shape)
  return types.SimpleNamespace(output=h, output_c=c)


@pytest.fixture(params=['BlockLSTM', 'cuDNN'])
def gpu_layer(request, monkeypatch):
  """Graphs for a GPU, which run on a CPU, with one of the two kinds of layers."""
  monkeypatch.setattr(
      layers, 'gpu_layer', lambda: layers.GPU_LAYERS[request.param])
  monkeypatch.setattr(tf.raw_ops, 'CudnnRNNV3', cudnn_stand_in)
  return request.param


@pytest.mark.parametrize('name', SIZES)
def test_graph_for_a_gpu(gpu_layer, name):
  check_same(run(lstm_models, name, device='/GPU:0'), run(lstm_models, name))


@pytest.mark.parametrize('sampling_rate,most', [(0, 1100), (0.5, 1600)])
def test_graph_for_a_gpu_has_few_nodes(gpu_layer, sampling_rate, most):
  """A GPU takes longer to start most of a step's ops than to compute them."""
  training = benchmark.Training(
      lstm_models, benchmark.recipe(sampling_rate=sampling_rate, batch_size=8),
      benchmark.one_batch, 'hierdec-drums_4bar', '/GPU:0')
  nodes = training.nodes()
  print(f'{gpu_layer}, {sampling_rate}: {nodes}')
  assert 300 < nodes <= most


def test_weights_as_cudnn_has_them():
  """The vector has the very numbers that tf_keras makes of the same weights."""
  depth, units = 3, 2
  rng = np.random.RandomState(0)
  kernel = rng.normal(size=[depth + units, 4 * units]).astype(np.float32)
  bias = rng.normal(size=[4 * units]).astype(np.float32)
  order = [0, 2, 1, 3]  # i, ci, f, o to i, f, ci, o.
  gates = [np.split(part, 4, axis=-1)[gate] for part in (
      kernel[:depth], kernel[depth:]) for gate in order]
  bias_gates = [np.split(bias, 4)[gate] for gate in order]
  bias_gates[1] = bias_gates[1] + np.float32(layers.FORGET_BIAS)
  expected = gru_lstm_utils.canonical_to_params(
      gates, [np.zeros(units, np.float32)] * 4 + bias_gates, tf.constant([-1]), True)
  with tf.Graph().as_default(), tf.Session() as sess:
    found = sess.run(layers.cudnn_parameters(
        tf.constant(kernel), tf.constant(bias)))
  np.testing.assert_array_equal(found, expected.numpy())


def test_a_layer_that_a_gpu_computes_wrong_is_not_used(capsys):
  """A line names it. Here the CPU stands in for the GPU."""
  def wrong(*args):
    h, c = layers.cpu_layer(*args)
    return 1.1 * h, c
  def without_gradient(x, kernel, *args):  # Right values, but NaN as gradient.
    nan = tf.stop_gradient(kernel) - kernel
    h, c = layers.cpu_layer(x, kernel, *args)
    return h + tf.reduce_sum(tf.sqrt(nan)), c
  def failing(*args):
    raise tf.errors.UnknownError(None, None, 'Fail to find the dnn implementation')
  for broken in (wrong, without_gradient):
    assert layers.first_correct(
        {'cuDNN': broken, 'BlockLSTM': layers.block_lstm_layer}) == (
            layers.block_lstm_layer)
    assert 'cuDNN' in capsys.readouterr().out
  assert layers.first_correct(
      {'cuDNN': wrong, 'BlockLSTM': failing}) == layers.cpu_layer
  assert 'Fail to find the dnn implementation.' in capsys.readouterr().out


def test_device_decides(monkeypatch):
  """The tensors' device, or else whether the machine has a GPU."""
  with tf.Graph().as_default():
    def is_on_gpu(device):
      with tf.device(device):
        return layers.is_on_gpu(tf.zeros([1]))
    on_worker = '/job:worker/task:1'
    assert [is_on_gpu(d) for d in (
        None, on_worker, '/CPU:0', '/GPU:0', on_worker + '/GPU:0')] == [
            False, False, False, True, True]
    monkeypatch.setattr(tf.config, 'get_visible_devices', lambda kind: ['one'])
    assert [is_on_gpu(d) for d in (None, on_worker, '/CPU:0')] == [
        True, True, False]


def test_residual_configs_are_left_to_upstream(stock):
  hparams = TEACHER + ',residual_encoder=True,residual_decoder=True'
  ours, upstream = (run(module, 'flat-drums_4bar', hparams)
                    for module in (lstm_models, stock))
  check_same(ours, upstream)


def test_hooks_can_be_taken_off(stock):
  """The classes then have upstream's own functions, or inherit them."""
  def own_functions(module):
    found = {}
    for hook in fast_lstm_hooks.HOOKS:
      cls, name = hook.name.split('.')
      function = vars(getattr(module, cls)).get(name)
      found[hook.name] = function and function.__code__.co_varnames
    return found
  hooked = own_functions(lstm_models)
  hooks.detach(lstm_models, fast_lstm_hooks.HOOKS)
  try:
    assert own_functions(lstm_models) == own_functions(stock)
  finally:
    hooks.attach(lstm_models, fast_lstm_hooks.HOOKS)
  assert own_functions(lstm_models) == hooked != own_functions(stock)


def test_groovae_has_the_fast_encoder(stock, monkeypatch):
  calls = []
  encode = fast_lstm_encoders.encode
  monkeypatch.setattr(fast_lstm_encoders, 'encode',
                      lambda *a: calls.append(a) or encode(*a))
  hparams = magenta_setup.get_config(
      'groovae_4bar', 'enc_rnn_size=[24,16]').hparams
  sequences = np.random.RandomState(0).rand(BATCH, 64, 27)
  states = []
  for module in (lstm_models, stock):
    with tf.Graph().as_default(), tf.Session() as sess:
      encoder = module.BidirectionalLstmEncoder()
      encoder.build(hparams, is_training=False)
      encoded = encoder.encode(tf.constant(sequences, tf.float32),
                               tf.constant([64, 64, 32, 16, 64, 1]))
      load_weights(sess, tf.trainable_variables())
      states.append(sess.run(encoded))
  assert len(calls) == 1
  np.testing.assert_allclose(*states, rtol=1e-4, atol=1e-6)


def check_same_mean(ours, upstream, certain):
  """Asserts that losses [runs, examples] have equal means, not `certain`'s."""
  error = np.sqrt((ours.var(axis=0) + upstream.var(axis=0)) / RUNS)
  apart = np.abs(ours.mean(axis=0) - upstream.mean(axis=0)) / error
  assert apart.max() < STANDARD_ERRORS, apart
  moved = np.abs(upstream.mean(axis=0) - certain) / error
  assert moved.max() > 2 * STANDARD_ERRORS, moved  # Else this shows little.
  spread = ours.std(axis=0) / upstream.std(axis=0)
  assert 0.7 < spread.min() and spread.max() < 1.4, spread


@pytest.mark.parametrize('name', ['flat-drums_4bar', 'hier-drums_4bar_small'])
@pytest.mark.parametrize('hparams', [
    ',sampling_schedule=constant,sampling_rate=0.5',
    TEACHER + ',dropout_keep_prob=0.4',
    ',sampling_schedule=constant,sampling_rate=0.5,dropout_keep_prob=0.6'])
def test_scheduled_sampling_and_dropout(stock, name, hparams):
  ours, upstream = (run(module, name, hparams, runs=RUNS)
                    for module in (lstm_models, stock))
  certain = run(lstm_models, name)['losses']
  check_same_mean(ours, upstream, certain)


def test_sampled_steps():
  sampled = run(lstm_models, 'hierdec-drums_4bar',
                ',sampling_schedule=constant,sampling_rate=0.5')[
                    'results']['samples']
  first = np.arange(64) % 4 == 0
  assert sampled.shape == (BATCH, 64)
  assert not sampled[:, first].any()
  # 288 tosses of a coin: five standard deviations.
  assert abs(sampled[:, ~first].mean() - 0.5) < 5 * 0.5 / np.sqrt(288)


def sample(module, name, temperature, runs=1):
  """Returns sampled classes, [runs, BATCH, 64], and the full results."""
  config = make_config(module, name, TEACHER)
  with tf.Graph().as_default(), tf.Session() as sess:
    tf.set_random_seed(5)
    config.model.build(config.hparams, 512, is_training=False)
    z = tf.constant(np.random.RandomState(2).normal(size=[BATCH, 8]),
                    tf.float32)
    samples, results = config.model.sample(
        BATCH, max_length=tf.constant(64), z=z,
        temperature=tf.constant(temperature))
    load_weights(sess, tf.trainable_variables())
    drawn = [sess.run(samples) for _ in range(runs)]
    results = sess.run(results._asdict())
  assert all(np.all(d.sum(axis=-1) == 1) for d in drawn)
  return np.argmax(drawn, axis=-1), results


@pytest.mark.parametrize('name', ['flat-drums_4bar', 'hier-drums_4bar_small'])
def test_sampling(stock, name):
  (ours, our_results), (upstream, results) = (
      sample(module, name, 1e-6) for module in (lstm_models, stock))
  np.testing.assert_array_equal(ours, upstream)  # The most likely classes.
  for key in ('rnn_input', 'rnn_output', 'samples', 'final_sequence_lengths'):
    assert our_results[key].shape == results[key].shape, key
    np.testing.assert_allclose(our_results[key], results[key], rtol=1e-4,
                               atol=1e-4, err_msg=key)
  ours, upstream = (sample(module, name, 1., runs=RUNS)[0]
                    for module in (lstm_models, stock))
  # How often each drum plays, over RUNS loops from each latent.
  bits = [(x[..., None] >> np.arange(9)) & 1 for x in (ours, upstream)]
  rates = [b.mean(axis=2) for b in bits]  # [runs, latents, drums]
  error = np.sqrt(sum(r.var(axis=0) / RUNS for r in rates))
  apart = np.abs(rates[0].mean(axis=0) - rates[1].mean(axis=0)) / error
  # The largest of 54 differences between equal means.
  assert apart.max() < STANDARD_ERRORS, apart
  assert len(np.unique(ours.reshape(-1, 64), axis=0)) == RUNS * BATCH
