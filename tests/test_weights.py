"""The committed weights: what their card says of them."""
import json

import conftest
from drumloops import model
from drumloops.errors import UserError
from drumloops.data import patterns, splits, styles, tfrecord
from drumloops.humanize import humanizer
from drumloops.models import autoencoder, fills, prior, sliders, song, variation
from drumloops.models import completion as completing
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
from drumloops.metrics import completion, evaluation, feel, reports
from drumloops.metrics import sliders as slider_metrics
import numpy as np
import pytest

NAME = 'hierdec-drums_4bar'
FOLDER = conftest.ROOT / 'weights' / NAME
MAX_BYTES = 25 * 2 ** 20


@pytest.fixture(scope='module')
def checkpoint():
  magenta_setup.music_vae()
  return checkpoint_files.find_checkpoint(config_name=NAME)


def test_small_and_only_weights(checkpoint):
  assert sum(p.stat().st_size for p in FOLDER.iterdir()) < MAX_BYTES
  import tensorflow as tf
  names = [name for name, _ in tf.train.list_variables(checkpoint)]
  assert not [n for n in names if 'Adam' in n or 'power' in n]


def test_card_has_the_evaluations_numbers():
  card = (FOLDER / 'README.md').read_text()
  result = json.loads((FOLDER / 'evaluation.json').read_text())
  assert result['split'] == 'test'
  numbers = [result['reconstruction'][k] for k in (
      'reconstruction_loss', 'kl_bits', 'teacher_forced_accuracy',
      'sampled_accuracy')]
  for row in result['samples'].values():
    numbers += [row[k] for k in ('frechet_distance', 'hits_per_step',
                                 'silent_share', 'bar_similarity')]
  for number in numbers:
    assert f'{number:.3f}' in card, number
  for word in ('CC BY 4.0', 'Google', 'train split', 'Seed 0', 'not good at'):
    assert word in card


@pytest.fixture(scope='module')
def result(groove_zip, dataset, tmp_path_factory):
  return evaluated(NAME, dataset, tmp_path_factory.mktemp('evaluated'))


def evaluated(name, dataset, folder, run=conftest.script, script='evaluate.py'):
  """Returns the numbers of committed weights, by as many threads as the cards'."""
  said = run(
      script, f'--config={name}', '--split=test', f'--output_dir={folder}',
      f'--checkpoint_file={conftest.ROOT}/weights/{name}',
      f'--examples_path={dataset}/drummer.tfrecord', env=conftest.THREADS)
  assert said.returncode == 0, said.stderr[-3000:]
  return json.loads((folder / 'evaluation.json').read_text())


def test_evaluation_again_gives_the_cards_numbers(result):
  kept = json.loads((FOLDER / 'evaluation.json').read_text())
  assert result['samples'].keys() == kept['samples'].keys()
  for part in ('reconstruction', 'samples', 'interpolation', 'styles'):
    check_close(result[part], kept[part], part)


def check_close(result, kept, path):
  """Equal but for the last bits, which may change a few sampled steps."""
  if isinstance(kept, dict):
    for key, value in kept.items():
      check_close(result[key], value, f'{path}/{key}')
  elif isinstance(kept, list):
    np.testing.assert_allclose(result, kept, rtol=0.1, err_msg=path)
  else:
    assert result == pytest.approx(kept, rel=0.05, abs=0.02), path


def test_bounds(result):
  """Beside the test split's own loops, training loops and the baselines."""
  samples = result['samples']
  drummers, floor = samples['the split itself'], samples[
      'floor: training loops']
  ours = samples[f'samples, temperature {autoencoder.DEFAULT_TEMPERATURE}']
  assert ours['frechet_distance'] < 1.3 * floor['frechet_distance']
  assert ours['hits_per_step'] == pytest.approx(
      drummers['hits_per_step'], rel=0.1)
  assert ours['bar_similarity'] == pytest.approx(
      drummers['bar_similarity'], abs=0.08)
  assert ours['unique_share'] >= 0.99 and ours['copied_share'] == 0
  for name, row in samples.items():
    if 'baseline' in name:
      assert row['frechet_distance'] > 1.3 * ours['frechet_distance']
  # Along slerp no step is as abrupt as the largest when loops are mixed, and
  # what lies between repeats its bars as drummers do.
  slerp, mixing = (result['interpolation'][k] for k in ('slerp', 'mixing'))
  assert max(slerp['hits_changed']) < max(mixing['hits_changed'])
  assert slerp['bar_similarity'] > mixing['bar_similarity']


@pytest.mark.xfail(strict=True, reason='12 % above the test split; samples are '
                   'calibrated to the training loops, which are 10 % above')
def test_silent_share(result):
  samples = result['samples']
  ours = samples[f'samples, temperature {autoencoder.DEFAULT_TEMPERATURE}']
  assert ours['silent_share'] == pytest.approx(
      samples['the split itself']['silent_share'], rel=0.1)


# Completing, and saying back.

ECHO = conftest.ROOT / 'weights' / model.RECONSTRUCTION_CONFIG
LISTENING_MAX_BYTES = 16 * 2 ** 20


def test_other_weights_are_small():
  for folder in (FOLDER, ECHO):
    assert sum(p.stat().st_size for p in folder.glob('model.ckpt*')) < (
        LISTENING_MAX_BYTES)


def test_cards_have_the_completions_numbers():
  for folder in (FOLDER, ECHO):
    card = (folder / 'README.md').read_text()
    result = json.loads((folder / 'evaluation.json').read_text())
    assert result['split'] == 'test'
    for row in result['latents'].values():
      for value in row.values():
        assert reports.cell(value) in card, value
    for word in ('CC BY 4.0', 'Google', 'train split', 'eed 0', 'not good at'):
      assert word in card
  result = json.loads((FOLDER / 'evaluation.json').read_text())
  card = (FOLDER / 'README.md').read_text()
  for row in [result['longer']] + [row for rows in result['completion'].values()
                                   for row in rows.values()]:
    for value in row.values():
      assert reports.cell(value) in card, value


def test_echo_says_back(groove_zip, dataset):
  """F1 of greedy loops from latents alone, on loops of the test split."""
  config = magenta_setup.get_config(model.RECONSTRUCTION_CONFIG)
  loops = splits.evenly_spaced(splits.load_split(
      config, str(dataset / 'drummer.tfrecord'), None, 'test'))[::4]
  scores = completion.evaluate_latents(config, variation.Varier(
      config, checkpoint_files.find_checkpoint(config_name=model.RECONSTRUCTION_CONFIG),
      completion.BATCH_SIZE), loops)
  kept = json.loads((ECHO / 'evaluation.json').read_text())['latents']
  for name, bound in (('encoder', 0.82), ('refined', 0.92)):
    assert scores[name]['all'] == pytest.approx(kept[name]['all'], abs=0.02)
    assert scores[name]['all'] > bound
  assert min(kept['refined'][drum] for drum in ('all', 'kick', 'snare')) > 0.92


def test_completions_beat_another_loop_of_the_style(
    groove_zip, dataset, checkpoint, monkeypatch):
  """On fewer loops than the card's numbers are of."""
  monkeypatch.setattr(completion, 'LOOPS', 32)
  monkeypatch.setattr(completion, 'TASKS', {
      name: completion.TASKS[name] for name in ('bars 1 and 2 kept',)})
  config = magenta_setup.get_config(NAME)
  converter, path = config.data_converter, str(dataset / 'drummer.tfrecord')
  found = completion.evaluate(
      config, completing.Completer(config, checkpoint), completion.Material(
          *[styles.performances(splits.split_path(path, 'test'), converter)]
          * 2))
  ours, baseline = (found['bars 1 and 2 kept'][row] for row in (
      'completed', 'baseline: another loop of the style'))
  for column in ('frechet_distance',):
    assert ours[column] < baseline[column]
  for column in ('bar_similarity', 'f1'):
    assert ours[column] > baseline[column]


# The humanizer.

HUMANIZER = conftest.ROOT / 'weights' / humanizer.CONFIG
HUMANIZER_MAX_BYTES = 16 * 2 ** 20


COLUMNS = *feel.COLUMNS, *feel.HEARD, *feel.TOLD_APART


def test_humanizer_is_small():
  assert sum(p.stat().st_size for p in HUMANIZER.glob('model.ckpt*')) < (
      HUMANIZER_MAX_BYTES)


def test_humanizers_card_has_the_evaluations_numbers():
  card = (HUMANIZER / 'README.md').read_text()
  result = json.loads((HUMANIZER / 'evaluation.json').read_text())
  assert result['split'] == 'test'
  for row in result['feel'].values():
    for column in COLUMNS:
      assert reports.cell(row[column]) in card, (column, row[column])
  for row in result['takes'].values():
    for value in row.values():
      assert reports.cell(value) in card
  for row in (r for rows in result['drummers'].values() for r in rows.values()):
    for value in row.values():
      assert reports.cell(value) in card
  for word in ('CC BY 4.0', 'Google', 'train split', 'Seed 0', 'not good at'):
    assert word in card


FEWER = f'''
import runpy
from drumloops.metrics import discriminator, feel
discriminator.SEEDS, feel.MIN_SLICES = range(1), 130
runpy.run_path('{conftest.SCRIPTS}/evaluate.py', run_name='__main__')
'''


@pytest.fixture(scope='module')
def humanized(groove_zip, dataset, tmp_path_factory):
  """The committed humanizer, evaluated again, but for some of the AUCs and drummers."""
  return evaluated(
      humanizer.CONFIG, dataset, tmp_path_factory.mktemp('humanized'), conftest.code,
      FEWER)


def test_humanizer_is_as_its_card_says(humanized):
  kept = json.loads((HUMANIZER / 'evaluation.json').read_text())
  for name, row in kept['feel'].items():
    again = humanized['feel'][name]
    for auc in ('auc', 'timing_auc'):  # Of two splits of six.
      assert again[auc] == pytest.approx(
          row[auc], abs=2 * row[f'{auc}_deviation'] + 0.01)
    for column in set(COLUMNS) - set(feel.TOLD_APART):
      assert again[column] == pytest.approx(row[column], rel=0.01, abs=0.01), column
  for name, row in kept['takes'].items():
    assert humanized['takes'][name] == pytest.approx(row, rel=0.01)


def test_humanizer_plays_as_drummers_do(humanized):
  rows, real = humanized['feel'], humanized['feel'][feel.REAL]
  for baseline in (feel.FLAT, feel.MEAN):
    for column in ('timing_error_ms', 'velocity_error', 'timing_distance_ms',
                   'velocity_distance'):
      assert rows[feel.MEAN_TAKE][column] < rows[baseline][column], column
  for take in ('take 1', 'take 2'):
    row = rows[take]
    assert row['timing_distance_ms'] <= 4.5  # Half of the older humanizer's.
    for column in ('velocity_range', 'timing_range', 'bar_repetition'):
      assert row[column] == pytest.approx(real[column], rel=0.1), column
  beat, takes = humanized['takes'].values()
  assert takes['timing_ms'] == pytest.approx(beat['timing_ms'], rel=0.15)
  assert rows[feel.MEAN_TAKE]['timing_error_ms'] <= 19.1  # The older one's.
  assert rows[feel.MEAN_TAKE]['velocity_error'] <= 22.2
  for unit in ('velocity_distance', 'timing_distance_ms'):
    assert all(humanized['drummers']['named'][name][unit] < row[unit]
               for name, row in humanized['drummers']['anyone'].items())


def test_files_are_played_no_more_alike_than_drummers_play_them(humanized):
  rows = humanized['between_files']
  for take in ('take 1', 'take 2'):
    assert rows[take] == pytest.approx(rows[feel.REAL], abs=0.1)


def test_takes_sound_as_drummers_do(humanized):
  """What can be heard is within 15 % of drummers', correlations within 0.05."""
  rows, real = humanized['feel'], humanized['feel'][feel.REAL]
  for take in ('take 1', 'take 2'):
    row = rows[take]
    assert row['auc'] < 0.78 and row['timing_auc'] < 0.75  # Of the old takes: 0.84.
    for column in ('kick_hi_hat_correlation', 'snare_hi_hat_correlation'):
      assert row[column] == pytest.approx(real[column], abs=0.05), column
    for column in ('kick_hi_hat_ms', 'kick_on_beat', 'kick_between'):
      assert row[column] == pytest.approx(real[column], rel=0.15), column


@pytest.mark.xfail(strict=True, reason='wanted, and missed; the card says so')
@pytest.mark.parametrize('row,column,low,high', [
    ('take 1', 'auc', 0, 0.68),
    ('take 1', 'timing_auc', 0, 0.62),
    ('take 2', 'kick_ride_correlation', 0.669, 0.769),
    ('take 1', 'velocity_distance', 0, 4.4),
    ('take 1', 'timing_distance_ms', 0, 2.7),
    ('take 1', 'soft_snare', 0.377, 0.511),
    ('take 1', 'snare_off_backbeat', 48.2, 65.2),
    ('take 1', 'loudest', 0.111, 0.151)])
def test_what_the_humanizer_misses(humanized, row, column, low, high):
  assert low <= humanized['feel'][row][column] <= high


@pytest.mark.xfail(strict=True, reason='wanted, and missed; the card says so')
@pytest.mark.parametrize('drum', ['kick', 'snare'])
def test_drums_have_as_many_flams_as_drummers(humanized, drum):
  for take in ('take 1', 'take 2'):
    row = humanized['feel'][take]['drums'][drum]
    assert row['more_strokes'] == pytest.approx(row['more_strokes_of_drummers'], rel=0.2)


@pytest.mark.xfail(strict=True, reason='wanted, and missed; the card says so')
def test_takes_differ_as_performances_of_one_beat_in_velocity(humanized):
  beat, takes = humanized['takes'].values()
  assert takes['velocity'] == pytest.approx(beat['velocity'], rel=0.15)


def test_on_loops_of_ones_own(tmp_path, capsys, monkeypatch):
  """Of no known style, so the report does without."""
  monkeypatch.setattr(evaluation, 'SAMPLES', 50)
  monkeypatch.setattr(evaluation, 'PAIRS', 8)
  monkeypatch.setattr(slider_metrics, 'TIMES', 1)
  monkeypatch.setattr(slider_metrics, 'VALUES', 2)
  magenta_setup.music_vae()
  conftest.own_loops.write_own_loops(tmp_path / 'midi')
  (tmp_path / 'midi' / 'info.csv').write_text(
      'midi_filename,split\n' + ''.join(
          f'loop-{i:02d}.mid,{"validation" if i > 8 else "train"}\n'
          for i in range(1, 13)))
  examples = str(tmp_path / 'own.tfrecord')
  tfrecord.make_tfrecord(str(tmp_path / 'midi'), examples)
  evaluation.evaluate(
      magenta_setup.get_config(FOLDER.name),
      checkpoint_files.find_checkpoint(checkpoint_file=str(FOLDER)), examples)
  printed = capsys.readouterr().out
  assert 'loops of the validation split' in printed
  assert '## Styles' not in printed


def test_sliders(checkpoint, groove_zip, dataset, monkeypatch):
  """Each moves what it is of, and little else; loops at the ends are drummers' still.

  So far as drummers play as much of it: a set of loops that are all dense is not near
  drummers' loops of all densities.
  """
  monkeypatch.setattr(slider_metrics, 'TIMES', 5)
  config = magenta_setup.get_config(NAME)
  train, validation = (splits.load_split(
      config, str(dataset / 'drummer.tfrecord'), None, split)
                       for split in ('train', 'validation'))
  found = slider_metrics.evaluate(config, checkpoint, train, validation)
  assert list(found) == ['density', 'syncopation', 'fills']
  for name, row in found.items():
    moved = dict(row['spearman'])
    assert moved.pop(name) >= 0.9, name
    assert max(map(abs, moved.values())) < 0.3, (name, moved)
    beside = {value: at['samples'] / at['floor'] for value, at in row['at'].items()}
    assert max(beside['-2'], beside['2']) <= 1.25 * beside['0'], (name, beside)


def test_fills_are_fills(checkpoint, groove_zip, dataset):
  """Trees that know GMD's fills and beats call ours fills as often as its others."""
  from sklearn import ensemble
  converter = magenta_setup.get_config(NAME).data_converter
  def features(bars):
    hits = patterns.bits(bars)
    return np.concatenate([hits.reshape(len(bars), -1), hits.sum(axis=1),
                           hits.sum(axis=(1, 2))[:, np.newaxis]], axis=1)
  def read(split):
    path = splits.split_path(str(dataset / 'drummer.tfrecord'), split)
    return styles.fills(path, converter), np.concatenate(
        list(styles.phrases(path, converter).values()))
  (known, beats), (held_out, loops) = read('train'), read('validation')
  beats = beats.reshape(-1, 16)
  assert (len(known), len(held_out)) == (629, 94)
  trees = ensemble.HistGradientBoostingClassifier(
      random_state=0, class_weight='balanced').fit(
          features(np.concatenate([known, beats])),
          np.repeat([True, False], [len(known), len(beats)]))
  own = model.DrumModel()
  loops = np.tile(loops[::len(loops) // 40][:40].astype(int), 2)  # 8 bars.
  anything = np.ones((loops.shape[1], 512), bool)
  slopes, rng = fills.load(checkpoint)['slopes'], np.random.RandomState(0)
  own._filler.reseed(0)
  filled = np.array([fills.fill(own._filler, slopes, loop, [3], anything, 0.65, '', rng)
                     for loop in loops])
  called = [trees.predict(features(bars)).mean() for bars in (
      filled[:, 48:64], held_out, loops[:, 48:64])]
  assert called[0] > 0.85 * called[1] > 3 * called[2]
  crash = (filled[:, 64] != loops[:, 64]).mean()
  assert 0.1 < crash < 0.6
  filled[:, 48:65] = loops[:, 48:65]
  np.testing.assert_array_equal(filled, loops)


def test_songs(checkpoint):
  """Verses are nearer to each other than to choruses, which are denser and ride."""
  own = model.DrumModel()
  def hamming(a, b):
    return patterns.hamming(a[np.newaxis], b[np.newaxis])[0]
  nearer, denser, rides, songs = 0, 0, 0, 8
  for seed in range(songs):
    verse, chorus, again, last = own.song(
        'verse4,chorus4,verse4,chorus4', seed=seed).pattern().reshape(4, -1)
    nearer += hamming(verse, again) < min(
        hamming(a, b) for a in (verse, again) for b in (chorus, last))
    loops = np.array([verse, chorus])
    for_verse, for_chorus = sliders.density(loops)
    denser += for_verse < for_chorus
    rides += np.diff(song.riding(loops))[0] >= 0
  assert min(nearer, denser, rides) >= songs - 1


def test_a_damaged_prior(tmp_path):
  (tmp_path / 'prior.npz').write_bytes(
      (FOLDER / 'prior.npz').read_bytes()[:4000])
  with pytest.raises(UserError, match='prior.npz'):
    prior.load(str(tmp_path / 'model.ckpt-1'))


def test_styled_loops_have_the_style(result):
  assert result['styles']['styled'] > 2 * result['styles']['unstyled']
