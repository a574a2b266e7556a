"""Two of everything at once, and files that something has damaged.

By default a few tries; CAMPAIGN=12 makes twelve times as many.
"""
import json
import os
import shutil
import subprocess
import sys
import time

import conftest
from drumloops.errors import UserError
from drumloops.models import fills, prior, sliders
from drumloops.output import gallery
from drumloops.runs import backup, checkpoint_files, run_folder
from drumloops.system import magenta_setup
import numpy as np
import own_loops
import pytest

CAMPAIGN = int(os.environ.get('CAMPAIGN', 1))
SAMPLER = '''
import sys; sys.path.insert(0, sys.argv[1])

from drumloops.system import magenta_setup; magenta_setup.music_vae()
from drumloops.output import gallery
import own_loops, test_page
shift = float(sys.argv[2])
for i in range(4):
  loop = test_page.loop_of(shift + 0.04 * i, 120)
  gallery.write([loop], 'out', 'same')
'''


@pytest.fixture(autouse=True)
def magenta():
  magenta_setup.music_vae()


def start(*command, cwd=None):
  return subprocess.Popen(
      [str(c) for c in command], cwd=cwd, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, text=True, env={
          **os.environ, 'PYTHONPATH': str(conftest.ROOT / 'tests')})


def test_conversions_into_one_file(tmp_path):
  """What is there in the end is what one alone makes."""
  own_loops.write_own_loops(tmp_path / 'midi')
  def convert(output):
    return start(sys.executable, conftest.SCRIPTS / 'make_tfrecord.py',
                 f'--input_dir={tmp_path}/midi', f'--output_file={output}')
  assert convert(tmp_path / 'alone.tfrecord').wait() == 0
  alone = (tmp_path / 'alone.tfrecord').read_bytes()
  for i in range(CAMPAIGN):
    both = [convert(tmp_path / 'both.tfrecord') for _ in range(2)]
    for process in both:
      assert process.communicate()[0].count('Traceback') == 0
      assert process.returncode == 0
    assert (tmp_path / 'both.tfrecord').read_bytes() == alone
    (tmp_path / 'both.tfrecord').unlink()
  assert not [p for p in tmp_path.iterdir() if 'tmp' in p.name]


def test_trainings_in_one_run(endless_training, dataset, tmp_path):
  """The second says so and leaves the first alone, killed or not."""
  first = endless_training(tmp_path / 'run')
  second = conftest.script(*conftest.endless(dataset, tmp_path / 'run')[1:])
  conftest.check_sentence(second, 'Another training uses', f'{tmp_path}/run')
  assert first.poll() is None
  first.kill()  # No lock is left behind.
  result = conftest.script(*conftest.endless(dataset, tmp_path / 'run')[1:-1],
                           '--num_steps=2')
  assert result.returncode == 0, result.stderr


def test_samplings_into_one_folder(tmp_path):
  """Every loop of each has files of its own and is on the page."""
  for i in range(CAMPAIGN):
    folder = tmp_path / str(i)
    folder.mkdir()
    samplers = [start(sys.executable, '-c', SAMPLER, conftest.SCRIPTS, shift,
                      cwd=folder) for shift in (0, 0.2, 0.4)]
    for sampler in samplers:
      out = sampler.communicate()[0]
      assert sampler.returncode == 0, out
    names = {p.stem for p in (folder / 'out').glob('*.mid')}
    assert len(names) == 12
    assert len({p.read_bytes() for p in (folder / 'out').glob('*.mid')}) == 12
    entries = gallery.read_entries(folder / 'out' / 'index.html')[0]
    assert {e['name'] for e in entries} == names
    assert {p.suffix for p in (folder / 'out').iterdir()} == {
        '.mid', '.png', '.wav', '.html'}


def damaged(content, count):
  """Yields a file's bytes, cut off, flipped or overwritten somewhere."""
  random = np.random.default_rng(0)
  yield b''
  for i in range(count):
    data = bytearray(content)
    at = int(random.integers(len(data)))
    if i % 3 == 0:
      del data[at:]
    elif i % 3 == 1:
      data[at] ^= 1 << int(random.integers(8))
    else:
      data[at:at + 16] = random.bytes(16)
    yield bytes(data)


def test_damaged_cache_is_made_again(dataset, tmp_path, capsys):
  from magenta.models.music_vae import slice_cache
  path = tmp_path / 'x.tfrecord'
  shutil.copy(dataset / 'drummer-test.tfrecord', path)
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  slices = slice_cache.load_slices(converter, str(path))
  slices = np.array(slices)
  for cache in tmp_path.glob('*.slices*'):
    content = cache.read_bytes()
    for data in damaged(content, 2 * CAMPAIGN):
      cache.write_bytes(data)
      np.testing.assert_array_equal(
          slice_cache.load_slices(converter, str(path)), slices)
    cache.write_bytes(content)
  index = cache.with_name(cache.name.removesuffix('.npz') + '.npz')
  with np.load(index) as kept:
    of_other_data = {**kept, 'digest': 'of other data'}
  np.savez(index, **of_other_data)
  capsys.readouterr()
  np.testing.assert_array_equal(
      slice_cache.load_slices(converter, str(path)), slices)
  assert 'damaged or older cache' in capsys.readouterr().err


@pytest.mark.parametrize('module,name', [(prior, prior.PRIOR_FILE),
                                         (fills, fills.FILLS_FILE),
                                         (sliders, sliders.SLIDERS_FILE)])
def test_damaged_arrays_are_a_sentence_or_as_they_were(module, name, tmp_path):
  weights = conftest.ROOT / 'weights' / 'hierdec-drums_4bar'
  shutil.copytree(weights, tmp_path / 'w')
  checkpoint = checkpoint_files.find_checkpoint(checkpoint_file=str(tmp_path / 'w'))
  kept, path = module.load(checkpoint), tmp_path / 'w' / name
  refused = 0
  for data in damaged(path.read_bytes(), 100 * CAMPAIGN):
    path.write_bytes(data)
    try:
      now = module.load(checkpoint)
    except UserError:
      refused += 1
    else:  # The damage was in what nobody reads.
      for name in kept:
        np.testing.assert_array_equal(now[name], kept[name])
  assert refused > 50


def test_damaged_page(tmp_path, capsys):
  """A page that is damaged is made anew, of what it still tells."""
  import test_page
  test_page.write(tmp_path, count=2)
  path = tmp_path / gallery.PAGE
  content = path.read_bytes()
  facts = content.index(b'id="facts"')
  others = [json.dumps(e).encode() for e in (
      {}, [5], [{}], [{'name': 5}], [{**test_page.FACTS, 'name': '../x'}],
      [{**test_page.FACTS, 'name': 'a', 'qpm': 'fast'}])]
  for data in (*damaged(content, 5 * CAMPAIGN),
               *(content[:facts] + d + content[content.index(b'</body'):]
                 for d in damaged(content[facts:], 50 * CAMPAIGN)),
               *(content[:facts] + b'id="facts">' + other + b'</script>'
                 for other in others)):
    path.write_bytes(data)
    capsys.readouterr()
    gallery.write_page(str(tmp_path), [])
    said = capsys.readouterr().out.count('is damaged')
    assert said <= 1
    assert said or len(gallery.read_entries(path)[0]) == 2


@pytest.mark.parametrize('best', [
    b'', b'{', b'5', b'[]', b'{"checkpoint": 5}', b'{"checkpoint": "x"}',
    b'{"checkpoint": "../model.ckpt-1", "loss": 1.0}', b'\xff\xfe',
    b'{"checkpoint": "model.ckpt-2", "loss": "low"}', b'[' * 100000])
def test_damaged_best(tmp_path, capsys, best):
  """The backup's newest checkpoint is gone on from all the same."""
  import test_backup
  run, drive = tmp_path / 'run', tmp_path / 'drive'
  run.mkdir()
  test_backup.save(run, 6)
  with backup.Backup(run, drive):
    pass
  (drive / 'best' / 'best.json').write_bytes(best)
  new = tmp_path / 'new'
  with backup.Backup(new, drive):
    assert test_backup.steps(new) == [6]
    assert 'broken best checkpoint' in capsys.readouterr().err
    test_backup.save(new, 7)
  assert test_backup.check_whole(drive) == 7
  (new / 'best' / 'best.json').write_bytes(best)
  assert run_folder.read_best(new) == {} and run_folder.is_best_damaged(new)


def test_run_dir_that_is_removed(endless_training, tmp_path):
  """What was trained is saved all the same."""
  process = endless_training(tmp_path / 'run', '--save_seconds=1')
  deadline = time.time() + 60
  while not list(tmp_path.glob('run/best/best.json')):
    assert time.time() < deadline
    time.sleep(0.1)
  shutil.rmtree(tmp_path / 'run', ignore_errors=True)
  time.sleep(2)
  process.terminate()
  out = process.communicate(timeout=60)[0]
  assert process.returncode == 130 and 'Traceback' not in out, out
  assert list(tmp_path.glob('run/train/model.ckpt-*.index'))
  assert list(tmp_path.glob('run/best/model.ckpt-*.index'))


def test_run_dir_that_can_not_be_written(dataset, tmp_path):
  disk = tmp_path / 'disk'
  disk.mkdir()
  in_namespace = f"""
mount -t tmpfs tmpfs {disk} && mount -o remount,ro {disk} || exit 77
exec "$@" """
  result = conftest.run('unshare', '-rm', 'bash', '-c', in_namespace, 'bash',
                        *conftest.endless(dataset, disk / 'run'))
  if result.returncode == 77:
    pytest.skip(f'nothing can be mounted here: {result.stderr}')
  conftest.check_sentence(result, str(disk / 'run'), 'ead-only file system')


def test_run_dir_that_can_no_longer_be_written(endless_training, tmp_path):
  process = endless_training(tmp_path / 'run')
  (tmp_path / 'run').rename(tmp_path / 'moved')
  (tmp_path / 'run').write_text('')  # So that it can't be made anew.
  process.terminate()
  out = process.communicate(timeout=60)[0]
  assert process.returncode == 1 and 'Traceback' not in out, out
  assert str(tmp_path / 'run') in out.splitlines()[-1]


def test_broken_checkpoints_go_once_a_new_one_is_whole(trained, dataset, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(trained, run)
  for path in (run / 'train').glob('model.ckpt-12.*'):
    shutil.copy(path, str(path).replace('-12.', '-40.'))
  data = run / 'train' / 'model.ckpt-40.data-00000-of-00001'
  data.write_bytes(data.read_bytes()[:100])
  (run / 'train' / 'model.ckpt-50.data-00000-of-00001').write_bytes(b'alone')
  # Of a save that was cut off, and is now made again.
  (run / 'train' / 'model.ckpt-13.data-00000-of-00001').write_bytes(b'half')
  result = conftest.script(*conftest.endless(dataset, run)[1:-1], '--num_steps=13')
  assert result.returncode == 0, result.stderr
  assert 'ckpt-13' not in result.stdout.split('Removed')[-1].splitlines()[0]
  assert checkpoint_files.find_checkpoint(str(run)).endswith('-13')
  for step in (40, 50):
    assert f'Removed the broken checkpoint {run}/train/model.ckpt-{step}' in (
        result.stdout)
  assert {p.name.split('.')[1] for p in (run / 'train').glob('model*')} == {
      'ckpt-12', 'ckpt-13'}
