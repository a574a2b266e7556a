"""Slices of performances that have every stroke: flams, drags and rolls too.

GrooveConverter has one stroke of a drum at a step, the loudest. Of 100 hits in the
Groove MIDI Dataset seven have a second one within the same sixteenth.
"""
import collections

from magenta.models.music_vae import data
from magenta.models.music_vae import upstream
from magenta.models.music_vae.stroke_network import DEPTH, DRUMS, STROKES
import note_seq
import numpy as np

TEMPO = 120.  # The tempo that is 0 in a slice.


def empty_slice(steps: int, qpm: float) -> np.ndarray:
  """Returns a slice without hits, at a tempo in quarters a minute."""
  slice_ = np.zeros([steps, DEPTH], np.float32)
  slice_[:, -1] = np.log2(qpm / TEMPO)
  return slice_


def put(slice_: np.ndarray, step: int, drum: int, strokes: list) -> None:
  """Puts a hit into a slice: its STROKES loudest strokes.

  Args:
    slice_: [steps, DEPTH].
    step: Of the hit.
    drum: Its drum.
    strokes: [(velocity, offset)], as GrooveConverter has them; in order of time.
  """
  values = slice_[step, :-1].reshape(-1, DRUMS)[:, drum]
  loudest = sorted(strokes, key=lambda stroke: -stroke[0])[:STROKES]
  values[0] = 1
  values[1:1 + 2 * len(loudest)] = np.ravel(loudest)


class StrokeConverter(data.GrooveConverter):
  """Converts to and from hits, tempo, and up to STROKES strokes of each hit.

  A step has DEPTH numbers. The first are GrooveConverter's: which drums are hit, and the
  loudest strokes' velocities and offsets. Those of the second and of the third loudest
  follow, 0 where there is none. The last number is the binary logarithm of the tempo
  over TEMPO. The controls are the hits and that number.
  """

  def __init__(self, **settings: object):
    """Takes GrooveConverter's settings of slices and drums."""
    super().__init__(hits_as_controls=True, **settings)
    data.BaseNoteSequenceConverter.__init__(
        self, input_depth=DEPTH, input_dtype=np.float32, output_depth=DEPTH,
        output_dtype=np.float32, control_depth=DRUMS + 1, control_dtype=np.float32,
        end_token=False, presplit_on_time_changes=False,
        max_tensors_per_notesequence=None)

  def to_tensors(self, item: note_seq.NoteSequence) -> data.ConverterTensors:
    """Returns the slices of a NoteSequence: see the class."""
    loudest = super().to_tensors(item)  # It knows which sequences have slices.
    if not loudest.outputs:
      return loudest
    quantized = note_seq.quantize_note_sequence(item, upstream.steps_per_quarter(self))
    [qpm] = {tempo.qpm for tempo in quantized.tempos}
    step_seconds = 60 / qpm / upstream.steps_per_quarter(self)
    cells = collections.defaultdict(list)
    has_drums = any(note.is_drum for note in item.notes)
    for note in quantized.notes:  # Without drums all count, as upstream has it.
      if note.is_drum >= has_drums and note.pitch in self.pitch_class_map:
        step = note.quantized_start_step
        cells[step, self.pitch_class_map[note.pitch]].append(
            (note.velocity / 127, 2 * (step - note.start_time / step_seconds)))
    last = max(step for step, _ in cells)
    whole = empty_slice(last + 1 + (-last - 1) % upstream.steps_per_bar(self), qpm)
    for cell, strokes in cells.items():
      put(whole, *cell, strokes)
    length = len(loudest.outputs[0])
    slices = [whole[begin:begin + length] for begin in range(
        0, len(whole) - length + 1, upstream.hop_size(self) or length)]
    return data.ConverterTensors(
        inputs=slices, outputs=slices,
        controls=[np.concatenate([s[:, :DRUMS], s[:, -1:]], axis=1) for s in slices])

  def from_tensors(self, samples: list, controls: object = None) -> list:
    """Returns the NoteSequences of slices: see the class."""
    sequences = []
    for sample in samples:
      _, *strokes = np.split(
          sample[:, :-1], range(DRUMS, DEPTH - 1, 2 * DRUMS), axis=1)
      parts = super().from_tensors([
          np.concatenate([part[:, :DRUMS] > 0, part], axis=1) for part in strokes])
      for part in parts[1:]:
        parts[0].notes.extend(part.notes)
      parts[0].total_time = max(part.total_time for part in parts)
      sequences.append(parts[0])
    return sequences
