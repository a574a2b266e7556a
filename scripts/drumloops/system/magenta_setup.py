"""Magenta, imported quietly and patched, and its configs by name."""
import contextlib
import copy
import functools
import gc
import os
import subprocess
import sys
import types
from collections.abc import Iterator

from drumloops.errors import UserError, field, hparam, stage

DEFAULT_CONFIG = 'hierdec-drums_4bar'
# What TensorFlow's C++ says at its start whatever TF_CPP_MIN_LOG_LEVEL is.
CHATTER = r'^WARNING: All log messages before absl|^[IW][0-9]{4} [0-9:.]+ '


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
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


@functools.cache
def music_vae() -> types.ModuleType:
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
    raise UserError(
        f'Magenta is not patched; run {stage("-m magenta_patches apply")} first.')
  from absl import logging
  first = 'tensorflow' not in sys.modules and gc.isenabled()
  if first:
    # The garbage collector would look again and again through what is imported, and
    # later, while a graph is built, through all these modules, which stay.
    gc.disable()
  try:
    configs = _import_music_vae()
  finally:
    if first:
      gc.freeze()
      gc.enable()
  import tensorflow as tf
  from tensorflow.python.util import deprecation
  if not tf.keras.Model.__module__.startswith('tf_keras'):
    raise UserError(
        'Magenta needs Keras 2 (tf_keras), but Keras 3 has been used before it in '
        'this session; restart it, and do not set TF_USE_LEGACY_KERAS=0.')
  # As Magenta's console commands do by tf.disable_v2_behavior(): each decoder's
  # loop then has random numbers of its own, and graphs start faster.
  tf.compat.v1.disable_control_flow_v2()
  # Upstream's TF1 code logs and is warned about by the page.
  deprecation._PRINT_DEPRECATION_WARNINGS = False
  logging.set_verbosity(logging.ERROR)
  tf.get_logger().setLevel('ERROR')
  return configs


def _import_music_vae():
  if 'tensorflow' not in sys.modules:
    # Sooner than TensorFlow, else it loads its experiments.
    import tensorflow_probability  # noqa: F401
    with without_chatter():
      import tensorflow as tf
      # The first session has something to say, too. None of a GPU yet: processes
      # are forked before it is used.
      with tf.Graph().as_default(), tf.compat.v1.Session(
          config=tf.compat.v1.ConfigProto(device_count={'GPU': 0})) as s:
        s.run(tf.constant(0))
  # Where $CI is set, pyfluidsynth 1.4 says where it found its library.
  with contextlib.redirect_stdout(None):
    from magenta.models.music_vae import configs
  return configs


def warn_of_new_gpu() -> None:
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


def get_config(name: str, hparams: str = '') -> tuple:
  """Returns a copy of the config `name`, with `hparams` ('a=1,b=2') merged in.

  Raises:
    UserError: if the name or a hyperparameter is unknown.
  """
  config_map = music_vae().CONFIG_MAP
  if name not in config_map:
    raise UserError(f'There is no config {name!r}; the known ones are '
                        f'{", ".join(sorted(config_map))}.')
  config = copy.deepcopy(config_map[name])
  try:
    config.hparams.parse(hparams)
  except (ValueError, KeyError) as e:
    raise UserError(f'{field("hparams", hparams)} was not understood ({e}); it '
                        'takes name=value pairs of the hyperparameters '
                        f'{", ".join(sorted(config.hparams.values()))}.') from e
  if config.hparams.batch_size < 1:
    raise UserError(f'{hparam("batch_size")} must be at least 1.')
  return config
