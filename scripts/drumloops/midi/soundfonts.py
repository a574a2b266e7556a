"""SoundFonts, which FluidSynth plays: single strokes, and how one cuts off another."""
import ctypes
import functools
import importlib.util
import os
import re
import threading
import weakref

from drumloops.errors import UserError
from drumloops.midi import midi_file
import numpy as np

SAMPLE_RATE = 44100  # Hz.
SOUNDFONT = 'SOUNDFONT'  # The environment variable that names one.
SYNTH = 'synth'  # Names the synthesized kit, where a SoundFont could be named.
TIMGM = 'TimGM6mb.sf2'  # A small one.
DRUM_BANK = 128  # Where SoundFonts keep drums.
KIT = DRUM_BANK, 0  # Bank and program of the usual kit.
CHANNELS = 16
ERROR, WARNING = 1, 2  # FluidSynth's levels of them.
GAIN = 0.2  # FluidSynth's own.
RASTER = 64  # Samples; FluidSynth starts and fades sounds at multiples of it.
SILENCE = 2 / 2 ** 15  # A tail's end: below, only rounding is left.
KICK = 36
STROKE_END = 10 ** (-74 / 20)  # Of a stroke's peak, or the kick's.
SECOND = SAMPLE_RATE // RASTER * RASTER  # Samples, all but.
LONGEST_STROKE = 10  # Seconds.
LEAD = 10 * RASTER  # Samples in which strokes play before they count.
ALL_SOUND_OFF = 120  # A controller.
LOUDEST = 127
COMPARED = 32 * RASTER  # Samples of two strokes that are compared: 46 ms.
LEAST = 1e-30  # Against a division by 0.
SAME = 10 ** (-70 / 20)  # What is less is no difference.
CUT = 16  # Blocks; 23 ms, when most drums are loud.
STEPS = 64, 32, 16, 8, 4, 2  # Blocks.
NEAR = 10 ** (-54 / 20)  # An error of one stroke; few of a loop are cut off.
CUT_WAVES = 512  # That are kept.
DRY = {'synth.reverb.active': 0, 'synth.chorus.active': 0}
VOICES = {'synth.polyphony': 64}  # Enough for two strokes; 256 take longer to make.


def find_soundfont(path: str | None = None) -> str:
  """Returns the SoundFont to use: `path`, $SOUNDFONT, or SYNTH, which is none.

  TIMGM is found in pretty_midi, too.

  Raises:
    UserError: if another is none.
  """
  path = os.path.expanduser(path or os.environ.get(SOUNDFONT) or SYNTH)
  if path == SYNTH:
    return path
  if path == TIMGM and not os.path.exists(path):
    path = os.path.join(
        os.path.dirname(importlib.util.find_spec('pretty_midi').origin), TIMGM)
  try:
    with open(path, 'rb') as f:
      head = f.read(12)
  except OSError as e:
    raise UserError(
        f'The SoundFont {path} can\'t be read ({e.strerror}).') from e
  if head[:4] + head[8:] != b'RIFFsfbk':
    raise UserError(f'{path} is no SoundFont (.sf2).')
  return path


class SoundFont:
  """A SoundFont's drums, for any number of threads.

  Each stroke is played by a synthesizer of its own, in which nothing is left of the
  one before. The file is read once. FluidSynth counts who uses it without a lock.
  """

  def __init__(self, path: str | None = None):
    """Loads what `find_soundfont` takes, by default TIMGM.

    Raises:
      ImportError: if FluidSynth's library is not installed.
      UserError: if the SoundFont can't be used.
    """
    import fluidsynth
    self.path = find_soundfont(path or TIMGM)
    def function(name, *arguments):
      return fluidsynth.cfunc(name, ctypes.c_int, *(
          (f'argument{i}', kind, 1) for i, kind in enumerate(arguments)))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    self._add, self._remove = (function(f'fluid_synth_{what}_sfont', pointer, pointer)
                               for what in ('add', 'remove'))
    self._write = function('fluid_synth_write_float', pointer, number, pointer, number,
                           number, pointer, number, number)
    # Without a SoundFont, it warns of each of its channels; errors are said here.
    for level in (WARNING, ERROR):
      function('fluid_set_log_function', number, pointer, pointer)(level, None, None)
    with open(self.path, 'rb') as f:
      size = 8 + int.from_bytes(f.read(8)[4:], 'little')
    if (there := os.path.getsize(self.path)) < size:
      raise UserError(f'{self.path} is damaged: {there} of its {size} bytes are there; '
                      'get it again.')
    self._lock = threading.RLock()
    self._keeper = fluidsynth.Synth()
    # Before the interpreter's end takes FluidSynth.
    weakref.finalize(self, self._keeper.delete)
    font = self._keeper.sfload(self.path)
    self._font = font >= 0 and fluidsynth.fluid_synth_get_sfont_by_id(
        self._keeper.synth, font)
    self._preset = self._font and self._find_kit()
    if not self._preset:
      raise UserError(f'{self.path} is damaged or has no sounds.')
    self.sides, self._beginning, self._layer_of, self._wave, self._long, self._how = map(
        functools.cache, (self._sides, self._begin, self._layer, self._whole,
                          self._longest, self._how_cut))
    self._cut_wave = functools.lru_cache(CUT_WAVES)(self._cut)

  def _name(self, kit):
    """Returns the name of a (bank, program), None if there is none."""
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

  def remarks(self) -> list[str]:
    """Returns a sentence that says which kit plays, if that is a guess."""
    bank, program = self._preset
    return [f'{self.path} has no kit in bank {DRUM_BANK}, program 0; its '
            f'{self._name(self._preset)!r} (bank {bank}, program {program}) plays the '
            'drums.'] * (self._preset != KIT)

  def play(self, events: list[tuple], samples: int, longest_tail: int = 0,
           **settings: object) -> np.ndarray:
    """Returns what FluidSynth plays: float32 [samples, 2].

    Args:
      events: [(sample, what to do: a function of a pyfluidsynth Synth and the
        SoundFont's number)], by time.
      samples: The length; it is longer while there is sound, ...
      longest_tail: ... by so many seconds at most.
      **settings: FluidSynth's.
    """
    import fluidsynth
    part = SAMPLE_RATE // 2
    audio, now = np.zeros([samples + 2 * longest_tail * part, 2], np.float32), 0
    with self._lock:
      synth = fluidsynth.Synth(GAIN, float(SAMPLE_RATE), CHANNELS, **settings)
      font = self._add(synth.synth, self._font)
      try:
        synth.program_select(midi_file.DRUM_CHANNEL, font, *self._preset)
        def write(until):
          nonlocal now
          if until > now:
            data = audio.ctypes.data + now * audio.strides[0]
            self._write(synth.synth, until - now, data, 0, 2, data, 1, 2)
            now = until
        for at, action in events:
          if at <= samples:
            write(at)
            action(synth, font)
        write(samples)
        while now < len(audio) and (now == samples or
                                    np.abs(audio[now - part:now]).max() > SILENCE):
          write(now + part)
      finally:
        self._remove(synth.synth, self._font)  # Else it would be deleted with it.
        synth.delete()
    return audio[:now]

  def _play_strokes(self, strokes, samples):
    """Returns strokes, [(sample, pitch, velocity)], without effects: [samples, 2].

    All have played before. FluidSynth fades in what the first voice of its place plays,
    in 64 samples, so that a new synthesizer's strokes would lack their attack.
    """
    def on(hit):
      return lambda synth, font: synth.noteon(midi_file.DRUM_CHANNEL, *hit)
    def stop(synth, font):
      synth.cc(midi_file.DRUM_CHANNEL, ALL_SOUND_OFF, 0)
    return self.play([
        *((0, on(hit)) for _, *hit in strokes), (RASTER, stop),
        *((LEAD + at, on(hit)) for at, *hit in strokes)], LEAD + samples, **DRY, **VOICES
        )[LEAD:]

  def _begin(self, pitch, velocity):
    return self._play_strokes([(0, pitch, velocity)], COMPARED)

  def _loud(self, pitch, velocity):
    """Returns the peak of a stroke or, if it is louder, of the kick."""
    return max(np.abs(self._beginning(drum, velocity)).max() for drum in (KICK, pitch))

  def _sides(self, pitch):
    """Returns the places of a pitch's channels: [channels, 2].

    Most have one channel, which they play louder on one side; others have two.
    """
    wave = self._beginning(pitch, LOUDEST)
    place = np.sqrt((wave ** 2).sum(axis=0, dtype=float))
    place /= max(np.linalg.norm(place), LEAST)
    is_mono = np.abs(wave - wave @ np.outer(place, place)).max() <= SAME * np.abs(
        wave).max()
    return place[np.newaxis] if is_mono else np.eye(2)

  def _channels(self, pitch, audio):
    """Returns audio, [samples, 2], as a pitch's channels: float64 [channels, samples]."""
    return np.einsum('cs,ns->cn', self.sides(pitch), audio)

  def _layer(self, pitch, velocity):
    """Returns (which velocity's wave a stroke is, its gain).

    Most SoundFonts have one wave of a drum, or few, which they play at many levels. The
    loudest stands for those that differ from it in level alone.
    """
    loudest, own = self._beginning(pitch, LOUDEST), self._beginning(pitch, velocity)
    gain = np.vdot(loudest, own) / max(np.vdot(loudest, loudest), LEAST)
    if np.abs(own - gain * loudest).max() <= SAME * np.abs(own).max():
      return LOUDEST, gain
    return velocity, np.float32(1)

  def _whole(self, pitch, velocity):
    """Returns a stroke that nothing cuts off: [channels, samples]."""
    for seconds in (1, 3, LONGEST_STROKE):
      audio = self._play_strokes([(0, pitch, velocity)], seconds * SECOND)
      end = _end(audio, self._loud(pitch, velocity))
      if end < len(audio):  # Else it still sounds.
        break
    return self._channels(pitch, audio[:end])

  def _longest(self, pitch):
    return self._play_strokes([(0, pitch, LOUDEST)], LONGEST_STROKE * SECOND)

  def _cut(self, pitch, velocity, other, blocks, samples):
    """Returns a stroke that another cuts off after blocks, and lasts samples at most."""
    at = blocks * RASTER
    audio = self._play_strokes([(0, pitch, velocity), (at, other, LOUDEST)], samples)
    audio[at:] -= self._long(other)[:max(0, samples - at)]
    return self._channels(pitch, audio[:_end(audio, self._loud(pitch, velocity))])

  def _how_cut(self, pitch, other):
    """Returns how a stroke of one pitch cuts off one of another; None if it does not.

    That is (of how many blocks a raster is fine enough, whether to interpolate between
    its points, for how many samples the stroke sounds on at most).
    """
    whole = self._wave(pitch, LOUDEST)
    if whole.shape[1] <= CUT * RASTER:
      return None
    def cut(late=0):
      wave = np.zeros_like(whole)
      part = self._cut(pitch, LOUDEST, other, CUT + late, whole.shape[1])
      wave[:, :part.shape[1]] = part
      return wave
    first = cut()
    loudness = max((x ** 2).sum() for x in (whole, self._wave(KICK, LOUDEST)))
    def is_near(one, other, error):
      return ((one - other) ** 2).sum() <= error ** 2 * loudness
    if is_near(first, whole, SAME):
      return None
    tail = _end(first.T, self._loud(pitch, LOUDEST)) - CUT * RASTER
    for step in STEPS:
      middle = cut(step // 2)
      if is_near(first, middle, NEAR):
        return step, False, tail
      if is_near((first + cut(step)) / 2, middle, NEAR):
        return step, True, tail
    return 1, True, tail

  def stroke(self, pitch: int, velocity: int, number: int = 0
             ) -> list[tuple[np.ndarray, float]]:
    """Returns a stroke without effects: [(a wave, [channels, samples], its gain)].

    It begins as FluidSynth plays it, and ends where it stays below STROKE_END. All
    strokes are alike, whatever their `number`.
    """
    velocity, gain = self._layer_of(pitch, velocity)
    return [(self._wave(pitch, velocity), gain)]

  def is_cut_off(self, pitch: int, other: int) -> bool:
    """Whether a stroke of another pitch changes one of a pitch that still sounds.

    SoundFonts have exclusive classes: a stroke of a class cuts off the others. What is
    struck again is released, too.
    """
    return self._how(pitch, other) is not None

  def cut_off(self, pitch: int, velocity: int, other: int, samples: int,
              number: int = 0) -> list[tuple[np.ndarray, float]]:
    """Returns a stroke that another cuts off after some samples.

    FluidSynth cuts off at points of a raster. Between two of them, the sum of two
    strokes is it.
    """
    velocity, gain = self._layer_of(pitch, velocity)
    step, is_between, tail = self._how(pitch, other)
    place, late = divmod(samples / RASTER / step, 1)
    if not is_between:
      place, late = place + round(late), 0
    def wave(blocks):
      whole = self._wave(pitch, velocity)
      length = min(whole.shape[1], max(CUT, blocks) * RASTER + tail)
      if blocks * RASTER >= length:
        return whole
      return self._cut_wave(pitch, velocity, other, blocks, length)
    return [(wave(int(at) * step), gain * share) for at, share in (
        (place, 1 - late), (place + 1, late)) if share]


def _end(audio, peak):
  """Returns from which sample on audio, [samples, ...], is below STROKE_END of a peak."""
  loud = (np.abs(audio) > STROKE_END * peak).any(axis=1)
  return len(loud) - int(loud[::-1].argmax()) if loud.any() else 0
