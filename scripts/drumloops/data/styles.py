"""Performances, their styles and their phrases.

The file names of GMD's performances say their style.
"""
import collections
import os
import re
from typing import TYPE_CHECKING

from drumloops.data import splits
import numpy as np

if TYPE_CHECKING:
  from magenta.models.music_vae.data import BaseNoteSequenceConverter


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
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices, slice_cache, upstream
  found = collections.defaultdict(list)
  if packed_slices.is_groove(converter):
    for name, slices in performances(examples_path, converter):
      found[style_of(name) or ''].append(slices)
    return {style: np.concatenate(parts) for style, parts in sorted(found.items())}
  steps = upstream.slice_steps(converter)
  whole = upstream.changed(converter, slice_steps=None, roll_input=False)
  with splits.naming_damage(examples_path):
    for path in slice_cache.find_files(examples_path):
      for record in tf.python_io.tf_record_iterator(path):
        sequence = note_seq.NoteSequence.FromString(record)
        for track in whole.to_tensors(sequence).outputs:
          classes = np.argmax(track, axis=1)[:len(track) // steps * steps]
          found[style_of(sequence.filename) or ''].append(
              np.uint16(classes.reshape(-1, steps)))
  return {style: np.concatenate(parts) for style, parts in sorted(found.items())
          if sum(map(len, parts))}
