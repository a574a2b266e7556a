"""Installing into Colab's image changes nothing that it ships."""
import re

import conftest

NEW = {'magenta', 'note_seq', 'pretty_midi', 'pyfluidsynth', 'mido',
       'intervaltree', 'sortedcontainers', 'importlib_resources'}


def pins(text):
  return {re.sub('[-.]', '_', name).lower(): version for name, version in
          re.findall(r'^([\w.-]+)==(\S+)$', text, re.M)}


def test_nothing_that_colab_ships_is_changed(colab_python):
  colab = pins((conftest.ROOT / 'tests' / 'colab-freeze.txt').read_text())
  now = pins(conftest.run(
      colab_python, '-m', 'pip', 'freeze', '--all').stdout)
  assert {n: now.get(n) for n in colab} == colab
  assert set(now) - set(colab) - {'pip'} <= NEW


def test_second_install_is_a_no_op(colab_python):
  result = conftest.script('install.py', python=colab_python)
  assert result.returncode == 0
  assert result.stdout.strip() == 'Already patched.'


def test_unsupported_python_is_told_so():
  old = conftest.find_python('3.8') or conftest.find_python('3.10')
  if old is None:
    conftest.pytest.skip('there is no old Python here')
  conftest.check_sentence(conftest.script('install.py', python=old),
                          '3.11, 3.12 or 3.13')
