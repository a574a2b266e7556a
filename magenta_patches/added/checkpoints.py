"""Finds, repairs and slims the checkpoints of a MusicVAE training run."""
import functools
import glob
import os
import re
import sys
import tempfile

import tensorflow.compat.v1 as tf


@functools.cache
def _links():
  """A folder for symbolic links, which goes when the program ends."""
  return tempfile.TemporaryDirectory()


@functools.cache
def plain(path):
  """Returns another path of a file in a folder that TensorFlow can name.

  TensorFlow takes a name with brackets in it for a pattern, and finds nothing.
  The folder of `path` is then reached by a link; the file need not be there yet.
  """
  folder, name = os.path.split(os.path.abspath(path))
  if not re.search(r'[\[\]*?\\]', folder):
    return path
  link = os.path.join(_links().name, str(len(os.listdir(_links().name))))
  os.symlink(folder, link)
  return os.path.join(link, name)


def is_complete(prefix):
  """Whether every tensor of the checkpoint `prefix` can be read.

  TensorFlow keeps a checksum of each tensor, so this finds truncated and
  damaged files, and shards that are missing.
  """
  try:
    reader = tf.train.load_checkpoint(plain(prefix))
    for name in reader.get_variable_to_shape_map():
      reader.get_tensor(name)
  except Exception:  # Which errors TensorFlow raises depends on the damage.
    return False
  return True


def step_of(prefix):
  """The training step in a checkpoint's name, -1 if there is none."""
  match = re.search(r'-(\d+)$', prefix)
  return int(match[1]) if match else -1


def is_there(prefix):
  """Whether the files of a checkpoint are there, whatever is in them."""
  data = glob.glob(glob.escape(prefix) + '.data-?????-of-?????')
  return len(data) == int(data[0][-5:]) if data else False


def _prefixes(directory):
  """Returns those of all checkpoints, newest (highest step) first."""
  pattern = os.path.join(glob.escape(directory), '*.index')
  return sorted((path[:-len('.index')] for path in glob.glob(pattern)),
                key=step_of, reverse=True)


def all_complete(directory):
  """Yields the prefixes of complete checkpoints, newest (highest step) first.

  Says a word about every broken one that it passes over.
  """
  for prefix in _prefixes(directory):
    if is_complete(prefix):
      yield prefix
    else:
      print(f'Skipping the broken checkpoint {prefix}.', file=sys.stderr)


def newest_complete(directory):
  """Returns the prefix of the newest complete checkpoint in `directory`.

  Raises:
    FileNotFoundError: if there is none.
  """
  for prefix in all_complete(directory):
    return prefix
  raise FileNotFoundError(
      f'There is no complete checkpoint in {directory}; train first, or name '
      'another folder.')


def repair(directory):
  """Makes the `checkpoint` file name the newest complete checkpoint, and those before.

  Of these, which may be gigabytes, only the files' presence is checked; if one is
  needed it is read whole.

  Returns the prefix of the newest complete checkpoint, or None.
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


def save_slim(prefix, new_prefix):
  """Copies a checkpoint without what only training needs (Adam's slots).

  The copy is a third of the size, and everything but training can use it, in
  stock Magenta too.
  """
  reader = tf.train.load_checkpoint(plain(prefix))
  save({n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()
        if not re.search(r'/Adam(_1)?$|^beta[12]_power$', n)}, new_prefix)


def save(tensors, prefix):
  """Writes a checkpoint of {variable's name: array}."""
  os.makedirs(os.path.dirname(prefix), exist_ok=True)
  with tf.Graph().as_default(), tf.Session() as sess:
    variables = [tf.Variable(value, name=name, dtype=value.dtype)
                 for name, value in tensors.items()]
    sess.run(tf.global_variables_initializer())
    # Relative names in the `checkpoint` file, so that the folder may be moved.
    tf.train.Saver(variables, max_to_keep=None, save_relative_paths=True).save(
        sess, plain(prefix), write_meta_graph=False)


def remove_others(prefix):
  """Removes all checkpoints beside this one."""
  pattern = os.path.join(glob.escape(os.path.dirname(prefix)), 'model.ckpt-*')
  for path in glob.glob(pattern):
    if not path.startswith(prefix + '.'):
      os.remove(path)
