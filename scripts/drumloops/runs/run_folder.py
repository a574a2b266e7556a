"""What lies in a training run's folder, and of what data it is.

    run/train/            checkpoints to go on from, TensorBoard's summaries
    run/best/             the best checkpoint on the validation split, best.json
    run/weights/          what is made of it, ready to sample
    run/training.png      the curves
"""
import json
import os
import re

from drumloops.errors import UserError, field
from drumloops.data import splits
from drumloops.system import disk

TRAIN, BEST, WEIGHTS, CURVES = 'train', 'best', 'weights', 'training.png'
BEST_JSON = 'best.json'
CHECKPOINT = re.compile(r'model\.ckpt-\d+')
SET_ASIDE = 'best-on-other-data'


def validation_id(examples_path=None, tfds_name=None):
  """Returns what tells this data's validation split from others, None without one.

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


def parse_best(data):
  """Returns what the bytes of best.json say, {} if they are damaged."""
  try:
    best = json.loads(data)
  except (ValueError, RecursionError):
    return {}
  return best if isinstance(best, dict) and isinstance(
      best.get('checkpoint'), str) and CHECKPOINT.fullmatch(
          best['checkpoint']) and isinstance(best.get('loss'), (int, float)) else {}


def read_best(run_dir):
  """Returns what best.json says, {} if there is none or it is damaged."""
  try:
    with open(os.path.join(run_dir, BEST, BEST_JSON), 'rb') as f:
      return parse_best(f.read())
  except OSError:
    return {}


def write_best(run_dir, best):
  path = os.path.join(run_dir, BEST, BEST_JSON)
  with disk.replacing(path) as temporary, open(temporary, 'w') as f:
    json.dump(best, f, indent=2)


def is_best_of_other_data(run_dir, identity):
  """Whether the best checkpoint was chosen on another split than `validation_id`'s.

  Of checkpoints that older versions chose it is not known; they pass.
  """
  best = read_best(run_dir)
  return bool(best) and (
      identity is None or best.get('validation_id', identity) != identity)


def is_best_damaged(run_dir):
  """Whether there is a best.json that does not say how good its checkpoint is."""
  return (os.path.exists(os.path.join(run_dir, BEST, BEST_JSON)) and
          not read_best(run_dir))


def set_aside_best(run_dir, why):
  """Renames the folder of the best checkpoint, and says so."""
  number, name = 1, SET_ASIDE
  while os.path.exists(os.path.join(run_dir, name)):
    number += 1
    name = f'{SET_ASIDE}-{number}'
  os.rename(os.path.join(run_dir, BEST), os.path.join(run_dir, name))
  print(f'{why}, so the best checkpoint there is not compared with; it is kept '
        f'in {os.path.join(run_dir, name)}.')


def refuse_run(output_dir):
  """Raises UserError if a folder has what training goes on from.

  Exporting replaces all checkpoints of its folder.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  if os.path.exists(os.path.join(output_dir, BEST_JSON)) or any(
      name.endswith('/Adam') for prefix in checkpoints.all_complete(output_dir)
      for name in tf.train.load_checkpoint(
          checkpoints.plain(prefix)).get_variable_to_shape_map()):
    raise UserError(
        f'{output_dir} holds checkpoints of a run, which would be replaced; name '
        f'another {field("output_dir")}, such as RUN/weights.')
