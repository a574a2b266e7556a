"""The synthesized kit: of the same samples in Python, Node.js and browsers."""
import base64
import dataclasses
import io
import zipfile

import browser
from drumloops import DrumLoop, Hit, grid
from drumloops.export import web_app
from drumloops.midi import (
    drum_kit, drum_maps, loop_file, sound, soundfonts, synthesis)
from drumloops.output import gallery
import note_seq
import numpy as np
import pytest
import soundfile
from test_web import magenta, node  # noqa: F401
import test_web_page

KICK, CLOSED, OPEN, PEDAL = 36, 42, 46, 44
LOOPS = 12


@pytest.fixture(scope='module')
def player():
  return sound.Player(soundfonts.SYNTH)


def random_loop(seed, is_plain):
  """Returns (hits as the page has them, tempo, the same as a DrumLoop)."""
  rng = np.random.default_rng(seed)
  steps, tempo = 16 * int(rng.integers(1, 5)), float(rng.integers(40, 300))
  tempo = 120. if seed % 3 == 0 else tempo  # Steps are halfway between samples.
  hits = [{'step': int(step), 'drum': int(drum), 'start': float(
               step if is_plain else max(0, step + rng.uniform(-0.49, 0.49))),
           'velocity': 100 if is_plain else int(rng.integers(1, 128))}
          for step, drum in np.argwhere(rng.random((steps, 9)) < 0.3)]
  return hits, tempo, steps, DrumLoop(tuple(
      Hit(grid.DRUM_CLASSES[hit['drum']], hit['start'] / 4, hit['velocity'])
      for hit in hits), steps // 16, tempo)


def test_the_page_writes_pythons_wav_files(node, player, tmp_path):  # noqa: F811
  """Byte for byte: of loops on the grid and off it, dense and short ones too."""
  loops = [random_loop(seed, seed % 2) for seed in range(LOOPS)]
  waves, _ = soundfile.read(drum_kit.WAVES, dtype='float32')
  found = node(None, '''
      const {Kit, mixDown} = await app('drum_kit');
      const {to16Bits, writeWav} = await app('wav');
      const kit = new Kit(
        given.index, new Float32Array(web.fromBase64(given.waves).buffer));
      return Promise.all(given.loops.map(async ([hits, tempo, steps]) => (
        Buffer.from(writeWav(to16Bits(await mixDown(kit, hits, steps, tempo)), {
          rate: 44100, tempo, beats: steps / 4})).toString('base64'))));''',
               index=drum_kit.read_index(), loops=[loop[:3] for loop in loops],
               waves=base64.b64encode(waves.tobytes()).decode())
  for wav, (*_, loop) in zip(found, loops):
    player.write_wav(loop.to_note_sequence(), tmp_path / 'loop.wav')
    assert base64.b64decode(wav) == (tmp_path / 'loop.wav').read_bytes()


@pytest.mark.parametrize('kind', [browser.Browser, browser.Firefox])
def test_browsers_write_pythons_wav_files(tmp_path, player, kind):
  """Of a page's loops, with their feel and without: what its MIDI files say."""
  page = tmp_path / 'page.html'
  web_app.write(str(page), 'hierdec-drums_4bar')
  with kind() as window:
    window.open(page)
    test_web_page.set_up(window)
    for feel, tempo in ((100, 93), (0, 120)):
      test_web_page.set_slider(window, 'feel', feel)
      test_web_page.set_slider(window, 'tempo', tempo)
      for i in range(4):
        midi, wav = (test_web_page.save(window, i, name) for name in ('midi', 'wav'))
        (tmp_path / 'loop.mid').write_bytes(midi)
        # A MIDI file has the tempo to the microsecond.
        loop = dataclasses.replace(DrumLoop.read(str(tmp_path / 'loop.mid')), qpm=tempo)
        assert len({hit.velocity for hit in loop.hits}) > 1 or not feel
        player.write_wav(loop.to_note_sequence(), tmp_path / 'loop.wav')
        assert wav == (tmp_path / 'loop.wav').read_bytes()
      # The last loop's stems.
      for path in tmp_path.glob('*.wav'):
        path.unlink()
      player.write_wav(loop.to_note_sequence(), tmp_path / 'mix.wav',
                       lambda drum: tmp_path / f'{drum.replace(" ", "-")}.wav')
      want = {path.stem: path.read_bytes() for path in tmp_path.glob('*.wav')}
      with zipfile.ZipFile(io.BytesIO(test_web_page.save(window, i, 'stems'))) as file:
        first = min(file.namelist(), key=len).removesuffix('.wav')
        assert file.testzip() is None and want == {
            name.removeprefix(first).removesuffix('.wav').removeprefix('-') or 'mix':
            file.read(name) for name in file.namelist()}


def test_it_is_what_the_script_makes():
  audio, index = synthesis.make()
  assert index == drum_kit.read_index()
  kept, _ = soundfile.read(drum_kit.WAVES, dtype='int16')
  # NumPy's functions may differ in the last bit.
  assert np.abs(audio.astype(int) - kept).max() <= 1
  assert np.abs(kept.astype(int)).max() < 2 ** 15 - 1


def mixed(kit, strokes, samples):
  """Returns strokes, [(sample, pitch, velocity)], as float64 [samples, 2]."""
  return sound.mix(kit, sound.place(kit, strokes, samples), samples)


def stroke_of(kit, pitch, velocity, number=0):
  """Returns one stroke, [samples, 2]."""
  waves = kit.stroke(pitch, velocity, number)
  return sound.mix(kit, [sound.Placed(pitch, 0, *wave) for wave in waves],
                   max(wave.shape[1] for wave, _ in waves))


@pytest.mark.parametrize('velocity', [20, 60, 100, 127])
def test_levels_are_the_soundfonts(player, velocity):
  """Within 2 dB, drum by drum, but for one gain of all."""
  levels = []
  for kit in (player.kit, sound.Player(soundfonts.TIMGM).kit):
    levels.append([10 * np.log10(synthesis.power(stroke_of(
        kit, drum_maps.GM.pitch_of(drum), velocity))) for drum in range(9)])
  differences = np.subtract(*levels) - 20 * np.log10(synthesis.GAIN)
  assert np.abs(differences).max() < 2


def open_and(kit, *others):
  """Returns the sound of an open hi-hat in 4 s: alone, and less others' with them."""
  first, samples = (1000, OPEN, 100), 4 * 44100
  alone = mixed(kit, [first], samples)
  return alone, mixed(kit, [first, *others], samples) - mixed(kit, others, samples)


@pytest.mark.parametrize('other', [CLOSED, PEDAL])
@pytest.mark.parametrize('after', [60, 3000, 30000])
def test_hi_hats_are_closed(player, other, after):
  """At any distance, from the hit on, and by no hit before or at the same time."""
  alone, cut = open_and(player.kit, (1000 + after, other, 100))
  np.testing.assert_array_equal(cut[:1000 + after], alone[:1000 + after])
  end = 1000 + after + drum_kit.CHOKE
  assert not cut[end:].any() and alone[end:].any()
  assert np.abs(np.diff(cut[end - 500:end + 1], axis=0)).max() < (
      2 * np.abs(np.diff(alone[end - 500:end], axis=0)).max())
  for earlier in (1000, 500):
    alone, kept = open_and(player.kit, (earlier, other, 100))
    np.testing.assert_array_equal(kept, alone)


def test_hi_hats_are_closed_across_the_joint(player):
  out = mixed(player.kit, [(40000, OPEN, 100), (2000, CLOSED, 1)], 44100)
  assert np.abs(out[:2000]).max() > 0.01
  assert np.abs(out[2000 + drum_kit.CHOKE:40000]).max() < 1e-4


def test_strokes_differ_from_their_neighbours(player):
  """Nowhere in turns: of eighths, too, all variants are heard about as often."""
  for pitch, least in ((KICK, 4), (38, 4), (CLOSED, 5), (OPEN, 3), (50, 3), (49, 2)):
    strokes = [stroke_of(player.kit, pitch, 100, i) for i in range(60)]
    assert all(a.shape != b.shape or (a != b).any()
               for a, b in zip(strokes, strokes[1:])) or least < 3
    for every in (1, 2, 4):
      assert len({wave.tobytes() for wave in strokes[::every]}) >= least


def test_the_page_does_not_clip(player, node):  # noqa: F811
  """All drums at 127, on every step, at any tempo; what is usual stays as it is."""
  headroom, curve = node(None, '''
      const {HEADROOM, LIMITER} = await app('player');
      return [HEADROOM, [...LIMITER]];''')
  def loudest(qpm, every, velocity, drums=range(9)):
    strokes = [(sound.sample_at(15 * step / qpm), drum_maps.GM.pitch_of(drum), velocity)
               for step in range(0, 64, every) for drum in drums]
    return headroom * np.abs(
        mixed(player.kit, strokes, round(960 / qpm * 44100))).max()
  def shaped(level):
    return np.interp(level, np.linspace(-4, 4, len(curve)), curve)
  for qpm in (72, 120, 156, 246):  # At some of these, tails add up.
    assert loudest(qpm, 1, 127) < 4
  assert max(np.abs(curve)) <= 1 and shaped(loudest(120, 64, 127)) < 1
  assert loudest(120, 4, 110, (0, 1, 2, 7)) < 0.8
  np.testing.assert_allclose(shaped(np.linspace(-0.8, 0.8, 99)), np.linspace(
      -0.8, 0.8, 99), atol=1e-6)


def test_it_plays_unless_another_is_named(monkeypatch, tmp_path):
  loop = random_loop(1, True)[-1]
  want = loop.audio()
  np.testing.assert_array_equal(loop.audio(soundfonts.SYNTH), want)
  monkeypatch.setenv(soundfonts.SOUNDFONT, soundfonts.TIMGM)
  assert np.abs(loop.audio() - want).max() > 0.01
  np.testing.assert_array_equal(loop.audio(soundfonts.SYNTH), want)
  made = dataclasses.replace(loop, facts={
      'mode': 'sample', 'config': 'c', 'checkpoint': 'c', 'seed': 0, 'temperature': 1.,
      'qpm': loop.qpm, 'humanized': False, 'style': ''})
  gallery.write([made], str(tmp_path), 'a', soundfonts.SYNTH)
  assert gallery.read_entries(tmp_path / 'index.html')[0][0]['soundfont'] == 'synth'


def test_what_it_has_no_sound_of(player):
  """Other percussion is named; FluidSynth plays loops that have other instruments."""
  [said] = player.remarks([KICK, 25])
  assert said == ('The synthesized kit has no sound of these drums, so they are silent: '
                  'note 25.')
  sequence = note_seq.NoteSequence()
  sequence.notes.add(pitch=60, velocity=100, end_time=1)
  loop = loop_file.as_loop(sequence)
  np.testing.assert_array_equal(player(loop), sound.Player(soundfonts.TIMGM)(loop))
