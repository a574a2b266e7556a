"""Loops as MIDI files, exactly their bars long: written, and read again."""
import copy
import io
import os
import tempfile

from drumloops import grid, midi
from tqdm.auto import tqdm

TICKS_PER_QUARTER = 480  # Fine enough for a drummer's timing (1 ms at 120).
# Pads of GMD's TD-11 that General MIDI lacks, or that mean a vibraslap in it.
GENERAL_MIDI = {22: 42, 26: 46, 58: 43}


def as_loop(sequence, qpm=midi.DEFAULT_QPM, bars=grid.BARS):
  """Returns a NoteSequence as a loop: exactly so many bars of 4/4.

  What comes before its beginning is played at it, with the beat: it could as well
  end the loop, which repeats, but then a DAW and every reader of the file would
  find that hit in another place of the pattern. What begins after its end is left
  out.

  Args:
    sequence: At a tempo of its own.
    qpm: The loop's tempo, in quarters a minute.
    bars: Its length.
  """
  old_qpm = sequence.tempos[0].qpm if sequence.tempos else midi.DEFAULT_QPM
  loop = copy.deepcopy(sequence)
  loop.ticks_per_quarter = TICKS_PER_QUARTER
  del loop.tempos[:], loop.time_signatures[:], loop.notes[:]
  loop.tempos.add(qpm=qpm)
  loop.time_signatures.add(numerator=4, denominator=4)
  loop.total_time = bars * 4 * 60 / qpm
  for note in sequence.notes:
    start = max(0, note.start_time * old_qpm / qpm)
    if start < loop.total_time:
      loop.notes.add().CopyFrom(note)
      loop.notes[-1].pitch = GENERAL_MIDI.get(note.pitch, note.pitch)
      loop.notes[-1].velocity = max(1, note.velocity)  # 0 would end a note.
      loop.notes[-1].start_time = start
      loop.notes[-1].end_time = min(
          loop.total_time, max(start, note.end_time * old_qpm / qpm))
  return loop


def bars_of(loop):
  """Returns how many bars `as_loop` gave a loop."""
  return round(loop.total_time * loop.tempos[0].qpm / 60 / 4)


def midi_bytes(loop):
  """Returns what `as_loop` returned as a MIDI file that ends after its bars."""
  import mido
  import note_seq
  with io.BytesIO() as file:
    note_seq.sequence_proto_to_pretty_midi(loop).write(file)
    file.seek(0)
    parsed = mido.MidiFile(file=file)
  # The first track has the tempo; note_seq adds an empty one for a piano.
  parsed.tracks[1:] = [track for track in parsed.tracks[1:]
                       if any(message.type == 'note_on' for message in track)]
  for message in parsed.tracks[0]:
    if message.type == 'set_tempo':  # pretty_midi's may be 1 us shorter.
      message.tempo = mido.bpm2tempo(loop.tempos[0].qpm)
  for track in parsed.tracks:
    # A DAW takes the end of the tracks for the length of the loop.
    track[-1].time = (bars_of(loop) * 4 * parsed.ticks_per_beat -
                      sum(message.time for message in track[:-1]))
  with io.BytesIO() as file:
    parsed.save(file=file)
    return file.getvalue()


def deliver(loops):
  """Writes loops as MIDI files and reads them, with a progress bar.

  What is measured of loops is measured of these, which are what a user gets.

  Args:
    loops: What `as_loop` returned.

  Returns:
    For each loop, [(pitch, start in steps, velocity from 1 to 127)] of its drums.
  """
  found = []
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'loop.mid')
    for loop in tqdm(loops, desc='Writing and reading', unit='loop', leave=False):
      with open(path, 'wb') as f:
        f.write(midi_bytes(loop))
      file = midi.read(path)
      found.append([(hit.on.data[1], hit.on.tick / file.ticks_per_step,
                     hit.on.data[2]) for hit in midi.find_hits(file.tracks)])
  return found


def hits(sequence, drum_of=grid.class_of_pitch):
  """Returns a decoded NoteSequence's hits: [(drum class, start in steps, velocity)].

  Starts are at sixteenths of the sequence's tempo, not rounded; velocities from
  1 to 127. What is none of DRUM_CLASSES is left out; `drum_of` says which one a
  pitch is, where there are others than decoded ones.
  """
  qpm = sequence.tempos[0].qpm if sequence.tempos else midi.DEFAULT_QPM
  found = [(drum_of(note.pitch),
            note.start_time * qpm / 60 * grid.STEPS_PER_QUARTER,
            note.velocity) for note in sequence.notes if note.is_drum]
  return [hit for hit in found if hit[0] is not None]
