"""Teaches an encoder to hear loops of which parts, or how they are played, are hidden.

What it says of a part shall be what the encoder says of whole loops with that part,
on average: it learns from what the encoder says of training loops when it hears
parts of them (as a neural process does, Garnelo et al. 2018, arXiv 1807.01622). The
decoder, and so what is sampled, stays as it is.
"""
import copy

from drumloops.models import autoencoder
from drumloops.runs import checkpoint_files
import numpy as np
from tqdm.auto import trange

BATCH_SIZE = 2 * autoencoder.BATCH_SIZE
HIDDEN = 0.8  # Share of a batch of which parts are hidden.
LEARNING_RATE, WARMUP_STEPS, CLIP = 1e-3, 100, 10.


def teach(config, checkpoint, slices, steps, seed=0):
  """Returns the variables of an encoder that has learned to hear parts.

  Args:
    config: A config of patterns, or a groove config that is told the hits.
    checkpoint: Its checkpoint.
    slices: Training loops as `packed_slices.pack` returns them. Of patterns parts
      are hidden; of performances all but the hits.
    steps: Of training.
    seed: For all that is drawn.

  Returns:
    {variable: array} of the checkpoint's variables that have changed.
  """
  import tensorflow.compat.v1 as tf
  import tensorflow_probability as tfp
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import slice_batches
  teacher = autoencoder.Autoencoder(config, sample=False)
  teacher.load(checkpoint)
  hparams, model = copy.deepcopy(config.hparams), copy.deepcopy(config.model)
  hparams.batch_size, hparams.dropout_keep_prob = BATCH_SIZE, 1.
  rng = np.random.RandomState(seed)
  hidden = int(HIDDEN * BATCH_SIZE)
  with tf.Graph().as_default():
    tf.set_random_seed(seed)
    model.build(hparams, config.data_converter.output_depth, is_training=False)
    if packed_slices.is_groove(config.data_converter):
      loops, heard = (tf.placeholder(
          tf.float32, [BATCH_SIZE, *slices.shape[1:]]) for _ in range(2))
      augmented, hide = loops, slice_batches.flatten
    else:
      loops, heard = (tf.placeholder(
          tf.int32, [BATCH_SIZE, slices.shape[1]]) for _ in range(2))
      augmented = slice_batches.augment(loops, hparams.augment_probability)
      hide = slice_batches.hide
    inputs, _, controls, lengths = packed_slices.unpack(
        heard, config.data_converter)
    lengths.set_shape([BATCH_SIZE])
    said = [tf.placeholder(tf.float32, [BATCH_SIZE, hparams.z_size])
            for _ in range(2)]
    posterior = model.encode(
        tf.concat([hide(inputs[:hidden]), tf.to_float(inputs[hidden:])], axis=0),
        lengths, controls if controls.shape[-1] else None)
    loss = tf.reduce_mean(tfp.distributions.kl_divergence(
        tfp.distributions.MultivariateNormalDiag(*said), posterior))
    step = tf.placeholder(tf.float32, [])
    rate = LEARNING_RATE * tf.minimum(1., (step + 1) / WARMUP_STEPS) * tf.cos(
        np.pi / 2 * step / steps)
    optimizer = tf.train.AdamOptimizer(rate, beta2=0.99, epsilon=1e-6)
    gradients, variables = zip(*optimizer.compute_gradients(loss))
    train = optimizer.apply_gradients(
        zip(tf.clip_by_global_norm(gradients, CLIP)[0], variables))
    saver = tf.train.Saver(variables)
    with tf.Session() as sess:
      sess.run(tf.global_variables_initializer())
      checkpoint_files.restore(saver, sess, checkpoint)
      for i in (bar := trange(steps, desc='Listening', unit='step')):
        batch = sess.run(augmented, {loops: slices[
            rng.randint(len(slices), size=BATCH_SIZE)]})
        mu_and_sigma = teacher.encode(batch)
        _, nats = sess.run([train, loss], {
            heard: batch, step: i, **dict(zip(said, mu_and_sigma))})
        bar.set_postfix(nats=f'{nats:.1f}')
      return dict(zip([v.op.name for v in variables], sess.run(variables)))
