"""What the scripts share: sentences, silence, files and locks."""
import os
import re
import sys

import common
import conftest
import pytest

SCRIPTS = sorted(p.name for p in conftest.SCRIPTS.glob('*.py')
                 if "__name__ == '__main__'" in p.read_text())
CHATTER = r'''
import os, sys; sys.path.insert(0, sys.argv[1])
import common
with common.without_chatter():
  os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called\n'
              b'I0000 00:00:1795619669.902401 9547 cudart_stub.cc:31] No CUDA.\n'
              b'W0000 00:00:1795619669.902401 9547 gpu.cc:31] No GPU.\n'
              b'E0000 00:00:1795619669.902401 9547 gpu.cc:31] It broke.\n')
  if sys.argv[2] == 'dies':
    os.write(2, b'F0000 00:00:1795619669.902401 9547 cpu.cc:31] No AVX.\n')
    os.abort()
os.write(2, b'I0000 00:00:1 2 later.cc:3] Later.\n')
'''


@pytest.mark.parametrize('how', ['lives', 'dies'])
def test_chatter_is_kept_back_and_nothing_else(how):
  result = conftest.run(sys.executable, '-c', CHATTER, conftest.SCRIPTS, how)
  words = [line.split('] ')[-1] for line in result.stderr.splitlines()]
  assert words == (['It broke.', 'Later.'] if how == 'lives' else
                   ['It broke.', 'No AVX.'])
  assert (result.returncode == 0) == (how == 'lives')


@pytest.mark.parametrize('name', SCRIPTS)
def test_scripts_start_without_a_warning(name):
  result = conftest.run(sys.executable, '-W', 'error', conftest.SCRIPTS / name,
                        '--help')
  assert name in result.stdout and result.stderr == ''


@pytest.mark.parametrize('where', ['desktop', 'colab'])
def test_sampling_prints_its_bar_and_its_result_only(request, tmp_path, where):
  python = (request.getfixturevalue('colab_python') if where == 'colab' else
            sys.executable)
  # Colab's Matplotlib warns of Colab's pyparsing, if asked to.
  strict = ('-W', 'error') if where == 'desktop' else ()
  result = conftest.run(python, *strict, conftest.SCRIPTS / 'sample.py',
                        '--num_outputs=1', '--humanize',
                        f'--output_dir={tmp_path}')
  assert result.returncode == 0, result.stderr
  assert re.fullmatch(r'(\s*(Rendering:[^\r\n]*)?\r?)*', result.stderr)
  assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize('capability, is_told', [
    ((7, 5), False), ((9, 0), False), ((12, 0), True)])
def test_gpu_that_tensorflow_has_no_code_for(monkeypatch, capsys, capability,
                                             is_told):
  """T4, H100, and the Blackwell GPU of Colab's G4."""
  common.music_vae()
  import tensorflow as tf
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [kind])
  monkeypatch.setattr(
      tf.config.experimental, 'get_device_details', lambda gpu: {
          'device_name': 'NVIDIA X', 'compute_capability': capability})
  common.warn_of_new_gpu()
  out = capsys.readouterr().out
  assert ('NVIDIA X (compute capability 12.0) is newer' in out) == is_told
  assert ('T4, L4, A100 or H100' in out) == is_told


def test_words_of_who_reads(monkeypatch):
  text = ('x does not fit this config; give the --config (and --hparams) it was '
          'trained with.')
  assert common.words(text) == text
  monkeypatch.setenv(common.IN_NOTEBOOK, '1')
  assert common.words(text) == ('x does not fit this config; give the config in '
                                'cell 1 that it was trained with.')
  assert common.words('use more data or a smaller batch (--hparams=batch_size=7).'
                      ) == 'use more data or a smaller batch (batch_size = 7 in cell 8).'
  assert common.UserError('give a larger --num_steps')._render_traceback_() == [
      'give a larger num_steps in cell 8']


def test_replacing_is_all_or_nothing(tmp_path):
  path = tmp_path / 'a.wav'
  path.write_text('old')
  with pytest.raises(ValueError):
    with common.replacing(str(path)) as temporary:
      open(temporary, 'w').write('half')
      raise ValueError
  assert path.read_text() == 'old' and os.listdir(tmp_path) == ['a.wav']
  with common.replacing(str(path)) as temporary:
    assert temporary.endswith('.wav')
    open(temporary, 'w').write('new')
  assert path.read_text() == 'new' and os.listdir(tmp_path) == ['a.wav']


def test_lock_is_of_a_folder_however_it_is_called(tmp_path):
  (tmp_path / 'a').mkdir()
  (tmp_path / 'b').symlink_to('a')
  with common.locked(tmp_path / 'a', 0, 'first'):
    with pytest.raises(common.UserError, match='second'):
      with common.locked(tmp_path / 'b' / '.', 0, 'second'):
        pass
    with common.locked(tmp_path / 'c', 0, 'third'):
      pass
  with common.locked(tmp_path / 'b', 0, 'fourth'):
    pass
  assert sorted(os.listdir(tmp_path)) == ['a', 'b']
