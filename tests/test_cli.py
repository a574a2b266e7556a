"""The commands' sentences, and their silence."""
import ast
import os
import re
import shutil
import sys

import conftest
from drumloops import errors
from drumloops.errors import THE_SAME_COMMAND, UserError, field, hparam, stage
from drumloops.system import cells, cli, disk
import pytest

SCRIPTS = sorted(p.name for p in conftest.SCRIPTS.glob('*.py')
                 if "__name__ == '__main__'" in p.read_text())


@pytest.mark.parametrize('name', SCRIPTS)
def test_scripts_start_without_a_warning(name):
  result = conftest.run(sys.executable, '-W', 'error', conftest.SCRIPTS / name,
                        '--help')
  assert name in result.stdout and result.stderr == ''


@pytest.fixture(scope='module')
def bare_python(tmp_path_factory):
  """A Python without any packages, pip's too."""
  folder = tmp_path_factory.mktemp('bare')
  result = conftest.run(sys.executable, '-m', 'venv', '--without-pip', folder)
  assert result.returncode == 0, result.stderr
  return folder / 'bin' / 'python'


@pytest.fixture
def scripts(tmp_path):
  """A copy of the commands, without a .venv."""
  for name in ('scripts', 'magenta_patches', 'requirements.txt'):
    (shutil.copytree if '.' not in name else shutil.copy)(
        conftest.ROOT / name, tmp_path / name)
  return tmp_path / 'scripts'


def test_without_the_packages(bare_python, scripts):
  """Whichever command it is, one sentence says what to do."""
  for name in SCRIPTS:
    conftest.check_sentence(
        conftest.run(bare_python, scripts / name),
        f'{name}: ', 'ensurepip' if name == 'install.py' else 'bash scripts/run.sh')


def test_old_python(scripts):
  """What it reads before the sentence, it can read."""
  for path in [scripts / name for name in SCRIPTS] + [
      scripts / 'drumloops' / '__init__.py']:
    ast.parse(path.read_text(), feature_version=(3, 7))
  old = conftest.find_python('3.7') or conftest.find_python('3.10')
  if old is None:
    pytest.skip('there is no old Python here')
  for name in SCRIPTS:
    conftest.check_sentence(
        conftest.run(old, scripts / name), f'{name}: ', '3.11, 3.12 or 3.13')


def test_without_the_packages_goes_on_in_the_projects_environment(
    bare_python, scripts):
  """Where that has them; else it says so, once."""
  venv = scripts.parent / '.venv'
  venv.symlink_to(sys.prefix)
  result = conftest.run(bare_python, scripts / 'humanize.py', 'a b.mid')
  conftest.check_sentence(result, 'in.mid and out.mid')
  venv.unlink()
  venv.symlink_to(bare_python.parent.parent)
  for python in (bare_python, venv / 'bin' / 'python'):
    conftest.check_sentence(
        conftest.run(python, scripts / 'humanize.py', timeout=60), 'run.sh')


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


@pytest.mark.parametrize('said,python,command,notebook', [
    (f'{field("qpm")} must be', 'qpm must be', '--qpm must be',
     'tempo in cell "{sample}" must be'),
    (f'{field("seed", 12)} gives', 'seed=12 gives', '--seed=12 gives',
     'seed = 12 in cell "{sample}" gives'),
    (f'smaller ({hparam("batch_size", 7)}).', 'smaller (batch_size=7).',
     'smaller (--hparams=batch_size=7).', 'smaller (batch_size = 7 in cell "{train}").'),
    (f'{field("private", False)}', 'private=False', '--noprivate',
     'private not ticked in cell "{share}"'),
    (f'run {stage("make_tfrecord.py")}', 'run scripts/make_tfrecord.py',
     'run scripts/make_tfrecord.py', 'run cell "{convert}"'),
    (f'{THE_SAME_COMMAND} goes on', 'the same command goes on',
     'the same command goes on', 'this cell goes on')])
def test_words_of_who_reads(monkeypatch, said, python, command, notebook):
  assert str(UserError(said)) == python
  titles = {name: next(cell.title for cell in cells.read_cells() if words in cell.title)
            for name, words in (('sample', 'Sample drum'), ('train', 'Train,'),
                                ('share', 'Share your'), ('convert', 'Convert'))}
  for words_of, want in ((cli.in_flags, command), (
      cells.in_cells, notebook.format(**titles))):
    errors.speak_as(words_of)
    assert errors.in_words(said) == want
    assert UserError(said)._render_traceback_() == [want]
  errors.speak_as(errors.in_python)


def test_errors_know_their_fields():
  assert UserError(f'{field("qpm")} or {hparam("batch_size", 3)}, {stage("x.py")}'
                   ).fields == ('qpm', 'batch_size')


def test_a_full_disk_is_said_with_the_path(tmp_path):
  path = str(tmp_path / 'out.mid')
  with pytest.raises(OSError) as raised:
    with disk.replacing(path) as temporary:
      os.symlink('/dev/full', temporary)
      with open(temporary, 'w') as f:
        f.write('x')
  assert f'disk is full ({path})' in cli.sentence(raised.value)


def test_a_disk_as_tensorflow_says_it():
  assert cli.sentence(RuntimeError('/a b/checkpoint.tmp1; Read-only file system')) == (
      '/a b/checkpoint.tmp1: Read-only file system.')
  assert 'disk is full (/a b/model.ckpt-1.data)' in cli.sentence(RuntimeError(
      'Graph execution error:\n\nDetected at node: x\n/a b/model.ckpt-1.data; '
      'No space left on device\n\t [[{{node x}}]]'))
