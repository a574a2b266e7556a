"""Applies, shows and reverts the patches: `python -m magenta_patches --help`."""
import argparse
import difflib
import hashlib
import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable, Iterable

from magenta_patches import patches

ADDED_DIR = pathlib.Path(__file__).parent / 'added'
PACKAGES = ('magenta', 'note_seq')
BACKUP = '.orig'
SEAL = '# Written by magenta_patches; sha256 of what is above: '


class PatchError(Exception):
  """One sentence that says why nothing was changed."""


def sha256(data: bytes) -> str:
  """Returns the digest in hexadecimal digits."""
  return hashlib.sha256(data).hexdigest()


def seal(text: str) -> bytes:
  """Returns the bytes of `text` and a last line with their sha256."""
  body = text.encode()
  return body + f'{SEAL}{sha256(body)}\n'.encode()


def is_sealed(data: bytes) -> bool:
  """Whether `data` is a file that `seal` made and nobody has edited since."""
  body, mark, digest = data.rpartition(SEAL.encode())
  return bool(mark) and sha256(body).encode() == digest.strip()


def patched_text(stock: str, patch: patches.Patch) -> str:
  """Returns the text `stock` with all edits of `patch` made."""
  for edit in patch.edits:
    if not edit.old:
      stock += edit.new
    elif stock.count(edit.old) != 1:
      raise PatchError(f'An edit of {patch.path} does not match: {edit.why}')
    else:
      stock = stock.replace(edit.old, edit.new)
  return stock


def find_package(
    name: str, target: str | os.PathLike | None) -> pathlib.Path | None:
  """Returns the folder of a package; None if there is none.

  Args:
    name: Of the package.
    target: The package's folder or the folder that holds it; None: the installed one.
  """
  if target is None:
    spec = importlib.util.find_spec(name)
    return pathlib.Path(spec.origin).parent if spec else None
  target = pathlib.Path(target).expanduser().resolve()
  for folder in (target / name, target):
    if folder.name == name and (folder / '__init__.py').is_file():
      return folder
  return None


class File:
  """A file that is to be patched or added, and its state.

  stock: Its unpatched content; None for an added file.
  wanted: What `apply` writes.
  state: 'stock', 'applied', 'outdated' (written by another version of the table),
    'missing' or 'unknown'.
  """

  def __init__(self, name: str, path: pathlib.Path, make_text: Callable,
               stock_sha256: str | None = None):
    """Reads the file.

    Args:
      name: Its path, beginning with its package.
      path: Where it is.
      make_text: Returns the patched text, given `stock`.
      stock_sha256: Of the unpatched content; None for an added file.
    """
    self.name, self.path = name, path
    self.backup = path.with_name(path.name + BACKUP)
    self.current, saved = map(read, (path, self.backup))
    self.stock = next((data for data in (self.current, saved) if data is not None
                       and sha256(data) == stock_sha256), None)
    self.is_added = stock_sha256 is None
    self.wanted = (seal(make_text(self.stock))
                   if self.is_added or self.stock is not None else None)

  @property
  def state(self) -> str:
    """One of the states above."""
    if self.current is None:
      return 'missing'
    if self.current == self.wanted:
      return 'applied'
    if not self.is_added and self.current == self.stock:
      return 'stock'
    return ('outdated' if self.wanted is not None and is_sealed(self.current)
            else 'unknown')

  def apply(self) -> None:
    """Writes the patched file, and the unpatched one as a backup beside it."""
    if self.stock is not None and not self.backup.exists():
      write(self.backup, self.stock)
    write(self.path, self.wanted)

  def revert(self) -> None:
    """Restores the unpatched file, or removes an added one."""
    if self.stock is None:
      self.path.unlink(missing_ok=True)
    else:
      if self.state != 'stock':
        write(self.path, self.stock)
      self.backup.unlink(missing_ok=True)

  def leftovers(self) -> list[pathlib.Path]:
    """Returns the files that a killed `apply` or `revert` has left beside it."""
    return [*self.path.parent.glob(f'{self.path.name}.*.tmp'),
            *[self.backup] * (self.state == 'stock' and self.backup.exists())]


def read(path: pathlib.Path) -> bytes | None:
  """Returns a file's content; None if there is no such file."""
  return path.read_bytes() if path.is_file() else None


def write(path: pathlib.Path, data: bytes) -> None:
  """Replaces a file in one step, so that a full disk leaves it as it was."""
  temporary = path.with_name(f'{path.name}.{os.getpid()}.tmp')
  try:
    temporary.write_bytes(data)
    os.replace(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def find_files(target: str | os.PathLike | None = None) -> list[File]:
  """Returns a `File` for every row of the table.

  A `target` may lack note_seq; then note_seq's row is left out.

  Raises:
    PatchError: if there is no Magenta to patch.
  """
  folders = {name: find_package(name, target)
             for name in PACKAGES}
  if folders['magenta'] is None:
    raise PatchError(
        f'No magenta package in {target}.' if target else
        'Magenta is not installed; run scripts/install.py first.')
  if folders['note_seq'] is None and target is None:
    raise PatchError('note-seq is not installed; run scripts/install.py first.')
  files = []
  for name in patches.ADDED:
    path = folders['magenta'].parent / name
    text = (ADDED_DIR / path.name).read_text()
    files.append(File(name, path, lambda _, text=text: text))
  for patch in patches.PATCHES:
    folder = folders[patch.path.split('/')[0]]
    if folder is not None:
      files.append(File(
          patch.path, folder.parent / patch.path,
          lambda stock, patch=patch: patched_text(stock.decode(), patch),
          patch.sha256))
  return files


def restore_others(
    target: str | os.PathLike | None, files: Iterable[File]) -> int:
  """Undoes what an older table changed and this one does not; returns how many files.

  Files that `seal` has not written stay. Other programs leave files called .orig, too.
  """
  known, count = {f.path for f in files}, 0
  for package in filter(None, (find_package(name, target) for name in PACKAGES)):
    for backup in package.rglob(f'*.py{BACKUP}'):
      path = backup.with_suffix('')
      if path in known or not path.is_file():
        continue
      if is_sealed(path.read_bytes()):
        write(path, backup.read_bytes())
        backup.unlink()
        count += 1
    for name in patches.ADDED_BEFORE:
      path = package.parent / name
      if is_sealed(read(path) or b''):
        path.unlink()
        count += 1
  return count


def refuse_unknown(files: Iterable[File]) -> None:
  """Raises PatchError if a file is neither upstream's nor ours."""
  for f in files:
    if f.state == 'unknown' or (
        f.state == 'missing' and not f.is_added):
      raise PatchError(
          f'{f.path} is {"missing" if f.state == "missing" else "not the file"}'
          ' of magenta 2.1.4 or note-seq 0.0.5, so nothing was changed; '
          'put the released file back (pip install --no-deps '
          '--force-reinstall magenta==2.1.4 note-seq==0.0.5, or git checkout '
          'v2.1.4) and try again.')


def apply(target: str | os.PathLike | None = None) -> int:
  """Patches Magenta; returns how many files were written (0 when all were)."""
  files = find_files(target)
  refuse_unknown(files)
  todo = [f for f in files if f.state != 'applied']
  for f in todo:
    f.apply()
  return len(todo) + restore_others(target, files)


def revert(target: str | os.PathLike | None = None) -> int:
  """Restores every byte; returns how many files were restored or removed."""
  files = find_files(target)
  refuse_unknown(files)
  todo = [f for f in files
          if f.state in ('applied', 'outdated') or f.leftovers()]
  for f in todo:
    for path in f.leftovers():
      path.unlink(missing_ok=True)
    if f.state != 'missing':
      f.revert()
  return len(todo) + restore_others(target, files)


def diff(target: str | os.PathLike | None = None) -> str:
  """Returns the edits as one unified diff, whether applied or not."""
  files = find_files(target)
  refuse_unknown(files)
  return ''.join(''.join(difflib.unified_diff(
      f.stock.decode().splitlines(True), f.wanted.decode().splitlines(True),
      f'a/{f.name}', f'b/{f.name}')) for f in files if f.stock is not None)


def status(target: str | os.PathLike | None = None) -> str:
  """Returns a line for every file: its state and its name."""
  return '\n'.join(f'{f.state:9s} {f.name}' for f in find_files(target))


def main(argv: list[str] | None = None) -> int:
  """Runs a command; returns its exit status."""
  parser = argparse.ArgumentParser(
      prog='python -m magenta_patches', description=__doc__)
  parser.add_argument('command', choices=('apply', 'status', 'diff', 'revert'))
  parser.add_argument(
      '--target', metavar='DIR',
      help='a Magenta checkout, instead of the installed packages')
  args = parser.parse_args(argv)
  try:
    if args.command == 'apply':
      n = apply(args.target)
      print(f'Patched {n} files.' if n else 'Already patched.')
    elif args.command == 'revert':
      n = revert(args.target)
      print(f'Restored {n} files.' if n else 'Nothing to revert.')
    else:
      print({'status': status, 'diff': diff}[args.command](args.target))
  except (PatchError, OSError) as e:
    print(f'magenta_patches: {e}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main())
