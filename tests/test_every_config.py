"""Every config, Magenta's and ours, here and in stock Magenta.

And with one of Magenta's: its own command, and evaluation of what can't be
packed.
"""
import json
import pathlib
import random
import re
import shutil
import sys

import conftest
from drumloops.system import magenta_setup
import numpy as np
import pytest
import test_interchange
import test_training

MELODY = ('--config=cat-mel_2bar_small',
          '--hparams=enc_rnn_size=[8],dec_rnn_size=[8],z_size=4,batch_size=16')


@pytest.fixture(scope='module')
def found(stock_python, tmp_path_factory):
  """What oracle.py's `every` finds in stock, and here with its checkpoints."""
  def make(folder):
    test_interchange.oracle(stock_python, 'every', folder, folder / 'stock.npz')
    assert not names(np.load(folder / 'stock.npz'), 'error')
  kept = conftest.made_by_stock(stock_python, 'every', (), make)
  folder = tmp_path_factory.mktemp('every')
  # A copy: checkpoints of our own configs are not stock's to keep.
  checkpoints, ours = folder / 'checkpoints', folder / 'ours.npz'
  shutil.copytree(kept, checkpoints)
  test_interchange.oracle(sys.executable, 'every', checkpoints, ours)
  return [dict(np.load(path)) for path in (kept / 'stock.npz', ours)]


def names(results, what):
  """Returns the configs of which `every` kept a `what`."""
  return {key.split()[0] for key in results if key.endswith(f' {what}')}


def test_no_config_is_worse_off_than_in_stock(found):
  stock, ours = found
  known = set(magenta_setup.music_vae().CONFIG_MAP)
  for results, without in ((stock, {'groovae_4bar_strokes'}), (ours, set())):
    assert names(results, 'sampled') | names(results, 'error') == known - without
  # All of them were seen to work in stock, on Python 3.7.
  assert not {name: str(ours[f'{name} error']) for name in names(ours, 'error')}
  assert len(known) >= 33


def test_every_config_gives_what_it_gives_in_stock(found):
  """The same encodings, likeliest outputs and notes."""
  stock, ours = found
  for name in names(stock, 'sampled'):
    for what in ('mu', 'decoded', 'notes'):
      np.testing.assert_allclose(
          ours[f'{name} {what}'], stock[f'{name} {what}'], rtol=1e-4, atol=1e-3,
          err_msg=f'{name} {what}')
    assert stock[f'{name} mu'].std() > 0.5
    one, other = stock[f'{name} decoded']
    assert (one != other).any(), name
    assert len(stock[f'{name} notes']), name
    for results in found:
      assert results[f'{name} sampled'].shape == (2,), name


@pytest.fixture(scope='module')
def melodies(tmp_path_factory):
  """A TFRecord of 8 melodies of 8 bars."""
  magenta_setup.music_vae()
  import note_seq
  import tensorflow as tf
  rng = random.Random(0)
  path = tmp_path_factory.mktemp('melodies') / 'melodies.tfrecord'
  with tf.io.TFRecordWriter(str(path)) as writer:
    for _ in range(8):
      sequence = note_seq.NoteSequence(ticks_per_quarter=220, total_time=16)
      sequence.tempos.add(qpm=120)
      sequence.time_signatures.add(numerator=4, denominator=4)
      for eighth in range(64):
        sequence.notes.add(pitch=rng.randint(60, 72), velocity=80,
                           start_time=eighth / 4, end_time=(eighth + 1) / 4)
      writer.write(sequence.SerializeToString())
  return path


@pytest.fixture(scope='module')
def trained_melody(melodies, tmp_path_factory):
  """A folder with run/, which Magenta's own command trained in two goes."""
  folder = tmp_path_factory.mktemp('relative')
  for steps in (2, 4):
    result = conftest.run(
        pathlib.Path(sys.executable).parent / 'music_vae_train', *MELODY,
        '--run_dir=run', f'--examples_path={melodies}',
        f'--num_steps={steps}', cwd=folder)
    assert result.returncode == 0, result.stderr[-3000:]
  assert 'run/train/model.ckpt-2' in result.stderr  # Restored by the second.
  return folder


def test_magenta_resumes_with_a_relative_run_dir(trained_melody):
  run_dir = trained_melody / 'run'
  assert test_training.checkpoint_steps(run_dir) == [0, 2, 4]
  state = (run_dir / 'train' / 'checkpoint').read_text()
  assert re.findall('paths: "(.*)"', state) == [
      f'model.ckpt-{step}' for step in (0, 2, 4)]


def evaluate(folder, melodies, *flags):
  return conftest.script('train.py', *MELODY, f'--run_dir={folder}/run',
                         '--mode=eval', f'--examples_path={melodies}', *flags)


def test_eval_mode_of_a_config_that_cannot_be_packed(trained_melody, melodies):
  result = evaluate(trained_melody, melodies)
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'Evaluating' in result.stderr
  scores = json.loads(result.stdout[result.stdout.index('{'):])
  assert scores['checkpoint'].endswith('model.ckpt-4')
  assert scores['examples'] == 32  # Of 40, 5 of each melody, in batches of 16.
  # After 4 steps it knows little more than that there are 90 classes.
  assert scores['losses/r_loss'] == pytest.approx(32 * np.log(90), rel=0.02)
  assert 0 < scores['metrics/accuracy'] < 0.2
  assert scores['losses/kl_bits'] > 0
  assert set(scores) - {'checkpoint', 'examples'} == test_training.summary_tags(
      trained_melody / 'run' / 'eval')


def test_too_large_a_batch_to_evaluate(trained_melody, melodies):
  conftest.check_sentence(
      evaluate(trained_melody, melodies, MELODY[1].replace('=16', '=41')),
      '40 examples', '--hparams=batch_size=40')
