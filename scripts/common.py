"""What the scripts share: quiet imports, configs by name, errors in a sentence.

Import this before TensorFlow.
"""
import contextlib
import errno
import functools
import gc
import hashlib
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# A notebook that samples must leave room on the GPU for a script that trains.
os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
warnings.filterwarnings('ignore', module='pydub|tf_keras|magenta|tensorflow')
warnings.filterwarnings('ignore', category=SyntaxWarning)  # In pydub.


# Set by the notebook, whose reader sees cells and their forms, not flags.
IN_NOTEBOOK = 'MUSICVAE_DRUMS_IN_NOTEBOOK'
FORM = (
    (r'--hparams=batch_size=(\d+)', r'batch_size = \1 in cell 8'),
    (r'--config \(and --hparams\) it was', 'config in cell 1 that it was'),
    (r'--(config|run_dir)\b', r'\1 in cell 1'),
    (r'\brun_dir in cell 1', 'run_name in cell 1'),
    (r'--backup_dir', 'run_name in cell 1'),
    (r'--checkpoint_file', 'other_weights in cell 10'),
    (r'--(num_steps|init_from|tfds_name)\b', r'\1 in cell 8'),
    (r'--num_outputs and --temperature', 'number and temperature'),
    (r'--style=list names those', 'those'),
    (r'--qpm\b', 'tempo'),
    (r'the same command', 'this cell'),
    (r'scripts/download_groove\.py', 'cell 4'),
    (r'scripts/make_tfrecord\.py', 'cells 4 and 6'),
    (r'\btrain first', 'run cell 8 first'),
    (r'scripts/export\.py', 'cell 9'),
    (r'scripts/install\.py', 'cell 2'),
    (r'`python -m magenta_patches apply`', 'cell 3'))
HUB = 'hf://'  # As the Hub's own tools write addresses.
# What TensorFlow's C++ says at its start whatever TF_CPP_MIN_LOG_LEVEL is.
CHATTER = r'^WARNING: All log messages before absl|^[IW][0-9]{4} [0-9:.]+ '


def in_cells(text):
  """Returns a sentence that names flags and scripts with cells instead."""
  for flag, field in FORM:
    text = re.sub(flag, field, text)
  return text


def words(text):
  """Returns a sentence in the words of who reads what this process prints."""
  return in_cells(text) if IN_NOTEBOOK in os.environ else text


class UserError(Exception):
  """One clear sentence that says what is wrong and what to do."""

  def _render_traceback_(self):
    """What IPython shows in a notebook instead of a traceback."""
    return [in_cells(str(self))]


@contextlib.contextmanager
def without_chatter():
  """Keeps CHATTER from stderr, and nothing else.

  By a program of its own, which still says what TensorFlow had to say when that
  ends this one.
  """
  sys.stderr.flush()
  try:
    stderr = os.dup(2)
    keeper = subprocess.Popen(['grep', '-avE', CHATTER], stdin=subprocess.PIPE,
                              stdout=stderr)
  except OSError:  # No stderr, or no grep.
    yield
    return
  os.dup2(keeper.stdin.fileno(), 2)
  keeper.stdin.close()
  try:
    yield
  finally:
    sys.stderr.flush()
    os.dup2(stderr, 2)
    os.close(stderr)
    keeper.wait()


def music_vae():
  """Imports Magenta's MusicVAE, patched, and returns its `configs` module.

  Raises:
    UserError: if Magenta is missing or not patched.
  """
  from magenta_patches import __main__ as patcher
  try:
    states = {f.state for f in patcher.find_files()}
  except patcher.PatchError as e:
    raise UserError(str(e)) from e
  if states != {'applied'}:
    raise UserError('Magenta is not patched; run '
                    '`python -m magenta_patches apply` first.')
  from absl import logging
  if 'tensorflow' not in sys.modules:
    with without_chatter():
      import tensorflow as tf
      with tf.Graph().as_default(), tf.device('CPU'), tf.compat.v1.Session() as s:
        s.run(tf.constant(0))  # The first one has something to say, too.
  # Where $CI is set, pyfluidsynth 1.4 says where it found its library.
  with contextlib.redirect_stdout(None):
    from magenta.models.music_vae import configs
  import tensorflow as tf
  from tensorflow.python.util import deprecation
  if not tf.keras.Model.__module__.startswith('tf_keras'):
    raise UserError('Magenta needs Keras 2 (tf_keras), but Keras 3 has been used '
                    'before it in this session; restart it, and do not set '
                    'TF_USE_LEGACY_KERAS=0.')
  # As Magenta's console commands do by tf.disable_v2_behavior(): each decoder's
  # loop then has random numbers of its own, and graphs start faster.
  tf.compat.v1.disable_control_flow_v2()
  # Upstream's TF1 code logs and is warned about by the page.
  deprecation._PRINT_DEPRECATION_WARNINGS = False
  logging.set_verbosity(logging.ERROR)
  tf.get_logger().setLevel('ERROR')
  # All these modules stay: else the garbage collector looks through them again
  # and again while a graph is built.
  gc.freeze()
  return configs


def warn_of_new_gpu():
  """Says so if TensorFlow was built without code for this GPU.

  Colab's G4, a Blackwell GPU, is of compute capability 12.0, and TensorFlow 2.20
  and 2.21 have code up to 9.0, of which the driver then has to make some.
  """
  import tensorflow as tf
  built = tf.sysconfig.get_build_info().get('cuda_compute_capabilities', ())
  newest = max((int(name.split('_')[1]) for name in built), default=0)
  for gpu in tf.config.list_physical_devices('GPU'):
    details = tf.config.experimental.get_device_details(gpu)
    major, minor = details.get('compute_capability', (0, 0))
    if newest and 10 * major + minor > newest:
      print(f'{details.get("device_name", "This GPU")} (compute capability '
            f'{major}.{minor}) is newer than TensorFlow {tf.__version__} has code '
            'for: it may take minutes to start, or fail; in Colab choose T4, L4, '
            'A100 or H100 under Runtime > Change runtime type.', flush=True)


def get_config(name, hparams=''):
  """Returns a copy of the config `name`, with `hparams` ('a=1,b=2') merged in.

  Raises:
    UserError: if the name or a hyperparameter is unknown.
  """
  import copy
  config_map = music_vae().CONFIG_MAP
  if name not in config_map:
    raise UserError(f'There is no config {name!r}; the known ones are '
                    f'{", ".join(sorted(config_map))}.')
  config = copy.deepcopy(config_map[name])
  try:
    config.hparams.parse(hparams)
  except (ValueError, KeyError) as e:
    raise UserError(f'--hparams={hparams} was not understood ({e}); it '
                    'takes name=value pairs of the hyperparameters '
                    f'{", ".join(sorted(config.hparams.values()))}.') from e
  if config.hparams.batch_size < 1:
    raise UserError('--hparams=batch_size must be at least 1.')
  return config


def restore(saver, sess, checkpoint):
  """Restores a checkpoint; says so if it belongs to another config.

  Raises:
    UserError: if the checkpoint does not fit the graph.
  """
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  try:
    saver.restore(sess, checkpoints.plain(checkpoint))
  except (ValueError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError) as e:
    raise UserError(does_not_fit(checkpoint)) from e


def does_not_fit(checkpoint):
  return (f'{checkpoint} does not fit this config; give the --config (and '
          '--hparams) it was trained with.')


def find_checkpoint(run_dir=None, checkpoint_file=None, config_name=None):
  """Returns the prefix of the checkpoint that a user means.

  Args:
    run_dir: A training run; its newest complete checkpoint is meant.
    checkpoint_file: Instead, a checkpoint (with or without .index), a folder
      of checkpoints, a tar file with one, or hf://user/name on the Hub.
    config_name: With neither, the weights of this config in weights/ are meant.

  Raises:
    UserError: if there is no such checkpoint, or it is damaged.
  """
  from magenta.models.music_vae import checkpoints
  if run_dir is None and checkpoint_file is None and config_name:
    checkpoint_file = str(ROOT / 'weights' / config_name)
    if not os.path.isdir(checkpoint_file):
      raise UserError(
          f'There are no weights of {config_name} in weights/; train first and '
          'give --run_dir or --checkpoint_file.')
  if (run_dir is None) == (checkpoint_file is None):
    raise UserError('Give either --run_dir or --checkpoint_file.')
  path = os.path.expanduser(
      checkpoint_file or os.path.join(run_dir, 'train'))
  if path.startswith(HUB):
    path = download(path)
  elif checkpoint_file and os.path.isfile(path) and tarfile.is_tarfile(path):
    path = unpack(path)
  elif checkpoint_file and not os.path.isdir(path):
    path = path.removesuffix('.index')
    if not os.path.exists(path + '.index'):
      raise UserError(f'There is no checkpoint {path}.')
    if not checkpoints.is_complete(path):
      raise UserError(f'The checkpoint {path} is damaged or only half '
                             'written; use another.')
    return path
  try:
    return checkpoints.newest_complete(path)
  except FileNotFoundError as e:
    raise UserError(str(e)) from e


@contextlib.contextmanager
def hub_errors(repo):
  """Turns the Hugging Face Hub's errors into a sentence about a repository."""
  from huggingface_hub import errors
  try:
    yield
  except errors.HFValidationError as e:
    raise UserError(f'{repo!r} is no name on the Hub; it is user/name.') from e
  except errors.RevisionNotFoundError as e:
    raise UserError(f'{repo} has no such revision on the Hub.') from e
  except errors.RepositoryNotFoundError as e:
    raise UserError(f'There is no {repo} on the Hub, or it is private and HF_TOKEN '
                    'does not open it.') from e
  except errors.HfHubHTTPError as e:
    status = e.response.status_code
    raise UserError(
        f'The Hub refused {repo} (status {status}); '
        + ('HF_TOKEN may not do that: make a token that may write to it.'
           if status in (401, 403) else 'try again later.')) from e
  except (RuntimeError, ValueError) as e:  # Of an upload that was cut off.
    why = ' '.join(str(e).split())
    raise UserError(f'What the Hub was asked of {repo} was not done ({why}); try '
                    'again.') from e
  except (errors.HTTPError, OSError) as e:
    if getattr(e, 'filename', None):  # This disk, not the Hub.
      raise
    raise UserError(f'{repo} could not be reached on the Hub, and is not here from '
                    'before; try again when there is a network.') from e


@functools.cache
def download(address):
  """Returns the folder of the checkpoint hf://user/name or hf://user/name@revision.

  It is kept in the cache of the Hub's own tools, and without a network taken from
  there.

  Raises:
    UserError: if there is none.
  """
  import huggingface_hub
  repo, _, revision = address.removeprefix(HUB).partition('@')
  with hub_errors(repo):
    folder = huggingface_hub.snapshot_download(
        repo, revision=revision or None,
        allow_patterns=['*.index', '*.data-*', 'styles.npz'])
  print(f'{address} is at {os.path.basename(folder)[:12]}.')
  return folder


@functools.cache
def _unpacked():
  """A folder for what tar files hold, which goes when the program ends."""
  return tempfile.TemporaryDirectory()


@functools.cache
def unpack(path):
  """Returns the folder of the checkpoint in a tar file, as Magenta publishes them.

  Raises:
    UserError: if there is none in it, or the file is damaged.
  """
  folder = os.path.join(_unpacked().name, str(len(os.listdir(_unpacked().name))),
                        os.path.basename(path))
  try:
    with tarfile.open(path) as tar:
      tar.extractall(folder, filter='data')
  except (tarfile.TarError, EOFError, zlib.error) as e:
    raise UserError(f'{path} is damaged ({e}); get it again.') from e
  found = [str(p.parent) for p in pathlib.Path(folder).rglob('*.index')]
  if not found:
    raise UserError(f'There is no checkpoint in {path}.')
  return found[0]


def printable(path):
  """Returns a path as text that can be printed and kept, part by part.

  A name whose bytes are not UTF-8 was most likely made by a Korean Windows, whose
  zips have CP949; where it was not, what is no letter is replaced.
  """
  def decode(part):
    for encoding in ('utf-8', 'cp949'):
      try:
        return part.decode(encoding)
      except UnicodeDecodeError:
        pass
    return part.decode('utf-8', 'replace')
  return '/'.join(map(decode, os.fsencode(path).split(b'/')))


@contextlib.contextmanager
def locked(folder, seconds, text):
  """Lets one process at a time do what it does with a folder.

  The lock is a file among this computer's temporary ones, since Drive knows no
  locks; so it holds for all processes of one user on one computer. However a
  process ends, it leaves no lock behind.

  Args:
    folder: The folder, which need not be there.
    seconds: How long to wait for another process; -1 is for ever.
    text: What to tell the user if that takes longer.

  Raises:
    UserError: then.
  """
  import filelock
  locks = os.path.join(tempfile.gettempdir(), f'musicvae-drums-{os.getuid()}')
  os.makedirs(locks, mode=0o700, exist_ok=True)
  name = hashlib.sha256(os.fsencode(os.path.realpath(
      os.path.expanduser(folder)))).hexdigest()[:32]
  lock = filelock.FileLock(os.path.join(locks, name))
  try:
    lock.acquire(0)
  except filelock.Timeout:
    print(f'Another process uses {folder}; waiting for it ...', flush=True)
    try:
      lock.acquire(seconds)
    except filelock.Timeout as e:
      raise UserError(text) from e
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def replacing(path):
  """Gives another path to write to; what is there then takes the place of `path`.

  So nobody finds a file half written, and two who write it at once spoil nothing.
  """
  folder, name = os.path.split(path)
  # The ending stays, because some writers go by it.
  temporary = os.path.join(folder, f'.{os.getpid()}.tmp.{name}')
  try:
    yield temporary
    os.replace(temporary, path)
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.remove(temporary)


def cell(value):
  return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}'


def table(rows, columns):
  """Returns lines of a Markdown table of {name: {column: number}}."""
  return ['| | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 1) + '|',
          *(f'| {name} | ' + ' | '.join(cell(row[c]) for c in columns) + ' |'
            for name, row in rows.items())]


def write_evaluation(output_dir, result, figures):
  """Writes an evaluation's numbers, and {file name: matplotlib figure}."""
  import json
  os.makedirs(output_dir, exist_ok=True)
  with open(os.path.join(output_dir, 'evaluation.json'), 'w') as f:
    json.dump(result, f, indent=2)
    f.write('\n')
  for name, figure in figures.items():
    figure.savefig(os.path.join(output_dir, name), dpi=100)


def sentence(error):
  """Returns what to tell a user about `error`, or None if it is our fault."""
  if isinstance(error, UserError):
    return str(error)
  import tensorflow as tf
  first_line = str(error).split('\n')[0]
  if (isinstance(error, OSError) and error.errno in (
      errno.ENOSPC, errno.EDQUOT)) or 'No space left' in str(error):
    return ('The disk is full; free some space and run the same command again, '
            f'nothing that was finished is lost ({first_line}).')
  if isinstance(error, tf.errors.ResourceExhaustedError):
    return ('There is not enough memory; use a smaller batch '
            f'(--hparams=batch_size=64) or a smaller config ({first_line}).')
  if isinstance(error, tf.errors.DataLossError):
    return (f'A data file is damaged or truncated ({error.message}); make it '
            'again with scripts/make_tfrecord.py.')
  if type(error).__name__ == 'NotEnoughExamples':
    return str(error)
  if isinstance(error, OSError):
    return (str(error) if error.filename is None else
            f'{error.filename}: {error.strerror}.')
  return None


def run(main, define_flags, arguments=()):
  """Runs `define_flags()`, then `main()` under absl.

  A user's mistake ends in one sentence and exit status 1.

  Args:
    main: Takes the arguments that are no flags.
    define_flags: Defines the flags.
    arguments: What those arguments are called.
  """
  from absl import app
  from absl import flags
  def guarded(fn):
    try:
      return fn()
    except KeyboardInterrupt:
      print('\nStopped.', file=sys.stderr)
      sys.exit(130)
    except Exception as e:
      text = sentence(e)
      if text is None:
        raise
      print(f'\n{pathlib.Path(sys.argv[0]).name}: {words(text)}',
            file=sys.stderr)
      sys.exit(1)
  def checked_main(argv):
    given = argv[1:]
    if len(given) > len(arguments):
      raise UserError(f'{given[len(arguments)]!r} was not understood; flags '
                      'look like --name=value, and --help lists them.')
    if len(given) < len(arguments):
      raise UserError(f'This takes {" and ".join(arguments)}; --help says more.')
    for name in flags.FLAGS:
      flag = flags.FLAGS[name]
      if isinstance(flag.value, str) and flag.value.startswith('~'):
        flag.value = os.path.expanduser(flag.value)
    return main(*map(os.path.expanduser, given))
  # A name that is not UTF-8 can be in any sentence.
  sys.stdout.reconfigure(errors='backslashreplace')
  guarded(define_flags)
  app.run(lambda argv: guarded(lambda: checked_main(argv)))
