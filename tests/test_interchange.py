"""Checkpoints made here work in stock Magenta on Python 3.7, and the reverse."""
import shutil

import conftest
from drumloops import model
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
import numpy as np
import pytest


def oracle(python, *args):
  # Elsewhere than in the project, so that nothing of it is imported.
  result = conftest.run(python, conftest.ORACLE, *args, cwd='/')
  assert result.returncode == 0, result.stderr[-3000:]
  return result


@pytest.fixture(scope='module')
def slices_path(dataset, tmp_path_factory):
  magenta_setup.music_vae()
  from magenta.models.music_vae import slice_cache
  path = tmp_path_factory.mktemp('slices') / 'slices.npy'
  slices = slice_cache.load_slices(
      magenta_setup.get_config(conftest.TINY).data_converter,
      str(dataset / 'drummer-test.tfrecord'))
  np.save(path, slices[::max(1, len(slices) // 8)][:8].astype(np.int64))
  return path


@pytest.fixture(scope='module')
def trained_by_stock(dataset, stock_python):
  """The run directory of stock Magenta."""
  examples = dataset / 'drummer-test.tfrecord'
  return conftest.made_by_stock(
      stock_python, 'trained', [examples], lambda folder: oracle(
          stock_python, 'train', 'flat-drums_4bar', '--', f'--run_dir={folder}',
          '--num_steps=3', f'--examples_path={examples}'))


@pytest.fixture(scope='module')
def checkpoints(trained_tiny, trained_by_stock):
  """{which: (config, checkpoint)} of checkpoints made here and by stock."""
  return {
      'trained here': (conftest.TINY, trained_tiny / 'train/model.ckpt-5'),
      'slim': (conftest.TINY, trained_tiny / 'best/model.ckpt-5'),
      'committed': (magenta_setup.DEFAULT_CONFIG, checkpoint_files.find_checkpoint(
          config_name=magenta_setup.DEFAULT_CONFIG)),
      'echo': (model.RECONSTRUCTION_CONFIG, checkpoint_files.find_checkpoint(
          config_name=model.RECONSTRUCTION_CONFIG)),
      'trained by stock': (
          'flat-drums_4bar', trained_by_stock / 'train/model.ckpt-3')}


@pytest.fixture(scope='module')
def scores(checkpoints, slices_path, stock_python, tmp_path_factory):
  """{which: arrays} of what our code makes of them, and of what stock does."""
  def score(python, folder, names):
    oracle(python, 'score', slices_path, folder,
           *[part for which in names for part in checkpoints[which]])
    return {which: np.load(folder / f'{i}.npz') for i, which in enumerate(names)}
  def new():
    return tmp_path_factory.mktemp('scores')
  last = ['committed', 'echo', 'trained by stock']  # These stay what they are.
  kept = conftest.made_by_stock(
      stock_python, 'scores',
      [slices_path, *(f'{checkpoints[which][1]}.data-00000-of-00001' for which in last)],
      lambda folder: score(stock_python, folder, last))
  return score(conftest.sys.executable, new(), list(checkpoints)), {
      **score(stock_python, new(), ['trained here', 'slim']),
      **{which: np.load(kept / f'{i}.npz') for i, which in enumerate(last)}}


def check_same(ours, stock, atol=1e-5):
  """Asserts equal encodings, losses and logits of all steps.

  test_every_config.py compares decoded loops. Here a model that has hardly been
  trained finds some classes equally likely to the last bit, and either may be drawn.
  """
  for key in ('mu', 'sigma', 'graph_mu', 'loss', 'logits'):
    np.testing.assert_allclose(ours[key], stock[key], rtol=1e-4, atol=atol)
  assert ours['mu'].std() > 0


def test_trained_here_loads_in_stock(scores):
  ours, stock = scores
  check_same(ours['trained here'], stock['trained here'])
  check_same(ours['trained here'], stock['slim'])  # Without Adam's slots.


def test_committed_weights_in_stock(scores, checkpoints, stock_python):
  """Equal numbers, and MIDI from stock Magenta's own command."""
  import note_seq
  ours, stock = (part['committed'] for part in scores)
  check_same(ours, stock)
  # Nearly greedy, so only a near tie may fall otherwise.
  assert (ours['decoded'] == stock['decoded']).mean() > 0.99
  name, checkpoint = checkpoints['committed']
  made = list(conftest.made_by_stock(
      stock_python, 'loops', [f'{checkpoint}.data-00000-of-00001'],
      lambda folder: oracle(
          stock_python, 'generate', name, '--', f'--output_dir={folder}',
          f'--checkpoint_file={checkpoint}', '--num_outputs=2', '--temperature=0.5')
  ).glob('*.mid'))
  assert len(made) == 2
  for path in made:
    notes = note_seq.midi_file_to_note_sequence(str(path)).notes
    assert len(notes) > 8 and all(note.is_drum for note in notes)


def test_committed_echo_in_stock(scores):
  check_same(*(part['echo'] for part in scores), atol=1e-4)  # Logits of up to 20.


def test_trained_by_stock_goes_on_here(dataset, scores, trained_by_stock, tmp_path):
  check_same(*(part['trained by stock'] for part in scores))
  run_dir = tmp_path / 'run'
  shutil.copytree(trained_by_stock, run_dir)
  result = conftest.script(
      'train.py', *conftest.FLAT, '--num_steps=5', f'--run_dir={run_dir}',
      f'--examples_path={dataset}/drummer-test.tfrecord')
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'Resumed from' in result.stdout
  assert (run_dir / 'train/model.ckpt-5.index').exists()
