"""What lies in a training run's folder, and of what data it is.

    run/train/            checkpoints to go on from, TensorBoard's summaries
    run/best/             the best checkpoint on the validation split, best.json
    run/weights/          the finished weights, ready to sample
    run/training.png      the curves of training
"""
import json
import os
import re

from drumloops.data import splits
from drumloops.errors import UserError, field
from drumloops.system import disk

TRAIN, BEST, WEIGHTS, CURVES = 'train', 'best', 'weights', 'training.png'
BEST_JSON = 'best.json'
CHECKPOINT = re.compile(r'model\.ckpt-\d+')
SET_ASIDE = 'best-on-other-data'


def validation_id(examples_path: str | None = None,
                  tfds_name: str | None = None) -> str | None:
  """Returns what tells a validation split from others, None if there is none.

  Args:
    examples_path: TFRecord of the train split.
    tfds_name: TensorFlow Datasets name, instead.
  """
  from magenta.models.music_vae import slice_cache
  if tfds_name:
    return f'tfds {tfds_name}'
  try:
    return slice_cache.fingerprint(slice_cache.find_files(
        splits.split_path(examples_path, 'validation'))).hexdigest()
  except FileNotFoundError:
    return None


def parse_best(data: bytes) -> dict:
  """Returns what the bytes of best.json say, {} if they are damaged."""
  try:
    best = json.loads(data)
  except (ValueError, RecursionError):
    return {}
  return best if isinstance(best, dict) and isinstance(
      best.get('checkpoint'), str) and CHECKPOINT.fullmatch(
          best['checkpoint']) and isinstance(best.get('loss'), (int, float)) else {}


def read_best(run_dir: str) -> dict:
  """Returns what best.json says, {} if there is none or it is damaged.

  That is {'checkpoint': its name, 'loss': on the validation split, the other scores of
  `Autoencoder.score`, 'validation_id'}.
  """
  try:
    with open(os.path.join(run_dir, BEST, BEST_JSON), 'rb') as f:
      return parse_best(f.read())
  except OSError:
    return {}


def write_best(run_dir: str, best: dict) -> None:
  """Writes best.json, of what `read_best` returns."""
  path = os.path.join(run_dir, BEST, BEST_JSON)
  with disk.replacing(path) as temporary, open(temporary, 'w') as f:
    json.dump(best, f, indent=2)


def is_best_of_other_data(run_dir: str, identity: str | None) -> bool:
  """Whether the best checkpoint was chosen on another split.

  Of checkpoints that older versions chose it is not known; they pass.

  Args:
    run_dir: Folder of the run.
    identity: The `validation_id` of the split.
  """
  best = read_best(run_dir)
  return bool(best) and (
      identity is None or best.get('validation_id', identity) != identity)


def is_best_damaged(run_dir: str) -> bool:
  """Whether there is a best.json that does not say how good its checkpoint is."""
  return (os.path.exists(os.path.join(run_dir, BEST, BEST_JSON)) and
          not read_best(run_dir))


def set_aside_best(run_dir: str, why: str) -> None:
  """Renames the folder of the best checkpoint, and says so.

  Args:
    run_dir: Folder of the run.
    why: A sentence without its full stop.
  """
  number, name = 1, SET_ASIDE
  while os.path.exists(os.path.join(run_dir, name)):
    number += 1
    name = f'{SET_ASIDE}-{number}'
  os.rename(os.path.join(run_dir, BEST), os.path.join(run_dir, name))
  print(f'{why}, so the best checkpoint there is not compared with; it is kept '
        f'in {os.path.join(run_dir, name)}.')


def refuse_run(output_dir: str) -> None:
  """Refuses to export to a run, since that replaces all checkpoints of its folder.

  Raises:
    UserError: if the folder has what training goes on from.
  """
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  if os.path.exists(os.path.join(output_dir, BEST_JSON)) or any(
      name.endswith('/Adam') for prefix in checkpoints.all_complete(output_dir)
      for name in tf.train.load_checkpoint(
          checkpoints.plain(prefix)).get_variable_to_shape_map()):
    raise UserError(
        f'{output_dir} holds checkpoints of a run, which would be replaced; name '
        f'another {field("output_dir")}, such as RUN/weights.')
