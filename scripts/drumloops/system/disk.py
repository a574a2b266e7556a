"""Files and folders as users have them: odd names, two at once, half written."""
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator

from drumloops.errors import UserError


def printable(path: str | bytes) -> str:
  """Returns a path as text that can be printed and kept, part by part.

  A name whose bytes are not UTF-8 was most likely made by a Korean Windows, whose
  zips have CP949; where it was not, what is no letter is replaced.
  """
  def decode(part):
    for encoding in ('utf-8', 'cp949'):
      try:
        return part.decode(encoding)
      except UnicodeDecodeError:
        pass
    return part.decode('utf-8', 'replace')
  return '/'.join(map(decode, os.fsencode(path).split(b'/')))


@contextlib.contextmanager
def locked(folder: str, seconds: float, text: str) -> Iterator[None]:
  """Lets one process at a time do what it does with a folder.

  The lock is a file among this computer's temporary ones, since Drive knows no
  locks; so it holds for all processes of one user on one computer. However a
  process ends, it leaves no lock behind.

  Args:
    folder: The folder, which need not be there.
    seconds: How long to wait for another process; -1 is for ever.
    text: What to tell the user if that takes longer.

  Raises:
    UserError: then.
  """
  import filelock
  locks = os.path.join(tempfile.gettempdir(), f'musicvae-drums-{os.getuid()}')
  os.makedirs(locks, mode=0o700, exist_ok=True)
  name = hashlib.sha256(os.fsencode(os.path.realpath(
      os.path.expanduser(folder)))).hexdigest()[:32]
  lock = filelock.FileLock(os.path.join(locks, name))
  try:
    lock.acquire(0)
  except filelock.Timeout:
    print(f'Another process uses {folder}; waiting for it ...', flush=True)
    try:
      lock.acquire(seconds)
    except filelock.Timeout as e:
      raise UserError(text) from e
  try:
    yield
  finally:
    lock.release()


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
  """Gives another path to write to; what is there then takes the place of `path`.

  So nobody finds a file half written, and two who write it at once spoil nothing.

  Raises:
    OSError: which names `path`, as Python's own does not if the disk is full.
  """
  folder, name = os.path.split(path)
  # The ending stays, because some writers go by it.
  temporary = os.path.join(folder, f'.{os.getpid()}.tmp.{name}')
  try:
    yield temporary
    os.replace(temporary, path)
  except OSError as e:
    if e.errno is None or e.filename not in (None, temporary):
      raise
    raise OSError(e.errno, e.strerror, path) from e
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.remove(temporary)
