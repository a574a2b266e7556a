"""Loops as sound: their length, their joint, their loudness."""
import concurrent.futures
import struct

from drumloops.errors import UserError
from drumloops.export import web_app
from drumloops.midi import loop_file, sound, soundfonts
import note_seq
import numpy as np
from own_loops import CRASH, HIHAT, KICK, SNARE, beat
import pytest
import soundfile


@pytest.fixture(params=[soundfonts.SYNTH, soundfonts.TIMGM])
def player(request):
  return sound.load_player(request.param)


@pytest.mark.parametrize('qpm', [97., 120., 173.5])
def test_wav_repeats_without_a_seam(qpm, player, tmp_path):
  loop = loop_file.as_loop(beat(), qpm)
  player.write_wav(loop, tmp_path / 'loop.wav')
  info = soundfile.info(tmp_path / 'loop.wav')
  assert (info.samplerate, info.channels, info.subtype) == (44100, 2, 'PCM_16')
  assert info.frames == round(16 * 60 / qpm * 44100)
  audio, _ = soundfile.read(tmp_path / 'loop.wav')
  assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(-1, abs=0.01)
  joint = np.abs(audio[0] - audio[-1])
  assert (joint <= np.abs(np.diff(audio, axis=0)).max(axis=0)).all()
  assert np.abs(audio[:, 0] - audio[:, 1]).max() > 0.01  # Stereo.


def test_tails_wrap(player):
  """A crash at the end goes on at the beginning, as if it had played before."""
  crash = note_seq.NoteSequence()
  crash.notes.add(pitch=CRASH, velocity=127, start_time=7.9, end_time=8,
                  is_drum=True)
  audio = player(loop_file.as_loop(crash))
  loudness = np.sqrt((audio ** 2).mean(axis=1))
  assert loudness[:44100].mean() > 100 * loudness[-88200:-8820].mean()
  early = note_seq.NoteSequence()
  early.notes.add(pitch=CRASH, velocity=127, start_time=3.9, end_time=4,
                  is_drum=True)
  # The same loop turned by half.
  turned = np.roll(player(loop_file.as_loop(early)), 176400, axis=0)
  np.testing.assert_allclose(audio, turned, atol=1e-6)


def read_wav(player, loop, path):
  """Writes a loop as a WAV file; returns its samples, int [samples, 2]."""
  player.write_wav(loop, path)
  return soundfile.read(path, dtype='int16')[0].astype(int)


def onset(audio, level=0.1):
  """Returns the first sample that is louder than a share of the peak."""
  return int(np.argmax(np.abs(audio).max(axis=1) > level * np.abs(audio).max()))


@pytest.mark.parametrize('drums,hits,loops', [
    ((KICK, SNARE, HIHAT), 6, 120), ((46, 45, 48, 50, CRASH, 51), 1, 280)])
def test_onsets_are_at_their_samples(drums, hits, loops, tmp_path):
  """1,000 hits at any time, so far apart that each is heard: from its sample on."""
  player, rng = sound.load_player(soundfonts.SYNTH), np.random.RandomState(0)
  for _ in range(loops):
    sequence = note_seq.NoteSequence()
    for time in np.arange(hits) * 1.3 + rng.uniform(0.01, 0.4):
      sequence.notes.add(pitch=int(rng.choice(drums)), is_drum=True, start_time=time,
                         velocity=int(rng.randint(20, 128)), end_time=time + 0.1)
    loop = loop_file.as_loop(sequence)
    audio = read_wav(player, loop, tmp_path / 'a.wav')
    for note in loop.notes:
      start = round(note.start_time * 44100)
      assert abs(onset(audio[start - 2:start + 2000], 0.005) - 2) <= 1


def test_onsets_by_a_soundfont(tmp_path):
  """Each as long after its time as the drum's first is, which has a softer attack."""
  player, rng = sound.Player(soundfonts.TIMGM), np.random.RandomState(0)
  for pitch in (KICK, SNARE, HIHAT, 46):
    first = note_seq.NoteSequence()
    first.notes.add(pitch=pitch, velocity=100, is_drum=True, end_time=0.1)
    lead, checked = onset(read_wav(
        player, loop_file.as_loop(first), tmp_path / 'a.wav')), 0
    assert lead < 80
    for _ in range(10):
      sequence = note_seq.NoteSequence()
      for time in np.arange(25) * 0.3 + rng.uniform(0, 0.1, 25):
        sequence.notes.add(pitch=pitch, velocity=100, is_drum=True, start_time=time,
                           end_time=time + 0.1)
      loop = loop_file.as_loop(sequence)
      audio = read_wav(player, loop, tmp_path / 'a.wav')
      for note in loop.notes:
        start = round(note.start_time * 44100)
        before = np.abs(audio[max(0, start - 40):start]).max(initial=0)
        part = audio[start:start + 400]
        if before < 0.01 * np.abs(part).max():  # Else the hit before still sounds.
          assert abs(onset(part) - lead) <= 1
          checked += 1
    assert checked > 200 or pitch == 46


@pytest.mark.parametrize('drums', [
    (KICK,), (SNARE,), (HIHAT, 44, 46), (43,), (47,), (50,), (CRASH,), (51,)])
def test_strokes_are_fluidsynths(drums):
  """Hits on FluidSynth's raster sound as if it had played them, cut off or not.

  But for their first 64 samples, in which FluidSynth slides from the place in the
  stereo field of what the voice played before.
  """
  player, rng = sound.Player(soundfonts.TIMGM), np.random.RandomState(1)
  samples = 5000 * soundfonts.RASTER
  strokes = sorted((soundfonts.RASTER * int(at), int(rng.choice(drums)),
                    int(rng.randint(1, 128))) for at in rng.choice(4000, 60, False))
  mixed = sound.mix(player.kit, sound.place(player.kit, strokes, samples), samples)
  def on(hit):
    return lambda synth, font: synth.noteon(9, *hit)
  lead = 100 * soundfonts.RASTER
  played = player.kit.play([
      *((0, on((drums[0], 100))) for _ in range(100)),
      (soundfonts.RASTER, lambda synth, font: synth.cc(9, 120, 0)),
      *((lead + at, on(hit)) for at, *hit in strokes)],
      lead + 4 * samples, **soundfonts.DRY)[lead:]
  expected = played.reshape(4, samples, 2).sum(axis=0)
  # Strokes at the beginning cut off the tails of those at the end, which FluidSynth,
  # that plays the loop once, does not know.
  difference, kick = mixed - expected, player.kit.stroke(KICK, 127)[0][0]
  for at, *_ in strokes:
    difference[at:at + soundfonts.RASTER] = 0
  inside = slice(strokes[0][0], strokes[-1][0])
  # Of the loop: with as many kicks, where these are of a softer drum.
  loudness = max((expected[inside] ** 2).sum(), len(strokes) * (kick ** 2).sum())
  assert (difference[inside] ** 2).sum() < 1e-6 * loudness


def chunks_of(path):
  """Returns {name: bytes} of a RIFF file's chunks."""
  content, at, found = path.read_bytes(), 12, {}
  assert int.from_bytes(content[4:8], 'little') == len(content) - 8
  while at < len(content):
    size = int.from_bytes(content[at + 4:at + 8], 'little')
    found[content[at:at + 4]] = content[at + 8:at + 8 + size]
    at += 8 + size
  return found


@pytest.mark.parametrize('qpm,bars', [(97., 4), (120., 1), (173.5, 16)])
def test_wav_says_its_tempo_and_repeats(qpm, bars, player, tmp_path):
  """As libsndfile reads it from the chunk acid; the loop of smpl is all of it."""
  path = tmp_path / 'loop.wav'
  player.write_wav(loop_file.as_loop(beat(), qpm, bars), path)
  with soundfile.SoundFile(path) as file:
    ffi, library = soundfile._ffi, soundfile._snd
    info = ffi.new('char[]', 44)  # SF_LOOP_INFO, which soundfile does not declare.
    assert library.sf_command(file._file, 0x10e0, info, 44)
    numerator, denominator, _, beats, bpm = struct.unpack(
        '<hhiif', ffi.buffer(info, 16)[:])
    frames = file.frames
  assert (numerator, denominator, beats) == (4, 4, 4 * bars)
  assert bpm == pytest.approx(qpm)
  smpl = struct.unpack('<15I', chunks_of(path)[b'smpl'])
  assert smpl[7] == 1 and smpl[10:] == (0, 0, frames - 1, 0, 0)


def test_stems_sum_to_the_loop(player, tmp_path):
  """Each as long as it, of its drum alone, and all at its gain."""
  sequence = beat(shift=0.3)
  for i in range(8):  # Open hi-hats, which closed ones cut off, and what has no sound.
    sequence.notes.add(pitch=(46, 88)[i % 2], velocity=90, start_time=i + 0.2,
                       end_time=i + 0.3, is_drum=True)
  loop = loop_file.as_loop(sequence, 97)
  player.write_wav(loop, tmp_path / 'all.wav', lambda drum: tmp_path / f'{drum}.wav')
  def read(path):
    return soundfile.read(path, dtype='int16')[0].astype(int)
  stems = {path.stem: read(path) for path in tmp_path.glob('*.wav')}
  mix = stems.pop('all')
  assert set(stems) == {'kick', 'snare', 'closed hi-hat', 'open hi-hat', 'crash'}
  np.testing.assert_array_equal(sum(stems.values()), mix)
  assert np.abs(mix - read_wav(player, loop, tmp_path / 'mix.wav')).max() <= 1
  kicks = note_seq.NoteSequence(tempos=loop.tempos, total_time=loop.total_time)
  kicks.notes.extend(note for note in loop.notes if note.pitch == KICK)
  alone = player(kicks)
  gain = np.vdot(stems['kick'], alone) / np.vdot(alone, alone)
  assert np.abs(stems['kick'] - gain * alone).max() <= 1.5  # Units of 16 bits.


def test_silence_stays_silence(player):
  """The peak is not set of nothing."""
  audio = player(loop_file.as_loop(note_seq.NoteSequence(), 60))
  assert audio.shape == (16 * 44100, 2)
  assert np.abs(audio).max() <= sound.SILENCE


def test_loops_leave_nothing_to_the_next():
  """One Player's are as those of new ones, in two threads too, to the sample."""
  loops = [loop_file.as_loop(beat(shift=0.1 * i), 120 + 7 * i) for i in range(4)]
  alone = [sound.Player(soundfonts.TIMGM)(loop) for loop in loops]
  def play(order):
    player = sound.Player(soundfonts.TIMGM)
    return [(i, player(loops[i])) for i in order]
  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    for played in threads.map(play, ([0, 1, 2, 3, 0], [3, 2, 1, 0, 3])):
      for i, audio in played:
        np.testing.assert_array_equal(audio, alone[i])


def test_dense_and_loud_loops_do_not_clip(player):
  """All drums on all steps at a fast tempo, before the peak is set."""
  sequence = note_seq.NoteSequence()
  for step in range(64):
    for pitch in (36, 38, 42, 46, 43, 47, 50, 49, 51):
      sequence.notes.add(pitch=pitch, velocity=127, start_time=step / 8,
                         end_time=(step + 1) / 8, is_drum=True)
  audio = player(loop_file.as_loop(sequence, 300))
  at_peak = (np.abs(audio) > 0.9999 * np.abs(audio).max()).any(axis=1)
  assert not (at_peak[1:] & at_peak[:-1]).any()  # What is clipped is flat for longer.


def altered(path, chunk, record, change):
  """Writes the usual SoundFont with other records of a chunk; returns the path.

  Args:
    path: Of the new file.
    chunk: b'phdr' (presets), b'igen' (what notes play) or the like.
    record: The size of its records, in bytes.
    change: Takes the bytes of one, returns those that are instead.
  """
  content = bytearray(open(soundfonts.find_soundfont(soundfonts.TIMGM), 'rb').read())
  at = content.rindex(chunk) + 8
  end = at + int.from_bytes(content[at - 4:at], 'little')
  for i in range(at, end, record):
    content[i:i + record] = change(bytes(content[i:i + record]))
  path.write_bytes(content)
  return str(path)


@pytest.mark.parametrize('bank,program', [(128, 25), (0, 0), (3, 7)])
def test_a_kit_elsewhere(bank, program, tmp_path):
  """It plays as it would in its usual place; where it is from is said."""
  def move(record):
    name, place = record[:20], record[20:24]
    kit = place == struct.pack('<HH', 0, 128)
    return name + struct.pack('<HH', *(
        (program, bank) if kit else (99, 120))) + record[24:]
  path = altered(tmp_path / 'a.sf2', b'phdr', 38, move)
  player, loop = sound.Player(path), loop_file.as_loop(beat())
  np.testing.assert_array_equal(player(loop), sound.Player(soundfonts.TIMGM)(loop))
  [said] = player.remarks([KICK])
  assert f'(bank {bank}, program {program}) plays' in said


def without_closed_hihat(path):
  """Writes such a SoundFont; returns the path."""
  hat = struct.pack('<HBB', 43, 42, 42)  # A generator: the notes from 42 to 42.
  return altered(path, b'igen', 4, lambda record: (
      struct.pack('<HBB', 43, 127, 127) if record == hat else record))


def test_drums_of_which_there_is_no_sound(tmp_path, capsys):
  path = without_closed_hihat(tmp_path / 'a.sf2')
  web_app.sample_drums([KICK, 42, CRASH], path)
  assert 'closed hi-hat, note 42.\n' in capsys.readouterr().out
  [said] = sound.Player(path).remarks([KICK, 42, CRASH])
  assert said.endswith('a.sf2 has no sound of these drums, so they are silent: '
                       'closed hi-hat, note 42.')
  assert not sound.Player(soundfonts.TIMGM).remarks([KICK, 42, CRASH])


def test_a_soundfont_of_ones_own(tmp_path, monkeypatch):
  """Its samples are what is heard; what is no SoundFont is a sentence."""
  loop = loop_file.as_loop(beat())
  content = bytearray(open(soundfonts.find_soundfont(soundfonts.TIMGM), 'rb').read())
  at = content.index(b'smpl')
  size = int.from_bytes(content[at + 4:at + 8], 'little')
  content[at + 8:at + 8 + size] = bytes(size)
  silent = tmp_path / '조용한 drums.sf2'
  silent.write_bytes(content)
  assert np.abs(sound.Player(str(silent))(loop)).max() <= sound.SILENCE
  monkeypatch.setenv(soundfonts.SOUNDFONT, str(silent))
  assert np.abs(sound.Player()(loop)).max() <= sound.SILENCE
  (tmp_path / 'half.sf2').write_bytes(content[:len(content) // 2])
  (tmp_path / 'no.sf2').write_text('no')
  for name, words in (('half.sf2', 'damaged'), ('no.sf2', 'no SoundFont'),
                      ('none.sf2', 'No such file'), ('.', 'Is a directory')):
    with pytest.raises(UserError, match=words):
      sound.Player(str(tmp_path / name))(loop)
