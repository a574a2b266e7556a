"""Batches of drum slices for training: shuffled, augmented, partly hidden.

data.py's get_dataset takes them from here (see `install`). The tensors are made by
TensorFlow's ops; Python only reads the rows of a batch.
"""
import os
import types
from collections.abc import Callable

from magenta.models.music_vae import hooks
from magenta.models.music_vae import packed_slices
from magenta.models.music_vae import slice_cache
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


def augment(slices: tf.Tensor, probability: float) -> tf.Tensor:
  """Returns slices of which some are changed, but still patterns to play.

  Each change is made to a slice with `probability`: its bars are rotated, closed
  hi-hat and the ride swap, low and mid tom swap, mid and high tom swap, the crash is
  left out.

  Args:
    slices: Classes, int32, [batch, steps], of Magenta's nine drums.
    probability: Between 0 and 1.

  Returns:
    Classes of the same shape.
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


def mix(slices: tf.Tensor, probability: float) -> tf.Tensor:
  """Returns slices of which some are put together from others of the batch.

  This makes the latent hold each bar and each drum by itself. A slice may get:

  - bars of any slices, with `probability`;
  - drums of any slices, with two thirds of it;
  - hits left out, with half of it;
  - a rotation by beats, with half of it.

  Args:
    slices: Classes, integers, [batch, steps], of Magenta's nine drums.
    probability: Between 0 and 1.

  Returns:
    Classes, int32, of the same shape.
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


def hide(rolls: tf.Tensor) -> tf.Tensor:
  """Returns an encoder's inputs for loops of which random parts are hidden.

  In each loop some drums, or all of them, or all but the rhythm are hidden. The first
  bars, or some bars, stay visible. The rhythm is which steps have any hit. A hidden
  value is 0.5, halfway between a hit and none.

  Args:
    rolls: bool, [batch, steps, drums + 1]; the last is true where no drum is hit.

  Returns:
    float32 of the same shape.
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


def _reader(slices: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
  """Returns a function that returns rows of slices, given their indices."""
  # A view of a map has the map's file name, but another beginning.
  if not (isinstance(slices, np.memmap) and
          slices.nbytes == os.path.getsize(slices.filename)):
    return lambda indices: slices[indices]
  source = open(slices.filename, 'rb')  # The file may be removed meanwhile.
  # Mapped anew each time: pages that were read count as memory while a map exists.
  return lambda indices: np.memmap(
      source, slices.dtype, 'r', shape=slices.shape)[indices]


def batches(
    slices: np.ndarray, converter: object, batch_size: int, is_training: bool,
    seed: int | None = None, augment_probability: float = 0.,
    mix_probability: float = 0., hide_probability: float = 0.) -> tf.data.Dataset:
  """Returns batches of slices, unpacked; in training in a random order, for ever.

  Rows are read when their batch is made, so memory-mapped slices stay on disk.

  Args:
    slices: As packed_slices.pack returns them.
    converter: The converter they were made with.
    batch_size: A last batch that is smaller is left out.
    is_training: Whether the three probabilities are used.
    seed: Of the order.
    augment_probability: See `augment`.
    mix_probability: See `mix`; of the slices of which nothing is hidden.
    hide_probability: The share of a batch of which parts are hidden (see `hide`).
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


def get_dataset(
    config: object, is_training: bool, seed: int | None = None) -> tf.data.Dataset:
  """Does what `data.get_dataset` does, for configs that packed_slices.can_pack.

  Training shuffles all data anew each epoch and repeats for ever. With a `seed`, or a
  graph-level one, the order is always the same.

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
        'use more data, or the hyperparameter '
        f'batch_size={max(1, min(64, len(slices)))}.')
  return batches(slices, converter, batch_size, is_training, seed,
                 *(config.hparams.get(name, 0.) for name in (
                     'augment_probability', 'mix_probability',
                     'hide_probability')))


# HOOKS


def _get_dataset(original, config, tf_file_reader=tf.data.TFRecordDataset,
                 is_training=False, cache_dataset=True):
  if (packed_slices.can_pack(config) and
      tf_file_reader is tf.data.TFRecordDataset):
    config.data_converter.set_mode('train' if is_training else 'eval')
    return get_dataset(config, is_training)
  return original(config, tf_file_reader, is_training, cache_dataset)


def _known_drums(original, self, item):
  """Leaves out notes of pitches that are no drum's, as DrumsConverter does.

  Upstream raises KeyError on them, and may refuse a sequence because of them. Of a
  sequence without drums all notes count, as upstream has it.
  """
  drums = note_seq.NoteSequence()
  drums.CopyFrom(item)
  has_drums = any(note.is_drum for note in item.notes)
  del drums.notes[:]
  drums.notes.extend(note for note in item.notes
                     if note.is_drum >= has_drums and
                     note.pitch in self.pitch_class_map)
  return original(self, drums)


HOOKS = (hooks.Hook('get_dataset', _get_dataset),
         hooks.Hook('GrooveConverter.to_tensors', _known_drums))


def install(data: types.ModuleType) -> None:
  """Attaches the hooks to upstream's module of data sets and converters."""
  hooks.attach(data, HOOKS)
