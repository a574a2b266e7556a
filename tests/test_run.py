"""`bash scripts/run.sh` on a copy of the project, as a newcomer runs it."""
import os
import shutil

import conftest
import numpy as np
import pytest


@pytest.fixture
def project(tmp_path):
  """A fresh copy that borrows this environment instead of making its own."""
  project = tmp_path / 'project'
  shutil.copytree(conftest.ROOT, project, ignore=shutil.ignore_patterns(
      '.*', 'dataset', 'outputs', 'runs', '__pycache__', 'weights'))
  (project / '.venv').symlink_to(conftest.sys.prefix)
  return project


def test_run_makes_audible_loops_and_is_quick_the_second_time(project):
  """Without data and network: on drum loops that the project writes itself."""
  import soundfile
  env = {'GROOVE_ZIP': '', 'https_proxy': 'http://127.0.0.1:9'}
  result = conftest.run('bash', 'scripts/run.sh', cwd=project, env=env)
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'no trained weights' in result.stdout
  assert 'drum loops of our own' in result.stdout
  made = sorted(os.listdir(project / 'outputs'))
  assert made == sorted([f'sample-{i}.{kind}' for i in range(1, 5)
                         for kind in ('mid', 'wav')] + ['sample.png'])
  before = {n: (project / 'outputs' / n).read_bytes() for n in made}
  for name in made:
    if name.endswith('.wav'):
      audio, rate = soundfile.read(project / 'outputs' / name)
      assert rate == 44100 and np.sqrt((audio ** 2).mean()) > 0.005
  result = conftest.run('bash', 'scripts/run.sh', cwd=project, env=env)
  assert 'Training' not in result.stderr
  assert {n: (project / 'outputs' / n).read_bytes() for n in made} == before


def test_run_with_a_wrong_zip(project):
  conftest.check_sentence(conftest.run(
      'bash', 'scripts/run.sh', '--zip=missing.zip', cwd=project),
                          'missing.zip')


def test_python_that_is_not_there(project):
  result = conftest.run('bash', 'scripts/run.sh', cwd=project,
                        env={'PYTHON': 'python9.9'})
  assert result.returncode == 1 and 'python9.9 was not found' in result.stderr
