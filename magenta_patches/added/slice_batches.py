"""Batches of drum slices for training: augmented, shuffled, without any Python.

data.py's get_dataset takes them from here (see `install`).
"""
import functools

from magenta.models.music_vae import packed_slices
from magenta.models.music_vae import slice_cache
from magenta.models.music_vae import upstream
from magenta.models.music_vae.drum_classes import (
    CLOSED_HIHAT, CRASH, HIGH_TOM, LOW_TOM, MID_TOM, RIDE, STEPS_PER_BAR)
import note_seq
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


def batches(slices, converter, batch_size, is_training, seed=None,
            augment_probability=0.):
  """Returns a tf.data.Dataset of unpacked batches of slices."""
  dataset = tf.data.Dataset.from_tensor_slices(slices)
  if is_training:
    dataset = dataset.shuffle(len(slices), seed=seed).repeat()
  dataset = dataset.batch(batch_size, drop_remainder=True)
  if is_training and augment_probability:
    dataset = dataset.map(
        lambda s: augment(tf.cast(s, tf.int32), augment_probability))
  return dataset.map(lambda s: packed_slices.unpack(s, converter)).prefetch(
      tf.data.AUTOTUNE)


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
                 config.hparams.get('augment_probability', 0.))


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
