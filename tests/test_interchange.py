"""Checkpoints made here work in stock Magenta on Python 3.7, and the reverse."""
import conftest
from drumloops import backend, checkpoint_files, humanizing
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
  backend.music_vae()
  from magenta.models.music_vae import slice_cache
  path = tmp_path_factory.mktemp('slices') / 'slices.npy'
  slices = slice_cache.load_slices(
      backend.get_config(conftest.TINY).data_converter,
      str(dataset / 'drummer-test.tfrecord'))
  np.save(path, slices[::max(1, len(slices) // 8)][:8].astype(np.int64))
  return path


def score(python, name, checkpoint, slices_path, folder):
  out = folder / f'{len(list(folder.glob("score-*")))}.npz'
  out = out.with_name(f'score-{out.name}')
  oracle(python, 'score', name, checkpoint, slices_path, out)
  return np.load(out)


def check_same(ours, stock, decided=False):
  """Asserts equal encodings, losses and logits of all steps.

  Decoded loops are compared too where the weights are large and so `decided`: a
  model that has hardly been trained finds some classes equally likely to the
  last bit, and then either may be drawn.
  """
  for key in ('mu', 'sigma', 'graph_mu', 'loss', 'logits'):
    np.testing.assert_allclose(ours[key], stock[key], rtol=1e-4, atol=1e-5)
  assert ours['mu'].std() > 0
  if decided:
    np.testing.assert_array_equal(ours['decoded'], stock['decoded'])


def test_trained_here_loads_in_stock(trained_tiny, slices_path, stock_python,
                                     tmp_path):
  checkpoint = 'train/model.ckpt-5', 'best/model.ckpt-5'
  full, slim = (score(stock_python, conftest.TINY, trained_tiny / c,
                      slices_path, tmp_path) for c in checkpoint)
  ours = score(conftest.sys.executable, conftest.TINY,
               trained_tiny / checkpoint[0], slices_path, tmp_path)
  check_same(ours, full)
  check_same(ours, slim)  # Without Adam's slots.


def test_committed_weights_in_stock(slices_path, stock_python, tmp_path):
  """Equal numbers, and MIDI from stock Magenta's own command."""
  import note_seq
  name = backend.DEFAULT_CONFIG
  checkpoint = checkpoint_files.find_checkpoint(config_name=name)
  ours, stock = (score(python, name, checkpoint, slices_path, tmp_path)
                 for python in (conftest.sys.executable, stock_python))
  check_same(ours, stock)
  # Nearly greedy, so only a near tie may fall otherwise.
  assert (ours['decoded'] == stock['decoded']).mean() > 0.99
  oracle(stock_python, 'generate', name, '--', f'--output_dir={tmp_path}/out',
         f'--checkpoint_file={checkpoint}', '--num_outputs=2',
         '--temperature=0.5')
  made = list((tmp_path / 'out').glob('*.mid'))
  assert len(made) == 2
  for path in made:
    notes = note_seq.midi_file_to_note_sequence(str(path)).notes
    assert len(notes) > 8 and all(note.is_drum for note in notes)


def test_committed_humanizer_in_stock(dataset, stock_python, tmp_path):
  """The same slices of performances, encodings, losses and outputs."""
  results = []
  for name, python in (('ours', conftest.sys.executable),
                       ('stock', stock_python)):
    oracle(python, 'humanize', humanizing.CONFIG,
           checkpoint_files.find_checkpoint(config_name=humanizing.CONFIG),
           dataset / 'drummer-test.tfrecord', tmp_path / f'{name}.npz')
    results.append(np.load(tmp_path / f'{name}.npz'))
  ours, stock = results
  np.testing.assert_array_equal(ours['slices'], stock['slices'])
  assert len(ours['slices']) > 16
  for key in ('mu', 'loss', 'logits'):
    np.testing.assert_allclose(ours[key], stock[key], rtol=1e-4, atol=1e-4)
  assert ours['mu'].std() > 0


def test_made_by_stock_loads_here(slices_path, stock_python, tmp_path):
  checkpoint = tmp_path / 'model.ckpt-0'
  oracle(stock_python, 'make', conftest.TINY, checkpoint)
  check_same(*(score(python, conftest.TINY, checkpoint, slices_path, tmp_path)
               for python in (conftest.sys.executable, stock_python)),
             decided=True)


def test_trained_by_stock_goes_on_here(dataset, slices_path, stock_python,
                                       tmp_path):
  examples = f'--examples_path={dataset}/drummer-test.tfrecord'
  oracle(stock_python, 'train', 'flat-drums_4bar', '--',
         f'--run_dir={tmp_path}/run', '--num_steps=3', examples)
  check_same(*(score(python, 'flat-drums_4bar',
                     tmp_path / 'run/train/model.ckpt-3', slices_path, tmp_path)
               for python in (conftest.sys.executable, stock_python)))
  result = conftest.script('train.py', *conftest.FLAT, '--num_steps=5',
                           f'--run_dir={tmp_path}/run', examples)
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'Resumed from' in result.stdout
  assert (tmp_path / 'run/train/model.ckpt-5.index').exists()
