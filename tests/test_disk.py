"""Files and folders: written whole, locked."""
import os

from drumloops.errors import UserError
from drumloops.system import disk
import pytest


def test_replacing_is_all_or_nothing(tmp_path):
  path = tmp_path / 'a.wav'
  path.write_text('old')
  with pytest.raises(ValueError):
    with disk.replacing(str(path)) as temporary:
      open(temporary, 'w').write('half')
      raise ValueError
  assert path.read_text() == 'old' and os.listdir(tmp_path) == ['a.wav']
  with disk.replacing(str(path)) as temporary:
    assert temporary.endswith('.wav')
    open(temporary, 'w').write('new')
  assert path.read_text() == 'new' and os.listdir(tmp_path) == ['a.wav']


def test_lock_is_of_a_folder_however_it_is_called(tmp_path):
  (tmp_path / 'a').mkdir()
  (tmp_path / 'b').symlink_to('a')
  with disk.locked(tmp_path / 'a', 0, 'first'):
    with pytest.raises(UserError, match='second'):
      with disk.locked(tmp_path / 'b' / '.', 0, 'second'):
        pass
    with disk.locked(tmp_path / 'c', 0, 'third'):
      pass
  with disk.locked(tmp_path / 'b', 0, 'fourth'):
    pass
  assert sorted(os.listdir(tmp_path)) == ['a', 'b']
