"""Compares training with and without the fast path, on this machine.

    python3 scripts/benchmark.py          # four to six minutes
    python3 scripts/benchmark.py --quick  # about one

Both sides train the same weights on the same batch under the same TensorFlow,
each in a process of its own, one after the other: `stock` with the lstm_models
of Magenta as it was released (the backup that magenta_patches keeps), `ours`
with the patched one. Loops of random classes do as data: the work does not
depend on them.
"""
import concurrent.futures
import importlib.machinery
import importlib.util
import multiprocessing
import resource
import time

from absl import flags
from drumloops import backend, cli, training
import numpy as np
from tqdm.auto import tqdm

TEACHER_FORCING = 'sampling_schedule=constant,sampling_rate=0'
# name: (hyperparameters of hierdec-drums_4bar_small, steps timed)
SETTINGS = {
    'encoder [256], decoder [128, 128], z 64, batch 128':
        (f'enc_rnn_size=[256],dec_rnn_size=[128,128],z_size=64,batch_size=128,'
         f'{TEACHER_FORCING}', {'ours': 20, 'stock': 8}),
    '_small, batch 64':
        (f'batch_size=64,{TEACHER_FORCING}', {'ours': 8, 'stock': 3}),
    '_small, batch 64, scheduled sampling':
        ('batch_size=64', {'ours': 8, 'stock': 3}),
}
QUICK_SETTINGS = {
    'encoder [64], decoder [32], z 16, batch 32': (
        f'enc_rnn_size=[64],dec_rnn_size=[32],z_size=16,batch_size=32,'
        f'{TEACHER_FORCING}', {'ours': 20, 'stock': 5}),
}
GMD_SLICES = 13251  # In the train split.
PIPELINE_STEPS = 60
LOOPS, BARS = 100, 64  # NoteSequences that are converted, and their length.
PEAK_SIZE = 4096  # Of the square matrices whose product gives the peak.


def stock_lstm_models():
  """Imports Magenta's lstm_models as released, under a name of its own."""
  backend.music_vae()
  from magenta.models.music_vae import lstm_models
  loader = importlib.machinery.SourceFileLoader(
      'stock_lstm_models', lstm_models.__file__ + '.orig')
  module = importlib.util.module_from_spec(
      importlib.util.spec_from_loader(loader.name, loader))
  loader.exec_module(module)
  return module


def make_config(module, name, hparams):
  """Returns the config `name` with a model of the classes of `module`."""
  from magenta.models.music_vae import configs
  from magenta.models.music_vae import drums_4bar
  patched, drums_4bar.lstm_models = drums_4bar.lstm_models, module
  try:
    config = drums_4bar.make_config(configs.Config, *drums_4bar.SIZES[name])
  finally:
    drums_4bar.lstm_models = patched
  config.hparams.parse(hparams)
  return config


def recipe(**changes):
  """Returns the hyperparameters that hierdec-drums_4bar trains with, as text."""
  backend.music_vae()
  from magenta.models.music_vae import drums_4bar
  return ','.join(f'{name}={value}' for name, value in {
      **drums_4bar.RECIPE, **changes}.items())


def flops(hparams, shapes, classes=512, segments=16, steps=64):
  """Returns the floating-point operations of a step's matrix products.

  Forwards and twice that backwards, with a one-hot input as a look-up and what
  is constant in a segment counted once: what no exact training can avoid.

  Args:
    hparams: batch_size and dec_rnn_size count.
    shapes: Variables' shapes by name, of a hierdec model.
  """
  total = 0
  for name, shape in shapes.items():
    if len(shape) == 2:
      rows, columns = shape
      runs = steps
      if 'initial_state' in name or '/mu/' in name or '/sigma/' in name:
        runs = segments if 'core_decoder' in name else 1
      elif 'hierarchical_level' in name:
        runs = segments
      elif name.startswith('core_decoder/decoder/multi_rnn_cell/cell_0/'):
        embedding = hparams.dec_rnn_size[-1]
        total += segments * embedding * columns
        rows -= classes + embedding
      total += runs * rows * columns
  return 3 * 2 * hparams.batch_size * total


class Training:
  """One graph that trains on what `dataset(converter, batch_size)` returns."""

  def __init__(self, module, hparams, dataset, name='hierdec-drums_4bar_small',
               device=None):
    import tensorflow.compat.v1 as tf
    config = make_config(module, name, hparams)
    self.hparams = config.hparams
    with tf.Graph().as_default(), tf.device(device):
      tf.set_random_seed(0)
      tf.train.get_or_create_global_step()
      batches = dataset(config.data_converter, config.hparams.batch_size)
      began = time.time()
      self._train_op = training.build_train_op(config, batches)
      self.build_seconds = time.time() - began
      self._sess = tf.Session(config=tf.ConfigProto(allow_soft_placement=True))
      self._sess.run(tf.global_variables_initializer())
      rng = np.random.RandomState(1)
      variables = sorted(tf.trainable_variables(), key=lambda v: v.name)
      for v in variables:
        v.load(rng.normal(0, .05, v.shape.as_list()), self._sess)
      self.shapes = {v.name: v.shape.as_list() for v in variables}

  def nodes(self):
    """Runs a step; returns how many nodes of the graph were executed for it."""
    import tensorflow.compat.v1 as tf
    metadata = tf.RunMetadata()
    self._sess.run(self._train_op, options=tf.RunOptions(
        trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
    return sum(len(device.node_stats) for device in metadata.step_stats.dev_stats)

  def step_seconds(self):
    """Runs a step; returns how long it took."""
    began = time.time()
    self._sess.run(self._train_op)
    return time.time() - began


def random_slices(count):
  return np.random.RandomState(0).randint(0, 512, [count, 64])


def one_batch(converter, batch_size):
  """Returns a dataset that repeats one batch, made before the first step."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  return tf.data.Dataset.from_tensors(random_slices(batch_size)).map(
      lambda s: packed_slices.unpack(s, converter)).cache().repeat()


def measure(side, hparams, steps):
  """Trains `steps` steps; returns seconds, bytes and operations by name."""
  backend.music_vae()
  from magenta.models.music_vae import lstm_models
  training = Training(stock_lstm_models() if side == 'stock' else lstm_models,
                      hparams, one_batch)
  first = training.step_seconds()
  return {'build': training.build_seconds, 'first': first,
          'step': float(np.median(
              [training.step_seconds() for _ in range(steps)])),
          'batch': training.hparams.batch_size,
          'flops': flops(training.hparams, training.shapes),
          'memory': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def measure_pipeline(hparams, steps):
  """Returns seconds a step with all of the input pipeline, and without.

  The two take turns, so that a machine that slows down slows down both.
  """
  backend.music_vae()
  from magenta.models.music_vae import lstm_models
  from magenta.models.music_vae import slice_batches
  def pipeline(converter, batch_size):
    return slice_batches.batches(
        random_slices(GMD_SLICES), converter, batch_size, is_training=True)
  trainings = [Training(lstm_models, hparams, dataset)
               for dataset in (pipeline, one_batch)]
  times = [[t.step_seconds() for t in trainings] for _ in range(steps + 3)]
  return [float(t) for t in np.median(times[3:], axis=0)]


def measure_conversion():
  """Returns how many seconds it takes stock, and us, to make slices."""
  configs = backend.music_vae()
  from magenta.models.music_vae import packed_slices
  converter = configs.CONFIG_MAP['hierdec-drums_4bar'].data_converter
  # As many hits a step as GMD's drummers play.
  hits = np.random.RandomState(0).rand(LOOPS, BARS * 16, 9) < 1.2 / 9
  sequences = converter.from_tensors(
      np.eye(512, dtype=bool)[(hits << np.arange(9)).sum(axis=-1)])
  began = time.time()
  count = sum(len(converter.to_tensors(s).outputs) for s in sequences)
  stock = time.time() - began
  began = time.time()
  assert sum(map(len, packed_slices.pack_each(
      sequences, lambda sequence: sequence, converter, LOOPS))) == count
  return stock, time.time() - began


def measure_peak():
  """Returns the operations a second of a large float32 matrix product."""
  import tensorflow as tf
  a = tf.random.normal([PEAK_SIZE, PEAK_SIZE])
  times = []
  for _ in range(6):
    began = time.time()
    tf.linalg.matmul(a, a).numpy()
    times.append(time.time() - began)
  return 2 * PEAK_SIZE ** 3 / min(times)


def in_process(function, *args):
  """Calls `function` in a fresh process, so that nothing is warm or shared."""
  with concurrent.futures.ProcessPoolExecutor(
      1, multiprocessing.get_context('spawn')) as executor:
    return executor.submit(function, *args).result()


def define_flags():
  flags.DEFINE_bool('quick', False, 'One small setting only.')


def main():
  settings = QUICK_SETTINGS if flags.FLAGS.quick else SETTINGS
  peak = in_process(measure_peak)
  print(f'Large matrix product: {peak / 1e9:.0f} GFLOP/s.')
  rows = ['| setting | | build | first step | steps/s | examples/s | '
          'of the peak | memory |', '|---|---|---|---|---|---|---|---|']
  with tqdm(total=2 * len(settings), desc='Measuring', unit='training') as bar:
    for setting, (hparams, steps) in settings.items():
      result = {}
      for side in ('stock', 'ours'):
        result[side] = r = in_process(measure, side, hparams, steps[side])
        bar.update()
        rows.append(
            f'| {setting} | {side} | {r["build"]:.2f} s | {r["first"]:.2f} s | '
            f'{1 / r["step"]:.2f} | {r["batch"] / r["step"]:.0f} | '
            f'{r["flops"] / r["step"] / peak:.0%} | '
            f'{r["memory"] / 2 ** 30:.1f} GiB |')
      stock, ours = result['stock'], result['ours']
      rows.append(
          f'| | **ratio** | {stock["build"] / ours["build"]:.1f} | '
          f'{stock["first"] / ours["first"]:.1f} | '
          f'**{stock["step"] / ours["step"]:.2f}** | '
          f'**{stock["step"] / ours["step"]:.2f}** | | '
          f'{stock["memory"] / ours["memory"]:.1f} |')
  print('\n'.join(rows))
  if not flags.FLAGS.quick:
    fed, fixed = in_process(
        measure_pipeline, next(iter(SETTINGS.values()))[0], PIPELINE_STEPS)
    print(f'A step with the whole input pipeline takes {fed / fixed:.3f} times '
          'as long as on one batch that is at hand (first setting).')
    stock, ours = in_process(measure_conversion)
    print(f'NoteSequences to slices, {LOOPS} of {BARS} bars: stock '
          f'{stock:.1f} s, ours {ours:.1f} s, ratio {stock / ours:.1f}.')


if __name__ == '__main__':
  cli.run(main, define_flags)
