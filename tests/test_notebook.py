"""The notebook, as committed and executed whole on Colab's versions."""
import re
import shutil

import conftest
import nbformat
import pytest

NAME = 'MusicVAE_Drum_Sampling_4bars.ipynb'
FORM = ('config="hierdec-drums_4bar_tiny"', 'num_steps=8', 'batch_size=16',
        'number=2', 'steps=3', 'temperature=1.0')


def read(path):
  nb = nbformat.read(path, as_version=4)
  nbformat.validate(nb)
  return nb, [c for c in nb.cells if c.cell_type == 'code']


def test_committed_form_cells_without_outputs():
  nb, cells = read(conftest.ROOT / NAME)
  assert nb.metadata.accelerator == 'GPU'
  for i, cell in enumerate(cells):
    assert not cell.outputs and cell.execution_count is None
    assert cell.source.startswith(f'#@title {i + 1}. ')
    assert cell.metadata.cellView == 'form'
  assert 'colab-badge.svg' in nb.cells[0].source
  assert '| Run |' in nb.cells[0].source


@pytest.fixture(scope='module', params=['colab', 'desktop'])
def executed(request, groove_zip, colab_python, tmp_path_factory):
  """The cells, executed: on Colab, from Drive; on a desktop, from a clone."""
  content = tmp_path_factory.mktemp('content')
  on_colab = request.param == 'colab'
  project = content / 'drive/MyDrive/Colab Notebooks/drums' if on_colab else (
      content)
  shutil.copytree(conftest.ROOT, project, dirs_exist_ok=True,
                  ignore=shutil.ignore_patterns('.*', 'dataset', 'outputs',
                                                'runs', '__pycache__'))
  env = {'PYTHONPATH': str(conftest.ROOT / 'tests' / 'stand_in')
         if on_colab else ''}
  result = conftest.run(
      colab_python, conftest.ROOT / 'tests' / 'execute_notebook.py',
      project / NAME, content / 'executed.ipynb', content, *FORM, env=env)
  assert result.returncode == 0, result.stderr[-3000:]
  return content, read(content / 'executed.ipynb')[1], on_colab


def outputs(cell):
  text = ''.join(o.text for o in cell.outputs if o.output_type == 'stream')
  data = [key for o in cell.outputs for key in o.get('data', ())]
  html = ''.join(o.data.get('text/html', '') for o in cell.outputs
                 if 'data' in o)
  return text, data.count('image/png'), html.count('<audio')


def test_executed_cells(executed):
  content, cells, on_colab = executed
  results = {re.match(r'#@title (\d+)', c.source)[1]: outputs(c)
             for c in cells}
  assert not any('Traceback' in text for text, _, _ in results.values())
  assert ('drive/MyDrive' in results['1'][0]) == on_colab
  assert '--- a/magenta/models/music_vae/configs.py' in results['3'][0]
  assert '+++ b/magenta/models/music_vae/preprocess_tfrecord.py' in (
      results['3'][0])
  assert '1150 MIDI files' in results['4'][0]
  assert results['5'][1:] == (2, 1) and '13.6 hours' in results['5'][0]
  assert '897 NoteSequences (train split)' in results['6'][0]
  assert 'Trained to step 8' in results['7'][0]
  assert 'model.ckpt-8' in results['8'][0] and 'rock (3843)' in results['8'][0]
  assert results['9'][1:] == (1, 2)
  assert results['10'][1:] == (2, 2)  # The newest checkpoint and the best one.
  assert results['11'][1:] == (1, 3)
  assert results['12'][1:] == (1, 1)
  assert '1768 loops of the test split' in results['13'][0]
  assert results['13'][1:] == (1, 0)
  assert ('Downloading drum_loops.zip' in results['14'][0]) == on_colab
  for kind, count in (('mid', 8), ('wav', 8), ('png', 6), ('json', 1)):
    found = [p for p in content.rglob(f'outputs/*.{kind}')]
    assert len(found) == count, found
