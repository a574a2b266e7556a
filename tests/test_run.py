"""`bash scripts/run.sh` on a copy of the project, as a newcomer runs it."""
import os

import conftest
import numpy as np
import pytest

OFFLINE = {'https_proxy': 'http://127.0.0.1:9', 'GROOVE_ZIP': ''}


@pytest.fixture
def project(tmp_path):
  """A fresh copy that borrows this environment instead of making its own."""
  project = tmp_path / 'project'
  conftest.copy_project(project)
  (project / '.venv').symlink_to(conftest.sys.prefix)
  return project


def test_run_makes_audible_loops(project):
  """From the committed weights, without data and network, twice the same."""
  import soundfile
  contents = []
  for again in range(2):
    result = conftest.run('bash', 'scripts/run.sh', cwd=project, env=OFFLINE)
    assert result.returncode == 0, result.stderr[-3000:]
    # Who expects others the second time is told how they are made.
    assert ('--seed=1 gives others' in result.stdout) == again
    made = sorted(os.listdir(project / 'outputs'))
    assert made == sorted([f'sample-{i}.{kind}' for i in range(1, 5)
                           for kind in ('mid', 'png', 'wav')] + ['index.html'])
    contents.append({n: (project / 'outputs' / n).read_bytes() for n in made})
  assert contents[0] == contents[1]
  for i in range(1, 5):
    audio, rate = soundfile.read(project / 'outputs' / f'sample-{i}.wav')
    assert rate == 44100 and np.sqrt((audio ** 2).mean()) > 0.005


def test_flags_go_to_sample(project):
  result = conftest.run('bash', 'scripts/run.sh', '--style=list', cwd=project,
                        env=OFFLINE)
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'rock: 1026 training loops' in result.stdout


def test_python_that_is_not_there(project):
  result = conftest.run('bash', 'scripts/run.sh', cwd=project,
                        env={'PYTHON': 'python9.9'})
  assert result.returncode == 1 and 'python9.9 was not found' in result.stderr
