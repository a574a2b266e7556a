"""The commands' sentences, and their silence."""
import pathlib
import re
import sys

import conftest
from drumloops import cli
import numpy as np
import pytest

SCRIPTS = sorted(p.name for p in conftest.SCRIPTS.glob('*.py')
                 if "__name__ == '__main__'" in p.read_text())


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


def test_words_of_who_reads(monkeypatch):
  text = ('x does not fit this config; give the --config (and --hparams) it was '
          'trained with.')
  assert cli.words(text) == text
  monkeypatch.setenv(cli.IN_NOTEBOOK, '1')
  assert cli.words(text) == ('x does not fit this config; give the config in '
                             'cell 1 that it was trained with.')
  assert cli.words('use more data or a smaller batch (--hparams=batch_size=7).'
                   ) == 'use more data or a smaller batch (batch_size = 7 in cell 8).'
  assert cli.UserError('give a larger --num_steps')._render_traceback_() == [
      'give a larger num_steps in cell 8']


@pytest.mark.parametrize('write', [
    lambda path: pathlib.Path(path).write_text('x'),
    lambda path: pathlib.Path(path).write_bytes(b'x' * 100_000),
    lambda path: np.savez(path, x=np.zeros(100_000))])
def test_a_full_disk_is_said_with_the_path(write, tmp_path):
  path = tmp_path / 'out.npz'
  path.symlink_to('/dev/full')
  with pytest.raises(OSError) as raised:
    write(path)
  assert f'disk is full ({path})' in cli.sentence(raised.value)


def test_a_disk_as_tensorflow_says_it():
  assert cli.sentence(RuntimeError('/a b/checkpoint.tmp1; Read-only file system')) == (
      '/a b/checkpoint.tmp1: Read-only file system.')
  assert 'disk is full (/a b/model.ckpt-1.data)' in cli.sentence(RuntimeError(
      'Graph execution error:\n\nDetected at node: x\n/a b/model.ckpt-1.data; '
      'No space left on device\n\t [[{{node x}}]]'))
