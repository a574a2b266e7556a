"""What the evaluation measures, on loops whose numbers are known by hand."""
import json

import conftest
from drumloops.data import patterns, splits
from drumloops.models import autoencoder, sliders
from drumloops.system import magenta_setup
from drumloops.metrics import evaluation
import numpy as np
import pytest

BEAT = np.tile([0b101, 0, 0b100, 0, 0b110, 0, 0b100, 0], 8)  # Kick, snare, hat.


def random_loops(count, seed=0):
  return np.random.RandomState(seed).randint(0, 512, [count, 64])


@pytest.fixture(scope='module')
def groove(dataset):
  """The splits' slices, of the GMD or of our own loops."""
  magenta_setup.music_vae()
  config = magenta_setup.get_config(conftest.TINY)
  return {split: splits.load_split(
      config, str(dataset / 'drummer.tfrecord'), None, split)
          for split in ('train', 'test')}


def test_numbers_of_a_beat():
  loops = np.stack([BEAT, np.zeros(64, int)])
  assert patterns.hits(loops)[0].sum() == 8 * 6
  np.testing.assert_array_equal(patterns.bar_similarity(loops), 1)
  f = patterns.features(loops)
  assert f.shape == (2, 16 * 9 + 4 + 3)
  assert f[0, 0] == 1 and f[0, 1] == 0  # The kick on the one, and no snare.
  np.testing.assert_allclose(f[0, 144:148], 0.75)
  changed = BEAT.copy()
  changed[:16] ^= 0b1000000  # A high tom on all of the first bar's steps.
  np.testing.assert_allclose(
      patterns.bar_similarity(changed[np.newaxis])[0], [12 / 28, 1, 1])
  assert patterns.hamming(BEAT[np.newaxis], changed[np.newaxis]) == [16]
  np.testing.assert_array_equal(
      patterns.nearest(np.stack([changed, BEAT]), loops), [16, 0])


def test_attributes_of_a_beat():
  """The numbers are counted by hand."""
  def bars(**steps):
    bar = np.zeros(16, int)
    for drum, own in steps.items():
      bar[own] |= {'kick': 1, 'snare': 2, 'hat': 4, 'tom': 16}[drum]
    return np.tile(bar, 4)
  clave = bars(kick=[0, 3, 6, 10, 12], hat=range(16))
  # The second kick is tied over beat 2, the third over the half bar: 2 each. The last
  # one is not tied over the first beat, since the loop begins there with a kick again.
  late = bars(kick=[14])  # Tied over the first beat: 0 - -3.
  loops = np.array([BEAT, clave, late, bars(kick=[8], tom=range(8, 16), hat=[0, 4])])
  np.testing.assert_array_equal(sliders.density(loops), [12, 21, 1, 11])
  np.testing.assert_array_equal(sliders.syncopation(loops), [0, 4, 3, 4])
  np.testing.assert_allclose(sliders.fills(loops), [1 / 6, 0, 0, 8 / 11])
  one_fill = BEAT.copy()
  one_fill[48:] = 2  # A bar of snares; and a bar of one snare is no fill.
  nearly_silent = np.eye(64, dtype=int)[0] * 2
  np.testing.assert_allclose(
      sliders.fills(np.array([one_fill, nearly_silent])), [1, 1 / 8])


def test_frechet_distance_is_that_of_gaussians():
  """Against the closed forms for a shift and for a scale."""
  x = np.random.RandomState(0).randn(500, 3)
  assert patterns.frechet_distance(x, x) == pytest.approx(0, abs=1e-5)
  assert patterns.frechet_distance(x, x + [3, 0, 4]) == pytest.approx(5)
  trace = np.trace(np.cov(x, rowvar=False))
  assert patterns.frechet_distance(x, 2 * (x - x.mean(axis=0)) + x.mean(axis=0)
                                  ) == pytest.approx(np.sqrt(trace))


def test_baselines_are_worse_than_the_floor(groove):
  rng = np.random.RandomState(0)
  train, test = groove['train'], groove['test']
  distance = patterns.Distance(train, test)
  floor = distance(train[rng.choice(len(train), min(1000, len(train)), False)])
  mixed = patterns.mixed_bars(train, 1000, rng)
  marginal = patterns.marginal_loops(train, 1000, rng)
  assert distance(test) == pytest.approx(0, abs=1e-5)
  assert floor < distance(mixed) < distance(marginal)
  # Each baseline keeps what it is meant to keep.
  for loops in (mixed, marginal):
    np.testing.assert_allclose(
        patterns.hits(loops).mean(axis=(0, 1)),
        patterns.hits(train).mean(axis=(0, 1)), atol=0.06)
  if len(test) == 1768:
    assert floor * 3 < distance(mixed)
    assert patterns.hits(test).sum(axis=-1).mean() == pytest.approx(1.21, abs=.01)


def test_drum_scores():
  truth = BEAT[np.newaxis]
  predicted = truth | 0b1000  # An open hi-hat at every step.
  precision, recall, f1 = patterns.drum_scores(truth, predicted)
  np.testing.assert_array_equal(precision[:4], [1, 1, 1, 0])
  np.testing.assert_array_equal(recall[:4], [1, 1, 1, 0])
  predicted = truth & ~0b100
  assert patterns.drum_scores(truth, predicted)[1][2] == 0
  predicted = truth * (np.arange(64) < 32)
  precision, recall, f1 = patterns.drum_scores(truth, predicted)
  np.testing.assert_allclose([precision[0], recall[0], f1[0]], [1, .5, 2 / 3])


def test_mix_takes_each_step_from_one_loop():
  a, b = random_loops(50), random_loops(50, 1)
  rng = np.random.RandomState(0)
  np.testing.assert_array_equal(patterns.mix(a, b, 0, rng), a)
  np.testing.assert_array_equal(patterns.mix(a, b, 1, rng), b)
  third = patterns.mix(a, b, 1 / 3, rng)
  assert ((third == a) | (third == b)).all()
  assert np.mean(third == b) == pytest.approx(1 / 3, abs=0.05)


def test_report(evaluated):
  """Every number of the JSON is in the printed tables, with a sentence."""
  said = (evaluated / 'said').read_text()
  scores = json.loads((evaluated / 'evaluation.json').read_text())
  assert scores['split'] == 'validation'
  for name in (*autoencoder.RECONSTRUCTION, *evaluation.SAMPLE_COLUMNS):
    assert f'{name}' in said
  rows = scores['samples']
  itself, floor = rows['the split itself'], rows['floor: training loops']
  untrained = rows['samples, temperature 1.0']
  assert itself['frechet_distance'] == pytest.approx(0, abs=1e-4)
  assert floor['copied_share'] == 1
  # A flat model after 12 steps plays noise, and the numbers say so.
  assert untrained['frechet_distance'] > floor['frechet_distance']
  assert untrained['hits_per_step'] > 2 * floor['hits_per_step']
  assert len(scores['interpolation']['slerp']['hits_changed']) == 7
  assert (evaluated / 'evaluation.png').stat().st_size > 10000
