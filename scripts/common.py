"""What the scripts share: quiet imports, configs by name, errors in a sentence.

Import this before TensorFlow.
"""
import errno
import functools
import gc
import os
import pathlib
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


class UserError(Exception):
  """One clear sentence that says what is wrong and what to do."""

  def _render_traceback_(self):
    """What IPython shows in a notebook instead of a traceback."""
    return [str(self)]


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
      of checkpoints, or a tar file with one.
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
  if checkpoint_file and os.path.isfile(path) and tarfile.is_tarfile(path):
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
  import tensorflow as tf
  if isinstance(error, UserError):
    return str(error)
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
      print(f'\n{pathlib.Path(sys.argv[0]).name}: {text}', file=sys.stderr)
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
