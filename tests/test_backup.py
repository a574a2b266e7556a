"""A run's copy on a Drive that is slow, full or gone, and going on from it."""
import collections
import errno
import json
import os
import pathlib
import shutil
import signal
import stat
import sys
import time

import conftest
import numpy as np
import pytest

from drumloops.errors import UserError
from drumloops.runs import backup, checkpoint_files, copying
from drumloops.system import interrupts, magenta_setup

WEIGHTS = 20000  # Of the small checkpoints here: 80 kilobytes.


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
  magenta_setup.music_vae()
  monkeypatch.setattr(backup, 'STALL_SECONDS', 1)
  monkeypatch.setattr(copying, 'CHUNK', 1 << 15)  # Three for a checkpoint.


@pytest.fixture
def run(tmp_path):
  (tmp_path / 'run').mkdir()
  return tmp_path / 'run'


@pytest.fixture
def drive(tmp_path):
  (tmp_path / 'drive').mkdir()
  return tmp_path / 'drive' / 'backup'


def save(run, step, keep=3, best=True):
  """Leaves what a training's save does: a checkpoint, the best one, summaries."""
  from magenta.models.music_vae import checkpoints
  prefix = str(run / 'train' / f'model.ckpt-{step}')
  weights = np.random.default_rng(step).random(WEIGHTS, np.float32)
  checkpoints.save({'w': weights}, prefix)
  for name in copying.whole_names(run / 'train')[:-keep]:
    for path in (run / 'train').glob(f'{name}.*'):
      path.unlink()
  checkpoints.repair(str(run / 'train'))
  with open(run / 'train' / 'events.out.tfevents.1', 'a') as f:
    f.write(f'step {step}\n')
  if best:
    slim = str(run / 'best' / f'model.ckpt-{step}')
    checkpoints.save({'w': weights[:WEIGHTS // 3]}, slim)
    (run / 'best' / 'best.json').write_text(
        json.dumps({'checkpoint': f'model.ckpt-{step}', 'loss': -step}))
    checkpoints.remove_others(slim)


def steps(folder, part='train'):
  return [copying.step_of(name) for name in copying.whole_names(folder / part)]


def files(folder):
  """{path: bytes} but for the states, which name the same in other words."""
  return {str(p.relative_to(folder)): p.read_bytes()
          for p in folder.rglob('*')
          # The picture is made of the summaries, on the machine that trains.
          if p.is_file() and p.name not in ('checkpoint', 'training.png')}


def newest(folder):
  """files(), of the checkpoints in train/ only the newest."""
  name = copying.whole_names(folder / 'train')[-1]
  return {path: data for path, data in files(folder).items()
          if 'train/model' not in path or f'{name}.' in path}


def check_whole(folder):
  """Asserts that all that has a name is whole; returns the newest step."""
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  for part in ('train', 'best'):
    for name in copying.whole_names(folder / part):
      assert checkpoints.is_complete(str(folder / part / name)), name
    if (folder / part / 'checkpoint').exists():
      state = tf.train.get_checkpoint_state(str(folder / part))
      for path in state.all_model_checkpoint_paths:
        assert checkpoints.is_complete(path), path
  if (folder / 'best' / 'best.json').exists():
    best = json.loads((folder / 'best' / 'best.json').read_text())
    assert checkpoints.is_complete(str(folder / 'best' / best['checkpoint']))
  return max(steps(folder), default=None)


def wait_for(condition):
  deadline = time.time() + 20
  while not condition():
    assert time.time() < deadline
    time.sleep(0.01)


def copy_now(copies):
  copies.notify()
  wait_for(lambda: not copies.is_pending)


def size(folder):
  return sum(p.stat().st_size for p in folder.rglob('*') if p.is_file())


def test_the_copy_is_the_run(run, drive):
  import tensorflow as tf
  with backup.Backup(run, drive) as copies:
    for step in (1, 2):
      save(run, step)
      copy_now(copies)
    assert files(drive) == files(run)
    save(run, 3, best=False)  # And is copied at the end.
  assert files(drive) == files(run)
  assert check_whole(drive) == 3
  assert tf.train.latest_checkpoint(str(drive / 'train')) == str(
      drive / 'train' / 'model.ckpt-3')
  drive.rename(drive.with_name('moved'))  # The names in it are relative.
  assert check_whole(drive.with_name('moved')) == 3


def test_nothing_is_written_twice(run, drive, monkeypatch):
  save(run, 1)
  with backup.Backup(run, drive) as copies:
    copy_now(copies)
    before = {p: p.stat().st_ino for p in drive.rglob('*')}
    copy_now(copies)
  assert before == {p: p.stat().st_ino for p in drive.rglob('*')}


def test_same_step_of_another_run_is_replaced(run, drive):
  save(run, 1)
  with backup.Backup(run, drive):
    pass
  data = next((drive / 'train').glob('*.data*'))
  data.write_bytes(data.read_bytes()[::-1])
  index = drive / 'train' / 'model.ckpt-1.index'
  index.write_bytes(index.read_bytes()[::-1])
  with backup.Backup(run, drive):
    pass
  assert files(drive) == files(run)


def test_what_the_run_removes_is_removed(run, drive, tmp_path):
  with backup.Backup(run, drive) as copies:
    for step in (1, 2, 3, 4):
      save(run, step, keep=2)
      copy_now(copies)
      if step == 1:
        os.link(next((drive / 'train').glob('*.data*')), tmp_path / 'trash')
  assert steps(drive) == steps(run) == [3, 4]
  assert steps(drive, 'best') == [4]
  assert (tmp_path / 'trash').stat().st_size == 0


def used_at_most(monkeypatch, drive):
  """Notes how much is in `drive` whenever something is written there."""
  used, fsync = [0], os.fsync
  def note(fd):
    used.append(size(drive))
    return fsync(fd)
  monkeypatch.setattr(os, 'fsync', note)
  return used


@pytest.mark.parametrize('room', [1.2, 2.2, 3.2])
def test_at_most_so_many_megabytes(run, drive, monkeypatch, room, capsys):
  save(run, 1, keep=9)
  one = sum(copying.sizes(run / 'train', 'model.ckpt-1').values())
  limit = room * one + 2 * size(run / 'best')
  used = used_at_most(monkeypatch, drive)
  with backup.Backup(run, drive, limit / 1e6) as copies:
    for step in range(2, 7):
      copy_now(copies)
      assert size(drive) <= limit
      assert steps(drive)[-1] == step - 1
      save(run, step, keep=9)
  # All the while, but where there is room for one: it waits for the next.
  assert max(used) <= limit + (one if room < 2 else 0)
  assert steps(drive) == list(range(7 - int(room), 7))
  assert check_whole(drive) == 6
  assert 'megabytes' not in capsys.readouterr().err


def test_a_checkpoint_larger_than_the_limit(run, drive, capsys):
  with backup.Backup(run, drive, 0.1) as copies:
    for step in (1, 2):
      save(run, step)
      copy_now(copies)
  err = capsys.readouterr().err
  assert err.count('larger backup_megabytes') == 1
  assert 'have 0.1 megabytes' in err and 'model.ckpt-2 is not there' in err
  assert not files(drive)


def test_summaries_beyond_the_limit(run, drive, capsys):
  save(run, 1)
  with open(run / 'train' / 'events.out.tfevents.1', 'a') as f:
    f.write('x' * 10**6)
  with backup.Backup(run, drive, 0.5) as copies:
    copy_now(copies)
    copy_now(copies)
  assert capsys.readouterr().err.count('summaries are not copied') == 1
  assert check_whole(drive) == 1 and steps(drive, 'best') == [1]
  assert size(drive) < 5e5


KINDS = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOTCONN, errno.EACCES]


@pytest.mark.parametrize('kind', KINDS, ids=errno.errorcode.get)
def test_a_drive_that_fails(run, drive, monkeypatch, capsys, kind):
  """Said once, until it works again; the copy before stays."""
  failing, fsync = [], os.fsync
  def fail(fd):
    if failing:
      raise OSError(kind, os.strerror(kind))
    return fsync(fd)
  monkeypatch.setattr(os, 'fsync', fail)
  with backup.Backup(run, drive) as copies:
    save(run, 1)
    copy_now(copies)
    before = files(drive)
    for said in (1, 2):
      failing.append(True)
      for step in (2, 3, 4):
        save(run, step + 3 * said)
        copy_now(copies)
        assert files(drive) == before
      failing.clear()
      copy_now(copies)
      assert newest(drive) == newest(run)
      before = files(drive)
      text = capsys.readouterr().err
      assert text.count(os.strerror(kind)) == text.count('works again') == 1


def test_it_is_tried_again_without_a_new_checkpoint(
    run, drive, monkeypatch, capsys):
  monkeypatch.setattr(backup, 'RETRY_SECONDS', 0.05)
  save(run, 1)
  with backup.Backup(run, drive) as copies:
    drive.rename(drive.with_name('away'))
    copy_now(copies)
    time.sleep(0.2)
    assert not drive.exists()
    drive.with_name('away').rename(drive)
    wait_for(lambda: files(drive) == files(run))
  assert capsys.readouterr().err.count('failed') == 1


@pytest.mark.parametrize('how', ['removed', 'unmounted', 'file', 'emptied'])
@pytest.mark.parametrize('when', [2, 4, 5])
def test_a_drive_that_goes_away(run, drive, monkeypatch, capsys, how, when):
  """During the copy, at the `when`th write; nothing is made in its place."""
  away = drive.parent.with_name('away')
  writes, fsync = [], os.fsync

  def go_away(fd):
    writes.append(fd)
    if len(writes) == when:
      if how == 'unmounted':  # Leaves the mount point.
        drive.parent.rename(away)
        drive.parent.mkdir()
      else:
        drive.rename(away)
        if how == 'file':
          drive.write_text('not a folder')
        elif how == 'emptied':  # It was the mount point.
          drive.mkdir()
    return fsync(fd)

  with backup.Backup(run, drive) as copies:
    save(run, 1)
    copy_now(copies)
    monkeypatch.setattr(os, 'fsync', go_away)
    for step in (2, 3, 4):
      save(run, step)
      copy_now(copies)
    place = drive.parent if how == 'unmounted' else drive
    left = list(place.rglob('*')) if place.is_dir() else []
    assert not left and drive.exists() == (how in ('file', 'emptied'))
    assert check_whole(away / 'backup' if how == 'unmounted' else away) in (
        1, 2)
    text = capsys.readouterr().err
    # A rename that failed halfway may be another failure than a missing folder.
    assert text.count('failed') == 1 and 'works again' not in text
    if place.is_dir():
      place.rmdir()
    elif place.exists():
      place.unlink()
    away.rename(place)
    copy_now(copies)
    assert newest(drive) == newest(run)
  assert check_whole(drive) == 4
  text = capsys.readouterr().err
  assert text.count('works again') == 1 and 'given up' not in text


def test_a_drive_that_is_gone_at_the_end(run, drive, capsys):
  with backup.Backup(run, drive) as copies:
    save(run, 1)
    copy_now(copies)
    shutil.rmtree(drive)
    save(run, 2)
  text = capsys.readouterr().err
  assert text.count('model.ckpt-2 is not there') == 1
  assert f'The run is whole in {run}.' in text
  assert not drive.exists()


def test_a_slow_drive(run, drive, monkeypatch, capsys):
  """notify() returns at once, and checkpoints in between are skipped."""
  copied, fsync, replace = [], os.fsync, os.replace
  def slow(fd):
    time.sleep(0.2)
    return fsync(fd)
  def note(source, target):
    if str(target).startswith(str(drive / 'train/model')):
      copied.append(pathlib.Path(target).name)
    return replace(source, target)
  with backup.Backup(run, drive) as copies:
    save(run, 1, best=False)
    monkeypatch.setattr(backup, 'SLOW_SECONDS', 0.01)
    monkeypatch.setattr(os, 'fsync', slow)
    monkeypatch.setattr(os, 'replace', note)
    copies.notify()
    time.sleep(0.2)
    for step in (2, 3, 4):
      save(run, step, best=step == 4, keep=2)  # Removes what is being copied.
      began = time.monotonic()
      copies.notify()
      assert time.monotonic() - began < 0.05
    assert not steps(drive)
  assert copied == [f'model.ckpt-{step}.{part}' for step in (1, 4)
                    for part in ('data-00000-of-00001', 'index')]
  assert check_whole(drive) == 4
  assert capsys.readouterr().err.count('is slow') == 1


def test_a_checkpoint_removed_just_before_its_copy(
    run, drive, monkeypatch, capsys):
  copy = copying.Copier.copy_checkpoint
  def remove_and_copy(self, folder, name, new_folder):
    if name == 'model.ckpt-2' and new_folder.endswith('train'):
      for path in pathlib.Path(folder).glob(f'{name}.*'):
        path.unlink()
    return copy(self, folder, name, new_folder)
  monkeypatch.setattr(copying.Copier, 'copy_checkpoint', remove_and_copy)
  with backup.Backup(run, drive) as copies:
    for step in (1, 2):
      save(run, step)
      copy_now(copies)
      assert check_whole(drive) == 1
    save(run, 3)
  assert newest(drive) == newest(run) and check_whole(drive) == 3
  text = capsys.readouterr().err
  assert 'failed' not in text and 'given up' not in text


@pytest.fixture
def hung():
  """Makes a file of a Drive that hangs: who opens it waits for ever."""
  paths = []
  def make(path):
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    paths.append(path)
    return path
  yield make
  for path in paths:
    if path.exists() and stat.S_ISFIFO(path.stat().st_mode):
      release(path)


def release(path):
  with open(path, 'r+b', buffering=0):  # Wakes who waits to open it.
    time.sleep(0.2)


def test_a_drive_that_hangs(run, drive, hung, capsys, monkeypatch):
  monkeypatch.setattr(backup, 'SLOW_SECONDS', 0.1)
  with backup.Backup(run, drive) as copies:
    save(run, 1)
    copy_now(copies)
    hung(drive / 'train' / 'checkpoint')
    for step in (2, 3, 4):
      save(run, step)
      copies.notify()
      time.sleep(0.2)
    began = time.monotonic()
  assert 1 < time.monotonic() - began < 3
  text = capsys.readouterr().err
  assert text.count('is slow') == text.count('given up') == 1
  assert 'model.ckpt-4 is not there' in text
  assert steps(run) == [2, 3, 4]


def test_a_drive_that_hangs_at_the_start(run, drive, hung, tmp_path, capsys):
  """Training goes on, and is not disturbed when the Drive answers late."""
  save(run, 9)
  with backup.Backup(run, drive):
    pass
  fifo = hung(drive / 'best' / 'best.json')
  began = time.monotonic()
  with backup.Backup(tmp_path / 'new', drive) as copies:
    assert 1 < time.monotonic() - began < 3
    save(tmp_path / 'new', 1)
    release(fifo)
    copy_now(copies)
    assert steps(tmp_path / 'new') == steps(tmp_path / 'new', 'best') == [1]
  assert steps(drive) == [9]
  text = capsys.readouterr().err
  assert text.count('does not answer') == text.count('run at step 9') == 1
  assert 'failed' not in text and 'is slow' not in text


def test_a_drive_that_cannot_be_read_at_the_start(run, drive, capsys):
  """It is not lost to the run that began anew meanwhile."""
  save(run, 9)
  with backup.Backup(run, drive):
    pass
  before = files(drive)
  away = drive.with_name('away')
  drive.rename(away)
  drive.write_text('not a folder')
  new = run.with_name('new')
  with backup.Backup(new, drive) as copies:
    for step in (1, 2, 3):
      save(new, step)
      copy_now(copies)
    drive.unlink()
    away.rename(drive)
    copy_now(copies)
    copy_now(copies)
    assert files(drive) == before
    text = capsys.readouterr().err
    assert text.count('reading it failed (Not a directory)') == 1
    assert text.count('failed') == text.count('run at step 9') == 1
    save(new, 10)  # As far as what is there.
  assert newest(drive) == newest(new) and check_whole(drive) == 10


def test_a_drive_that_goes_away_while_it_is_read(
    run, drive, monkeypatch, capsys):
  """What it has is not taken for broken."""
  save(run, 9)
  with backup.Backup(run, drive):
    pass
  before = files(drive)
  away = drive.with_name('away')
  listed, list_checkpoints = [], copying.list_checkpoints
  def go_away(folder):
    checkpoints = list_checkpoints(folder)
    listed.append(folder)
    if len(listed) == 2:  # Before its files are opened.
      drive.rename(away)
    return checkpoints
  monkeypatch.setattr(copying, 'list_checkpoints', go_away)
  new = run.with_name('new')
  with backup.Backup(new, drive) as copies:
    assert away.exists()
    away.rename(drive)
    save(new, 1)
    copy_now(copies)
  assert files(drive) == before
  text = capsys.readouterr().err
  assert text.count('reading it failed') == text.count('run at step 9') == 1
  assert 'broken' not in text


def test_a_drive_that_is_not_mounted_at_the_start(run, drive, capsys):
  with backup.Backup(run, drive / 'and' / 'more') as copies:
    save(run, 1)
    copy_now(copies)
    assert not drive.exists()
  text = capsys.readouterr().err
  assert text.count('No such file') == 1 and 'model.ckpt-1 is not' in text


class Killed(BaseException):
  """Nothing of the project catches it, so it leaves what kill -9 does."""


def kill_at(monkeypatch, number):
  """Raises Killed before the `number`th change of a file."""
  calls = collections.Counter()
  for name in ('fsync', 'replace', 'remove', 'truncate'):
    def counted(*args, fn=getattr(os, name)):
      calls['all'] += 1
      if calls['all'] == number:
        raise Killed
      return fn(*args)
    monkeypatch.setattr(os, name, counted)


def make_copier(run, drive):
  """What a Backup's thread copies with, to be called without the thread."""
  return copying.Copier(str(run), str(drive), 4e9, lambda kind, text: None)


@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_a_copy_that_is_killed_anywhere(run, drive, monkeypatch):
  save(run, 1)
  save(run, 2)
  with backup.Backup(run, drive):
    pass
  first = drive.with_name('first')
  drive.rename(first)
  for step in (3, 4):
    save(run, step)  # And removes step 1.
  originals = {p.name: p.read_bytes() for p in (run / 'train').glob('model*')}
  reached, killed = [], True
  while killed:
    shutil.rmtree(drive, ignore_errors=True)
    shutil.copytree(first, drive)
    copier = make_copier(run, drive)
    with monkeypatch.context() as patch:
      kill_at(patch, len(reached) + 1)
      try:
        copier.copy()
        killed = False
      except Killed:
        pass
    reached.append(check_whole(drive))
    new = run.with_name('new')
    shutil.rmtree(new, ignore_errors=True)
    with backup.Backup(new, drive):
      assert steps(new) == [reached[-1]]
      assert not list(drive.rglob('*.tmp'))
      best = json.loads((new / 'best' / 'best.json').read_text())
      assert steps(new, 'best') == [copying.step_of(best['checkpoint'])]
    for path in (new / 'train').glob('model.ckpt-4*'):
      assert path.read_bytes() == originals[path.name]
  assert reached == sorted(reached) and set(reached) == {2, 4}
  assert len(reached) > 15 and newest(drive) == newest(run)


@pytest.mark.filterwarnings('ignore::ResourceWarning')
def test_going_on_that_is_killed_anywhere(run, drive, monkeypatch):
  """What the run had is there or what the backup has, with its best."""
  save(run, 5)
  with backup.Backup(run, drive):
    pass
  old, new = run.with_name('old'), run.with_name('new')
  save(old, 2)
  reached, killed = [], True
  while killed:
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(old, new)
    copier = make_copier(new, drive)
    with monkeypatch.context() as patch:
      kill_at(patch, len(reached) + 1)
      patch.setattr(copying.shutil, 'rmtree', lambda *_, **__: None)
      try:
        copier.restore()
        killed = False
      except Killed:
        pass
    reached.append(check_whole(new))
    if reached[-1] == 5:
      assert (new / 'best' / 'best.json').read_bytes() == (
          run / 'best' / 'best.json').read_bytes()
    with backup.Backup(new, drive):
      assert steps(new)[-1] == 5 and steps(new, 'best') == [5]
      assert not list(new.rglob('*.tmp'))
  assert set(reached) == {2, 5} and len(reached) > 8


def test_kill_9(run, drive):
  save(run, 1)
  with backup.Backup(run, drive):
    pass
  save(run, 2)
  code = f'''
import os, signal
from drumloops.runs import backup, copying
from drumloops.system import magenta_setup
magenta_setup.music_vae()
copying.CHUNK = {1 << 15}
def fsync(fd, calls=[]):
  calls.append(fd)
  if len(calls) == 2:
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = fsync
with backup.Backup({str(run)!r}, {str(drive)!r}):
  pass
'''
  assert conftest.code(code).returncode == -signal.SIGKILL
  leftovers = list(drive.rglob('*.tmp'))
  assert leftovers and 0 < leftovers[0].stat().st_size < 4 * WEIGHTS
  assert check_whole(drive) == 1
  with backup.Backup(run.with_name('new'), drive):
    assert steps(run.with_name('new')) == [1]
    assert not list(drive.rglob('*.tmp'))


def break_checkpoint(folder, step, how):
  data = next(folder.glob(f'model.ckpt-{step}.data*'))
  content = bytearray(data.read_bytes())
  if how == 'index':
    index = folder / f'model.ckpt-{step}.index'
    index.write_bytes(index.read_bytes()[:50])
  elif how == 'half':
    data.write_bytes(content[:len(content) // 2])
  elif how == 'flipped':
    content[len(content) // 3] ^= 255
    data.write_bytes(content)
  else:
    data.unlink()
    if how == 'unreadable':
      data.mkdir()


@pytest.mark.parametrize('how', ['index', 'half', 'flipped', 'missing',
                                 'unreadable'])
def test_a_broken_newest_is_passed_over(run, drive, capsys, how):
  for step in (1, 2, 3):
    save(run, step)
  with backup.Backup(run, drive):
    pass
  shutil.copytree(run, drive, dirs_exist_ok=True)  # Steps 1 and 2 as well.
  break_checkpoint(drive / 'train', 3, how)
  new = run.with_name('new')
  with backup.Backup(new, drive):
    assert steps(new) == [2]
    assert f'Continuing from {drive}/train/model.ckpt-2 of step 2' in (
        capsys.readouterr().out)
    if how == 'unreadable':
      next((drive / 'train').glob('model.ckpt-3.data*')).rmdir()
    for step in (3, 4):  # The same step 3, but whole.
      save(new, step)
  assert steps(drive)[-1] == check_whole(drive) == 4


def test_all_broken(run, drive, capsys):
  save(run, 3)
  with backup.Backup(run, drive):
    pass
  break_checkpoint(drive / 'train', 3, 'half')
  break_checkpoint(drive / 'best', 3, 'half')
  new = run.with_name('new')
  with backup.Backup(new, drive):
    assert not (new / 'train').exists()
    save(new, 1)
  assert capsys.readouterr().err.count('Skipping the broken checkpoint') == 1
  assert steps(drive) == [check_whole(drive)] == [1]


def test_a_broken_best_is_passed_over(run, drive, capsys):
  save(run, 3)
  with backup.Backup(run, drive):
    pass
  for damage in (lambda: break_checkpoint(drive / 'best', 3, 'half'),
                 lambda: (drive / 'best' / 'best.json').write_text('{')):
    damage()
    new = run.with_name('new')
    shutil.rmtree(new, ignore_errors=True)
    with backup.Backup(new, drive):
      assert steps(new) == [3]
      assert not (new / 'best' / 'best.json').exists()
    assert 'broken best' in capsys.readouterr().err


def test_the_one_that_is_ahead_goes_on(run, drive):
  for step in (1, 2):
    save(run, step)
  with backup.Backup(run, drive):
    pass
  save(run, 3)
  before = files(run)
  with backup.Backup(run, drive):
    assert files(run) == before
  assert newest(drive) == newest(run)
  behind = run.with_name('behind')
  save(behind, 1)
  (behind / 'train' / 'events.out.tfevents.1').rename(
      behind / 'train' / 'events.out.tfevents.0')
  with backup.Backup(behind, drive):
    assert steps(behind) == [1, 3] and steps(behind, 'best') == [3]
    assert files(behind).items() >= {
        k: v for k, v in files(run).items()
        if 'ckpt-3' in k or 'events' in k or 'best' in k}.items()
    assert (behind / 'train' / 'events.out.tfevents.0').exists()


def test_the_same_folder(run, tmp_path):
  (tmp_path / 'link').symlink_to(run)
  for other in (run, tmp_path / 'link', f'{run}/../run/'):
    with pytest.raises(UserError, match='another folder'):
      backup.Backup(run, other)


def train(run_dir, dataset, *flags, code=''):
  """Runs train.py after `code`, which may change it."""
  return conftest.code(
      'import os, time, train\n'
      'from drumloops.runs import backup, copying\n'
      'from drumloops.system import cli\n'
      f'from drumloops.training import validation\n{code}\n'
      'cli.run(train.main, train.define_flags)', *conftest.FLAT,
      f'--run_dir={run_dir}', f'--examples_path={dataset}/drummer.tfrecord', *flags)


def test_going_on_on_a_new_machine(trained, dataset, tmp_path):
  """As it would have gone on where it was, byte for byte."""
  here, new, drive = (tmp_path / name for name in ('here', 'new', 'drive'))
  shutil.copytree(trained, here)
  drive.mkdir()
  with backup.Backup(here, drive / 'run'):
    pass
  assert files(drive / 'run') == files(trained)
  assert train(here, dataset, '--num_steps=14').returncode == 0
  result = train(new, dataset, '--num_steps=14', f'--backup_dir={drive}/run')
  assert result.returncode == 0, result.stderr
  assert (f'Continuing from {drive}/run/train/model.ckpt-12 of step 12, copied '
          f'to {new}.') in result.stdout
  assert 'Resumed from' in result.stdout
  assert files(drive / 'run') == files(new)
  assert steps(here) == steps(new) == [12, 14]
  for path in (here / 'train').glob('model*'):
    assert (new / 'train' / path.name).read_bytes() == path.read_bytes()
  assert ((new / 'best' / 'best.json').read_bytes() ==
          (here / 'best' / 'best.json').read_bytes())
  # What the other scripts take, given the backup as --run_dir.
  assert checkpoint_files.find_checkpoint(str(drive / 'run')) == (
      f'{drive}/run/train/model.ckpt-14')


def test_training_with_a_slow_drive(dataset, tmp_path):
  """Saves at each step; a copy takes as long as many steps."""
  (tmp_path / 'drive').mkdir()
  drive = tmp_path / 'drive' / 'run'
  result = train(
      tmp_path / 'run', dataset, '--num_steps=40', '--save_seconds=0',
      f'--backup_dir={drive}',
      code='''
backup.SLOW_SECONDS = 0.1
validation.validation_slices = lambda config: None
copies, saves, fsync = [], [], os.fsync
def slow(fd):
  time.sleep(0.5)
  fsync(fd)
os.fsync = slow
copy, notify = copying.Copier.copy_checkpoint, backup.Backup.notify
def noted(self, folder, name, new_folder):
  copies.append(name)
  return copy(self, folder, name, new_folder)
def notify_and_note(self):
  saves.append(time.time())
  notify(self)
copying.Copier.copy_checkpoint = noted
backup.Backup.notify = notify_and_note
import atexit
atexit.register(lambda: print('RATE', len(copies), len(saves),
                              saves[-1] - saves[0]))
''')
  assert result.returncode == 0, result.stderr
  copies, saves, seconds = result.stdout.split('RATE ')[1].split()
  assert int(saves) == 40 and 2 <= int(copies) < 20
  # Four waits of half a second a copy would be 80 s.
  assert float(seconds) < 40
  assert result.stderr.count('is slow') == 1
  assert check_whole(drive) == 40 and newest(drive) == newest(tmp_path / 'run')


def test_training_with_a_full_drive(trained, dataset, tmp_path):
  """On a real file system with room for half a checkpoint."""
  disk, saved = tmp_path / 'disk', tmp_path / 'saved'
  disk.mkdir()
  checkpoint = sum(p.stat().st_size for p in (trained / 'train').glob('model*'))
  in_namespace = f"""
mount -t tmpfs -o size={checkpoint // 2 // 1024}k tmpfs {disk} || exit 77
"$@"
status=$?
cp -r {disk} {saved}
exit $status"""
  result = conftest.run(
      'unshare', '-rm', 'bash', '-c', in_namespace, 'bash',
      sys.executable, conftest.SCRIPTS / 'train.py', *conftest.FLAT,
      f'--run_dir={tmp_path}/run', '--num_steps=12',
      f'--backup_dir={disk}/run',
      f'--examples_path={dataset}/drummer.tfrecord', env=conftest.THREADS)
  if not saved.exists():
    pytest.skip(f'no small disk can be mounted here: {result.stderr}')
  assert result.returncode == 0, result.stderr
  assert result.stderr.count('No space left on device') == 1
  assert 'model.ckpt-12 is not there' in result.stderr
  assert not files(saved)
  for path in (trained / 'train').glob('model*'):
    assert (tmp_path / 'run/train' / path.name).read_bytes() == (
        path.read_bytes())


def test_the_same_folder_is_a_sentence(dataset, tmp_path):
  conftest.check_sentence(
      train(tmp_path, dataset, f'--backup_dir={tmp_path}'), 'another folder')


def test_stopped_by_hand(endless_training, tmp_path):
  """What is saved then is copied; a second Ctrl-C does not wait for it."""
  (tmp_path / 'drive').mkdir()
  run, drive = tmp_path / 'run', tmp_path / 'drive' / 'run'
  process = endless_training(run, f'--backup_dir={drive}')
  process.send_signal(signal.SIGTERM)
  out, _ = process.communicate(timeout=120)
  assert process.returncode == 130 and 'Traceback' not in out
  step, = steps(run)
  assert f'Stopped at step {step} and saved' in out
  assert check_whole(drive) == step and files(drive) == files(run)

  (drive / 'train' / 'checkpoint').unlink()
  os.mkfifo(drive / 'train' / 'checkpoint')  # A Drive that hangs.
  process = endless_training(run, f'--backup_dir={drive}')
  process.send_signal(signal.SIGINT)
  conftest.read_until(process.stdout.fileno(), 'Copying to the backup')
  time.sleep(interrupts.PRESS_SECONDS)  # What comes sooner is the same press.
  process.send_signal(signal.SIGINT)
  began = time.time()
  out, _ = process.communicate(timeout=120)
  assert time.time() - began < 30  # It would wait for 120 s.
  assert process.returncode == 130 and 'Traceback' not in out
  assert 'was given up' in out and steps(run)[-1] > step
