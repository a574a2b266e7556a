"""The checkpoint a user means: a run's, a file, a folder, a tar file, the Hub's."""
from collections.abc import Callable, Iterator, Sequence
import contextlib
import functools
import glob
import json
import os
import pathlib
import re
import tarfile
import tempfile
from typing import TYPE_CHECKING
import urllib.parse
import zlib

from drumloops import ROOT
from drumloops.errors import UserError, field, stage
from drumloops.runs import run_folder
from drumloops.system import cli, disk, magenta_setup
import numpy as np

if TYPE_CHECKING:
  import tensorflow.compat.v1 as tf

OWN_WEIGHTS = ROOT / 'weights'  # Of the project, by config.
# Where the checkpoints of a run are; the newest of the first that has any is meant.
OF_A_RUN = (run_folder.TRAIN, run_folder.BEST, '')
HUB = 'hf://'  # As the Hub's own tools write addresses.
HUB_PAGE = r'(https?://)?(www\.)?(huggingface\.co|hf\.co)/'
OF_A_CHECKPOINT = r'index|meta|data-\d{5}-of-\d{5}'  # Endings of files.


def own_scores(config_name: str) -> dict | None:
  """Returns how good the project's weights of a config are, None if there are none.

  That is {'step', 'split', 'reconstruction_loss': nats a loop, 'kl_bits', ...}, as
  evaluation.json has it.
  """
  from magenta.models.music_vae import checkpoints
  try:
    with open(OWN_WEIGHTS / config_name / 'evaluation.json') as f:
      evaluation = json.load(f)
    return {**evaluation['reconstruction'], 'split': evaluation['split'],
            'step': checkpoints.step_of(evaluation['checkpoint'])}
  except (FileNotFoundError, KeyError):  # Performances are evaluated otherwise.
    return None


def restore(saver: 'tf.train.Saver', sess: 'tf.Session', checkpoint: str) -> None:
  """Restores a checkpoint, given its prefix.

  Raises:
    UserError: if it does not fit the graph, since it is of another config.
  """
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  try:
    saver.restore(sess, checkpoints.plain(checkpoint))
  except (ValueError, tf.errors.InvalidArgumentError,
          tf.errors.NotFoundError) as e:
    raise UserError(does_not_fit(checkpoint)) from e


def read_weights(checkpoint: str, shapes: dict[str, list[int]], scope: str
                 ) -> dict[str, np.ndarray]:
  """Returns variables of a checkpoint, {name without its scope: array}.

  Args:
    checkpoint: Its prefix.
    shapes: {name without its scope: shape} of all that are wanted.
    scope: What the variables' names begin with.

  Raises:
    UserError: if it does not have them, since it is of another config.
  """
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  reader = tf.train.load_checkpoint(checkpoints.plain(checkpoint))
  found = reader.get_variable_to_shape_map()
  if any(found.get(scope + name) != shape for name, shape in shapes.items()):
    raise UserError(does_not_fit(checkpoint))
  return {name: reader.get_tensor(scope + name) for name in shapes}


def beside(checkpoint: str, filename: str) -> str:
  """Returns the path of a file beside a checkpoint, given its prefix."""
  return os.path.join(os.path.dirname(checkpoint), filename)


def save_beside(checkpoint: str, filename: str, kept: dict[str, np.ndarray]) -> None:
  """Writes arrays beside a checkpoint, for `load_beside`.

  Args:
    checkpoint: Its prefix.
    filename: The file's.
    kept: {name: array}.
  """
  with disk.replacing(beside(checkpoint, filename)) as path:
    np.savez_compressed(path, checkpoint=os.path.basename(checkpoint), **kept)


def load_beside(checkpoint: str, filename: str, what: str,
                check: Callable[[dict[str, np.ndarray]], int]) -> dict[str, np.ndarray]:
  """Returns the arrays of a file that export.py wrote beside a checkpoint.

  Args:
    checkpoint: Its prefix.
    filename: The file's.
    what: Says what the file is for: 'which says where latents are drawn'.
    check: Returns the z_size of the arrays; raises an error if they are damaged.

  Raises:
    UserError: if there is no such file, or it is of another checkpoint.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  path = beside(checkpoint, filename)
  try:
    with np.load(path) as kept:
      kept = {key: kept[key] for key in kept}
    z_size = check(kept)
  except Exception as e:  # Which error NumPy raises depends on the damage.
    raise UserError(
        f'There is no readable {path}, {what}; {stage("export.py")} makes it.') from e
  # Of weights that were made before this was kept, it is not known.
  name = str(kept.pop('checkpoint', os.path.basename(checkpoint)))
  if name != os.path.basename(checkpoint):
    raise UserError(f'{path} is of {name}, not of {checkpoint}; make both '
                        f'with {stage("export.py")}.')
  shapes = tf.train.load_checkpoint(
      checkpoints.plain(checkpoint)).get_variable_to_shape_map()
  if shapes.get('encoder/mu/bias') != [z_size]:
    raise UserError(f'{path} is of a model with another latent than '
                        f'{checkpoint}; make both with {stage("export.py")}.')
  return kept


def does_not_fit(checkpoint: str) -> str:
  """Returns the sentence about a checkpoint of another config."""
  return (f'{checkpoint} does not fit this config; give the {field("config")} (and '
          f'{field("hparams")}) it was trained with.')


def find_checkpoint(run_dir: str | None = None, checkpoint_file: str | None = None,
                    config_name: str | None = None,
                    say: Callable[[str], object] = print) -> str:
  """Returns the prefix of the checkpoint that a user means.

  Args:
    run_dir: A training run; its newest complete checkpoint is meant.
    checkpoint_file: Instead, a checkpoint (its prefix, or a file of it), a folder
      of checkpoints, a run, a tar file with one, or hf://user/name on the Hub.
    config_name: With neither, the weights of this config in weights/ are meant.
    say: Is told in a sentence if another checkpoint is taken than one would expect.

  Raises:
    UserError: if there is no such checkpoint, or it is damaged.
  """
  if run_dir is None and checkpoint_file is None and config_name:
    checkpoint_file = str(OWN_WEIGHTS / config_name)
    if not os.path.isdir(checkpoint_file):
      raise UserError(
          f'There are no weights of {config_name} in weights/; run '
          f'{stage("train.py")} first and give {field("run_dir")} or '
          f'{field("checkpoint_file")}.')
  if (run_dir is None) == (checkpoint_file is None):
    raise UserError(f'Give either {field("run_dir")} or {field("checkpoint_file")}.')
  if run_dir is not None:
    return newest_of(os.path.expanduser(run_dir), OF_A_RUN, say=say)
  path, called = os.path.expanduser(checkpoint_file), None
  if re.match(rf'{HUB}|https?://|{HUB_PAGE}', path) and not os.path.exists(path):
    path, called = download(*parse_address(path)), path
    say(f'{called} is at {os.path.basename(path)[:12]}.')
  elif os.path.isfile(path) and tarfile.is_tarfile(path):
    path, called = unpack(path), path
  elif not os.path.isdir(path):
    prefix = re.sub(rf'\.({OF_A_CHECKPOINT})$', '', path)
    if wrong := what_is_wrong(prefix):
      raise UserError(
          f'{path} is no checkpoint, nor a tar file that can be read.'
          if os.path.isfile(path) and prefix == path else
          f'The checkpoint {prefix} {wrong}; use another.'
          if glob.glob(glob.escape(prefix) + '.*') else
          f'There is no checkpoint {prefix}.')
    return prefix
  is_run = any(os.path.isdir(os.path.join(path, part)) for part in OF_A_RUN if part)
  return newest_of(path, OF_A_RUN if is_run else ('',), called, say)


def newest_of(folder: str, parts: Sequence[str], called: str | None = None,
              say: Callable[[str], object] = print) -> str:
  """Returns the prefix of a folder's newest complete checkpoint.

  Args:
    folder: A run, or a folder of checkpoints.
    parts: Folders in it; what the first has counts, else the second ...
    called: What the user calls the folder.
    say: Of `find_checkpoint`.

  Raises:
    UserError: if there is none; it says why.
  """
  from magenta.models.music_vae import checkpoints
  folders = [os.path.join(folder, part) if part else folder for part in parts]
  for place in folders:
    for prefix in checkpoints.all_complete(place):
      if place != folders[0]:
        say(f'There is no complete checkpoint in {folders[0]}, so {prefix} is taken.')
      return prefix
  found = {}
  for place in filter(os.path.isdir, folders):
    for name in sorted(os.listdir(place)):
      if match := re.fullmatch(rf'(.+)\.({OF_A_CHECKPOINT})', name):
        prefix = os.path.join(place, match[1])
        found[os.path.relpath(prefix, folder)] = what_is_wrong(prefix)
  called = called or folder
  if found:
    why = ', '.join(f'{name} {wrong}' for name, wrong in found.items())
    raise UserError(f'There is no complete checkpoint in {called}: {why}; use '
                        'another, or get it again.')
  raise UserError(
      (f'There is no folder {folder}; '
       if called == folder and not os.path.isdir(folder) else
       f'There is no complete checkpoint in {called}: no file in it is one; ')
      + (f'run {stage("train.py")} first, or ' if parts[0] else '') + 'name another.')


def what_is_wrong(prefix: str) -> str | None:
  """Returns why a checkpoint can't be used, None if it can.

  Raises:
    OSError: if a file of it can't be opened.
  """
  from magenta.models.music_vae import checkpoints
  if checkpoints.is_complete(prefix):
    return None
  for path in glob.glob(glob.escape(prefix) + '.*'):
    with open(path, 'rb'):  # Else it would seem to be damaged.
      pass
  if not os.path.exists(prefix + '.index'):
    return 'lacks its .index'
  if not checkpoints.is_there(prefix):
    return 'lacks a .data file'
  return 'is damaged or only half written'


def find_finished(run_dir: str, identity: str | None) -> str:
  """Returns the checkpoint to make weights of: the best, else the newest one.

  It says so where it takes the newest one.

  Args:
    run_dir: A training run, or its backup.
    identity: The `validation_id` of the split to choose the best on.

  Raises:
    UserError: if there is none.
  """
  from magenta.models.music_vae import checkpoints
  folder = os.path.join(run_dir, run_folder.BEST)
  best = next(checkpoints.all_complete(folder), None)
  # What was chosen on TFDS's split can't be told from the same data's TFRecord.
  if best and (not run_folder.is_best_of_other_data(run_dir, identity) or str(
      run_folder.read_best(run_dir).get('validation_id')).startswith('tfds ')):
    return best
  newest = find_checkpoint(run_dir)
  print((f'The best checkpoint in {folder} was chosen on other data than this'
         if best else f'There is no best checkpoint in {folder}')
        + f', so the newest one, {newest}, is taken.')
  return newest


def all_checkpoints(run_dir: str) -> list[str]:
  """Returns a run's complete checkpoints, oldest first, the best one last."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import checkpoints
  return [prefix for part in (run_folder.TRAIN, run_folder.BEST)
          for prefix in reversed(list(
              checkpoints.all_complete(os.path.join(run_dir, part))))]


def parse_address(address: str) -> tuple[str, str | None]:
  """Returns the 'user/name' on the Hub that is meant, and the revision or None.

  Args:
    address: user/name or user/name@revision, with hf:// before it or without, or
      the URL of its page.

  Raises:
    UserError: if it is none of these.
  """
  bare = re.sub(f'^{HUB_PAGE}', '', address.strip().removeprefix(HUB))
  match = re.fullmatch(
      r'([^/@:?#]+/[^/@:?#]+)(?:@([^/?#]+)|/(?:tree|commit)/([^/?#]+))?/*(?:[?#].*)?',
      bare)
  if not match:
    raise UserError(
        f'{address!r} names no weights on the Hub; write hf://user/name, or '
        'hf://user/name@revision.')
  repo, *revision = match.groups()
  return repo, urllib.parse.unquote(revision[0] or revision[1] or '') or None


@contextlib.contextmanager
def hub_errors(repo: str) -> Iterator[None]:
  """Turns the Hugging Face Hub's errors into a sentence about a repository.

  Args:
    repo: The repository, user/name.

  Raises:
    UserError: which has the sentence.
  """
  from huggingface_hub import constants, errors
  try:
    yield
  except errors.HFValidationError as e:
    raise UserError(f'{repo!r} is no name on the Hub; it is user/name.') from e
  except errors.RevisionNotFoundError as e:
    raise UserError(f'{repo} has no such revision on the Hub.') from e
  except errors.RepositoryNotFoundError as e:
    raise UserError(
        f'There is no {repo} on the Hub, or it is private or gated and HF_TOKEN '
        'does not open it.') from e
  except errors.HfHubHTTPError as e:
    status, said = e.response.status_code, ' '.join((e.server_message or '').split())
    raise UserError(
        f'The Hub refused {repo} (status {status}{said and ": "}{said})'
        + ('; HF_TOKEN may not do that: to share, make a token that may write to it.'
           if status in (401, 403) else '; try again later.'
           if status >= 500 or status == 429 else '.')) from e
  except errors.LocalEntryNotFoundError as e:
    raise UserError(
        f'{repo} could not be reached on the Hub, and is not here from before; '
        + ('HF_HUB_OFFLINE says not to try.' if constants.HF_HUB_OFFLINE else
           'try again when there is a network.')) from e
  except Exception as e:  # Which it raises is a matter of its version.
    if isinstance(e, OSError) and (e.filename or e.errno in cli.DISK_FULL):
      raise  # Of this disk, not the Hub.
    why = ' '.join(str(e).split())
    raise UserError(
        f'{repo} could not be reached on the Hub ({why}); try again when there is a '
        'network.' if isinstance(e, (
            errors.HTTPError, ConnectionError, TimeoutError)) else
        f'What the Hub was asked of {repo} was not done ({why}); try again.') from e


@functools.cache
def download(repo: str, revision: str | None = None) -> str:
  """Returns the folder of a repository's checkpoint.

  The cache of the Hub's own tools keeps it; without a network it comes from there.

  Args:
    repo: The repository, user/name.
    revision: A branch, tag or commit.

  Raises:
    UserError: if it can't be had.
  """
  import huggingface_hub
  with hub_errors(repo):
    folder = huggingface_hub.snapshot_download(
        repo, revision=revision,
        allow_patterns=['*.index', '*.data-*', 'prior.npz', 'sliders.npz',
                        'fills.npz', 'feel.npz'])
  return folder


@functools.cache
def _unpacked() -> tempfile.TemporaryDirectory:
  """A folder for what tar files hold, which goes when the program ends."""
  return tempfile.TemporaryDirectory()


@functools.cache
def unpack(path: str) -> str:
  """Returns the folder of the checkpoint in a tar file, as Magenta publishes them.

  Raises:
    UserError: if there is none in it, or the file is damaged.
    OSError: if it can't be unpacked.
  """
  folder = os.path.join(_unpacked().name, str(len(os.listdir(_unpacked().name))),
                        os.path.basename(path))
  try:
    with tarfile.open(path) as tar:
      tar.extractall(folder, filter='data')
  except (tarfile.TarError, EOFError, zlib.error) as e:
    raise UserError(f'{path} is damaged ({e}); get it again.') from e
  found = [str(p.parent) for ending in ('index', 'data-*')
           for p in pathlib.Path(folder).rglob(f'*.{ending}')]
  if not found:
    raise UserError(f'There is no checkpoint in {path}.')
  return found[0]
