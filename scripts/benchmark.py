"""Measures on this machine, on its GPU where it has one, how fast all of it is.

    python3 scripts/benchmark.py          # some ten minutes
    python3 scripts/benchmark.py --quick  # about one: training alone
    python3 scripts/benchmark.py --report=report.md  # to paste into an issue

In training both sides train the same weights on the same batch under the same
TensorFlow, each in a process of its own, one after the other: `stock` with the
lstm_models of Magenta as it was released (the backup that magenta_patches keeps),
`ours` with the patched one. Loops of random classes do as data: the work does not
depend on them.
"""
import concurrent.futures
import contextlib
import importlib.machinery
import importlib.util
import json
import multiprocessing
import os
import pathlib
import platform
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time

from drumloops import ROOT
from drumloops.errors import UserError
from drumloops.system import cli, magenta_setup
from drumloops.training import train_graph
from absl import flags
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
PERFORMANCES, BARS = 217, 64  # That give as many slices as GMD, and their length.
TIMES = (1, 5, 20)  # As many data as GMD has.
DATA_CONFIGS = ('hierdec-drums_4bar', 'groovae_4bar_hits_control')
DATA_STEPS = 20
LOOPS = 1000  # That are written.
CLUSTER_CONFIG, CLUSTER_BATCH, CLUSTER_STEPS = 'hierdec-drums_4bar_tiny', 512, 200
PEAK_SIZE = 4096  # Of the square matrices whose product gives the peak.


def stock_lstm_models():
  """Imports Magenta's lstm_models as released, under a name of its own."""
  magenta_setup.music_vae()
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
  magenta_setup.music_vae()
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
      batches = dataset(config.data_converter, config.hparams.batch_size)
      began = time.time()
      self._train_op = train_graph.TrainGraph(config, batches).train_op
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
    # A GPU's streams list what they ran once more.
    return sum(len(device.node_stats) for device in metadata.step_stats.dev_stats
               if '/stream:' not in device.device)

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
  magenta_setup.music_vae()
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
  magenta_setup.music_vae()
  from magenta.models.music_vae import lstm_models
  from magenta.models.music_vae import slice_batches
  def pipeline(converter, batch_size):
    return slice_batches.batches(
        random_slices(GMD_SLICES), converter, batch_size, is_training=True)
  trainings = [Training(lstm_models, hparams, dataset)
               for dataset in (pipeline, one_batch)]
  times = [[t.step_seconds() for t in trainings] for _ in range(steps + 3)]
  return [float(t) for t in np.median(times[3:], axis=0)]


def performances():
  """Returns NoteSequences with as many hits a step as GMD's drummers play."""
  converter = magenta_setup.get_config('hierdec-drums_4bar').data_converter
  hits = np.random.RandomState(0).rand(PERFORMANCES, BARS * 16, 9) < 1.2 / 9
  return converter.from_tensors(
      np.eye(512, dtype=bool)[(hits << np.arange(9)).sum(axis=-1)])


def measure_conversion():
  """Returns how many seconds it takes stock, and us, to make slices."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import packed_slices
  converter = magenta_setup.get_config('hierdec-drums_4bar').data_converter
  sequences = performances()
  began = time.time()
  count = sum(len(converter.to_tensors(s).outputs) for s in sequences)
  stock = time.time() - began
  began = time.time()
  assert sum(map(len, packed_slices.pack_each(
      sequences, lambda sequence: sequence, converter, PERFORMANCES))) == count
  return stock, time.time() - began


def write_performances(folder):
  """Writes {times}.tfrecord, so many times as many data as GMD has."""
  magenta_setup.music_vae()
  import tensorflow as tf
  records = [sequence.SerializeToString() for sequence in performances()]
  for times in TIMES:
    with tf.io.TFRecordWriter(os.path.join(folder, f'{times}.tfrecord')) as writer:
      for record in times * records:
        writer.write(record)


def measure_data(name, path):
  """Begins a training; returns slices, seconds to make them, a step's, and bytes."""
  magenta_setup.music_vae()
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import data
  from magenta.models.music_vae import slice_cache
  config = magenta_setup.get_config(name)._replace(train_examples_path=path)
  began = time.time()
  count = len(slice_cache.load_slices(config.data_converter, path))
  converted = time.time() - began
  with tf.Graph().as_default():
    train_op = train_graph.TrainGraph(
        config, data.get_dataset(config, is_training=True)).train_op
    with tf.Session() as sess:
      sess.run(tf.global_variables_initializer())
      times = []
      for _ in range(DATA_STEPS):
        began = time.time()
        sess.run(train_op)
        times.append(time.time() - began)
  return (count, converted, float(np.median(times)),
          resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measure_nodes(side, device, sampling_rate):
  """Returns how many nodes of its graph a step of hierdec-drums_4bar executes."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import lstm_models
  return Training(stock_lstm_models() if side == 'stock' else lstm_models,
                  recipe(sampling_rate=sampling_rate, batch_size=8), one_batch,
                  'hierdec-drums_4bar', device).nodes()


def seconds_of(name, *arguments):
  """Returns how long one of the scripts takes, from its command to its end."""
  began = time.time()
  result = subprocess.run([sys.executable, ROOT / 'scripts' / name, *arguments],
                          capture_output=True, text=True)
  if result.returncode:
    raise UserError(f'{name} failed: {result.stderr.strip()[-500:]}.')
  return time.time() - began


def measure_cluster(path, folder, workers):
  """Trains by a ps, a chief and workers, all here; returns their examples a second."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.create_server(('localhost', 0)))
               for _ in range(2 + workers)]
    addresses = [f'localhost:{s.getsockname()[1]}' for s in sockets]
  jobs = {'ps': addresses[:1], 'chief': addresses[1:2], 'worker': addresses[2:]}
  processes = [subprocess.Popen(
      [sys.executable, ROOT / 'scripts' / 'train.py', f'--config={CLUSTER_CONFIG}',
       f'--examples_path={path}', f'--run_dir={folder}', f'--num_steps={CLUSTER_STEPS}'],
      stdout=subprocess.PIPE if role == 'chief' else subprocess.DEVNULL,
      stderr=subprocess.STDOUT, text=True, env={
          # Each would take all of a GPU's memory.
          **os.environ, 'CUDA_VISIBLE_DEVICES': '-1', 'TF_CONFIG': json.dumps(
              {'cluster': jobs, 'task': {'type': role, 'index': i}})})
               for role, of_role in jobs.items() for i in range(len(of_role))]
  try:
    said = processes[1].communicate()[0]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  found = re.search(r'(\d+) examples a second', said)
  if not found:
    raise UserError(f'The training by {workers} workers failed: {said[-500:]}.')
  return int(found[1])


def machine():
  """Returns what this machine is, in words."""
  magenta_setup.music_vae()
  import tensorflow as tf
  model = re.search(r'model name\s*: (.*)', pathlib.Path(
      '/proc/cpuinfo').read_text()) if os.path.exists('/proc/cpuinfo') else None
  gpus = [tf.config.experimental.get_device_details(gpu).get('device_name', 'a GPU')
          for gpu in tf.config.list_physical_devices('GPU')]
  layer = ''
  if gpus:
    from magenta.models.music_vae import fast_lstm
    layer = f', layers by {fast_lstm._gpu_layer().__name__}'
  return (f'{os.cpu_count()} cores of {model[1] if model else platform.machine()}; '
          f'{", ".join(gpus) or "no GPU"}{layer}; {platform.system()}, Python '
          f'{platform.python_version()}, TensorFlow {tf.__version__}.')


def measure_peak():
  """Returns the operations a second of a large float32 matrix product."""
  magenta_setup.music_vae()
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


def report_training(settings):
  """Yields lines: what a training step takes, stock's and ours."""
  peak = in_process(measure_peak)
  yield f'Large matrix product: {peak / 1e9:.0f} GFLOP/s.'
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
  yield from ['', *rows, '']


def report_nodes():
  """Yields lines: what a training step has to start."""
  for sampling, rate in (('', 0), (' with scheduled sampling', 0.5)):
    stock, cpu, gpu = (in_process(measure_nodes, side, device, rate)
                       for side, device in (('stock', '/CPU:0'), ('ours', '/CPU:0'),
                                            ('ours', '/GPU:0')))
    yield (f'Graph nodes that a step executes, hierdec-drums_4bar{sampling}: stock '
           f'{stock:,}, ours on a CPU {cpu:,}, on a GPU {gpu:,}; ratios '
           f'{stock / cpu:.1f} and {stock / gpu:.1f}.')


def report_data():
  """Yields lines: what data cost, GMD's and many times as many."""
  fed, fixed = in_process(
      measure_pipeline, next(iter(SETTINGS.values()))[0], PIPELINE_STEPS)
  yield (f'A step with the whole input pipeline takes {fed / fixed:.3f} times '
         'as long as on one batch that is at hand (first setting).')
  stock, ours = in_process(measure_conversion)
  yield (f'NoteSequences to slices, {PERFORMANCES} of {BARS} bars: stock '
         f'{stock:.1f} s, ours {ours:.1f} s, ratio {stock / ours:.1f}.')
  yield from ['', '| data | slices | converted in | memory of training | a step |',
              '|---|---|---|---|---|']
  with tempfile.TemporaryDirectory() as folder, tqdm(
      total=len(DATA_CONFIGS) * len(TIMES), desc='Measuring', unit='training') as bar:
    in_process(write_performances, folder)
    for name in DATA_CONFIGS:
      first = None
      for times in TIMES:
        count, *found = in_process(
            measure_data, name, os.path.join(folder, f'{times}.tfrecord'))
        bar.update()
        first = first or found
        ratios = [a / b for a, b in zip(found, first)]
        yield (f'| {name}, {times} x GMD | {count:,} | {found[0]:.1f} s '
               f'({ratios[0]:.1f}) | {found[2] / 2 ** 30:.2f} GiB ({ratios[2]:.2f}) '
               f'| {found[1] * 1000:.0f} ms ({ratios[1]:.2f}) |')
  yield from ['', '*In brackets: times that of 1 x GMD.*', '']


def report_loops():
  """Yields a line: how soon loops are written."""
  with tempfile.TemporaryDirectory() as folder:
    def seconds(count, *arguments):
      return seconds_of('sample.py', f'--num_outputs={count}', '--humanize',
                        f'--output_dir={folder}/{len(os.listdir(folder))}', *arguments)
    four, all_of, midi = seconds(4), seconds(LOOPS), seconds(
        LOOPS, '--nosound', '--nopictures')
  yield (f'sample.py --humanize, from the command to its end: 4 loops {four:.1f} s, '
         f'{LOOPS:,} {all_of:.1f} s ({(LOOPS - 4) / (all_of - four):.0f} more a '
         f'second), without sound and pictures {midi:.1f} s, ratio '
         f'{all_of / midi:.1f}.')


def report_cluster():
  """Yields a line: what several workers, which here share the cores, do together."""
  with tempfile.TemporaryDirectory() as folder:
    in_process(write_performances, folder)
    path = os.path.join(folder, '1.tfrecord')
    _, _, step, _ = in_process(measure_data, CLUSTER_CONFIG, path)
    one, three = (measure_cluster(path, os.path.join(folder, str(workers)), workers)
                  for workers in (0, 2))
  alone = CLUSTER_BATCH / step
  yield (f'{CLUSTER_CONFIG}, examples a second: {alone:.0f} alone, {one} by a chief and '
         f'a ps, {three} with two workers more, on the same cores; ratios '
         f'{one / alone:.2f} and {three / alone:.2f}.')


def define_flags():
  flags.DEFINE_bool('quick', False, 'One small setting of training only.')
  flags.DEFINE_string('report', None, 'File to write all of it to, as Markdown.')


def main():
  FLAGS = flags.FLAGS
  lines = []
  def say(part):
    for line in part:
      print(line, flush=True)
      lines.append(line)
      if FLAGS.report:  # If a later part fails, the earlier ones are there.
        pathlib.Path(FLAGS.report).write_text('\n'.join(lines) + '\n')
  say([in_process(machine)])
  say(report_training(QUICK_SETTINGS if FLAGS.quick else SETTINGS))
  if not FLAGS.quick:
    say(report_nodes())
    say(report_data())
    say(report_loops())
    say(report_cluster())


if __name__ == '__main__':
  cli.run(main, define_flags)
