"""The synthesized kit's sounds: sums of decaying modes and of noise in bands.

    PYTHONPATH=scripts .venv/bin/python -m drumloops.midi.synthesis

writes kit.flac and kit.json beside this file. Levels are those of TimGM6mb. Bands and
decays are near to those of acoustic kits (Hydrogen's GMRockKit; Black Pearl and Red
Zeppelin of AVL Drumkits), from which nothing is copied. A membrane's modes are those of
Fletcher and Rossing, The Physics of Musical Instruments, chapter 18; a cymbal's high
bands rise later than its low ones, as chapter 20 says.
"""
import functools
import json

from drumloops.midi import drum_kit
from drumloops.midi.soundfonts import SAMPLE_RATE as RATE
import numpy as np
from scipy import signal
import soundfile

MEMBRANE = np.array([1, 1.59, 2.14, 2.30, 2.65, 2.92])  # Modes' frequencies, by ratio.
GAIN = 4  # Of the files, over the levels below: no sound comes near to 1.


def _times(seconds):
  return np.arange(round(seconds * RATE)) / RATE


def _fading(t, t60):
  """Returns the level of what falls by 60 dB in `t60` seconds."""
  return 10 ** (-3 * t / t60)


def _modes(seconds, frequencies, levels, t60s, glide=(0, 0.05), phases=0):
  """Returns decaying sines.

  Args:
    seconds: The length.
    frequencies: In Hz.
    levels: In dB.
    t60s: In seconds.
    glide: How much higher they begin, as a share, and the seconds in which that falls
      to 1/e.
    phases: In turns.
  """
  t, (share, fall) = _times(seconds), glide
  turns = t + share * fall * (1 - np.exp(-t / fall))  # Of a sine of 1 Hz.
  return sum(
      10 ** (level / 20) * _fading(t, t60) * np.sin(2 * np.pi * (f * turns + phase))
      for f, level, t60, phase in np.broadcast(frequencies, levels, t60s, phases))


def _noise(rng, seconds, bands):
  """Returns noise in octaves: [(middle in Hz, level in dB, T60, rise in seconds)]."""
  t = _times(seconds)
  spectrum = np.fft.rfft(rng.standard_normal(len(t)))
  octave = np.log2(np.maximum(1, np.fft.rfftfreq(len(t), 1 / RATE)))
  out = 0
  for middle, level, t60, rise in bands:
    away = np.clip(np.abs(octave - np.log2(middle)), 0, 1)
    part = np.fft.irfft(spectrum * np.cos(np.pi / 2 * away), len(t))
    part *= 10 ** (level / 20) / np.sqrt(np.mean(part ** 2))
    out += part * _fading(t, t60) * (1 - np.exp(-(t + 1e-4) / max(rise, 1e-9)))
  return out


def _plate(rng, seconds, bands, count):
  """Returns a cymbal's modes, as loud as `noise` in these bands, with its decays.

  A plate has as many modes in each range of the same width.
  """
  middles, levels, t60s, _ = np.transpose(bands)
  low, high = middles[0] / 1.4, min(1.4 * middles[-1], 18000)
  frequencies = low + (high - low) * (np.arange(count) + rng.random(count)) / count
  octaves = np.log2(middles)
  def at(values):
    return np.interp(np.log2(frequencies), octaves, values)
  # A mode has its share of an octave's power.
  share = np.minimum(0, 10 * np.log10((high - low) / count / (0.7 * frequencies)))
  return _modes(seconds, frequencies, at(levels) + share + rng.normal(0, 6, count),
                at(t60s) * rng.uniform(0.6, 1.5, count), phases=rng.random(count))


def _driven(wave):
  """Returns a wave whose peaks are rounded, as tape does."""
  return np.tanh(2 / np.abs(wave).max() * wave)


def _kick_body(rng):
  thump = _modes(0.6, 54 * np.array([1, 1.7, 2.6]), [0, -13, -20], [0.6, 0.35, 0.25],
                 (0.9, 0.018))
  return _driven(thump + _noise(rng, 0.6, [
      (180, -23, 0.4, 0), (400, -32, 0.3, 0), (900, -38, 0.25, 0),
      (2500, -41, 0.2, 0)]))


def _kick_edge(rng):
  return _driven(_noise(rng, 0.15, [
      (350, -17, 0.09, 0), (1000, -20, 0.07, 0), (2500, -18, 0.05, 0),
      (5500, -23, 0.04, 0)]))


def _snare_body(rng):
  tune = 185 * (1 + 0.004 * rng.standard_normal())
  head = _modes(
      0.45, tune * MEMBRANE, [0, -5, -9, -12, -15, -17] + rng.normal(0, 1.5, 6),
      [0.34, 0.3, 0.25, 0.24, 0.2, 0.2], (0.12, 0.015))
  return _driven(head + _noise(rng, 0.45, [
      (350, -22, 0.4, 0), (700, -19, 0.38, 0), (1400, -19, 0.36, 0),
      (2800, -18, 0.36, 0.001), (5600, -21, 0.35, 0.001), (11000, -26, 0.3, 0.001)]))


def _snare_edge(rng):
  return _driven(_noise(rng, 0.25, [
      (1000, -12, 0.08, 0), (2500, -11, 0.12, 0), (5000, -13, 0.2, 0),
      (10000, -17, 0.2, 0)]))


HAT = [(100, -27), (250, -23), (500, -17), (1000, -14), (2000, -17), (4000, -14),
       (8000, -4), (14000, -2)]


def _hat(rng, seconds, t60s, tilt, count):
  bands = [(f, level + tilt * np.log2(f / 5600), t60, 0.0003)
           for (f, level), t60 in zip(HAT, t60s)]
  return _noise(rng, seconds, bands) + _plate(rng, seconds, bands[2:], count)


def _closed_body(rng):
  return _hat(rng, 0.28, [0.2, 0.2, 0.2, 0.22, 0.24, 0.26, 0.26, 0.23], 0, 60)


def _closed_edge(rng):
  return _hat(rng, 0.15, [0.05, 0.05, 0.06, 0.06, 0.08, 0.12, 0.13, 0.12], 1, 60)


def _open_body(rng):
  return _hat(rng, 1.15, [0.9, 1, 1, 1, 1, 1.1, 1, 0.8], -2, 240)


def _open_edge(rng):
  return _hat(rng, 0.5, [0.1, 0.1, 0.1, 0.15, 0.25, 0.4, 0.45, 0.4], -1, 120)


def _tom_body(rng, tune, t60):
  head = _modes(1.3, tune * MEMBRANE, [0, -6, -10, -12, -14, -16],
                t60 * np.array([1, 0.8, 0.6, 0.5, 0.45, 0.4]), (0.09, 0.06))
  return _driven(head + _noise(rng, 1.3, [
      (350, -23, 0.8, 0), (700, -25, 0.6, 0), (1400, -30, 0.45, 0),
      (2800, -35, 0.35, 0)]))


def _tom_edge(rng, tune):
  ring = _modes(0.25, tune * MEMBRANE[1:], rng.normal(-13, 2, 5), 0.25, (0.12, 0.03))
  return _driven(ring + _noise(rng, 0.25, [
      (400, -14, 0.15, 0), (800, -12, 0.15, 0), (1600, -12, 0.12, 0),
      (3200, -13, 0.1, 0), (6500, -20, 0.06, 0)]))


CRASH = [(100, -28, 1.5, 0), (350, -2, 2.6, 0.002), (700, -2, 2.9, 0.002),
         (1400, -10, 3, 0.003), (2800, -9, 2.6, 0.006), (5600, -12, 1.9, 0.015),
         (11000, -16, 1.2, 0.03)]


def _crash_body(rng):
  return 0.3 * _noise(rng, 2.6, CRASH) + _plate(rng, 2.6, CRASH[1:], 300)


def _crash_edge(rng):
  return _noise(rng, 0.9, [
      (350, -9, 0.4, 0), (700, -9, 0.4, 0), (1400, -10, 0.4, 0), (2800, -6, 0.5, 0.001),
      (5600, -6, 0.9, 0.004), (11000, -8, 0.9, 0.01)])


RIDE = [(100, -28, 1.5, 0), (350, -14, 2.2, 0), (700, -16, 2.2, 0.001),
        (1400, -20, 2.8, 0.001), (2800, -12, 3, 0.001), (5600, -9, 2.2, 0.001),
        (11000, -11, 1.1, 0.001)]


def _ride_body(rng):
  return 0.2 * _noise(rng, 2, RIDE) + _plate(rng, 2, RIDE[1:], 140)


def _ride_edge(rng):
  ping = _modes(0.4, rng.normal([2900, 3650, 4300, 5400, 6200], 15), -20,
                [0.5, 0.5, 0.4, 0.35, 0.3], phases=rng.random(5))
  return ping + _noise(rng, 0.4, [
      (350, -14, 0.1, 0), (1400, -18, 0.08, 0), (2800, -13, 0.08, 0),
      (5600, -7, 0.1, 0), (11000, -5, 0.12, 0)])


# In the order of grid.DRUM_CLASSES: what makes the body, how many there are; what makes
# the edge, how many, its power at velocity 127 as a share of the body's; the level of
# both in dB (see `power`), as TimGM6mb has it; the place from left, -1, to right, 1, as
# the audience sees the drummer.
DRUMS = [
    (_kick_body, 1, _kick_edge, 4, 0.05, -28.7, 0),
    (_snare_body, 4, _snare_edge, 4, 0.37, -26.7, 0.05),
    (_closed_body, 5, _closed_edge, 5, 0.7, -39, 0.3),
    (_open_body, 3, _open_edge, 3, 0.55, -42.2, 0.3),
    *((functools.partial(_tom_body, tune=tune, t60=t60), 1,
       functools.partial(_tom_edge, tune=tune), 3, 0.15, level, pan)
      for tune, t60, level, pan in (
          (80, 1.8, -27.6, -0.35), (112, 1.6, -28.1, -0.1), (150, 1.4, -28.1, 0.15))),
    (_crash_body, 1, _crash_edge, 2, 0.2, -31.9, 0.4),
    (_ride_body, 1, _ride_edge, 4, 0.8, -43.1, -0.4)]

# ITU-R BS.1770-4's two filters, for this rate.
K_WEIGHTING = [
    [1.5308412300503478, -2.6509799951547297, 1.1690790799215869,
     1, -1.6636551132560204, 0.7125954280732254],
    [1, -2, 1, 1, -1.9891696736297957, 0.9891990357870394]]


def power(wave: np.ndarray) -> float:
  """Returns the K-weighted power of a sound's first 100 ms, of all its channels.

  Args:
    wave: [samples] or [samples, channels].
  """
  samples = round(0.1 * RATE)
  weighted = signal.sosfilt(K_WEIGHTING, wave[:samples], axis=0)
  return (weighted ** 2).sum() / samples


def _faded(wave):
  """Returns a wave whose last fifth fades."""
  fade = len(wave) // 5
  return wave * np.append(np.ones(len(wave) - fade),
                          np.cos(np.linspace(0, np.pi / 2, fade)) ** 2)


def make() -> tuple[np.ndarray, dict[str, object]]:
  """Returns all sounds, one after the other, int16, and what kit.json says of them."""
  parts, layers, at = [], [], len(drum_kit.MARKS)
  for drum, (make_body, bodies, make_edge, edges, share, level, _) in enumerate(DRUMS):
    rng = np.random.default_rng(drum)
    layer = {'drum': drum, 'velocity': 127, 'edge': share}
    for name, make_part, count, its_share in (
        ('bodies', make_body, bodies, 1), ('edges', make_edge, edges, share)):
      layer[name] = []
      for _ in range(count):
        wave = _faded(make_part(rng))
        own = 10 ** (level / 10) * its_share / (1 + share)
        parts.append(np.sqrt(own / power(wave)) * wave)
        layer[name].append([at, len(wave)])
        at += len(wave)
    layers.append(layer)
  audio = np.concatenate([drum_kit.MARKS, *(GAIN * part for part in parts)])
  return np.round(2 ** 15 * audio).astype(np.int16), {
      'pans': [drum[-1] for drum in DRUMS], 'layers': layers}


def main() -> None:
  """Writes the kit."""
  audio, index = make()
  soundfile.write(drum_kit.WAVES, audio, RATE, subtype='PCM_16',
                  compression_level=1)
  drum_kit.INDEX.write_text(json.dumps(index) + '\n')
  print(f'{len(audio) / RATE:.1f} s, {drum_kit.WAVES.stat().st_size} bytes')


if __name__ == '__main__':
  main()
