"""Measures this machine's speed of training, conversion and sampling.

    python3 scripts/benchmark.py          # some fifteen minutes
    python3 scripts/benchmark.py --quick  # two or three: training alone
    python3 scripts/benchmark.py --report=report.md  # to paste into an issue

A machine's GPU is used. `stock` trains with the lstm_models of Magenta as released,
the backup that magenta_patches keeps; `ours` trains with the patched one. Both have the
same weights, the same batch and the same TensorFlow. Each runs in a process of its own,
one after the other. The data are loops of random classes, on which the work does not
depend.
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
import types
from collections.abc import Callable, Iterator
from typing import NamedTuple

from drumloops import ROOT, DrumModel, Humanizer
from drumloops.errors import UserError
from drumloops.midi import sound
from drumloops.system import cli, magenta_setup
from drumloops.training import train_graph
from absl import flags
import numpy as np
from tqdm.auto import tqdm


class Setting(NamedTuple):
  """A training that is timed, and how many steps of it."""
  hparams: str  # Of hierdec-drums_4bar_small.
  our_steps: int
  stock_steps: int


class Speed(NamedTuple):
  """What a training takes on one side."""
  build: float  # Seconds to build the graph.
  first_step: float  # Seconds.
  step: float  # Seconds, the median.
  batch_size: int
  flops: float  # Floating-point operations a step.
  memory: int  # The process's peak, in bytes.


class DataCost(NamedTuple):
  """What an amount of data takes."""
  slices: int
  conversion: float  # Seconds.
  step: float  # Seconds, the median.
  memory: int  # The process's peak, in bytes.


TEACHER_FORCING = 'sampling_schedule=constant,sampling_rate=0'
SETTINGS = {
    'encoder [256], decoder [128, 128], z 64, batch 128': Setting(
        'enc_rnn_size=[256],dec_rnn_size=[128,128],z_size=64,batch_size=128,'
        + TEACHER_FORCING, our_steps=20, stock_steps=8),
    '_small, batch 64': Setting(
        f'batch_size=64,{TEACHER_FORCING}', our_steps=8, stock_steps=3),
    '_small, batch 64, scheduled sampling': Setting(
        'batch_size=64', our_steps=8, stock_steps=3),
}
QUICK_SETTINGS = {
    'encoder [64], decoder [32], z 16, batch 32': Setting(
        'enc_rnn_size=[64],dec_rnn_size=[32],z_size=16,batch_size=32,'
        + TEACHER_FORCING, our_steps=20, stock_steps=5),
}
TRAINING_TABLE = (
    '| setting | | build | first step | steps/s | examples/s | of the peak | memory |',
    '|---|---|---|---|---|---|---|---|')
DATA_TABLE = (
    '| data | slices | converted in | memory of training | a step |',
    '|---|---|---|---|---|')
GMD_SLICES = 13251  # In the train split.
PIPELINE_STEPS = 60
PERFORMANCES, BARS = 217, 64  # They give as many slices as GMD's train split.
TIMES = (1, 5, 20)  # Amounts of data, as multiples of GMD's.
DATA_CONFIGS = ('hierdec-drums_4bar', 'groovae_4bar_hits_control')
DATA_STEPS = 20
LOOPS = 1000  # Number of loops that sample.py writes.
CLUSTER_CONFIG, CLUSTER_BATCH, CLUSTER_STEPS = 'hierdec-drums_4bar_tiny', 512, 200
PEAK_SIZE = 4096  # Rows of the square matrices whose product gives the peak.


def stock_lstm_models() -> types.ModuleType:
  """Imports Magenta's lstm_models as released, under a name of its own."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import lstm_models
  loader = importlib.machinery.SourceFileLoader(
      'stock_lstm_models', lstm_models.__file__ + '.orig')
  module = importlib.util.module_from_spec(
      importlib.util.spec_from_loader(loader.name, loader))
  loader.exec_module(module)
  return module


def lstm_models_of(side: str) -> types.ModuleType:
  """Returns the module of the side 'stock' or 'ours'."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import lstm_models
  return stock_lstm_models() if side == 'stock' else lstm_models


def make_config(module: types.ModuleType, name: str, hparams: str) -> object:
  """Returns a config of patterns, without its recipe.

  Args:
    module: lstm_models, whose classes the model gets.
    name: Of the config.
    hparams: Hyperparameters, 'a=1,b=2'.
  """
  from magenta.models.music_vae import configs
  from magenta.models.music_vae import drums_4bar
  patched, drums_4bar.lstm_models = drums_4bar.lstm_models, module
  try:
    config = drums_4bar.make_config(
        configs.Config, drums_4bar.PATTERNS[name]._replace(recipe={}))
  finally:
    drums_4bar.lstm_models = patched
  config.hparams.parse(hparams)
  return config


def recipe(**changes: object) -> str:
  """Returns the hyperparameters that hierdec-drums_4bar trains with, changed."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import drums_4bar
  return ','.join(f'{name}={value}' for name, value in {
      **drums_4bar.RECIPE, **changes}.items())


def flops(hparams: object, shapes: dict[str, list[int]], classes: int = 512,
          segments: int = 16, steps: int = 64) -> int:
  """Returns the floating-point operations that a training step can't avoid.

  They are those of the matrix products: once forwards, twice backwards. A one-hot
  input is a look-up. What is constant in a segment counts once.

  Args:
    hparams: Of which batch_size and dec_rnn_size count.
    shapes: Variables' shapes by name, of a hierdec model.
    classes: Of a step.
    segments: Of a loop.
    steps: Of a loop.
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
  """A graph that trains, with weights that are the same for all graphs.

  hparams: Hyperparameters.
  build_seconds: How long the graph took to build.
  shapes: The variables' shapes by name.
  """

  def __init__(self, module: types.ModuleType, hparams: str, dataset: Callable,
               name: str = 'hierdec-drums_4bar_small', device: str | None = None):
    """Builds the graph.

    Args:
      module: lstm_models, whose classes the model gets.
      hparams: Hyperparameters, 'a=1,b=2'.
      dataset: Returns a tf.data.Dataset, given a converter and a batch size.
      name: Of the config.
      device: On which the graph is placed; None: TensorFlow's choice.
    """
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

  def nodes(self) -> int:
    """Runs a step; returns how many nodes of the graph it executed."""
    import tensorflow.compat.v1 as tf
    metadata = tf.RunMetadata()
    self._sess.run(self._train_op, options=tf.RunOptions(
        trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
    # A GPU's streams list the same nodes again.
    return sum(len(device.node_stats) for device in metadata.step_stats.dev_stats
               if '/stream:' not in device.device)

  def step_seconds(self) -> float:
    """Runs a step; returns how long it took."""
    began = time.time()
    self._sess.run(self._train_op)
    return time.time() - began


def random_slices(count: int) -> np.ndarray:
  """Returns random classes, [count, 64]."""
  return np.random.RandomState(0).randint(0, 512, [count, 64])


def one_batch(converter: object, batch_size: int) -> object:
  """Returns a dataset that repeats one batch, made before the first step."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  return tf.data.Dataset.from_tensors(random_slices(batch_size)).map(
      lambda s: packed_slices.unpack(s, converter)).cache().repeat()


def peak_memory() -> int:
  """Returns this process's peak, in bytes."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(side: str, hparams: str, steps: int) -> Speed:
  """Trains `steps` steps after a first one."""
  training = Training(lstm_models_of(side), hparams, one_batch)
  return Speed(
      build=training.build_seconds, first_step=training.step_seconds(),
      step=float(np.median([training.step_seconds() for _ in range(steps)])),
      batch_size=training.hparams.batch_size,
      flops=flops(training.hparams, training.shapes), memory=peak_memory())


def measure_pipeline(hparams: str, steps: int) -> list[float]:
  """Returns the seconds of a step with the whole input pipeline, and without.

  The two take turns, so a slower machine slows down both.
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


def performances() -> list:
  """Returns NoteSequences with as many hits a step as GMD's."""
  converter = magenta_setup.get_config('hierdec-drums_4bar').data_converter
  hits = np.random.RandomState(0).rand(PERFORMANCES, BARS * 16, 9) < 1.2 / 9
  return converter.from_tensors(
      np.eye(512, dtype=bool)[(hits << np.arange(9)).sum(axis=-1)])


def measure_conversion() -> tuple[float, float]:
  """Returns the seconds in which stock, and ours, convert performances to slices."""
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


def write_performances(folder: str) -> None:
  """Writes a TFRecord for each of TIMES: 1.tfrecord has as many data as GMD."""
  magenta_setup.music_vae()
  import tensorflow as tf
  records = [sequence.SerializeToString() for sequence in performances()]
  for times in TIMES:
    with tf.io.TFRecordWriter(os.path.join(folder, f'{times}.tfrecord')) as writer:
      for record in times * records:
        writer.write(record)


def measure_data(name: str, path: str) -> DataCost:
  """Converts a TFRecord and trains a config on it for DATA_STEPS."""
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
  return DataCost(count, converted, float(np.median(times)), peak_memory())


def measure_nodes(side: str, device: str, sampling_rate: float) -> int:
  """Returns how many graph nodes a step of hierdec-drums_4bar executes."""
  return Training(lstm_models_of(side),
                  recipe(sampling_rate=sampling_rate, batch_size=8), one_batch,
                  'hierdec-drums_4bar', device).nodes()


def seconds_of(name: str, *arguments: str) -> float:
  """Returns how many seconds a script runs.

  Raises:
    UserError: if it fails.
  """
  began = time.time()
  result = subprocess.run([sys.executable, ROOT / 'scripts' / name, *arguments],
                          capture_output=True, text=True)
  if result.returncode:
    raise UserError(f'{name} failed: {result.stderr.strip()[-500:]}.')
  return time.time() - began


def free_addresses(count: int) -> list[str]:
  """Returns addresses of this machine at which nobody listens."""
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.create_server(('localhost', 0)))
               for _ in range(count)]
    return [f'localhost:{s.getsockname()[1]}' for s in sockets]


def start_task(path: str, folder: str, cluster: dict[str, list[str]], role: str,
               index: int) -> subprocess.Popen:
  """Starts train.py as one task of a cluster; a chief's output can be read."""
  return subprocess.Popen(
      [sys.executable, ROOT / 'scripts' / 'train.py', f'--config={CLUSTER_CONFIG}',
       f'--examples_path={path}', f'--run_dir={folder}',
       f'--num_steps={CLUSTER_STEPS}'],
      stdout=subprocess.PIPE if role == 'chief' else subprocess.DEVNULL,
      stderr=subprocess.STDOUT, text=True, env={
          # Each would take all of a GPU's memory.
          **os.environ, 'CUDA_VISIBLE_DEVICES': '-1', 'TF_CONFIG': json.dumps(
              {'cluster': cluster, 'task': {'type': role, 'index': index}})})


def measure_cluster(path: str, folder: str, workers: int) -> int:
  """Returns the examples a second of a ps, a chief and workers, all on this machine.

  Args:
    path: TFRecord.
    folder: Of the run.
    workers: How many there are beside the chief.

  Raises:
    UserError: if the training fails.
  """
  addresses = free_addresses(2 + workers)
  cluster = {'ps': addresses[:1], 'chief': addresses[1:2], 'worker': addresses[2:]}
  processes = [start_task(path, folder, cluster, role, i)
               for role, of_role in cluster.items() for i in range(len(of_role))]
  try:
    output = processes[1].communicate()[0]
  finally:
    for process in processes:
      process.kill()
      process.wait()
  found = re.search(r'(\d+) examples a second', output)
  if not found:
    raise UserError(f'The training by {workers} workers failed: {output[-500:]}.')
  return int(found[1])


def machine() -> str:
  """Returns a line about this machine: processor, GPU, software."""
  magenta_setup.music_vae()
  import tensorflow as tf
  model = re.search(r'model name\s*: (.*)', pathlib.Path(
      '/proc/cpuinfo').read_text()) if os.path.exists('/proc/cpuinfo') else None
  gpus = [tf.config.experimental.get_device_details(gpu).get('device_name', 'a GPU')
          for gpu in tf.config.list_physical_devices('GPU')]
  layer = ''
  if gpus:
    from magenta.models.music_vae import fast_lstm_layers
    layer = f', layers by {fast_lstm_layers.gpu_layer().__name__}'
  return (f'{os.cpu_count()} cores of {model[1] if model else platform.machine()}; '
          f'{", ".join(gpus) or "no GPU"}{layer}; {platform.system()}, Python '
          f'{platform.python_version()}, TensorFlow {tf.__version__}.')


def measure_peak() -> float:
  """Returns the floating-point operations a second of a large matrix product."""
  magenta_setup.music_vae()
  import tensorflow as tf
  a = tf.random.normal([PEAK_SIZE, PEAK_SIZE])
  times = []
  for _ in range(6):
    began = time.time()
    tf.linalg.matmul(a, a).numpy()
    times.append(time.time() - began)
  return 2 * PEAK_SIZE ** 3 / min(times)


def in_process(function: Callable, *args: object) -> object:
  """Returns function(*args), called in a fresh process where nothing is warm."""
  with concurrent.futures.ProcessPoolExecutor(
      1, multiprocessing.get_context('spawn')) as executor:
    return executor.submit(function, *args).result()


def speed_row(setting: str, side: str, speed: Speed, peak: float) -> str:
  """Returns a side's row of TRAINING_TABLE."""
  return (f'| {setting} | {side} | {speed.build:.2f} s | {speed.first_step:.2f} s | '
          f'{1 / speed.step:.2f} | {speed.batch_size / speed.step:.0f} | '
          f'{speed.flops / speed.step / peak:.0%} | '
          f'{speed.memory / 2 ** 30:.1f} GiB |')


def ratio_row(stock: Speed, ours: Speed) -> str:
  """Returns the row of TRAINING_TABLE that compares two."""
  faster = f'**{stock.step / ours.step:.2f}**'
  return (f'| | **ratio** | {stock.build / ours.build:.1f} | '
          f'{stock.first_step / ours.first_step:.1f} | {faster} | {faster} | | '
          f'{stock.memory / ours.memory:.1f} |')


def report_training(settings: dict[str, Setting]) -> Iterator[str]:
  """Yields lines: what training takes, stock's and ours."""
  peak = in_process(measure_peak)
  yield f'Large matrix product: {peak / 1e9:.0f} GFLOP/s.'
  rows = []
  with tqdm(total=2 * len(settings), desc='Measuring', unit='training') as bar:
    for name, setting in settings.items():
      stock = in_process(measure, 'stock', setting.hparams, setting.stock_steps)
      bar.update()
      ours = in_process(measure, 'ours', setting.hparams, setting.our_steps)
      bar.update()
      rows += [speed_row(name, 'stock', stock, peak),
               speed_row(name, 'ours', ours, peak), ratio_row(stock, ours)]
  yield from ['', *TRAINING_TABLE, *rows, '']


def report_nodes() -> Iterator[str]:
  """Yields lines: how many ops a training step starts."""
  for sampling, rate in (('', 0), (' with scheduled sampling', 0.5)):
    stock, cpu, gpu = (in_process(measure_nodes, side, device, rate)
                       for side, device in (('stock', '/CPU:0'), ('ours', '/CPU:0'),
                                            ('ours', '/GPU:0')))
    yield (f'Graph nodes that a step executes, hierdec-drums_4bar{sampling}: stock '
           f'{stock:,}, ours on a CPU {cpu:,}, on a GPU {gpu:,}; ratios '
           f'{stock / cpu:.1f} and {stock / gpu:.1f}.')


def report_pipeline() -> Iterator[str]:
  """Yields lines: what the input pipeline and the conversion to slices take."""
  fed, fixed = in_process(
      measure_pipeline, next(iter(SETTINGS.values())).hparams, PIPELINE_STEPS)
  yield (f'A step with the whole input pipeline takes {fed / fixed:.3f} times '
         'as long as on one batch that is at hand (first setting).')
  stock, ours = in_process(measure_conversion)
  yield (f'NoteSequences to slices, {PERFORMANCES} of {BARS} bars: stock '
         f'{stock:.1f} s, ours {ours:.1f} s, ratio {stock / ours:.1f}.')


def data_row(name: str, times: int, cost: DataCost, first: DataCost) -> str:
  """Returns a row of DATA_TABLE; `first` is the cost of 1 x GMD."""
  return (f'| {name}, {times} x GMD | {cost.slices:,} | {cost.conversion:.1f} s '
          f'({cost.conversion / first.conversion:.1f}) | '
          f'{cost.memory / 2 ** 30:.2f} GiB ({cost.memory / first.memory:.2f}) '
          f'| {cost.step * 1000:.0f} ms ({cost.step / first.step:.2f}) |')


def report_data() -> Iterator[str]:
  """Yields lines: what GMD's data take, and many times as many."""
  yield from ['', *DATA_TABLE]
  with tempfile.TemporaryDirectory() as folder, tqdm(
      total=len(DATA_CONFIGS) * len(TIMES), desc='Measuring', unit='training') as bar:
    in_process(write_performances, folder)
    for name in DATA_CONFIGS:
      first = None
      for times in TIMES:
        cost = in_process(
            measure_data, name, os.path.join(folder, f'{times}.tfrecord'))
        bar.update()
        first = first or cost
        yield data_row(name, times, cost, first)
  yield from ['', '*In brackets: times that of 1 x GMD.*', '']


def measure_sound() -> tuple[float, float]:
  """Returns CPU seconds of a loop's sound: by FluidSynth, of mixed strokes."""
  loops = [loop.to_note_sequence() for loop in Humanizer().play(
      DrumModel().sample(LOOPS))]
  player, seconds = sound.Player(), []
  for play in (player.by_fluidsynth, player):
    start = time.process_time()
    for loop in loops:
      play(loop)
    seconds.append((time.process_time() - start) / len(loops))
  return tuple(seconds)


def report_loops() -> Iterator[str]:
  """Yields lines: what sound takes, and sample.py as a whole."""
  with tempfile.TemporaryDirectory() as folder:
    def seconds(count, *arguments):
      return seconds_of('sample.py', f'--num_outputs={count}', '--humanize',
                        f'--output_dir={folder}/{len(os.listdir(folder))}', *arguments)
    four, all_of, midi = seconds(4), seconds(LOOPS), seconds(
        LOOPS, '--nosound', '--nopictures')
  whole, mixed = in_process(measure_sound)
  yield (f'CPU time of the sound of a loop, of {LOOPS:,}: FluidSynth with effects '
         f'{1000 * whole:.1f} ms, mixed strokes {1000 * mixed:.1f} ms, ratio '
         f'{whole / mixed:.1f}.')
  yield (f'sample.py --humanize, from the command to its end: 4 loops {four:.1f} s, '
         f'{LOOPS:,} {all_of:.1f} s ({(LOOPS - 4) / (all_of - four):.0f} more a '
         f'second), without sound and pictures {midi:.1f} s, ratio '
         f'{all_of / midi:.1f}.')


def report_cluster() -> Iterator[str]:
  """Yields a line: how fast several workers train, which share this machine's cores."""
  with tempfile.TemporaryDirectory() as folder:
    in_process(write_performances, folder)
    path = os.path.join(folder, '1.tfrecord')
    step = in_process(measure_data, CLUSTER_CONFIG, path).step
    one, three = (measure_cluster(path, os.path.join(folder, str(workers)), workers)
                  for workers in (0, 2))
  alone = CLUSTER_BATCH / step
  yield (f'{CLUSTER_CONFIG}, examples a second: {alone:.0f} alone, {one} by a chief '
         f'and a ps, {three} with two workers more, on the same cores; ratios '
         f'{one / alone:.2f} and {three / alone:.2f}.')


def define_flags() -> None:
  flags.DEFINE_bool('quick', False, 'One small setting of training only.')
  flags.DEFINE_string('report', None, 'File to write all of it to, as Markdown.')


def main() -> None:
  """Prints all measurements."""
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
    say(report_pipeline())
    say(report_data())
    say(report_loops())
    say(report_cluster())


if __name__ == '__main__':
  cli.run(main, define_flags)
