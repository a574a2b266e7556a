"""Loops as sound, which FluidSynth makes."""
import ctypes
import os
import wave

from drumloops import cli, midi
import numpy as np

SAMPLE_RATE = 44100  # Hz.
SOUNDFONT = 'SOUNDFONT'  # The environment variable that names one.
DRUM_BANK = 128  # Where SoundFonts keep drums.
CHANNELS = 16
WARNING = 2  # FluidSynth's level of it.
PEAK = 10 ** (-1 / 20)  # -1 dBFS.
# Quiet enough that 16 bits never clip before the peak is set.
GAIN = 0.2
TAIL_BLOCK = SAMPLE_RATE // 2
LONGEST_TAIL = 20  # Blocks.
SILENCE = 2 / 2 ** 15  # A tail's end: below, only rounding is left.
NO_SOUND = (
    'No sound was made, because FluidSynth was not found; install it with '
    '`apt install libfluidsynth3` (Debian, Ubuntu) or `brew install fluid-synth` '
    '(macOS) and run this again.')


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
    cli.UserError: if it is none.
  """
  import pretty_midi
  path = os.path.expanduser(path or os.environ.get(SOUNDFONT) or os.path.join(
      os.path.dirname(pretty_midi.__file__), 'TimGM6mb.sf2'))
  try:
    with open(path, 'rb') as f:
      head = f.read(12)
  except OSError as e:
    raise cli.UserError(
        f'The SoundFont {path} can\'t be read ({e.strerror}).') from e
  if head[:4] + head[8:] != b'RIFFsfbk':
    raise cli.UserError(f'{path} is no SoundFont (.sf2).')
  return path


class Player:
  """FluidSynth with a SoundFont, for loops one after the other.

  Each is played by a synthesizer of its own, in which nothing is left of the one
  before; the SoundFont, which takes a third of the time, is read once. A thread needs
  a Player of its own, since FluidSynth counts who uses a SoundFont without a lock.
  """

  def __init__(self, soundfont=None):
    """Loads what `find_soundfont` takes.

    Raises:
      ImportError: if FluidSynth's library is not installed.
      cli.UserError: if the SoundFont can't be used.
    """
    import fluidsynth
    self._path = find_soundfont(soundfont)
    def function(name, *arguments):
      return fluidsynth.cfunc(name, ctypes.c_int, *(
          (f'argument{i}', kind, 1) for i, kind in enumerate(arguments)))
    self._add, self._remove = (
        function(f'fluid_synth_{what}_sfont', ctypes.c_void_p, ctypes.c_void_p)
        for what in ('add', 'remove'))
    # Without a SoundFont, it warns of each of its channels.
    function('fluid_set_log_function', ctypes.c_int, ctypes.c_void_p,
             ctypes.c_void_p)(WARNING, None, None)
    self._keeper = fluidsynth.Synth()
    number = self._keeper.sfload(self._path)
    self._font = number >= 0 and fluidsynth.fluid_synth_get_sfont_by_id(
        self._keeper.synth, number)
    if not self._font:
      raise self._damaged()

  def __del__(self):
    if hasattr(self, '_keeper'):
      self._keeper.delete()

  def _damaged(self):
    return cli.UserError(
        f'{self._path} is damaged or has no drums (bank {DRUM_BANK}).')

  def __call__(self, loop):
    """Returns a loop as `synthesize` does."""
    import fluidsynth
    synth = fluidsynth.Synth(GAIN, float(SAMPLE_RATE), CHANNELS)
    font = self._add(synth.synth, self._font)
    try:
      if any(n.is_drum for n in loop.notes) and synth.program_select(
          midi.DRUM_CHANNEL, font, DRUM_BANK, 0) < 0:
        raise self._damaged()
      return render(loop, synth, font)
    finally:
      self._remove(synth.synth, self._font)  # Else it would be deleted with it.
      synth.delete()

  def write_wav(self, loop, path):
    """Writes a loop as a stereo 16-bit WAV file, exactly its length."""
    audio = self(loop)
    with open(path, 'wb') as file, wave.open(file, 'wb') as f:
      f.setparams((2, 2, SAMPLE_RATE, len(audio), 'NONE', None))
      for i in range(0, len(audio), SAMPLE_RATE):  # Parts that fit a core's cache.
        # The upper half of 32 bits, as libsndfile.
        part = np.rint(audio[i:i + SAMPLE_RATE] * 2 ** 31).astype(np.int32) >> 16
        f.writeframesraw(part.astype('<i2'))


def render(loop, synth, font):
  """Returns a loop as `synthesize` does, played by a synthesizer with a SoundFont."""
  import fluidsynth
  samples = round(loop.total_time * SAMPLE_RATE)
  audio = np.empty([samples + LONGEST_TAIL * TAIL_BLOCK, 2], np.int16)
  now = 0
  def play(until):
    # Unlike pyfluidsynth's own, without copies; other threads go on meanwhile.
    nonlocal now
    data = audio.ctypes.data + now * audio.strides[0]
    fluidsynth.fluid_synth_write_s16(synth.synth, until - now, data, 0, 2, data, 1, 2)
    now = until
  for time, _, action, arguments in events(loop, synth, font):
    start = min(samples, round(time * SAMPLE_RATE))
    if start > now:
      play(start)
    action(*arguments)
  play(samples)
  for _ in range(LONGEST_TAIL):
    play(now + TAIL_BLOCK)
    tail = audio[now - TAIL_BLOCK:now]
    if max(tail.max(), -int(tail.min())) < SILENCE * 2 ** 15:
      break
  wrapped = audio[:samples].astype(np.float32)
  for i in range(samples, now, samples):
    part = audio[i:min(now, i + samples)]
    wrapped[:len(part)] += part
  wrapped /= 2 ** 15
  peak = max(wrapped.max(), -wrapped.min())
  if peak > SILENCE:
    wrapped *= PEAK / peak
  return wrapped


def synthesize(loop, soundfont=None):
  """Returns a loop as stereo audio: float32, [samples, 2], its peak at PEAK.

  What still sounds after the loop's end (its `total_time`) is added to its
  beginning, so that it repeats without a gap. FluidSynth plays it.

  Args:
    loop: What `as_loop` returned.
    soundfont: Of `find_soundfont`.

  Raises as Player does.
  """
  return Player(soundfont)(loop)
