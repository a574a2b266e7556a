"""Loops as files: exactly 4 bars, seamless, for any DAW."""
import common
import mido
import note_seq
import numpy as np
import pytest
import render
import soundfile

CRASH, KICK, SNARE, HIHAT = 49, 36, 38, 42


def beat(qpm=120., shift=0.):
  """A loop with a kick, a snare and a crash on the last step, `shift` late."""
  sequence = note_seq.NoteSequence()
  sequence.tempos.add(qpm=qpm)
  step = 60 / qpm / 4
  for pitch, at in ((KICK, range(0, 64, 8)), (SNARE, range(4, 64, 8)),
                    (HIHAT, range(0, 64, 2)), (CRASH, [63])):
    for i in at:
      start = (i + shift) * step
      sequence.notes.add(pitch=pitch, velocity=100, is_drum=True, instrument=9,
                         start_time=start, end_time=start + step)
  return sequence


@pytest.mark.parametrize('qpm', [97., 120., 173.5])
def test_wav_repeats_without_a_seam(qpm, tmp_path):
  loop = render.as_loop(beat(), qpm)
  render.write_wav(loop, tmp_path / 'loop.wav')
  info = soundfile.info(tmp_path / 'loop.wav')
  assert (info.samplerate, info.channels, info.subtype) == (44100, 2, 'PCM_16')
  assert info.frames == round(16 * 60 / qpm * 44100)
  audio, _ = soundfile.read(tmp_path / 'loop.wav')
  assert 20 * np.log10(np.abs(audio).max()) == pytest.approx(-1, abs=0.01)
  joint = np.abs(audio[0] - audio[-1])
  assert (joint <= np.abs(np.diff(audio, axis=0)).max(axis=0)).all()
  assert np.abs(audio[:, 0] - audio[:, 1]).max() > 0.01  # Stereo.


def test_tails_wrap():
  """A crash at the end goes on at the beginning, as if it had played before."""
  crash = note_seq.NoteSequence()
  crash.notes.add(pitch=CRASH, velocity=127, start_time=7.9, end_time=8,
                  is_drum=True)
  audio = render.synthesize(render.as_loop(crash))
  loudness = np.sqrt((audio ** 2).mean(axis=1))
  assert loudness[:44100].mean() > 100 * loudness[-88200:-8820].mean()
  early = note_seq.NoteSequence()
  early.notes.add(pitch=CRASH, velocity=127, start_time=3.9, end_time=4,
                  is_drum=True)
  # The same loop turned by half; FluidSynth starts notes on blocks of 64.
  turned = np.roll(render.synthesize(render.as_loop(early)), 176400, axis=0)
  frames = [np.sqrt((x ** 2).mean(axis=1).reshape(-1, 1764).mean(axis=1))
            for x in (audio, turned)]
  np.testing.assert_allclose(*frames, atol=0.02)


def test_onsets_are_where_the_midi_says():
  kicks = note_seq.NoteSequence()
  for step in (0.25, 8.25, 15.9, 40.4):
    kicks.notes.add(pitch=KICK, velocity=100, start_time=step / 8,
                    end_time=step / 8, is_drum=True)
  loop = render.as_loop(kicks, 100)
  audio = np.abs(render.synthesize(loop)).max(axis=1)
  for note in loop.notes:
    start = round(note.start_time * render.SAMPLE_RATE)
    assert audio[start:start + 400].max() > 10 * audio[start - 400:start].max()


def test_silence_stays_silence():
  """But for FluidSynth's dither: the peak is not set of nothing."""
  audio = render.synthesize(render.as_loop(note_seq.NoteSequence(), 60))
  assert audio.shape == (16 * 44100, 2)
  assert np.abs(audio).max() <= render.SILENCE


def test_dense_and_loud_loops_do_not_clip():
  """All drums on all steps at a fast tempo, before the peak is set."""
  sequence = note_seq.NoteSequence()
  for step in range(64):
    for pitch in (36, 38, 42, 46, 43, 47, 50, 49, 51):
      sequence.notes.add(pitch=pitch, velocity=127, start_time=step / 8,
                         end_time=(step + 1) / 8, is_drum=True)
  audio = render.synthesize(render.as_loop(sequence, 300))
  at_peak = np.abs(audio) > 0.9999 * np.abs(audio).max()
  assert at_peak.sum() < 4  # What is clipped is flat for longer.


@pytest.mark.parametrize('qpm', [60., 97.3, 240.])
def test_midi_is_four_bars_on_channel_10(qpm, tmp_path):
  path = str(tmp_path / 'loop.mid')
  with open(path, 'wb') as f:
    f.write(render.midi_bytes(render.as_loop(beat(shift=-0.2), qpm)))
  midi = mido.MidiFile(path)
  assert len(midi.tracks) == 2
  for track in midi.tracks:
    assert sum(m.time for m in track) == 16 * midi.ticks_per_beat
    assert track[-1].type == 'end_of_track'
  hits = [m for m in midi.tracks[1] if m.type == 'note_on' and m.velocity]
  assert {m.channel for m in hits} == {9}
  assert {m.note for m in hits} == {CRASH, KICK, SNARE, HIHAT}
  tempo = next(m.tempo for m in midi.tracks[0] if m.type == 'set_tempo')
  assert mido.tempo2bpm(tempo) == pytest.approx(qpm, rel=1e-4)
  again = note_seq.midi_file_to_note_sequence(path)
  assert (again.time_signatures[0].numerator,
          again.time_signatures[0].denominator) == (4, 4)
  assert len(again.notes) == len(beat().notes)
  step = 60 / qpm / 4
  starts = sorted(n.start_time / step for n in again.notes if n.pitch == SNARE)
  # Only what would be before the loop is played later, with its beginning.
  np.testing.assert_allclose(starts, np.arange(4, 64, 8) - 0.2, atol=0.02)
  assert min(n.start_time for n in again.notes) == 0


def test_what_is_after_the_loop_is_left_out():
  loop = render.as_loop(beat(shift=1.5))
  assert {n.pitch for n in loop.notes} == {KICK, SNARE, HIHAT}
  assert loop.total_time == 8 and max(n.end_time for n in loop.notes) <= 8


def test_a_soundfont_of_ones_own(tmp_path, monkeypatch):
  """Its samples are what is heard; what is no SoundFont is a sentence."""
  loop = render.as_loop(beat())
  content = bytearray(open(render.find_soundfont(), 'rb').read())
  at = content.index(b'smpl')
  size = int.from_bytes(content[at + 4:at + 8], 'little')
  content[at + 8:at + 8 + size] = bytes(size)
  silent = tmp_path / '조용한 drums.sf2'
  silent.write_bytes(content)
  assert np.abs(render.synthesize(loop, str(silent))).max() <= render.SILENCE
  monkeypatch.setenv(render.SOUNDFONT, str(silent))
  assert np.abs(render.synthesize(loop)).max() <= render.SILENCE
  (tmp_path / 'half.sf2').write_bytes(content[:len(content) // 2])
  (tmp_path / 'no.sf2').write_text('no')
  for name, words in (('half.sf2', 'damaged'), ('no.sf2', 'no SoundFont'),
                      ('none.sf2', 'No such file'), ('.', 'Is a directory')):
    with pytest.raises(common.UserError, match=words):
      render.synthesize(loop, str(tmp_path / name))
