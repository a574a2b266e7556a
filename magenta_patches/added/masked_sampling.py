"""Samples loops under constraints: a mask of the classes that each step may have.

`sample` is sequential Monte Carlo (Gordon et al. 1993; for language models Lew et al.
2023, arXiv 2306.03081). Many latents, the particles, decode a loop side by side. Each
step is drawn among the allowed classes only. A particle's weight is the probability
that it gave to the allowed classes. Where few particles have all the weight, copies of
them replace the others after each beat. In the end one particle is drawn by its weight.

`sample_with_noise` is argmax(logits / temperature + Gumbel noise). With the same noise,
a loop changes only as much as its latent does.
"""
import copy

from magenta.models.music_vae import fast_lstm_decoders as decoders
from magenta.models.music_vae import fast_lstm_layers as layers
from magenta.models.music_vae import upstream
from magenta.models.music_vae.drum_classes import STEPS_PER_QUARTER
import numpy as np
import tensorflow.compat.v1 as tf

FORBIDDEN = tf.float32.min / 2  # Instead of logits.
# Particles are drawn anew if their effective number is less than this share of them.
FEW = 0.5


def is_hierarchical(decoder: object) -> bool:
  """Whether a conductor makes an embedding for each of the decoder's segments."""
  return type(decoder).__name__ == 'HierarchicalLstmDecoder'


def can_decode(config: object) -> bool:
  """Whether this module samples from a config's model: fast_lstm_decoders can."""
  decoder = copy.deepcopy(config.model.decoder)
  core = upstream.core_decoder(decoder) if is_hierarchical(decoder) else decoder
  core.hparams = config.hparams  # It has them when it is built.
  can = (decoders.can_decode_hierarchy if is_hierarchical(decoder) else
         decoders.can_decode)
  return can(decoder, None)


class _Segments:
  """A decoder's segments, each ready to start, for a batch of latents.

  batch: Number of latents.
  count: Number of segments; a decoder without hierarchy has one.
  states: The first states, [count, batch, units] each.
  gates_z: What the latents add to the gates, [count, batch, 4 * units].
  """

  def __init__(self, decoder: object, z: tf.Tensor):
    self.count, self.batch, scope = 1, int(z.shape[0]), tf.get_variable_scope()
    if is_hierarchical(decoder):
      self.count = int(np.prod(upstream.level_lengths(decoder)[:-1]))
      z = decoders.conduct(decoder, z)
      z = tf.reshape(tf.transpose(tf.reshape(
          z, [self.batch, self.count, -1]), [1, 0, 2]), z.shape)
      decoder, scope = upstream.core_decoder(decoder), 'core_decoder'
    with tf.variable_scope(scope, reuse=tf.AUTO_REUSE):
      self.decoder = decoders.CategoricalDecoder(decoder, z)
    self.states, self.gates_z = tf.nest.map_structure(
        lambda x: tf.reshape(x, [self.count, self.batch, x.shape[-1]]),
        (self.decoder.state, self.decoder.gates_z))

  def step(self, t, total, classes, state, origin):
    """Returns the logits of a step, [batch, classes], and the state after it.

    Args:
      t: The step, a scalar tensor.
      total: Number of steps of all segments.
      classes: Of the step before, as fast_lstm_decoders counts them, [batch].
      state: After the step before.
      origin: Which latent each row decodes, [batch].
    """
    steps = total // self.count
    segment = t // steps
    state = tf.cond(
        tf.equal(t % steps, 0),
        lambda: [tf.gather(x[segment], origin) for x in self.states],
        lambda: list(state))
    return self.decoder.step(
        classes, state, tf.gather(self.gates_z[segment], origin))


def _survivors(log_weights):
  """Returns which particles go on, [loops, particles], and their log weights.

  Particles are drawn anew for loops of which few have all the weight.
  """
  loops, particles = log_weights.shape
  weights = tf.nn.softmax(log_weights)
  places = (tf.range(particles, dtype=tf.float32) +  # Systematic resampling.
            tf.random.uniform([loops, 1])) / particles
  drawn = tf.minimum(tf.searchsorted(tf.cumsum(weights, axis=1), places),
                     particles - 1)
  is_few = tf.reduce_sum(weights ** 2, axis=1, keepdims=True) > (
      1 / (FEW * particles))
  return (tf.where_v2(is_few, drawn, tf.range(particles)[tf.newaxis]),
          tf.where_v2(is_few, tf.zeros_like(log_weights), log_weights))


def sample(decoder: object, z: tf.Tensor, allowed: tf.Tensor,
           temperature: tf.Tensor | float, favor: tf.Tensor) -> tf.Tensor:
  """Returns loops of allowed classes, int32, [loops, steps].

  Args:
    decoder: Of a config that `can_decode`; the model is not training.
    z: Latents, [loops * particles, z_size]; a loop's particles are in a row.
    allowed: bool, [loops, steps, classes]; at least one class a step.
    temperature: Scalar that divides the logits.
    favor: The log of how much likelier a class shall be, [loops, steps, classes].
  """
  segments = _Segments(decoder, z)
  loops, total, _ = allowed.shape
  batch, particles = segments.batch, segments.batch // loops
  favor = tf.transpose(tf.where_v2(allowed, favor, FORBIDDEN), [1, 0, 2])
  first_particles = particles * tf.range(loops)[:, tf.newaxis]

  def step(t, log_weights, now, origin, history, *state):
    logits, state = segments.step(t, total, now, state, origin)
    logits = tf.reshape(logits / temperature, [loops, particles, -1])
    masked = logits + favor[t][:, tf.newaxis]
    log_weights += (tf.reduce_logsumexp(masked, axis=-1) -
                    tf.reduce_logsumexp(logits, axis=-1))
    drawn = tf.random.categorical(
        tf.reshape(masked, [batch, -1]), 1, dtype=tf.int32)
    history = tf.concat([history[:, 1:], drawn], axis=1)
    def select():
      chosen, weights = _survivors(log_weights)
      rows = tf.reshape(first_particles + chosen, [-1])
      return [weights] + [tf.gather(x, rows)
                          for x in (drawn[:, 0] + 1, origin, history, *state)]
    return (t + 1, *tf.cond(
        tf.equal(t % STEPS_PER_QUARTER, STEPS_PER_QUARTER - 1), select,
        lambda: [log_weights, drawn[:, 0] + 1, origin, history, *state]))

  _, log_weights, _, _, history, *_ = layers.loop(
      lambda t, *_: t < total, step,
      (0, tf.zeros([loops, particles]), tf.zeros([batch], tf.int32), tf.range(batch),
       tf.zeros([batch, total], tf.int32), *[x[0] for x in segments.states]))
  drawn = tf.random.categorical(log_weights, 1, dtype=tf.int32)
  return tf.gather(history, tf.reshape(first_particles + drawn, [-1]))


def sample_with_noise(decoder: object, z: tf.Tensor, noise: tf.Tensor,
                      temperature: tf.Tensor | float) -> tf.Tensor:
  """Returns the loops that latents and noise decide, int32, [batch, steps].

  Args:
    decoder: As for `sample`.
    z: [batch, z_size].
    noise: Gumbel noise, [batch, steps, classes].
    temperature: Scalar that divides the logits.
  """
  segments = _Segments(decoder, z)
  batch, total = segments.batch, int(noise.shape[1])
  rows = tf.range(batch)

  def step(t, now, history, *state):
    logits, state = segments.step(t, total, now, state, rows)
    now = tf.argmax(logits / temperature + noise[:, t], axis=1,
                    output_type=tf.int32)
    return (t + 1, now + 1, tf.concat(
        [history[:, 1:], now[:, tf.newaxis]], axis=1), *state)

  return layers.loop(
      lambda t, *_: t < total, step,
      (0, tf.zeros([batch], tf.int32), tf.zeros([batch, total], tf.int32),
       *[x[0] for x in segments.states]))[2]
