"""Encoder fine-tuning: an encoder learns inputs of which parts are hidden.

For an input of which a part is hidden, it learns the mean of the posteriors that it
has for whole loops with that part. It learns this from the posteriors of whole
training loops, when its own inputs are parts of them (as a neural process does,
Garnelo et al. 2018, arXiv 1807.01622). The decoder, and so what is sampled, stays as
it is.
"""
from typing import Any

from drumloops.models import autoencoder, graph
import numpy as np
from tqdm.auto import trange

BATCH_SIZE = 2 * autoencoder.BATCH_SIZE
HIDDEN = 0.8  # Share of a batch of which parts are hidden.
LEARNING_RATE, WARMUP_STEPS, CLIP = 1e-3, 100, 10.


class _Encoder(graph.ModelGraph):
  """The encoder that is fine-tuned, with its optimizer."""

  def __init__(self, config: Any, checkpoint: str, steps: int, seed: int):
    """Builds the graph and loads a checkpoint.

    Args:
      config: The checkpoint's config.
      checkpoint: Its prefix.
      steps: Of fine-tuning.
      seed: The graph's.
    """
    import tensorflow.compat.v1 as tf
    super().__init__(config, BATCH_SIZE, checkpoint, seed)
    with self._sess.graph.as_default():
      self._step = tf.placeholder(tf.float32, [])
      rate = LEARNING_RATE * tf.minimum(
          1., (self._step + 1) / WARMUP_STEPS) * tf.cos(np.pi / 2 * self._step / steps)
      optimizer = tf.train.AdamOptimizer(rate, beta2=0.99, epsilon=1e-6)
      gradients, self._variables = zip(*optimizer.compute_gradients(self._loss))
      self._train = optimizer.apply_gradients(
          zip(tf.clip_by_global_norm(gradients, CLIP)[0], self._variables))
      self._sess.run(tf.variables_initializer(optimizer.variables()))

  def _build(self) -> None:
    import tensorflow.compat.v1 as tf
    import tensorflow_probability as tfp
    from magenta.models.music_vae import packed_slices
    from magenta.models.music_vae import slice_batches
    hidden = int(HIDDEN * BATCH_SIZE)
    self._slices, self._whole = (self._placeholder_of_slices() for _ in range(2))
    self._augmented = slice_batches.augment(
        self._slices, self.config.hparams.augment_probability)
    inputs, _, _, lengths = packed_slices.unpack(
        self._whole, self.config.data_converter)
    lengths.set_shape([BATCH_SIZE])
    self._posterior = [tf.placeholder(tf.float32, [BATCH_SIZE, self.z_size])
                       for _ in range(2)]
    posterior = self.model.encode(tf.concat([
        slice_batches.hide(inputs[:hidden]), tf.to_float(inputs[hidden:])], axis=0),
                                  lengths, None)
    self._loss = tf.reduce_mean(tfp.distributions.kl_divergence(
        tfp.distributions.MultivariateNormalDiag(*self._posterior), posterior))

  def augment(self, slices: np.ndarray) -> np.ndarray:
    """Returns a batch of slices, some of which are changed as in training."""
    return self._sess.run(self._augmented, {self._slices: slices})

  def train(self, step: int, slices: np.ndarray,
            posterior: tuple[np.ndarray, np.ndarray]) -> float:
    """Trains with a batch; returns the mean distance of the posteriors, in nats.

    Args:
      step: From 0 on.
      slices: Whole loops.
      posterior: Their latents' means and deviations: two of [BATCH_SIZE, z_size].
    """
    return self._sess.run([self._loss, self._train], {
        self._whole: slices, self._step: step,
        **dict(zip(self._posterior, posterior))})[0]

  def variables(self) -> dict[str, np.ndarray]:
    """Returns {name: array} of the variables that are trained."""
    return dict(zip([v.op.name for v in self._variables],
                    self._sess.run(self._variables)))


def finetune(config: Any, checkpoint: str, slices: np.ndarray, steps: int,
             seed: int = 0) -> dict[str, np.ndarray]:
  """Returns the variables of an encoder that has learned inputs with hidden parts.

  Args:
    config: A config of patterns.
    checkpoint: Its checkpoint.
    slices: Training loops as `packed_slices.pack` returns them.
    steps: Of fine-tuning.
    seed: For all that is drawn.

  Returns:
    {variable: array} of the checkpoint's variables that have changed.
  """
  teacher = autoencoder.Autoencoder(config, sample=False)
  teacher.load(checkpoint)
  encoder = _Encoder(config, checkpoint, steps, seed)
  rng = np.random.RandomState(seed)
  for step in (bar := trange(steps, desc='Fine-tuning the encoder', unit='step')):
    batch = encoder.augment(slices[rng.randint(len(slices), size=BATCH_SIZE)])
    nats = encoder.train(step, batch, teacher.encode(batch))
    bar.set_postfix(nats=f'{nats:.1f}')
  return encoder.variables()


def finetune_checkpoint(config: Any, checkpoint: str, slices: np.ndarray, steps: int
                        ) -> None:
  """Replaces a checkpoint by itself with a fine-tuned encoder; see `finetune`."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  reader = tf.train.load_checkpoint(checkpoint)
  tensors = {name: reader.get_tensor(name)
             for name in reader.get_variable_to_shape_map()}
  tensors.update(finetune(config, checkpoint, slices, steps))
  checkpoints.save(tensors, checkpoint)
