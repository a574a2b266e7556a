"""The checkpoints of a training: what it goes on from, and what it keeps."""
import glob
import os
from typing import TYPE_CHECKING

from drumloops.errors import UserError, field
from drumloops.runs import checkpoint_files, run_folder
from drumloops.training import distributed

if TYPE_CHECKING:
  import tensorflow.compat.v1 as tf


class Checkpoints:
  """The checkpoints in run_dir/train, each with the optimizer's state.

  Attributes:
    folder: run_dir/train.
    resumed: Prefix of the one that training goes on from; None in a new run.
    start: The step of that; 0 in a new run.
  """

  def __init__(self, run_dir: str):
    """Makes the folder, if need be, and finds the newest complete checkpoint."""
    from magenta.models.music_vae import checkpoints
    self.folder = os.path.join(run_dir, run_folder.TRAIN)
    os.makedirs(self.folder, exist_ok=True)
    for leftover in glob.glob(os.path.join(
        glob.escape(self.folder), '*.tempstate*')):
      os.remove(leftover)  # Of a save that was killed.
    self.resumed = checkpoints.repair(self.folder)
    self.start = checkpoints.step_of(self.resumed) if self.resumed else 0
    self._broken = {match[0] for match in map(
        run_folder.CHECKPOINT.match, os.listdir(self.folder)) if match} - self._whole()

  def _prefixes(self) -> list[str]:
    """Returns those of the finished checkpoints, oldest first."""
    import tensorflow.compat.v1 as tf
    state = tf.train.get_checkpoint_state(self.folder)
    return [os.path.join(self.folder, os.path.basename(path))
            for path in (state.all_model_checkpoint_paths if state else ())]

  def _whole(self) -> set[str]:
    return set(map(os.path.basename, self._prefixes()))

  def add_savers(self, most: int) -> None:
    """Adds the ops that save and restore; all variables must be in the graph.

    Args:
      most: How many checkpoints to keep.
    """
    import tensorflow.compat.v1 as tf
    self._saver = tf.train.Saver(max_to_keep=most, save_relative_paths=True)
    self._weights_saver = tf.train.Saver(tf.trainable_variables())

  def restore(self, sess: 'tf.Session', init_from: str | None) -> None:
    """Restores the newest checkpoint; in a new run, the weights of `init_from`.

    Raises:
      UserError: if the checkpoint is of another config, or has weights only.
    """
    # Called once more if a ps has lost what it held; then some may be saved.
    newest = next(reversed(self._saver.last_checkpoints), self.resumed)
    if newest:
      self._resume(sess, newest)
      print(f'Resumed from {newest}.')
    elif init_from:
      if not fits(init_from):
        raise UserError(checkpoint_files.does_not_fit(init_from))
      checkpoint_files.restore(self._weights_saver, sess, init_from)
      print(f'Begins with the weights of {init_from}.')

  def _resume(self, sess: 'tf.Session', checkpoint: str) -> None:
    from magenta.models.music_vae import checkpoints
    try:
      checkpoint_files.restore(self._saver, sess, checkpoint)
    except UserError as e:
      if not fits(checkpoint):
        raise
      raise UserError(
          f'{checkpoint} has weights only, without the state of the optimizer, so '
          'it cannot be gone on from as if it had not stopped; to fine-tune it, '
          f'name a new {field("run_dir")}, and it with {field("init_from")}.') from e
    self._saver.recover_last_checkpoints(
        [checkpoints.plain(prefix) for prefix in self._prefixes()])

  def save(self, sess: distributed.Session, step: int) -> str:
    """Saves what a session has; returns the checkpoint's prefix."""
    from magenta.models.music_vae import checkpoints
    os.makedirs(self.folder, exist_ok=True)  # Somebody may have tidied up.
    path = checkpoints.plain(os.path.join(self.folder, 'model.ckpt'))
    sess.with_raw(lambda raw: self._saver.save(
        raw, path, global_step=step, write_meta_graph=False))
    return os.path.join(self.folder, f'model.ckpt-{step}')

  def remove_broken(self) -> None:
    """Removes the files of checkpoints that could not be restored, and says so.

    After a save: what seems broken before it may be a disk that could not be read.
    One of these steps may just have been saved.
    """
    for name in sorted(self._broken - self._whole()):
      prefix = os.path.join(self.folder, name)
      for path in glob.glob(glob.escape(prefix) + '.*'):
        os.remove(path)
      print(f'Removed the broken checkpoint {prefix}.')
    self._broken.clear()


def fits(checkpoint: str) -> bool:
  """Whether a checkpoint has all weights of the model in the default graph."""
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  shapes = tf.train.load_checkpoint(
      checkpoints.plain(checkpoint)).get_variable_to_shape_map()
  return all(shapes.get(v.op.name) == v.shape.as_list()
             for v in tf.trainable_variables())
