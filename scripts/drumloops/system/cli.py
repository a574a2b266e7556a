"""What the commands share: flags, and errors in one sentence."""
from concurrent.futures import process
import errno
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence

from drumloops import errors
from drumloops.errors import THE_SAME_COMMAND, UserError, field, hparam, in_words, stage
from drumloops.system import cells

DISK_FULL = errno.ENOSPC, errno.EDQUOT
# What Magenta's commands call a field.
FLAGS = {'count': 'num_outputs'}


def in_flags(kind: str, name: str) -> str:
  """Returns the words of a mark for who types commands: see `errors.speak_as`."""
  if kind not in ('field', 'hparam'):
    return errors.in_python(kind, name)
  name, _, value = name.partition('=')
  name = FLAGS.get(name, name)
  if value in ('True', 'False'):
    return f'--{"no" if value == "False" else ""}{name}'
  typed = f'{name}={value}' if value else name
  return f'--hparams={typed}' if kind == 'hparam' else f'--{typed}'


def full_disk(error: Exception) -> str | None:
  """Returns what was written when a disk was full, None if none was."""
  # One line of TensorFlow's has path; reason.
  if match := re.search(r'(\S[^;\n]*); No space left', str(error)):
    return match[1]
  if isinstance(error, OSError) and error.errno in DISK_FULL:
    return error.filename or str(error)
  return str(error).split('\n')[0] if 'No space left' in str(error) else None


def sentence(error: Exception) -> str | None:
  """Returns what to tell a user about `error`, with marks; None if it is our fault."""
  if isinstance(error, UserError):
    return error.args[0]
  import tensorflow as tf
  first_line = str(error).split('\n')[0]
  if path := full_disk(error):
    return (f'The disk is full ({path}); free some space and run {THE_SAME_COMMAND} '
            'again, nothing that was finished is lost.')
  if match := re.search(  # As TensorFlow says it.
      r'(\S[^;\n]*); (Permission denied|Read-only file system)', str(error)):
    return f'{match[1]}: {match[2]}.'
  if isinstance(error, tf.errors.ResourceExhaustedError):
    return ('There is not enough memory; use a smaller batch '
            f'({hparam("batch_size", 64)}) or a smaller {field("config")} '
            f'({first_line}).')
  if isinstance(error, tf.errors.DeadlineExceededError):  # See distributed.py.
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


def define_weights(config: str) -> None:
  """Defines the flags that name weights: --config and what `read_weights` reads."""
  from absl import flags
  flags.DEFINE_string('config', config, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to use.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint, or folder of them, instead of --run_dir.')


def read_weights() -> str | None:
  """Returns what the flags name: a run, a checkpoint, or None for the project's own.

  Raises:
    UserError: if they name both, or there is no such run.
  """
  from absl import flags
  run_dir, checkpoint = flags.FLAGS.run_dir, flags.FLAGS.checkpoint_file
  if run_dir is not None and checkpoint is not None:
    raise UserError(f'Give either {field("run_dir")} or {field("checkpoint_file")}.')
  if run_dir is not None and not os.path.isdir(run_dir):
    raise UserError(f'There is no folder {run_dir}; run {stage("train.py")} first, or '
                    'name another.')
  return run_dir if checkpoint is None else checkpoint


def run(main: Callable[..., None], define_flags: Callable[[], None],
        arguments: Sequence[str] = ()) -> None:
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
      print(f'\n{pathlib.Path(sys.argv[0]).name}: {in_words(text)}',
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
  errors.speak_as(cells.in_cells if cells.IN_NOTEBOOK in os.environ else in_flags)
  guarded(define_flags)
  # --help shows the flags that a command's own file defines, and those of our modules.
  for module, found in list(flags.FLAGS.flags_by_module_dict().items()):
    for flag in found if module.startswith('drumloops.') else ():
      flags.FLAGS.register_key_flag_for_module(sys.argv[0], flag)
  app.run(lambda argv: guarded(lambda: checked_main(argv)))
