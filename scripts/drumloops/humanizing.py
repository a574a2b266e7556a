"""A drummer's dynamics and timing for drums that have none.

GrooVAE (Gillick et al. 2019, arXiv 1905.06118): from which drums fall on which
sixteenth of 4 bars, a model trained on drummers says how loud each is and how
far from its sixteenth. All else in a file stays as it is.
"""
import bisect
import copy
import math

from drumloops import backend, checkpoint_files, cli, disk, grid, midi
import numpy as np

CONFIG = 'groovae_4bar_humanize'
BATCH_SIZE = 64
MAX_OFFSET = 0.49  # Steps.
FINE_TICKS = 480  # To a quarter, at least: 1 ms at 120 beats a minute.


def can_humanize(config):
  """Whether the config's models give hits their velocities and offsets."""
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import upstream
  converter = config.data_converter
  return (packed_slices.can_pack(config) and packed_slices.is_groove(converter)
          and upstream.is_humanizing(converter) and upstream.tells_hits(converter))


class Humanizer:
  """A model that gives hits their velocities and offsets."""

  def __init__(self, config, checkpoint):
    """Builds the graph and restores `checkpoint`.

    The pattern is not the model's to change: the decoder reads which drums play,
    and of its own outputs only the velocities and offsets of those.

    Raises:
      cli.UserError: if the checkpoint is of another config.
    """
    import tensorflow.compat.v1 as tf
    from magenta.contrib import seq2seq
    from magenta.models.music_vae import packed_slices
    from magenta.models.music_vae import upstream
    model, hparams = config.model, config.hparams
    steps, depth = hparams.max_seq_len, config.data_converter.output_depth
    self.shape = (steps, grid.DRUMS)
    self.pitch_classes = upstream.pitch_classes(config.data_converter)
    with tf.Graph().as_default():
      model.build(hparams, depth, is_training=False)
      self._hits = tf.placeholder(tf.float32, [BATCH_SIZE, steps, grid.DRUMS])
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
      decoded = upstream.decode(
          model.decoder, z, helper, tf.TensorShape([
              depth + hparams.z_size + grid.DRUMS]), steps)
      _, self._velocities, self._offsets = tf.split(decoded.samples, 3, axis=2)
      self._sess = tf.Session()
      checkpoint_files.restore(tf.train.Saver(), self._sess, checkpoint)

  def __call__(self, hits):
    """Returns velocities and offsets of drum hits.

    Args:
      hits: bool, [slices, 64, 9]: steps of a sixteenth, grid.DRUM_CLASSES.

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


def play(humanizer, patterns):
  """Returns how a drummer would play hits: a list of [(velocity, start)] each.

  All patterns in one batch, each 4 bars at a time from its step 0 on.

  Where the hit is on the grid, it moves by all of what the model says; the nearer
  to the next sixteenth it was played, the less, and halfway between two not at
  all. So flams, triplets and a drummer's own timing stay in their order, and every
  hit in its sixteenth.

  Args:
    humanizer: A Humanizer.
    patterns: For each, [(drum or None, start in steps)].

  Returns:
    For each hit, its velocity, 1 to 127, and its new start in steps; None for what
    is none of the nine drums.
  """
  steps, drums = humanizer.shape
  cells = [[(*divmod(grid.nearest_step(start), steps), drum)
            for drum, start in pattern] for pattern in patterns]
  # Only 4 bars in which something is hit are a slice, however far apart they are.
  places = {}
  for i, pattern in enumerate(cells):
    for part, _, drum in pattern:
      if drum is not None:
        places.setdefault((i, part), len(places))
  if not places:
    return [[None] * len(pattern) for pattern in patterns]
  slices = np.zeros([len(places), steps, drums], bool)
  for i, pattern in enumerate(cells):
    for part, step, drum in pattern:
      if drum is not None:
        slices[places[i, part], step, drum] = True
  velocities, offsets = humanizer(slices)
  velocities = np.clip(np.round(127 * velocities), 1, 127).astype(int)
  # So that no rounding, to ticks for example, takes a hit to another sixteenth.
  offsets = np.clip(offsets, -MAX_OFFSET, MAX_OFFSET)
  def how(i, cell, start):
    part, step, drum = cell
    if drum is None:
      return None
    place = places[i, part], step, drum
    played = start - grid.nearest_step(start)
    return (int(velocities[place]),
            start + float(offsets[place]) * (1 - 2 * abs(played)))
  return [[how(i, cell, start) for cell, (_, start) in zip(*pair)]
          for i, pair in enumerate(zip(cells, patterns))]


def load(run_dir=None, checkpoint_file=None, config_name=CONFIG, hparams=''):
  """Returns the Humanizer of a checkpoint; by default the one in weights/.

  Raises:
    cli.UserError: if there is no such config or checkpoint, or the config
      does not humanize.
  """
  config = backend.get_config(config_name, hparams)
  if not can_humanize(config):
    raise cli.UserError(
        f'{config_name} does not humanize; {CONFIG} does.')
  return Humanizer(config, checkpoint_files.find_checkpoint(
      run_dir, checkpoint_file, config_name))


def humanize_loops(sequences, humanizer):
  """Returns copies of decoded NoteSequences, played as a drummer would."""
  sequences = copy.deepcopy(sequences)
  loops = [([note for note in sequence.notes if note.is_drum],
            60 / sequence.tempos[0].qpm / grid.STEPS_PER_QUARTER)
           for sequence in sequences]
  played = play(humanizer, [
      [(grid.class_of_pitch(note.pitch), note.start_time / step)
       for note in notes] for notes, step in loops])
  for (notes, step), hows in zip(loops, played):
    for note, how in zip(notes, hows):
      if how:
        length = note.end_time - note.start_time
        note.velocity, note.start_time = how[0], how[1] * step
        note.end_time = note.start_time + length
  return sequences


def humanize_tracks(tracks, step, humanizer):
  """Humanizes the drum hits of tracks that are played together, in place.

  All else stays where it is. Each hit keeps the position of the hi-hat's pedal
  that it was played with, and its choke: it is not moved past them, and what is
  sent at its very tick goes with it.

  Args:
    tracks: Of a midi.Midi.
    step: Ticks of a sixteenth.
    humanizer: A Humanizer.

  Returns:
    How many hits were humanized, of how many.
  """
  hits = midi.find_hits(tracks)
  drum_of = grid.drum_map(humanizer.pitch_classes)
  [played] = play(humanizer, [[
      (drum_of(hit.on.data[1]), hit.on.tick / step) for hit in hits]])
  before = {id(event): (event.tick, t, i) for t, track in enumerate(tracks)
            for i, event in enumerate(track)}
  marks = _marks(tracks)
  last = {}  # New ticks of the hits so far, of each thing that must stay in order.
  for hit, how in sorted(zip(hits, played), key=lambda p: before[id(p[0].on)]):
    if not how:
      continue
    on, pitch = hit.on, hit.on.data[1]
    sixteenth = grid.nearest_step(on.tick / step)
    first, end = (math.ceil((sixteenth + x) * step) for x in (-0.5, 0.5))
    for stream in ('hi-hat',) * (pitch in midi.HI_HATS) + (pitch,):
      ticks = [event.tick for event in marks.get(stream, ())]
      i, j = bisect.bisect_left(ticks, on.tick), bisect.bisect(ticks, on.tick)
      first = max([first] + ticks[:i][-1:])
      end = min([end] + [tick + 1 for tick in ticks[j:][:1]])
    part = 'hi-hat' if pitch in midi.HI_HATS else pitch
    tick = min(max(round(how[1] * step), first), end - 1)
    tick = last[part] = max(0, tick, last.get(part, 0))
    if hit.off is not None:
      hit.off.tick = max(tick, hit.off.tick + tick - on.tick)
    on.tick, on.data = tick, bytes([on.data[0], pitch, how[0]])
  _move_marks(marks, hits, before)
  for track in tracks:
    end = track.pop()
    last_before = before[id(end)][0]
    for event in track:
      event.tick = min(event.tick, last_before)
    ends = {id(hit.off): hit.on.tick for hit in hits}
    # At the same tick, the end of a hit comes before the beginning of the next.
    track.sort(key=lambda event: (
        event.tick, -1 if ends.get(id(event), event.tick) < event.tick else 0,
        before[id(event)]))
    track.append(end)
  return sum(map(bool, played)), len(hits)


def _marks(tracks):
  """Returns what says how hits sound: {'hi-hat' or pitch: [Event]}, by tick.

  The hi-hat's pedal is a controller, of which the last value before a hit counts,
  so one that repeats it does not matter. A choke is the key pressure of a cymbal
  after it was hit.
  """
  found, pedal = {}, None
  for event in sorted((event for track in tracks for event in track),
                      key=lambda event: event.tick):
    if event.is_drum(midi.KEY_PRESSURE):
      found.setdefault(event.data[1], []).append(event)
    elif (event.is_drum(midi.CONTROLLER) and
          event.data[1] == midi.FOOT_CONTROLLER and event.data[2] != pedal):
      pedal = event.data[2]
      found.setdefault('hi-hat', []).append(event)
  return found


def _move_marks(marks, hits, before):
  """Moves the marks that were at the tick of a hit, by no more than it takes.

  Args:
    marks: What `_marks` returned.
    hits: Hits that have been moved.
    before: {id of an event: its place in time before}.
  """
  for stream, events in marks.items():
    related = [hit for hit in hits if hit.on.data[1] == stream or
               stream == 'hi-hat' and hit.on.data[1] in midi.HI_HATS]
    for event in events:
      i = bisect.bisect(related, before[id(event)],
                        key=lambda hit: before[id(hit.on)])
      if i:
        event.tick = max(event.tick, related[i - 1].on.tick)
      if i < len(related):
        event.tick = min(event.tick, related[i].on.tick)


def humanize_file(input_midi, output_midi, humanizer):
  """Humanizes the drums of a MIDI file; all else in it stays.

  Raises:
    cli.UserError: if it is not MIDI or has no drums, or if the output can't
      be written.
  """
  file = midi.read(input_midi)
  file.refine(FINE_TICKS)
  counts = [humanize_tracks(tracks, file.ticks_per_step, humanizer)
            for tracks in file.patterns]
  humanized, hits = (sum(part) for part in zip(*counts))
  if not hits:
    raise cli.UserError(midi.no_drums(input_midi, file))
  midi.write(file, output_midi)
  print(f'{disk.printable(output_midi)}: {humanized} of {hits} drum hits '
        'humanized.')
  if not all(midi.is_four_four(file, tracks, 0, file.last_tick + 1)
             for tracks in file.patterns):
    print('It is not in 4/4 throughout, and was read four quarters a bar.')
