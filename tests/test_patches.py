"""`python -m magenta_patches` on copies of the installed packages."""
import hashlib
import pathlib
import shutil
import sys

import conftest
import pytest
from magenta_patches import __main__ as patcher
from magenta_patches import patches


def contents(folder):
  return {p.relative_to(folder).as_posix(): hashlib.sha256(
      p.read_bytes()).hexdigest() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture
def checkout(tmp_path):
  """A folder with stock magenta and note_seq, as a checkout on Drive has."""
  for name in ('magenta', 'note_seq'):
    shutil.copytree(patcher.find_package(name, None), tmp_path / name,
                    ignore=shutil.ignore_patterns('__pycache__'))
  patcher.revert(tmp_path)
  return tmp_path


def cli(*args):
  return conftest.run(sys.executable, '-m', 'magenta_patches', *args)


def test_table_is_of_the_released_files(checkout):
  for patch in patches.PATCHES:
    data = (checkout / patch.path).read_bytes()
    assert hashlib.sha256(data).hexdigest() == patch.sha256, patch.path
    assert all(edit.why for edit in patch.edits)


def test_apply_is_idempotent_and_revert_restores_every_byte(checkout):
  stock = contents(checkout)
  total = len(patches.PATCHES) + len(patches.ADDED)
  assert patcher.apply(checkout) == total
  patched = contents(checkout)
  changed = {n for n in stock if stock[n] != patched[n]}
  assert changed == {p.path for p in patches.PATCHES}
  assert patcher.apply(checkout) == 0
  assert contents(checkout) == patched
  assert patcher.revert(checkout) == total
  assert contents(checkout) == stock
  assert patcher.revert(checkout) == 0


def test_file_that_only_an_older_table_patched_is_restored(checkout, monkeypatch):
  stock = contents(checkout)
  patcher.apply(checkout)
  monkeypatch.setattr(patches, 'PATCHES', patches.PATCHES[:-2])
  assert patcher.apply(checkout) == 2
  assert {n for n in stock if stock[n] != contents(checkout)[n]} == {
      p.path for p in patches.PATCHES}
  mine = checkout / 'magenta' / 'mine.py'
  mine.write_text('# mine\n')
  mine.with_name('mine.py.orig').write_text('# what a merge tool left\n')
  patcher.revert(checkout)
  assert mine.read_text() == '# mine\n'
  mine.with_name('mine.py.orig').unlink()
  mine.unlink()
  assert contents(checkout) == stock


def test_module_that_only_an_older_table_added_is_removed(checkout):
  stock = contents(checkout)
  added = checkout / patches.ADDED_BEFORE[0]
  added.write_bytes(patcher.seal('# what an older version wrote\n'))
  patcher.apply(checkout)
  assert not added.exists()
  added.write_text('# mine\n')
  patcher.revert(checkout)
  assert added.read_text() == '# mine\n'
  added.unlink()
  assert contents(checkout) == stock


@pytest.mark.parametrize('name', [patches.PATCHES[2].path,
                                  patches.ADDED[-1]])
def test_unknown_file_is_refused_untouched(checkout, name):
  path = checkout / name
  path.write_bytes(path.read_bytes() + b'# mine\n' if path.exists() else b'#\n')
  before = contents(checkout)
  for command in ('apply', 'revert', 'diff'):
    conftest.check_sentence(cli(command, '--target', checkout), name)
  assert contents(checkout) == before
  assert f'unknown   {name}' in cli('status', '--target', checkout).stdout


def test_edited_patched_file_is_refused(checkout):
  patcher.apply(checkout)
  path = checkout / patches.PATCHES[1].path
  path.write_text('# mine\n' + path.read_text())
  before = contents(checkout)
  conftest.check_sentence(cli('apply', '--target', checkout), str(path))
  assert contents(checkout) == before


def test_file_of_an_older_table_is_replaced(checkout, monkeypatch):
  patcher.apply(checkout)
  patch = patches.PATCHES[1]
  path = checkout / patch.path
  path.write_bytes(patcher.seal('# what an older version wrote\n'))
  assert patcher.find_files(checkout)
  assert 'outdated' in patcher.status(checkout)
  assert patcher.apply(checkout) == 1
  assert 'outdated' not in patcher.status(checkout)


def test_target_may_be_the_package_itself_and_lack_note_seq(checkout):
  shutil.rmtree(checkout / 'note_seq')
  assert patcher.apply(checkout / 'magenta') > 0
  assert patcher.revert(checkout) > 0


def test_target_without_magenta(tmp_path):
  conftest.check_sentence(cli('apply', '--target', tmp_path), 'No magenta')


def test_diff_shows_every_patched_file(checkout):
  diff = cli('diff', '--target', checkout).stdout
  for patch in patches.PATCHES:
    assert f'+++ b/{patch.path}' in diff


def test_installed_packages_are_patched():
  assert {f.state for f in patcher.find_files()} == {'applied'}


def test_nothing_of_magenta_is_copied():
  """No 6 lines in a row of ours stand in a file of Magenta."""
  def runs(path):
    lines = list(filter(None, map(str.strip, path.read_text().splitlines())))
    return {tuple(lines[i:i + 6]) for i in range(len(lines) - 5)}
  magenta = patcher.find_package('magenta', None) / 'models' / 'music_vae'
  upstream = set().union(*(
      runs(p) for p in magenta.glob('*.py')
      if f'{patches.MUSIC_VAE}/{p.name}' not in patches.ADDED))
  for path in pathlib.Path(patcher.__file__).parent.rglob('*.py'):
    assert not runs(path) & upstream, path


class Killed(BaseException):
  """Nothing catches it, so it leaves what kill -9 leaves."""


@pytest.mark.parametrize('name', ['apply', 'revert'])
def test_killed_anywhere_leaves_nothing_in_the_end(checkout, monkeypatch, name):
  stock = contents(checkout)
  path_class = type(checkout)
  killed, number = True, 0
  while killed:
    number += 1
    if name == 'revert':
      patcher.apply(checkout)
    left = [number]
    def count(fn):
      def counted(*args, **kwargs):
        left[0] -= 1
        if left[0] <= 0:  # All later ones too: not even `finally` runs.
          raise Killed
        return fn(*args, **kwargs)
      return counted
    with monkeypatch.context() as patch:
      for owner, change in ((patcher.os, 'replace'), (path_class, 'unlink'),
                            (path_class, 'write_bytes')):
        patch.setattr(owner, change, count(getattr(owner, change)))
      try:
        getattr(patcher, name)(checkout)
        killed = False
      except Killed:
        pass
    patcher.revert(checkout)
    assert contents(checkout) == stock, number
  assert number > len(patches.PATCHES)
