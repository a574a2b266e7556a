"""Exported weights: the same decoder, a latent like the prior, styles."""
import os
import shutil

import conftest
from drumloops.errors import UserError
from drumloops.data import patterns, splits, styles
from drumloops.models import autoencoder, latent, prior
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
from drumloops.metrics import style_classifier
import numpy as np
import pytest


def toy(flat):
  """Returns random variables around a latent of 3, and latents, of a model."""
  rng = np.random.RandomState(0)
  decoder = {'decoder/z_to_initial_state': 3,
             'decoder/multi_rnn_cell/cell_0/lstm_cell': 7 + 3 + 2,
             'decoder/output_projection': 2} if flat else {
                 'decoder/hierarchical_level_0/initial_state': 3}
  layers = {'encoder/mu': (4, 3), 'encoder/sigma': (4, 3), **{
      name: (rows, 7 if 'output' in name else 5)
      for name, rows in decoder.items()}}
  tensors = {'global_step': np.int64(7)}
  for name, (rows, columns) in layers.items():
    tensors[f'{name}/kernel'] = rng.randn(rows, columns)
    tensors[f'{name}/bias'] = rng.randn(columns)
  encoded = rng.randn(5000, 4)
  mu = dense(tensors, 'encoder/mu', encoded)
  # Noise that hardly depends on the loop, as trained models have it.
  tensors['encoder/sigma/kernel'] *= 0.01
  return tensors, encoded, mu, softplus(dense(tensors, 'encoder/sigma', encoded))


def softplus(x):
  return np.log1p(np.exp(x))


def dense(tensors, layer, x, rows=slice(None)):
  return x @ tensors[f'{layer}/kernel'][rows] + tensors[f'{layer}/bias']


@pytest.mark.parametrize('flat', [False, True])
def test_whitened_latents_decode_to_the_same(flat):
  tensors, encoded, mu, sigma = toy(flat)
  before = {name: value.copy() for name, value in tensors.items()}
  new = latent.whiten(tensors, mu, sigma)
  for name, value in before.items():
    np.testing.assert_array_equal(tensors[name], value)  # Not changed.
  new_mu = dense(new, 'encoder/mu', encoded)
  new_sigma = softplus(dense(new, 'encoder/sigma', encoded))
  np.testing.assert_allclose(new_mu.mean(axis=0), 0, atol=1e-4)
  np.testing.assert_allclose(
      np.cov(new_mu, rowvar=False) + np.diag((new_sigma ** 2).mean(axis=0)),
      np.eye(3), atol=1e-2)
  layers = [('decoder/hierarchical_level_0/initial_state', slice(0, 3))]
  if flat:
    layers = [('decoder/z_to_initial_state', slice(0, 3)),
              ('decoder/multi_rnn_cell/cell_0/lstm_cell', slice(7, 10))]
  for layer, rows in layers:
    np.testing.assert_allclose(dense(new, layer, new_mu, rows),
                               dense(tensors, layer, mu, rows), atol=1e-3)
  assert new['global_step'] == 7


def test_density_shift():
  """Of a decoder whose loops are the sparser the further along one axis."""
  def decode(z):
    silent = 0.5 + 0.1 * z[:, :1] + 0.001 * z[:, 1:2]
    return (np.arange(64) + 0.5 >= 64 * silent).astype(int)
  shift = latent.density_shift(decode, 3, 0.46)
  np.testing.assert_allclose(shift, [-0.4, 0, 0], atol=0.05)
  z = np.random.RandomState(1).standard_normal((2000, 3))
  assert (decode(z + shift) == 0).mean() == pytest.approx(0.46, abs=0.01)
  assert not latent.density_shift(decode, 3, 0.1).any()  # Too far.


@pytest.fixture(scope='module')
def exported(trained_tiny, dataset, tmp_path_factory):
  folder = tmp_path_factory.mktemp('weights')
  for _ in range(2):  # The second time in place of the first.
    result = conftest.script(
        'export.py', f'--config={conftest.TINY}', f'--run_dir={trained_tiny}',
        f'--examples_path={dataset}/drummer.tfrecord', f'--output_dir={folder}')
    assert result.returncode == 0, result.stderr[-3000:]
    for words in 'without styles', 'makes no fills':
      assert (words in result.stdout) != (dataset / 'groove').exists()
  return folder


def test_exported_run(exported, dataset):
  """Moments, through the graph, over the data that they were taken from.

  But for a shift along one direction, which makes samples dense enough.
  """
  assert set(os.listdir(exported)) - {'fills.npz'} == {
      'checkpoint', 'prior.npz', 'sliders.npz', 'model.ckpt-5.data-00000-of-00001',
      'model.ckpt-5.index'}
  config = magenta_setup.get_config(conftest.TINY)
  evaluator = autoencoder.Autoencoder(config)
  evaluator.load(checkpoint_files.find_checkpoint(checkpoint_file=str(exported)))
  mu, sigma = evaluator.encode(splits.load_split(
      config, str(dataset / 'drummer.tfrecord'), None, 'train'))
  assert np.linalg.norm(mu.mean(axis=0)) < latent.MAX_SHIFT + 0.02
  np.testing.assert_allclose(
      np.cov(mu, rowvar=False) + np.diag((sigma ** 2).mean(axis=0)), np.eye(16),
      atol=0.05)


def test_styles_of_a_run(groove_zip, exported, tmp_path):
  flags = (f'--config={conftest.TINY}', f'--checkpoint_file={exported}',
           f'--output_dir={tmp_path}')
  result = conftest.script('sample.py', *flags, '--style=list')
  assert result.returncode == 0, result.stderr
  listed = dict(line.split(': ') for line in result.stdout.splitlines()
                if line.endswith(' training loops'))
  assert len(listed) == 17 and listed['rock'] == '1026 training loops'
  result = conftest.script('sample.py', *flags, '--style=funk',
                           '--num_outputs=2')
  assert result.returncode == 0, result.stderr
  assert sorted(p.name for p in tmp_path.glob('*.mid')) == [
      'funk-1.mid', 'funk-2.mid']
  conftest.check_sentence(
      conftest.script('sample.py', *flags, '--style=polka'), 'polka', 'funk')


def test_without_styles_or_best(trained, dataset, tmp_path):
  flags = (*conftest.FLAT, f'--run_dir={trained}')
  conftest.check_sentence(conftest.script('sample.py', *flags, '--style=funk'),
                          'scripts/export.py')
  conftest.check_sentence(
      conftest.script('sample.py', *flags, '--style=funk', '--mode=reconstruct',
                      '--input_midi_1=x'), '--style')
  conftest.check_sentence(conftest.script(
      'export.py', f'--config={conftest.TINY}', f'--run_dir={tmp_path}',
      f'--examples_path={dataset}/drummer.tfrecord',
      f'--output_dir={tmp_path}/out'), 'no complete checkpoint')


def test_a_backup_without_a_best_checkpoint(trained, tmp_path, capsys):
  """As backup.py makes it; or with one that is damaged. The newest one is taken."""
  magenta_setup.music_vae()
  shutil.copytree(trained / 'train', tmp_path / 'train')
  best, newest = tmp_path / 'best', str(tmp_path / 'train' / 'model.ckpt-12')
  best.mkdir()
  assert checkpoint_files.find_finished(str(tmp_path), None) == newest
  assert f'no best checkpoint in {best}, so the newest one, {newest}' in (
      capsys.readouterr().out)
  for path in (trained / 'best').glob('*'):
    (best / path.name).write_bytes(path.read_bytes()[:-9 * ('.data' in path.name)])
  assert checkpoint_files.find_finished(str(tmp_path), None) == newest


def test_sliders_of_a_run(exported, tmp_path):
  """They load, and a checkpoint without them says how they are made."""
  flags = (f'--config={conftest.TINY}', '--nosound', '--nopictures',
           f'--output_dir={tmp_path}/out', '--num_outputs=2', '--density=2')
  result = conftest.script('sample.py', f'--checkpoint_file={exported}', *flags)
  assert result.returncode == 0, result.stderr
  assert 'density +2' in (tmp_path / 'out' / 'index.html').read_text('utf-8')
  for path in exported.glob('model*'):
    shutil.copy(path, tmp_path)
  for more in (), ('--mode=vary', f'--input_midi_1={tmp_path}/out/sample-1.mid'):
    conftest.check_sentence(conftest.script(
        'sample.py', f'--checkpoint_file={tmp_path}', *flags, *more),
                            'sliders.npz', 'scripts/export.py makes it')
  conftest.check_sentence(conftest.script(
      'sample.py', f'--checkpoint_file={exported}', *flags, '--mode=complete',
      '--input_midi_1=x', '--keep=kick'), '--density')


def test_phrases_begin_with_the_drums(dataset, tmp_path):
  """After a bar of rest; and of GMD, where toms end phrases: 1.5 times as many."""
  import note_seq
  import tensorflow as tf
  sequence = note_seq.NoteSequence(ticks_per_quarter=220)
  sequence.tempos.add(qpm=120)
  sequence.time_signatures.add(numerator=4, denominator=4)
  for bar in range(1, 10):  # Nine bars, each with its number of hits.
    for i in range(bar):
      start = 2 * bar + i / 8
      sequence.notes.add(pitch=36, velocity=90, start_time=start, is_drum=True,
                         end_time=start + 0.1)
  sequence.total_time = 20
  with tf.io.TFRecordWriter(str(tmp_path / 'a.tfrecord')) as writer:
    writer.write(sequence.SerializeToString())
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  [(style, loops)] = styles.phrases(str(tmp_path / 'a.tfrecord'), converter).items()
  assert style == ''
  np.testing.assert_array_equal(
      patterns.hits(loops).sum(axis=(2, 3)), [[1, 2, 3, 4], [5, 6, 7, 8]])
  if (dataset / 'groove').exists():
    before, last, _ = prior.attributes(np.concatenate(list(styles.phrases(
        str(dataset / 'drummer.tfrecord'), converter).values()))).mean(axis=0)
    assert last / before == pytest.approx(1.48, abs=0.02)


def test_tilted_weights():
  """Means are as wanted, by the exponential of one number times the attribute."""
  weights, has = np.full(5, 0.2), np.arange(5.)[:, np.newaxis]
  found = prior.tilted(weights, has, np.array([3.]))
  assert found.sum() == pytest.approx(1) and found @ has[:, 0] == pytest.approx(
      3, abs=0.01)
  np.testing.assert_allclose(np.diff(np.log(found)), np.diff(np.log(found))[0], rtol=1e-4)


def test_a_prior_finds_clusters_and_refuses_copies():
  """Of latents in two clusters, each of a style, in one of three dimensions."""
  rng = np.random.RandomState(0)
  train = rng.randint(512, size=(80, 64))
  def encode(slices):
    mu = np.zeros((len(slices), 3))
    mu[:, 1] = np.repeat([-3, 3], 40) + 0.1 * rng.standard_normal(80)
    return mu, np.tile([1, 0.1, 1], (80, 1))
  def decode(z):
    return rng.randint(512, size=(len(z), 64))
  kept = prior.fit(encode, decode, {'jazz': train[:40], 'rock': train[40:]}, train)
  assert list(kept['told']) == [1]
  found = prior.Prior(3, kept)
  assert found.styles == {'jazz': 40, 'rock': 40}
  for style, mean in ('jazz', -3), ('rock', 3):
    z = found.draw(2000, np.random.RandomState(0), style)
    np.testing.assert_allclose(z.mean(axis=0), [0, mean, 0], atol=0.1)
    np.testing.assert_allclose(z.std(axis=0), [1, 0.2 ** 0.5 / 10 ** 0.5, 1], atol=0.1)
  with pytest.raises(UserError, match='jazz, rock'):
    found.draw(1, rng, 'polka')
  tries = [train[:3], train[5:7], np.ones((1, 64), int)]
  tries[0][1] = tries[1][1] = 1  # Not a copy.
  made = iter(tries)
  loops = found.sample(lambda count: next(made)[:count].copy(), 3)
  np.testing.assert_array_equal(loops, [[*tries[2][0]], [1] * 64, [1] * 64])


def test_style_names():
  for name, style in (
      ('drummer1/session1/9_latin-brazilian-baiao_94_beat_4-4.mid', 'latin'),
      ('1_funk_80_fill_4-4.mid', 'funk'), ('loop.mid', None)):
    assert styles.style_of(name) == style


def test_classifier_knows_real_styles(groove_zip, dataset):
  """Far better than chance on performances that it has not seen."""
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  train, test = (styles.slices_by_style(str(dataset / f'{name}.tfrecord'),
                                        converter)
                 for name in ('drummer', 'drummer-test'))
  assert sum(map(len, train.values())) == 13251
  train = {s: loops for s, loops in train.items()
           if len(loops) >= 32}
  classifier = style_classifier.Classifier(train)
  rates = [np.mean(classifier(test[s]) == i)
           for i, s in enumerate(classifier.names) if s in test]
  assert len(rates) >= 10 and np.mean(rates) > 3 / len(train)


def test_a_run_is_not_replaced(trained, dataset):
  before = {p: p.stat().st_mtime_ns for p in trained.rglob('model*')}
  for part in ('train', 'best'):
    conftest.check_sentence(conftest.script(
        'export.py', *conftest.FLAT, f'--run_dir={trained}',
        f'--examples_path={dataset}/drummer.tfrecord',
        f'--output_dir={trained}/{part}'), 'another --output_dir')
  assert {p: p.stat().st_mtime_ns for p in trained.rglob('model*')} == before


def test_a_prior_of_other_weights_is_refused(tmp_path):
  """Of another step, and of a latent of another size."""
  magenta_setup.music_vae()
  shutil.copytree(conftest.ROOT / 'weights' / 'hierdec-drums_4bar',
                  tmp_path / 'w')
  checkpoint = checkpoint_files.find_checkpoint(checkpoint_file=str(tmp_path / 'w'))
  kept = prior.load(checkpoint)
  for changes, words in (({'checkpoint': 'model.ckpt-9'}, 'is of model.ckpt-9'),
                         ({'z_size': np.array(200)}, 'another latent')):
    np.savez(tmp_path / 'w' / prior.PRIOR_FILE, **{**kept, **changes})
    with pytest.raises(UserError, match=words):
      prior.load(checkpoint)
  (tmp_path / 'w' / prior.PRIOR_FILE).write_bytes(b'PK damaged')
  with pytest.raises(UserError, match='no readable'):
    prior.load(checkpoint)
