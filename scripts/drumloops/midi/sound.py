"""Loops as sound: each stroke starts at the sample that its time says."""
import atexit
import collections
import functools
import math
from collections.abc import Callable, Iterable

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.midi import (
    drum_kit, drum_maps, midi_file, soundfonts, wav_file)
from drumloops.midi.soundfonts import SAMPLE_RATE, SILENCE, SYNTH
import numpy as np

PEAK = 10 ** (-1 / 20)  # -1 dBFS.
TAIL_BLOCK = SAMPLE_RATE // 2
LONGEST_TAIL = 20  # Blocks.
TIE = 1e-6  # Samples; errors of a time are smaller.
OTHER = 'other percussion'  # The stem of what is none of the nine drums.
NO_SOUND = (
    'No sound was made, because FluidSynth was not found; install it with '
    '`apt install libfluidsynth3` (Debian, Ubuntu) or `brew install fluid-synth` '
    f'(macOS) and run this again. Drums alone play by {field("soundfont", SYNTH)}.')


class Player:
  """Plays loops, in any number of threads.

  A drum's stroke is rendered once, kept, and mixed where it is needed: to the sample,
  while FluidSynth starts sounds on a raster of 64. There are no effects, but where
  other instruments play, too: those loops are FluidSynth's.
  """

  def __init__(self, soundfont: str | None = None):
    """Loads what `soundfonts.find_soundfont` takes.

    Raises:
      ImportError: if FluidSynth's library is not installed.
      UserError: if the SoundFont can't be used.
    """
    path = soundfonts.find_soundfont(soundfont)
    self.kit = drum_kit.DrumKit() if path == SYNTH else soundfonts.SoundFont(path)

  @functools.cached_property
  def _orchestra(self):
    """The SoundFont of loops that have other instruments, too."""
    if isinstance(self.kit, soundfonts.SoundFont):
      return self.kit
    try:
      return soundfonts.SoundFont()
    except ImportError as e:
      raise UserError(NO_SOUND) from e

  def remarks(self, pitches: Iterable[int]) -> list[str]:
    """Returns sentences: which kit plays, if that is a guess; which drums are silent.

    Args:
      pitches: Of drums.
    """
    said = self.kit.remarks()
    drum_of, silent = drum_maps.drum_map(), []
    for pitch in sorted(pitches):
      if not len(self.kit.stroke(pitch, grid.DEFAULT_VELOCITY)[0]):
        drum = drum_of(pitch)
        silent.append((f'{grid.DRUM_CLASSES[drum]}, ' if drum is not None else '') +
                      f'note {pitch}')
    if silent:
      said.append(f'{self.kit.path} has no sound of these drums, so they are silent: '
                  f'{"; ".join(silent)}.')
    return said

  def __call__(self, loop: object) -> np.ndarray:
    """Returns a loop as stereo audio: float64, [samples, 2], its peak at PEAK.

    What still sounds after the loop's end (its `total_time`) is added to its
    beginning, so that it repeats without a gap.

    Args:
      loop: What `loop_file.as_loop` returned.
    """
    samples = _samples(loop)
    audio = np.zeros([samples, 2])
    drums = [note for note in loop.notes if note.is_drum]
    if len(drums) == len(loop.notes):
      mix(self.kit, _strokes(drums, samples), [audio] * len(drums))
    else:
      audio += self._with_effects(loop, samples)
    peak = _peak(audio)
    if peak > SILENCE:
      audio *= PEAK / peak
    return audio

  def _with_effects(self, loop, samples):
    """Returns a loop of several instruments as FluidSynth alone plays it."""
    events = [(min(samples, round(time * SAMPLE_RATE)), action)
              for time, action in _events(loop)]
    length = samples + LONGEST_TAIL * TAIL_BLOCK
    audio = self._orchestra.play(events, length)
    level = np.abs(audio[samples:]).reshape(LONGEST_TAIL, -1).max(axis=1)
    ends = np.flatnonzero(level < SILENCE)
    end = samples + TAIL_BLOCK * (ends[0] + 1 if len(ends) else LONGEST_TAIL)
    wrapped = np.zeros([samples, 2], np.float32)
    add_wrapped(wrapped, audio[:end], 0)
    return wrapped

  def stems(self, loop: object) -> dict[str, np.ndarray]:
    """Returns each drum's part of a loop: {drum: float64 [samples, 2]}.

    All are at one gain, which takes the loudest of them and of their sum to PEAK.

    Raises:
      UserError: if other instruments play, too.
    """
    if not all(note.is_drum for note in loop.notes):
      raise UserError('Stems are of drums; this loop has other instruments, too.')
    drum_of, samples, order = drum_maps.drum_map(), _samples(loop), [
        *grid.DRUM_CLASSES, OTHER]
    names = [order[-1 if drum is None else drum]
             for drum in (drum_of(note.pitch) for note in loop.notes)]
    parts = {name: np.zeros([samples, 2])
             for name in sorted(set(names), key=order.index)}
    mix(self.kit, _strokes(loop.notes, samples), [parts[name] for name in names])
    peak = max(map(_peak, [*parts.values(), sum(parts.values())]), default=0)
    for part in parts.values():
      part *= PEAK / peak if peak > SILENCE else 1
    return parts

  def write_wav(self, loop: object, path: str) -> None:
    """Writes a loop as a stereo 16-bit WAV file, exactly its length."""
    _write(path, wav_file.to_16_bits(self(loop)), loop)

  def write_stems(self, loop: object, path: str, path_of: Callable[[str], str]) -> None:
    """Writes a loop as `write_wav` does, and each drum's part, of which it is the sum.

    Args:
      loop: What `loop_file.as_loop` returned.
      path: Of the loop.
      path_of: Gives a drum's part its path.
    """
    stems = self.stems(loop)
    parts = wav_file.to_16_bits_that_sum(list(stems.values()))
    for name, part in zip(stems, parts):
      _write(path_of(name), part, loop)
    _write(path, sum(parts, np.zeros([_samples(loop), 2], '<i2')), loop)


def _write(path, audio, loop):
  qpm = loop.tempos[0].qpm
  wav_file.write(path, audio, SAMPLE_RATE, qpm, round(loop.total_time * qpm / 60))


def sample_at(seconds: float) -> int:
  """Returns the nearest sample; between two, the later one, as the page does.

  At 120 beats a minute, each second sixteenth is between two, but for errors.
  """
  return math.floor(seconds * SAMPLE_RATE + 0.5 + TIE)


def _samples(loop):
  return sample_at(loop.total_time)


def _peak(audio):
  return max(audio.max(), -audio.min())


def _strokes(notes, samples):
  """Returns what `mix` takes, in the order of notes."""
  return [(sample_at(note.start_time) % samples, note.pitch, note.velocity)
          for note in notes]


def mix(kit: object, strokes: list[tuple[int, int, int]], outputs: list[np.ndarray]
        ) -> None:
  """Adds strokes to outputs, whose ends go on at their beginnings.

  Args:
    kit: A SoundFont or a DrumKit.
    strokes: [(sample, pitch, velocity)].
    outputs: [samples, 2], one for each stroke; several may be the same.
  """
  order = sorted(range(len(strokes)), key=lambda i: strokes[i][0])
  numbers = collections.Counter()
  for place, i in enumerate(order):
    start, pitch, velocity = strokes[i]
    number = numbers[pitch]
    numbers[pitch] += 1
    wave, gain = kit.stroke(pitch, velocity, number)
    for later in range(place + 1, place + len(order) + 1):
      rounds, j = divmod(later, len(order))
      other, after = strokes[order[j]][1], (
          strokes[order[j]][0] + rounds * len(outputs[i]) - start)
      if after >= len(wave):
        break
      if after and kit.is_cut_off(pitch, other):
        wave, gain = kit.cut_off(pitch, velocity, other, after, number)
        break
    add_wrapped(outputs[i], gain * wave, start)


def add_wrapped(output: np.ndarray, wave: np.ndarray, start: int) -> None:
  """Adds a wave to an output from a sample on; what is over goes to its beginning."""
  while len(wave):
    part = wave[:len(output) - start]
    output[start:start + len(part)] += part
    wave, start = wave[len(part):], 0


def _events(loop):
  """Returns what to do with a synthesizer when: [(seconds, action)].

  Drums are never switched off: they sound as long as they do. Of Magenta's other
  configs there are notes of other instruments, which end.
  """
  found = []
  for note in loop.notes:
    def on(synth, font, note=note, channel=(
        midi_file.DRUM_CHANNEL if note.is_drum else
        note.instrument % midi_file.DRUM_CHANNEL)):
      if not note.is_drum:
        synth.program_select(channel, font, 0, note.program)
      synth.noteon(channel, note.pitch, note.velocity)
    found.append((note.start_time, 1, on))
    if not note.is_drum:
      def off(synth, font, note=note):
        synth.noteoff(note.instrument % midi_file.DRUM_CHANNEL, note.pitch)
      found.append((note.end_time, 0, off))
  return [(time, action) for time, _, action in sorted(
      found, key=lambda event: event[:2])]


_load = functools.cache(Player)
# Else the interpreter's end would take FluidSynth from them first.
atexit.register(_load.cache_clear)


def load_player(soundfont: str | None = None) -> Player:
  """Returns the Player of a SoundFont; it is loaded once.

  Raises:
    UserError: if there is no FluidSynth, or the SoundFont can't be used.
  """
  try:
    return _load(soundfonts.find_soundfont(soundfont))
  except ImportError as e:
    raise UserError(NO_SOUND) from e
