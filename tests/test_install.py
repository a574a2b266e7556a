"""Installing into Colab's image changes nothing that it ships."""
import os
import re

import conftest
import pytest

NEW = {'magenta', 'note_seq', 'pretty_midi', 'pyfluidsynth', 'mido',
       'intervaltree', 'sortedcontainers', 'importlib_resources'}


def pins(text):
  return {re.sub('[-.]', '_', name).lower(): version for name, version in
          re.findall(r'^([\w.-]+)==(\S+)$', text, re.M)}


@pytest.mark.parametrize('freeze, environment', [
    ('colab-freeze.txt', 'colab_python'),
    ('colab-freeze-2026-07.txt', 'fallback_python')])
def test_nothing_that_colab_ships_is_changed(request, freeze, environment):
  python = request.getfixturevalue(environment)
  colab = pins((conftest.ROOT / 'tests' / freeze).read_text())
  now = pins(conftest.run(python, '-m', 'pip', 'freeze', '--all').stdout)
  assert {n: now.get(n) for n in colab} == colab
  assert set(now) - set(colab) - {'pip'} <= NEW


def test_second_install_is_a_no_op(colab_python):
  result = conftest.script('install.py', python=colab_python)
  assert result.returncode == 0
  assert result.stdout.strip() == 'Already patched.'


@pytest.mark.skipif('NEXT_TENSORFLOW' not in os.environ, reason='a job of its own, '
                    'that may fail: NEXT_TENSORFLOW=1 downloads the next release')
def test_next_tensorflow(tmp_path):
  """Says what TensorFlow 2.22 will break; tf_keras does not admit it yet."""
  (tmp_path / 'overrides.txt').write_text('tensorflow>=2.22.0rc0\n')
  python = conftest.make_environment(
      'next', conftest.find_python('3.13'), '--prerelease=allow', '--overrides',
      tmp_path / 'overrides.txt', '-r', conftest.ROOT / 'requirements.txt')
  result = conftest.script('sample.py', '--num_outputs=1',
                           f'--output_dir={tmp_path}', python=python)
  assert result.returncode == 0, result.stderr


def test_what_is_missing_gets_the_version_that_was_tested(monkeypatch):
  """In .venv; what is installed keeps its own, and on Colab all do."""
  import importlib.metadata
  import pathlib
  import install
  text = (conftest.ROOT / install.TESTED).read_text()
  tested = pins(re.sub(';.*', '', text))
  for requirement in install.requirements():
    name = re.sub('[-.]', '_', requirement.name).lower()
    assert requirement.specifier.contains(tested[name]), requirement
  assert '/' not in re.sub('^#.*', '', text, flags=re.M)  # Nor where it comes from.
  numpy = importlib.metadata.distribution('numpy')
  monkeypatch.setattr(importlib.metadata, 'distributions', lambda: [numpy])
  def run(command):
    given.append(pathlib.Path(command[command.index('-c') + 1]).read_text())
    return install.subprocess.CompletedProcess(command, 0)
  given = []
  monkeypatch.setattr(install.subprocess, 'run', run)
  install.pip_install(True, 'scipy')
  install.pip_install(False, 'scipy')
  own = f'numpy=={numpy.version}'
  assert own in given[0] and f'scipy=={tested["scipy"]}' in given[0]
  assert given[0].count('numpy=') == 1 and given[1] == own + '\n'
