"""A decoder that draws how each hit is played, one after the other.

It is told the hits of a loop and its tempo, as GrooVAE's decoders are (Gillick et al.
2019, arXiv 1905.06118). These give the mean of what drummers play. This one gives
distributions: for each hit of how many strokes it is, then of its velocity, then of its
offset. A hit is drawn given the latent, the hits around it, and all that was drawn
before it: in the last 3 bars, and of the drums before it at its step.

Distributions are over bins. Drummers come back to what they played: so a bin's logit is
an output of a network, plus curves around the bins of the same drum 2, 4, 8, 16, 32 and
48 steps before and of its mean. The network says how high each curve is. Offsets have
curves around those of the drums before at the same step, too.

Slices are those of StrokeConverter. Nothing is recurrent, so training takes all hits of
a batch at once.
"""
from magenta.contrib import training as contrib_training
from magenta.models.music_vae import base_model
from magenta.models.music_vae import data
from magenta.models.music_vae import lstm_models
from magenta.models.music_vae.drum_classes import (
    BARS, DRUM_CLASSES, STEPS_PER_BAR, STEPS_PER_QUARTER)
from magenta.models.music_vae.stroke_converter import STROKES, StrokeConverter
import numpy as np
import tensorflow.compat.v1 as tf

DRUMS = len(DRUM_CLASSES)
VELOCITY_BINS = 64  # Of two velocities each, but the last: 127 is struck most often.
OFFSET_BINS = 64  # Of a step.
BEFORE, AFTER = 16, 8  # Steps around a hit whose hits it depends on.
PLAYED = 16  # Steps before a hit of which all that was drawn counts ...
MEMORY = 48  # ... and of the same drum.
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 48)  # Steps before; what the same drum did there.
AGAIN = (2, 4, 8, 16, 32, 48)  # Those of them that have curves.
WIDTHS = (1., 3., 9.)  # Of the curves, in bins.
UNITS_OF_MORE = 128  # Of the network for the second and third stroke.
CHANCE = 2 + 2 * STROKES  # Uniform numbers a hit: strokes; values of each; in bins.
MEAN = -1.  # In their place, for the mean of each distribution.


def velocity_bin(velocities: tf.Tensor) -> tf.Tensor:
  """Returns the bins of velocities from 1 / 127 to 1: int32."""
  return tf.cast(tf.clip_by_value(
      tf.floor((velocities * 127 - .5) / 2), 0, VELOCITY_BINS - 1), tf.int32)


def offset_bin(offsets: tf.Tensor) -> tf.Tensor:
  """Returns the bins of offsets from -1 to 1: int32."""
  return tf.cast(tf.clip_by_value(
      tf.floor((offsets + 1) / 2 * OFFSET_BINS), 0, OFFSET_BINS - 1), tf.int32)


def velocity_in(bins: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
  """Returns the velocities, 1 / 127 to 1, that lie at a share, 0 to 1, of bins."""
  return tf.minimum(2 * tf.to_float(bins) + 1 + tf.floor(2 * share), 127) / 127


def offset_in(bins: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
  """Returns the offsets, -1 to 1, that lie at a share, 0 to 1, of bins."""
  return (tf.to_float(bins) + share) / OFFSET_BINS * 2 - 1


def draw(shares: tf.Tensor, chance: tf.Tensor) -> tf.Tensor:
  """Returns bins, int32 [rows], drawn by uniform numbers, [rows], MEAN for the first.

  Args:
    shares: Their probabilities, [rows, bins].
    chance: The numbers.
  """
  below = tf.cumsum(shares, axis=-1) < chance[:, tf.newaxis]
  return tf.minimum(tf.reduce_sum(tf.to_int32(below), axis=-1), shares.shape[-1] - 1)


def _curves(bins):
  """Returns curves of all widths around each bin: float32 [widths, bins, bins]."""
  distance = np.subtract.outer(np.arange(bins), np.arange(bins))
  return np.exp(-.5 * (distance / np.reshape(WIDTHS, [-1, 1, 1])) ** 2).astype(
      np.float32)


class StrokeDecoder(base_model.BaseDecoder):
  """See the module. `dec_rnn_size` has the units of a layer."""

  def build(self, hparams: object, output_depth: int, is_training: bool = True) -> None:
    """Takes the hyperparameters; variables are made when they are first used."""
    del output_depth
    self._hparams, self._is_training = hparams, is_training
    [self._units] = hparams.dec_rnn_size

  def reconstruction_loss(
      self, x_input: tf.Tensor, x_target: tf.Tensor, x_length: tf.Tensor,
      z: tf.Tensor | None = None, c_input: tf.Tensor | None = None) -> tuple:
    """Returns the nats of each slice's strokes, given its hits: [batch], and metrics.

    Args:
      x_input: Unused; `x_target` has it, a step later.
      x_target: Slices, [batch, steps, 64].
      x_length: Unused; slices are whole.
      z: Latents, [batch, z_size].
      c_input: Hits and tempo, [batch, steps, 10].
    """
    del x_input, x_length
    with tf.variable_scope('decoder', reuse=tf.AUTO_REUSE):
      hits, *played = tf.split(x_target[..., :-1], 1 + 2 * STROKES, axis=-1)
      known = _known(hits, *played[:2])
      heard = known
      if self._is_training:
        kept = tf.to_float(tf.random.uniform(
            [*hits.shape[:2], 1]) >= self._hparams.get('input_dropout', 0.))
        heard *= kept
      context, own, again = self._memory(
          tf.pad(heard, [(0, 0), (MEMORY, 0), (0, 0)]))
      cells = tf.where(hits > 0)  # Rows of slice, step and drum.
      step, drum = cells[:, :2], tf.to_int32(cells[:, 2])
      before = tf.tile(tf.to_float(tf.sequence_mask(drum, DRUMS)), [1, 4])
      now = tf.gather_nd(known, step) * before
      context = tf.gather_nd(self._plan(c_input, z) + context, step)
      own, again = tf.gather_nd(own, cells), tf.gather_nd(again, cells)
      strokes = [(velocity_bin(v), offset_bin(o), v > 0) for v, o in zip(*(
          [tf.gather_nd(x, cells) for x in part] for part in (
              played[::2], played[1::2])))]
      count = tf.add_n([tf.to_int32(there) for _, _, there in strokes]) - 1
      (velocity, offset, _), *more = strokes
      features = self._features(context, own, drum, now)
      losses = {
          'strokes': _nats(count, self._count(features)),
          'velocity': _nats(velocity, self._velocity(features, count, again)),
          'offset': _nats(offset, self._offset(features, count, velocity, again, now))}
      losses['more'] = tf.zeros_like(losses['strokes'])
      last = velocity, offset
      for i, (velocity, offset, there) in enumerate(more):
        rows = tf.where(there)
        def of_rows(*tensors):
          return [tf.gather_nd(x, rows) for x in tensors]
        hidden = self._more(i, *of_rows(features, count, *strokes[0][:2], *last))
        then = of_rows(velocity, offset)
        losses['more'] += tf.scatter_nd(
            rows, _nats(then[0], self._more_velocity(hidden)) +
            _nats(then[1], self._more_offset(hidden, then[0])),
            tf.shape(count, out_type=tf.int64))
        last = velocity, offset
      loss = tf.math.unsorted_segment_sum(
          tf.add_n(list(losses.values())), cells[:, 0], hits.shape[0])
    return loss, {f'metrics/{name}_nats': tf.metrics.mean(nats)
                  for name, nats in losses.items()}

  def sample(self, n: int, max_length: int | None = None, z: tf.Tensor | None = None,
             c_input: tf.Tensor | None = None, chance: tf.Tensor | None = None,
             ornaments: tf.Tensor | float = 1.,
             temperatures: tf.Tensor | tuple = (1., 1.)) -> tf.Tensor:
    """Returns how hits are played: slices, [n, max_length, 64].

    Args:
      n: Slices.
      max_length: Steps; any number, for memory goes on.
      z: Latents, [n, z_size].
      c_input: Hits and tempo, [n, max_length, 10].
      chance: Uniform numbers, [n, max_length, drums, CHANCE], or MEAN in their place.
      ornaments: How likely a hit has several strokes, as a share of how likely
        drummers' hits have.
      temperatures: How random velocities are, and offsets.
    """
    if chance is None:
      chance = tf.random.uniform([n, max_length, DRUMS, CHANCE])
    with tf.variable_scope('decoder', reuse=tf.AUTO_REUSE):
      plan = self._plan(c_input, z)
      def step(t, memory, slices):
        context, own, again = self._memory(tf.pad(memory, [(0, 0), (0, 1), (0, 0)]))
        context, own, again = context[:, 0] + plan[:, t], own[:, 0], again[:, 0]
        hits = c_input[:, t, :DRUMS]
        strokes = [tf.zeros([n, DRUMS]) for _ in range(2 * STROKES)]
        for drum in range(DRUMS):
          rows = tf.where(hits[:, drum] > 0)
          before = np.tile(np.arange(DRUMS) < drum, 4).astype(np.float32)
          def draw_hits(drum=drum, rows=rows, before=before, strokes=strokes):
            drawn = self._draw_hit(drum, ornaments, temperatures, *(
                tf.gather_nd(x, rows) for x in (
                    context, own[:, drum], again[:, drum],
                    _known(hits, *strokes[:2]) * before, chance[:, t, drum])))
            cells = tf.concat([rows, tf.fill(tf.shape(rows), np.int64(drum))], axis=1)
            return [tf.tensor_scatter_nd_update(x, cells, values)
                    for x, values in zip(strokes, drawn)]
          # Most drums of a single loop are silent at most steps.
          strokes = tf.cond(tf.size(rows) > 0, draw_hits, lambda s=strokes: s)
        memory = tf.concat([
            memory[:, 1:], _known(hits, *strokes[:2])[:, tf.newaxis]], axis=1)
        return t + 1, memory, slices.write(t, tf.concat(
            [hits, *strokes, c_input[:, t, DRUMS:]], axis=-1))
      *_, slices = tf.while_loop(
          lambda t, *_: t < max_length, step, [
              0, tf.zeros([n, MEMORY, 4 * DRUMS]),
              tf.TensorArray(tf.float32, max_length)], parallel_iterations=1)
      return tf.transpose(slices.stack(), [1, 0, 2])

  def _draw_hit(self, drum, ornaments, temperatures, context, own, again, now,
                chance):
    """Returns velocities and offsets of all strokes of rows: a list of [rows]."""
    features = self._features(context, own, tf.fill([tf.shape(own)[0]], drum), now)
    one, more = tf.split(tf.nn.softmax(self._count(features)), [1, STROKES - 1], axis=-1)
    count = draw(tf.concat([1 - ornaments * (1 - one), ornaments * more], axis=-1),
                 chance[:, 0])
    def value(logits, value_in, temperature, chance):
      """Returns what is drawn by the first of `chance`, and in its bin by the last."""
      shares = tf.nn.softmax(logits / temperature)
      mean = tf.linalg.matvec(shares, value_in(tf.range(shares.shape[-1]), .5))
      return tf.where_v2(chance[:, 0] < 0, mean, value_in(
          draw(shares, chance[:, 0]), chance[:, -1]))
    in_velocity, in_offset = ((velocity_in, temperatures[0]),
                              (offset_in, temperatures[1]))
    velocity = value(self._velocity(features, count, again), *in_velocity, chance[:, 1:])
    velocities = velocity_bin(velocity)
    offset = value(self._offset(features, count, velocities, again, now), *in_offset,
                   chance[:, 2:])
    drawn, first = [velocity, offset], (velocities, offset_bin(offset))
    last = first
    for i in range(STROKES - 1):
      rows = tf.where(count > i)
      def of_rows(x, rows=rows):
        return tf.gather_nd(x, rows)
      own_chance = of_rows(chance)[:, 3 + 2 * i:]
      hidden = self._more(i, *map(of_rows, (features, count, *first, *last)))
      velocity = value(self._more_velocity(hidden), *in_velocity, own_chance)
      velocities = velocity_bin(velocity)
      offset = value(self._more_offset(hidden, velocities), *in_offset,
                     own_chance[:, 1:])
      drawn += [tf.scatter_nd(rows, x, tf.shape(count, out_type=tf.int64))
                for x in (velocity, offset)]
      last = [tf.scatter_nd(rows, x, tf.shape(count, out_type=tf.int64))
              for x in (velocities, offset_bin(offset))]
    return drawn

  # Parts of the network. Rows are hits.

  def _features(self, context, own, drum, now):
    """Returns what all distributions of hits depend on: [rows, units].

    Args:
      context: What `_plan` and `_memory` return of their steps, [rows, units].
      own: What `_memory` returns of them.
      drum: Their drums, [rows].
      now: What is known of the drums before them at their step, [rows, 36].
    """
    gain = tf.get_variable('gain', [DRUMS, self._units],
                           initializer=tf.ones_initializer())
    which = tf.one_hot(drum, DRUMS)
    hidden = self._hidden(context * tf.matmul(which, gain) + self._dense(
        tf.concat([own, now, which], axis=-1), 'hit'))
    return self._hidden(self._dense(hidden, 'features'))

  def _count(self, features):
    """Returns logits of how many strokes more than one: [rows, STROKES]."""
    return self._dense(features, 'strokes', STROKES)

  def _velocity(self, features, count, again):
    """Returns logits of the loudest strokes' velocities: [rows, VELOCITY_BINS]."""
    hidden = self._hidden(self._dense(features, 'velocity/hidden') + self._embedded(
        'velocity/strokes', STROKES, count))
    there, velocities, _ = tf.unstack(again, axis=1)
    return self._logits(hidden, 'velocity', VELOCITY_BINS, there,
                        velocity_bin(velocities))

  def _offset(self, features, count, velocity, again, now):
    """Returns logits of their offsets: [rows, OFFSET_BINS]."""
    hidden = self._hidden(
        self._dense(features, 'offset/hidden') +
        self._embedded('offset/strokes', STROKES, count) +
        self._embedded('offset/velocity', VELOCITY_BINS, velocity))
    there, _, offsets = tf.unstack(again, axis=1)
    hits, _, at, _ = tf.split(now, 4, axis=-1)
    count = tf.reduce_sum(hits, axis=-1, keepdims=True)
    last = tf.one_hot(tf.argmax(hits * np.arange(1, DRUMS + 1), axis=-1), DRUMS)
    there = tf.concat([there] + 2 * [tf.minimum(count, 1)], axis=-1)
    offsets = tf.concat([offsets, tf.reduce_sum(last * at, axis=-1, keepdims=True),
                         tf.reduce_sum(at, axis=-1, keepdims=True) /
                         tf.maximum(count, 1)], axis=-1)
    return self._logits(hidden, 'offset', OFFSET_BINS, there, offset_bin(offsets))

  def _logits(self, hidden, name, bins, there, again):
    """Returns logits: of a layer, and curves around the bins `again`, if `there`."""
    count = again.shape[1]
    heights = tf.reshape(self._dense(hidden, f'{name}/heights', len(WIDTHS) * count), [
        -1, len(WIDTHS), count]) * there[:, tf.newaxis]
    curves = [tf.einsum('nk,nkb->nb', heights[:, i], tf.gather(curve, again))
              for i, curve in enumerate(_curves(bins))]
    return tf.add_n([self._dense(hidden, f'{name}/logits', bins), *curves])

  def _more(self, i, features, count, velocity, offset, last_velocity, last_offset):
    """Returns a layer of rows' stroke i after the first: [rows, UNITS_OF_MORE].

    Args:
      i: From 0 on.
      features: What `_features` returns.
      count: How many strokes more than one.
      velocity: The loudest stroke's bin.
      offset: The same of its offset.
      last_velocity: The bin of the stroke before this in loudness.
      last_offset: The same of its offset.
    """
    def embedded(name, bins, values):
      return self._embedded('more/' + name, bins, values, UNITS_OF_MORE)
    return self._hidden(
        self._dense(features, 'more/hidden', UNITS_OF_MORE) +
        embedded('strokes', STROKES ** 2, i * STROKES + count) +
        embedded('velocity', VELOCITY_BINS, velocity) +
        embedded('offset', OFFSET_BINS, offset) +
        embedded('last_velocity', VELOCITY_BINS, last_velocity) +
        embedded('last_offset', OFFSET_BINS, last_offset))

  def _more_velocity(self, hidden):
    return self._dense(hidden, 'more/velocity_logits', VELOCITY_BINS)

  def _more_offset(self, hidden, velocity):
    """Returns logits of offsets, of what `_more` returned and velocities' bins."""
    return self._dense(self._hidden(
        self._dense(hidden, 'more/offset_hidden', UNITS_OF_MORE) + self._embedded(
            'more/own_velocity', VELOCITY_BINS, velocity, UNITS_OF_MORE)),
                       'more/offset_logits', OFFSET_BINS)

  def _plan(self, controls, z):
    """Returns what is known before anything is drawn: [batch, steps, units]."""
    hits, tempo = tf.split(controls, [DRUMS, 1], axis=-1)
    steps = tf.range(tf.shape(hits)[1])
    bars = tf.minimum(steps // STEPS_PER_BAR, MEMORY // STEPS_PER_BAR)
    return (self._convolved(tf.pad(hits, [(0, 0), (BEFORE, AFTER), (0, 0)]),
                            'pattern', BEFORE + AFTER + 1) +
            self._embedded('step', STEPS_PER_BAR, steps % STEPS_PER_BAR) +
            self._embedded('bar', 1 + MEMORY // STEPS_PER_BAR, bars) +
            self._dense(tempo, 'tempo') + self._dense(z, 'latent')[:, tf.newaxis])

  def _memory(self, known):
    """Returns what hits depend on of what was drawn before them.

    Args:
      known: What `_known` returns, [batch, MEMORY + steps, 36].

    Returns:
      Of each step, [batch, steps, units]; of its hits, [batch, steps, drums, numbers];
      and what drums did AGAIN steps before, and their mean: whether they were hit,
      velocities and offsets, [batch, steps, drums, 3, len(AGAIN) + 1].
    """
    steps = known.shape[1] - MEMORY
    context = self._convolved(known[:, MEMORY - PLAYED:-1], 'played', PLAYED)
    def before(lag):
      return tf.split(known[:, MEMORY - lag:MEMORY - lag + steps], 4, axis=-1)
    def summed(x):
      sums = tf.cumsum(x, axis=1, exclusive=True)
      return sums[:, MEMORY:] - sums[:, :steps]
    hits, velocities, offsets, _ = tf.split(known, 4, axis=-1)
    count, velocity, offset, squares = map(summed, (
        hits, velocities, offsets, velocities ** 2))
    some = tf.maximum(count, 1)
    velocity_mean, offset_mean = velocity / some, offset / some
    deviation = tf.sqrt(tf.nn.relu(squares / some - velocity_mean ** 2))
    of_all = tf.maximum(tf.reduce_sum(count, axis=-1, keepdims=True), 1)
    own = [*(x for lag in LAGS for x in before(lag)), velocity_mean, offset_mean,
           deviation, tf.tanh(count / 8), *(tf.repeat(tf.reduce_sum(
               x, axis=-1, keepdims=True) / of_all, DRUMS, axis=-1)
                                            for x in (velocity, offset))]
    again = [tf.stack([*parts, mean], axis=-1) for mean, *parts in zip(
        (tf.minimum(count, 1), velocity_mean, offset_mean),
        *(before(lag)[:3] for lag in AGAIN))]
    return context, tf.stack(own, axis=-1), tf.stack(again, axis=-2)

  # Layers.

  def _hidden(self, x):
    """Returns rectified values; in training, some are dropped out."""
    x = tf.nn.relu(x)
    dropped = 1 - self._hparams.dropout_keep_prob
    return tf.nn.dropout(x, rate=dropped) if self._is_training and dropped else x

  def _dense(self, x, name, units=None):
    kernel, bias = self._weights(x.shape[-1], name, units or self._units)
    return tf.tensordot(x, kernel, 1) + bias

  def _convolved(self, x, name, width):
    """Returns [batch, steps, units] of [batch, steps + width - 1, depth]."""
    depth = x.shape[-1]
    kernel, bias = self._weights(width * depth, name, self._units)
    return tf.nn.conv1d(x, tf.reshape(kernel, [width, depth, -1]), 1, 'VALID') + bias

  def _weights(self, inputs, name, units):
    return (tf.get_variable(f'{name}/kernel', [inputs, units],
                            initializer=tf.variance_scaling_initializer(2.)),
            tf.get_variable(f'{name}/bias', [units], initializer=tf.zeros_initializer()))

  def _embedded(self, name, count, values, units=None):
    """Returns a row of a variable for each value from 0 to count - 1."""
    rows = tf.get_variable(
        name, [count, units or self._units], initializer=tf.zeros_initializer())
    # tf.gather has gradients that upstream's training can't clip.
    return tf.matmul(tf.one_hot(values, count), rows)


def _known(hits, velocities, offsets):
  """Returns what is remembered of hits: [..., 36]; where 127 was struck is in it."""
  return tf.concat([hits, velocities, offsets, tf.to_float(velocities > 126.5 / 127)],
                   axis=-1)


def _nats(bins, logits):
  return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=bins, logits=logits)


def register(config_map: dict) -> None:
  """Adds `groovae_4bar_strokes` to Magenta's CONFIG_MAP."""
  of_hits = config_map['groovae_4bar_hits_control']
  config_map['groovae_4bar_strokes'] = of_hits._replace(
      model=base_model.MusicVAE(
          lstm_models.BidirectionalLstmEncoder(), StrokeDecoder()),
      hparams=contrib_training.HParams(**{
          **of_hits.hparams.values(), 'enc_rnn_size': [128], 'dec_rnn_size': [256],
          'z_size': 32, 'free_bits': 24., 'max_beta': 1., 'dropout_keep_prob': 0.8,
          'input_dropout': 0.05, 'decay_rate': 0.9996, 'min_learning_rate': 5e-5}),
      data_converter=StrokeConverter(
          split_bars=BARS, hop_size=STEPS_PER_BAR,
          steps_per_quarter=STEPS_PER_QUARTER,
          pitch_classes=data.ROLAND_DRUM_PITCH_CLASSES,
          inference_pitch_classes=data.REDUCED_DRUM_PITCH_CLASSES))
