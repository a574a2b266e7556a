"""Loops as MIDI files: exactly 4 bars, for any DAW."""
import io

from drumloops.midi import loop_file
import mido
import note_seq
import numpy as np
from own_loops import CRASH, HIHAT, KICK, SNARE, beat
import pytest


@pytest.mark.parametrize('qpm', [60., 97.3, 240.])
def test_midi_is_four_bars_on_channel_10(qpm, tmp_path):
  path = str(tmp_path / 'loop.mid')
  with open(path, 'wb') as f:
    f.write(loop_file.midi_bytes(loop_file.as_loop(beat(shift=-0.2), qpm)))
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


def test_daws_are_told_names_and_places():
  """The drums' names are texts of their track; markers say where parts begin."""
  long, usual = (mido.MidiFile(file=io.BytesIO(loop_file.midi_bytes(
      loop_file.as_loop(beat(), bars=bars)))) for bars in (10, 4))
  assert [message.text for message in usual.tracks[1] if message.type == 'text'] == [
      '36 kick', '38 snare', '42 closed hi-hat', '49 crash']
  assert usual.tracks[1].name == 'Drums'
  assert all(message.type != 'marker' for message in usual.tracks[0])
  now, found = 0, []
  for message in long.tracks[0]:
    now += message.time
    if message.type == 'marker':
      found.append((now / long.ticks_per_beat / 4, message.text))
  assert found == [(0, 'bars 1 to 4'), (4, 'bars 5 to 8'), (8, 'bars 9 to 10')]


def test_what_is_after_the_loop_is_left_out():
  loop = loop_file.as_loop(beat(shift=1.5))
  assert {n.pitch for n in loop.notes} == {KICK, SNARE, HIHAT}
  assert loop.total_time == 8 and max(n.end_time for n in loop.notes) <= 8


@pytest.mark.parametrize('qpm', [60., 97.3, 120., 240.])
def test_bytes_are_note_seqs(qpm):
  """But for names of drums, the tempo, rounded, not cut off, and the tracks' ends."""
  rng = np.random.RandomState(int(qpm))
  for instruments in ([9], [0], [1, 9, 12, 17]):
    sequence = note_seq.NoteSequence()
    sequence.tempos.add(qpm=120)
    for _ in range(200):
      instrument = int(rng.choice(instruments))
      start = rng.choice([rng.uniform(0, 8), rng.randint(64) / 8])
      sequence.notes.add(
          pitch=rng.randint(128), velocity=rng.randint(1, 128), start_time=start,
          end_time=start + rng.choice([0, 0.125]), instrument=instrument,
          is_drum=instrument == 9, program=instrument % 9)
    loop = loop_file.as_loop(sequence, qpm)
    found, expected = io.BytesIO(loop_file.midi_bytes(loop)), io.BytesIO()
    note_seq.note_sequence_to_pretty_midi(loop).write(expected)
    expected.seek(0)
    tracks = [mido.MidiFile(file=file).tracks for file in (found, expected)]
    # note_seq adds an empty track for a piano.
    tracks[1] = [tracks[1][0]] + [track for track in tracks[1][1:] if any(
        message.type == 'note_on' for message in track)]
    assert [[message for message in track[:-1] if message.type != 'text']
            for track in tracks[0][1:]] == [track[:-1] for track in tracks[1][1:]]
    assert tracks[0][0][1:-1] == tracks[1][0][1:-1]
    again = io.BytesIO()
    mido.MidiFile(file=io.BytesIO(found.getvalue())).save(file=again)
    assert again.getvalue() == found.getvalue()
