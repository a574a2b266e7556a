"""Loops as sound: each stroke starts at the sample that its time says."""
import collections
import functools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.midi import drum_kit, drum_maps, midi_file, soundfonts, wav_file
from drumloops.midi.soundfonts import SAMPLE_RATE, SILENCE, SYNTH
import numpy as np
from scipy.linalg import blas

PEAK = 10 ** (-1 / 20)  # -1 dBFS.
LOUDEST = 1 - 2 ** -14  # What 16 bits hold.
LONGEST_TAIL = 10  # Seconds.
BLOCK = 8192  # Samples; they fit a core's cache.
BLAS_BLOCK = 1024  # Of more, BLAS uses threads, which wait for each other busily.
TIE = 1e-6  # Samples; errors of a time are smaller.
OTHER = 'other percussion'  # The stem of what is none of the nine drums.
NO_SOUND = (
    'No sound was made, because FluidSynth was not found; install it with '
    '`apt install libfluidsynth3` (Debian, Ubuntu) or `brew install fluid-synth` '
    f'(macOS) and run this again. Drums alone play by {field("soundfont", SYNTH)}.')


class Player:
  """Plays loops, in any number of threads.

  A drum's strokes are kept, and mixed where they are needed: to the sample, while
  FluidSynth starts sounds on a raster of 64. There are no effects, but where other
  instruments play, too: those loops are FluidSynth's.
  """

  def __init__(self, soundfont: str | None = None):
    """Loads what `soundfonts.find_soundfont` takes.

    Raises:
      ImportError: if FluidSynth's library is needed and not installed.
      UserError: if the SoundFont can't be used.
    """
    path = soundfonts.find_soundfont(soundfont)
    self.kit = drum_kit.DrumKit() if path == SYNTH else soundfonts.SoundFont(path)
    # Threads that mix at once would wait for each other at each of many short steps.
    self._lock = threading.Lock()

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
    said, silent = self.kit.remarks(), []
    for pitch in sorted(pitches):
      if not self.kit.stroke(pitch, grid.DEFAULT_VELOCITY)[0][0].size:
        drum = drum_maps.drum_of_written(pitch)
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
    audio = self._play(loop)
    audio *= _gain(audio)
    return audio

  def _play(self, loop):
    """Returns a loop as it is mixed: [samples, 2]."""
    if not all(note.is_drum for note in loop.notes):
      return self.by_fluidsynth(loop)
    with self._lock:
      return mix(self.kit, place(self.kit, _strokes(loop), _samples(loop)),
                 _samples(loop))

  def by_fluidsynth(self, loop: object) -> np.ndarray:
    """Returns a loop as FluidSynth alone plays it, with effects: [samples, 2]."""
    events = [(sample_at(time), action) for time, action in _events(loop)]
    audio = self._orchestra.play(events, _samples(loop), LONGEST_TAIL)
    wrapped = np.zeros([_samples(loop), 2])
    for begin in range(0, len(audio), len(wrapped)):
      part = audio[begin:begin + len(wrapped)]
      wrapped[:len(part)] += part
    return wrapped

  def stems(self, loop: object) -> dict[str, np.ndarray]:
    """Returns each drum's part of a loop: {drum: float64 [samples, 2]}.

    All are at the gain of the loop, which is their sum. It is lower if one of them would
    be louder than LOUDEST.

    Raises:
      UserError: if other instruments play, too.
    """
    stems = dict(self._stems(loop))
    gain = _gain_of_stems(self._play(loop), map(_peak, stems.values()))
    return {name: gain * stem for name, stem in stems.items()}

  def _stems(self, loop):
    """Yields each drum's name and part, as it is mixed: one at a time is in memory."""
    if not all(note.is_drum for note in loop.notes):
      raise UserError('Stems are of drums; this loop has other instruments, too.')
    placed = place(self.kit, _strokes(loop), _samples(loop))
    for drum, name in (*enumerate(grid.DRUM_CLASSES), (None, OTHER)):
      own = [one for one in placed if drum_maps.drum_of_written(one.pitch) == drum]
      if own:
        with self._lock:
          stem = mix(self.kit, own, _samples(loop))
        yield name, stem

  def write_wav(self, loop: object, path: str,
                stem_path: Callable[[str], str] | None = None) -> None:
    """Writes a loop as a stereo 16-bit WAV file, exactly its length.

    Args:
      loop: What `loop_file.as_loop` returned.
      path: The file.
      stem_path: Gives a drum's stem its path, if stems are written, too. The loop is
        their sum, to the unit.
    """
    audio = self._play(loop)
    if not stem_path:
      _write(path, wav_file.to_16_bits(audio, _gain(audio)), loop)
      return
    peaks = {name: _peak(stem) for name, stem in self._stems(loop)}
    gain = _gain_of_stems(audio, peaks.values())
    whole, total, before = wav_file.to_16_bits(audio, gain), 0, 0
    _write(path, whole, loop)
    for name, stem in self._stems(loop):
      total = total + gain * stem
      # The difference between two sums that are rounded, so that no error adds up.
      now = whole if name == list(peaks)[-1] else wav_file.to_16_bits(total)
      _write(stem_path(name), now - before, loop)
      before = now


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


def _gain(audio):
  """Returns the gain that takes audio's peak to PEAK; of silence, it is 1."""
  return PEAK / _peak(audio) if _peak(audio) > SILENCE else 1.


def _gain_of_stems(audio, peaks):
  """Returns a loop's gain, or a lower one at which no stem is louder than LOUDEST."""
  return min(_gain(audio), LOUDEST / max([*peaks, SILENCE]))


def _strokes(loop):
  """Returns what `mix` takes of a loop of drums."""
  return [(sample_at(note.start_time) % _samples(loop), note.pitch, note.velocity)
          for note in loop.notes]


class Placed(NamedTuple):
  """A wave in a loop: of a pitch, [channels, samples], from a sample on, at a gain."""
  pitch: int
  start: int
  wave: np.ndarray
  gain: float


def place(kit: object, strokes: Sequence[tuple[int, int, int]], samples: int
          ) -> list[Placed]:
  """Returns the waves of strokes in a loop, whose end goes on at its beginning.

  Args:
    kit: A SoundFont or a DrumKit.
    strokes: [(sample, pitch, velocity)].
    samples: The loop's length.
  """
  order = sorted(strokes, key=lambda stroke: stroke[0])
  pitches = {pitch for _, pitch, _ in strokes}
  cutting = {pitch: {other for other in pitches if kit.is_cut_off(pitch, other)}
             for pitch in pitches}
  found, numbers = [], collections.Counter()
  for i, (start, pitch, velocity) in enumerate(order):
    drum = drum_maps.drum_of_written(pitch)
    number = numbers[drum]
    numbers[drum] += 1
    waves = kit.stroke(pitch, velocity, number)
    for later in range(i + 1, i + len(order) + 1) if cutting[pitch] else ():
      rounds, j = divmod(later, len(order))
      at, other, _ = order[j]
      after = at + rounds * samples - start
      if after >= waves[0][0].shape[1]:
        break
      if after and other in cutting[pitch]:
        waves = kit.cut_off(pitch, velocity, other, after, number)
        break
    for wave, gain in waves:
      first, end = 0, samples - start
      while first < wave.shape[1]:
        found.append(Placed(pitch, start if first == 0 else 0, wave[:, first:end], gain))
        first, end = end, end + samples
  return found


def mix(kit: object, placed: Sequence[Placed], samples: int) -> np.ndarray:
  """Returns the sum of waves: float64 [samples, 2].

  Args:
    kit: Whose they are.
    placed: Of `place`, or some of it.
    samples: The length.
  """
  pitches = sorted({one.pitch for one in placed})
  places = [kit.sides(pitch) for pitch in pitches]
  first = dict(zip(pitches, np.cumsum([0, *map(len, places)]).tolist()))
  sides = np.concatenate([np.zeros([0, 2]), *places])
  audio = np.empty([samples, 2])
  rows = np.empty([len(sides), BLOCK])
  starts = np.array([one.start for one in placed])
  ends = starts + np.array([one.wave.shape[1] for one in placed])
  for begin in range(0, samples, BLOCK):
    rows.fill(0)
    for i in np.flatnonzero((starts < begin + BLOCK) & (ends > begin)).tolist():
      pitch, start, wave, gain = placed[i]
      late = max(start - begin, 0)
      for channel, row in zip(wave[:, begin + late - start:], rows[first[pitch]:]):
        blas.daxpy(channel[:BLOCK - late], row[late:late + len(channel)], a=gain)
    for i in range(0, min(BLOCK, samples - begin), BLAS_BLOCK):
      out = audio[begin + i:begin + i + BLAS_BLOCK]
      np.matmul(rows[:, i:i + len(out)].T, sides, out=out)
  return audio


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


_load, _loading = functools.cache(Player), threading.Lock()


def load_player(soundfont: str | None = None) -> Player:
  """Returns the Player of a SoundFont; it is loaded once.

  Raises:
    UserError: if there is no FluidSynth, or the SoundFont can't be used.
  """
  try:
    with _loading:  # Else each thread would load its own.
      return _load(soundfonts.find_soundfont(soundfont))
  except ImportError as e:
    raise UserError(NO_SOUND) from e
