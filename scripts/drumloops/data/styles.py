"""Performances, their styles and their phrases.

The file names of GMD's performances say their style.
"""
import collections
import os
import re
from typing import TYPE_CHECKING

from drumloops import grid
from drumloops.data import patterns, splits
import numpy as np

if TYPE_CHECKING:
  from magenta.models.music_vae.data import BaseNoteSequenceConverter


LEAST_HITS = 4  # Of a fill.


def style_of(filename: str) -> str | None:
  """Returns GMD's style of a performance, None if the name is not one of GMD's.

  'funk' of .../1_funk-groove1_138_beat_4-4.mid.
  """
  match = re.match(r'\d+_([a-z]+)[a-z0-9-]*_\d+_(?:beat|fill)_',
                   os.path.basename(filename))
  return match and match[1]


def performances(examples_path: str, converter: 'BaseNoteSequenceConverter'
                 ) -> list[tuple[str, np.ndarray]]:
  """Returns [(file's name, slices)] of NoteSequences, but for those without slices.

  Args:
    examples_path: A TFRecord, or a pattern of them.
    converter: Makes the slices, [slices, steps, ...].

  Raises:
    UserError: if a TFRecord is damaged.
  """
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import slice_cache
  with splits.naming_damage(examples_path):
    names = [note_seq.NoteSequence.FromString(record).filename
             for path in slice_cache.find_files(examples_path)
             for record in tf.python_io.tf_record_iterator(path)]
    return [(name, slices) for name, slices in zip(
        names, slice_cache.load_each(converter, examples_path)) if len(slices)]


def slices_by_style(examples_path: str, converter: 'BaseNoteSequenceConverter'
                    ) -> dict[str, np.ndarray]:
  """Returns {style: slices} of those `performances` whose names say a style."""
  found = collections.defaultdict(list)
  for name, slices in performances(examples_path, converter):
    if style := style_of(name):
      found[style].append(slices)
  return {style: np.concatenate(parts) for style, parts in sorted(found.items())}


def phrases(examples_path: str, converter: 'BaseNoteSequenceConverter'
            ) -> dict[str, np.ndarray]:
  """Returns {style, or '': slices} of loops that begin where a phrase begins.

  That is every fourth bar from the one on in which the drums begin. Of configs of
  performances all slices are returned.

  Args:
    examples_path: A TFRecord, or a pattern of them.
    converter: Makes the slices.

  Raises:
    UserError: if a TFRecord is damaged.
  """
  from magenta.models.music_vae import packed_slices, upstream
  found = collections.defaultdict(list)
  if packed_slices.is_groove(converter):
    for name, slices in performances(examples_path, converter):
      found[style_of(name) or ''].append(slices)
    return {style: np.concatenate(parts) for style, parts in sorted(found.items())}
  steps = upstream.slice_steps(converter)
  for name, track in _tracks(examples_path, converter):
    found[style_of(name) or ''].append(
        track[:len(track) // steps * steps].reshape(-1, steps))
  return {style: np.concatenate(parts) for style, parts in sorted(found.items())
          if sum(map(len, parts))}


def fills(examples_path: str, converter: 'BaseNoteSequenceConverter') -> np.ndarray:
  """Returns the bars of performances that are fills: patterns, [bars, steps a bar].

  GMD's file names say which these are. A bar of less than LEAST_HITS is what comes
  after a fill.

  Args:
    examples_path: A TFRecord, or a pattern of them.
    converter: Reads bars, one class a step.

  Raises:
    UserError: if a TFRecord is damaged.
  """
  bars = np.concatenate([
      track[:len(track) // grid.STEPS_PER_BAR * grid.STEPS_PER_BAR].reshape(
          -1, grid.STEPS_PER_BAR)
      for name, track in _tracks(examples_path, converter)
      if re.search(r'_fill_\d+-\d+\.midi?$', name)] or [
          np.zeros([0, grid.STEPS_PER_BAR], np.uint16)])
  return bars[patterns.bits(bars).sum(axis=(1, 2)) >= LEAST_HITS]


def _tracks(examples_path, converter):
  """Yields each performance's name and the classes of its drums, [steps].

  One with a gap of a bar gives several. They begin with a bar in which a drum is hit.
  """
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import slice_cache, upstream
  whole = upstream.changed(converter, slice_steps=None, roll_input=False)
  with splits.naming_damage(examples_path):
    for path in slice_cache.find_files(examples_path):
      for record in tf.python_io.tf_record_iterator(path):
        sequence = note_seq.NoteSequence.FromString(record)
        for track in whole.to_tensors(sequence).outputs:
          yield sequence.filename, np.uint16(np.argmax(track, axis=1))
