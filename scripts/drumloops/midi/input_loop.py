"""What a musician gives: the first bars of a MIDI file, and its hits given back."""
import collections
import os

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.midi import loop_file, midi_file
from drumloops.models.constraints import Constraints
from drumloops.system import disk
import numpy as np

# General MIDI's notes of a drum kit. Other percussion that counts as one of the nine
# drums gives it its note only where nothing else does.
OWN_NOTES = {*range(35, 54), 55, 57, 59}
# Of how far hits between the beats are from a straight grid, the most that they may be
# from a swung one; and what that must explain in all, in steps, two triplets at least.
# CLEAR: What it must explain of a beat that swings. Two such beats are needed, a
# quarter of all that are hit, and more than those where it is as clearly wrong: a fill
# of triplets is no swing. By these, of the 491 beats of GMD that are in 4/4, 74 swing
# in their first four bars.
SWUNG, EVIDENCE, CLEAR = 0.65, 0.65, 0.1
# unit: What swings, 'eighths' or 'sixteenths'. share: Where the second of two is, of
# both. beat: Where a beat's sixteenths are played, in steps; three, in a shuffle.
Swing = collections.namedtuple('Swing', 'unit share beat')
SWINGS = [swing for share in np.linspace(0.52, 0.7, 55) for swing in (
    Swing('sixteenths', share, (0, 2 * share, 2, 2 + 2 * share)),
    Swing('eighths', share, (
        0, 2 * share, 4 * share, 2 + 2 * share if share < 0.6 else 4 * share)))]


def find_swing(hits):
  """Returns the Swing of hits, as `Given` has them; None if they do not swing."""
  strokes = {}  # Without grace notes: the loudest of a drum in a sixteenth.
  for drum, start, *_ in sorted(hits, key=lambda hit: hit[2]):
    strokes[drum, grid.nearest_step(start)] = start
  starts = np.array(list(strokes.values()))
  steps = np.floor(starts + 0.5)
  on_beats = (starts - steps)[steps % grid.STEPS_PER_QUARTER == 0]
  late = np.median(on_beats) if len(on_beats) else 0  # All of them; that is no swing.
  hit, beats = np.unique(np.floor((starts - late + 0.5) / grid.STEPS_PER_QUARTER),
                         return_inverse=True)
  places = (starts - late) % grid.STEPS_PER_QUARTER
  between = (places > 0.5) & (places < grid.STEPS_PER_QUARTER - 0.5)
  def away(beat):
    points = np.append(beat, grid.STEPS_PER_QUARTER)
    return np.abs(places[between, np.newaxis] - points).min(axis=1)
  swing = min(SWINGS, key=lambda swing: away(swing.beat).sum())
  straight, swung = away(range(grid.STEPS_PER_QUARTER)), away(swing.beat)
  gains = np.bincount(beats[between], straight - swung)  # Beat by beat.
  swinging, others = np.sum(gains > CLEAR), np.sum(gains < -CLEAR)
  return swing if (
      swung.sum() < SWUNG * straight.sum() and gains.sum() > EVIDENCE and
      swinging >= max(2, len(hit) / 4) and swinging > others) else None


class Given(collections.namedtuple('Given', 'hits qpm steps pitches swing')):
  """The first bars of a file.

  hits: [(drum, start in steps, velocity, pitch)], as played.
  qpm: The tempo, in quarters a minute.
  steps: How many there are.
  pitches: {drum: the note that the file plays it with, mostly}.
  swing: A Swing, or None.
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

  def swing_with(self, sequence, kept=None):
    """Lets a decoded NoteSequence, whose hits are on the grid, swing as the file.

    But for kept ones, which `give_back` finds where they are.
    """
    step = 60 / sequence.tempos[0].qpm / grid.STEPS_PER_QUARTER
    hits = {(note.pitch, round(note.start_time / step)) for note in sequence.notes}
    for note in sequence.notes if self.swing else ():
      start = round(note.start_time / step)
      beat, sixteenth = divmod(start, grid.STEPS_PER_QUARTER)
      place = self.swing.beat[sixteenth]
      # In a shuffle two steps have one place; of two hits the first stays straight.
      is_shared = (place in self.swing.beat[sixteenth + 1:] and
                   (note.pitch, start + 1) in hits)
      if not is_kept(note, step, kept) and not is_shared:
        start = beat * grid.STEPS_PER_QUARTER + place
      note.end_time += start * step - note.start_time
      note.start_time = start * step

  def give_back(self, sequence, kept=None):
    """Writes decoded hits with the file's notes, and puts given ones in their place.

    Args:
      sequence: A decoded NoteSequence; it is changed.
      kept: Which hits are the given ones, to be as they were played: bool,
        [steps, drums]; None if none are.
    """
    step = 60 / sequence.tempos[0].qpm / grid.STEPS_PER_QUARTER
    others = [note for note in sequence.notes if not is_kept(note, step, kept)]
    for note in others:
      note.pitch = self.pitches.get(grid.class_of_pitch(note.pitch), note.pitch)
    del sequence.notes[:]
    sequence.notes.extend(others)
    for drum, start, velocity, pitch in self.hits if kept is not None else ():
      if kept[grid.step_of(start, self.steps), drum]:
        sequence.notes.add(
            pitch=pitch, velocity=velocity, is_drum=True,
            instrument=midi_file.DRUM_CHANNEL, start_time=start * step,
            end_time=(start + 1) * step)


def is_kept(note, step, kept):
  """Whether a decoded note is a given hit: of `kept`, bool [steps, drums] or None."""
  drum = grid.class_of_pitch(note.pitch)
  return (kept is not None and drum is not None and
          kept[grid.nearest_step(note.start_time / step), drum])


def read(path, config, bars, constraints=Constraints(), **options):
  """Returns the Given of a MIDI file: from the first bar with a drum on.

  Says so where the file is shorter.

  Args:
    path: A MIDI file, in 4/4 there.
    config: A config of drums.
    bars: How many.
    constraints: What is kept of it. For drums and the rhythm a shorter file begins again
      where it ends; else there is silence.
    **options: Of `midi_file.first_bars`.

  Raises:
    UserError: if it is not MIDI, not in 4/4 or without drums, or if its bars
      are fewer than what is kept.
  """
  from magenta.models.music_vae import upstream
  drum_of = grid.drum_map(upstream.pitch_classes(config.data_converter))
  hits, qpm, own_bars, pitches = midi_file.first_bars(path, drum_of, bars, **options)
  steps, length = bars * grid.STEPS_PER_BAR, own_bars * grid.STEPS_PER_BAR
  gives = (f'{disk.printable(os.path.basename(path))} gives {own_bars} '
           f'bar{"s" * (own_bars > 1)}')
  about = {  # What is in these bars counts before what is elsewhere in the file.
      'pitches': {**most_frequent(pitches, drum_of),
                  **most_frequent([pitch for *_, pitch in hits], drum_of)},
      'swing': find_swing(hits)}
  if own_bars == bars:
    return Given(hits, qpm, steps, **about)
  if not (constraints.keep or constraints.rhythm):
    if max(constraints.keep_bars, default=-1) >= own_bars:
      raise UserError(f'{gives}, so {field("keep_bars")} goes up to {own_bars}.')
    if not constraints.keep_bars:
      print(f'{gives}; after that there is silence.')
    return Given(hits, qpm, steps, **about)
  print(f'{gives}, which repeat{"s" * (own_bars == 1)}: bar {own_bars + 1} is bar 1 '
        'again.')
  return Given([
      (drum, begin + start, velocity, pitch) for begin in range(0, steps, length)
      for drum, start, velocity, pitch in hits
      # In the middle of the file what is early for the next bar is not in these.
      if begin + start <= steps - 0.5 or begin + length <= steps], qpm, steps,
               **about)


def most_frequent(pitches, drum_of):
  """Returns the note of each drum that is there most often: {drum: pitch}."""
  counts = collections.Counter(
      loop_file.GENERAL_MIDI.get(pitch, pitch) for pitch in pitches)
  return {drum_of(pitch): pitch for pitch in sorted(
      counts, key=lambda pitch: (pitch in OWN_NOTES, counts[pitch], -pitch))}


def patterns(sequences, steps):
  """Returns the classes of decoded NoteSequences: int, [loops, steps]."""
  loops = np.zeros([len(sequences), steps], int)
  for loop, sequence in zip(loops, sequences):
    for drum, start, _ in loop_file.hits(sequence):
      loop[grid.nearest_step(start)] |= 1 << drum
  return loops
