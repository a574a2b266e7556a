"""Loops near given ones: a loop as a latent and noise, both of which can be moved.

A step is sampled as argmax(logits / temperature + Gumbel noise). For a loop and a
latent, noise under which the decoder plays just that loop can be drawn (Maddison,
Tarlow & Minka 2014, arXiv 1411.0030; for counterfactuals Oberst & Sontag 2019,
arXiv 1905.05824). So whatever a latent leaves out is in the noise, and a way through
both begins and ends at the loops themselves, hit for hit.
"""
import copy

from drumloops.models import completion, latent
from drumloops.runs import checkpoint_files
import numpy as np

LOOPS = 8  # At a time.
REFINING_STEPS, REFINING_RATE = 30, 0.15
MARGIN = 1e-3  # By which a played class is the first, beyond what rounding can do.


def noise_of(logits, classes, rng):
  """Returns Gumbel noise that makes classes the first ones: [..., classes].

  The class that is played has the maximum, whose distribution is the logits'
  log-sum-exp with Gumbel noise; the others' are cut off below it.

  Args:
    logits: Divided by the temperature, [..., classes].
    classes: int, [...].
    rng: A NumPy RandomState.
  """
  logits = np.asarray(logits, float)
  played = np.arange(logits.shape[-1]) == np.asarray(classes)[..., np.newaxis]
  highest = np.logaddexp.reduce(logits, axis=-1, keepdims=True) + rng.gumbel(
      size=logits.shape[:-1] + (1,))
  values = logits + rng.gumbel(size=logits.shape)
  values = np.minimum(highest - np.logaddexp(0, highest - values),
                      highest - MARGIN)
  return np.where(played, highest, values) - logits


def mix_noise(a, b, share):
  """Returns Gumbel noise between two, `a` at 0 and `b` at 1.

  The two are turned into one another as Gaussian noise, so that what is between
  is distributed as they are.
  """
  from scipy import special
  if share in (0, 1):
    return b if share else a
  a, b = (special.ndtri_exp(-np.exp(-x)) for x in (a, b))
  angle = share * np.pi / 2
  return -np.log(-special.log_ndtr(np.cos(angle) * a + np.sin(angle) * b))


class Varier:
  """The graph that encodes loops, and plays latents with noise."""

  def __init__(self, config, checkpoint, batch_size=LOOPS):
    """Builds the graph and loads a checkpoint, for so many loops at a time.

    Raises:
      UserError: if it is not of the config.
    """
    import tensorflow.compat.v1 as tf
    from magenta.models.music_vae import masked_sampling
    from magenta.models.music_vae import packed_slices
    hparams, model = copy.deepcopy(config.hparams), copy.deepcopy(config.model)
    hparams.batch_size, hparams.dropout_keep_prob = batch_size, 1.
    self._batch_size = batch_size
    hparams.sampling_schedule, hparams.sampling_rate = 'constant', 0.
    converter, steps = config.data_converter, hparams.max_seq_len
    with tf.Graph().as_default(), tf.variable_scope('', reuse=tf.AUTO_REUSE):
      model.build(hparams, converter.output_depth, is_training=False)
      self._loops = tf.placeholder(tf.int32, [batch_size, steps])
      inputs, outputs, _, lengths = packed_slices.unpack(self._loops, converter)
      lengths.set_shape([batch_size])
      posterior = model.encode(inputs, lengths)
      self._posterior = posterior.loc, posterior.stddev()
      self._z = tf.placeholder(tf.float32, [batch_size, hparams.z_size])
      targets = tf.to_float(outputs)
      loss, _, results = model.decoder.reconstruction_loss(
          tf.pad(targets[:, :-1], [(0, 0), (1, 0), (0, 0)]), targets, lengths,
          self._z)
      self._logits = results.rnn_output
      self._gradient, = tf.gradients(loss, self._z)
      self._noise = tf.placeholder(
          tf.float32, [batch_size, steps, converter.output_depth])
      self._temperature = tf.placeholder(tf.float32, [])
      self._played = masked_sampling.sample_with_noise(
          model.decoder, self._z, self._noise, self._temperature)
      self._sess = tf.Session()
      checkpoint_files.restore(tf.train.Saver(), self._sess, checkpoint)

  def _run(self, fetches, feed):
    count = len(next(iter(feed.values())))
    parts = []
    size = self._batch_size
    for i in range(0, count, size):
      part = {k: np.resize(v[i:i + size], (size,) + v.shape[1:])
              if np.ndim(v) else v for k, v in feed.items()}
      parts.append(self._sess.run(fetches, part))
    return [np.concatenate(p)[:count] for p in zip(*parts)]

  def encode(self, loops):
    """Returns the latents' means and deviations: two of [loops, z_size]."""
    return self._run(self._posterior, {self._loops: np.asarray(loops)})

  def refine(self, loops, z):
    """Returns latents that are better to decode loops from, found from `z` on.

    By REFINING_STEPS of Adam on what the decoder has to be told of each loop
    (semi-amortized inference, Kim et al. 2018, arXiv 1802.02550).
    """
    loops, z = np.asarray(loops), np.array(z)
    mean, square = np.zeros([2, *z.shape])
    for i in range(1, REFINING_STEPS + 1):
      gradient, = self._run([self._gradient], {self._loops: loops, self._z: z})
      mean += 0.1 * (gradient - mean)
      square += 0.01 * (gradient ** 2 - square)
      z -= REFINING_RATE * (mean / (1 - 0.9 ** i)) / (
          np.sqrt(square / (1 - 0.99 ** i)) + 1e-8)
    return z

  def noise(self, loops, z, temperature, rng):
    """Returns noise by which latents are decoded to just these loops."""
    logits, = self._run([self._logits], {self._loops: np.asarray(loops),
                                         self._z: np.asarray(z)})
    return noise_of(logits / temperature, loops, rng)

  def play(self, z, noise, temperature):
    """Returns the loops that latents and noise decide: int, [loops, steps]."""
    return self._run([self._played], {
        self._z: np.asarray(z), self._noise: np.asarray(noise),
        self._temperature: temperature})[0]


def vary(varier, loop, amount, count, temperature, seed):
  """Returns variations of a loop: int, [count, steps].

  Args:
    varier: A Varier.
    loop: Classes, [steps].
    amount: From 0, the loop itself, to 1, other loops that the encoder takes for
      it.
    count: How many.
    temperature: Of the softmax each step is sampled from.
    seed: The same seed gives the same loops.
  """
  if not amount:  # Nor does rounding change it, however low the temperature.
    return np.repeat([loop], count, axis=0)
  rng = np.random.RandomState(seed)
  mu, sigma = varier.encode([loop])
  own = varier.noise([loop], mu, temperature, rng)
  z = mu + amount * sigma * rng.standard_normal((count, mu.shape[1]))
  fresh = rng.gumbel(size=(count,) + own.shape[1:])
  return varier.play(z, mix_noise(np.repeat(own, count, axis=0), fresh, amount),
                     temperature)


def reconstruct(varier, loop, count, temperature, seed):
  """Returns loops that its latent says of a loop: int, [count, steps].

  The most likely class of each step, if the temperature is 0.
  """
  rng = np.random.RandomState(seed)
  z = np.repeat(varier.refine([loop], varier.encode([loop])[0]), count, axis=0)
  noise = rng.gumbel(size=(count, len(loop), completion.CLASSES))
  return varier.play(z, noise * bool(temperature), temperature or 1.)


def interpolate(varier, a, b, count, temperature, seed):
  """Returns loops from one to another, ends included: int, [count, steps]."""
  rng = np.random.RandomState(seed)
  mu, _ = varier.encode([a, b])
  own = varier.noise([a, b], mu, temperature, rng)
  shares = np.linspace(0, 1, count)
  loops = varier.play(
      [latent.slerp(*mu, share) for share in shares],
      [mix_noise(*own, share) for share in shares], temperature)
  loops[0] = a  # As they are but for what rounding does at low temperatures.
  if count > 1:
    loops[-1] = b
  return loops
