"""The graph that scores, encodes and decodes drum slices with a checkpoint."""
import copy

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.data import patterns
from drumloops.runs import checkpoint_files
import numpy as np
from tqdm.auto import tqdm

BATCH_SIZE = 64
DEFAULT_TEMPERATURE = 0.6  # Of what is sampled: chosen on validation.
RECONSTRUCTION = {
    'reconstruction_loss': 'Nats a loop: what the decoder still has to be told '
                           'of a loop, given its latent and the true steps '
                           'before.',
    'kl_bits': 'Bits that the latent says about a loop.',
    'loss': 'What training minimizes: the nats, and the latent\'s cost above '
            'the free bits.',
    'teacher_forced_accuracy': 'Steps (all nine drums at once) whose most '
                               'likely class is right, given the true steps '
                               'before.',
    'sampled_accuracy': 'Steps that are right when the loop is sampled '
                        '(temperature 1) from its latent alone.',
}


class Autoencoder:
  """The graph that scores, encodes and decodes slices with a model.

  As upstream's `MusicVAE.eval`, but with teacher forcing even where training
  uses scheduled sampling, for every example alone, and with a fixed seed.
  """

  def __init__(self, config, sample=True, seed=0):
    """Builds the graph.

    Args:
      config: A config of slices (see `packed_slices.can_pack`).
      sample: Whether to measure sampled accuracy, and to decode; not where the
        decoder has to be told the hits.
      seed: For the latents drawn from the encoder, and for sampling.

    Raises:
      UserError: if the config is not of drum slices.
    """
    import tensorflow.compat.v1 as tf
    import tensorflow_probability as tfp
    from magenta.models.music_vae import packed_slices
    if not packed_slices.can_pack(config):
      raise UserError(
          'This knows only drum configs whose data are slices of one length, '
          'such as hierdec-drums_4bar and groovae_4bar; for others, train.py '
          f'{field("mode", "eval")} says how well a checkpoint fits their data.')
    config = copy.deepcopy(config)
    self._config, hparams, model = config, config.hparams, config.model
    hparams.batch_size = BATCH_SIZE
    hparams.sampling_schedule, hparams.sampling_rate = 'constant', 0.
    hparams.dropout_keep_prob = 1.
    steps = hparams.max_seq_len
    with tf.Graph().as_default() as self._graph, tf.variable_scope(
        '', reuse=tf.AUTO_REUSE):  # The same decoder reconstructs and samples.
      tf.set_random_seed(seed)
      model.build(hparams, config.data_converter.output_depth,
                  is_training=False)
      is_groove = packed_slices.is_groove(config.data_converter)
      self._slices = (
          tf.placeholder(tf.float32, [
              BATCH_SIZE, steps, config.data_converter.output_depth])
          if is_groove else tf.placeholder(tf.int32, [BATCH_SIZE, steps]))
      inputs, outputs, controls, lengths = packed_slices.unpack(
          self._slices, config.data_converter)
      targets = tf.to_float(outputs)
      lengths.set_shape([BATCH_SIZE])
      is_told = config.data_converter.control_depth > 0
      controls = tf.to_float(controls) if is_told else None
      posterior = model.encode(inputs, lengths, controls)
      self._mu, self._sigma = posterior.loc, posterior.stddev()
      self._z = posterior.sample()
      loss, _, decoded = model.decoder.reconstruction_loss(
          tf.pad(targets[:, :-1], [(0, 0), (1, 0), (0, 0)]), targets, lengths,
          self._z, controls)
      kl = tfp.distributions.kl_divergence(
          posterior, tfp.distributions.MultivariateNormalDiag(
              tf.zeros([hparams.z_size]), tf.ones([hparams.z_size])))
      self._scores = {
          'reconstruction_loss': loss,
          'kl_bits': kl / np.log(2)}
      if is_groove:
        drums = grid.DRUMS
        right = tf.reduce_all(tf.equal(decoded.rnn_output[..., :drums] > 0,
                                       self._slices[..., :drums] > 0), axis=-1)
      else:
        right = tf.equal(tf.argmax(
            decoded.rnn_output, -1, output_type=tf.int32), self._slices)
      self._scores['teacher_forced_accuracy'] = tf.reduce_mean(
          tf.to_float(right), axis=1)
      self._sampled = None
      if sample and not is_told:
        self._temperature = tf.placeholder_with_default(1., [])
        samples, _ = model.sample(BATCH_SIZE, max_length=steps, z=self._z,
                                  temperature=self._temperature)
        self._sampled = samples if is_groove else tf.argmax(
            samples, -1, output_type=tf.int32)
      self._saver = tf.train.Saver()
      self._sess = tf.Session()

  def load(self, checkpoint):
    """Restores a checkpoint, which the other methods then use."""
    with self._graph.as_default():
      checkpoint_files.restore(self._saver, self._sess, checkpoint)

  def _run(self, fetches, feed, values, progress=None, others=()):
    """Feeds `values` in batches; returns what comes, put together again."""
    parts = []
    for i in tqdm(range(0, len(values), BATCH_SIZE), desc=progress,
                  unit='batch', disable=progress is None):
      batch = values[i:i + BATCH_SIZE]
      missing = [(0, BATCH_SIZE - len(batch))] + [(0, 0)] * (batch.ndim - 1)
      result = self._sess.run(
          fetches, {feed: np.pad(batch, missing), **dict(others)})
      parts.append({k: v[:len(batch)] for k, v in result.items()})
    return {k: np.concatenate([p[k] for p in parts]) for k in fetches}

  def score(self, slices, progress=None):
    """Returns the means of RECONSTRUCTION's numbers over slices.

    With `sample`, also precision, recall and F1 of each drum's hits in the
    sampled loops.
    """
    fetches = dict(self._scores)
    if self._sampled is not None:
      fetches['sampled'] = self._sampled
    scores = self._run(fetches, self._slices, slices, progress)
    sampled = scores.pop('sampled', None)
    hparams = self._config.hparams
    scores['loss'] = scores['reconstruction_loss'] + hparams.max_beta * (
        np.log(2) * np.maximum(scores['kl_bits'] - hparams.free_bits, 0))
    if sampled is not None:
      sampled, slices = map(patterns.of_slices, (sampled, slices))
      scores['sampled_accuracy'] = sampled == slices
    means = {'examples': len(slices)}
    means.update((k, float(scores[k].mean(dtype=float)))
                 for k in RECONSTRUCTION if k in scores)
    if sampled is not None:
      means['drums'] = {
          name: dict(zip(('precision', 'recall', 'f1'), map(float, column)))
          for name, column in zip(
              grid.DRUM_CLASSES, patterns.drum_scores(slices, sampled).T)}
    return means

  def encode(self, slices, progress=None):
    """Returns the latents' means and deviations: two of [loops, z_size]."""
    posterior = self._run({'mu': self._mu, 'sigma': self._sigma},
                          self._slices, slices, progress)
    return posterior['mu'], posterior['sigma']

  def decode(self, z, temperature, progress=None):
    """Returns slices, sampled from latents [loops, z_size]."""
    return self._run({'sampled': self._sampled}, self._z,
                     np.asarray(z, np.float32), progress,
                     {self._temperature: temperature})['sampled']
