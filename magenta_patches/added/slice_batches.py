"""Batches of drum slices for training: augmented, shuffled, without any Python.

data.py's get_dataset takes them from here (see `install`).
"""
import functools
import os

from magenta.models.music_vae import packed_slices
from magenta.models.music_vae import slice_cache
from magenta.models.music_vae import upstream
from magenta.models.music_vae.drum_classes import (
    CLOSED_HIHAT, CRASH, DRUM_CLASSES, HIGH_TOM, KICK, LOW_TOM, MID_TOM, OPEN_HIHAT,
    RIDE, SNARE, STEPS_PER_BAR, STEPS_PER_QUARTER)
import note_seq
import numpy as np
import tensorflow.compat.v1 as tf

NO_SLICES = (
    'There is not one slice of drums in the data: a file gives slices if it has '
    'notes on MIDI channel 10, is in 4/4, has one tempo and is as long as a loop '
    'of the config (4 bars for most); scripts/make_tfrecord.py says which it was '
    'when it made the TFRecord.')


class NotEnoughExamples(ValueError):
  """There are fewer examples than one batch."""


def _exchange(slices, one, other):
  """Returns classes in which the drums (bits) `one` and `other` swap."""
  bits = tf.bitwise
  differ = bits.bitwise_and(
      bits.bitwise_xor(bits.right_shift(slices, one),
                       bits.right_shift(slices, other)), 1)
  return bits.bitwise_xor(slices, differ * ((1 << one) | (1 << other)))


def augment(slices, probability):
  """Returns slices some of which are changed in ways that keep them grooves.

  Each change is made to a slice with `probability`: its bars go round, the
  closed hi-hat and the ride swap, two toms swap, the crash is left out.

  Args:
    slices: int32, [batch, steps], of Magenta's nine drums.
    probability: Between 0 and 1.
  """
  batch, steps = tf.unstack(tf.shape(slices))
  def sometimes(changed):
    return tf.where_v2(
        tf.random.uniform([batch, 1]) < probability, changed, slices)
  shift = STEPS_PER_BAR * tf.random.uniform(
      [batch, 1], 0, steps // STEPS_PER_BAR, tf.int32)
  slices = sometimes(tf.gather(
      slices, (tf.range(steps)[tf.newaxis] + shift) % steps, batch_dims=1))
  slices = sometimes(_exchange(slices, CLOSED_HIHAT, RIDE))
  slices = sometimes(_exchange(slices, LOW_TOM, MID_TOM))
  slices = sometimes(_exchange(slices, MID_TOM, HIGH_TOM))
  return sometimes(tf.bitwise.bitwise_and(slices, ~(1 << CRASH)))


def mix(slices, probability):
  """Returns slices some of which are put together from others of the batch.

  So that a latent has to say each bar and each drum for itself: bars of any loops,
  with `probability`; drums of any loops, with two thirds of it; hits left out, or
  all moved by beats, with half of it each.

  Args:
    slices: Integers, [batch, steps], of Magenta's nine drums.
    probability: Between 0 and 1.
  """
  slices = tf.cast(slices, tf.int32)
  batch, steps = tf.unstack(tf.shape(slices))
  bars, bits = steps // STEPS_PER_BAR, tf.bitwise
  drums = tf.bitwise.left_shift(1, tf.range(len(DRUM_CLASSES)))
  def sometimes(changed, share):
    return tf.where_v2(
        tf.random.uniform([batch, 1]) < share * probability, changed, slices)
  slices = sometimes(tf.reshape(tf.gather(
      tf.reshape(slices, [-1, STEPS_PER_BAR]),
      tf.random.uniform([batch, bars], 0, batch * bars, tf.int32)), [batch, -1]), 1)
  rows = tf.where_v2(
      tf.random.uniform([batch, len(DRUM_CLASSES)]) < 0.5,
      tf.range(batch)[:, tf.newaxis],
      tf.random.uniform([batch, len(DRUM_CLASSES)], 0, batch, tf.int32))
  slices = sometimes(tf.reduce_sum(bits.bitwise_and(
      tf.gather(slices, rows), drums[:, tf.newaxis]), axis=1), 2 / 3)
  kept = tf.random.uniform([batch, steps, len(DRUM_CLASSES)]) < (
      tf.random.uniform([batch, 1, 1], 0.5, 1))
  slices = sometimes(bits.bitwise_and(slices, tf.reduce_sum(
      tf.where_v2(kept, drums, 0), axis=-1)), 1 / 2)
  shift = STEPS_PER_QUARTER * tf.random.uniform(
      [batch, 1], 0, steps // STEPS_PER_QUARTER, tf.int32)
  return sometimes(tf.gather(
      slices, (tf.range(steps)[tf.newaxis] + shift) % steps, batch_dims=1), 1 / 2)


def hide(rolls):
  """Returns what an encoder hears of loops of which parts are hidden.

  Drums, all but a rhythm, or all, and of that not the first bars, or not some bars.
  What is hidden is a half, between what plays and what does not.

  Args:
    rolls: bool, [batch, steps, drums + 1], the last says that no drum plays.
  """
  batch, steps = tf.unstack(tf.shape(rolls)[:2])
  def draw(*shape):
    return tf.random.uniform([batch, *shape])
  bars, drums = steps // STEPS_PER_BAR, rolls.shape[2] - 1
  kind = draw(1)
  known = draw(drums) < draw(1)
  def alone(*kept):
    return tf.constant([[drum in kept for drum in range(drums)]])
  known = tf.where_v2(kind < 0.12, alone(KICK, SNARE), known)
  known = tf.where_v2((kind >= 0.12) & (kind < 0.24), alone(
      CLOSED_HIHAT, OPEN_HIHAT, CRASH, RIDE), known)
  known &= kind < 0.5
  is_rhythm = (kind >= 0.5) & (kind < 0.65) | (kind >= 0.4) & (kind < 0.45)
  is_bar_known = tf.where_v2(
      draw(1) < 0.75,
      tf.range(bars) < tf.random.uniform([batch, 1], 0, bars, tf.int32),
      draw(bars) < 0.5)
  known = known[:, tf.newaxis] | tf.repeat(
      is_bar_known, STEPS_PER_BAR, axis=1)[..., tf.newaxis]
  bits, is_silent = rolls[..., :-1], rolls[..., -1]
  known |= (is_rhythm & is_silent)[..., tf.newaxis]
  is_silence_known = is_rhythm | tf.reduce_all(known, -1) | tf.reduce_any(
      known & bits, -1)
  known = tf.concat([known, is_silence_known[..., tf.newaxis]], axis=-1)
  return tf.where_v2(known, tf.cast(rolls, tf.float32), 0.5)


def flatten(performances):
  """Returns groove slices, [batch, steps, 3 * drums], of which only hits are told."""
  hits, *played = tf.split(performances, 3, axis=-1)
  return tf.concat([hits, *map(tf.zeros_like, played)], axis=-1)


def _reader(slices):
  """Returns a function that returns rows of slices, given their indices."""
  # A part of a map looks like a map of the file's beginning.
  if not (isinstance(slices, np.memmap) and
          slices.nbytes == os.path.getsize(slices.filename)):
    return lambda indices: slices[indices]
  source = open(slices.filename, 'rb')  # It may be removed meanwhile.
  # Mapped anew each time: what is read of a map counts as memory until it goes.
  return lambda indices: np.memmap(
      source, slices.dtype, 'r', shape=slices.shape)[indices]


def batches(slices, converter, batch_size, is_training, seed=None,
            augment_probability=0., mix_probability=0., hide_probability=0.):
  """Returns a tf.data.Dataset of unpacked batches of slices.

  In training, of a share `hide_probability` of a batch parts are hidden from the
  encoder; the others are mixed. Rows are read when their batch is made, so slices
  that are memory-mapped stay on disk.
  """
  dataset = tf.data.Dataset.range(len(slices))
  if is_training:
    dataset = dataset.shuffle(len(slices), seed=seed).repeat()
  dataset = dataset.batch(batch_size, drop_remainder=True)
  read = _reader(slices)
  def rows(indices):
    [batch] = tf.numpy_function(read, [indices], [slices.dtype])
    batch.set_shape([batch_size, *slices.shape[1:]])
    return batch
  dataset = dataset.map(rows)
  if is_training and augment_probability:
    dataset = dataset.map(
        lambda s: augment(tf.cast(s, tf.int32), augment_probability))
  hidden = int(batch_size * hide_probability) if is_training else 0
  if is_training and mix_probability and hidden < batch_size:
    dataset = dataset.map(lambda s: tf.concat(
        [tf.cast(s[:hidden], tf.int32), mix(s[hidden:], mix_probability)], axis=0))
  def unpack(packed):
    inputs, *others = packed_slices.unpack(packed, converter)
    if hidden:
      inputs = tf.concat([hide(inputs[:hidden]), tf.cast(
          inputs[hidden:], tf.float32)], axis=0)
    return (inputs, *others)
  return dataset.map(unpack).prefetch(tf.data.AUTOTUNE)


def get_dataset(config, is_training, seed=None):
  """Does what `data.get_dataset` does where packed_slices.can_pack.

  Training shuffles the whole data anew each epoch and repeats for ever; with
  a `seed`, or a graph-level one, always in the same order.

  Raises:
    NotEnoughExamples: if there is not even one batch.
  """
  batch_size = config.hparams.batch_size
  converter = config.data_converter
  slices = slice_cache.load_slices(
      converter,
      config.train_examples_path if is_training else config.eval_examples_path,
      config.tfds_name, 'train' if is_training else 'validation')
  if not len(slices):
    raise NotEnoughExamples(NO_SLICES)
  if len(slices) < batch_size:
    raise NotEnoughExamples(
        f'There are {len(slices)} examples, but a batch takes {batch_size}; '
        f'use more data or a smaller batch (--hparams=batch_size='
        f'{max(1, min(64, len(slices)))}).')
  return batches(slices, converter, batch_size, is_training, seed,
                 *(config.hparams.get(name, 0.) for name in (
                     'augment_probability', 'mix_probability',
                     'hide_probability')))


# HOOKS


def _known_drums(to_tensors, self, item):
  """Leaves out what is none of the drums, on which upstream raises KeyError.

  As DrumsConverter does. Of a sequence without drums all notes count, as upstream
  has it. What is left out can't make a sequence be refused either.
  """
  drums = note_seq.NoteSequence()
  drums.CopyFrom(item)
  has_drums = any(note.is_drum for note in item.notes)
  del drums.notes[:]
  drums.notes.extend(note for note in item.notes
                     if note.is_drum >= has_drums and
                     note.pitch in self.pitch_class_map)
  return to_tensors(self, drums)


def install(module):
  """Makes data.py, whose globals these are, take slices from here."""
  slow = module['get_dataset']
  @functools.wraps(slow)
  def dataset(config, tf_file_reader=tf.data.TFRecordDataset, is_training=False,
              cache_dataset=True):
    if (packed_slices.can_pack(config) and
        tf_file_reader is tf.data.TFRecordDataset):
      config.data_converter.set_mode('train' if is_training else 'eval')
      return get_dataset(config, is_training)
    return slow(config, tf_file_reader, is_training, cache_dataset)
  module['get_dataset'] = dataset
  upstream.wrap(module['GrooveConverter'], 'to_tensors', _known_drums)
