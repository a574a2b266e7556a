"""Turns drum NoteSequences into loops: MIDI and WAV, exactly 4 bars long."""
import copy
import os

import numpy as np

SAMPLE_RATE = 44100  # Hz.
BARS = 4
STEPS_PER_BAR = 16
STEPS = BARS * STEPS_PER_BAR
DEFAULT_QPM = 120.  # What Magenta decodes at.
TICKS_PER_QUARTER = 480  # Fine enough for a drummer's timing (1 ms at 120).
DRUM_CHANNEL = 9  # Counted from 0: channel 10, General MIDI's for drums.
DRUM_BANK = 128  # Where SoundFonts keep drums.
PEAK = 10 ** (-1 / 20)  # -1 dBFS.
# Pads of GMD's TD-11 that General MIDI lacks, or that mean a vibraslap in it.
GENERAL_MIDI = {22: 42, 26: 46, 58: 43}
# Quiet enough that 16 bits never clip before the peak is set.
GAIN = 0.2
TAIL_BLOCK = SAMPLE_RATE // 2
LONGEST_TAIL = 20  # Blocks.
SILENCE = 2 / 2 ** 15  # A tail's end: below, only rounding is left.
NO_SOUND = (
    'No sound was made, because FluidSynth was not found; install it with '
    '`apt install libfluidsynth3` (Debian, Ubuntu; libfluidsynth2 on older '
    'ones and on Colab) or `brew install fluid-synth` (macOS) and run this '
    'again.')


def loop_seconds(qpm):
  return BARS * 4 * 60 / qpm


def as_loop(sequence, qpm=DEFAULT_QPM):
  """Returns a NoteSequence as a loop: exactly 4 bars at `qpm` quarters a minute.

  If a hit comes before the loop begins, all are played later by as much; those
  after its end are left out.
  """
  old_qpm = sequence.tempos[0].qpm if sequence.tempos else DEFAULT_QPM
  loop = copy.deepcopy(sequence)
  loop.ticks_per_quarter = TICKS_PER_QUARTER
  del loop.tempos[:], loop.time_signatures[:], loop.notes[:]
  loop.tempos.add(qpm=qpm)
  loop.time_signatures.add(numerator=4, denominator=4)
  loop.total_time = loop_seconds(qpm)
  early = min([0., *(note.start_time for note in sequence.notes)])
  for note in sequence.notes:
    start = (note.start_time - early) * old_qpm / qpm
    if start < loop.total_time:
      loop.notes.add().CopyFrom(note)
      loop.notes[-1].pitch = GENERAL_MIDI.get(note.pitch, note.pitch)
      loop.notes[-1].start_time = start
      loop.notes[-1].end_time = min(
          loop.total_time,
          max(start, (note.end_time - early) * old_qpm / qpm))
  return loop


def write_midi(loop, path):
  """Writes what `as_loop` returned as a MIDI file that ends after 4 bars."""
  import mido
  import note_seq
  note_seq.sequence_proto_to_midi_file(loop, path)
  midi = mido.MidiFile(path)
  # The first track has the tempo; note_seq adds an empty one for a piano.
  midi.tracks[1:] = [track for track in midi.tracks[1:]
                     if any(message.type == 'note_on' for message in track)]
  for message in midi.tracks[0]:
    if message.type == 'set_tempo':  # pretty_midi's may be 1 us shorter.
      message.tempo = mido.bpm2tempo(loop.tempos[0].qpm)
  for track in midi.tracks:
    # A DAW takes the end of the tracks for the length of the loop.
    track[-1].time = (BARS * 4 * midi.ticks_per_beat -
                      sum(message.time for message in track[:-1]))
  midi.save(path)


def synthesize(loop):
  """Returns a loop as stereo audio: float32, [samples, 2], its peak at PEAK.

  What still sounds after the loop's end (its `total_time`) is added to its
  beginning, so that it repeats without a gap. FluidSynth plays the small
  SoundFont that pretty_midi ships.

  Raises:
    ImportError: if FluidSynth's library is not installed.
  """
  import fluidsynth
  import pretty_midi
  samples = round(loop.total_time * SAMPLE_RATE)
  synth = fluidsynth.Synth(gain=GAIN, samplerate=float(SAMPLE_RATE))
  def play(count):
    return np.reshape(synth.get_samples(count), [-1, 2]) / 2 ** 15
  try:
    font = synth.sfload(os.path.join(
        os.path.dirname(pretty_midi.__file__), 'TimGM6mb.sf2'))
    synth.program_select(DRUM_CHANNEL, font, DRUM_BANK, 0)
    parts, now = [], 0
    for note in sorted(loop.notes, key=lambda n: n.start_time):
      if not note.is_drum:
        continue
      start = round(note.start_time * SAMPLE_RATE)
      if start > now:
        parts.append(play(start - now))
        now = start
      # Never switched off: drums sound as long as they do.
      synth.noteon(DRUM_CHANNEL, note.pitch, note.velocity)
    parts.append(play(samples - now))
    for _ in range(LONGEST_TAIL):
      parts.append(play(TAIL_BLOCK))
      if np.abs(parts[-1]).max() < SILENCE:
        break
  finally:
    synth.delete()
  audio = np.concatenate(parts)
  wrapped = np.zeros([samples, 2], np.float32)
  for i in range(0, len(audio), samples):
    part = audio[i:i + samples]
    wrapped[:len(part)] += part
  peak = np.abs(wrapped).max()
  return wrapped * (PEAK / peak) if peak > SILENCE else wrapped


def write_wav(loop, path):
  """Writes a loop as a stereo 16-bit WAV file, exactly its length.

  Raises:
    ImportError: if FluidSynth's library is not installed.
  """
  import soundfile
  soundfile.write(path, synthesize(loop), SAMPLE_RATE, 'PCM_16')
