"""The notebook, as committed and executed whole: Colab's versions, a desktop's."""
import json
import os
import re
import shutil
import sys

import conftest
import execute_notebook
import lab
import nbformat
import own_loops
import pytest

NAME = 'MusicVAE_Drum_Sampling_4bars.ipynb'
FORM = ('config="hierdec-drums_4bar_tiny"', 'num_steps=8', 'batch_size=16',
        'count=3', 'temperature=1.0', 'encoder_steps=2')
# Names that a shell would take for something else.
FOLDER, RUN = '드럼 "MusicVAE" $5', "my run's $(touch x)"
IS_FALLBACK_WHOLE = 'FALLBACK' in os.environ
LAST_OF_FALLBACK = 'Sample drum loops and listen'
# How much is measured, in the copy of the project; test_weights.py measures all of it.
FEWER = {('metrics/evaluation.py', 'SAMPLES'): 100,
         ('metrics/evaluation.py', 'PAIRS'): 8,
         ('metrics/style_classifier.py', 'PER_STYLE'): 5,
         ('metrics/sliders.py', 'LOOPS'): 5, ('metrics/sliders.py', 'TIMES'): 1,
         ('models/latent.py', 'CALIBRATION_LOOPS'): 200,
         ('output/plots.py', 'MOST_MAPPED'): 200}
STOP_TENSORBOARD = '''
import os, sys
from tensorboard import manager
for info in manager.get_all():
  if info.logdir.startswith(sys.argv[1]):
    os.kill(info.pid, 15)
'''


def read(path):
  nb = nbformat.read(path, as_version=4)
  nbformat.validate(nb)
  return nb, [c for c in nb.cells if c.cell_type == 'code']


def test_committed_form_cells_without_outputs():
  nb, cells = read(conftest.ROOT / NAME)
  assert nb.metadata.accelerator == 'GPU'
  assert nb.metadata.colab.private_outputs  # Else Colab keeps them on Drive.
  for cell in cells:
    assert not cell.outputs and cell.execution_count is None
    assert re.match('#@title [A-Z][^0-9]', cell.source)
    assert cell.metadata.cellView == 'form'
    # What it does, in Korean.
    assert len(re.findall('^#@markdown .*[가-힣].*[.]$', cell.source, re.M)) == 1
  assert 'colab-badge.svg' in nb.cells[0].source
  assert '| Run |' in nb.cells[0].source


def test_first_bars_keep_an_early_first_hit(tmp_path):
  """However short it is; what is before its bar does not count."""
  from drumloops.system import magenta_setup
  magenta_setup.music_vae()
  import note_seq
  from drumloops import DrumLoop
  sequence = note_seq.NoteSequence()
  sequence.tempos.add(qpm=120)
  for start in (3.98, 4.5, 5., 11.9, 12.1):  # A bar takes 2 s.
    sequence.notes.add(pitch=36, velocity=90, is_drum=True, instrument=9,
                       start_time=start, end_time=start + 0.01)
  sequence.notes.add(pitch=60, velocity=90, start_time=0, end_time=9)
  path = str(tmp_path / 'early.mid')
  note_seq.sequence_proto_to_midi_file(sequence, path)
  loop = DrumLoop.read(path).to_note_sequence()
  assert [round(n.start_time, 2) for n in loop.notes] == [0, 0.5, 1.0, 7.9]


def test_weights_of_the_run_or_of_the_project(tmp_path, capsys):
  from drumloops.system import magenta_setup
  magenta_setup.music_vae()
  from drumloops import notebook
  def find(run):
    return notebook.find_weights(str(tmp_path), run, 'hierdec-drums_4bar')
  assert find('my_run') is find('') is None
  assert 'my_run has no finished weights' in capsys.readouterr().out
  (tmp_path / 'my_run' / 'weights').mkdir(parents=True)
  assert find('my_run') == str(tmp_path / 'my_run' / 'weights')


@pytest.fixture
def shown(monkeypatch):
  """The HTML that is shown."""
  from drumloops import notebook
  shown = []
  monkeypatch.setattr(notebook, 'show_html', lambda *parts: shown.extend(parts))
  return shown


def test_loops_beside_each_other(tmp_path, shown):
  """Each as picture and sound, at its own tempo; words of a user's are escaped."""
  from drumloops import DrumLoop, DrumModel, Hit, notebook
  loop = DrumLoop([Hit('kick', 0), Hit('snare', 1.1)], qpm=93, name='mine & yours.mid')
  notebook.show_beside(loop, DrumModel().reconstruct(loop), str(tmp_path))
  [text] = shown
  assert (tmp_path / 'reconstruct-1.wav').exists()
  assert text.count('<img') == text.count('<audio controls loop') == 2
  assert text.index('<b>mine &amp; yours.mid</b>') < text.index('<b>reconstruction</b>')


def test_a_midi_file_or_the_loop_above(tmp_path, capsys):
  """And what is not in it is said."""
  from drumloops import DrumLoop, DrumModel, notebook
  model = DrumModel()
  own_loops.write_own_loops(tmp_path, count=1)
  [default] = model.sample()
  assert notebook.choose(model, '', False, default, 0, 10) is default
  path = str(tmp_path / 'loop-01.mid')
  loop = notebook.choose(model, path, False, default, 0, 10)
  assert loop.name == 'loop-01.mid' and loop.bars == 4
  assert capsys.readouterr().out == ''.join(f'{said}\n' for said in loop.left_out)
  assert notebook.tempo_of(loop, 77) == loop.qpm
  assert notebook.tempo_of(DrumLoop(loop.hits, qpm=500), 77) == 77


def test_weights_without_sliders_leave_songs_to_the_projects(tmp_path, capsys):
  from drumloops import DrumModel, notebook
  own = DrumModel()
  assert notebook.that_makes_songs(own) is own
  for path in (conftest.ROOT / 'weights' / 'hierdec-drums_4bar').glob('model*'):
    shutil.copy(path, tmp_path)
  assert notebook.that_makes_songs(DrumModel(str(tmp_path))).checkpoint == own.checkpoint
  said = capsys.readouterr().out
  assert 'sliders.npz' in said and "project's own weights play" in said


def test_feel_by_drum_and_swing():
  """As the fields have it; without a feel, the swing alone."""
  from drumloops import DrumModel, notebook
  model = DrumModel()
  [loop] = model.sample(1)
  for feel, velocity, swing, expected in (
      (1, 'snare:0', '66', ('1,snare:0', 1, '66')), (0, '', '62', (None, None, '62')),
      (0, '', '', (None, None, None))):
    [made] = notebook.humanize(
        model, [loop], amount=feel, velocity=velocity, swing=swing)
    assert tuple(map(made.facts.get, ('velocity', 'timing', 'swing'))) == expected
    assert (made == loop) == (not swing)


def test_patches_are_summed_up_and_their_diff_is_folded(shown, capsys):
  from drumloops import notebook
  notebook.show_patches()
  [text] = shown
  assert text.startswith('<details><summary>') and text.endswith('</details>')
  more = len(re.findall(r'^\+(?!\+\+ )', text, re.M))
  assert '+++ b/magenta/models/music_vae/configs.py' in text
  said = capsys.readouterr().out
  assert f'changed: {more} lines added' in said and len(said.splitlines()) == 1


def measure_less(project):
  """Makes FEWER's constants smaller in a copy of the project."""
  for (file, name), value in FEWER.items():
    path = project / 'scripts' / 'drumloops' / file
    text, found = re.subn(rf'^{name} = \S+', f'{name} = {value}', path.read_text(),
                          flags=re.M)
    assert found == 1, name
    path.write_text(text)


def keep_cells(path, last):
  """Removes the cells after the one of title `last` from a notebook."""
  nb, _ = read(path)
  [end] = [i for i, cell in enumerate(nb.cells) if cell.source.startswith(
      f'#@title {last}')]
  del nb.cells[end + 1:]
  nbformat.write(nb, path)


@pytest.mark.parametrize('failure, words', [
    ('MessageError', 'credential propagation was unsuccessful'),
    ('ValueError', 'mount failed'), ('NotImplementedError', 'no Drive here'),
    ('nothing', 'No such file'), ('', None)])
def test_drive_that_can_not_be_mounted(tmp_path, failure, words):
  """One sentence, and on without it; what is kept is kept beside the notebook."""
  cell = read(conftest.ROOT / NAME)[1][0].source
  result = conftest.run(
      sys.executable, '-c', cell.replace('/content', str(tmp_path / 'content')),
      cwd=tmp_path, env={'PYTHONPATH': str(conftest.ROOT / 'tests' / 'stand_in'),
                         'DRIVE_FAILS': failure})
  assert result.returncode == 0 and not result.stderr
  *sentences, last = result.stdout.splitlines()
  if words is None:
    assert not sentences and 'content/drive/MyDrive' in last
  else:
    [sentence] = sentences
    assert 'was not mounted (' in sentence and words in sentence
    assert last.endswith(str(tmp_path / 'runs'))


def test_another_project_on_drive_is_not_taken(tmp_path):
  """Any project may have a scripts/install.py."""
  (tmp_path / 'content' / 'another' / 'scripts').mkdir(parents=True)
  (tmp_path / 'content' / 'another' / 'scripts' / 'install.py').write_text(
      'print("not me")')
  cells = [c.source.replace('/content', str(tmp_path / 'content'))
           for c in read(conftest.ROOT / NAME)[1][:2]]
  cells[1] = re.sub('repository = .*', f'repository = "{tmp_path}/nowhere"',
                    cells[1])
  result = conftest.run(sys.executable, '-c', '\n'.join(cells), cwd=tmp_path)
  assert result.returncode == 1 and 'not me' not in result.stdout
  assert 'The project was not found' in result.stderr


@pytest.fixture(scope='module', params=['colab', 'fallback', 'desktop'])
def executed(request, groove_zip, tmp_path_factory):
  """The cells, executed.

  As on Colab, from Drive, one file uploaded; as on Colab's fallback runtime, with
  no Drive to mount, up to the first loops (FALLBACK=1 runs it whole); and from a
  clone on a desktop, in JupyterLab in a browser.
  """
  content = tmp_path_factory.mktemp('content')
  where = request.param
  python = (sys.executable if where == 'desktop' else
            request.getfixturevalue(f'{where}_python'))
  project = content if where == 'desktop' else content / (
      'drive/MyDrive/Colab Notebooks/drums' if where == 'colab' else 'drums')
  conftest.copy_project(project)
  measure_less(project)
  if where == 'fallback' and not IS_FALLBACK_WHOLE:
    keep_cells(project / NAME, LAST_OF_FALLBACK)
  values = [*FORM, f'folder={FOLDER!r}', f'run_name={RUN!r}']
  env = {'PYTHONPATH': str(conftest.ROOT / 'tests' / 'stand_in')}
  if where == 'colab':
    own_loops.write_own_loops(content / 'my songs', count=1)
    values.append('upload=True')
    env['UPLOAD'] = str(content / 'my songs' / 'loop-01.mid')
  else:
    env['DRIVE_FAILS'] = 'NotImplementedError'
  try:
    if where == 'desktop':
      nb, _ = read(project / NAME)
      execute_notebook.fill_in(nb, str(content), values)
      nbformat.write(nb, content / 'executed.ipynb')
      with lab.opened(content / 'executed.ipynb', python) as page:
        assert lab.run_all(page) == []
        players = 'document.querySelectorAll(".jp-Notebook audio")'
        page.wait(f'[...{players}].every(a => a.duration > 4)')
        assert page.run(f'{players}.length') == 16
        page.run(f'{players}[0].play()')
        page.wait(f'{players}[0].currentTime > 0.2')
        lab.screenshot(page, content / 'jupyterlab.png')
        errors = [e for e in page.console_errors()  # The badge needs a network.
                  if 'colab-badge.svg' not in e]
        assert not errors, errors
    else:
      result = conftest.run(
          python, conftest.ROOT / 'tests' / 'execute_notebook.py',
          project / NAME, content / 'executed.ipynb', content, *values, env=env)
      assert result.returncode == 0, result.stderr[-3000:]
  finally:
    conftest.run(python, '-c', STOP_TENSORBOARD, content)
  return content, read(content / 'executed.ipynb')[1], where


def outputs(cell):
  """Returns a cell's text, and how many pictures and players it shows."""
  text = ''.join(o.text for o in cell.outputs if o.output_type == 'stream')
  data = [key for o in cell.outputs for key in o.get('data', ())]
  html = ''.join(o.data.get('text/html', '') for o in cell.outputs
                 if 'data' in o)
  return (text, data.count('image/png') + html.count('<img'),
          html.count('<audio controls loop'))


def test_executed_cells(executed):
  content, cells, where = executed
  results = {re.match('#@title (.*)', c.source)[1]: (outputs(c), c) for c in cells}
  def shown(words):
    """The text, pictures and players of the cell whose title has these words in it."""
    [found] = [result for title, (result, _) in results.items() if words in title]
    return found
  def html_of(words):
    [found] = [o.data for title, (_, c) in results.items() if words in title
               for o in c.outputs if 'data' in o]
    return found
  texts = [text for (text, *_), _ in results.values()]
  assert not any('Traceback' in text or '0000 00:00:' in text for text in texts)
  # Which notebooks show in red.
  assert not [o.text for c in cells for o in c.outputs
              if o.output_type == 'stream' and o.name == 'stderr']
  assert ('drive/MyDrive' in shown('Drive')[0]) == (where == 'colab')
  assert ('was not mounted' in shown('Drive')[0]) == (where == 'fallback')
  assert 'files are new' in shown('Patch')[0]
  diff = html_of('Patch')['text/html']
  assert '--- a/magenta/models/music_vae/configs.py' in diff
  assert '+++ b/magenta/models/music_vae/preprocess_tfrecord.py' in diff
  assert '1150 MIDI files' in shown('Download the Groove')[0]
  assert shown('Look at')[1:] == (2, 1) and '13.6 hours' in shown('Look at')[0]
  assert '897 NoteSequences (train split)' in shown('Convert')[0]
  board = html_of('TensorBoard')
  assert ('<iframe' in board['text/html'] if where == 'desktop' else
          'google.colab.kernel.proxyPort' in board['application/javascript'])
  trained, *pictures = shown('Train, or')
  assert 'Trained to step 8' in trained and pictures == [1, 0]
  assert 'Training:' in trained  # The bar.
  assert 'This run, step 8' in trained
  assert 'model.ckpt-8' in shown('Finish')[0] and 'rock (1026)' in shown('Finish')[0]
  assert shown('Sample')[1:] == (3, 3)
  assert len(json.dumps(results[LAST_OF_FALLBACK][1].outputs)) < 3e6
  if list(results)[-1] == LAST_OF_FALLBACK:
    return
  assert shown('song')[1:] == (1, 1)
  assert shown('Interpolate')[1:] == (4, 3)  # With the strip of all three.
  assert shown('Reconstruct')[1:] == (2, 2)  # The file and what was made of it.
  assert shown('Complete')[1:] == (2, 2)
  assert shown('Humanize')[1:] == (2, 2)  # Before and after.
  assert shown('Compare')[1:] == (2, 2)  # The newest checkpoint and the best one.
  assert shown('Map')[1:] == (1, 0)
  assert '1768 loops of the test split' in shown('Evaluate')[0]
  assert shown('Evaluate')[1:] == (1, 0)
  assert ('Downloading drum_loops.zip' in shown('Download everything')[0]) == (
      where != 'desktop')
  assert 'user/name' in shown('Share')[0]
  assert 'drums.html' in shown('page')[0]
  # Without an upload, a loop to humanize is written too.
  for kind, count in (('mid', 11 if where == 'colab' else 12), ('wav', 10), ('png', 13),
                      ('json', 1), ('html', 2)):
    found = [p for p in content.rglob(f'outputs/*.{kind}')]
    assert len(found) == count, found
  assert not list(content.rglob('x'))  # What $(touch x) would make.


def test_run_is_kept(executed):
  """Training's checkpoints have been copied, and the finished weights."""
  content, _, where = executed
  kept = content / (f'drive/MyDrive/{FOLDER}' if where == 'colab' else 'runs')
  for folder in ('train', 'best', 'weights'):
    assert (kept / RUN / folder / 'model.ckpt-8.index').exists()
  local = content if where == 'colab' else content / 'runs' / 'local'
  assert (local / 'runs' / RUN / 'train' / 'model.ckpt-8.index').exists()
  assert not list(kept.rglob('*.tmp'))
