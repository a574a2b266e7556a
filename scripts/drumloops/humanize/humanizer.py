"""A drummer's dynamics and timing for drums that have none.

GrooVAE (Gillick et al. 2019, arXiv 1905.06118): from which drums fall on which
sixteenth of 4 bars, a model trained on drummers says how loud each is and how
far from its sixteenth. All else in a file stays as it is.
"""
import bisect
import collections
import copy
import math
import pathlib
import zlib

from drumloops import errors, grid
from drumloops.errors import UserError
from drumloops.humanize import feel_model
from drumloops.midi import midi_file
from drumloops.models import groove_model
from drumloops.runs import checkpoint_files
from drumloops.system import disk, magenta_setup
import numpy as np

CONFIG = 'groovae_4bar_hits_control'
DEFAULT_TAKE = 1
MEAN_TAKE = 0  # Not by chance.
# So much of a feel's variance goes by the hits, as if these said who plays: then two
# takes differ as two performances of one beat by one drummer of GMD do.
SAME_PLAYER = 0.3
# Of how velocities and timing are played; 0 leaves them as they are.
Amount = collections.namedtuple('Amount', 'velocity timing')
WHOLE = Amount(1., 1.)
MOST = 1.2
EVERY_DRUM = 'every drum'  # Whose sound a mark is of: see `_marks`.
# Controllers that say more than their last value: bank, data entry, (N)RPNs, modes.
NO_REPEATS, MODES = {0, 6, 32, 38, *range(96, 128)}, range(120, 128)
MAX_OFFSET = 0.49  # Steps.
FINE_TICKS = 480  # To a quarter, at least: 1 ms at 120 beats a minute.


def define_flags():
  """Defines the flags of a take, which sample.py and humanize.py share."""
  from absl import flags
  flags.DEFINE_integer('take', DEFAULT_TAKE, 'Which of any number of ways to play; '
                       f'{MEAN_TAKE} is what drummers do on average.', lower_bound=0)
  flags.DEFINE_integer('drummer', None, 'Of GMD, whose feel is taken; default: '
                       'anyone\'s.')
  for name, what in (('velocity', 'loud'), ('timing', 'late or early')):
    flags.DEFINE_float(name, None, f'How much of how {what} the take plays hits, '
                       'instead of --amount.', lower_bound=0, upper_bound=MOST)


def read_amount(amount, velocity, timing):
  """Returns the Amount of three flags, the latter two of which count first."""
  amount = 1. if amount is None else amount
  return Amount(amount if velocity is None else velocity,
                amount if timing is None else timing)


def can_humanize(config):
  """Whether the config's models give hits their velocities and offsets."""
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import upstream
  converter = config.data_converter
  return (packed_slices.can_pack(config) and packed_slices.is_groove(converter)
          and upstream.slice_bars(converter) == grid.BARS
          and upstream.tells_hits(converter))


def has_takes(config):
  """Whether a config that humanizes hears how hits are played.

  Its latent then holds that, and another one is another take.
  """
  from magenta.models.music_vae import upstream
  return not upstream.is_humanizing(config.data_converter)


class Humanizer:
  """Gives hits their velocities and offsets: a take of a model."""

  def __init__(self, performer, kept=None, take=DEFAULT_TAKE, feel=None):
    """Sets up a take.

    Args:
      performer: A groove_model.GrooveModel.
      kept: What `feel_model.load` returned; None where the latents hold no feel, or it
        is not known how they lie.
      take: A seed, or MEAN_TAKE for what drummers do on average.
      feel: The mean and the deviation of the feels of which one is taken: two of
        [z_size]; any drummer's by default.
    """
    self.pitch_classes = performer.pitch_classes
    self.shape = (performer.steps, grid.DRUMS)
    self._performer, self._kept, self._take = performer, kept, take
    self._feel = (np.zeros(performer.z_size), 1.) if feel is None else feel
    self._spread = feel_model.Spread(kept) if kept and take != MEAN_TAKE else None

  def __call__(self, hits, patterns):
    """Returns velocities and offsets of drum hits.

    Args:
      hits: bool, [slices, 64, 9]: steps of a sixteenth, grid.DRUM_CLASSES.
      patterns: A number for each slice. Those of the same pattern are played with
        the same feel.

    Returns:
      velocities: from 0 to 1, [slices, 64, 9].
      offsets: In steps, [slices, 64, 9]; what is late is more than 0.
    """
    performer, kept = self._performer, self._kept
    z, sigma = performer.encode(groove_model.flat(hits))
    chance = np.zeros((len(hits), self.shape[0], groove_model.CHANCE), np.float32)
    for pattern in set(patterns) if kept else ():
      rows = np.equal(patterns, pattern)
      # By the hits too, or all patterns would be played with the same chance.
      seed = zlib.crc32(np.packbits(hits[rows]))
      of_hits = np.random.RandomState(seed)
      of_take = np.random.RandomState([self._take, seed])
      def draw(size):
        return (np.sqrt(SAME_PLAYER) * of_hits.standard_normal(size) +
                np.sqrt(1 - SAME_PLAYER) * of_take.standard_normal(size))
      feel, deviation = self._feel
      if self._spread:
        feel = feel + deviation * draw(performer.z_size)
        chance[rows] = self._spread.chance(
            rows.sum(), feel, draw(feel_model.CHANNELS), of_take)
      z[rows] += sigma[rows] * (kept['mean'] + kept['root'] @ feel)
    played = performer.play(hits, z, self._spread, chance, 'Humanizing')
    _, velocities, offsets = np.split(played, 3, axis=-1)
    # GrooveConverter's offsets are from -1 to 1, and early is more than 0.
    return velocities, -offsets / 2


def play(humanizer, patterns, amount=WHOLE):
  """Returns how a drummer would play hits: a list of [(velocity, start)] each.

  All patterns in one batch, each 4 bars at a time from its step 0 on.

  Where the hit is on the grid, it moves by all of what the humanizer says; the nearer
  to the next sixteenth it was played, the less, and halfway between two not at
  all. So flams, triplets and a drummer's own timing stay in their order, and every
  hit in its sixteenth.

  Of several hits of a drum in one sixteenth, what the humanizer says is of the
  loudest; the others keep their ratio to it, and those that were softer stay so.

  Args:
    humanizer: A Humanizer.
    patterns: For each, [(drum or None, start in steps, velocity from 1 to 127)].
    amount: How far velocities and timing go from what they were to what the
      humanizer says: an Amount.

  Returns:
    For each hit, its velocity, 1 to 127, and its new start in steps; None for what
    is none of the nine drums.
  """
  steps, drums = humanizer.shape
  cells = [[(*divmod(grid.nearest_step(start), steps), drum)
            for drum, start, _ in pattern] for pattern in patterns]
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
  velocities, offsets = humanizer(slices, [i for i, _ in places])
  # So that no rounding, to ticks for example, takes a hit to another sixteenth.
  offsets = np.clip(amount.timing * offsets, -MAX_OFFSET, MAX_OFFSET)
  given = {}  # Velocities, by place.
  for i, pattern in enumerate(cells):
    for (part, *cell), (_, _, velocity) in zip(pattern, patterns[i]):
      if None not in cell:
        given.setdefault((places[i, part], *cell), set()).add(velocity)
  louder = {place: _louder(sorted(known, reverse=True), 127 * float(
      velocities[place]), amount.velocity) for place, known in given.items()}
  def how(i, cell, start, velocity):
    part, step, drum = cell
    if drum is None:
      return None
    place = places[i, part], step, drum
    played = start - grid.nearest_step(start)
    return (louder[place][velocity],
            start + float(offsets[place]) * (1 - 2 * abs(played)))
  return [[how(i, cell, *hit) for cell, (_, *hit) in zip(*pair)]
          for i, pair in enumerate(zip(cells, patterns))]


def _louder(velocities, said, amount):
  """Returns the new velocity of each of a drum's hits in one sixteenth: a dict.

  Args:
    velocities: From the loudest to the softest, each once.
    said: What a humanizer says of the loudest.
    amount: How far it goes there.
  """
  loudest, count = velocities[0], len(velocities)
  last = min(max(round(loudest + amount * (said - loudest)), count), 127)
  new = {loudest: last}
  for i, velocity in enumerate(velocities[1:], 1):
    softer = min(round(new[loudest] * velocity / loudest), last - 1)
    last = new[velocity] = max(softer, count - i)
  return new


def load(run_dir=None, checkpoint_file=None, config_name=CONFIG, hparams='',
         take=DEFAULT_TAKE, like=None, drummer=None,
         drum_channel=midi_file.DRUM_CHANNEL + 1):
  """Returns the Humanizer of a checkpoint; by default the one in weights/.

  Args:
    run_dir: Training run whose newest checkpoint is used, ...
    checkpoint_file: ... or a checkpoint, or folder of them.
    config_name: Its config.
    hparams: Changes to the config.
    take: A seed, or MEAN_TAKE.
    like: A MIDI file whose feel is taken, or ...
    drummer: ... the number of a drummer of GMD.
    drum_channel: Of the performance: see `midi_file.read`.

  Raises:
    UserError: if there is no such config, checkpoint, drummer or take, or the
      config does not humanize, or has no feel to take.
  """
  errors.check_seeds(take=take)
  config = magenta_setup.get_config(config_name, hparams)
  if not can_humanize(config):
    raise UserError(
        f'{config_name} does not humanize; {CONFIG} does.')
  checkpoint = checkpoint_files.find_checkpoint(
      run_dir, checkpoint_file, config_name)
  if not has_takes(config):
    if like or drummer is not None:
      raise UserError(f'The encoder of {config_name} hears no feel, so there is '
                          f'none to take from anybody; {CONFIG} does.')
    return Humanizer(groove_model.GrooveModel(config, checkpoint), take=MEAN_TAKE)
  if like and drummer is not None:
    raise UserError('Name a performance or a drummer, not both.')
  kept = feel_model.load(checkpoint)
  feel = None if drummer is None else feel_model.gaussian(kept, f'drummer{drummer}')
  performer = groove_model.GrooveModel(config, checkpoint)
  if like:
    feel = feel_model.feel_of(
        performer, kept, played_slices(like, performer, drum_channel)), 0.
  return Humanizer(performer, kept, take, feel)


def played_slices(path, performer, drum_channel=midi_file.DRUM_CHANNEL + 1):
  """Returns the hits of a MIDI file as slices of a performance.

  4 bars at a time, those in which a drum plays; of several hits of a drum at a step
  the loudest counts.

  Raises:
    UserError: if it is not MIDI, or has no drums.
  """
  file = midi_file.read(path, drum_channel)
  drum_of, slices = grid.drum_map(performer.pitch_classes), {}
  for i, tracks in enumerate(file.patterns):
    shift = midi_file.bar_shifts(tracks, file.ticks_per_step)
    for hit in midi_file.find_hits(tracks):
      start = hit.on.tick / file.ticks_per_step + shift(hit.on.tick)
      velocity = hit.on.data[2] / 127
      step, drum = grid.nearest_step(start), drum_of(hit.on.data[1])
      part = slices.setdefault((i, step // performer.steps), np.zeros(
          [performer.steps, 3, grid.DRUMS], np.float32))
      cell = step % performer.steps, slice(None), drum
      if drum is not None and velocity > part[cell][1]:
        part[cell] = 1, velocity, 2 * (step - start)
  slices = [part.reshape(len(part), -1) for part in slices.values() if part.any()]
  if not slices:
    hits = [hit for tracks in file.patterns for hit in midi_file.find_hits(tracks)]
    raise UserError(
        midi_file.none_of_the_nine(path, file, hits) if hits else midi_file.no_drums(path, file))
  return np.array(slices)


def humanize_loops(sequences, humanizer, amount=WHOLE):
  """Returns copies of decoded NoteSequences, played as a drummer would."""
  sequences = copy.deepcopy(sequences)
  loops = [([note for note in sequence.notes if note.is_drum],
            60 / sequence.tempos[0].qpm / grid.STEPS_PER_QUARTER)
           for sequence in sequences]
  played = play(humanizer, [
      [(grid.class_of_pitch(note.pitch), note.start_time / step, note.velocity)
       for note in notes] for notes, step in loops], amount)
  for (notes, step), hows in zip(loops, played):
    for note, how in zip(notes, hows):
      if how:
        length = note.end_time - note.start_time
        note.velocity, note.start_time = how[0], how[1] * step
        note.end_time = note.start_time + length
  return sequences


def humanize_tracks(tracks, step, humanizer, amount=WHOLE):
  """Humanizes the drum hits of tracks that are played together, in place.

  All else stays where it is. Each hit sounds as it did: it is not moved past what
  says so, before or after it (see `_marks`). What says so of its drum alone, at its
  very tick, goes with it.

  Args:
    tracks: Of a midi_file.Midi.
    step: Ticks of a sixteenth.
    humanizer: A Humanizer.
    amount: An Amount.

  Returns:
    How many hits were humanized, of how many.
  """
  hits = midi_file.find_hits(tracks)
  drum_of = grid.drum_map(humanizer.pitch_classes)
  shift = midi_file.bar_shifts(tracks, step)
  [played] = play(humanizer, [[
      (drum_of(hit.on.data[1]), hit.on.tick / step + shift(hit.on.tick),
       hit.on.data[2]) for hit in hits]], amount)
  before = {id(event): (event.tick, t, i) for t, track in enumerate(tracks)
            for i, event in enumerate(track)}
  marks, repeats = _marks(tracks)
  places = {stream: [before[id(event)] for event in events
                     if id(event) not in repeats]
            for stream, events in marks.items()}
  last = {}  # New ticks of the hits so far, of each thing that must stay in order.
  for hit, how in sorted(zip(hits, played), key=lambda p: before[id(p[0].on)]):
    if not how:
      continue
    on, pitch, late = hit.on, hit.on.data[1], shift(hit.on.tick)
    sixteenth = grid.nearest_step(on.tick / step + late)
    first, end = (math.ceil((sixteenth + x - late) * step) for x in (-0.5, 0.5))
    part = 'hi-hat' if pitch in midi_file.HI_HATS else pitch
    _, track, _ = place = before[id(on)]
    for stream in {part, pitch, EVERY_DRUM} & set(places):
      found = places[stream]
      i, j = (bisect.bisect(found, at) for at in (
          [place] * 2 if stream == EVERY_DRUM else
          [(on.tick, track), (on.tick, track + 1)]))
      # At one tick, what is in the first of two tracks comes first.
      first = max([first] + [at + (t > track) for at, t, _ in found[:i][-1:]])
      end = min([end] + [at + (t >= track) for at, t, _ in found[j:j + 1]])
    tick = max(round((how[1] - late) * step), first, last.get(part, 0))
    tick = last[part] = min(tick, end - 1)
    if hit.off is not None:
      hit.off.tick = max(tick, hit.off.tick + tick - on.tick)
    on.tick, on.data = tick, bytes([on.data[0], pitch, how[0]])
  _move_marks(marks, repeats, hits, before)
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
  """Returns what says how hits sound: {'hi-hat', pitch or EVERY_DRUM: [Event]}.

  And the ids of those that only repeat what was said.

  The hi-hat's pedal is a controller. A choke is the key pressure of a cymbal after
  it was hit. Programs, other controllers, channel pressure, pitch bend and messages
  to a device are of every drum. Of most controllers the last value before a hit
  counts, so hits may be moved past one that repeats it.
  """
  found, repeats, values = {}, set(), {}
  for event in sorted((event for track in tracks for event in track),
                      key=lambda event: event.tick):
    stream, number = EVERY_DRUM, None
    if event.is_drum(midi_file.KEY_PRESSURE):
      stream = event.data[1]
    elif event.is_drum(midi_file.CONTROLLER):
      number, value = event.data[1:]
      if number == midi_file.FOOT_CONTROLLER:
        stream = 'hi-hat'
      if number not in NO_REPEATS and value == values.get(number):
        repeats.add(id(event))
      values[number] = value
    elif not event.is_drum(midi_file.PROGRAM, midi_file.PRESSURE, midi_file.BEND) and (
        event.data[0] not in midi_file.TO_DEVICE):
      continue
    if number in MODES or event.data[0] in midi_file.TO_DEVICE:
      values.clear()  # They may have set controllers back.
    found.setdefault(stream, []).append(event)
  return found, repeats


def _move_marks(marks, repeats, hits, before):
  """Moves the marks that were at the tick of a hit, by no more than it takes.

  Args:
    marks, repeats: What `_marks` returned.
    hits: Hits that have been moved.
    before: {id of an event: its place in time before}.
  """
  for stream, events in marks.items():
    related = [hit for hit in hits if hit.on.data[1] == stream or
               stream == 'hi-hat' and hit.on.data[1] in midi_file.HI_HATS]
    for event in events:
      if id(event) in repeats:
        continue
      i = bisect.bisect(related, before[id(event)],
                        key=lambda hit: before[id(hit.on)])
      if i:
        event.tick = max(event.tick, related[i - 1].on.tick)
      if i < len(related):
        event.tick = min(event.tick, related[i].on.tick)
    # What repeats a mark stays between it and the next.
    for order, bound in ((events, max), (events[::-1], min)):
      for neighbour, event in zip(order, order[1:]):
        if id(event) in repeats:
          event.tick = bound(event.tick, neighbour.tick)


def humanize_file(input_midi, output_midi, humanizer, amount=WHOLE,
                  drum_channel=midi_file.DRUM_CHANNEL + 1):
  """Humanizes the drums of a MIDI file; all else in it stays.

  With an amount of nothing, every byte of it. The drums stay on their channel: see
  `midi_file.read`.

  Raises:
    UserError: if it is not MIDI or has no drums, or if the output can't
      be written.
  """
  file = midi_file.read(input_midi, drum_channel)
  if amount.timing:
    file.refine(FINE_TICKS)
  counts = [humanize_tracks(tracks, file.ticks_per_step, humanizer, amount)
            for tracks in file.patterns]
  humanized, hits = (sum(part) for part in zip(*counts))
  if not hits:
    raise UserError(midi_file.no_drums(input_midi, file))
  midi_file.write(midi_file.to_bytes(midi_file.exchange(file, file.drum_channel)) if any(amount)
             else pathlib.Path(input_midi).read_bytes(), output_midi)
  print(f'{disk.printable(output_midi)}: {humanized} of {hits} drum hits '
        'humanized.')
  if not all(midi_file.is_four_four(file, tracks, midi_file.pickup(tracks, file.ticks_per_step),
                               file.last_tick + 1) for tracks in file.patterns):
    print('It is not in 4/4 throughout; where it is not, it was read four quarters a '
          'bar.')
