"""Magenta's own tests and commands, patched, do what stock ones do."""
import pathlib
import re
import sys

import conftest
import pytest

# What NumPy has dropped, and upstream's tests use.
DROPPED = (('x.tostring()', 'x.tobytes()'), ('.astype(np.int)', '.astype(int)'),
           ('np.stack(np.argmax(s, axis=-1) for s in np.split(t, [90, 180], '
            'axis=-1))', 'np.stack([np.argmax(s, axis=-1) for s in np.split('
            't, [90, 180], axis=-1)])'))
# Module, tests, skipped: on stock Magenta 2.1.4, Python 3.7 and TF 2.9.1.
UPSTREAM_TESTS = (('data_test', 75, 8), ('data_hierarchical_test', 5, 1),
                  ('lstm_utils_test', 4, 1))


@pytest.fixture(params=['this', 'colab'])
def python(request):
  return (sys.executable if request.param == 'this' else
          request.getfixturevalue(f'{request.param}_python'))


@pytest.mark.parametrize('module,tests,skipped', UPSTREAM_TESTS)
def test_upstream_tests(python, module, tests, skipped, tmp_path):
  [path] = pathlib.Path(python).parent.parent.glob(
      f'lib/python*/site-packages/magenta/models/music_vae/{module}.py')
  text = path.read_text()
  for old, new in DROPPED:
    text = text.replace(old, new)
  (tmp_path / f'{module}.py').write_text(text)
  result = conftest.run(python, tmp_path / f'{module}.py', cwd='/')
  assert result.returncode == 0, result.stderr[-3000:]
  assert re.search(rf'^Ran {tests} tests', result.stderr, re.M)
  assert f'OK (skipped={skipped})' in result.stderr


def test_plot_sequence_on_bokeh_3():
  import note_seq
  sequence = note_seq.NoteSequence()
  sequence.notes.add(pitch=36, velocity=80, end_time=1)
  figure = note_seq.plot_sequence(sequence, show_figure=False)
  assert (figure.width, figure.height) == (500, 200)


def test_console_commands(dataset, trained_tiny, tmp_path):
  """Magenta's own commands, as they are, from MIDI to MIDI."""
  bin_dir = pathlib.Path(sys.executable).parent
  midi = dataset / ('groove/drummer1/session1' if (dataset / 'groove').exists()
                    else 'own')
  sequences = tmp_path / 'sequences.tfrecord'
  result = conftest.run(
      bin_dir / 'convert_dir_to_note_sequences', f'--input_dir={midi}',
      f'--output_file={sequences}', '--recursive')
  assert result.returncode == 0, result.stderr[-3000:]
  result = conftest.run(
      sys.executable, '-m', 'magenta.models.music_vae.preprocess_tfrecord',
      '--config=hierdec-drums_4bar', f'--input_tfrecord={sequences}',
      f'--output_tfrecord={tmp_path}/examples', '--output_shards=2')
  assert result.returncode == 0, result.stderr[-3000:]
  result = conftest.run(
      bin_dir / 'music_vae_train', *conftest.FLAT, f'--run_dir={tmp_path}/run',
      '--num_steps=3', f'--examples_path={tmp_path}/examples-*-of-00002')
  assert result.returncode == 0, result.stderr[-3000:]
  assert (tmp_path / 'run/train/model.ckpt-3.index').exists()
  # This command has no --hparams, so the model is one of the configs as is.
  result = conftest.run(
      bin_dir / 'music_vae_generate', f'--config={conftest.TINY}',
      f'--run_dir={trained_tiny}', '--num_outputs=2',
      f'--output_dir={tmp_path}/out')
  assert result.returncode == 0, result.stderr[-3000:]
  assert len(list((tmp_path / 'out').glob('*.mid'))) == 2
