"""The graph that scores, encodes and decodes slices of drums."""
from typing import Any

from drumloops import abilities, grid
from drumloops.data import patterns
from drumloops.models import graph
import numpy as np

BATCH_SIZE = 64
DEFAULT_TEMPERATURE = 0.65  # Of what is sampled: chosen on validation.
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


class Autoencoder(graph.ModelGraph):
  """The graph that scores, encodes and decodes slices with a model.

  As upstream's `MusicVAE.eval`, but with the true steps before each step even where
  training uses scheduled sampling, for every example alone, and with a fixed seed.
  """

  def __init__(self, config: Any, sample: bool = True, seed: int = 0):
    """Builds the graph; `load` then gives it weights.

    Args:
      config: A config of slices (see `packed_slices.can_pack`).
      sample: Whether to measure sampled accuracy, and to decode; not where the
        decoder has to be told the hits.
      seed: For the latents drawn from the encoder, and for sampling.

    Raises:
      UserError: if the config is not of drum slices.
    """
    abilities.of(config).require(abilities.SCORE)
    self._can_sample = sample and not config.data_converter.control_depth
    super().__init__(config, BATCH_SIZE, seed=seed)

  def _build(self) -> None:
    import tensorflow.compat.v1 as tf
    import tensorflow_probability as tfp
    from magenta.models.music_vae import packed_slices
    is_groove = packed_slices.is_groove(self.config.data_converter)
    posterior = self._encode()
    self._posterior = posterior.loc, posterior.stddev()
    self._z = posterior.sample()
    loss, outputs = self._reconstruct(self._z)
    kl = tfp.distributions.kl_divergence(
        posterior, tfp.distributions.MultivariateNormalDiag(
            tf.zeros([self.z_size]), tf.ones([self.z_size])))
    self._scores = {'reconstruction_loss': loss, 'kl_bits': kl / np.log(2)}
    if outputs is not None:
      right = tf.reduce_all(tf.equal(
          outputs[..., :grid.DRUMS] > 0, self._slices[..., :grid.DRUMS] > 0),
                            axis=-1) if is_groove else tf.equal(
          tf.argmax(outputs, -1, output_type=tf.int32), self._slices)
      self._scores['teacher_forced_accuracy'] = tf.reduce_mean(
          tf.to_float(right), axis=1)
    if self._can_sample:
      self._temperature = tf.placeholder_with_default(1., [])
      samples, _ = self.model.sample(
          BATCH_SIZE, max_length=self.steps, z=self._z, temperature=self._temperature)
      self._sampled = samples if is_groove else tf.argmax(
          samples, -1, output_type=tf.int32)

  def score(self, slices: np.ndarray, progress: str | None = None) -> dict:
    """Returns the means of RECONSTRUCTION's numbers over slices.

    Where it can sample, also precision, recall and F1 of each drum's hits in the
    sampled loops.

    Args:
      slices: As `packed_slices.pack` returns them.
      progress: What a progress bar says, if there shall be one.
    """
    fetches = dict(self._scores)
    if self._can_sample:
      fetches['sampled'] = self._sampled
    scores = self._run(fetches, {self._slices: slices}, progress=progress)
    sampled = scores.pop('sampled', None)
    hparams = self.config.hparams
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

  def encode(self, slices: np.ndarray, progress: str | None = None
             ) -> tuple[np.ndarray, np.ndarray]:
    """Returns the latents' means and deviations: two of [loops, z_size]."""
    return self._run(self._posterior, {self._slices: slices}, progress=progress)

  def decode(self, z: np.ndarray, temperature: float, progress: str | None = None
             ) -> np.ndarray:
    """Returns slices, sampled from latents [loops, z_size]."""
    return self._run(self._sampled, {self._z: z}, {self._temperature: temperature},
                     progress)
