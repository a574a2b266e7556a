"""Gives the drums of a MIDI file a drummer's dynamics and timing.

    python3 scripts/humanize.py in.mid out.mid

GrooVAE (Gillick et al. 2019, arXiv 1905.06118): from which drums fall on which
sixteenth of 4 bars, a model trained on drummers says how loud each is and how
far from its sixteenth. All else in the file stays as it is.
"""
import collections
import copy
import itertools
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import plots
import render
from absl import flags
import numpy as np

CONFIG = 'groovae_4bar_humanize'
DRUMS = len(plots.LANES)
BATCH_SIZE = 64
FINE_TICKS = 480  # To a quarter: 1 ms at 120 beats a minute.


def can_humanize(config):
  """Whether the config's models give hits their velocities and offsets."""
  from magenta.models.music_vae import packed_slices
  converter = config.data_converter
  return (packed_slices.can_pack(config) and packed_slices.is_groove(converter)
          and converter._humanize and converter._hits_as_controls)


class Humanizer:
  """A model that gives hits their velocities and offsets."""

  def __init__(self, config, checkpoint):
    """Builds the graph and restores `checkpoint`.

    The pattern is not the model's to change: the decoder reads which drums play,
    and of its own outputs only the velocities and offsets of those.

    Raises:
      common.UserError: if the checkpoint is of another config.
    """
    import tensorflow.compat.v1 as tf
    from magenta.contrib import seq2seq
    from magenta.models.music_vae import packed_slices
    model, hparams = config.model, config.hparams
    steps, depth = hparams.max_seq_len, config.data_converter.output_depth
    self.shape = (steps, DRUMS)
    with tf.Graph().as_default():
      model.build(hparams, depth, is_training=False)
      self._hits = tf.placeholder(tf.float32, [BATCH_SIZE, steps, DRUMS])
      inputs, _, controls, lengths = packed_slices.unpack(
          tf.concat([self._hits] + 2 * [tf.zeros_like(self._hits)], axis=-1),
          config.data_converter)
      lengths.set_shape([BATCH_SIZE])
      z = model.encode(inputs, lengths, controls).loc

      def reads(outputs, time):
        return tf.concat([outputs, z, tf.gather(self._hits, time, axis=1)], axis=1)

      def played(time, outputs, state):
        del state
        hits = tf.gather(self._hits, time, axis=1)
        _, velocities, offsets = tf.split(outputs, 3, axis=1)
        return tf.concat([hits, hits * tf.sigmoid(velocities),
                          hits * tf.tanh(offsets)], axis=1)

      helper = seq2seq.CustomHelper(
          initialize_fn=lambda: (
              tf.zeros([BATCH_SIZE], tf.bool),
              reads(tf.zeros([BATCH_SIZE, depth]), 0)),
          sample_fn=played,
          next_inputs_fn=lambda time, outputs, state, sample_ids: (
              False, reads(sample_ids, tf.minimum(time + 1, steps - 1)), state),
          sample_ids_shape=[depth], sample_ids_dtype=tf.float32)
      decoded = model.decoder._decode(
          z, helper, tf.TensorShape([depth + hparams.z_size + DRUMS]), steps)
      _, self._velocities, self._offsets = tf.split(decoded.samples, 3, axis=2)
      self._sess = tf.Session()
      common.restore(tf.train.Saver(), self._sess, checkpoint)

  def __call__(self, hits):
    """Returns velocities and offsets of drum hits.

    Args:
      hits: bool, [slices, 64, 9]: steps of a sixteenth, drums as in plots.LANES.

    Returns:
      velocities: from 0 to 1, [slices, 64, 9].
      offsets: In steps, [slices, 64, 9]; what is late is more than 0.
    """
    hits = np.asarray(hits, np.float32)
    parts = []
    for i in range(0, len(hits), BATCH_SIZE):
      batch = hits[i:i + BATCH_SIZE]
      parts.append([part[:len(batch)] for part in self._sess.run(
          [self._velocities, self._offsets], {self._hits: np.pad(
              batch, [(0, BATCH_SIZE - len(batch)), (0, 0), (0, 0)])})])
    velocities, offsets = (np.concatenate(p) for p in zip(*parts))
    # GrooveConverter's offsets are from -1 to 1, and early is more than 0.
    return velocities, -offsets / 2


def play(humanizer, hits):
  """Returns how a drummer would play hits: [(velocity, offset)].

  Args:
    humanizer: A Humanizer.
    hits: [(start in steps, lane or None)] as `plots.hits` has them; the pattern
      is read 4 bars at a time from step 0 on.

  Returns:
    For each hit, its velocity, 1 to 127, and by how many steps it is late; None
    for what is none of the nine drums.
  """
  steps, drums = humanizer.shape
  cells = [(*divmod(plots.nearest_step(start), steps), lane)
           for start, lane in hits]
  slices = np.zeros([1 + max(c[0] for c in cells), steps, drums], bool)
  for i, step, lane in cells:
    if lane is not None:
      slices[i, step, lane] = True
  velocities, offsets = humanizer(slices)
  velocities = np.clip(np.round(127 * velocities), 1, 127).astype(int)
  return [(int(velocities[c]), float(offsets[c])) if c[2] is not None else None
          for c in cells]


def load(run_dir=None, checkpoint_file=None, config_name=CONFIG, hparams=''):
  """Returns the Humanizer of a checkpoint; by default the one in weights/.

  Raises:
    common.UserError: if there is no such config or checkpoint, or the config
      does not humanize.
  """
  config = common.get_config(config_name, hparams)
  if not can_humanize(config):
    raise common.UserError(
        f'{config_name} does not humanize; {CONFIG} does.')
  return Humanizer(config, common.find_checkpoint(
      run_dir, checkpoint_file, config_name))


def humanize_loops(sequences, humanizer):
  """Returns copies of NoteSequences, played as a drummer would."""
  result = []
  for sequence in sequences:
    sequence = copy.deepcopy(sequence)
    notes = [note for note in sequence.notes if note.is_drum]
    if notes:
      step = 60 / sequence.tempos[0].qpm / 4  # Seconds.
      played = play(humanizer, [
          (note.start_time / step, plots.lane_of_pitch(note.pitch))
          for note in notes])
      for note, how in zip(notes, played):
        if how:
          note.velocity = how[0]
          note.start_time += how[1] * step
          note.end_time += how[1] * step
    result.append(sequence)
  return result


def read_midi(path):
  """Returns a MIDI file as mido has it, at least FINE_TICKS to a quarter.

  Raises:
    common.UserError: if there is none, or if it counts in seconds.
  """
  import mido
  if not os.path.isfile(path):
    raise common.UserError(f'There is no MIDI file {path}.')
  try:
    midi = mido.MidiFile(path)
  except Exception as e:  # Which error it is depends on the damage.
    raise common.UserError(f'{path} is not a valid MIDI file.') from e
  if not 0 < midi.ticks_per_beat < 1 << 15:
    raise common.UserError(f'{path} counts in seconds instead of beats.')
  finer = -(-FINE_TICKS // midi.ticks_per_beat)
  midi.ticks_per_beat *= finer
  for track in midi.tracks:
    if not track or track[-1].type != 'end_of_track':
      track.append(mido.MetaMessage('end_of_track'))
    for message in track:
      message.time *= finer
  return midi


def find_hits(track):
  """Returns a track's drum hits: [(index of note_on, index of note_off or None)].

  Drums are those of channel 10; a note_off belongs to the first hit of its pitch
  that has none yet.
  """
  found, sounding = {}, collections.defaultdict(collections.deque)
  for i, message in enumerate(track):
    if message.type not in ('note_on', 'note_off') or (
        message.channel != render.DRUM_CHANNEL):
      continue
    if message.type == 'note_on' and message.velocity:
      found[i] = None
      sounding[message.note].append(i)
    elif sounding[message.note]:
      found[sounding[message.note].popleft()] = i
  return list(found.items())


def humanize_track(track, step, humanizer):
  """Humanizes the drum hits of a mido track in place; all else stays.

  Args:
    track: A mido.MidiTrack.
    step: Ticks of a sixteenth.
    humanizer: A Humanizer.

  Returns:
    How many hits were humanized, of how many.
  """
  ticks = list(itertools.accumulate(message.time for message in track))
  hits = find_hits(track)
  if not hits:
    return 0, 0
  played = play(humanizer, [
      (ticks[on] / step, plots.lane_of_pitch(track[on].note))
      for on, _ in hits])
  last = ticks[-1]
  order = {}  # Of messages at the same tick; 0 unless it says otherwise.
  for (on, off), how in zip(hits, played):
    if how:
      late = round(how[1] * step)
      track[on].velocity = how[0]
      ticks[on] = min(last, max(0, ticks[on] + late))
      if off is not None:
        ticks[off] = min(last, max(ticks[on], ticks[off] + late))
        # The end of a hit before the beginning of the next.
        order[off] = -1 if ticks[off] > ticks[on] else 0
  arranged = sorted(range(len(track) - 1), key=lambda i: (
      ticks[i], order.get(i, 0), i)) + [len(track) - 1]  # end_of_track.
  track[:] = [track[i].copy(time=ticks[i] - before) for i, before in zip(
      arranged, [0] + [ticks[i] for i in arranged])]
  return sum(map(bool, played)), len(hits)


def humanize_file(input_midi, output_midi, humanizer):
  """Humanizes the drums of a MIDI file; all else in it stays.

  Raises:
    common.UserError: if it is not MIDI or has no drums, or if the output can't
      be written.
  """
  midi = read_midi(input_midi)
  counts = [humanize_track(track, midi.ticks_per_beat / 4, humanizer)
            for track in midi.tracks]
  humanized, hits = (sum(part) for part in zip(*counts)) if counts else (0, 0)
  if not hits:
    raise common.UserError(f'{input_midi} has no drums (MIDI channel 10).')
  output_midi = os.path.realpath(output_midi)
  if os.path.exists(output_midi) and not os.path.isfile(output_midi):
    raise common.UserError(f'{output_midi} is not a file.')
  temporary = output_midi + '.tmp'
  try:
    midi.save(temporary)
    os.replace(temporary, output_midi)
  except OSError as e:
    raise OSError(e.errno, e.strerror, output_midi) from e
  finally:
    if os.path.exists(temporary):
      os.remove(temporary)
  print(f'{output_midi}: {humanized} of {hits} drum hits humanized.')


def define_flags():
  flags.DEFINE_string('config', CONFIG, 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to use.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint, or folder of them, instead of --run_dir.')


def main(input_midi, output_midi):
  FLAGS = flags.FLAGS
  humanize_file(
      os.path.expanduser(input_midi), os.path.expanduser(output_midi),
      load(FLAGS.run_dir, FLAGS.checkpoint_file, FLAGS.config, FLAGS.hparams))


if __name__ == '__main__':
  common.run(main, define_flags, ('in.mid', 'out.mid'))
