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


def test_unsupported_python_is_told_so():
  old = conftest.find_python('3.8') or conftest.find_python('3.10')
  if old is None:
    pytest.skip('there is no old Python here')
  conftest.check_sentence(conftest.script('install.py', python=old),
                          '3.11, 3.12 or 3.13')
