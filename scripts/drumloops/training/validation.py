"""Validation while training: scores each checkpoint, and keeps the best one."""
import os
from typing import TYPE_CHECKING

from drumloops.data import splits
from drumloops.models import autoencoder
from drumloops.runs import run_folder
import numpy as np

if TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config


class Validation:
  """Keeps the best checkpoint on the validation split in run_dir/best."""

  def __init__(self, config: 'Config', run_dir: str, slices: np.ndarray,
               identity: str | None):
    """Builds the graph that scores.

    Args:
      config: Of the run.
      run_dir: Folder of the run.
      slices: The validation split's, of which it scores some.
      identity: What `run_folder.validation_id` says of them.
    """
    self._slices = splits.evenly_spaced(slices)
    self._evaluator = autoencoder.Autoencoder(config, sample=False)
    self._run_dir = run_dir
    self._identity = identity

  def check(self, prefix: str) -> tuple[dict[str, float], bool]:
    """Scores a checkpoint, and keeps it if it is the best yet.

    Returns:
      Its scores, as `Autoencoder.score` has them, and whether it is the best.
    """
    from magenta.models.music_vae import checkpoints
    self._evaluator.load(prefix)
    scores = self._evaluator.score(self._slices)
    best = run_folder.read_best(self._run_dir).get('loss', float('inf'))
    if not scores['loss'] < best:
      return scores, False
    name = os.path.basename(prefix)
    new_prefix = os.path.join(self._run_dir, run_folder.BEST, name)
    checkpoints.save_slim(prefix, new_prefix)
    run_folder.write_best(self._run_dir, {'checkpoint': name, **scores,
                                          'validation_id': self._identity})
    checkpoints.remove_others(new_prefix)
    return scores, True


def validation_slices(config: 'Config') -> np.ndarray | None:
  """Returns the validation split's slices; None if there are none, and says why.

  Raises:
    UserError: if it is damaged.
  """
  from magenta.models.music_vae import packed_slices
  try:
    if packed_slices.can_pack(config):
      return splits.load_split(config, config.train_examples_path,
                               config.tfds_name, 'validation')
    why = 'The data of this config are no drum slices of one length'
  except FileNotFoundError:
    why = 'There is no validation split beside the examples'
  except splits.TooFewError:
    why = 'The validation split gives no slices'
  print(f'{why}, so no best checkpoint is kept.')
  return None


def set_aside_other_best(run_dir: str, identity: str | None) -> None:
  """Renames run_dir/best if what it holds can't be compared with, and says why.

  Args:
    run_dir: Folder of the run.
    identity: What `run_folder.validation_id` says of the validation split.
  """
  if run_folder.is_best_damaged(run_dir):
    run_folder.set_aside_best(run_dir, f'{run_folder.BEST_JSON} is damaged')
  if run_folder.is_best_of_other_data(run_dir, identity):
    run_folder.set_aside_best(
        run_dir, 'The best checkpoint so far was chosen on other data')
