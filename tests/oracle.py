"""Runs Magenta on checkpoints, in stock Python 3.7 and in ours.

    python oracle.py score SLICES.npy OUT CONFIG CHECKPOINT ...
    python oracle.py every CHECKPOINTS OUT.npz
    python oracle.py train CONFIG -- flags of music_vae_train
    python oracle.py generate CONFIG -- flags of music_vae_generate

Stock Magenta stays untouched, but for our configs in its CONFIG_MAP.
"""
import importlib.util
import os
import sys

import numpy as np

ADDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..',
                     'magenta_patches', 'added')
FLAT = 'enc_rnn_size=[16],dec_rnn_size=[16],z_size=8,batch_size=16'


def config_map():
  """Returns Magenta's CONFIG_MAP, with our configs in it."""
  from magenta.models.music_vae import configs
  if 'flat-drums_4bar' not in configs.CONFIG_MAP:
    for name in ('drum_classes', 'drums_4bar'):  # The latter imports the former.
      spec = importlib.util.spec_from_file_location(
          'magenta.models.music_vae.' + name, os.path.join(ADDED, name + '.py'))
      module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
      spec.loader.exec_module(module)
    module.register(configs.CONFIG_MAP, configs.Config)
  return configs.CONFIG_MAP


def get_config(name):
  config = config_map()[name]
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


def score(slices_path, out, *names_and_checkpoints):
  """Writes OUT/0.npz, ... of the checkpoints, in this order."""
  slices = np.load(slices_path)
  of_names = {}
  for i, name in enumerate(names_and_checkpoints[::2]):
    of_names.setdefault(name, []).append((i, names_and_checkpoints[2 * i + 1]))
  for name, checkpoints in of_names.items():
    for (i, _), scores in zip(checkpoints, score_config(
        name, [checkpoint for _, checkpoint in checkpoints], slices)):
      np.savez(os.path.join(out, '%d.npz' % i), **scores)


def score_config(name, checkpoints, slices):
  """Returns what a config makes of slices by each of some checkpoints."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae.trained_model import TrainedModel
  rolls = np.stack([slices >> drum & 1 for drum in range(9)] + [slices == 0],
                   axis=-1).astype(np.float32)
  config = get_config(name)  # A built one can't be copied, which TrainedModel does.
  found = []
  for checkpoint in checkpoints:
    model = TrainedModel(config, len(slices), checkpoint)
    _, mu, sigma = model.encode_tensors(list(rolls), [64] * len(rolls))
    # So cold that the most likely class is sampled.
    decoded = np.argmax(model.decode_to_tensors(mu, 64, 1e-6), axis=-1)
    found.append(dict(mu=mu, sigma=sigma, decoded=decoded))
  with tf.Graph().as_default():
    inputs, targets, graph_mu, loss, logits = build(config, len(slices))
    saver = tf.train.Saver()
    with tf.Session() as sess:
      for checkpoint, scores in zip(checkpoints, found):
        saver.restore(sess, checkpoint)
        scores['loss'], scores['graph_mu'], scores['logits'] = sess.run(
            [loss, graph_mu, logits], {inputs: rolls, targets: np.eye(512)[slices]})
  return found


def load_random_weights(sess, of_kernels, of_biases):
  """Sets all variables to random numbers of these standard deviations."""
  import tensorflow.compat.v1 as tf
  rng = np.random.RandomState(0)
  sess.run(tf.global_variables_initializer())
  for v in tf.trainable_variables():
    shape = v.shape.as_list()
    deviation = of_biases if len(shape) == 1 else of_kernels
    v.load(rng.normal(0, deviation, shape).astype(np.float32), sess)


def every(checkpoints, out):
  """Loads, encodes with, decodes with and samples every config, made small.

  Checkpoints that the folder `checkpoints` lacks are made, of random weights. OUT then
  has of each config, or else 'CONFIG error':

    'CONFIG mu': encodings of two random sequences.
    'CONFIG decoded': their likeliest outputs, [2, steps, depth].
    'CONFIG notes': the notes of these as NoteSequences, a row a note.
    'CONFIG sampled': how many notes two samples have.
  """
  import tensorflow.compat.v1 as tf
  tf.disable_v2_behavior()  # As Magenta's commands do.
  restore = tf.train.Saver.restore

  def make_and_restore(saver, sess, checkpoint):
    if not os.path.exists(checkpoint + '.index'):
      # With larger biases, most configs repeat one output for ever.
      load_random_weights(sess, 1., 0.1)
      saver.save(sess, checkpoint, write_meta_graph=False)
    restore(saver, sess, checkpoint)
  tf.train.Saver.restore = make_and_restore

  results = {}
  for name in sorted(config_map()):
    try:
      found = try_config(name, os.path.join(checkpoints, name))
    except Exception as e:  # Whatever it is, it is what the test asks for.
      found = {'error': '%s: %s' % (type(e).__name__, e)}
    results.update(('%s %s' % (name, key), value)
                   for key, value in found.items())
  np.savez(out, **results)


def make_narrow(config):
  """Makes layers and latent narrow."""
  hparams = config.hparams
  hparams.enc_rnn_size = [8] * len(hparams.enc_rnn_size)
  hparams.dec_rnn_size = [8] * len(hparams.dec_rnn_size)
  hparams.z_size = 8
  if 'nade_num_hidden' in hparams:
    hparams.nade_num_hidden = 8


def make_small(config):
  """Makes layers narrow, and hierarchies of two segments (or instruments).

  Stock builds a graph for each segment; two show what sixteen do.
  """
  make_narrow(config)
  hparams, converter = config.hparams, config.data_converter
  for part, level in ((config.model.encoder, -1), (config.model.decoder, 0)):
    if hasattr(part, '_level_lengths'):
      part._level_lengths[level] = 2
      hparams.max_seq_len = int(np.prod(part._level_lengths))
  if converter.length_shape:
    converter._max_lengths[-2], converter._length_shape = 2, (2,)


def try_config(name, checkpoint):
  """Returns {what `every` keeps of a config: value}."""
  from magenta.models.music_vae.trained_model import TrainedModel
  config = get_config(name)
  make_small(config)
  converter, steps = config.data_converter, config.hparams.max_seq_len
  rng = np.random.RandomState(0)
  inputs = rng.rand(2, steps, converter.input_depth)
  lengths = np.full((2,) + converter.length_shape,
                    steps // int(np.prod(converter.length_shape)))
  controls = None
  if converter.control_depth:
    controls = np.eye(converter.control_depth)[
        rng.randint(converter.control_depth, size=steps)]
  model = TrainedModel(config, 2, checkpoint)
  _, mu, _ = model.encode_tensors(
      list(inputs), lengths, None if controls is None else [controls] * 2)
  # So cold that the likeliest outputs are sampled.
  decoded = model.decode_to_tensors(mu, steps, 1e-6, controls)
  notes = [
      (i, n.pitch, n.velocity, n.start_time, n.end_time, n.program, n.is_drum)
      for i, sequence in enumerate(model.decode(mu, steps, 1e-6, controls))
      for n in sequence.notes]
  sampled = model.sample(2, steps, c_input=controls)
  return {'mu': mu, 'decoded': decoded, 'notes': notes,
          'sampled': [len(sequence.notes) for sequence in sampled]}


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
  {'score': score, 'every': every,
   'train': train, 'generate': generate}[sys.argv[1]](*sys.argv[2:])
