"""What Magenta makes of a checkpoint; runs on stock Python 3.7 and on ours.

    python oracle.py score CONFIG CHECKPOINT SLICES.npy OUT.npz
    python oracle.py humanize CONFIG CHECKPOINT EXAMPLES.tfrecord OUT.npz
    python oracle.py make CONFIG CHECKPOINT
    python oracle.py train CONFIG -- flags of music_vae_train
    python oracle.py generate CONFIG -- flags of music_vae_generate

Stock Magenta stays untouched: it is only told of our configs.
"""
import importlib.util
import os
import sys

import numpy as np

DRUMS_4BAR = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), '..', 'magenta_patches',
    'added', 'drums_4bar.py')
FLAT = 'enc_rnn_size=[16],dec_rnn_size=[16],z_size=8,batch_size=16'


def get_config(name):
  from magenta.models.music_vae import configs
  if name not in configs.CONFIG_MAP:
    spec = importlib.util.spec_from_file_location('drums_4bar', DRUMS_4BAR)
    drums_4bar = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drums_4bar)
    drums_4bar.register(configs.CONFIG_MAP, configs.Config)
  config = configs.CONFIG_MAP[name]
  # Stock leaves the conductor's dropout on when it evaluates and samples.
  config.hparams.dropout_keep_prob = 1.
  if name.startswith('flat'):
    config.hparams.parse(FLAT)
  return config


def build(config, batch):
  """Builds the teacher-forced graph; returns its inputs, mu, loss, logits."""
  import tensorflow.compat.v1 as tf
  hparams = config.hparams
  hparams.batch_size = batch
  hparams.sampling_schedule, hparams.sampling_rate = 'constant', 0.
  config.model.build(hparams, 512, is_training=False)
  inputs = tf.placeholder(tf.float32, [batch, 64, 10])
  targets = tf.placeholder(tf.float32, [batch, 64, 512])
  lengths = tf.fill([batch], 64)
  mu = config.model.encode(inputs, lengths).loc
  loss, _, results = config.model.decoder.reconstruction_loss(
      tf.pad(targets[:, :-1], [(0, 0), (1, 0), (0, 0)]), targets, lengths, mu)
  return inputs, targets, mu, loss, results.rnn_output


def score(name, checkpoint, slices_path, out):
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae.trained_model import TrainedModel
  slices = np.load(slices_path)
  rolls = np.stack([slices >> drum & 1 for drum in range(9)] + [slices == 0],
                   axis=-1).astype(np.float32)
  model = TrainedModel(get_config(name), len(slices), checkpoint)
  _, mu, sigma = model.encode_tensors(list(rolls), [64] * len(rolls))
  # So cold that the most likely class is sampled.
  decoded = np.argmax(model.decode_to_tensors(mu, 64, 1e-6), axis=-1)
  with tf.Graph().as_default():
    inputs, targets, graph_mu, loss, logits = build(
        get_config(name), len(slices))
    with tf.Session() as sess:
      tf.train.Saver().restore(sess, checkpoint)
      loss, graph_mu, logits = sess.run(
          [loss, graph_mu, logits], {inputs: rolls, targets: np.eye(512)[slices]})
  np.savez(out, mu=mu, sigma=sigma, decoded=decoded, loss=loss,
           graph_mu=graph_mu, logits=logits)


def humanize(name, checkpoint, examples_path, out):
  """Converts performances; what the model makes of the first of their slices."""
  import note_seq
  import tensorflow.compat.v1 as tf
  config = get_config(name)
  slices = np.array([
      output for record in tf.python_io.tf_record_iterator(examples_path)
      for output in config.data_converter.to_tensors(
          note_seq.NoteSequence.FromString(record)).outputs], np.float32)
  first = slices[:16]
  hits = first[..., :9]
  with tf.Graph().as_default(), tf.Session() as sess:
    config.hparams.batch_size = len(first)
    config.model.build(config.hparams, 27, is_training=False)
    lengths = tf.fill([len(first)], 64)
    mu = config.model.encode(tf.constant(np.concatenate(
        [hits, np.zeros_like(first[..., 9:])], axis=-1)), lengths,
                             tf.constant(hits)).loc
    loss, _, results = config.model.decoder.reconstruction_loss(
        tf.pad(first[:, :-1], [(0, 0), (1, 0), (0, 0)]), tf.constant(first),
        lengths, mu, tf.constant(hits))
    tf.train.Saver().restore(sess, checkpoint)
    mu, loss, logits = sess.run([mu, loss, results.rnn_output])
  np.savez(out, slices=slices, mu=mu, loss=loss, logits=logits)


def make(name, checkpoint):
  """Saves a checkpoint of random weights that are large enough to matter."""
  import tensorflow.compat.v1 as tf
  rng = np.random.RandomState(0)
  with tf.Graph().as_default():
    build(get_config(name), 2)
    with tf.Session() as sess:
      sess.run(tf.global_variables_initializer())
      for v in tf.trainable_variables():
        v.load(rng.normal(0, 0.3, v.shape.as_list()).astype(np.float32), sess)
      tf.train.Saver().save(sess, checkpoint)


def train(name, *argv):
  from magenta.models.music_vae import music_vae_train
  get_config(name)
  sys.argv = ['music_vae_train', '--config=' + name] + list(argv[1:])
  music_vae_train.console_entry_point()


def generate(name, *argv):
  from magenta.models.music_vae import music_vae_generate
  get_config(name)
  sys.argv = ['music_vae_generate', '--config=' + name] + list(argv[1:])
  music_vae_generate.console_entry_point()


if __name__ == '__main__':
  {'score': score, 'humanize': humanize, 'make': make, 'train': train,
   'generate': generate}[sys.argv[1]](*sys.argv[2:])
