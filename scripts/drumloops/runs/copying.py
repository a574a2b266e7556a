"""Copies a training run to another folder, such as one on Google Drive, and back.

A file there gets its name once it is complete. A checkpoint is recognised by its
.index, which is copied last.
"""
from collections.abc import Callable
import contextlib
import errno
import io
import os
import re
import shutil
import sys
import threading
import time
from typing import BinaryIO

from drumloops.errors import field
from drumloops.runs import run_folder
from tqdm.auto import tqdm

CHUNK = 4 << 20  # Bytes.
PARTS = run_folder.TRAIN, run_folder.BEST
TMP = '.tmp'
FILE = re.compile(r'(model\.ckpt-\d+)\.(data-\d{5}-of-\d{5}|index)')


def list_checkpoints(folder: str) -> dict[str, list[str]]:
  """Returns {name: its files, .index last} of the checkpoints in `folder`."""
  checkpoints = {}
  for file in sorted(os.listdir(folder)):
    if match := FILE.fullmatch(file):
      checkpoints.setdefault(match[1], []).append(file)
  return checkpoints


def whole_names(folder: str) -> list[str]:
  """Returns the checkpoints that have an .index, oldest (lowest step) first."""
  return sorted((name for name, files in list_checkpoints(folder).items()
                 if files[-1].endswith('.index')), key=step_of)


def step_of(name: str) -> int:
  """Returns the step in a checkpoint's name."""
  return int(name.rsplit('-')[-1])


def sizes(folder: str, name: str) -> dict[str, int]:
  """Returns {file: bytes} of a checkpoint, {} if it is not there."""
  try:
    return {file: os.path.getsize(os.path.join(folder, file))
            for file in list_checkpoints(folder).get(name, [])}
  except FileNotFoundError:  # Training has just removed it.
    return {}


def list_events(folder: str) -> list[str]:
  """Returns the names of TensorBoard's files in `folder`."""
  return sorted(f for f in os.listdir(folder)
                if 'tfevents' in f and not f.endswith(TMP))


def read(*path: str) -> bytes | None:
  """Returns the bytes of a file, None if there is none."""
  try:
    with open(os.path.join(*path), 'rb') as f:
      return f.read()
  except FileNotFoundError:
    return None


def best_name(best_json: bytes | None) -> str | None:
  """Returns which checkpoint best.json's bytes are about, None if damaged."""
  return run_folder.parse_best(best_json or b'').get('checkpoint')


def is_same(folder: str, other: str, name: str) -> bool:
  """Whether both have the checkpoint; its .index has each tensor's checksum."""
  return (0 < len(sizes(folder, name)) and
          sizes(folder, name) == sizes(other, name) and
          read(folder, name + '.index') == read(other, name + '.index'))


def remove(path: str) -> None:
  """Removes a file; big ones emptied, as Drive's trash counts in its quota."""
  if not path.endswith('.index'):
    os.truncate(path, 0)
  os.remove(path)


def publish(folder: str, files: list[str], new_folder: str, suffix: str = '') -> None:
  """Moves whole files of a checkpoint, called file + suffix, to their names."""
  with contextlib.suppress(FileNotFoundError):  # Of the same step, but other.
    os.remove(os.path.join(new_folder, files[-1]))
  for file in files:
    os.replace(os.path.join(folder, file + suffix),
               os.path.join(new_folder, file))
  sync_folder(new_folder)


def sync_folder(folder: str) -> None:
  """Waits until the names in a folder are on the disk."""
  with contextlib.suppress(OSError):  # Not every file system can.
    fd = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(fd)
    finally:
      os.close(fd)


class Progress:
  """How far a copy is.

  Attributes:
    copied: Bytes that came through.
    total: Bytes to copy, as far as that is known.
    moved: When the last bytes came through, by time.monotonic.
  """

  def __init__(self) -> None:
    self.restart()

  def restart(self) -> None:
    """Begins another copy."""
    self.copied = self.total = 0
    self.touch()

  def touch(self) -> None:
    """Notes that something moves."""
    self.moved = time.monotonic()

  def add(self, size: int) -> None:
    """Notes that so many bytes came through."""
    self.copied += size
    self.touch()


class Copier:
  """Copies a run's newest and best checkpoint and its summaries, and back.

  One thread uses it; another may read `progress` and `newest`, and call
  `refuse_restoring`.

  Attributes:
    progress: How far it is.
    newest: The newest checkpoint that is known to be in the backup, or None.
  """

  def __init__(self, run_dir: str, backup_dir: str, max_bytes: float,
               tell: Callable[[object, str], None]):
    """Takes the folders; neither need be there.

    Args:
      run_dir: Folder of the run, on local disk.
      backup_dir: Folder that gets the same train/ and best/.
      max_bytes: How much to keep there at most.
      tell: Says a sentence, given what kind of thing it says.
    """
    self.progress = Progress()
    self.newest = None
    self._run, self._dir = run_dir, backup_dir
    self._limit, self._tell = max_bytes, tell
    self._seen = False  # Whether backup_dir was ever there.
    self._broken = set()  # Checkpoints there that can't be restored.
    self._installing = threading.Lock()
    self._refuses = False

  def refuse_restoring(self) -> None:
    """Leaves the run as it is from now on: training has begun."""
    with self._installing:
      self._refuses = True

  def restore(self) -> None:
    """Continues from the backup's newest whole checkpoint, if it is ahead.

    Raises:
      OSError: if the backup can't be read, wholly or in part.
    """
    from magenta.models.music_vae import checkpoints
    train, best = self._open()
    newest = next(checkpoints.all_complete(os.path.join(self._run, run_folder.TRAIN)),
                  '')
    ahead = [name for name in reversed(whole_names(train))
             if step_of(name) > checkpoints.step_of(newest)]
    stage = os.path.join(self._run, 'from_backup' + TMP)
    shutil.rmtree(stage, ignore_errors=True)  # Of a start that was killed.
    try:
      name, files = self._fetch_newest(
          train, ahead, os.path.join(stage, run_folder.TRAIN))
      if files:
        self._restore_all(train, best, stage, name, files)
    finally:
      shutil.rmtree(stage, ignore_errors=True)

  def _fetch_newest(self, train: str, names: list[str],
                    stage: str) -> tuple[str | None, list[str]]:
    """Copies the first of these checkpoints that is whole to `stage`.

    Returns:
      Its name and files; None and [] if none is whole.

    Raises:
      OSError: if none could be copied for this.
    """
    broken, error, found = [], None, (None, [])
    for name in names:
      files = []
      try:
        files = self._fetch(train, name, stage)
        self._open()  # If it is not the Drive that has gone.
      except OSError as e:
        error = e
      if files:
        found = name, files
        break
      broken.append(name)
    else:
      if error:
        raise error
    self._broken.update(broken)
    for skipped in broken:
      tqdm.write(f'Skipping the broken checkpoint {os.path.join(train, skipped)}.',
                 file=sys.stderr)
    return found

  def _restore_all(self, train: str, best: str, stage: str, name: str,
                   files: list[str]) -> None:
    """Moves a checkpoint that was fetched to the run, after all that belongs to it."""
    error = None
    try:
      self._restore_best(best, os.path.join(stage, run_folder.BEST))
      self._restore_events(train, stage)
    except OSError as e:
      error = e
    # Last, because it is what makes the run as far as the backup.
    self._install(os.path.join(stage, run_folder.TRAIN), files, run_folder.TRAIN)
    self.newest = name
    tqdm.write(f'Continuing from {os.path.join(train, name)} of step '
               f'{step_of(name)}, copied to {self._run}.')
    if error:
      raise error

  def _restore_best(self, best: str, stage: str) -> None:
    best_json = read(best, run_folder.BEST_JSON)
    if best_json is None:
      return
    name = best_name(best_json)
    files = name and self._fetch(best, name, stage)
    if not files:
      tqdm.write(f'Skipping the broken best checkpoint in {best}.',
                 file=sys.stderr)
      return
    self._install(stage, files, run_folder.BEST)
    folder = os.path.join(self._run, run_folder.BEST)
    self._put(best_json, os.path.join(folder, run_folder.BEST_JSON))
    self._keep(folder, [name])

  def _restore_events(self, train: str, stage: str) -> None:
    folder = os.path.join(self._run, run_folder.TRAIN)
    os.makedirs(folder, exist_ok=True)
    for file in list_events(train):
      if not os.path.exists(os.path.join(folder, file)):
        with open(os.path.join(train, file), 'rb') as f:
          self._write(f, os.path.join(stage, file))
        os.replace(os.path.join(stage, file + TMP), os.path.join(folder, file))

  def _fetch(self, folder: str, name: str, stage: str) -> list[str]:
    """Copies a checkpoint to `stage`; returns its files, [] if it is broken."""
    from magenta.models.music_vae import checkpoints
    os.makedirs(stage, exist_ok=True)
    files = self.copy_checkpoint(folder, name, stage)
    return files if checkpoints.is_complete(os.path.join(stage, name)) else []

  def _install(self, stage: str, files: list[str], part: str) -> None:
    """Moves a checkpoint to the run, unless training is under way."""
    folder = os.path.join(self._run, part)
    os.makedirs(folder, exist_ok=True)
    with self._installing:
      if self._refuses:
        raise OSError(errno.ETIMEDOUT, 'it answered too late')
      publish(stage, files, folder)

  def copy(self) -> bool:
    """Makes the backup what the run is now; returns whether it is.

    Raises:
      OSError: if the backup can't be written to.
    """
    train, best = self._open()
    local, local_best = (os.path.join(self._run, part) for part in PARTS)
    names = self.local_names()
    if not names:
      return True
    newest, best_json = names[-1], read(local_best, run_folder.BEST_JSON)
    name = best_name(best_json)
    size = sum(sizes(local, newest).values())
    best_size = sum(sizes(local_best, name).values()) if name else 0
    if self._is_ahead(train, newest) or self._is_too_large(size + best_size):
      return False
    if not self._copy_newest(local, newest, size, train):
      return False
    self.newest = newest
    self._keep(train, [n for n in self._usable(train) if n in names])
    if name and not self._copy_best(local_best, name, best_json, best_size, best):
      return False
    for file in list_events(local):
      self._copy_events(os.path.join(local, file), os.path.join(train, file))
    self._make_room(0)
    return True

  def local_names(self) -> list[str]:
    """Returns the run's finished checkpoints, oldest first."""
    import tensorflow.compat.v1 as tf
    state = tf.train.get_checkpoint_state(os.path.join(self._run, run_folder.TRAIN))
    return [os.path.basename(p) for p in
            (state.all_model_checkpoint_paths if state else [])]

  def _is_ahead(self, train: str, newest: str) -> bool:
    """Whether the backup has more than this run, which then is not copied."""
    there = self._usable(train)
    if not there or step_of(there[-1]) <= step_of(newest):
      return False
    self._tell('ahead', f'{self._dir} has a run at step {step_of(there[-1])} '
               f'and this one is at step {step_of(newest)}, so nothing is '
               'copied before it is as far. Run this again to continue from '
               f'there, or name another {field("backup_dir")}.')
    return True

  def _is_too_large(self, size: int) -> bool:
    """Whether the newest and the best checkpoint may not be copied at all."""
    if size <= self._limit:
      return False
    self._tell('large', f'The newest and the best checkpoint have '
               f'{size / 1e6:.1f} megabytes, so nothing is copied to '
               f'{self._dir}; give a larger {field("backup_megabytes")}.')
    return True

  def _copy_newest(self, local: str, newest: str, size: int, train: str) -> bool:
    """Returns whether the newest checkpoint is there now.

    If not, training has removed it, and will ask for a newer one.
    """
    if newest in self._broken or not is_same(local, train, newest):
      self._make_room(size)
      if not self.copy_checkpoint(local, newest, train):
        return False
      self._broken.discard(newest)
    return True

  def _copy_best(self, local: str, name: str, best_json: bytes, size: int,
                 best: str) -> bool:
    """The same of the best checkpoint, and of what is said of it."""
    if not is_same(local, best, name):
      self._make_room(size)
      if not self.copy_checkpoint(local, name, best):
        return False
    self._put(best_json, os.path.join(best, run_folder.BEST_JSON))
    self._keep(best, [name])
    return True

  def copy_checkpoint(self, folder: str, name: str, new_folder: str) -> list[str]:
    """Copies a checkpoint; returns its files, [] if it is not there."""
    with contextlib.ExitStack() as stack:
      files = list_checkpoints(folder).get(name, [])
      try:  # All at once: training may remove them, but open ones stay.
        opened = {file: stack.enter_context(
            open(os.path.join(folder, file), 'rb')) for file in files}
      except FileNotFoundError:
        return []
      if name + '.index' not in opened:
        return []
      self.progress.total += sum(
          os.fstat(f.fileno()).st_size for f in opened.values())
      for file, f in opened.items():
        self._write(f, os.path.join(new_folder, file))
    publish(new_folder, list(opened), new_folder, TMP)
    return list(opened)

  def _copy_events(self, source: str, target: str) -> None:
    """Copies a file of summaries if it has grown."""
    size = os.path.getsize(source)
    old = os.path.getsize(target) if os.path.exists(target) else 0
    if size == old:
      return
    if not self._make_room(size - old):
      self._tell('events', f'The summaries are not copied to {self._dir}, '
                 f'because they would be more than {field("backup_megabytes")}.')
      return
    with open(source, 'rb') as f:
      self._write(f, target)
    os.replace(target + TMP, target)

  def _usable(self, train: str) -> list[str]:
    """Returns the backup's checkpoints but for broken ones, oldest first."""
    return [n for n in whole_names(train) if n not in self._broken]

  def _keep(self, folder: str, names: list[str]) -> None:
    """Removes the other checkpoints; `checkpoint` never names a removed one."""
    self._put(''.join([f'model_checkpoint_path: "{names[-1]}"\n',
                       *(f'all_model_checkpoint_paths: "{name}"\n'
                         for name in names)]).encode(),
              os.path.join(folder, 'checkpoint'))
    for name, files in list_checkpoints(folder).items():
      if name not in names:
        for file in reversed(files):
          remove(os.path.join(folder, file))

  def _make_room(self, size: int) -> bool:
    """Removes old checkpoints, never the newest, until `size` more bytes fit.

    Returns whether they do.
    """
    train = os.path.join(self._dir, run_folder.TRAIN)
    while True:
      used = sum(os.path.getsize(os.path.join(self._dir, part, file))
                 for part in PARTS
                 for file in os.listdir(os.path.join(self._dir, part)))
      there = self._usable(train)
      if used + size <= self._limit or len(there) < 2:
        return used + size <= self._limit
      self._keep(train, there[1:])

  def _open(self) -> list[str]:
    """Returns the backup's folders, made if they were never there.

    Raises:
      OSError: if they are gone.
    """
    folders = [os.path.join(self._dir, part) for part in PARTS]
    if not self._seen:
      for folder in (self._dir, *folders):
        with contextlib.suppress(FileExistsError):
          os.mkdir(folder)
    self.remove_leftovers()
    self._seen = True
    return folders

  def remove_leftovers(self) -> None:
    """Removes what copies that were cut off have left."""
    for part in PARTS:
      folder = os.path.join(self._dir, part)
      for file in os.listdir(folder):
        if file.endswith(TMP):
          remove(os.path.join(folder, file))

  def _write(self, source: BinaryIO, path: str) -> None:
    """Copies an open file to `path`.tmp, down to the disk."""
    size = 0
    with open(path + TMP, 'wb') as f:
      while chunk := source.read(CHUNK):
        f.write(chunk)
        f.flush()
        os.fsync(f.fileno())  # Each time, so that one sees something move.
        size += len(chunk)
        self.progress.add(len(chunk))
    if os.path.getsize(path + TMP) != size:
      raise OSError(errno.EIO, 'a file came out shorter than it is')

  def _put(self, data: bytes, path: str) -> None:
    """Makes `data` the content of a file, unless it is."""
    if read(path) != data:
      self._write(io.BytesIO(data), path)
      os.replace(path + TMP, path)
