"""Turns drum NoteSequences into loops: MIDI and WAV, exactly their bars long."""
import copy
import io
import os
import tempfile

import common
import midi
import numpy as np
from tqdm.auto import tqdm

SAMPLE_RATE = 44100  # Hz.
BARS = 4
DEFAULT_QPM = 120.  # What Magenta decodes at.
TICKS_PER_QUARTER = 480  # Fine enough for a drummer's timing (1 ms at 120).
SOUNDFONT = 'SOUNDFONT'  # The environment variable that names one.
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
    '`apt install libfluidsynth3` (Debian, Ubuntu) or `brew install fluid-synth` (macOS) and run this again.')


def as_loop(sequence, qpm=DEFAULT_QPM, bars=BARS):
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
  old_qpm = sequence.tempos[0].qpm if sequence.tempos else DEFAULT_QPM
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


def events(loop, synth, font):
  """Returns what to do with a synthesizer when: [(seconds, order, what, with)].

  Drums are never switched off: they sound as long as they do. Of Magenta's other
  configs there are notes of other instruments, which end.
  """
  found = []
  for note in loop.notes:
    if note.is_drum:
      found.append((note.start_time, 1, synth.noteon,
                    (midi.DRUM_CHANNEL, note.pitch, note.velocity)))
      continue
    channel = note.instrument % midi.DRUM_CHANNEL
    found += [(note.start_time, 1, synth.program_select,
               (channel, font, 0, note.program)),
              (note.start_time, 2, synth.noteon,
               (channel, note.pitch, note.velocity)),
              (note.end_time, 0, synth.noteoff, (channel, note.pitch))]
  return sorted(found, key=lambda event: event[:2])


def find_soundfont(path=None):
  """Returns the SoundFont to play with: `path`, else $SOUNDFONT, else the small
  one that pretty_midi ships.

  Raises:
    common.UserError: if it is none.
  """
  import pretty_midi
  path = os.path.expanduser(path or os.environ.get(SOUNDFONT) or os.path.join(
      os.path.dirname(pretty_midi.__file__), 'TimGM6mb.sf2'))
  try:
    with open(path, 'rb') as f:
      head = f.read(12)
  except OSError as e:
    raise common.UserError(
        f'The SoundFont {path} can\'t be read ({e.strerror}).') from e
  if head[:4] + head[8:] != b'RIFFsfbk':
    raise common.UserError(f'{path} is no SoundFont (.sf2).')
  return path


def synthesize(loop, soundfont=None):
  """Returns a loop as stereo audio: float32, [samples, 2], its peak at PEAK.

  What still sounds after the loop's end (its `total_time`) is added to its
  beginning, so that it repeats without a gap. FluidSynth plays it.

  Args:
    loop: What `as_loop` returned.
    soundfont: Of `find_soundfont`.

  Raises:
    ImportError: if FluidSynth's library is not installed.
    common.UserError: if the SoundFont can't be used.
  """
  import fluidsynth
  soundfont = find_soundfont(soundfont)
  samples = round(loop.total_time * SAMPLE_RATE)
  synth = fluidsynth.Synth(gain=GAIN, samplerate=float(SAMPLE_RATE))
  def play(count):
    return np.reshape(synth.get_samples(count), [-1, 2]) / 2 ** 15
  try:
    font = synth.sfload(soundfont)
    if font < 0 or any(n.is_drum for n in loop.notes) and synth.program_select(
        midi.DRUM_CHANNEL, font, DRUM_BANK, 0) < 0:
      raise common.UserError(
          f'{soundfont} is damaged or has no drums (bank {DRUM_BANK}).')
    parts, now = [], 0
    for time, _, action, arguments in events(loop, synth, font):
      start = min(samples, round(time * SAMPLE_RATE))
      if start > now:
        parts.append(play(start - now))
        now = start
      action(*arguments)
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


def write_wav(loop, path, soundfont=None):
  """Writes a loop as a stereo 16-bit WAV file, exactly its length.

  Raises as `synthesize` does.
  """
  import soundfile
  soundfile.write(path, synthesize(loop, soundfont), SAMPLE_RATE, 'PCM_16')
