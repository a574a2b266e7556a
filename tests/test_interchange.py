"""Checkpoints made here work in stock Magenta on Python 3.7, and the reverse."""
import conftest
import common
import numpy as np
import pytest

ORACLE = conftest.ROOT / 'tests' / 'oracle.py'


def oracle(python, *args):
  # Elsewhere than in the project, so that nothing of it is imported.
  result = conftest.run(python, ORACLE, *args, cwd='/')
  assert result.returncode == 0, result.stderr[-3000:]
  return result


@pytest.fixture(scope='module')
def slices_path(dataset, tmp_path_factory):
  common.music_vae()
  from magenta.models.music_vae import packed_slices
  path = tmp_path_factory.mktemp('slices') / 'slices.npy'
  slices = packed_slices.load_slices(
      common.get_config(conftest.TINY).data_converter,
      str(dataset / 'drummer-test.tfrecord'))
  np.save(path, slices[::max(1, len(slices) // 8)][:8].astype(np.int64))
  return path


def check_same(name, checkpoint, slices_path, stock_python, tmp_path):
  for who, python in (('ours', conftest.sys.executable),
                      ('stock', stock_python)):
    oracle(python, 'score', name, checkpoint, slices_path, tmp_path / who)
  ours, stock = (np.load(tmp_path / f'{who}.npz') for who in ('ours', 'stock'))
  for key in ('mu', 'sigma', 'graph_mu', 'loss'):
    np.testing.assert_allclose(ours[key], stock[key], rtol=1e-4, atol=1e-5)
  assert ours['mu'].std() > 0
  np.testing.assert_array_equal(ours['decoded'], stock['decoded'])


def test_trained_here_loads_in_stock(dataset, slices_path, stock_python,
                                     tmp_path):
  result = conftest.script(
      'train.py', f'--config={conftest.TINY}', '--hparams=batch_size=16',
      f'--run_dir={tmp_path}/run', '--num_steps=5',
      f'--examples_path={dataset}/drummer.tfrecord')
  assert result.returncode == 0, result.stderr[-3000:]
  for part in ('train', 'best'):  # With and without Adam's slots.
    check_same(conftest.TINY, tmp_path / 'run' / part / 'model.ckpt-5',
               slices_path, stock_python, tmp_path)


def test_made_by_stock_loads_here(slices_path, stock_python, tmp_path):
  checkpoint = tmp_path / 'model.ckpt-0'
  oracle(stock_python, 'make', conftest.TINY, checkpoint)
  check_same(conftest.TINY, checkpoint, slices_path, stock_python, tmp_path)


def test_trained_by_stock_goes_on_here(dataset, slices_path, stock_python,
                                       tmp_path):
  examples = f'--examples_path={dataset}/drummer-test.tfrecord'
  oracle(stock_python, 'train', 'flat-drums_4bar', '--',
         f'--run_dir={tmp_path}/run', '--num_steps=3', examples)
  check_same('flat-drums_4bar', tmp_path / 'run/train/model.ckpt-3',
             slices_path, stock_python, tmp_path)
  result = conftest.script('train.py', *conftest.FLAT, '--num_steps=5',
                           f'--run_dir={tmp_path}/run', examples)
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'Resumed from' in result.stdout
  check_same('flat-drums_4bar', tmp_path / 'run/train/model.ckpt-5',
             slices_path, stock_python, tmp_path)
