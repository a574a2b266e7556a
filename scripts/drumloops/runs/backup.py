"""Keeps a copy of a training run on Google Drive, while training goes on.

Training writes to local disk. A thread copies what is finished (see `copying`), so
that only the thread waits for the Drive.
"""
from collections.abc import Callable
import contextlib
import errno
import os
import sys
import threading
import time

from drumloops.errors import UserError, field, in_words
from drumloops.runs import copying
from tqdm.auto import tqdm

RETRY_SECONDS = 60  # After a failure.
SLOW_SECONDS = 60  # A copy that a new checkpoint finds this old is slow.
STALL_SECONDS = 120  # How long to wait, at the start and end, if nothing moves.


class Backup:
  """Continues a run from its backup, if that is ahead, and keeps the backup.

      with Backup(run_dir, backup_dir) as backup:
        ...
        backup.notify()  # Whenever a checkpoint is finished.
  """

  def __init__(self, run_dir: str, backup_dir: str, max_megabytes: float = 4000):
    """Takes the folders.

    Args:
      run_dir: Folder of the run, on local disk.
      backup_dir: Folder that gets the same train/ and best/. Its parent must be
        there: else an unmounted Drive would be made anew, on local disk.
      max_megabytes: How much to keep there at most. The newest checkpoint there
        is removed only once a newer one is whole, so meanwhile it may be more.

    Raises:
      UserError: if both are the same folder.
    """
    self._run = os.path.abspath(os.path.expanduser(run_dir))
    self._dir = os.path.abspath(os.path.expanduser(backup_dir))
    if os.path.realpath(self._run) == os.path.realpath(self._dir):
      raise UserError(f'{field("backup_dir")} must be another folder than '
                      f'{field("run_dir")}, such as one on Google Drive.')
    self._copier = copying.Copier(
        self._run, self._dir, max_megabytes * 10**6, self._tell)
    self._said, self._failing = set(), set()  # Kinds of sentences, of failures.
    self._changed = threading.Condition()
    self._ready = False  # Whether the backup has been read.
    self._over = False  # Whether training has ended.
    self._asked = self._done = 0  # Calls for a copy, and those dealt with.
    self._complete = False  # Whether the last copy was of everything.
    self._began = None  # When the thread began what it is doing.
    self._thread = threading.Thread(target=self._work, daemon=True)

  def __enter__(self) -> 'Backup':
    """Waits until the backup has been read, as long as something moves."""
    self._thread.start()
    if not self._wait(lambda: self._ready, 'Reading the backup'):
      self._copier.refuse_restoring()
      self._tell(errno.ETIMEDOUT, f'{self._dir} does not answer; training goes '
                 f'on from what is in {self._run}.')
    return self

  def notify(self) -> None:
    """Asks for a copy of the newest checkpoint; never waits for it."""
    began = self._began
    if self._ready and began and time.monotonic() - began > SLOW_SECONDS:
      self._tell('slow', f'{self._dir} is slow: it has not yet taken the '
                 'checkpoint before; training goes on, and the newest is next.')
    with self._changed:
      self._asked += 1
      self._changed.notify_all()

  @property
  def is_pending(self) -> bool:
    """Whether a copy was asked for and neither made nor given up yet."""
    return self._done < self._asked

  def __exit__(self, *_: object) -> None:
    """Waits for the last copy, as long as something moves."""
    with self._changed:
      self._asked += 1
      self._changed.notify_all()
    try:
      self._wait(lambda: not self.is_pending, 'Copying to the backup')
    finally:
      with self._changed:
        self._over = True
        self._changed.notify_all()
      if self.is_pending or not self._complete:
        newest = (self._copier.local_names() or [None])[-1]
        missing = (f'{newest} is' if newest != self._copier.newest else
                   'the best checkpoint or the summaries are')
        tqdm.write(f'The backup {self._dir} was given up: {missing} not there. '
                   f'The run is whole in {self._run}.', file=sys.stderr)

  def _wait(self, is_over: Callable[[], bool], text: str) -> bool:
    """Returns whether it was over before nothing moved for STALL_SECONDS."""
    progress = self._copier.progress
    progress.touch()
    with tqdm(desc=text, unit='B', unit_scale=True, leave=False) as bar:
      with self._changed:
        while not self._changed.wait_for(is_over, timeout=0.2):
          if time.monotonic() - progress.moved > STALL_SECONDS:
            return False
          bar.total, bar.n = progress.total, progress.copied
          bar.refresh()
    return True

  def _tell(self, kind: object, text: str) -> None:
    """Says something of this kind, once."""
    if kind not in self._said and not self._over:
      self._said.add(kind)
      tqdm.write(in_words(text), file=sys.stderr)

  # All below is done by the thread.

  def _work(self) -> None:
    self._try(self._copier.restore, 'reading it',
              f'training goes on from what is in {self._run}.')
    with self._changed:
      self._ready = True
      self._changed.notify_all()
    while True:
      with self._changed:
        self._changed.wait_for(lambda: self.is_pending or self._over,
                               RETRY_SECONDS if self._failing else None)
        asked = self._asked
      if self._over:
        return
      complete = self._try(self._copier.copy, 'copying to it',
                           'training goes on, and it is tried again.')
      with self._changed:
        self._done, self._complete = asked, complete
        self._changed.notify_all()

  def _try(self, job: Callable[[], bool | None], what: str, then: str) -> bool:
    """Returns whether a job was done; says what fails, once."""
    self._copier.progress.restart()
    self._began = time.monotonic()
    done = False
    try:
      done = job()
    except Exception as e:  # Whatever lies there, training must go on.
      kind = getattr(e, 'errno', None) or type(e)
      why = getattr(e, 'strerror', None) or f'{type(e).__name__}: {e}'
      self._failing.add(kind)
      self._tell(kind, f'{self._dir}: {what} failed ({why}); {then}')
      with contextlib.suppress(OSError):
        self._copier.remove_leftovers()
    if done and self._failing:
      self._said -= self._failing | {'again'}
      self._failing = set()
      self._tell('again', f'{self._dir}: it works again.')
    self._began = None
    return done
