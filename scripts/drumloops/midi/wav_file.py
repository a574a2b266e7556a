"""Loops as WAV files: stereo, 16 bits, with their tempo, so that DAWs repeat them."""
import struct

import numpy as np

ROOT_NOTE = 60  # Of a sound without pitch.
UNIT = 2 ** 15  # A sample of 1 in 16 bits.
BLOCK = 32768  # Samples.


def to_16_bits(audio: np.ndarray, gain: float = 1.) -> np.ndarray:
  """Returns audio times a gain, from -1 to 1, as int16 [samples, 2]."""
  whole = np.empty(audio.shape, '<i2')
  for i in range(0, len(audio), BLOCK):  # Parts that fit a core's cache.
    part = audio[i:i + BLOCK] * (gain * UNIT)
    part += 0.5
    whole[i:i + BLOCK] = np.floor(part, out=part)
  return whole


def write(path: str, samples: np.ndarray, rate: int, qpm: float, beats: int) -> None:
  """Writes a WAV file.

  It says its tempo, and that it is a loop, in the two chunks where DAWs look: acid (of
  Sony Acid's files, not documented; as public readers read it) and smpl (Microsoft's
  and IBM's standard of 1991).

  Args:
    path: The file.
    samples: int16 [samples, 2].
    rate: Samples a second.
    qpm: The tempo in quarters a minute.
    beats: The length.
  """
  sound_format = struct.pack('<HHIIHH', 1, 2, rate, 4 * rate, 4, 16)
  # A loop that may be stretched, without a root note.
  acid = struct.pack('<IHHfIHHf', 4, ROOT_NOTE, 0x8000, 0, beats, 4, 4, qpm)
  loop = struct.pack('<6I', 0, 0, 0, len(samples) - 1, 0, 0)  # All of it, for ever.
  smpl = struct.pack('<9I', 0, 0, round(1e9 / rate), ROOT_NOTE, 0, 0, 0, 1, 0) + loop
  def chunk(name, data):
    return struct.pack('<4sI', name, len(data)) + data
  head = chunk(b'fmt ', sound_format) + struct.pack('<4sI', b'data', samples.nbytes)
  tail = chunk(b'acid', acid) + chunk(b'smpl', smpl)
  with open(path, 'wb') as f:
    f.write(struct.pack('<4sI4s', b'RIFF', 4 + len(head) + samples.nbytes + len(tail),
                        b'WAVE') + head)
    f.write(np.ascontiguousarray(samples).data)
    f.write(tail)
