"""What the commands share: flags, and errors in one sentence."""
from concurrent.futures import process
import errno
import os
import pathlib
import re
import sys

MOST_SEED = 2 ** 32 - 1
DISK_FULL = errno.ENOSPC, errno.EDQUOT
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
    (r'--seed=(\d+)', r'seed = \1 in cell 10'),
    (r'--noprivate\b', 'private not ticked in cell 19'),
    (r'--(repo|license)\b', r'\1 in cell 19'),
    (r'--mode=complete\b', 'this cell'),
    (r'--(keep_bars|keep|rhythm|without|bars)\b', r'\1'),
    (r'--(first_bar|drum_channel)\b', r'\1'),
    (r'the same command', 'this cell'),
    (r'scripts/download_groove\.py', 'cell 4'),
    (r'scripts/make_tfrecord\.py', 'cells 4 and 6'),
    (r'\btrain first', 'run cell 8 first'),
    (r'scripts/export\.py', 'cell 9'),
    (r'scripts/install\.py', 'cell 2'),
    (r'`[^`]* -m magenta_patches apply`', 'cell 3'))


def in_cells(text):
  """Returns a sentence that names flags and scripts with cells instead."""
  for flag, field in FORM:
    text = re.sub(flag, field, text)
  return text


def words(text):
  """Returns a sentence in the words of who reads what this process prints."""
  ipython = sys.modules.get('IPython')
  return in_cells(text) if IN_NOTEBOOK in os.environ or (
      ipython and ipython.get_ipython()) else text


class UserError(Exception):
  """One clear sentence that says what is wrong and what to do."""

  def _render_traceback_(self):
    """What IPython shows in a notebook instead of a traceback."""
    return [in_cells(str(self))]


def check_seeds(**seeds):
  """Raises UserError unless all, such as seed=0, are seeds that NumPy takes."""
  for name, value in seeds.items():
    if not 0 <= value <= MOST_SEED:
      raise UserError(f'The {name} must be from 0 to {MOST_SEED}, not {value}.')


def full_disk(error):
  """Returns what was written when a disk was full, None if none was."""
  # One line of TensorFlow's has path; reason.
  if match := re.search(r'(\S[^;\n]*); No space left', str(error)):
    return match[1]
  if isinstance(error, OSError) and error.errno in DISK_FULL:
    return error.filename or str(error)
  return str(error).split('\n')[0] if 'No space left' in str(error) else None


def sentence(error):
  """Returns what to tell a user about `error`, or None if it is our fault."""
  if isinstance(error, UserError):
    return str(error)
  import tensorflow as tf
  first_line = str(error).split('\n')[0]
  if path := full_disk(error):
    return (f'The disk is full ({path}); free some space and run the same command '
            'again, nothing that was finished is lost.')
  if match := re.search(  # As TensorFlow says it.
      r'(\S[^;\n]*); (Permission denied|Read-only file system)', str(error)):
    return f'{match[1]}: {match[2]}.'
  if isinstance(error, tf.errors.ResourceExhaustedError):
    return ('There is not enough memory; use a smaller batch '
            f'(--hparams=batch_size=64) or a smaller config ({first_line}).')
  if isinstance(error, tf.errors.DeadlineExceededError):  # See cluster.py.
    return ('The other machines that TF_CONFIG names have not answered for minutes; '
            'see what they say, then start this one again.')
  if isinstance(error, tf.errors.DataLossError):
    return f'A file is damaged or truncated ({error.message}).'
  if type(error).__name__ == 'NotEnoughExamples':
    return str(error)
  if isinstance(error, process.BrokenProcessPool):
    return ('A process that converts the examples was killed, most likely for '
            'want of memory; close other programs and run this again.')
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
