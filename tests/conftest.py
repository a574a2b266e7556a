"""Shared by the tests: how scripts are run, data, other environments.

The data are the Groove MIDI Dataset where GROOVE_ZIP names it, else drum loops
of own_loops.py. Environments of their own are made in the project's folder and
kept: Colab's two, stock Magenta's and one with Beam.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = ROOT / 'scripts'
ORACLE = ROOT / 'tests' / 'oracle.py'
sys.path.insert(0, str(SCRIPTS))
import own_loops
import warm

# A flat model, whose graph is built in a second, and the same for every test.
FLAT = ('--config=flat-drums_4bar',
        '--hparams=enc_rnn_size=[16],dec_rnn_size=[16],z_size=8,batch_size=16')
TINY = 'hierdec-drums_4bar_tiny'
# What takes minutes, the longest first.
SLOW = ('test_notebook.py', 'test_every_stage.py', 'test_fast_lstm.py',
        'test_training.py', 'test_weights.py', 'test_interchange.py',
        'test_every_config.py', 'test_humanizing.py', 'test_completing.py')
# Where there is a GPU too: what is compared to 1e-4 is compared on the CPU.
os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
# The tests' processes share the cores, and TensorFlow's threads use them while they
# wait for each other.
os.environ |= {'TF_NUM_INTRAOP_THREADS': '1', 'TF_NUM_INTEROP_THREADS': '1'}
# With these, what must not depend on the threads' order is tried.
THREADS = {'TF_NUM_INTRAOP_THREADS': '2', 'TF_NUM_INTEROP_THREADS': '2'}
# A shell's background jobs ignore it, and so would all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Ends what is started once in each of pytest's processes.
at_end = contextlib.ExitStack()
starter = at_end.enter_context(contextlib.closing(warm.Starter()))


def pytest_sessionfinish():
  at_end.close()


def pytest_collection_modifyitems(items):
  """What takes longest begins first, so that all processes end together."""
  items.sort(key=lambda item: (*SLOW, item.path.name).index(item.path.name))


def run(*command, cwd=ROOT, env=(), timeout=900):
  """Runs a command and returns its CompletedProcess."""
  return subprocess.run(
      [str(c) for c in command], cwd=cwd, capture_output=True, text=True,
      timeout=timeout, env={**os.environ, **dict(env)})


def script(name, *flags, python=None, cwd=ROOT, env=(), timeout=900):
  """Runs one of the project's scripts; returns its CompletedProcess.

  Without `python` it is forked from a process that has imported TensorFlow already,
  or most of the tests' time would be spent on its imports.
  """
  if python:
    return run(python, SCRIPTS / name, *flags, cwd=cwd, env=env, timeout=timeout)
  with tempfile.NamedTemporaryFile('r') as out, tempfile.NamedTemporaryFile('r') as err:
    pid = starter.ask(str(name), [str(f) for f in flags], str(cwd),
                      {**os.environ, **dict(env)}, out.name, err.name, timeout)
    status = starter.ask(pid, 0)
    return subprocess.CompletedProcess(name, status, out.read(), err.read())


def code(text, *arguments, **kwargs):
  """Runs Python code as `script` runs scripts, in whose folder it lies for imports."""
  with tempfile.NamedTemporaryFile('w', suffix='.py') as file:
    file.write(text)
    file.flush()
    return script(file.name, *arguments, **kwargs)


def make_loops(model, output_dir, *paths, mode='sample', take=None, read=None, name=None,
               sounds=True, pictures=True, **request):
  """Makes loops of MIDI files by the door, and writes them; returns their paths.

  Args:
    model: A DrumModel.
    output_dir: Where to write.
    *paths: The MIDI files.
    mode: Of the request.
    take: Options of Humanizer.play, if the loops are humanized.
    read: Options of DrumModel.read.
    name: Of the files.
    sounds: Whether they are written as WAV.
    pictures: Whether pictures are written.
    **request: Others of LoopRequest.
  """
  from drumloops import Humanizer, requests
  from drumloops.output import gallery
  request = requests.LoopRequest(mode, **request)
  model = model.for_mode(mode)
  model.check(request)
  bars = {'bars': request.bars} if mode == 'complete' and request.bars else {}
  loops = model.make(request, *(
      model.read(path, **bars, **(read or {})) for path in paths))
  for remark in loops[0].remarks:
    print(remark)
  if take is not None:
    loops = Humanizer().play(loops, **take)
  return gallery.write(loops, str(output_dir), name or mode, None, sounds, pictures)


def copy_project(folder):
  """Copies the project, without what it has made, into a folder."""
  def ignore(path, names):
    made = {'dataset', 'outputs', 'runs'} if str(path) == str(ROOT) else set()
    return {n for n in names if n[0] == '.' or n in made or n == '__pycache__'}
  shutil.copytree(ROOT, folder, dirs_exist_ok=True, ignore=ignore)


def check_sentence(result, *words):
  """Asserts that a script ended in one sentence that has these words in it."""
  assert result.returncode == 1, result.stderr
  assert 'Traceback' not in result.stderr + result.stdout
  last = result.stderr.strip().splitlines()[-1]
  assert last.endswith('.'), last
  for word in words:
    assert word in last, last


@pytest.fixture(scope='session')
def groove_zip():
  path = os.environ.get('GROOVE_ZIP')
  if not path:
    pytest.skip('GROOVE_ZIP does not name the Groove MIDI Dataset; this test '
                'checks its known counts')
  return path


@pytest.fixture(scope='session')
def once(tmp_path_factory):
  """Makes a folder for all of the tests' processes, by whichever asks for it first.

  Nobody writes into it afterwards, but for caches.
  """
  base = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    base = base.parent
  def find(name, make):
    folder, done = base / name, base / f'{name}.done'
    with open(base / f'{name}.lock', 'w') as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        make(folder)
        done.touch()
    return folder
  return find


@pytest.fixture(scope='session')
def dataset(once):
  """A folder with drummer.tfrecord, drummer-validation.tfrecord and MIDI."""
  def make(folder):
    if os.environ.get('GROOVE_ZIP'):
      assert script('download_groove.py',
                    f'--output_dir={folder}').returncode == 0
      midi = folder / 'groove'
    else:
      print('GROOVE_ZIP is not set: using drum loops of our own.')
      midi = folder / 'own'
      own_loops.write_own_loops(midi)
      files = sorted(p.name for p in midi.iterdir())
      (midi / 'info.csv').write_text('midi_filename,split\n' + ''.join(
          f'{name},{split}\n' for name, split in zip(
              files, ['train'] * 8 + ['validation'] * 2 + ['test'] * 2)))
    result = script('make_tfrecord.py', f'--input_dir={midi}/',
                    f'--output_file={folder}/drummer.tfrecord', '--recursive')
    assert result.returncode == 0, result.stderr
  return once('dataset', make)


def training(once, dataset, name, *flags):
  """Returns the folder of a run that train.py has made."""
  def make(folder):
    result = script('train.py', *flags, f'--run_dir={folder}',
                    f'--examples_path={dataset}/drummer.tfrecord', env=THREADS)
    assert result.returncode == 0, result.stderr[-3000:]
  return once(name, make)


@pytest.fixture(scope='session')
def trained(once, dataset):
  """The run directory of the flat model, trained for 12 steps."""
  return training(once, dataset, 'run', *FLAT, '--num_steps=12')


@pytest.fixture(scope='session')
def trained_tiny(once, dataset):
  """The run directory of the tiny hierarchical model after 5 steps."""
  return training(once, dataset, 'tiny', f'--config={TINY}',
                  '--hparams=batch_size=16', '--num_steps=5')


@pytest.fixture(scope='session')
def evaluated(once, trained, dataset):
  """A folder with what evaluate.py finds of the flat model, and what it says."""
  def make(folder):
    result = script('evaluate.py', *FLAT, f'--run_dir={trained}',
                    f'--examples_path={dataset}/drummer.tfrecord',
                    f'--output_dir={folder}')
    assert result.returncode == 0, result.stderr[-3000:]
    (folder / 'said').write_text(result.stdout)
  return once('evaluated', make)


def read_until(fd, word):
  """Reads from a file until a word has come; returns all that has."""
  seen = ''
  while word not in seen:
    part = os.read(fd, 1 << 16)
    assert part, seen
    seen += part.decode(errors='replace')
  return seen


def endless(dataset, run_dir, *flags):
  """The command of a training that does not end by itself."""
  return [sys.executable, str(SCRIPTS / 'train.py'), *FLAT, *flags,
          f'--run_dir={run_dir}', f'--examples_path={dataset}/drummer.tfrecord',
          '--num_steps=1000000']


@pytest.fixture
def endless_training(dataset):
  """Starts such trainings and waits for their first steps; kills them at last."""
  with contextlib.ExitStack() as stack:
    def start(run_dir, *flags):
      process = warm.Process(starter, *endless(dataset, run_dir, *flags)[1:])
      stack.callback(process.stdout.close)
      stack.callback(process.wait)
      stack.callback(process.kill)
      read_until(process.stdout.fileno(), 'loss=')
      return process
    yield start


def find_python(version):
  """Returns a Python of this version ('3.7'), or None."""
  found = shutil.which(f'python{version}')
  candidates = ([found] if found else []) + sorted(map(str, pathlib.Path(
      '~/.pyenv/versions').expanduser().glob(f'{version}.*/bin/python')))
  for python in candidates:  # pyenv's shims exist even for what is not there.
    probe = run(python, '-c', 'import sys; print(sys.version.split()[0])')
    if probe.stdout.startswith(version + '.'):
      return python
  return None


def make_environment(name, python, *requirements):
  """Returns the Python of the environment `name`, which uv makes if need be.

  Skips the test, aloud, where the Python or the network is missing.
  """
  folder = ROOT / f'.venv-{name}'
  done = folder / 'complete'
  uv = [sys.executable, '-m', 'uv']
  with open(ROOT / f'.venv-{name}.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # Tests run in several processes.
    if not done.exists():
      if python is None:
        pytest.skip(f'the Python for the environment {name} is not here')
      shutil.rmtree(folder, ignore_errors=True)
      for command in ([*uv, 'venv', '--seed', '-p', python, folder],
                      [*uv, 'pip', 'install', '-p', folder / 'bin' / 'python',
                       *requirements]):
        result = run(*command)
        if result.returncode:
          pytest.skip(f'the environment {name} could not be made: '
                      f'{result.stderr.strip()[-500:]}')
      done.touch()
    if name != 'stock':
      result = script('install.py', python=folder / 'bin' / 'python')
      assert result.returncode == 0, result.stdout + result.stderr
  return folder / 'bin' / 'python'


@pytest.fixture(scope='session')
def colab_python():
  """Python 3.13 with the versions of Colab's GPU image, and this project.

  tests/colab-freeze.txt has the lines of Colab's published `pip freeze` (of
  2026-08-19) that have to do with this project, and what those need.
  """
  return make_environment('colab', find_python('3.13'), '-r',
                          ROOT / 'tests' / 'colab-freeze.txt')


@pytest.fixture(scope='session')
def fallback_python():
  """Python 3.12 with the versions of Colab's runtime 2026.07, and this project."""
  return make_environment('colab-2026-07', find_python('3.12'), '-r',
                          ROOT / 'tests' / 'colab-freeze-2026-07.txt')


@pytest.fixture(scope='session')
def stock_python(tmp_path_factory):
  """Python 3.7 with untouched Magenta 2.1.4 and its pinned dependencies."""
  no_rtmidi = tmp_path_factory.mktemp('uv') / 'overrides.txt'
  # Only Magenta's MIDI interface uses it, and it needs ALSA's headers.
  no_rtmidi.write_text("python-rtmidi; sys_platform == 'none'\n")
  return make_environment('stock', find_python('3.7'), '--overrides', no_rtmidi,
                          'magenta==2.1.4')


def made_by_stock(stock_python, name, inputs, make):
  """Returns a folder of what stock Magenta makes, in its environment.

  Stock Magenta stays what it is, so this is made once of the same inputs.

  Args:
    stock_python: Of `stock_python`.
    name: Of the folder.
    inputs: Paths of files on which it depends, besides oracle.py and our configs.
    make: Is called with the folder, to be filled.
  """
  added = ROOT / 'magenta_patches' / 'added'
  known = hashlib.sha256()
  for path in (ORACLE, added / 'drum_classes.py', added / 'drums_4bar.py', *inputs):
    known.update(hashlib.sha256(pathlib.Path(path).read_bytes()).digest())
  folder = stock_python.parent.parent / f'{name}-{known.hexdigest()}'
  with open(f'{folder}.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if not folder.exists():
      new = pathlib.Path(f'{folder}.new')
      shutil.rmtree(new, ignore_errors=True)
      new.mkdir()
      make(new)
      new.rename(folder)
  return folder


@pytest.fixture
def unoptimized_graphs(monkeypatch):
  """Sessions take graphs as they are. To optimize small ones takes longer than to run."""
  from tensorflow.core.protobuf import config_pb2
  from tensorflow.python.client import session
  begin = session.BaseSession.__init__
  def begin_unoptimized(self, target='', graph=None, config=None):
    config = config or config_pb2.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    begin(self, target, graph, config)
  monkeypatch.setattr(session.BaseSession, '__init__', begin_unoptimized)


@pytest.fixture(scope='session')
def beam_python():
  """This Python's version with Apache Beam, and this project."""
  return make_environment(
      'beam', sys.executable, '-r', ROOT / 'requirements.txt',
      'apache-beam[tfrecord]')
