"""The door: what a student types in Python. Values in, values out, and silence."""
import dataclasses
import re

import conftest
import mido
from drumloops import DrumLoop, DrumModel, Hit, Humanizer, UserError
from drumloops.midi import midi_file, swing
from drumloops.data import patterns
from drumloops.models import sliders
from drumloops.models import song as songs
import numpy as np
import pytest

BEAT = [Hit('kick', 0, 110), Hit('closed hi-hat', 0.5, 70), Hit('snare', 1, 100),
        Hit('kick', 2.5, 90), Hit('snare', 3.02, 101)]


@pytest.fixture(scope='module')
def mine():
  """A loop of two bars."""
  return DrumLoop([*BEAT, *(hit._replace(time=hit.time + 4) for hit in BEAT)], bars=2,
                  qpm=96)


@pytest.fixture(scope='module')
def model():
  return DrumModel()


def test_examples_of_the_readme(mine, tmp_path, monkeypatch, capfd):
  """Each as it stands there, from the top; nothing is printed."""
  mine.save(tmp_path / 'mine.mid')
  monkeypatch.chdir(tmp_path)
  text = (conftest.ROOT / 'README.md').read_text(encoding='utf-8')
  [code] = [part for part in re.findall(r'```python\n(.*?)```', text, re.S)
            if 'import DrumLoop' in part]
  for name in ('sample', 'complete', 'vary', 'interpolate', 'reconstruct', 'play'):
    assert f'.{name}(' in code
  names = {}
  exec(code, names)  # It is ours.
  assert capfd.readouterr() == ('', '')
  assert (tmp_path / 'take2.mid').stat().st_size > 500
  for value in names.values():
    if isinstance(value, list):
      assert value and all(isinstance(loop, DrumLoop) for loop in value)


def test_a_loop_is_a_value(mine, tmp_path):
  with pytest.raises(AttributeError):
    mine.qpm = 100
  assert mine == DrumLoop(mine.hits[::-1], bars=2, qpm=96) != DrumLoop(mine.hits)
  assert len({mine, DrumLoop(mine.hits, 2, 96)}) == 1
  path = tmp_path / 'mine.mid'
  mine.save(path)
  again = DrumLoop.read(path)
  assert (again.bars, again.qpm, again.name) == (2, pytest.approx(96), 'mine.mid')
  assert [hit[:3] for hit in again.hits] == [
      (hit.drum, pytest.approx(hit.time, abs=1 / 480), hit.velocity)
      for hit in mine.hits]
  assert not again.left_out and again.hits[0].pitch == 36
  assert midi_file.read(path).last_tick == 2 * 4 * 480
  sequence = mine.to_note_sequence()
  assert len(sequence.notes) == 10 and sequence.total_time == pytest.approx(5)


def test_a_loop_shows_itself(mine):
  shown = mine._repr_html_()
  assert shown.count('<img') == shown.count('<audio controls loop') == 1
  assert mine.plot().axes[0].get_title('left') == 'loop'
  audio = mine.audio()
  assert audio.shape == (5 * 44100, 2) and 0.1 < np.abs(audio).max() <= 1


def test_hits_before_the_beginning_and_after_the_end():
  loop = DrumLoop((hit for hit in [('kick', -0.2), ('snare', 4.6)]), bars=1)
  assert loop.pattern().nonzero()[0].tolist() == [0] and len(loop.hits) == 2


def test_a_made_loop_swings_again(model):
  """Its swing and notes are the given loop's, and nothing is said twice."""
  mine = DrumLoop([Hit('ride', beat + at, 80, 51) for beat in range(16) for at in (
      0, 2 / 3)])
  mine = dataclasses.replace(mine, swing=swing.find_swing(mine.hits), pitches={8: 59})
  [first] = model.vary(mine)
  [second] = model.vary(first)
  assert first.swing == second.swing == mine.swing and second.pitches == {8: 59}
  assert len(second.remarks) == 1 and 'swings' in second.remarks[0]


def test_a_students_own_random_numbers_stay(model):
  np.random.seed(5)
  want = np.random.rand()
  np.random.seed(5)
  model.sample()
  assert np.random.rand() == want


@pytest.mark.parametrize('values', [
    {'qpm': 3}, {'qpm': float('inf')}, {'bars': 2.5}, {'bars': 0},
    {'hits': [Hit('kick', float('nan'))]}, {'hits': [Hit('kick', 0, 64.5)]},
    {'hits': [Hit('kick', 0, 64, 300)]}])
def test_values_that_no_file_could_have(values):
  with pytest.raises(UserError):
    DrumLoop(**{'hits': BEAT, **values})


@pytest.mark.parametrize('hits,words', [
    ([Hit('cowbell', 0)], "no drum 'cowbell'"), ([Hit(None, 0)], 'a drum, or else'),
    ([Hit('kick', 0, 0)], 'from 1 to 127')])
def test_wrong_hits(hits, words):
  with pytest.raises(UserError, match=words):
    DrumLoop(hits)


def test_the_same_seed_gives_the_same_loops(model):
  """Whatever was made in between, by the graph that is built once."""
  first = model.sample(2, seed=3)
  others = model.sample(2, seed=4)
  assert model.sample(2, seed=3) == first != others
  assert DrumModel().sample(2, seed=3) == first
  assert all(loop.bars == 4 and loop.hits for loop in first)
  [longer] = model.sample(bars=8, style='funk')
  assert longer.bars == 8 and any(hit.time >= 16 for hit in longer.hits)


def test_what_is_kept_is_kept(model, mine):
  made = model.complete(mine, keep=['kick', 'snare'], count=2, seed=1)
  assert made == model.complete(mine, keep='kick,snare', count=2, seed=1)
  own = {(hit.time + begin, hit.velocity) for hit in mine.hits for begin in (0, 8)
         if hit.drum in ('kick', 'snare')}
  for loop in made:
    assert {(hit.time, hit.velocity) for hit in loop.kept} == own
    assert {hit for hit in loop.hits if hit.drum in ('kick', 'snare')} == loop.kept
    assert len(loop.hits) > len(own) and loop.qpm == 96
    assert 'gives 2 bars, which repeat' in loop.remarks[0]
  played = Humanizer().play(made, take=2)
  for loop, plain in zip(played, made):
    assert loop.kept <= set(loop.hits)
    assert len(loop.hits) == len(plain.hits) and loop.hits != plain.hits


def test_near_and_between(model, mine):
  [same] = model.vary(mine, amount=0)
  assert {(hit.drum, hit.time) for hit in same.hits} >= {
      (hit.drum, hit.time) for hit in mine.hits}
  path = model.interpolate(mine, model.sample(seed=1)[0], count=3)
  assert len(path) == 3 and path[0].pattern().tolist()[:32] == mine.pattern().tolist()
  [again] = model.reconstruct(mine)
  assert 'the latent kept' in again.remarks[-1]


def test_sliders(model):
  """They go up with what they are of, from a style and from a loop, too."""
  def has(loops):
    return sliders.measure(np.array([loop.pattern()[:64] for loop in loops])).mean(axis=0)
  for i, name in enumerate(sliders.ATTRIBUTES):
    low, high = (model.sample(4, 'rock', seed=1, **{name: value}) for value in (-2, 2))
    assert has(low)[i] < has(high)[i]
    assert low[0].facts['sliders'] == f'{name} -2'
  assert model.sample(2, density=1.) == model.sample(2, density=1) != model.sample(2)
  assert model.sample(1, density=0) == model.sample(1)
  [own] = model.sample(1, seed=2)
  [thin], [same], [full] = (
      model.vary(own, amount=0, density=value) for value in (-1, 0, 1))
  assert has([thin])[0] < has([own])[0] < has([full])[0]
  assert same.pattern().tolist() == own.pattern().tolist()
  kept = {(hit.drum, hit.step) for hit in thin.kept}
  assert kept and kept <= {(hit.drum, hit.step) for hit in own.hits}
  assert model.sample(1, density=-2, bars=8)[0].bars == 8


FORM = 'intro2,verse8,chorus8,verse8,outro4'


def test_a_song(model, tmp_path):
  """Verses are alike, a chorus is another; the file says where each section begins."""
  song = model.song(FORM, seed=1, qpm=100)
  assert song == model.song(FORM.split(','), seed=1, qpm=100)
  assert (song.bars, song.qpm) == (30, 100)
  pattern = song.pattern()
  first, chorus, second = (pattern[at:at + 128] for at in (32, 160, 288))
  [alike], [other] = (patterns.hamming(first[np.newaxis], part[np.newaxis])
                      for part in (second, chorus))
  assert alike < other / 2
  density, riding = (measure(np.array([first[:64], chorus[:64]])) for measure in (
      sliders.density, songs.riding))
  assert density[0] < density[1] and riding[0] <= riding[1]
  song.save(tmp_path / 'song.mid')
  [played] = Humanizer().play(song)
  played.save(tmp_path / 'played.mid')
  for name in ('song.mid', 'played.mid'):
    markers = [(message.time, message.text) for message in mido.merge_tracks(
        mido.MidiFile(tmp_path / name).tracks) if message.type == 'marker']
    assert [text for _, text in markers] == [
        'intro', 'verse', 'chorus', 'verse', 'outro']
  read = DrumLoop.read(tmp_path / 'song.mid', bars=64, first_bar=1)
  assert read.bars == 30 and read.pattern().tolist() == pattern.tolist()


def test_takes(model):
  loops = model.sample(2)
  humanizer = Humanizer()
  first, second = (humanizer.play(loops, take=take) for take in (1, 2))
  assert first == Humanizer().play(loops) != second
  assert [loop.pattern().tolist() for loop in first] == [
      loop.pattern().tolist() for loop in loops]
  assert humanizer.play(loops, amount=0) == loops
  assert humanizer.play(loops[0], velocity=1, timing=0)[0].hits[0].time == (
      loops[0].hits[0].time)


@pytest.mark.parametrize('call,field', [
    (lambda: DrumModel().sample(0), 'count'), (lambda: DrumModel().sample(qpm=5), 'qpm'),
    (lambda: DrumModel().sample(bars=3), 'bars'),
    (lambda: DrumModel().sample(seed=-1), 'seed'),
    (lambda: DrumModel().complete(DrumLoop(BEAT)), 'keep'),
    (lambda: DrumModel().complete(DrumLoop(BEAT), kep='kick'), 'keep'),
    (lambda: DrumModel().vary(DrumLoop(BEAT), amount=2), 'amount'),
    (lambda: DrumModel().sample(density=2.5), 'density'),
    (lambda: DrumModel().song('verse'), 'form'),
    (lambda: DrumModel().song('verse40,chorus40'), 'form'),
    (lambda: DrumModel().vary(DrumLoop(BEAT), densty=1), 'syncopation'),
    (lambda: Humanizer().play([], take=-1), 'take')])
def test_errors_say_what_to_change(call, field):
  with pytest.raises(UserError, match=field) as raised:
    call()
  assert field in raised.value.fields and '--' not in str(raised.value)
