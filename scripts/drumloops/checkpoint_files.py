"""The checkpoint a user means: a run's, a file, a folder, a tar file, the Hub's."""
import contextlib
import functools
import json
import os
import pathlib
import tarfile
import tempfile
import zlib

from drumloops import ROOT, backend, cli, runs

OWN_WEIGHTS = ROOT / 'weights'  # Of the project, by config.
HUB = 'hf://'  # As the Hub's own tools write addresses.


def own_scores(config_name):
  """Returns how good the project's weights of a config are, None if there are none.

  That is {'step', 'split', 'reconstruction_loss', 'kl_bits', ...}, as evaluation.json
  has it.
  """
  from magenta.models.music_vae import checkpoints
  try:
    with open(OWN_WEIGHTS / config_name / 'evaluation.json') as f:
      evaluation = json.load(f)
    return {**evaluation['reconstruction'], 'split': evaluation['split'],
            'step': checkpoints.step_of(evaluation['checkpoint'])}
  except (FileNotFoundError, KeyError):  # Those of performances are evaluated else.
    return None


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
    raise cli.UserError(does_not_fit(checkpoint)) from e


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
    checkpoint_file = str(OWN_WEIGHTS / config_name)
    if not os.path.isdir(checkpoint_file):
      raise cli.UserError(
          f'There are no weights of {config_name} in weights/; train first and '
          'give --run_dir or --checkpoint_file.')
  if (run_dir is None) == (checkpoint_file is None):
    raise cli.UserError('Give either --run_dir or --checkpoint_file.')
  path = os.path.expanduser(
      checkpoint_file or os.path.join(run_dir, runs.TRAIN))
  if path.startswith(HUB):
    path = download(path)
  elif checkpoint_file and os.path.isfile(path) and tarfile.is_tarfile(path):
    path = unpack(path)
  elif checkpoint_file and not os.path.isdir(path):
    path = path.removesuffix('.index')
    if not os.path.exists(path + '.index'):
      raise cli.UserError(f'There is no checkpoint {path}.')
    if not checkpoints.is_complete(path):
      raise cli.UserError(f'The checkpoint {path} is damaged or only half '
                             'written; use another.')
    return path
  try:
    return checkpoints.newest_complete(path)
  except FileNotFoundError as e:
    raise cli.UserError(str(e)) from e


def find_finished(run_dir, identity):
  """Returns the checkpoint to make weights of: the best, else the newest one.

  Says so if there is a best one, but of other data than `identity` is.

  Raises:
    cli.UserError: if there is none.
  """
  best = os.path.join(run_dir, runs.BEST)
  if not os.path.isdir(best):
    return find_checkpoint(run_dir)
  # What was chosen on TFDS's split can't be told from the same data's TFRecord.
  if runs.is_best_of_other_data(run_dir, identity) and not str(
      runs.read_best(run_dir).get('validation_id')).startswith('tfds '):
    newest = find_checkpoint(run_dir)
    print(f'The best checkpoint in {best} was chosen on other data than this, '
          f'so the newest one, {newest}, is taken.')
    return newest
  return find_checkpoint(checkpoint_file=best)


def all_checkpoints(run_dir):
  """Returns a run's complete checkpoints, oldest first, the best one last."""
  backend.music_vae()
  from magenta.models.music_vae import checkpoints
  return [prefix for folder in (runs.TRAIN, runs.BEST) for prefix in reversed(list(
      checkpoints.all_complete(os.path.join(run_dir, folder))))]


@contextlib.contextmanager
def hub_errors(repo):
  """Turns the Hugging Face Hub's errors into a sentence about a repository."""
  from huggingface_hub import errors
  try:
    yield
  except errors.HFValidationError as e:
    raise cli.UserError(f'{repo!r} is no name on the Hub; it is user/name.') from e
  except errors.RevisionNotFoundError as e:
    raise cli.UserError(f'{repo} has no such revision on the Hub.') from e
  except errors.RepositoryNotFoundError as e:
    raise cli.UserError(
        f'There is no {repo} on the Hub, or it is private and HF_TOKEN does not '
        'open it.') from e
  except errors.HfHubHTTPError as e:
    status = e.response.status_code
    raise cli.UserError(
        f'The Hub refused {repo} (status {status}); '
        + ('HF_TOKEN may not do that: make a token that may write to it.'
           if status in (401, 403) else 'try again later.')) from e
  except (RuntimeError, ValueError) as e:  # Of an upload that was cut off.
    why = ' '.join(str(e).split())
    raise cli.UserError(
        f'What the Hub was asked of {repo} was not done ({why}); try again.') from e
  except (errors.HTTPError, OSError) as e:
    if getattr(e, 'filename', None):  # This disk, not the Hub.
      raise
    raise cli.UserError(
        f'{repo} could not be reached on the Hub, and is not here from before; try '
        'again when there is a network.') from e


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
        allow_patterns=['*.index', '*.data-*', 'styles.npz', 'feel.npz'])
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
    raise cli.UserError(f'{path} is damaged ({e}); get it again.') from e
  found = [str(p.parent) for p in pathlib.Path(folder).rglob('*.index')]
  if not found:
    raise cli.UserError(f'There is no checkpoint in {path}.')
  return found[0]
