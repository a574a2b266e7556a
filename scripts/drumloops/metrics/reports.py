"""What evaluations share: loops as written files have them, tables, results."""
import json
import os
from collections.abc import Sequence
from typing import Any

from drumloops import grid, model
from drumloops.data import patterns
from drumloops.midi import drum_maps, loop_file
from drumloops.system import disk
import numpy as np


def deliver(config: Any, slices: np.ndarray) -> np.ndarray:
  """Returns slices as they are in the MIDI files that sample.py would write.

  Args:
    config: A config of drum slices.
    slices: What Autoencoder.decode returned.
  """
  sequences = model.to_sequences(config, slices)
  bars = slices.shape[1] // grid.STEPS_PER_BAR
  read = np.zeros(slices.shape[:2] + (3, grid.DRUMS))
  for i, hits in enumerate(loop_file.deliver(
      [loop_file.as_loop(sequence, bars=bars) for sequence in sequences])):
    for pitch, start, velocity in hits:
      step = grid.nearest_step(start)
      if step < slices.shape[1]:  # A last hit may be played after its loop.
        read[i, step, :, drum_maps.drum_of_decoded(pitch)] = (
            1, velocity / 127, grid.offset_of(start, step))
  read = read.reshape(slices.shape[:2] + (-1,))
  return read.astype(np.float32) if slices.ndim == 3 else patterns.of_slices(read)


def cell(value: float) -> str:
  """Returns a number as tables have it."""
  return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}'


def table(rows: dict[str, dict[str, float]], columns: Sequence[str]) -> list[str]:
  """Returns lines of a Markdown table of {name: {column: number}}."""
  return ['| | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 1) + '|',
          *(f'| {name} | ' + ' | '.join(cell(row[c]) for c in columns) + ' |'
            for name, row in rows.items())]


def write_evaluation(output_dir: str, result: dict, figures: dict[str, Any]) -> None:
  """Writes evaluation.json, and {file name: matplotlib figure}."""
  os.makedirs(output_dir, exist_ok=True)
  with disk.replacing(os.path.join(output_dir, 'evaluation.json')) as path:
    with open(path, 'w') as f:
      json.dump(result, f, indent=2)
      f.write('\n')
  for name, figure in figures.items():
    with disk.replacing(os.path.join(output_dir, name)) as path:
      figure.savefig(path, dpi=100)
