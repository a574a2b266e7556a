"""MusicVAE's LSTMs computed faster: the same variables, loss and gradients.

`install` makes the classes of lstm_models.py compute like this where a config
allows it: no residual connections, and for decoders one categorical output a step,
no controls and no autoregression between a hierarchy's levels, or a groove's outputs
and teacher forcing. Where not, they do as upstream has it; only a hierarchical
encoder's segments are always one batch. What makes this fast:

- A layer is one BlockLSTM op over all steps. Its gradient is our own: only what
  has to go step by step does, the kernel's gradient is one product at the end.
- On a GPU, where starting an op costs more than what it does, the gradient is one
  op too, and cuDNN's LSTM where that works (see `_gpu_layer`).
- A conductor without autoregression runs ahead of its segments, which then are
  decoded together as one batch, since each starts from its own embedding and
  from the true step before it.
- A hierarchical encoder's segments are encoded as one batch, since each is encoded
  for itself.
- A one-hot input times a kernel is a look-up of a row.
- Where the config says so, some of a decoder's inputs are left out in training
  (word dropout, Bowman et al. 2016, arXiv 1511.06349).
- Scheduled sampling draws the inputs first, without gradients (upstream's do
  not pass through the drawn steps either), and then teaches on what was drawn.

Sequences are time-major inside: [steps, batch, ...]. A step's class is 0 where
no input is (before the first step), else one more than the one-hot's index.
"""
import functools

from magenta.common import flatten_maybe_padded_sequences
from magenta.models.music_vae import lstm_utils
from magenta.models.music_vae import upstream
import numpy as np
import tensorflow.compat.v1 as tf

FORGET_BIAS = 1.0  # Of LSTMBlockCell.


def _kernel_and_bias(scope, input_size, units):
  """Returns the variables that an LSTMBlockCell in `scope` would have."""
  with tf.variable_scope(scope + '/lstm_cell', reuse=tf.AUTO_REUSE):
    return (tf.get_variable('kernel', [input_size + units, 4 * units]),
            tf.get_variable('bias', [4 * units],
                            initializer=tf.zeros_initializer()))


def _dropout_mask(shape, keep_prob):
  """Returns what DropoutWrapper multiplies inputs with; None for nothing."""
  return None if keep_prob == 1 else tf.nn.dropout(
      tf.ones(shape), rate=1 - keep_prob)


def _masked(x, mask):
  return x if mask is None else x * mask


def loop(condition, body, variables):
  # Random numbers are drawn in the order of the steps, so a seed repeats them.
  return tf.while_loop(condition, body, variables, parallel_iterations=1,
                       back_prop=False)


def _reader(t):
  """Returns a function that returns step `t` of a sequence.

  Without a copy, as x[t], but all sequences share the indices.
  """
  begin, end, stride = tf.stack([t]), tf.stack([t + 1]), tf.constant([1])
  return lambda x: tf.strided_slice(x, begin, end, stride, shrink_axis_mask=1)


def _cell(gates, c):
  """Returns LSTMBlockCell's i, cs, f, o, ci, co and h from its four gates."""
  i, ci, f, o = tf.split(gates, 4, axis=1)
  i, ci = tf.sigmoid(i), tf.tanh(ci)
  f, o = tf.sigmoid(f + FORGET_BIAS), tf.sigmoid(o)
  cs = i * ci + f * c
  co = tf.tanh(cs)
  return i, cs, f, o, ci, co, o * co


def _backward(saved, kernel_h, c0, dh, dc):
  """Backpropagates through an LSTM's steps.

  Args:
    saved: i, cs, f, o, ci and co of all steps, [steps, batch, units] each.
    kernel_h: The recurrent part of the kernel, [units, 4 * units].
    c0: The first cell state, [batch, units].
    dh: The gradients of all outputs, [steps, batch, units].
    dc: The gradient of the last cell state.

  Returns:
    The gradients of the gates [steps, batch, 4 * units], of c0 and of h0.
  """
  i, cs, f, o, ci, co = saved
  units = int(c0.shape[1])
  steps = tf.shape(dh)[0]
  c_before = tf.concat([c0[tf.newaxis], cs[:-1]], axis=0)
  # Turned once: a product with transpose_b takes twice the time on a CPU.
  kernel_t = tf.transpose(kernel_h)
  # The op takes the sizes from these, and does not look into them.
  unused = {'x': c0, 'h_prev': c0, 'w': tf.zeros([2 * units, 4 * units]),
            'b': tf.zeros([4 * units]), 'wci': tf.zeros([units]),
            'wcf': tf.zeros([units]), 'wco': tf.zeros([units])}

  def body(t, dc, dh_next, dgates):
    at_t = _reader(t)
    step = tf.raw_ops.LSTMBlockCellGrad(
        cs_prev=at_t(c_before), i=at_t(i), cs=at_t(cs), f=at_t(f), o=at_t(o),
        ci=at_t(ci), co=at_t(co), cs_grad=dc, h_grad=at_t(dh) + dh_next,
        use_peephole=False, **unused)
    return (t - 1, step.cs_prev_grad,
            tf.matmul(step.dicfo, kernel_t),
            dgates.write(t, step.dicfo))

  _, dc0, dh0, dgates = loop(
      lambda t, *_: t >= 0, body,
      (steps - 1, dc, tf.zeros_like(c0),
       tf.TensorArray(tf.float32, size=steps, element_shape=[None, 4 * units])))
  return dgates.stack(), dc0, dh0


def _kernel_gradient(inputs, dgates):
  """Returns the product over all steps and the batch at once."""
  return tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1]]),
                   tf.reshape(dgates, [-1, dgates.shape[-1]]), transpose_a=True)


def _block_lstm(x, kernel, bias, c0, h0):
  no_peephole = tf.zeros([int(c0.shape[1])])
  return tf.raw_ops.BlockLSTM(
      seq_len_max=tf.shape(x, out_type=tf.int64)[0], x=x, cs_prev=c0,
      h_prev=h0, w=kernel, wci=no_peephole, wcf=no_peephole, wco=no_peephole,
      b=bias, forget_bias=FORGET_BIAS, cell_clip=-1, use_peephole=False)


@tf.custom_gradient
def _cpu_lstm(x, kernel, bias, c0, h0):
  """Does what `_lstm` does."""
  depth = int(x.shape[2])
  run = _block_lstm(x, kernel, bias, c0, h0)

  def grad(dh, dc):
    dgates, dc0, dh0 = _backward(
        (run.i, run.cs, run.f, run.o, run.ci, run.co), kernel[depth:], c0, dh,
        dc)
    h_before = tf.concat([h0[tf.newaxis], run.h[:-1]], axis=0)
    dx = tf.tensordot(dgates, kernel[:depth], [[2], [1]])
    dkernel = tf.concat([_kernel_gradient(x, dgates),
                         _kernel_gradient(h_before, dgates)], axis=0)
    # BiasAddGrad is a sum over all but the last axis, and faster than one.
    return dx, dkernel, tf.raw_ops.BiasAddGrad(out_backprop=dgates), dc0, dh0

  return (run.h, run.cs[-1]), grad


@tf.custom_gradient
def _lstm_from_gates(gate_inputs, kernel_h, c0, h0):
  """As _lstm, from what the inputs add to the gates.

  Args:
    gate_inputs: [steps, batch, 4 * units], the bias included.
    kernel_h: The recurrent part of the kernel, [units, 4 * units].
    c0: The first cell state, [batch, units].
    h0: The first output, [batch, units].
  """
  units = int(c0.shape[1])
  steps = tf.shape(gate_inputs)[0]

  def body(t, c, h, *arrays):
    values = _cell(_reader(t)(gate_inputs) + tf.matmul(h, kernel_h), c)
    return (t + 1, values[1], values[-1]) + tuple(
        a.write(t, v) for a, v in zip(arrays, values))

  _, c, _, *arrays = loop(
      lambda t, *_: t < steps, body,
      (0, c0, h0) + tuple(tf.TensorArray(tf.float32, size=steps,
                                         element_shape=[None, units])
                          for _ in range(7)))
  *saved, h_all = [a.stack() for a in arrays]
  h_all.set_shape([gate_inputs.shape[0], c0.shape[0], units])

  def grad(dh, dc):
    dgates, dc0, dh0 = _backward(saved, kernel_h, c0, dh, dc)
    h_before = tf.concat([h0[tf.newaxis], h_all[:-1]], axis=0)
    return dgates, _kernel_gradient(h_before, dgates), dc0, dh0

  return (h_all, c), grad


def _block_gpu_lstm(x, kernel, bias, c0, h0):
  """Does what `_lstm` does; its gradient is TensorFlow's, BlockLSTMGrad."""
  run = _block_lstm(x, kernel, bias, c0, h0)
  return run.h, run.cs[-1]


def cudnn_parameters(kernel, bias):
  """Returns an LSTMBlockCell's variables as the vector that cuDNN takes.

  As tf_keras.layers.LSTM lays out its own on a GPU: the gates i, f, ci, o of the
  inputs, those of the outputs before, turned, and the same of two biases.
  """
  units = int(bias.shape[0]) // 4
  def gates(x):
    i, ci, f, o = tf.unstack(tf.reshape(x, [-1, 4, units]), axis=1)
    return tf.stack([i, f, ci, o])
  of_inputs, of_outputs = tf.split(
      tf.transpose(gates(kernel), [0, 2, 1]), [-1, units], axis=2)
  forget = np.repeat(np.float32([0, 0, FORGET_BIAS, 0]), units)
  return tf.concat([tf.reshape(x, [-1]) for x in (
      of_inputs, of_outputs, tf.zeros([4 * units]), gates(bias + forget))], axis=0)


def _cudnn_lstm(x, kernel, bias, c0, h0):
  """Does what `_lstm` does, by the op that tf_keras.layers.LSTM has on a GPU."""
  steps, batch = tf.unstack(tf.shape(x)[:2])
  run = tf.raw_ops.CudnnRNNV3(
      input=x, input_h=h0[tf.newaxis], input_c=c0[tf.newaxis],
      params=cudnn_parameters(kernel, bias),
      sequence_lengths=tf.fill([batch], steps), rnn_mode='lstm')
  return run.output, run.output_c[0]


def _is_on_gpu(tensor):
  """Whether an op that is built where this tensor was will run on a GPU."""
  kind = tf.DeviceSpec.from_string(tensor.device or '').device_type
  return kind == 'GPU' or (
      kind is None and bool(tf.config.get_visible_devices('GPU')))


@functools.cache
def _gpu_layer():
  """Returns the fastest of the functions above that this GPU computes right.

  Whoever wrote this had no GPU, and cuDNN fails with some drivers, so each is
  compared with the CPU's first; what does not agree is said, and not used.
  """
  if not tf.config.get_visible_devices('GPU'):
    return _block_gpu_lstm  # The graph is built to be looked at.
  for name, layer in (('cuDNN', _cudnn_lstm), ('BlockLSTM', _block_gpu_lstm)):
    try:
      error = _error(layer)
    except Exception as e:  # Whatever the driver raises; the last line is its own.
      error = [type(e).__name__, *(line for line in str(e).splitlines()
                                   if line and '[[' not in line)][-1]
    if not error:
      return layer
    print(f"{name}'s LSTM is not used on this GPU, which makes training slower: "
          f'{error}.')
  return _cpu_lstm


def _error(layer):
  """Returns how a layer's values and gradients on the GPU are wrong, '' if not."""
  steps, batch, depth, units = 5, 3, 4, 8
  rng = np.random.RandomState(0)
  with tf.Graph().as_default():
    results = []
    inputs = [tf.constant(rng.normal(size=shape), tf.float32) for shape in (
        [steps, batch, depth], [depth + units, 4 * units], [4 * units],
        [batch, units], [batch, units])]
    weights = tf.constant(rng.normal(size=[steps, batch, units]), tf.float32)
    for device, function in (('/CPU:0', _cpu_lstm), ('/GPU:0', layer)):
      with tf.device(device):
        h, c = function(*inputs)
        results.append([h, c] + tf.gradients(
            tf.reduce_sum(h * weights) + tf.reduce_sum(c), inputs))
    # What has no kernel for GPUs, as some that only move sizes, runs elsewhere.
    with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as sess:
      right, found = sess.run(results)
  # NumPy's maximum is NaN where anything is.
  apart = np.max([np.abs(a - b).max() / np.abs(a).max() for a, b in zip(right, found)])
  # TF32, which GPUs since Ampere multiply in, has 10 bits after the point.
  return '' if apart < 0.02 else f'it is {apart:.0%} off'


def _lstm(x, kernel, bias, c0, h0):
  """Runs an LSTM over x, [steps, batch, depth].

  Returns:
    All outputs, [steps, batch, units], and the last cell state.
  """
  layer = _gpu_layer() if _is_on_gpu(c0) else _cpu_lstm
  return layer(x, kernel, bias, c0, h0)


def _run_layer(scope, x, units, state):
  return _lstm(x, *_kernel_and_bias(scope, int(x.shape[2]), units), *state)


# ENCODERS


def encode(encoder, sequence, sequence_length):
  """Does what BidirectionalLstmEncoder.encode does, without residual connections.

  Args:
    encoder: It, built.
    sequence: [batch, steps, depth].
    sequence_length: [batch]; 0 gives zeros, as with upstream.

  Returns:
    The last outputs of both directions, [batch, 2 * units].
  """
  hparams, batch = encoder.hparams, int(sequence.shape[0])
  keep_prob = (hparams.dropout_keep_prob if upstream.is_training(encoder)
               else 1)
  def reverse(x):  # Each sequence up to its length.
    return tf.reverse_sequence(x, sequence_length, seq_axis=0, batch_axis=1)
  forward = tf.transpose(sequence, [1, 0, 2])
  with tf.variable_scope(upstream.scope(encoder)):
    for layer, units in enumerate(hparams.enc_rnn_size):
      zeros = tf.zeros([batch, units])
      outputs = []
      for name, x in (('fw', forward), ('bw', reverse(forward))):
        outputs.append(_run_layer(
            f'cell_{layer}/bidirectional_rnn/{name}/multi_rnn_cell/cell_0',
            _masked(x, _dropout_mask(tf.shape(x), keep_prob)), units,
            (zeros, zeros))[0])
      forward = tf.concat([outputs[0], reverse(outputs[1])], axis=2)
  last = tf.stack([tf.maximum(sequence_length - 1, 0), tf.range(batch)], axis=1)
  return tf.where(
      sequence_length > 0,
      tf.concat([tf.gather_nd(h, last) for h in outputs], axis=1),
      tf.zeros([batch, 2 * units]))


def encode_levels(encoder, sequence, sequence_length):
  """Does what HierarchicalLstmEncoder.encode does, a level at once.

  Each segment is encoded for itself, so all are one batch.
  """
  batch = int(sequence.shape[0])
  lengths = lstm_utils.maybe_split_sequence_lengths(
      sequence_length, np.prod(upstream.level_lengths(encoder)[1:]),
      upstream.total_length(encoder))
  for level, (segments, core) in enumerate(upstream.level_encoders(encoder)):
    split = tf.split(sequence, segments, axis=1)
    if level:  # Embeddings, of which none is missing.
      lengths = tf.fill([batch, segments], split[0].shape[1])
    embeddings = core.encode(tf.concat(split, axis=0),
                             tf.reshape(tf.transpose(lengths), [-1]))
    sequence = tf.stack(tf.split(embeddings, segments), axis=1)
  with tf.control_dependencies([tf.assert_equal(tf.shape(sequence)[1], 1)]):
    return sequence[:, 0]


# DECODERS


def can_decode(decoder, c_input):
  """Whether the functions below do what `decoder`'s own methods would."""
  return (type(decoder).__name__ == 'CategoricalLstmDecoder' and
          c_input is None and not decoder.hparams.residual_decoder)


def can_decode_hierarchy(decoder, c_input):
  """The same for a HierarchicalLstmDecoder."""
  return (not upstream.re_encoder(decoder) and
          all(level in upstream.levels_without_feedback(decoder)
              for level in range(len(upstream.level_lengths(decoder)) - 1)) and
          can_decode(upstream.core_decoder(decoder), c_input))


def _classes(one_hot):
  """Returns the classes [steps, batch] of one-hot [batch, steps, depth]."""
  numbers = tf.range(1., one_hot.shape[-1] + 1)
  return tf.transpose(tf.cast(tf.tensordot(one_hot, numbers, 1), tf.int32))


class Core:
  """The variables of a CategoricalLstmDecoder, and its ways to run."""

  def __init__(self, decoder, z, steps=None):
    """Sets up decoding of `z`, [batch, z_size].

    Args:
      decoder: A CategoricalLstmDecoder that has been built.
      z: What each sequence is conditioned on; its size may be 0.
      steps: Number of steps to draw dropout masks for.
    """
    self._units = units = list(decoder.hparams.dec_rnn_size)
    depth, z_size = upstream.output_depth(decoder), int(z.shape[1])
    self.batch = int(z.shape[0])
    self.state = tf.nest.flatten(lstm_utils.initial_cell_state_from_embedding(
        upstream.cell(decoder), z, name='decoder/z_to_initial_state'))
    with tf.variable_scope('decoder'):
      sizes = [depth + z_size] + units
      self._layers = [
          _kernel_and_bias(f'multi_rnn_cell/cell_{i}', sizes[i], units[i])
          for i in range(len(units))]
      with tf.variable_scope('output_projection', reuse=tf.AUTO_REUSE):
        self._projection = (
            tf.get_variable('kernel', [units[-1], depth]),
            tf.get_variable('bias', [depth],
                            initializer=tf.zeros_initializer()))
    kernel, bias = self._layers[0]
    self._depth = depth
    self._rows = tf.pad(kernel[:depth], [(1, 0), (0, 0)])
    kernel_z, self._kernel_h = kernel[depth:-units[0]], kernel[-units[0]:]
    keep_prob = (decoder.hparams.dropout_keep_prob
                 if upstream.is_training(decoder) else 1)
    def mask(size):
      return _dropout_mask([steps, self.batch, size], keep_prob)
    # One element of a one-hot input is all there is to drop.
    self._row_mask = mask(1)
    self._masks = [mask(size) for size in units[:-1]]
    z_mask = mask(z_size)
    self._z = _masked(z, z_mask)
    self.gates_z = bias + (
        tf.matmul(z, kernel_z) if z_mask is None else
        tf.tensordot(self._z, kernel_z, 1))

  def _gate_inputs(self, classes, gates_z, row_mask):
    return _masked(tf.gather(self._rows, classes), row_mask) + gates_z

  def project(self, h):
    """Returns logits of outputs."""
    kernel, bias = self._projection
    return tf.nn.bias_add(tf.tensordot(h, kernel, 1), bias)

  def teacher_force(self, classes):
    """Returns logits and the last state, given the inputs of all steps."""
    if _is_on_gpu(self.state[0]):  # There one product more is nothing, a loop much.
      rows = tf.one_hot(classes - 1, self._depth)
      z = tf.broadcast_to(self._z, tf.concat(
          [tf.shape(classes), tf.shape(self._z)[-1:]], axis=0))
      h, c = _lstm(tf.concat([_masked(rows, self._row_mask), z], axis=2),
                   *self._layers[0], *self.state[:2])
    else:
      h, c = _lstm_from_gates(
          self._gate_inputs(classes, self.gates_z, self._row_mask),
          self._kernel_h, *self.state[:2])
    state = [c, h[-1]]
    for i, (variables, mask) in enumerate(zip(self._layers[1:], self._masks)):
      h, c = _lstm(_masked(h, mask), *variables,
                   *self.state[2 * i + 2:2 * i + 4])
      state += [c, h[-1]]
    return self.project(h), state

  def step(self, classes, state, gates_z, t=None):
    """Returns logits and the next state of one step, with step t's dropout."""
    def at(mask):
      return None if mask is None else mask[t]
    new_state = []
    for i, (kernel, bias) in enumerate(self._layers):
      c, h = state[2 * i:2 * i + 2]
      if i:
        x = tf.concat([_masked(x, at(self._masks[i - 1])), h], axis=1)
        gates = tf.matmul(x, kernel) + bias
      else:
        gates = tf.matmul(h, self._kernel_h) + self._gate_inputs(
            classes, gates_z, at(self._row_mask))
      _, c, _, _, _, _, x = _cell(gates, c)
      new_state += [c, x]
    return self.project(x), new_state

  def draw_inputs(self, classes, probability):
    """Replaces true inputs by sampled ones with `probability` (a scalar).

    As ScheduledOutputTrainingHelper does: never at the first step.

    Returns:
      The inputs, [steps, batch], and which were sampled.
    """
    steps = tf.shape(classes)[0]
    def body(t, previous, state, drawn, is_drawn):
      logits, state = self.step(
          previous, state,
          self.gates_z if self._row_mask is None else self.gates_z[t], t)
      sampled = tf.random.uniform([self.batch]) < probability
      previous = tf.where(sampled, _draw(logits), classes[t + 1])
      return (t + 1, previous, state, drawn.write(t + 1, previous),
              is_drawn.write(t + 1, sampled))
    drawn = tf.TensorArray(tf.int32, size=steps, element_shape=[self.batch])
    is_drawn = tf.TensorArray(tf.bool, size=steps, element_shape=[self.batch])
    _, _, _, drawn, is_drawn = loop(
        lambda t, *_: t < steps - 1, body,
        (0, classes[0], self.state, drawn.write(0, classes[0]),
         is_drawn.write(0, tf.zeros([self.batch], tf.bool))))
    return drawn.stack(), is_drawn.stack()


def _draw(logits):
  """Returns a class a row, [batch], sampled from logits [batch, depth]."""
  return 1 + tf.random.categorical(logits, 1, dtype=tf.int32)[:, 0]


def _loss(decoder, x_input, x_target, x_length, z):
  """Returns the loss of each sequence, and the LstmDecodeResults."""
  classes = _classes(x_input)
  steps = tf.shape(classes)[0]
  rate = decoder.hparams.get('input_dropout', 0.)
  if rate and upstream.is_training(decoder):  # So that it looks at its latent.
    classes = tf.where_v2(
        tf.random.uniform(tf.shape(classes)) < rate, 0, classes)
  core = Core(decoder, z, steps)
  probability = upstream.sampling_probability(decoder)
  sampling = tf.get_static_value(probability) != 0
  if sampling:
    classes, samples = core.draw_inputs(classes, probability)
  logits, state = core.teacher_force(classes)
  if not sampling:
    samples = tf.argmax(logits, axis=-1, output_type=tf.int32)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=tf.maximum(_classes(x_target) - 1, 0), logits=logits)
  mask = tf.sequence_mask(x_length, steps, dtype=tf.float32)
  return (tf.reduce_sum(tf.transpose(losses) * mask, axis=1),
          _results(decoder, classes, logits, samples, state, x_length))


def _results(decoder, classes, logits, samples, state, lengths):
  """Returns the LstmDecodeResults of a sequence's steps.

  The lengths' values are hidden until the graph runs, as upstream's are, because
  SplitMultiOutLstmDecoder asserts that they equal max_seq_len. Those of a
  hierarchy's segments never do: known values would stop the graph from being
  built, while at run time neither samples nor loss depend on the assertion.
  """
  return lstm_utils.LstmDecodeResults(
      rnn_input=tf.one_hot(tf.transpose(classes) - 1,
                           upstream.output_depth(decoder)),
      rnn_output=tf.transpose(logits, [1, 0, 2]),
      samples=tf.transpose(samples, [1, 0] + list(range(2, samples.shape.rank))),
      final_state=tf.nest.pack_sequence_as(decoder.state_size, state),
      final_sequence_lengths=tf.placeholder_with_default(
          lengths, lengths.shape))


def _metrics(decoder, x_target, x_length, logits):
  """Returns upstream's streaming metrics; training has no use for them."""
  if upstream.is_training(decoder):
    return {}
  return upstream.flat_loss(
      decoder, flatten_maybe_padded_sequences(x_target, x_length),
      flatten_maybe_padded_sequences(logits, x_length))[1]


def reconstruction_loss(decoder, x_input, x_target, x_length, z):
  """Does what CategoricalLstmDecoder.reconstruction_loss does."""
  if z is None:
    z = tf.zeros([x_input.shape[0], 0])
  loss, results = _loss(decoder, x_input, x_target, x_length, z)
  return (loss, _metrics(decoder, x_target, x_length, results.rnn_output),
          results)


def can_force_groove(decoder):
  """Whether `groove_loss` does what a GrooveLstmDecoder's own method would."""
  return (type(decoder).__name__ == 'GrooveLstmDecoder' and
          not decoder.hparams.residual_decoder and
          tf.get_static_value(upstream.sampling_probability(decoder)) == 0)


def groove_loss(decoder, x_input, x_target, x_length, z, c_input):
  """Does what GrooveLstmDecoder.reconstruction_loss does with teacher forcing."""
  batch, steps = int(x_input.shape[0]), tf.shape(x_input)[1]
  z = tf.zeros([batch, 0]) if z is None else z
  rate = decoder.hparams.get('input_dropout', 0.)
  heard = x_input
  if rate and upstream.is_training(decoder):
    heard *= tf.cast(tf.random.uniform([batch, steps, 1]) >= rate, tf.float32)
  x = tf.concat([heard, tf.tile(z[:, tf.newaxis], [1, steps, 1])] +
                ([] if c_input is None else [c_input]), axis=2)
  x = tf.transpose(x, [1, 0, 2])
  first = tf.nest.flatten(lstm_utils.initial_cell_state_from_embedding(
      upstream.cell(decoder), z, name='decoder/z_to_initial_state'))
  keep_prob = (decoder.hparams.dropout_keep_prob
               if upstream.is_training(decoder) else 1)
  depth, state = upstream.output_depth(decoder), []
  with tf.variable_scope('decoder', reuse=tf.AUTO_REUSE):
    for i, units in enumerate(decoder.hparams.dec_rnn_size):
      x, c = _run_layer(
          f'multi_rnn_cell/cell_{i}',
          _masked(x, _dropout_mask(tf.shape(x), keep_prob)), units,
          first[2 * i:2 * i + 2])
      state += [c, x[-1]]
    with tf.variable_scope('output_projection'):
      kernel = tf.get_variable('kernel', [x.shape[2], depth])
      bias = tf.get_variable('bias', [depth],
                             initializer=tf.zeros_initializer())
  outputs = tf.transpose(tf.tensordot(x, kernel, 1) + bias, [1, 0, 2])
  losses, metrics = upstream.flat_loss(
      decoder, tf.reshape(x_target, [-1, depth]), tf.reshape(outputs, [-1, depth]))
  mask = tf.sequence_mask(x_length, steps, dtype=tf.float32)
  return (tf.reduce_sum(tf.reshape(losses, [batch, steps]) * mask, axis=1),
          {} if upstream.is_training(decoder) else metrics,
          lstm_utils.LstmDecodeResults(
              rnn_input=x_input, rnn_output=outputs,
              samples=tf.argmax(outputs, axis=-1, output_type=tf.int32),
              final_state=tf.nest.pack_sequence_as(decoder.state_size, state),
              final_sequence_lengths=x_length))


def conduct(decoder, z):
  """Returns the core decoder's embeddings, [batch * segments, units]."""
  hparams = decoder.hparams
  is_training = upstream.is_training(upstream.core_decoder(decoder))
  embeddings = z
  for level, steps in enumerate(upstream.level_lengths(decoder)[:-1]):
    batch = int(embeddings.shape[0])
    with tf.variable_scope(tf.VariableScope(
        tf.AUTO_REUSE, f'decoder/hierarchical_level_{level}')):
      state = tf.nest.flatten(lstm_utils.initial_cell_state_from_embedding(
          upstream.level_cells(decoder)[level], embeddings,
          name='initial_state'))
      h = tf.zeros([steps, batch, 1])
      for i, units in enumerate(hparams.dec_rnn_size):
        mask = _dropout_mask(
            h.shape, hparams.dropout_keep_prob if is_training else 1)
        h = _run_layer(f'cell_{i}', _masked(h, mask), units,
                       state[2 * i:2 * i + 2])[0]
    embeddings = tf.reshape(tf.transpose(h, [1, 0, 2]), [batch * steps, units])
  return embeddings


def hierarchical_reconstruction_loss(decoder, x_input, x_target, x_length, z):
  """Does what HierarchicalLstmDecoder.reconstruction_loss does."""
  core = upstream.core_decoder(decoder)
  batch = int(x_input.shape[0])
  *upper, steps = upstream.level_lengths(decoder)
  segments = int(np.prod(upper))
  z = tf.zeros([batch, 0]) if z is None else z
  x_length = lstm_utils.maybe_split_sequence_lengths(
      x_length, segments, upstream.total_length(decoder))
  def split(x):
    return tf.reshape(x, [batch * segments, steps, x.shape[-1]])
  embeddings = conduct(decoder, z)
  with tf.variable_scope('core_decoder', reuse=tf.AUTO_REUSE):
    loss, results = _loss(core, split(x_input), split(x_target),
                          tf.reshape(x_length, [-1]), embeddings)
  loss = tf.reduce_sum(tf.reshape(loss, [batch, segments]), axis=1)
  results = _merge(results, batch, segments)
  metrics = {}
  for i in range(segments):
    part = slice(i * steps, (i + 1) * steps)
    for name, metric in _metrics(
        core, x_target[:, part], x_length[:, i],
        results.rnn_output[:, part]).items():
      metrics[f'segment/{i:03d}/{name}'] = metric
      metrics.setdefault(name, []).append(metric[0])
  metrics = {name: (tf.reduce_mean(metric), tf.no_op())
             if isinstance(metric, list) else metric
             for name, metric in metrics.items()}
  return loss, metrics, results


def _merge(results, batch, segments):
  """Puts the segments of each sequence together in one."""
  def merge(x):
    return tf.reshape(x, [batch, -1] + list(x.shape[2:]))
  return lstm_utils.LstmDecodeResults(
      rnn_input=merge(results.rnn_input),
      rnn_output=merge(results.rnn_output),
      samples=merge(results.samples),
      final_state=tf.nest.map_structure(
          lambda x: tf.reshape(x, [batch, segments, x.shape[-1]])[:, -1],
          results.final_state),
      final_sequence_lengths=tf.reshape(
          results.final_sequence_lengths, [batch, segments]))


def can_sample(decoder, end_token):
  """Whether `sample` does what a decoder that `can_decode` accepts would."""
  return end_token is None and (decoder.hparams.dropout_keep_prob == 1 or
                                not upstream.is_training(decoder))


def _generate(decoder, z, segments, steps, temperature, first, lengths):
  """Samples segments one after another, each from its own `z`.

  Args:
    decoder: A CategoricalLstmDecoder.
    z: [segments * batch, z_size], first segment first.
    segments: Number of segments.
    steps: Number of steps of a segment; may be a tensor.
    temperature: Scalar that divides the logits.
    first: Classes to start from, [batch].
    lengths: The results' final_sequence_lengths.

  Returns:
    The LstmDecodeResults of the whole, [batch, segments * steps, ...].
  """
  core = Core(decoder, z)
  batch = core.batch // segments
  def split(x):
    return tf.reshape(x, [segments, batch, x.shape[-1]])
  first_states, gates_z = [split(x) for x in core.state], split(core.gates_z)
  total = segments * steps

  def segment(s, previous, _, *arrays):
    def body(t, previous, state, inputs, outputs, drawn):
      logits, state = core.step(previous, state, gates_z[s])
      now = _draw(logits / temperature)
      return (t + 1, now, state, inputs.write(t, previous),
              outputs.write(t, logits), drawn.write(t, now))
    _, previous, state, *arrays = loop(
        lambda t, *_: t < (s + 1) * steps, body,
        (s * steps, previous, [x[s] for x in first_states], *arrays))
    return (s + 1, previous, state, *arrays)

  depth = upstream.output_depth(decoder)
  _, _, state, inputs, logits, drawn = loop(
      lambda s, *_: s < segments, segment,
      (0, first, [x[0] for x in first_states],
       tf.TensorArray(tf.int32, size=total, element_shape=[batch]),
       tf.TensorArray(tf.float32, size=total, element_shape=[batch, depth]),
       tf.TensorArray(tf.int32, size=total, element_shape=[batch])))
  return _results(
      decoder, inputs.stack(), logits.stack(),
      tf.one_hot(drawn.stack() - 1, depth), state, lengths)


def sample(decoder, n, max_length, z, temperature, start_inputs):
  """Does what CategoricalLstmDecoder.sample does."""
  if z is None:
    z = tf.zeros([n, 0])
  first = (tf.zeros([n], tf.int32) if start_inputs is None else
           _classes(start_inputs[:, tf.newaxis])[0])
  results = _generate(decoder, z, 1, max_length, temperature, first,
                      tf.fill([n], max_length))
  return results.samples, results


def hierarchical_sample(decoder, n, max_length, z, temperature):
  """Does what HierarchicalLstmDecoder.sample does."""
  *upper, steps = upstream.level_lengths(decoder)
  segments = int(np.prod(upper))
  embeddings = conduct(decoder, tf.zeros([n, 0]) if z is None else z)
  size = embeddings.shape[-1]
  segment_major = tf.transpose(
      tf.reshape(embeddings, [n, segments, size]), [1, 0, 2])
  with tf.control_dependencies([] if max_length is None else [tf.assert_equal(
      max_length, upstream.total_length(decoder),
      message='`max_length` must equal `hparams.max_seq_len` if given.')]):
    segment_major = tf.identity(segment_major)
  with tf.variable_scope('core_decoder', reuse=tf.AUTO_REUSE):
    results = _generate(
        upstream.core_decoder(decoder), tf.reshape(segment_major, [-1, size]),
        segments, steps, temperature, tf.zeros([n], tf.int32),
        tf.fill([n, segments], steps))
  return results.samples, results


# HOOKS


def _remember(build, self, hparams, *args, **kwargs):
  self.hparams = hparams  # Not all of upstream's classes do.
  build(self, hparams, *args, **kwargs)


def _encode(slow, self, sequence, sequence_length):
  fast = slow if self.hparams.residual_encoder else encode
  return fast(self, sequence, sequence_length)


def _encode_levels(slow, self, sequence, sequence_length):
  del slow
  return encode_levels(self, sequence, sequence_length)


def _reconstruction_loss(slow, self, x_input, x_target, x_length, z=None,
                         c_input=None):
  if can_decode(self, c_input):
    return reconstruction_loss(self, x_input, x_target, x_length, z)
  return slow(self, x_input, x_target, x_length, z, c_input)


def _groove_loss(slow, self, x_input, x_target, x_length, z=None, c_input=None):
  fast = groove_loss if can_force_groove(self) else slow
  return fast(self, x_input, x_target, x_length, z, c_input)


def _fits(z, n):
  return z is None or int(z.shape[0]) == n


def _sample(slow, self, n, max_length=None, z=None, c_input=None,
            temperature=None, start_inputs=None, end_fn=None):
  if can_decode(self, c_input) and can_sample(self, end_fn) and _fits(z, n):
    return sample(self, n, max_length, z, temperature, start_inputs)
  return slow(self, n, max_length, z, c_input, temperature, start_inputs, end_fn)


def _hierarchical_loss(slow, self, x_input, x_target, x_length, z=None,
                       c_input=None):
  if can_decode_hierarchy(self, c_input):
    return hierarchical_reconstruction_loss(self, x_input, x_target, x_length, z)
  return slow(self, x_input, x_target, x_length, z, c_input)


def _hierarchical_sample(slow, self, n, max_length=None, z=None, c_input=None,
                         **kwargs):
  if (can_decode_hierarchy(self, c_input) and list(kwargs) == ['temperature'] and
      can_sample(upstream.core_decoder(self), None) and _fits(z, n)):
    return hierarchical_sample(self, n, max_length, z, **kwargs)
  return slow(self, n, max_length, z, c_input, **kwargs)


def install(module):
  """Makes the classes of lstm_models.py, whose globals these are, do this."""
  for cls, name, function in (
      ('BidirectionalLstmEncoder', 'build', _remember),
      ('BaseLstmDecoder', 'build', _remember),
      ('BidirectionalLstmEncoder', 'encode', _encode),
      ('HierarchicalLstmEncoder', 'encode', _encode_levels),
      ('CategoricalLstmDecoder', 'reconstruction_loss', _reconstruction_loss),
      ('CategoricalLstmDecoder', 'sample', _sample),
      ('GrooveLstmDecoder', 'reconstruction_loss', _groove_loss),
      ('HierarchicalLstmDecoder', 'reconstruction_loss', _hierarchical_loss),
      ('HierarchicalLstmDecoder', 'sample', _hierarchical_sample)):
    upstream.wrap(module[cls], name, function)
