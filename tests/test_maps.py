"""Maps: kits' notes, read and written, by Python and by the page."""
import collections
import io
import json
import os
import random
import zipfile

import conftest
from drumloops import DrumLoop, DrumModel, Hit, Humanizer, UserError
from drumloops import errors, grid, notebook
from drumloops.humanize import humanize_file, humanizer
from drumloops.loop import OtherNote
from drumloops.midi import drum_maps, loop_file, midi_file
from drumloops.system import cells, magenta_setup
import mido
import numpy as np
import own_loops
import pytest
import test_midi
from test_web import node, read_in_page  # noqa: F401 (a fixture)

NAMES = tuple(drum_maps.MAPS)
NINE = DrumLoop([Hit(drum, i) for i, drum in enumerate(grid.DRUM_CLASSES)])


@pytest.fixture(autouse=True)
def magenta():
  magenta_setup.music_vae()


def drums_of(loop):
  return [hit.drum for hit in loop.hits]


def write_notes(path, pitches):
  """Writes a file of one hit a sixteenth, in as many bars as it takes."""
  return test_midi.write(path, test_midi.notes(enumerate(pitches)))


def pitches_in(data):
  return [hit.pitch for hit in midi_file.find_hits(midi_file.parse(data).tracks)]


def write_map(path, **notes):
  path.write_text(json.dumps(notes))
  return str(path)


def test_the_table_is_magentas_and_says_its_sources():
  roland, reduced = (getattr(drum_maps._magenta_data(), f'{name}_DRUM_PITCH_CLASSES')
                     for name in ('ROLAND', 'REDUCED'))
  gm, td11 = drum_maps.GM, drum_maps.MAPS['td11']
  assert list(gm.written.values()) == [own[0] for own in reduced]
  assert all(set(own) <= set(all_of) for own, all_of in zip(gm.notes, reduced))
  assert list(map(set, td11.notes)) == list(map(set, roland))
  assert drum_maps.GENERAL_MIDI == {22: 42, 26: 46, 58: 43}
  assert drum_maps.HI_HATS == {22, 26, 42, 44, 46} == td11.hi_hats
  path = conftest.SCRIPTS / 'drumloops' / 'midi' / 'drum_maps.json'
  for name, content in json.loads(path.read_text()).items():
    assert list(content) == ['title', 'source', *grid.DRUM_CLASSES], name
    assert len(content['source']) > 50 and all(drum_maps.MAPS[name].notes)


@pytest.mark.parametrize('name', NAMES)
def test_nine_drums_go_out_and_come_back(name, tmp_path, node):  # noqa: F811
  """From each kit to each other; from Python to the page, and back."""
  path = str(tmp_path / 'a.mid')
  NINE.save(path, map=name)
  loop = DrumLoop.read(path, map=name)
  assert drums_of(loop) == list(grid.DRUM_CLASSES) and not loop.left_out
  assert [hit.pitch for hit in loop.hits] == list(drum_maps.MAPS[name].written.values())
  for other in NAMES:
    other_path = tmp_path / 'b.mid'
    other_path.write_bytes(loop.to_midi(map=other))
    assert drums_of(DrumLoop.read(other_path, map=other)) == list(grid.DRUM_CLASSES)
  data = (tmp_path / 'a.mid').read_bytes()
  [found] = read_in_page(node, [data], how={'map': name})
  assert list(found['pattern'].values()) == loop.pattern().tolist()
  written = node(None, '''
      const {writeMidi} = await app('midi');
      return [...writeMidi(given.drums.map(drum => ({
        drum, start: 4 * drum, velocity: 100})), 64, 120, given.name)];''',
                 drums=list(range(grid.DRUMS)), name=name)
  (tmp_path / 'a.mid').write_bytes(bytes(written))
  assert drums_of(DrumLoop.read(path, map=name)) == list(grid.DRUM_CLASSES)


@pytest.mark.parametrize('name', ['gm', 'addictive2'])
def test_daws_are_told_the_drums_names(name, node):  # noqa: F811
  """By both alike, as the map's notes; and where the parts of a longer loop begin."""
  loop = DrumLoop([Hit(drum, 4 * i) for i, drum in enumerate(grid.DRUM_CLASSES)], 10)
  written = node(None, """
      const {writeMidi} = await app('midi');
      return [...writeMidi(given.drums.map(drum => ({
        drum, start: 16 * drum, velocity: 100})), 160, 120, given.name)];""",
                 drums=list(range(grid.DRUMS)), name=name)
  def said(data):
    return [[(message.type, message.dict().get('text', message.dict().get('name')))
             for message in track if message.type in ('track_name', 'text', 'marker')]
            for track in mido.MidiFile(file=io.BytesIO(data)).tracks]
  of_places, of_drums = said(loop.to_midi(map=name))
  assert said(bytes(written)) == [of_places, of_drums]
  kit = drum_maps.MAPS[name]
  assert of_drums == [('track_name', 'Drums'), *(
      ('text', f'{pitch} {grid.DRUM_CLASSES[drum]}')
      for pitch, drum in sorted((p, d) for d, p in kit.written.items()))]
  assert of_places == [('marker', f'bars {a} to {b}')
                       for a, b in ((1, 4), (5, 8), (9, 10))]


@pytest.mark.parametrize('name', NAMES)
def test_all_notes_of_a_kit_are_read(name, tmp_path, node):  # noqa: F811
  """Articulations too, hit for hit; all others are said."""
  kit = drum_maps.MAPS[name]
  path = write_notes(tmp_path / 'a.mid', range(128))
  loop = DrumLoop.read(path, bars=8, map=name, first_bar=1)
  assert [hit.drum for hit in loop.hits] == [
      None if kit.drum_of(pitch) is None else grid.DRUM_CLASSES[kit.drum_of(pitch)]
      for pitch in range(128)]
  known = sum(map(len, kit.notes))
  assert sum(hit.drum is not None for hit in loop.hits) == known
  assert f'{128 - known} of 128 hits are left out' in loop.left_out[0]
  path = tmp_path / 'b.mid'
  write_notes(path, [note for own in kit.notes for note in own])
  [found] = read_in_page(node, [path.read_bytes()], how={'map': name, 'most': 8})
  assert list(found['pattern'].values())[:known] == [
      1 << drum for drum, own in enumerate(kit.notes) for _ in own]


def test_without_a_map_nothing_changes(tmp_path):
  """Notes of the TD-11 become General MIDI's, and others stay; so do melodies."""
  path = write_notes(tmp_path / 'a.mid', [36, 22, 26, 58, 55, 37, 56])
  loop = DrumLoop.read(path)
  assert loop.map is None
  assert pitches_in(loop.to_midi()) == [36, 42, 46, 43, 55, 37, 56]
  assert loop.to_midi() == loop_file.midi_bytes(loop.to_note_sequence())
  assert pitches_in(NINE.to_midi()) == [36, 38, 42, 46, 45, 48, 50, 49, 51]
  melody = DrumLoop((), other_notes=(OtherNote(58, 0, 1, 90, 0, 0, False),))
  assert melody.to_note_sequence().notes[0].pitch == 58


def test_a_loop_for_a_kit(tmp_path):
  """Its file has the kit's notes, its sound and Magenta's input do not."""
  path = write_notes(tmp_path / 'a.mid', [36, 42, 50, 58, 65, 1, 81])
  loop = DrumLoop.read(path, map='addictive2')
  own = [36, 42, 50, 58, 65, 1, 81]
  assert [hit.pitch for hit in loop.hits] == own
  assert pitches_in(loop.to_midi()) == own
  assert pitches_in(loop.to_midi('ssd5')) == [36, 38, 42, 70, 43, 55]
  assert [note.pitch for note in loop.to_note_sequence().notes] == [
      36, 38, 42, 46, 45, 49]
  known = [36, 38, 42, 46, 43, 1, 49]
  plain = DrumLoop.read(write_notes(tmp_path / 'b.mid', known))
  for config in ('groovae_4bar', 'hier-drums_4bar', 'hierdec-drums_4bar'):
    converter = magenta_setup.get_config(config).data_converter
    np.testing.assert_array_equal(loop.encoder_input(converter),
                                  plain.encoder_input(converter))
  assert loop.with_map('gm').with_map(None) == loop.with_map('gm')
  assert DrumLoop(NINE.hits, map='logic').map is drum_maps.MAPS['logic']


def test_completions_stay_in_the_files_kit(tmp_path):
  """What is kept has the file's notes, and what is added those of its kit."""
  steps = [(s, 50) for s in range(0, 64, 2)] + [(s, 36) for s in range(0, 64, 8)] + [
      (s, 42) for s in range(4, 64, 8)]
  path = test_midi.write(tmp_path / 'a.mid', test_midi.notes(steps))
  model, kit = DrumModel(), drum_maps.MAPS['addictive2']
  mine = model.read(path, map='addictive2')
  for loop in model.complete(mine, keep='kick,snare', count=2):
    assert all(grid.DRUM_CLASSES[kit.drum_of(hit.pitch)] == hit.drum for hit in loop.hits)
    assert {hit.pitch for hit in loop.kept} == {36, 42}
    assert {hit.pitch for hit in loop.hits if hit.drum == 'closed hi-hat'} <= {50}
    assert loop.map is kit
    loop = Humanizer().play(loop)[0].with_map('superior3')
    assert loop.kept <= set(loop.hits)
    assert {hit.pitch for hit in loop.hits if hit.drum == 'snare'} == {38}
  for loop in (*model.reconstruct(mine), *model.vary(mine), *model.interpolate(
      mine, mine, count=2)):
    assert loop.map is kit
    assert all(grid.DRUM_CLASSES[kit.drum_of(hit.pitch)] == hit.drum for hit in loop.hits)


def test_a_map_of_ones_own(tmp_path):
  path = write_map(tmp_path / 'mine.json', title='My kit', kick=[24], snare=[26, 22],
                   ride=[])
  mine = DrumLoop.read(write_notes(tmp_path / 'a.mid', [24, 26, 22, 38]), map=path)
  assert drums_of(mine) == ['kick', 'snare', 'snare', None]
  assert pitches_in(mine.to_midi(path)) == [24, 26, 26]
  with pytest.raises(UserError, match='mine.json has no note of the closed hi-hat'):
    NINE.save(tmp_path / 'b.mid', map=path)
  assert not (tmp_path / 'b.mid').exists()


@pytest.mark.parametrize('text,words', [
    (None, 'is neither a JSON file nor one of gm, td11, td17, ezdrummer3, superior3'),
    ('{"kick": [36]', 'is not JSON: '), ('\xff', 'is not JSON: '),
    ('[36]', 'gives no list of notes for each drum'),
    ('{"kick": 36}', 'gives no list of notes for each drum'),
    ('{"cowbell": [56]}', "has a drum 'cowbell'; the nine are kick, snare"),
    ('{"kick": [128]}', 'has the note 128; notes are whole numbers from 0 to 127'),
    ('{"kick": [36.5]}', 'has the note 36.5;'), ('{"kick": ["C1"]}', 'the note "C1";'),
    ('{"kick": [true]}', 'has the note true;'),
    ('{"kick": [36], "snare": [38, 36]}', 'has the note 36 twice'),
    ('{"kick": [], "title": "none"}', 'has no note of any drum')])
def test_what_is_no_map_is_a_sentence(tmp_path, text, words):
  path = tmp_path / 'my kit.json'
  if text is not None:
    path.write_bytes(text.encode('latin-1'))
  for asked, call in (('map', lambda: DrumLoop.read('none.mid', map=str(path))),
                      ('output_map', lambda: NINE.to_midi(map=str(path)))):
    with pytest.raises(UserError) as error:
      call()
    said = str(error.value)
    assert said.startswith(f'{asked}={path} ') and words in said and said.endswith('.')
    assert error.value.fields == (asked,)


def test_loops_are_written_by_whole_maps_only(tmp_path):
  """That is said before anything is sampled."""
  path = write_map(tmp_path / 'mine.json', kick=[36], snare=[38])
  write_notes(tmp_path / 'a.mid', [36, 38])
  for flags in (('--output_map=' + path,), (
      '--mode=complete', f'--input_midi_1={tmp_path}/a.mid', '--keep=kick',
      '--map=' + path)):
    conftest.check_sentence(conftest.script(
        'sample.py', *flags, f'--output_dir={tmp_path}/out'),
        'mine.json has no note of the closed hi-hat')
    assert not (tmp_path / 'out').exists()


def test_a_map_of_a_windows_editor(tmp_path):
  path = tmp_path / 'mine.json'
  path.write_text('{"kick": [24]}', encoding='utf-8-sig')
  assert drum_maps.find(str(path)).drum_of(24) == 0


def test_other_percussion_in_another_kit_is_said(tmp_path):
  path = write_notes(tmp_path / 'a.mid', [36, 38, 56, 60])
  assert humanized(path, map='gm', output_map='addictive2')[1][2] == (
      'In addictive2 they sound as others: 56 as open hi-hat, 60 as ride; delete them '
      'in your DAW if they should not.')


def humanized(path, **options):
  """Humanizes a file in place; returns its notes and what was said."""
  said = humanize_file.humanize_file(path, path, test_midi.Pushes(), **options)
  return [pitch for _, pitch, _ in test_midi.played(path)], said


def test_humanizing_by_a_map(tmp_path):
  """Notes stay, or are another kit's; chokes go with them."""
  path = write_notes(tmp_path / 'a.mid', [36, 50, 55, 1, 77])
  assert humanized(path, map='addictive2')[0] == [36, 50, 55, 1, 77]
  events = test_midi.notes(enumerate([36, 50, 55, 1, 77]))
  events.append((500, bytes([0xa9, 77, 127])))
  path = test_midi.write(tmp_path / 'a.mid', events)
  found, said = humanized(path, map='addictive2', output_map='ssd5')
  assert found == [36, 42, 70, 1, 55]
  assert '4 of 5 drum hits humanized' in said[0] and 'The pitches 1 are none' in said[1]
  assert [event.data[1] for track in midi_file.read(path).tracks for event in track
          if event.is_drum(midi_file.KEY_PRESSURE)] == [55]
  kick = write_map(tmp_path / 'kick.json', kick=[36])
  before = (tmp_path / 'a.mid').read_bytes()
  with pytest.raises(UserError, match='kick.json has no note of the closed hi-hat'):
    humanized(path, output_map=kick)
  assert (tmp_path / 'a.mid').read_bytes() == before


def test_hi_hats_of_a_map_stay_in_order(tmp_path):
  """With the pedal, which is moved with the notes that the map has for them."""
  events = [event for step in range(1, 60) for event in (
      (120 * step, bytes([0xb9, 4, step % 128])),
      (120 * step, bytes([0x99, (50, 57)[step % 2], 90])))]
  path = test_midi.write(tmp_path / 'a.mid', events)
  def pedals():
    return [event.data[1:] for track in midi_file.read(path).tracks for event in track
            if event.is_drum(midi_file.NOTE_ON, midi_file.CONTROLLER)]
  before, starts = pedals(), test_midi.played(path)
  humanized(path, map='addictive2')
  assert [data[:1] for data in pedals()] == [data[:1] for data in before]
  assert test_midi.played(path) != starts


def test_the_feel_of_a_performance_by_its_map(tmp_path):
  model = Humanizer().model
  read = humanizer.read_performance
  found = read(write_notes(tmp_path / 'a.mid', [36, 42, 50]), model, map='addictive2')
  np.testing.assert_array_equal(found, read(
      write_notes(tmp_path / 'b.mid', [36, 38, 42]), model))


@pytest.fixture(scope='module')
def performances(tmp_path_factory):
  """The notes of each file of GMD, or of own loops: {name: [pitch]}."""
  if path := os.environ.get('GROOVE_ZIP'):
    with zipfile.ZipFile(path) as groove:
      files = {name: midi_file.parse(groove.read(name)) for name in groove.namelist()
               if name.endswith('.mid')}
  else:
    folder = tmp_path_factory.mktemp('own')
    magenta_setup.music_vae()
    own_loops.write_own_loops(folder)
    files = {path.name: midi_file.read(str(path)) for path in folder.iterdir()}
  return {name: [hit.pitch for tracks in file.patterns
                 for hit in midi_file.find_hits(tracks)] for name, file in files.items()}


def test_drummers_files_are_read_as_they_are(performances):
  """For fewer than one in a hundred of GMD, another map is said to be better."""
  said = [name for name, pitches in performances.items()
          if drum_maps.better_map(name, pitches)]
  assert len(said) < len(performances) / 100, said


def test_files_of_other_kits_are_recognized(performances):
  """Beats of GMD, with notes of the kit; files that differ little are not said."""
  drum_of, rng = drum_maps.drum_map(), random.Random(0)
  beats = [pitches for name, pitches in performances.items()
           if '_fill_' not in name and len(pitches) >= 32]
  def share(kit, choose, used=None):
    found = collections.Counter()
    for pitches in beats:
      said = drum_maps.better_map('a', [
          choose(drum_maps.MAPS[kit].notes[drum_of(pitch)]) for pitch in pitches], used)
      found[said[0].split()[3].rstrip(':') if said else ''] += 1 / len(beats)
    print(kit, dict(found))
    return found
  def written(notes):
    return notes[0]
  assert share('addictive2', written)['addictive2'] > 0.9
  assert share('addictive2', rng.choice)['addictive2'] > 0.7
  found = share('ezdrummer3', rng.choice)
  assert found['ezdrummer3'] + found['superior3'] > 0.7
  assert share('gm', written, drum_maps.MAPS['addictive2'])[''] < 0.3
  for kit in ('gm', 'td17', 'superior3', 'logic', 'ableton'):
    assert share(kit, written)[''] > 0.98, kit


def test_a_better_map_is_said_wherever_a_file_is_read(tmp_path, node):  # noqa: F811
  loop = DrumLoop([Hit('closed hi-hat', i / 2) for i in range(32)] + [
      Hit(drum, i) for i in range(16) for drum in [('kick', 'snare')[i % 2]]])
  path = tmp_path / 'mine.mid'
  loop.save(path, map='addictive2')
  words = '48 of 48 hits are kick, snare, hi-hat or ride there, 16 here'
  [said] = DrumLoop.read(path).left_out
  assert said == (f'mine.mid reads like addictive2: {words}. map=addictive2 reads it so.')
  assert not DrumLoop.read(path, map='addictive2').left_out
  [page] = read_in_page(node, [path.read_bytes()])
  assert page['notes'] == [f'It reads like XLN Addictive Drums 2: {words}. Choose that '
                           'as the notes of the file, and open it again.']
  [page] = read_in_page(node, [path.read_bytes()], how={'map': 'addictive2'})
  assert not page['notes']
  assert words in humanized(str(path))[1][-1]


def test_the_page_compares_maps_as_the_commands(tmp_path, node, performances):  # noqa: F811
  """By every map, a file of every kit: the same map is better, by the same counts."""
  drum_of = drum_maps.drum_map()
  pitches = max(list(performances.values())[:20], key=len)[:400]
  files = [[kit.notes[drum_of(pitch)][i % len(kit.notes[drum_of(pitch)])]
            for i, pitch in enumerate(pitches)] for kit in drum_maps.MAPS.values()]
  found = node(None, '''
      const {betterKit} = await app('drum_maps');
      return given.files.map(file => given.names.map(name => betterKit(file, name)));''',
               files=files, names=['', *NAMES])
  for file, sentences in zip(files, found):
    for used, page in zip([None, *drum_maps.MAPS.values()], sentences):
      said = drum_maps.better_map('It', file, used)
      assert bool(said) == bool(page)
      for text, other in zip(said, page):
        assert text.split(': ')[1].split('. ')[0] == other.split(': ')[1].split('. ')[0]
        assert drum_maps.MAPS[text.split()[3].rstrip(':')].title in other


def test_commands(tmp_path):
  path = write_notes(tmp_path / 'in.mid', [36, 50, 42, 50])
  result = conftest.script('humanize.py', path, tmp_path / 'out.mid', '--map=addictive2',
                           '--output_map=superior3')
  assert result.returncode == 0, result.stderr
  assert [pitch for _, pitch, _ in test_midi.played(str(tmp_path / 'out.mid'))] == [
      36, 42, 38, 42]
  result = conftest.script(
      'sample.py', '--num_outputs=1', '--output_map=addictive2', '--nosound',
      '--nopictures', f'--output_dir={tmp_path}')
  assert result.returncode == 0, result.stderr
  found = DrumLoop.read(tmp_path / 'sample-1.mid', map='addictive2')
  assert found.pattern().tolist() == DrumModel().sample(1)[0].pattern().tolist()
  assert {hit.pitch for hit in found.hits} <= set(
      drum_maps.MAPS['addictive2'].written.values())
  for flags, words in ((('--map=kit',), 'say how a MIDI file is read'),
                       (('--output_map=kit',), '--output_map=kit is neither a JSON'),
                       (('--mode=vary', f'--input_midi_1={path}', '--map=kit'),
                        '--map=kit is neither a JSON')):
    conftest.check_sentence(conftest.script(
        'sample.py', *flags, f'--output_dir={tmp_path / "no"}'), words)
  assert not (tmp_path / 'no').exists()


def test_the_notebook(tmp_path, monkeypatch, capsys):
  """Its fields, in its sentences too."""
  fields = [cell.fields for cell in cells.read_cells() if 'map' in cell.fields]
  assert len(fields) == 4 and {own['map'] for own in fields} == {'input_map'}
  for cell in cells.read_cells():
    for line in cell.source.splitlines():
      if line.startswith(('input_map =', 'output_map =')):
        choices = json.loads(line[line.index('['):line.index(']') + 1])
        assert choices == ['', *NAMES]
  monkeypatch.setattr(errors, '_words_of', cells.in_cells)
  assert errors.in_words(errors.field('map', 'gm')).startswith('input_map = gm in cell "')
  path = write_notes(tmp_path / 'in.mid', [36, 50, 42, 50])
  loop = notebook.choose(DrumModel(), path, False, NINE, 0, 10, map='addictive2')
  assert drums_of(loop) == ['kick', 'closed hi-hat', 'snare', 'closed hi-hat']
  monkeypatch.setattr(notebook, 'show_html', lambda *parts: None)
  model = DrumModel()
  notebook.show(model.sample(1), str(tmp_path), output_map='addictive2')
  found = DrumLoop.read(tmp_path / 'sample-1.mid', map='addictive2')
  assert found.pattern().tolist() == model.sample(1)[0].pattern().tolist()
