"""Drum loops that the tests write themselves, where GMD is not at hand."""
import os
import pathlib
import random

CRASH, KICK, SNARE, HIHAT = 49, 36, 38, 42
# For each drum's pitch, 16 steps of a bar.
PATTERNS = (
    {36: 'x.......x.......', 38: '....x.......x...', 42: 'x.x.x.x.x.x.x.x.'},
    {36: 'x..x....x.x.....', 38: '....x.......x..x', 42: 'xxxxxxxxxxxxxxxx'},
    {36: 'x...x...x...x...', 38: '....x.......x...', 46: '..x...x...x...x.'},
    {36: 'x.....x...x.....', 38: '....x..x.x..x...', 51: 'x.x.x.x.x.x.x.x.'},
)
FILL = {38: 'x.x.xx..........', 50: '......x.x.......', 47: '.........xx.....',
        43: '...........x.xxx', 36: 'x...x...x...x...'}


def beat(qpm=120., shift=0.):
  """A loop with a kick, a snare and a crash on the last step, `shift` late."""
  import note_seq
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


def write_own_loops(folder, count=12, bars=12, seed=0):
  """Writes `count` MIDI files of drum beats with small random changes."""
  import note_seq
  rng = random.Random(seed)
  pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
  for i in range(count):
    sequence = note_seq.NoteSequence(ticks_per_quarter=220)
    qpm = rng.choice((90, 100, 110, 120))
    sequence.tempos.add(qpm=qpm)
    sequence.time_signatures.add(numerator=4, denominator=4)
    step_seconds = 60 / qpm / 4
    for bar in range(bars):
      pattern = FILL if bar % 4 == 3 else PATTERNS[i % len(PATTERNS)]
      for pitch, steps in pattern.items():
        for step, mark in enumerate(steps):
          if (mark == 'x') != (rng.random() < 0.03):
            start = (bar * 16 + step) * step_seconds
            sequence.notes.add(
                pitch=pitch, velocity=rng.randint(60, 120), start_time=start,
                end_time=start + step_seconds / 2, is_drum=True, instrument=9)
    sequence.total_time = bars * 16 * step_seconds
    note_seq.sequence_proto_to_midi_file(
        sequence, os.path.join(folder, f'loop-{i + 1:02d}.mid'))
