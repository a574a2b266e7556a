"""LSTM layers, computed faster than upstream's: same variables, loss and gradients.

A layer runs over all steps of a batch. Sequences are time-major:

  x        [steps, batch, depth]        inputs
  h        [steps, batch, units]        outputs
  c0, h0   [batch, units]               cell state and output before the first step
  kernel   [depth + units, 4 * units]   rows for the inputs, then for the outputs
  bias     [4 * units]

A step computes what TensorFlow's LSTMBlockCell does. `@` is a matrix product and `*`
is elementwise; cs' and h' are of the step before.

  i, ci, f, o = split(x @ kernel[:depth] + h' @ kernel[depth:] + bias, 4)   the gates
  i, ci, f, o = sigmoid(i), tanh(ci), sigmoid(f + FORGET_BIAS), sigmoid(o)
  cs          = i * ci + f * cs'                                            cell state
  co          = tanh(cs)
  h           = o * co

The gradients of the gates, dgates [steps, batch, 4 * units], need one step after
another, from the last to the first. At each step LSTMBlockCellGrad makes dgates, and

  dh'         = dgates @ kernel[depth:].T

goes to the step before. The other gradients then are one op each for all steps:

  dx          = dgates @ kernel[:depth].T
  dkernel     = concat(x, h').T @ dgates
  dbias       = sum(dgates)

On a CPU a layer is one BlockLSTM op with these gradients. On a GPU, where starting an
op costs more than computing it, the gradients are one op too (see `gpu_layer`).
"""
import functools
from collections.abc import Callable, Mapping, Sequence

from magenta.models.music_vae import upstream
import numpy as np
import tensorflow.compat.v1 as tf

FORGET_BIAS = 1.0  # LSTMBlockCell's default.

# (x, kernel, bias, c0, h0) -> (h, the last cell state [batch, units]).
Layer = Callable[..., tuple[tf.Tensor, tf.Tensor]]


def kernel_and_bias(
    scope: str, depth: int, units: int) -> tuple[tf.Variable, tf.Variable]:
  """Returns the variables that an LSTMBlockCell in `scope` would have."""
  with tf.variable_scope(scope + '/lstm_cell', reuse=tf.AUTO_REUSE):
    return (tf.get_variable('kernel', [depth + units, 4 * units]),
            tf.get_variable('bias', [4 * units],
                            initializer=tf.zeros_initializer()))


def keep_prob(coder: object) -> float:
  """Returns the share of its inputs that an encoder or decoder keeps: dropout's."""
  return coder.hparams.dropout_keep_prob if upstream.is_training(coder) else 1


def dropout_mask(shape: object, keep_prob: float) -> tf.Tensor | None:
  """Returns what DropoutWrapper multiplies inputs with; None without dropout."""
  return None if keep_prob == 1 else tf.nn.dropout(
      tf.ones(shape), rate=1 - keep_prob)


def masked(x: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
  """Returns x with `dropout_mask`'s mask applied."""
  return x if mask is None else x * mask


def loop(condition: Callable, body: Callable, variables: Sequence) -> list:
  """Returns a tf.while_loop's variables; no gradients pass through it.

  Its steps run one by one, so that random numbers are drawn in their order and a
  seed repeats them.
  """
  return tf.while_loop(condition, body, variables, parallel_iterations=1,
                       back_prop=False)


def run_layer(scope: str, x: tf.Tensor, units: int,
              state: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
  """Runs the layer whose variables are in `scope`.

  Args:
    scope: Of the layer's cell, within the current variable scope.
    x: Inputs, [steps, batch, depth].
    units: Size of the outputs.
    state: c0 and h0, [batch, units] each.

  Returns:
    The outputs, [steps, batch, units], and the last cell state, [batch, units].
  """
  return lstm(x, *kernel_and_bias(scope, int(x.shape[2]), units), *state)


def lstm(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, c0: tf.Tensor,
         h0: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Runs a layer on the device of its tensors; returns what `run_layer` does."""
  layer = gpu_layer() if is_on_gpu(c0) else cpu_layer
  return layer(x, kernel, bias, c0, h0)


def is_on_gpu(tensor: tf.Tensor) -> bool:
  """Whether an op that is built where this tensor was will run on a GPU."""
  kind = tf.DeviceSpec.from_string(tensor.device or '').device_type
  return kind == 'GPU' or (
      kind is None and bool(tf.config.get_visible_devices('GPU')))


# ONE STEP


def cell_step(gates: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, ...]:
  """Returns i, cs, f, o, ci, co and h, [batch, units] each.

  In this order BlockLSTM returns them, too.

  Args:
    gates: The sums before the sigmoids and the tanh, [batch, 4 * units].
    c: The cell state before, [batch, units].
  """
  i, ci, f, o = tf.split(gates, 4, axis=1)
  i, ci = tf.sigmoid(i), tf.tanh(ci)
  f, o = tf.sigmoid(f + FORGET_BIAS), tf.sigmoid(o)
  cs = i * ci + f * c
  co = tf.tanh(cs)
  return i, cs, f, o, ci, co, o * co


def _reader(t):
  """Returns a function that returns step `t` of a sequence.

  It is x[t] without a copy, and all sequences share the indices.
  """
  begin, end, stride = tf.stack([t]), tf.stack([t + 1]), tf.constant([1])
  return lambda x: tf.strided_slice(x, begin, end, stride, shrink_axis_mask=1)


# GRADIENTS


def _gate_gradients(saved, kernel_h, c0, dh, dc):
  """Backpropagates through a layer's steps.

  Args:
    saved: i, cs, f, o, ci and co, [steps, batch, units] each.
    kernel_h: The rows for the outputs, kernel[depth:], [units, 4 * units].
    c0: The first cell state, [batch, units].
    dh: The gradients of all outputs, [steps, batch, units].
    dc: The gradient of the last cell state, [batch, units].

  Returns:
    The gradients of the gates, [steps, batch, 4 * units], of c0 and of h0.
  """
  i, cs, f, o, ci, co = saved
  units = int(c0.shape[1])
  steps = tf.shape(dh)[0]
  c_before = tf.concat([c0[tf.newaxis], cs[:-1]], axis=0)
  # Transposed once: a product with transpose_b takes twice the time on a CPU.
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
  """Returns inputs.T @ dgates, [depth, 4 * units], over all steps and the batch."""
  return tf.matmul(tf.reshape(inputs, [-1, inputs.shape[-1]]),
                   tf.reshape(dgates, [-1, dgates.shape[-1]]), transpose_a=True)


# LAYERS


def _block_lstm(x, kernel, bias, c0, h0):
  no_peephole = tf.zeros([int(c0.shape[1])])
  return tf.raw_ops.BlockLSTM(
      seq_len_max=tf.shape(x, out_type=tf.int64)[0], x=x, cs_prev=c0,
      h_prev=h0, w=kernel, wci=no_peephole, wcf=no_peephole, wco=no_peephole,
      b=bias, forget_bias=FORGET_BIAS, cell_clip=-1, use_peephole=False)


@tf.custom_gradient
def cpu_layer(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, c0: tf.Tensor,
              h0: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """A `Layer` by BlockLSTM, with gradients by the equations above."""
  depth = int(x.shape[2])
  run = _block_lstm(x, kernel, bias, c0, h0)

  def grad(dh, dc):
    dgates, dc0, dh0 = _gate_gradients(
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
def layer_from_gates(
    gate_inputs: tf.Tensor, kernel_h: tf.Tensor, c0: tf.Tensor,
    h0: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Runs a layer whose inputs are multiplied with the kernel already.

  Args:
    gate_inputs: x @ kernel[:depth] + bias, [steps, batch, 4 * units].
    kernel_h: kernel[depth:], [units, 4 * units].
    c0: The first cell state, [batch, units].
    h0: The first output, [batch, units].

  Returns:
    What `run_layer` does.
  """
  units = int(c0.shape[1])
  steps = tf.shape(gate_inputs)[0]

  def body(t, c, h, *arrays):
    values = cell_step(_reader(t)(gate_inputs) + tf.matmul(h, kernel_h), c)
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
    dgates, dc0, dh0 = _gate_gradients(saved, kernel_h, c0, dh, dc)
    h_before = tf.concat([h0[tf.newaxis], h_all[:-1]], axis=0)
    return dgates, _kernel_gradient(h_before, dgates), dc0, dh0

  return (h_all, c), grad


def block_lstm_layer(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, c0: tf.Tensor,
                     h0: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """A `Layer` by BlockLSTM, with TensorFlow's gradients, BlockLSTMGrad."""
  run = _block_lstm(x, kernel, bias, c0, h0)
  return run.h, run.cs[-1]


def cudnn_layer(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, c0: tf.Tensor,
                h0: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """A `Layer` by cuDNN, by the op that tf_keras.layers.LSTM has on a GPU."""
  steps, batch = tf.unstack(tf.shape(x)[:2])
  run = tf.raw_ops.CudnnRNNV3(
      input=x, input_h=h0[tf.newaxis], input_c=c0[tf.newaxis],
      params=cudnn_parameters(kernel, bias),
      sequence_lengths=tf.fill([batch], steps), rnn_mode='lstm')
  return run.output, run.output_c[0]


def cudnn_parameters(kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
  """Returns a layer's variables as the one vector that cuDNN takes.

  tf_keras.layers.LSTM lays out its own like this on a GPU: kernel[:depth],
  kernel[depth:], zeros (a second bias), bias. In each the gates are in the order
  i, f, ci, o. A gate's part of the kernel is transposed, [units, depth or units].
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


# CHOICE OF A GPU'S LAYER

# Fastest first.
GPU_LAYERS = {'cuDNN': cudnn_layer, 'BlockLSTM': block_lstm_layer}


@functools.cache
def gpu_layer() -> Layer:
  """Returns the fastest layer that this machine's GPU computes correctly."""
  if not tf.config.get_visible_devices('GPU'):
    return block_lstm_layer  # The graph is built to be looked at.
  return first_correct(GPU_LAYERS)


def first_correct(layers: Mapping[str, Layer]) -> Layer:
  """Returns the first of these layers that the GPU computes as the CPU does.

  cuDNN fails with some drivers. Each layer that fails, or differs, is reported on
  stdout. If all do, `cpu_layer` is returned.
  """
  for name, layer in layers.items():
    try:
      error = _error(layer)
    except Exception as e:  # Whatever the driver raises; the last line is its own.
      error = [type(e).__name__, *(line for line in str(e).splitlines()
                                   if line and '[[' not in line)][-1]
    if not error:
      return layer
    print(f"{name}'s LSTM is not used on this GPU, which makes training slower: "
          f'{error}.')
  return cpu_layer


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
    for device, function in (('/CPU:0', cpu_layer), ('/GPU:0', layer)):
      with tf.device(device):
        h, c = function(*inputs)
        results.append([h, c] + tf.gradients(
            tf.reduce_sum(h * weights) + tf.reduce_sum(c), inputs))
    # An op without a kernel for GPUs, such as some that move sizes, runs elsewhere.
    with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as sess:
      right, found = sess.run(results)
  # NumPy's maximum is NaN where anything is.
  difference = np.max([np.abs(a - b).max() / np.abs(a).max()
                       for a, b in zip(right, found)])
  # GPUs since Ampere multiply in TF32, which has 10 bits after the point.
  return '' if difference < 0.02 else f'it is {difference:.0%} off'
