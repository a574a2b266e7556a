"""Loops as sound: each stroke starts at the sample that its time says."""
import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.midi import drum_kit, drum_maps, midi_file, soundfonts, wav_file
from drumloops.midi.soundfonts import SAMPLE_RATE, SILENCE, SYNTH
import numpy as np

PEAK = 10 ** (-1 / 20)  # -1 dBFS.
LONGEST_TAIL = 10  # Seconds.
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
    if all(note.is_drum for note in loop.notes):
      audio = to_stereo(self.kit, *mix(self.kit, _strokes(loop), _samples(loop)))
    else:
      audio = self.by_fluidsynth(loop)
    peak = _peak(audio)
    if peak > SILENCE:
      audio *= PEAK / peak
    return audio

  def by_fluidsynth(self, loop: object) -> np.ndarray:
    """Returns a loop as FluidSynth alone plays it, with effects: [samples, 2]."""
    events = [(sample_at(time), action) for time, action in _events(loop)]
    wrapped = np.zeros([2, _samples(loop)])
    add_wrapped(wrapped, self._orchestra.play(
        events, _samples(loop), LONGEST_TAIL).T, 0)
    return wrapped.T

  def stems(self, loop: object) -> dict[str, np.ndarray]:
    """Returns each drum's part of a loop: {drum: float64 [samples, 2]}.

    All are at one gain, which takes the loudest of them and of their sum to PEAK.

    Raises:
      UserError: if other instruments play, too.
    """
    if not all(note.is_drum for note in loop.notes):
      raise UserError('Stems are of drums; this loop has other instruments, too.')
    pitches, rows = mix(self.kit, _strokes(loop), _samples(loop))
    stems = {}
    for drum, name in (*enumerate(grid.DRUM_CLASSES), (None, OTHER)):
      own = [drum_maps.drum_of_written(pitch) == drum for pitch in pitches]
      if any(own):
        stems[name] = to_stereo(self.kit, *(
            list(itertools.compress(some, own)) for some in (pitches, rows)))
    peak = max(map(_peak, [*stems.values(), sum(stems.values())]), default=0)
    for stem in stems.values():
      stem *= PEAK / peak if peak > SILENCE else 1
    return stems

  def write_wav(self, loop: object, path: str,
                stem_path: Callable[[str], str] | None = None) -> None:
    """Writes a loop as a stereo 16-bit WAV file, exactly its length.

    Args:
      loop: What `loop_file.as_loop` returned.
      path: The file.
      stem_path: Gives a drum's stem its path, if stems are written, too. The loop is
        their sum, to the unit.
    """
    if not stem_path:
      _write(path, wav_file.to_16_bits(self(loop)), loop)
      return
    stems = self.stems(loop)
    parts = wav_file.to_16_bits_that_sum(list(stems.values()))
    for drum, part in zip(stems, parts):
      _write(stem_path(drum), part, loop)
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


def _strokes(loop):
  """Returns what `mix` takes of a loop of drums."""
  return [(sample_at(note.start_time) % _samples(loop), note.pitch, note.velocity)
          for note in loop.notes]


def mix(kit: object, strokes: Sequence[tuple[int, int, int]], samples: int
        ) -> tuple[list[int], np.ndarray]:
  """Returns the sound of strokes, whose end goes on at its beginning.

  Args:
    kit: A SoundFont or a DrumKit.
    strokes: [(sample, pitch, velocity)].
    samples: The length.

  Returns:
    (of which pitch each row is, the rows: float64 [rows, samples]). `to_stereo` puts
    them into their places.
  """
  order = sorted(strokes, key=lambda stroke: stroke[0])
  pitches = [pitch for pitch in sorted({pitch for _, pitch, _ in strokes})
             for _ in kit.sides(pitch)]
  rows, numbers = np.zeros([len(pitches), samples]), collections.Counter()
  for place, (start, pitch, velocity) in enumerate(order):
    number = numbers[pitch]
    numbers[pitch] += 1
    waves = kit.stroke(pitch, velocity, number)
    for later in range(place + 1, place + len(order) + 1):
      rounds, j = divmod(later, len(order))
      at, other, _ = order[j]
      after = at + rounds * samples - start
      if after >= waves[0][0].shape[1]:
        break
      if after and kit.is_cut_off(pitch, other):
        waves = kit.cut_off(pitch, velocity, other, after, number)
        break
    row = pitches.index(pitch)
    for wave, gain in waves:
      add_wrapped(rows[row:row + len(wave)], gain * wave, start)
  return pitches, rows


def to_stereo(kit: object, pitches: Sequence[int], rows: np.ndarray) -> np.ndarray:
  """Returns what `mix` returned, or some of it, as float64 [samples, 2]."""
  sides = [kit.sides(pitch) for pitch in dict.fromkeys(pitches)]
  return (np.concatenate([np.zeros([0, 2]), *sides]).T @ rows).T


def add_wrapped(output: np.ndarray, wave: np.ndarray, start: int) -> None:
  """Adds a wave to an output, both [channels, samples], from a sample on.

  What goes beyond the output's end is added to its beginning.
  """
  while wave.shape[1]:
    part = wave[:, :output.shape[1] - start]
    output[:, start:start + part.shape[1]] += part
    wave, start = wave[:, part.shape[1]:], 0


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


def load_player(soundfont: str | None = None) -> Player:
  """Returns the Player of a SoundFont; it is loaded once.

  Raises:
    UserError: if there is no FluidSynth, or the SoundFont can't be used.
  """
  try:
    return _load(soundfonts.find_soundfont(soundfont))
  except ImportError as e:
    raise UserError(NO_SOUND) from e
