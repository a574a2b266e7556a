"""The page, in headless Chromium, opened as by a double click."""
import base64
import dataclasses
import io
import os
import pathlib
import re
import shutil

import browser
from drumloops import DrumLoop
from drumloops.errors import in_words
from drumloops.grid import hit_at
from drumloops.midi import sound, soundfonts
from drumloops.output import gallery, plots
from drumloops.system import magenta_setup
import numpy as np
from own_loops import beat
import pytest

FACTS = {'config': 'hierdec-drums_4bar', 'checkpoint': 'model.ckpt-1',
         'style': 'funk', 'mode': 'sample', 'seed': 7, 'temperature': 0.6,
         'qpm': 173.5, 'humanized': True, 'take': 3}


@pytest.fixture(autouse=True)
def magenta():
  magenta_setup.music_vae()


def loop_of(shift=0., qpm=120, kept_drums=None, **facts):
  """A DrumLoop, late by some steps, of which the hits of some drums were kept."""
  loop = DrumLoop.of_note_sequence(
      beat(shift=shift), qpm, 4, facts={**FACTS, **facts})
  return loop if kept_drums is None else dataclasses.replace(loop, kept=frozenset(
      hit for hit in loop.hits if hit.drum in kept_drums))


def write(folder, name='funk', count=3, **facts):
  # Other seeds are other loops.
  shift = 0.02 * (facts.get('seed', FACTS['seed']) - FACTS['seed'])
  return gallery.write([loop_of(0.1 * i + shift, 173.5, **facts) for i in range(count)],
                       str(folder), name)


def test_files_and_what_the_page_remembers(tmp_path):
  paths = write(tmp_path)
  assert sorted(os.listdir(tmp_path)) == sorted(
      [f'funk-{i}.{kind}' for i in (1, 2, 3) for kind in ('mid', 'png', 'wav')]
      + ['index.html'])
  before = {p.name: p.read_bytes() for p in tmp_path.glob('funk-*')}
  write(tmp_path, 'rock', 1, style=None, humanized=False)
  assert write(tmp_path, 'funk', 2, seed=8)['name'] == 'funk-take2'
  assert write(tmp_path, 'funk', 2, seed=8)['name'] == 'funk-take2'
  assert write(tmp_path, 'funk', 2, seed=9)['name'] == 'funk-take3'
  # The bytes count: the same loops of other inputs are the same.
  assert write(tmp_path, 'funk', 2, inputs=['a.mid'])['name'] == 'funk'
  os.remove(tmp_path / 'rock-1.mid')
  write(tmp_path, 'a&b <i>', 1)
  entries = gallery.read_entries(paths['page'])[0]
  # The newest first, each once, and none whose files are gone.
  assert [(e['name'], e['seed']) for e in entries] == [
      ('a&b <i>-1', 7), ('funk-1', 7), ('funk-2', 7), ('funk-take3-1', 9),
      ('funk-take3-2', 9), ('funk-take2-1', 8), ('funk-take2-2', 8),
      ('funk-3', 7)]
  for name, content in before.items():  # Nothing was lost.
    assert (tmp_path / name).read_bytes() == content
  text = pathlib.Path(paths['page']).read_text()
  assert '<i>-1' not in text.replace('\\u003c', '')
  assert '173.5 beats a minute · funk · humanized, take 3 · seed 8' in text


def test_a_page_says_what_its_loops_were_made_from(tmp_path):
  """The files, how much was varied and what was kept; older pages do not know."""
  write(tmp_path, 'a', 1)
  write(tmp_path, 'b', 1, mode='vary', style=None, inputs=['a <b>.mid'], amount=0,
        kept=None, velocity=1., timing=0.5, drummer=5)
  write(tmp_path, 'c', 1, mode='complete', inputs=['c.mid'], kept='kick kept',
        humanized=False)
  write(tmp_path, 'd', 1, mode='interpolate', style=None, inputs=['a.mid', 'b.mid'],
        velocity=1., timing=1.)
  found = pathlib.Path(tmp_path / 'index.html').read_text()
  for words in (
      '<p>173.5 beats a minute · funk · humanized, take 3 · seed 7',
      ' · vary a &lt;b&gt;.mid · amount 0 · humanized, take 3, like drummer 5, '
      'timing 0.5 · seed', ' · complete c.mid · kick kept · funk · seed',
      ' · interpolate a.mid to b.mid · humanized, take 3 · seed'):
    assert words in found, words
  entries = gallery.read_entries(tmp_path / 'index.html')[0]
  assert len(entries) == 4
  for damage in ({'inputs': 'a.mid'}, {'inputs': [1]}, {'amount': 'much'}):
    assert gallery.is_entry(entries[0])
    assert not gallery.is_entry({**entries[0], **damage})


def test_a_page_that_is_not_ours_is_replaced(tmp_path):
  (tmp_path / 'index.html').write_bytes(b'\xff<html>')
  write(tmp_path, count=1)
  assert len(gallery.read_entries(tmp_path / 'index.html')[0]) == 1


def test_without_sound(tmp_path, monkeypatch, capsys):
  write(tmp_path)  # The same loops, when there still was sound.
  def fail(*_):
    raise ImportError
  monkeypatch.setattr(sound, '_load', fail)
  paths = write(tmp_path)  # Whose sound is kept.
  assert not paths['wav'] and capsys.readouterr().out.count(in_words(sound.NO_SOUND)) == 1
  write(tmp_path, 'rock', 2)
  text = pathlib.Path(paths['page']).read_text()
  assert text.count('<button') == 3 and text.count('No sound was made') == 2


def test_other_sounds_are_other_loops(tmp_path):
  """The same MIDI played by another SoundFont does not replace the first WAV."""
  own = tmp_path / 'own.sf2'
  shutil.copy(soundfonts.find_soundfont(soundfonts.TIMGM), own)
  loops = [loop_of()]
  out = str(tmp_path / 'out')
  assert gallery.write(loops, out, 'a')['name'] == 'a'
  assert gallery.write(loops, out, 'a', own)['name'] == 'a-take2'
  assert gallery.write(loops, out, 'a', own)['name'] == 'a-take2'
  assert gallery.write(loops, out, 'a')['name'] == 'a'


def test_stopped_or_with_a_damaged_soundfont(tmp_path, monkeypatch, capsys):
  """The page has what is through; MIDI without sound is better than nothing."""
  own = tmp_path / 'half.sf2'
  content = pathlib.Path(soundfonts.find_soundfont(soundfonts.TIMGM)).read_bytes()
  own.write_bytes(content[:len(content) // 2])
  loops = [loop_of(0.1 * i) for i in range(3)]
  paths = gallery.write(loops, str(tmp_path / 'a'), 'a', own)
  assert len(paths['midi']) == 3 and not paths['wav']
  assert 'is damaged' in capsys.readouterr().out
  write_wav = sound.Player.write_wav
  def stop_at_2(player, loop, path, stem_path):
    if '-2.' in path:
      raise KeyboardInterrupt
    write_wav(player, loop, path, stem_path)
  monkeypatch.setattr(sound.Player, 'write_wav', stop_at_2)
  with pytest.raises(KeyboardInterrupt):
    gallery.write(loops, str(tmp_path / 'b'), 'b')
  names = [e['name'] for e in gallery.read_entries(tmp_path / 'b' / 'index.html')[0]]
  assert 'b-1' in names and 'b-2' not in names


def test_without_sounds_and_pictures(tmp_path):
  """MIDI and a page that lists it; what is there already stays on the page."""
  loops = [loop_of(0.1 * i) for i in range(2)]
  paths = gallery.write(loops, str(tmp_path), 'a', sounds=False,
                           pictures=False)
  assert not paths['wav'] and not paths['picture']
  assert sorted(os.listdir(tmp_path)) == ['a-1.mid', 'a-2.mid', 'index.html']
  gallery.write(loops[:1], str(tmp_path), 'a', pictures=False)
  with browser.Browser() as b:
    b.open(tmp_path / 'index.html')
    assert b.run('[loops.length, document.images.length]') == [2, 0]
    b.run('toggle(0)')
    b.wait('playing && playing.position() > 0.02', 20)
    b.run('toggle(0)')
    assert b.console_errors() == []


def test_painted_is_drawn():
  """By another library, pixel by pixel, but for what nobody sees."""
  import PIL.Image
  painter = gallery.Painter(4)
  # With and without legend, one after the other.
  for i, (shift, kept) in enumerate((
      (0, None), (0.2, None), (0.1, ('kick', 'ride')), (0, None))):
    loop = loop_of(shift, kept_drums=kept)
    png = io.BytesIO()
    figure, axis = gallery.empty_picture()
    plots.drum_grid(axis, loop.hits, 4, f'a {i}', kept=loop.kept_pattern())
    figure.savefig(png, dpi=gallery.DPI)
    drawn = PIL.Image.open(png).convert('RGB')
    painted = painter(f'a {i}', loop.hits, loop.kept_pattern())
    assert painted.size == drawn.size == (gallery.WIDTH, gallery.HEIGHT)
    np.testing.assert_allclose(np.int16(painted), np.int16(drawn), atol=2)
  # Steps of long loops are narrower than a pixel, and every hit is seen.
  empty, full = (gallery.Painter(64)('a', [hit_at(4, step, 127) for step in steps])
                 for steps in ((), range(1024)))
  assert (np.asarray(empty) != full).any(axis=(0, 2)).sum() > 800


def test_a_page_of_thousands_opens_at_once(tmp_path):
  """Only what is near is made, laid out and loaded."""
  write(tmp_path, count=1)
  for i in range(2, 1001):
    for kind in ('mid', 'png', 'wav'):
      os.link(tmp_path / f'funk-1.{kind}', tmp_path / f'funk-{i}.{kind}')
  [entry] = gallery.read_entries(tmp_path / 'index.html')[0]
  gallery.write_page(str(tmp_path), [
      {**entry, 'name': f'funk-{i + 1}'} for i in range(1000)])
  with browser.Browser() as b:
    b.open(tmp_path / 'index.html')
    assert b.run('loops.length') == 1000
    assert b.run('[...document.images].filter(i => i.complete && i.naturalWidth)'
                 '.length') < 100
    assert b.run('document.querySelectorAll("button").length') == gallery.SHOWN
    # What is not made yet has the room that it will take, and is found by its name.
    assert abs(b.run('loops.at(-1).offsetHeight - loops[0].offsetHeight')) < 100
    assert b.run('loops.at(-1).textContent').startswith('funk-1000173.5')
    b.run('loops.at(-1).focus()')
    b.wait('loops.at(-1).querySelector("img")?.naturalWidth === 1000')
    b.press('Space')
    b.wait('playing?.i === 999 && playing.position() > 0.02', 20)
    b.press('ArrowUp')
    b.wait('playing?.i === 998')
    b.run('toggle(500)')  # Which nobody has seen yet.
    b.wait('playing?.i === 500')
    assert b.run('document.querySelectorAll("button").length') < 300
    assert b.run('fill(loops[600]).innerHTML.replaceAll("funk-601", "funk-1") === '
                 'loops[20].innerHTML.replaceAll("funk-21", "funk-1")')
    assert b.console_errors() == []


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  magenta_setup.music_vae()
  folder = tmp_path_factory.mktemp('outputs')
  write(folder)
  return folder


# How loud what comes out is, by a meter between the player and the speaker.
METER = """
    const meter = () => { const samples = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(samples);
      return Math.max(...samples.map(Math.abs)); };
    let analyser = null;
    const connect = AudioNode.prototype.connect;
    AudioNode.prototype.connect = function(to) {
      if (to !== context.destination) return connect.call(this, to);
      analyser = context.createAnalyser(); analyser.fftSize = 4096;
      connect.call(this, analyser); connect.call(analyser, to); };
    const buffers = [];
    const decode = BaseAudioContext.prototype.decodeAudioData;
    BaseAudioContext.prototype.decodeAudioData = async function(bytes) {
      buffers.push(await decode.call(this, bytes)); return buffers.at(-1); };"""


def test_every_player_plays_in_a_loop(folder):
  """Sound comes out, the joint is passed, and no sample is missing."""
  import soundfile
  with browser.Browser() as b:
    b.set_offline()
    b.open(folder / 'index.html')
    b.run(METER)
    assert b.run('loops.length') == 3
    for i in range(3):
      b.run(f'loops[{i}].querySelector("button").click()')
      b.wait('playing && playing.position() > 0.02 && meter() > 0.05', 20)
      assert b.run('playing.i') == i
      assert b.run('loops.map(l => l.classList.contains("playing"))') == [
          i == j for j in range(3)]
      frames = soundfile.info(folder / f'funk-{i + 1}.wav').frames
      assert b.run('[buffers.at(-1).length, buffers.at(-1).numberOfChannels, '
                   'context.sampleRate]') == [frames, 2, 44100]
      b.run(f'loops[{i}].scrollIntoView()')
      b.wait(f'loops[{i}].querySelector("img").naturalWidth === 1000')
    b.wait('playing.position() > 0.9', 20)
    b.wait('playing.position() < 0.1 && meter() > 0.05', 20)
    links = b.run('[...document.querySelectorAll("a")].map(a => a.href)')
    assert len(links) == 6
    for link in links:
      assert pathlib.Path(link.removeprefix('file://')).is_file()
    assert b.console_errors() == []


def test_sound_in_the_page_is_the_wav(folder):
  import soundfile
  text = (folder / 'index.html').read_text()
  embedded = re.findall(r'class="flac">([^<]+)<', text)
  assert len(embedded) == 3
  for i, data in enumerate(embedded):
    a, _ = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype='int16')
    b, _ = soundfile.read(folder / f'funk-{i + 1}.wav', dtype='int16')
    assert (a == b).all()


def test_older_loops_play_from_their_files(folder, monkeypatch):
  monkeypatch.setattr(gallery, 'EMBEDDED', 1)
  gallery.write_page(str(folder), [])
  try:
    with browser.Browser() as b:
      b.open(folder / 'index.html')
      assert b.run('loops.map(l => !!l.querySelector(".flac"))') == [
          True, False, False]
      b.run('loops[2].querySelector("button").click()')
      b.wait('playing && playing.position() > 0.02', 20)
      b.run('toggle(2)')
      assert b.run('playing') is None and b.console_errors() == []
  finally:
    monkeypatch.undo()
    gallery.write_page(str(folder), [])


def test_odd_names_and_quick_fingers(tmp_path, monkeypatch):
  """What was asked for last is what plays, whatever came before."""
  monkeypatch.setattr(gallery, 'EMBEDDED', 3)
  write(tmp_path, 'a#b %41?', 6)
  with browser.Browser() as b:
    b.open(tmp_path / 'index.html')
    for i in range(6):  # Pictures are loaded when they are near.
      b.run(f'loops[{i}].scrollIntoView()')
      b.wait(f'document.images[{i}].naturalWidth === 1000')
    for presses, last in ((['Space', 'ArrowDown', 'ArrowDown'], 2),
                          (['ArrowDown'] * 3, 5), (['ArrowUp'] * 5, 0)):
      for key in presses:
        b.press(key)
      b.wait(f'playing?.i === {last} && playing.position() > 0')
      assert b.run('[document.activeElement === loops[current], current, '
                   'loops.filter(l => l.classList.contains("playing")).length]'
                   ) == [True, last, 1]
    for key in ['Space'] * 5:  # Stop, play, stop, play, stop.
      b.press(key)
    assert b.run('new Promise(r => setTimeout(() => r(playing), 500))') is None
    assert b.run('loops.some(l => l.classList.contains("playing"))') is False
    b.press('Tab')
    b.press('Tab')
    assert b.run('document.activeElement.textContent') == 'MIDI'
    b.press('Space')
    b.wait('playing?.i === 0')
    assert b.console_errors() == []


def test_sound_that_is_gone(folder, tmp_path):
  shutil.copytree(folder, tmp_path / 'copy')
  index = tmp_path / 'copy' / 'index.html'
  index.write_text(re.sub('<script type="text/plain" class="flac">[^<]+</script>',
                           '', index.read_text()))
  os.remove(tmp_path / 'copy' / 'funk-2.wav')
  with browser.Browser() as b:
    b.open(index)
    b.run('toggle(1)')
    b.wait('loops[1].querySelector("button").textContent === "No sound"')
    assert b.run('wanted') is None


def test_keyboard(folder):
  """As a person has it: nothing plays before a key is pressed."""
  with browser.Browser(autoplay=False) as b:
    b.open(folder / 'index.html')
    b.run(METER)
    assert b.run('playing') is None
    b.press('Space')
    b.wait('playing?.i === 0 && meter() > 0.05')
    b.press('ArrowDown')
    b.wait('playing?.i === 1')
    assert b.run('document.activeElement === loops[1]')
    b.press('ArrowUp')
    b.wait('playing?.i === 0')
    b.press('Space')
    b.wait('playing === null')
    b.press('Tab')
    assert b.run('document.activeElement === loops[0].querySelector("button")')
    b.press('Enter')
    b.wait('playing?.i === 0')
    assert b.run('document.activeElement.textContent') == 'Stop'
    b.press('Tab')
    assert b.run('document.activeElement.textContent') == 'MIDI'
    assert b.console_errors() == []


def test_playhead_is_on_the_grid_where_the_loop_is(folder, tmp_path):
  """At the second bar's beginning, the line of the picture's second bar."""
  import matplotlib.image
  with browser.Browser() as b:
    b.open(folder / 'index.html')
    share = b.run("""place(0, 0.25); loops[0].classList.add('playing');
        parseFloat(loops[0].querySelector('.head').style.left) / 100""")
    b.screenshot(tmp_path / 'page.png', width=1000)
  picture = matplotlib.image.imread(folder / 'funk-1.png')[..., :3]
  brightest = picture[40:-40].min(axis=2).max(axis=0)
  dark = np.nonzero(brightest < 0.3)[0]  # The bars' lines, and the frame.
  assert len(dark) < 20
  assert np.abs(dark - share * picture.shape[1]).min() <= 2, (share, dark)
  height, width, _ = matplotlib.image.imread(tmp_path / 'page.png').shape
  assert width == 1000 and height > 900  # No wider than the window.
