"""Finds, repairs and slims the checkpoints of a MusicVAE training run.

A checkpoint is named by its prefix, the path of its files without their endings.
"""
import functools
import glob
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow.compat.v1 as tf


@functools.cache
def _links():
  """A folder for symbolic links; it is removed when the program ends."""
  return tempfile.TemporaryDirectory()


@functools.cache
def plain(path: str) -> str:
  """Returns a path of the same file that TensorFlow does not take for a pattern.

  TensorFlow finds nothing in a folder whose name has brackets. Such a folder is reached
  through a link. The file need not exist yet.
  """
  folder, name = os.path.split(os.path.abspath(path))
  if not re.search(r'[\[\]*?\\]', folder):
    return path
  link = os.path.join(_links().name, str(len(os.listdir(_links().name))))
  os.symlink(folder, link)
  return os.path.join(link, name)


def is_complete(prefix: str) -> bool:
  """Whether every tensor of a checkpoint can be read.

  TensorFlow keeps a checksum of each tensor, so this finds truncated and damaged files,
  and missing shards.
  """
  try:
    reader = tf.train.load_checkpoint(plain(prefix))
    for name in reader.get_variable_to_shape_map():
      reader.get_tensor(name)
  except Exception:  # Which errors TensorFlow raises depends on the damage.
    return False
  return True


def step_of(prefix: str) -> int:
  """Returns the training step in a checkpoint's name, -1 if there is none."""
  match = re.search(r'-(\d+)$', prefix)
  return int(match[1]) if match else -1


def is_there(prefix: str) -> bool:
  """Whether the files of a checkpoint exist, whatever is in them."""
  data = glob.glob(glob.escape(prefix) + '.data-?????-of-?????')
  return len(data) == int(data[0][-5:]) if data else False


def _prefixes(directory):
  """Returns the prefixes of all checkpoints, newest (highest step) first."""
  pattern = os.path.join(glob.escape(directory), '*.index')
  return sorted((path[:-len('.index')] for path in glob.glob(pattern)),
                key=step_of, reverse=True)


def all_complete(directory: str) -> Iterator[str]:
  """Yields the prefixes of complete checkpoints, newest (highest step) first.

  A line on stderr names each broken one.
  """
  for prefix in _prefixes(directory):
    if is_complete(prefix):
      yield prefix
    else:
      print(f'Skipping the broken checkpoint {prefix}.', file=sys.stderr)


def newest_complete(directory: str) -> str:
  """Returns the prefix of the newest complete checkpoint in `directory`.

  Raises:
    FileNotFoundError: if there is none.
  """
  for prefix in all_complete(directory):
    return prefix
  raise FileNotFoundError(
      f'There is no complete checkpoint in {directory}; train first, or name '
      'another folder.')


def repair(directory: str) -> str | None:
  """Makes the `checkpoint` file name the newest complete checkpoint, and older ones.

  The older ones may be gigabytes, so only the presence of their files is checked.

  Returns:
    The prefix of the newest complete checkpoint; None without one.
  """
  newest = next(all_complete(directory), None)
  state = os.path.join(directory, 'checkpoint')
  if newest:
    older = [p for p in _prefixes(directory)
             if step_of(p) < step_of(newest) and is_there(p)]
    # Relative names, so that the folder may be moved. TensorFlow keeps them as
    # they are only if the folder's own name is absolute.
    names = [os.path.basename(p) for p in (*older[::-1], newest)]
    tf.train.update_checkpoint_state(
        os.path.abspath(directory), names[-1], names)
    return newest
  if os.path.exists(state):
    os.remove(state)
  return None


def save_slim(prefix: str, new_prefix: str) -> None:
  """Copies a checkpoint without what only training needs, Adam's slots.

  The copy has a third of the size. All but training can use it, in stock Magenta too.
  """
  reader = tf.train.load_checkpoint(plain(prefix))
  save({n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()
        if not re.search(r'/Adam(_1)?$|^beta[12]_power$', n)}, new_prefix)


def save(tensors: Mapping[str, np.ndarray], prefix: str) -> None:
  """Writes a checkpoint of arrays by their variables' names."""
  os.makedirs(os.path.dirname(prefix), exist_ok=True)
  with tf.Graph().as_default(), tf.Session() as sess:
    variables = [tf.Variable(value, name=name, dtype=value.dtype)
                 for name, value in tensors.items()]
    sess.run(tf.global_variables_initializer())
    # Relative names in the `checkpoint` file, so that the folder may be moved.
    tf.train.Saver(variables, max_to_keep=None, save_relative_paths=True).save(
        sess, plain(prefix), write_meta_graph=False)


def remove_others(prefix: str) -> None:
  """Removes all checkpoints of the same folder but this one."""
  pattern = os.path.join(glob.escape(os.path.dirname(prefix)), 'model.ckpt-*')
  for path in glob.glob(pattern):
    if not path.startswith(prefix + '.'):
      os.remove(path)
