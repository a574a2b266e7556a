"""Copies a training run to a folder on Google Drive, while training goes on.

Training writes to local disk; a thread copies what is finished, so that only
it waits for the Drive. There a file gets its name once it is whole, and of a
checkpoint's files .index, by which it is recognised, comes last.
"""
import contextlib
import errno
import io
import os
import re
import shutil
import sys
import threading
import time

from drumloops.errors import UserError, field, in_words
from drumloops.runs import run_folder
from tqdm.auto import tqdm

RETRY_SECONDS = 60  # After a failure.
SLOW_SECONDS = 60  # A copy that a new checkpoint finds this old is slow.
STALL_SECONDS = 120  # How long to wait, at the start and end, if nothing moves.
CHUNK = 4 << 20
PARTS = run_folder.TRAIN, run_folder.BEST
TMP = '.tmp'
FILE = re.compile(r'(model\.ckpt-\d+)\.(data-\d{5}-of-\d{5}|index)')


def list_checkpoints(folder):
  """Returns {name: its files, .index last} of the checkpoints in `folder`."""
  checkpoints = {}
  for file in sorted(os.listdir(folder)):
    if match := FILE.fullmatch(file):
      checkpoints.setdefault(match[1], []).append(file)
  return checkpoints


def whole_names(folder):
  """Returns the checkpoints that have an .index, oldest (lowest step) first."""
  return sorted((name for name, files in list_checkpoints(folder).items()
                 if files[-1].endswith('.index')), key=step_of)


def step_of(name):
  return int(name.rsplit('-')[-1])


def sizes(folder, name):
  """Returns {file: bytes} of a checkpoint, {} if it is not there."""
  try:
    return {file: os.path.getsize(os.path.join(folder, file))
            for file in list_checkpoints(folder).get(name, [])}
  except FileNotFoundError:  # Training has just removed it.
    return {}


def list_events(folder):
  """Returns the names of TensorBoard's files in `folder`."""
  return sorted(f for f in os.listdir(folder)
                if 'tfevents' in f and not f.endswith(TMP))


def read(*path):
  """Returns the bytes of a file, None if there is none."""
  try:
    with open(os.path.join(*path), 'rb') as f:
      return f.read()
  except FileNotFoundError:
    return None


def best_name(best_json):
  """Returns which checkpoint best.json's bytes are about, None if damaged."""
  return run_folder.parse_best(best_json or b'').get('checkpoint')


def is_same(folder, other, name):
  """Whether both have the checkpoint; its .index has each tensor's checksum."""
  return (0 < len(sizes(folder, name)) and
          sizes(folder, name) == sizes(other, name) and
          read(folder, name + '.index') == read(other, name + '.index'))


def remove(path):
  """Removes a file; big ones emptied, as Drive's trash counts in its quota."""
  if not path.endswith('.index'):
    os.truncate(path, 0)
  os.remove(path)


def publish(folder, files, new_folder, suffix=''):
  """Moves whole files of a checkpoint, called file + suffix, to their names."""
  with contextlib.suppress(FileNotFoundError):  # Of the same step, but other.
    os.remove(os.path.join(new_folder, files[-1]))
  for file in files:
    os.replace(os.path.join(folder, file + suffix),
               os.path.join(new_folder, file))
  sync_folder(new_folder)


def sync_folder(folder):
  with contextlib.suppress(OSError):  # Not every file system can.
    fd = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(fd)
    finally:
      os.close(fd)


class Backup:
  """Continues a run from its backup, if that is ahead, and keeps the backup.

      with Backup(run_dir, backup_dir) as backup:
        ...
        backup.notify()  # Whenever a checkpoint is finished.

  Args:
    run_dir: Folder of the run, on local disk.
    backup_dir: Folder that gets the same train/ and best/. Its parent must be
      there: else an unmounted Drive would be made anew, on local disk.
    max_megabytes: How much to keep there at most. The newest checkpoint there
      is removed only once a newer one is whole, so meanwhile it may be more.

  Raises:
    UserError: if both are the same folder.
  """

  def __init__(self, run_dir, backup_dir, max_megabytes=4000):
    self._run = os.path.abspath(os.path.expanduser(run_dir))
    self._dir = os.path.abspath(os.path.expanduser(backup_dir))
    if os.path.realpath(self._run) == os.path.realpath(self._dir):
      raise UserError(f'{field("backup_dir")} must be another folder than '
                          f'{field("run_dir")}, such as one on Google Drive.')
    self._limit = max_megabytes * 10**6
    self._seen = False  # Whether backup_dir was ever there.
    self._broken = set()  # Checkpoints there that can't be restored.
    self._copied = None  # The newest checkpoint that is known to be there.
    self._said, self._failing = set(), set()
    self._changed = threading.Condition()
    self._ready = False  # Whether the backup has been read.
    self._late = False  # Whether training has begun without it.
    self._over = False  # Whether training has ended.
    self._asked = self._done = 0  # Calls for a copy, and those dealt with.
    self._complete = False  # Whether the last copy was of everything.
    self._began = None  # When the thread began what it is doing.
    self._moved = 0  # When the last bytes came through.
    self._bytes = self._total = 0
    self._thread = threading.Thread(target=self._work, daemon=True)

  def __enter__(self):
    self._thread.start()
    if not self._wait(lambda: self._ready, 'Reading the backup'):
      with self._changed:
        self._late = True
      self._tell(errno.ETIMEDOUT, f'{self._dir} does not answer; training goes '
                 f'on from what is in {self._run}.')
    return self

  def notify(self):
    """Asks for a copy of the newest checkpoint; never waits for it."""
    began = self._began
    if self._ready and began and time.monotonic() - began > SLOW_SECONDS:
      self._tell('slow', f'{self._dir} is slow: it has not yet taken the '
                 'checkpoint before; training goes on, and the newest is next.')
    self._ask()

  def __exit__(self, *_):
    """Waits for the last copy, as long as something moves."""
    asked = self._ask()
    try:
      self._wait(lambda: self._done >= asked, 'Copying to the backup')
    finally:
      with self._changed:
        self._over = True
        self._changed.notify_all()
      if self._done < asked or not self._complete:
        newest = (self._local_names() or [None])[-1]
        missing = (f'{newest} is' if newest != self._copied else
                   'the best checkpoint or the summaries are')
        tqdm.write(f'The backup {self._dir} was given up: {missing} not there. '
                   f'The run is whole in {self._run}.', file=sys.stderr)

  def _ask(self):
    with self._changed:
      self._asked += 1
      self._changed.notify_all()
      return self._asked

  def _wait(self, is_over, text):
    """Returns whether it was over before nothing moved for STALL_SECONDS."""
    self._moved = time.monotonic()
    with tqdm(desc=text, unit='B', unit_scale=True, leave=False) as bar:
      with self._changed:
        while not self._changed.wait_for(is_over, timeout=0.2):
          if time.monotonic() - self._moved > STALL_SECONDS:
            return False
          bar.total, bar.n = self._total, self._bytes
          bar.refresh()
    return True

  def _tell(self, kind, text):
    """Says something of this kind, once."""
    if kind not in self._said and not self._over:
      self._said.add(kind)
      tqdm.write(in_words(text), file=sys.stderr)

  # All below is done by the thread.

  def _work(self):
    self._try(self._restore, 'reading it',
              f'training goes on from what is in {self._run}.')
    with self._changed:
      self._ready = True
      self._changed.notify_all()
    while True:
      with self._changed:
        self._changed.wait_for(lambda: self._asked > self._done or self._over,
                               RETRY_SECONDS if self._failing else None)
        asked = self._asked
      if self._over:
        return
      complete = self._try(self._copy, 'copying to it',
                           'training goes on, and it is tried again.')
      with self._changed:
        self._done, self._complete = asked, complete
        self._changed.notify_all()

  def _try(self, job, what, then):
    """Returns whether a job was done; says what fails, once."""
    self._bytes = self._total = 0
    self._began = self._moved = time.monotonic()
    done = False
    try:
      done = job()
    except Exception as e:  # Whatever lies there, training must go on.
      kind = getattr(e, 'errno', None) or type(e)
      why = getattr(e, 'strerror', None) or f'{type(e).__name__}: {e}'
      self._failing.add(kind)
      self._tell(kind, f'{self._dir}: {what} failed ({why}); {then}')
      with contextlib.suppress(OSError):
        self._remove_leftovers()
    if done and self._failing:
      self._said -= self._failing | {'again'}
      self._failing = set()
      self._tell('again', f'{self._dir}: it works again.')
    self._began = None
    return done

  def _open(self):
    """Returns the backup's folders, made if they were never there.

    Raises:
      OSError: if they are gone.
    """
    folders = [os.path.join(self._dir, part) for part in PARTS]
    if not self._seen:
      for folder in (self._dir, *folders):
        with contextlib.suppress(FileExistsError):
          os.mkdir(folder)
    self._remove_leftovers()
    self._seen = True
    return folders

  def _remove_leftovers(self):
    """Removes what copies that were cut off have left."""
    for part in PARTS:
      folder = os.path.join(self._dir, part)
      for file in os.listdir(folder):
        if file.endswith(TMP):
          remove(os.path.join(folder, file))

  def _local_names(self):
    """Returns the run's finished checkpoints, oldest first."""
    import tensorflow.compat.v1 as tf
    state = tf.train.get_checkpoint_state(os.path.join(self._run, run_folder.TRAIN))
    return [os.path.basename(p) for p in
            (state.all_model_checkpoint_paths if state else [])]

  def _write(self, source, path):
    """Copies an open file to `path`.tmp, down to the disk."""
    size = 0
    with open(path + TMP, 'wb') as f:
      while chunk := source.read(CHUNK):
        f.write(chunk)
        f.flush()
        os.fsync(f.fileno())  # Each time, so that one sees something move.
        size += len(chunk)
        self._bytes += len(chunk)
        self._moved = time.monotonic()
    if os.path.getsize(path + TMP) != size:
      raise OSError(errno.EIO, 'a file came out shorter than it is')

  def _put(self, data, path):
    """Makes `data` the content of a file, unless it is."""
    if read(path) != data:
      self._write(io.BytesIO(data), path)
      os.replace(path + TMP, path)

  def _copy_checkpoint(self, folder, name, new_folder):
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
      self._total += sum(os.fstat(f.fileno()).st_size for f in opened.values())
      for file, f in opened.items():
        self._write(f, os.path.join(new_folder, file))
    publish(new_folder, list(opened), new_folder, TMP)
    return list(opened)

  def _restore(self):
    """Continues from the backup's newest whole checkpoint, if it is ahead."""
    from magenta.models.music_vae import checkpoints
    train, best = self._open()
    newest = next(checkpoints.all_complete(os.path.join(self._run, run_folder.TRAIN)),
                  '')
    ahead = [name for name in reversed(whole_names(train))
             if step_of(name) > checkpoints.step_of(newest)]
    stage = os.path.join(self._run, 'from_backup' + TMP)
    shutil.rmtree(stage, ignore_errors=True)  # Of a start that was killed.
    try:
      files, broken, error = [], [], None
      for name in ahead:
        try:
          files = self._fetch(train, name, os.path.join(stage, run_folder.TRAIN))
          self._open()  # If it is not the Drive that has gone.
        except OSError as e:
          error = e
        if files:
          break
        broken.append(name)
      if error and not files:
        raise error
      self._broken.update(broken)
      for skipped in broken:
        tqdm.write('Skipping the broken checkpoint '
                   f'{os.path.join(train, skipped)}.', file=sys.stderr)
      if not files:
        return True
      error = None
      try:
        self._restore_best(best, os.path.join(stage, run_folder.BEST))
        self._restore_events(train, stage)
      except OSError as e:
        error = e
      # Last, because it is what makes the run as far as the backup.
      self._install(os.path.join(stage, run_folder.TRAIN), files, run_folder.TRAIN)
      self._copied = name
      tqdm.write(f'Continuing from {os.path.join(train, name)} of step '
                 f'{step_of(name)}, copied to {self._run}.')
      if error:
        raise error
    finally:
      shutil.rmtree(stage, ignore_errors=True)
    return True

  def _fetch(self, folder, name, stage):
    """Copies a checkpoint to `stage`; returns its files, [] if it is broken."""
    from magenta.models.music_vae import checkpoints
    os.makedirs(stage, exist_ok=True)
    files = self._copy_checkpoint(folder, name, stage)
    return files if checkpoints.is_complete(os.path.join(stage, name)) else []

  def _install(self, stage, files, part):
    """Moves a checkpoint to the run, unless training is under way."""
    folder = os.path.join(self._run, part)
    os.makedirs(folder, exist_ok=True)
    with self._changed:
      if self._late:
        raise OSError(errno.ETIMEDOUT, 'it answered too late')
      publish(stage, files, folder)

  def _restore_best(self, best, stage):
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

  def _restore_events(self, train, stage):
    folder = os.path.join(self._run, run_folder.TRAIN)
    os.makedirs(folder, exist_ok=True)
    for file in list_events(train):
      if not os.path.exists(os.path.join(folder, file)):
        with open(os.path.join(train, file), 'rb') as f:
          self._write(f, os.path.join(stage, file))
        os.replace(os.path.join(stage, file + TMP), os.path.join(folder, file))

  def _copy(self):
    """Makes the backup what the run is now; returns whether it is."""
    train, best = self._open()
    local, local_best = (os.path.join(self._run, part)
                         for part in PARTS)
    names = self._local_names()
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
    self._copied = newest
    self._keep(train, [n for n in self._usable(train) if n in names])
    if name and not self._copy_best(local_best, name, best_json, best_size, best):
      return False
    for file in list_events(local):
      self._copy_events(os.path.join(local, file), os.path.join(train, file))
    self._make_room(0)
    return True

  def _is_ahead(self, train, newest):
    """Whether the backup has more than this run, which then is not copied."""
    there = self._usable(train)
    if not there or step_of(there[-1]) <= step_of(newest):
      return False
    self._tell('ahead', f'{self._dir} has a run at step {step_of(there[-1])} '
               f'and this one is at step {step_of(newest)}, so nothing is '
               'copied before it is as far. Run this again to continue from '
               f'there, or name another {field("backup_dir")}.')
    return True

  def _is_too_large(self, size):
    """Whether the newest and the best checkpoint may not be copied at all."""
    if size <= self._limit:
      return False
    self._tell('large', f'The newest and the best checkpoint have '
               f'{size / 1e6:.1f} megabytes, so nothing is copied to '
               f'{self._dir}; give a larger {field("backup_megabytes")}.')
    return True

  def _copy_newest(self, local, newest, size, train):
    """Returns whether the newest checkpoint is there now.

    If not, training has removed it, and will ask for a newer one.
    """
    if newest in self._broken or not is_same(local, train, newest):
      self._make_room(size)
      if not self._copy_checkpoint(local, newest, train):
        return False
      self._broken.discard(newest)
    return True

  def _copy_best(self, local, name, best_json, size, best):
    """The same of the best checkpoint, and of what is said of it."""
    if not is_same(local, best, name):
      self._make_room(size)
      if not self._copy_checkpoint(local, name, best):
        return False
    self._put(best_json, os.path.join(best, run_folder.BEST_JSON))
    self._keep(best, [name])
    return True

  def _copy_events(self, source, target):
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

  def _usable(self, train):
    """Returns the backup's checkpoints but for broken ones, oldest first."""
    return [n for n in whole_names(train) if n not in self._broken]

  def _keep(self, folder, names):
    """Removes the other checkpoints; `checkpoint` never names a removed one."""
    self._put(''.join([f'model_checkpoint_path: "{names[-1]}"\n',
                       *(f'all_model_checkpoint_paths: "{name}"\n'
                         for name in names)]).encode(),
              os.path.join(folder, 'checkpoint'))
    for name, files in list_checkpoints(folder).items():
      if name not in names:
        for file in reversed(files):
          remove(os.path.join(folder, file))

  def _make_room(self, size):
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
