"""The decoders of lstm_models.py by fast_lstm_layers.

- A one-hot input times a kernel is a look-up of a row.
- A conductor without autoregression makes the embeddings of all segments first. The
  segments then are decoded as one batch: each starts from its own embedding, and
  from the true step before it.
- In training a config may leave out some of a decoder's inputs, which makes the
  decoder depend on its latent (word dropout, Bowman et al. 2016, arXiv 1511.06349).
- Scheduled sampling draws all inputs first, without gradients; upstream's gradients
  do not pass through the drawn steps either. Then it trains on what was drawn.

Inside, sequences are time-major, [steps, batch, ...]. The class of a step is 0 where
no input is (before the first step), else one more than the one-hot's index.
"""
from collections.abc import Sequence

from magenta.common import flatten_maybe_padded_sequences
from magenta.models.music_vae import fast_lstm_layers as layers
from magenta.models.music_vae import lstm_utils
from magenta.models.music_vae import upstream
import numpy as np
import tensorflow.compat.v1 as tf

# What a decoder's reconstruction_loss returns: the losses in nats [batch], streaming
# metrics by name, and the LstmDecodeResults.
Reconstruction = tuple[tf.Tensor, dict, lstm_utils.LstmDecodeResults]
# What its sample returns: the samples [batch, steps, depth] and the same results.
Samples = tuple[tf.Tensor, lstm_utils.LstmDecodeResults]


def _initial_state(cell, z, name):
  """Returns the first c and h of each layer, [batch, units] each, from z."""
  return tf.nest.flatten(
      lstm_utils.initial_cell_state_from_embedding(cell, z, name=name))


def _output_projection(units, depth):
  """Returns the kernel [units, depth] and bias [depth] of a decoder's outputs."""
  with tf.variable_scope('output_projection', reuse=tf.AUTO_REUSE):
    return (tf.get_variable('kernel', [units, depth]),
            tf.get_variable('bias', [depth],
                            initializer=tf.zeros_initializer()))


def _or_empty(z, batch):
  """Returns z, or latents of size 0 for an unconditional model's None."""
  return tf.zeros([batch, 0]) if z is None else z


# CATEGORICAL: one class a step


def can_decode(decoder: object, c_input: tf.Tensor | None) -> bool:
  """Whether `decoder` is a CategoricalLstmDecoder that is computed here.

  It has no controls (`c_input`) and no residual connections.
  """
  return (type(decoder).__name__ == 'CategoricalLstmDecoder' and
          c_input is None and not decoder.hparams.residual_decoder)


def can_sample(decoder: object, end_fn: object) -> bool:
  """Whether a decoder that `can_decode` samples here: to the end, without dropout."""
  return end_fn is None and layers.keep_prob(decoder) == 1


def _classes(one_hot):
  """Returns the classes [steps, batch] of one-hot [batch, steps, depth]."""
  numbers = tf.range(1., one_hot.shape[-1] + 1)
  return tf.transpose(tf.cast(tf.tensordot(one_hot, numbers, 1), tf.int32))


def _draw(logits):
  """Returns a class a row, [batch], sampled from logits [batch, depth]."""
  return 1 + tf.random.categorical(logits, 1, dtype=tf.int32)[:, 0]


class CategoricalDecoder:
  """A CategoricalLstmDecoder's variables for a batch of latents, and ways to run.

  batch: Number of sequences.
  state: The first c and h of each layer, [batch, units] each.
  gates_z: What the latents add to the first layer's gates, its bias included:
    [batch, 4 * units], with dropout [steps, batch, 4 * units].
  """

  def __init__(self, decoder: object, z: tf.Tensor, steps: tf.Tensor | None = None):
    """Sets up decoding of `z`.

    Args:
      decoder: A CategoricalLstmDecoder that has been built.
      z: What each sequence is conditioned on, [batch, z_size]; z_size may be 0.
      steps: Number of steps to draw dropout masks for.
    """
    units = list(decoder.hparams.dec_rnn_size)
    depth, z_size = upstream.output_depth(decoder), int(z.shape[1])
    self.batch = int(z.shape[0])
    self.state = _initial_state(
        upstream.cell(decoder), z, 'decoder/z_to_initial_state')
    with tf.variable_scope('decoder'):
      sizes = [depth + z_size] + units
      self._layers = [
          layers.kernel_and_bias(f'multi_rnn_cell/cell_{i}', sizes[i], units[i])
          for i in range(len(units))]
      self._projection = _output_projection(units[-1], depth)
    kernel, bias = self._layers[0]
    self._depth = depth
    self._rows = tf.pad(kernel[:depth], [(1, 0), (0, 0)])
    kernel_z, self._kernel_h = kernel[depth:-units[0]], kernel[-units[0]:]
    keep_prob = layers.keep_prob(decoder)
    def mask(size):
      return layers.dropout_mask([steps, self.batch, size], keep_prob)
    # One element of a one-hot input is all there is to drop.
    self._row_mask = mask(1)
    self._masks = [mask(size) for size in units[:-1]]
    z_mask = mask(z_size)
    self._z = layers.masked(z, z_mask)
    self.gates_z = bias + (
        tf.matmul(z, kernel_z) if z_mask is None else
        tf.tensordot(self._z, kernel_z, 1))

  def _gate_inputs(self, classes, gates_z, row_mask):
    return layers.masked(tf.gather(self._rows, classes), row_mask) + gates_z

  def project(self, h: tf.Tensor) -> tf.Tensor:
    """Returns the logits [..., depth] of the last layer's outputs [..., units]."""
    kernel, bias = self._projection
    return tf.nn.bias_add(tf.tensordot(h, kernel, 1), bias)

  def teacher_force(self, classes: tf.Tensor) -> tuple[tf.Tensor, list]:
    """Runs all steps, given their inputs.

    Args:
      classes: Of the step before each step, [steps, batch].

    Returns:
      Logits, [steps, batch, depth], and the last c and h of each layer.
    """
    if layers.is_on_gpu(self.state[0]):  # A larger product is cheaper than a loop.
      rows = tf.one_hot(classes - 1, self._depth)
      z = tf.broadcast_to(self._z, tf.concat(
          [tf.shape(classes), tf.shape(self._z)[-1:]], axis=0))
      h, c = layers.lstm(
          tf.concat([layers.masked(rows, self._row_mask), z], axis=2),
          *self._layers[0], *self.state[:2])
    else:
      h, c = layers.layer_from_gates(
          self._gate_inputs(classes, self.gates_z, self._row_mask),
          self._kernel_h, *self.state[:2])
    state = [c, h[-1]]
    for i, (variables, mask) in enumerate(zip(self._layers[1:], self._masks)):
      h, c = layers.lstm(layers.masked(h, mask), *variables,
                         *self.state[2 * i + 2:2 * i + 4])
      state += [c, h[-1]]
    return self.project(h), state

  def step(self, classes: tf.Tensor, state: Sequence[tf.Tensor],
           gates_z: tf.Tensor, t: tf.Tensor | None = None
           ) -> tuple[tf.Tensor, list]:
    """Runs one step.

    Args:
      classes: Of the step before, [batch].
      state: c and h of each layer after the step before, [batch, units] each.
      gates_z: As the attribute has it for this step, [batch, 4 * units].
      t: Which step's dropout masks to take; without dropout it may be None.

    Returns:
      Logits, [batch, depth], and c and h of each layer after this step.
    """
    def at(mask):
      return None if mask is None else mask[t]
    x, new_state = None, []  # x: outputs of the layer below.
    for i, (kernel, bias) in enumerate(self._layers):
      c, h = state[2 * i:2 * i + 2]
      if i:
        x = tf.concat([layers.masked(x, at(self._masks[i - 1])), h], axis=1)
        gates = tf.matmul(x, kernel) + bias
      else:
        gates = tf.matmul(h, self._kernel_h) + self._gate_inputs(
            classes, gates_z, at(self._row_mask))
      _, c, _, _, _, _, x = layers.cell_step(gates, c)
      new_state += [c, x]
    return self.project(x), new_state

  def draw_inputs(self, classes: tf.Tensor,
                  probability: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Replaces true inputs by sampled ones, as ScheduledOutputTrainingHelper does.

    Args:
      classes: The true inputs, [steps, batch].
      probability: Scalar, of sampling a step's input; the first is always true.

    Returns:
      The inputs, [steps, batch], and which were sampled, bool [steps, batch].
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
    _, _, _, drawn, is_drawn = layers.loop(
        lambda t, *_: t < steps - 1, body,
        (0, classes[0], self.state, drawn.write(0, classes[0]),
         is_drawn.write(0, tf.zeros([self.batch], tf.bool))))
    return drawn.stack(), is_drawn.stack()


def categorical_loss(
    decoder: object, x_input: tf.Tensor, x_target: tf.Tensor, x_length: tf.Tensor,
    z: tf.Tensor | None) -> Reconstruction:
  """Does what CategoricalLstmDecoder.reconstruction_loss does.

  Args:
    decoder: One that `can_decode`.
    x_input: The step before each step, one-hot [batch, steps, depth] or zeros.
    x_target: One-hot, [batch, steps, depth].
    x_length: [batch], in steps.
    z: [batch, z_size].
  """
  loss, results = _categorical_loss(
      decoder, x_input, x_target, x_length, _or_empty(z, x_input.shape[0]))
  return (loss, _metrics(decoder, x_target, x_length, results.rnn_output),
          results)


def _categorical_loss(decoder, x_input, x_target, x_length, z):
  """Returns the loss of each sequence, and the LstmDecodeResults."""
  classes = _classes(x_input)
  steps = tf.shape(classes)[0]
  rate = decoder.hparams.get('input_dropout', 0.)
  if rate and upstream.is_training(decoder):
    classes = tf.where_v2(
        tf.random.uniform(tf.shape(classes)) < rate, 0, classes)
  running = CategoricalDecoder(decoder, z, steps)
  probability = upstream.sampling_probability(decoder)
  sampling = tf.get_static_value(probability) != 0
  if sampling:
    classes, samples = running.draw_inputs(classes, probability)
  logits, state = running.teacher_force(classes)
  if not sampling:
    samples = tf.argmax(logits, axis=-1, output_type=tf.int32)
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=tf.maximum(_classes(x_target) - 1, 0), logits=logits)
  mask = tf.sequence_mask(x_length, steps, dtype=tf.float32)
  return (tf.reduce_sum(tf.transpose(losses) * mask, axis=1),
          _results(decoder, classes, logits, samples, state, x_length))


def _results(decoder, classes, logits, samples, state, lengths):
  """Returns the LstmDecodeResults of time-major sequences.

  The lengths' values are unknown until the graph runs, as upstream's are.
  SplitMultiOutLstmDecoder asserts that they equal max_seq_len, which those of a
  hierarchy's segments never do. With known values the graph could not be built; at
  run time neither samples nor loss depend on the assertion.
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


def categorical_sample(
    decoder: object, n: int, max_length: tf.Tensor, z: tf.Tensor | None,
    temperature: tf.Tensor, start_inputs: tf.Tensor | None) -> Samples:
  """Does what CategoricalLstmDecoder.sample does.

  Args:
    decoder: One that `can_decode` and `can_sample`.
    n: Number of sequences, the batch.
    max_length: Their length in steps, a scalar.
    z: [n, z_size].
    temperature: Scalar that divides the logits.
    start_inputs: One-hot, [n, depth], the step before the first.
  """
  z = _or_empty(z, n)
  first = (tf.zeros([n], tf.int32) if start_inputs is None else
           _classes(start_inputs[:, tf.newaxis])[0])
  results = _generate(decoder, z, 1, max_length, temperature, first,
                      tf.fill([n], max_length))
  return results.samples, results


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
  running = CategoricalDecoder(decoder, z)
  batch = running.batch // segments
  def split(x):
    return tf.reshape(x, [segments, batch, x.shape[-1]])
  first_states = [split(x) for x in running.state]
  gates_z = split(running.gates_z)
  total = segments * steps

  def segment(s, previous, _, *arrays):
    def body(t, previous, state, inputs, outputs, drawn):
      logits, state = running.step(previous, state, gates_z[s])
      now = _draw(logits / temperature)
      return (t + 1, now, state, inputs.write(t, previous),
              outputs.write(t, logits), drawn.write(t, now))
    _, previous, state, *arrays = layers.loop(
        lambda t, *_: t < (s + 1) * steps, body,
        (s * steps, previous, [x[s] for x in first_states], *arrays))
    return (s + 1, previous, state, *arrays)

  depth = upstream.output_depth(decoder)
  _, _, state, inputs, logits, drawn = layers.loop(
      lambda s, *_: s < segments, segment,
      (0, first, [x[0] for x in first_states],
       tf.TensorArray(tf.int32, size=total, element_shape=[batch]),
       tf.TensorArray(tf.float32, size=total, element_shape=[batch, depth]),
       tf.TensorArray(tf.int32, size=total, element_shape=[batch])))
  return _results(
      decoder, inputs.stack(), logits.stack(),
      tf.one_hot(drawn.stack() - 1, depth), state, lengths)


# GROOVE: hits, velocities and offsets of each step


def can_force_groove(decoder: object) -> bool:
  """Whether `decoder` is a GrooveLstmDecoder whose loss is computed here.

  It is trained with teacher forcing, and has no residual connections.
  """
  return (type(decoder).__name__ == 'GrooveLstmDecoder' and
          not decoder.hparams.residual_decoder and
          tf.get_static_value(upstream.sampling_probability(decoder)) == 0)


def groove_loss(
    decoder: object, x_input: tf.Tensor, x_target: tf.Tensor, x_length: tf.Tensor,
    z: tf.Tensor | None, c_input: tf.Tensor | None) -> Reconstruction:
  """Does what GrooveLstmDecoder.reconstruction_loss does.

  Args:
    decoder: One that `can_force_groove`.
    x_input: The step before each step, [batch, steps, 3 * drums].
    x_target: [batch, steps, 3 * drums].
    x_length: [batch], in steps.
    z: [batch, z_size].
    c_input: Controls, [batch, steps, control_depth].
  """
  batch, steps = int(x_input.shape[0]), tf.shape(x_input)[1]
  z = _or_empty(z, batch)
  rate = decoder.hparams.get('input_dropout', 0.)
  previous = x_input
  if rate and upstream.is_training(decoder):
    previous *= tf.cast(
        tf.random.uniform([batch, steps, 1]) >= rate, tf.float32)
  x = tf.concat([previous, tf.tile(z[:, tf.newaxis], [1, steps, 1])] +
                ([] if c_input is None else [c_input]), axis=2)
  x = tf.transpose(x, [1, 0, 2])
  first = _initial_state(upstream.cell(decoder), z, 'decoder/z_to_initial_state')
  keep_prob = layers.keep_prob(decoder)
  depth, state = upstream.output_depth(decoder), []
  with tf.variable_scope('decoder', reuse=tf.AUTO_REUSE):
    for i, units in enumerate(decoder.hparams.dec_rnn_size):
      x, c = layers.run_layer(
          f'multi_rnn_cell/cell_{i}',
          layers.masked(x, layers.dropout_mask(tf.shape(x), keep_prob)), units,
          first[2 * i:2 * i + 2])
      state += [c, x[-1]]
    kernel, bias = _output_projection(x.shape[2], depth)
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


# HIERARCHICAL: a conductor, and a categorical decoder of its segments


def can_decode_hierarchy(decoder: object, c_input: tf.Tensor | None) -> bool:
  """Whether a HierarchicalLstmDecoder is computed here.

  No level looks at what was decoded before, and its core decoder `can_decode`.
  """
  return (not upstream.re_encoder(decoder) and
          all(level in upstream.levels_without_feedback(decoder)
              for level in range(len(upstream.level_lengths(decoder)) - 1)) and
          can_decode(upstream.core_decoder(decoder), c_input))


def conduct(decoder: object, z: tf.Tensor) -> tf.Tensor:
  """Returns the embeddings of all segments, [batch * segments, units].

  Args:
    decoder: One that `can_decode_hierarchy`.
    z: [batch, z_size].
  """
  keep_prob = layers.keep_prob(upstream.core_decoder(decoder))
  embeddings = z
  for level, steps in enumerate(upstream.level_lengths(decoder)[:-1]):
    batch = int(embeddings.shape[0])
    with tf.variable_scope(tf.VariableScope(
        tf.AUTO_REUSE, f'decoder/hierarchical_level_{level}')):
      state = _initial_state(
          upstream.level_cells(decoder)[level], embeddings, 'initial_state')
      h = tf.zeros([steps, batch, 1])
      for i, units in enumerate(decoder.hparams.dec_rnn_size):
        mask = layers.dropout_mask(h.shape, keep_prob)
        h = layers.run_layer(f'cell_{i}', layers.masked(h, mask), units,
                             state[2 * i:2 * i + 2])[0]
    embeddings = tf.reshape(tf.transpose(h, [1, 0, 2]), [batch * steps, units])
  return embeddings


def hierarchical_loss(
    decoder: object, x_input: tf.Tensor, x_target: tf.Tensor, x_length: tf.Tensor,
    z: tf.Tensor | None) -> Reconstruction:
  """Does what HierarchicalLstmDecoder.reconstruction_loss does.

  Args:
    decoder: One that `can_decode_hierarchy`.
    x_input: The step before each step, one-hot [batch, steps, depth] or zeros.
    x_target: One-hot, [batch, steps, depth].
    x_length: [batch], in steps.
    z: [batch, z_size].
  """
  core = upstream.core_decoder(decoder)
  batch = int(x_input.shape[0])
  *upper, steps = upstream.level_lengths(decoder)
  segments = int(np.prod(upper))
  z = _or_empty(z, batch)
  x_length = lstm_utils.maybe_split_sequence_lengths(
      x_length, segments, upstream.total_length(decoder))
  def split(x):
    return tf.reshape(x, [batch * segments, steps, x.shape[-1]])
  embeddings = conduct(decoder, z)
  with tf.variable_scope('core_decoder', reuse=tf.AUTO_REUSE):
    loss, results = _categorical_loss(core, split(x_input), split(x_target),
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
  """Joins the segments of each sequence."""
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


def hierarchical_sample(
    decoder: object, n: int, max_length: tf.Tensor | None, z: tf.Tensor | None,
    temperature: tf.Tensor) -> Samples:
  """Does what HierarchicalLstmDecoder.sample does.

  Args:
    decoder: One that `can_decode_hierarchy`, whose core decoder `can_sample`.
    n: Number of sequences, the batch.
    max_length: None, or the length that the hierarchy has, in steps.
    z: [n, z_size].
    temperature: Scalar that divides the logits.

  Raises:
    tf.errors.InvalidArgumentError: when the graph runs with another max_length.
  """
  *upper, steps = upstream.level_lengths(decoder)
  segments = int(np.prod(upper))
  embeddings = conduct(decoder, _or_empty(z, n))
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
