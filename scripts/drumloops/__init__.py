"""Drum loops from Magenta's MusicVAE.

    from drumloops import DrumLoop, DrumModel, Humanizer

    model = DrumModel()
    loops = model.sample(4, style='funk', seed=0)
    mine = DrumLoop.read('mine.mid')
    more = model.complete(mine, keep=['kick', 'snare'], count=4)
    played = Humanizer().play(more, take=2)
    played[0].save('take2.mid')

Each package imports only from those above it:

    errors          what to tell a user, in one sentence
    grid            bars, steps, drums, hits
    system/         how anything here starts, stops, writes files and finds Magenta
    abilities       what a config can do, and why not
    midi/           MIDI files in; loops out, as MIDI and as sound
    data/           splits, TFRecords, patterns, styles
    runs/           what a training run keeps, and where
    models/         graphs of a checkpoint: encode, decode, complete, vary, steer
    output/         pictures, HTML, web pages' files, the gallery of written loops
    loop            DrumLoop
    humanize/       velocity and microtiming for hits: feels, takes, Humanizer
    requests, model    what is asked of a model, and DrumModel
    training/       training, on one machine or several
    export/         the page that plays, magenta.js, the Hub
    metrics/        what evaluate.py measures
    notebook        what the notebook shows
"""
import importlib
import importlib.util
import os
import pathlib
import sys
import warnings

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))  # For magenta_patches.

OLDEST, NEWEST = (3, 11), (3, 13)  # Python, as tested.
NEEDED = ('absl', 'filelock', 'magenta', 'matplotlib', 'note_seq', 'numpy',
          'pretty_midi', 'scipy', 'sklearn', 'soundfile', 'tensorflow',
          'tensorflow_probability', 'tf_keras', 'tqdm')


def _find_python(script):
  """Lets a command run only by a Python that has what it needs.

  Where this one has not, the command goes on in the project's .venv, if there is
  one. Python 3.7 can read this file, and the commands, which import it first.

  Args:
    script: The command's file.

  Raises:
    SystemExit: in one sentence, if no such Python is there.
  """
  installs = script.name == 'install.py'
  is_tested = OLDEST <= sys.version_info[:2] <= NEWEST
  missing = [] if installs or not is_tested else [
      name for name in NEEDED if importlib.util.find_spec(name) is None]
  if is_tested and not missing:
    return
  venv = ROOT / '.venv'
  python = str(venv / 'bin' / 'python')
  if not installs and os.access(python, os.X_OK) and (
      os.path.realpath(sys.prefix) != os.path.realpath(str(venv))):
    os.execv(python, [python] + sys.argv)
  sys.exit(script.name + ': ' + (
      '%s lacks %s; `bash scripts/run.sh` makes .venv, in which all commands then '
      'run, `%s scripts/install.py` installs into this Python.' % (
          sys.executable, ', '.join(missing[:3]) + ' and more' * (len(missing) > 3),
          sys.executable) if is_tested else
      'Python %d.%d.%d was not tested; use 3.11, 3.12 or 3.13, for example '
      'PYTHON=python3.13 bash scripts/run.sh.' % sys.version_info[:3]))


# A notebook and the tests import this, too.
_main = pathlib.Path(getattr(sys.modules['__main__'], '__file__', None) or __file__)
if _main.resolve().parent == ROOT / 'scripts':
  _find_python(_main)

# Before TensorFlow is imported. Magenta needs Keras 2; Keras 3 takes a second.
os.environ['TF_USE_LEGACY_KERAS'] = '1'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# A notebook that samples must leave room on the GPU for a script that trains.
os.environ.setdefault('TF_FORCE_GPU_ALLOW_GROWTH', 'true')
warnings.filterwarnings('ignore', module='pydub|tf_keras|magenta|tensorflow')
warnings.filterwarnings('ignore', category=SyntaxWarning)  # In pydub.

_DOOR = {'DrumLoop': 'loop', 'DrumModel': 'model', 'Hit': 'grid',
         'Humanizer': 'humanize.humanizer', 'UserError': 'errors'}


def __getattr__(name):
  """Imports the door's classes when they are first used, since TensorFlow is slow."""
  if name not in _DOOR:
    raise AttributeError('module %r has no attribute %r' % (__name__, name))
  return getattr(importlib.import_module('drumloops.' + _DOOR[name]), name)
