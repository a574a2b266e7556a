"""What a musician gives: the first bars of a MIDI file, and its hits given back."""
import collections
import os

from drumloops import cli, completing, disk, grid, loop_midi, midi
import numpy as np


class Given(collections.namedtuple('Given', 'hits qpm steps')):
  """The first bars of a file.

  hits: [(drum, start in steps, velocity, pitch)], as played.
  qpm: The tempo, in quarters a minute.
  steps: How many there are.
  """

  @property
  def loop(self):
    """The classes of the steps: int, [steps]."""
    loop = np.zeros(self.steps, int)
    for drum, start, *_ in self.hits:
      loop[grid.step_of(start, self.steps)] |= 1 << drum
    return loop

  def encoder_input(self, converter):
    """Returns what a converter's encoder is told: [steps, input_depth].

    bool and a class or a drum each with a DrumsConverter, float32 (hits,
    velocities, offsets) with a GrooveConverter.
    """
    from magenta.models.music_vae import upstream
    drums = len(upstream.pitch_classes(converter))
    hits, velocities, offsets = np.zeros([3, self.steps, drums], np.float32)
    for drum, start, velocity, _ in self.hits:
      step = grid.step_of(start, self.steps)
      if velocity / 127 > velocities[step, drum]:  # As upstream: the loudest.
        hits[step, drum], velocities[step, drum] = 1, velocity / 127
        # From -1 to 1; early is more.
        offsets[step, drum] = max(-1, 2 * (step - start))
    if type(converter).__name__ == 'GrooveConverter':
      kept = 0 if upstream.is_humanizing(converter) else 1
      return np.concatenate([hits, kept * velocities, kept * offsets], axis=-1)
    if upstream.has_roll_input(converter):
      return np.append(hits, hits.sum(axis=1, keepdims=True) == 0, axis=1) > 0
    return np.eye(converter.input_depth, dtype=bool)[self.loop]

  def give_back(self, sequence, kept):
    """Puts hits that were given in the place of decoded ones, as they were played.

    Args:
      sequence: A decoded NoteSequence; it is changed.
      kept: Which hits are the given ones: bool, [steps, drums].
    """
    step = 60 / sequence.tempos[0].qpm / grid.STEPS_PER_QUARTER
    def is_kept(drum, at):
      return drum is not None and kept[at, drum]
    others = [note for note in sequence.notes if not is_kept(
        grid.class_of_pitch(note.pitch), grid.nearest_step(note.start_time / step))]
    del sequence.notes[:]
    sequence.notes.extend(others)
    for drum, start, velocity, pitch in self.hits:
      if is_kept(drum, grid.step_of(start, self.steps)):
        sequence.notes.add(
            pitch=pitch, velocity=velocity, is_drum=True,
            instrument=midi.DRUM_CHANNEL, start_time=start * step,
            end_time=(start + 1) * step)


def read(path, config, bars, wish=completing.Wish(), **options):
  """Returns the Given of a MIDI file: from the first bar with a drum on.

  Says so where the file is shorter.

  Args:
    path: A MIDI file, in 4/4 there.
    config: A config of drums.
    bars: How many.
    wish: What is kept of it. For drums and the rhythm a shorter file begins again
      where it ends; else there is silence.
    **options: Of `midi.first_bars`.

  Raises:
    cli.UserError: if it is not MIDI, not in 4/4 or without drums, or if its bars
      are fewer than what is kept.
  """
  from magenta.models.music_vae import upstream
  hits, qpm, own_bars = midi.first_bars(
      path, grid.drum_map(upstream.pitch_classes(config.data_converter)), bars,
      **options)
  steps, length = bars * grid.STEPS_PER_BAR, own_bars * grid.STEPS_PER_BAR
  gives = (f'{disk.printable(os.path.basename(path))} gives {own_bars} '
           f'bar{"s" * (own_bars > 1)}')
  if own_bars == bars:
    return Given(hits, qpm, steps)
  if not (wish.drums or wish.rhythm):
    if max(wish.bars, default=-1) >= own_bars:
      raise cli.UserError(f'{gives}, so --keep_bars goes up to {own_bars}.')
    if not wish.bars:
      print(f'{gives}; after that there is silence.')
    return Given(hits, qpm, steps)
  print(f'{gives}, which repeat{"s" * (own_bars == 1)}: bar {own_bars + 1} is bar 1 '
        'again.')
  return Given([
      (drum, begin + start, velocity, pitch) for begin in range(0, steps, length)
      for drum, start, velocity, pitch in hits
      # In the middle of the file what is early for the next bar is not in these.
      if begin + start <= steps - 0.5 or begin + length <= steps], qpm, steps)


def patterns(sequences, steps):
  """Returns the classes of decoded NoteSequences: int, [loops, steps]."""
  loops = np.zeros([len(sequences), steps], int)
  for loop, sequence in zip(loops, sequences):
    for drum, start, _ in loop_midi.hits(sequence):
      loop[grid.nearest_step(start)] |= 1 << drum
  return loops
