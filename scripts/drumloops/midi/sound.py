"""Loops as sound, which FluidSynth makes."""
import atexit
import ctypes
import functools
import importlib.util
import os
import re
import wave
from collections.abc import Iterable

from drumloops import grid
from drumloops.errors import UserError
from drumloops.midi import drum_maps, midi_file
import numpy as np

SAMPLE_RATE = 44100  # Hz.
SOUNDFONT = 'SOUNDFONT'  # The environment variable that names one.
DRUM_BANK = 128  # Where SoundFonts keep drums.
KIT = DRUM_BANK, 0  # Bank and program of the usual kit.
CHANNELS = 16
ERROR, WARNING = 1, 2  # FluidSynth's levels of them.
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


def events(loop: object, synth: object, font: int) -> list[tuple]:
  """Returns what to do with a synthesizer when: [(seconds, order, what, with)].

  Drums are never switched off: they sound as long as they do. Of Magenta's other
  configs there are notes of other instruments, which end.
  """
  found = []
  for note in loop.notes:
    if note.is_drum:
      found.append((note.start_time, 1, synth.noteon,
                    (midi_file.DRUM_CHANNEL, note.pitch, note.velocity)))
      continue
    channel = note.instrument % midi_file.DRUM_CHANNEL
    found += [(note.start_time, 1, synth.program_select,
               (channel, font, 0, note.program)),
              (note.start_time, 2, synth.noteon,
               (channel, note.pitch, note.velocity)),
              (note.end_time, 0, synth.noteoff, (channel, note.pitch))]
  return sorted(found, key=lambda event: event[:2])


def find_soundfont(path: str | None = None) -> str:
  """Returns the SoundFont to use: `path`, $SOUNDFONT, or the one in pretty_midi.

  Raises:
    UserError: if it is none.
  """
  path = os.path.expanduser(path or os.environ.get(SOUNDFONT) or os.path.join(
      os.path.dirname(importlib.util.find_spec('pretty_midi').origin), 'TimGM6mb.sf2'))
  try:
    with open(path, 'rb') as f:
      head = f.read(12)
  except OSError as e:
    raise UserError(
        f'The SoundFont {path} can\'t be read ({e.strerror}).') from e
  if head[:4] + head[8:] != b'RIFFsfbk':
    raise UserError(f'{path} is no SoundFont (.sf2).')
  return path


class Player:
  """FluidSynth with a SoundFont, for loops one after the other.

  Each is played by a synthesizer of its own, in which nothing is left of the one
  before; the SoundFont, which takes a third of the time, is read once. A thread needs
  a Player of its own, since FluidSynth counts who uses a SoundFont without a lock.
  """

  def __init__(self, soundfont: str | None = None):
    """Loads what `find_soundfont` takes.

    Raises:
      ImportError: if FluidSynth's library is not installed.
      UserError: if the SoundFont can't be used.
    """
    import fluidsynth
    self._path = find_soundfont(soundfont)
    def function(name, *arguments):
      return fluidsynth.cfunc(name, ctypes.c_int, *(
          (f'argument{i}', kind, 1) for i, kind in enumerate(arguments)))
    self._add, self._remove = (
        function(f'fluid_synth_{what}_sfont', ctypes.c_void_p, ctypes.c_void_p)
        for what in ('add', 'remove'))
    # Without a SoundFont, it warns of each of its channels; errors are said here.
    for level in (WARNING, ERROR):
      function('fluid_set_log_function', ctypes.c_int, ctypes.c_void_p,
               ctypes.c_void_p)(level, None, None)
    with open(self._path, 'rb') as f:
      size = 8 + int.from_bytes(f.read(8)[4:], 'little')
    if (there := os.path.getsize(self._path)) < size:
      raise UserError(f'{self._path} is damaged: {there} of its {size} bytes are '
                          'there; get it again.')
    self._keeper = fluidsynth.Synth()
    number = self._keeper.sfload(self._path)
    self._font = number >= 0 and fluidsynth.fluid_synth_get_sfont_by_id(
        self._keeper.synth, number)
    self._kit = self._font and self._find_kit()
    if not self._kit:
      raise UserError(f'{self._path} is damaged or has no sounds.')

  def __del__(self) -> None:
    if hasattr(self, '_keeper'):
      self._keeper.delete()

  def _name(self, kit):
    import fluidsynth
    preset = fluidsynth.fluid_sfont_get_preset(self._font, *kit)
    return preset and fluidsynth.fluid_preset_get_name(preset).decode('latin-1')

  def _find_kit(self):
    """Returns (bank, program) of what plays drums, None if there is nothing."""
    if self._name(KIT):
      return KIT
    found = [(bank, program) for bank in range(DRUM_BANK + 1)
             for program in range(128) if self._name((bank, program)) is not None]
    return min(found, default=None, key=lambda kit: (
        kit[0] != DRUM_BANK, not re.search('drum|kit|perc', self._name(kit), re.I),
        kit))

  def remarks(self, pitches: Iterable[int]) -> list[str]:
    """Returns sentences: which kit plays, if that is a guess; which drums are silent.

    Args:
      pitches: Of drums.
    """
    import note_seq
    said = []
    if self._kit != KIT:
      bank, program = self._kit
      said.append(f'{self._path} has no kit in bank {DRUM_BANK}, program 0; its '
            f'{self._name(self._kit)!r} (bank {bank}, program {program}) plays the '
            'drums.')
    drum_of, silent = drum_maps.drum_map(), []
    for pitch in sorted(pitches):
      hit = note_seq.NoteSequence(total_time=0.5)
      hit.notes.add(pitch=pitch, velocity=100, is_drum=True)
      if np.abs(self(hit)).max() <= SILENCE:
        drum = drum_of(pitch)
        silent.append((f'{grid.DRUM_CLASSES[drum]}, ' if drum is not None else '') +
                      f'note {pitch}')
    if silent:
      said.append(f'{self._path} has no sound of these drums, so they are silent: '
                  f'{"; ".join(silent)}.')
    return said

  def __call__(self, loop: object) -> np.ndarray:
    """Returns a loop as stereo audio: float32, [samples, 2], its peak at PEAK.

    What still sounds after the loop's end (its `total_time`) is added to its
    beginning, so that it repeats without a gap.

    Args:
      loop: What `loop_file.as_loop` returned.
    """
    import fluidsynth
    synth = fluidsynth.Synth(GAIN, float(SAMPLE_RATE), CHANNELS)
    font = self._add(synth.synth, self._font)
    try:
      synth.program_select(midi_file.DRUM_CHANNEL, font, *self._kit)
      return render(loop, synth, font)
    finally:
      self._remove(synth.synth, self._font)  # Else it would be deleted with it.
      synth.delete()

  def write_wav(self, loop: object, path: str) -> None:
    """Writes a loop as a stereo 16-bit WAV file, exactly its length."""
    audio = self(loop)
    with open(path, 'wb') as file, wave.open(file, 'wb') as f:
      f.setparams((2, 2, SAMPLE_RATE, len(audio), 'NONE', None))
      for i in range(0, len(audio), SAMPLE_RATE):  # Parts that fit a core's cache.
        # The upper half of 32 bits, as libsndfile.
        part = np.rint(audio[i:i + SAMPLE_RATE] * 2 ** 31).astype(np.int32) >> 16
        f.writeframesraw(part.astype('<i2'))


_load = functools.cache(Player)
# Else the interpreter's end would take FluidSynth from them first.
atexit.register(_load.cache_clear)


def load_player(soundfont: str | None = None) -> Player:
  """Returns the Player of a SoundFont, for one thread; it is loaded once.

  Raises:
    UserError: if there is no FluidSynth, or the SoundFont can't be used.
  """
  try:
    return _load(find_soundfont(soundfont))
  except ImportError as e:
    raise UserError(NO_SOUND) from e


def render(loop: object, synth: object, font: int) -> np.ndarray:
  """Returns a loop as Player does, played by a synthesizer with a SoundFont."""
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
