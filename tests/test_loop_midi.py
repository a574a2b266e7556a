"""Loops as MIDI files: exactly 4 bars, for any DAW."""
from drumloops import loop_midi
import mido
import note_seq
import numpy as np
from own_loops import CRASH, HIHAT, KICK, SNARE, beat
import pytest

@pytest.mark.parametrize('qpm', [60., 97.3, 240.])
def test_midi_is_four_bars_on_channel_10(qpm, tmp_path):
  path = str(tmp_path / 'loop.mid')
  with open(path, 'wb') as f:
    f.write(loop_midi.midi_bytes(loop_midi.as_loop(beat(shift=-0.2), qpm)))
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
  loop = loop_midi.as_loop(beat(shift=1.5))
  assert {n.pitch for n in loop.notes} == {KICK, SNARE, HIHAT}
  assert loop.total_time == 8 and max(n.end_time for n in loop.notes) <= 8
