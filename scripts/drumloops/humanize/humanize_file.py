"""Humanizes the drums of a MIDI file. All else in it stays as it is."""
import bisect
import collections
import math
import os
import pathlib
from collections.abc import Callable

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.humanize import take as takes
from drumloops.humanize.take import WHOLE, Amount, PlaysHits
from drumloops.midi import drum_maps, midi_file
from drumloops.midi import swing as swings
from drumloops.midi.drum_maps import DrumMap
from drumloops.midi.swing import Swing
from drumloops.system import disk

HI_HAT, EVERY_DRUM = 'hi-hat', 'every drum'  # Whose sound a mark is of: see `_marks`.
# Controllers that say more than their last value: bank, data entry, (N)RPNs, modes.
NO_REPEATS, MODES = {0, 6, 32, 38, *range(96, 128)}, range(120, 128)
FINE_TICKS = 480  # To a quarter, at least: 1 ms at 120 beats a minute.


def humanize_tracks(tracks: list[list[midi_file.Event]], step: float, take: PlaysHits,
                    amount: Amount = WHOLE, kit: DrumMap | None = None,
                    swing: Swing | None = None) -> tuple[int, int, Swing | None]:
  """Humanizes the drum hits of tracks that are played together, in place.

  All else stays where it is. Each hit keeps its sound: it is not moved past an event
  that changes it, before or after it (see `_marks`). Such an event of its drum alone,
  at its very tick, goes with it.

  Args:
    tracks: Of a midi_file.Midi.
    step: Ticks of a sixteenth.
    take: Of `take.play`.
    amount: How much of it.
    kit: The map that says which drum a note is; None for the take's.
    swing: Where off-beats are played; None for where they are.

  Returns:
    How many hits were humanized, how many strokes were added to them, and the swing
    that another one replaced.
  """
  notes = midi_file.find_hits(tracks)
  drum_of = kit.drum_of if kit else drum_maps.drum_map(take.pitch_classes)
  hi_hats = kit.hi_hats if kit else drum_maps.HI_HATS
  def part_of(pitch):
    """Returns of what a hit is a part: all hi-hats are one, other drums their own."""
    return HI_HAT if pitch in hi_hats else pitch
  shift = midi_file.bar_shifts(tracks, step)
  hits = [grid.hit_at(drum_of(note.pitch), note.on.tick / step + shift(note.on.tick),
                      note.on.data[2], note.pitch) for note in notes]
  own = swings.find_swing([hit for hit in hits if hit.drum]) if swing else None
  if own:
    hits = own.straighten(hits)
  [(played, ornaments)] = takes.play(take, [hits], amount, swing, [
      midi_file.tempo_at(tracks, notes[0].on.tick if notes else 0)])
  before = {id(event): (event.tick, t, i) for t, track in enumerate(tracks)
            for i, event in enumerate(track)}
  marks, repeats = _marks(tracks)
  places = {stream: [before[id(event)] for event in events
                     if id(event) not in repeats]
            for stream, events in marks.items()}
  last = {}  # New ticks of the hits so far, of each part that must stay in order.
  rooms, ticks = {}, collections.defaultdict(list)  # Of notes; of parts.
  for note, old, hit in sorted(zip(notes, hits, played),
                               key=lambda found: before[id(found[0].on)]):
    if not hit:
      continue
    late = shift(note.on.tick)
    part = part_of(note.pitch)
    first, end = _room(
        before[id(note.on)],
        *(math.ceil((edge - late) * step)
          for edge in (swing or swings.STRAIGHT).room(old.step, 0.5)),
        [places[stream] for stream in {part, note.pitch} & set(places)],
        places.get(EVERY_DRUM, []))
    tick = max(round((hit.start - late) * step), first, last.get(part, 0))
    tick = last[part] = min(tick, end - 1)
    if note.off is not None:
      note.off.tick = max(tick, note.off.tick + tick - note.on.tick)
    note.on.tick = tick
    note.on.data = bytes([note.on.data[0], note.pitch, hit.velocity])
    # What changes a hit's sound at its tick goes with it, but not with its strokes.
    rooms[id(note.on)] = _room(before[id(note.on)], max(first, 0), end, [], sorted(
        place for stream in {part, note.pitch, EVERY_DRUM} & set(places)
        for place in places[stream]))
    ticks[part].append(tick)
  added, taken, ends = [], set(), [track[-1].tick for track in tracks]
  for index, hit in ornaments:
    note, part = notes[index], ticks[part_of(notes[index].pitch)]
    track = before[id(note.on)][1]
    first, end = rooms[id(note.on)]
    stroke = _stroke(note, round((hit.time - played[index].time) *
                                 grid.STEPS_PER_QUARTER * step), hit.velocity,
                     (first, min(end, ends[track] + 1)), part)
    if stroke and (stroke.on.tick, stroke.pitch) not in taken:
      taken.add((stroke.on.tick, stroke.pitch))
      added.append(stroke)
      for event in (stroke.on, stroke.off):
        before[id(event)] = before[id(note.on)]
        tracks[track].insert(-1, event)
  _move_marks(marks, repeats, notes, before, part_of)
  _sort(tracks, [*notes, *added], before)
  return sum(map(bool, played)), len(added), own


def _stroke(note: midi_file.Note, later: int, velocity: int, room: tuple[int, int],
            part: list[int]) -> midi_file.Note | None:
  """Returns a stroke before or after a hit; None if there is no room.

  Args:
    note: The hit.
    later: How many ticks after it.
    velocity: The stroke's.
    room: From which to before which tick it may be.
    part: The ticks of all hits of its part, in order.
  """
  i = bisect.bisect_left(part, note.on.tick)
  until = bisect.bisect(part, note.on.tick)
  low = max([room[0]] + [tick + 1 for tick in part[:i][-1:]])
  high = min([room[1]] + part[until:until + 1])
  tick = note.on.tick + later
  if tick == note.on.tick or not low <= tick < high:
    return None
  status, pitch, _ = note.on.data
  end = note.on.tick if later < 0 else tick + 1
  return midi_file.Note(
      midi_file.Event(tick, bytes([status, pitch, velocity])),
      midi_file.Event(end, bytes([
          midi_file.NOTE_OFF | midi_file.DRUM_CHANNEL, pitch, 0])))


def _room(place: tuple[int, int, int], first: int, end: int, of_drum: list[list],
          of_every: list) -> tuple[int, int]:
  """Returns from which to before which tick a hit may move.

  Args:
    place: Where it is: its tick, its track, and its number there.
    first: The first tick that its sixteenth leaves it.
    end: The tick after the last.
    of_drum: The places of marks of its drum, lists.
    of_every: Those of every drum.
  """
  tick, track, _ = place
  for found, around in (
      *((found, ((tick, track), (tick, track + 1))) for found in of_drum),
      (of_every, (place, place))):
    i, j = (bisect.bisect(found, at) for at in around)
    # At one tick, what is in the first of two tracks comes first.
    first = max([first] + [at + (t > track) for at, t, _ in found[:i][-1:]])
    end = min([end] + [at + (t >= track) for at, t, _ in found[j:j + 1]])
  return first, end


def _sort(tracks: list[list[midi_file.Event]], notes: list[midi_file.Note],
          before: dict[int, tuple]) -> None:
  """Puts the events of tracks in order again, and none after a track's end."""
  ends = {id(note.off): note.on.tick for note in notes}
  for track in tracks:
    end = track.pop()
    last_before = before[id(end)][0]
    for event in track:
      event.tick = min(event.tick, last_before)
    # At the same tick, the end of a hit comes before the beginning of the next.
    track.sort(key=lambda event: (
        event.tick, -1 if ends.get(id(event), event.tick) < event.tick else 0,
        before[id(event)]))
    track.append(end)


def _marks(tracks: list[list[midi_file.Event]]) -> tuple[dict, set[int]]:
  """Returns the events that say how hits sound: {HI_HAT, pitch or EVERY_DRUM: [Event]}.

  Returns also the ids of events that only repeat a value.

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
        stream = HI_HAT
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


def _move_marks(marks: dict, repeats: set[int], notes: list[midi_file.Note],
                before: dict[int, tuple], part_of: Callable[[int], object]) -> None:
  """Moves the marks that were at the tick of a hit, by no more than it takes.

  Args:
    marks: What `_marks` returned first.
    repeats: What it returned second.
    notes: Hits that have been moved.
    before: {id of an event: its place in time before}.
    part_of: Returns of what a hit of a pitch is a part.
  """
  for stream, events in marks.items():
    related = [note for note in notes if stream in (note.pitch, part_of(note.pitch))]
    for event in events:
      if id(event) in repeats:
        continue
      i = bisect.bisect(related, before[id(event)],
                        key=lambda note: before[id(note.on)])
      if i:
        event.tick = max(event.tick, related[i - 1].on.tick)
      if i < len(related):
        event.tick = min(event.tick, related[i].on.tick)
    # What repeats a mark stays between it and the next.
    for order, bound in ((events, max), (events[::-1], min)):
      for neighbour, event in zip(order, order[1:]):
        if id(event) in repeats:
          event.tick = bound(event.tick, neighbour.tick)


def change_notes(tracks: list[list[midi_file.Event]],
                 drum_of: Callable[[int], int | None], kit: DrumMap) -> set[int]:
  """Gives the drums of tracks the notes that are written for a kit, in place.

  Args:
    tracks: Of a midi_file.Midi.
    drum_of: Returns the drum (from 0) of a note, None if it is none.
    kit: The kit's map.

  Returns:
    The notes of hits that are none of the nine drums. These stay.

  Raises:
    UserError: if the kit has no note of a drum that is hit.
  """
  unknown = set()
  for event in (event for track in tracks for event in track):
    if event.is_drum(midi_file.NOTE_ON, midi_file.NOTE_OFF, midi_file.KEY_PRESSURE):
      status, note, value = event.data
      drum = drum_of(note)
      if drum is not None:
        event.data = bytes([status, kit.pitch_of(drum), value])
      elif event.is_hit:
        unknown.add(note)
  return unknown


def humanize_file(input_midi: str, output_midi: str, take: PlaysHits,
                  amount: Amount = WHOLE,
                  drum_channel: int = midi_file.DRUM_CHANNEL + 1,
                  map: str | DrumMap | None = None,
                  output_map: str | DrumMap | None = None,
                  swing: Swing | None = None) -> list[str]:
  """Humanizes the drums of a MIDI file; all else in it stays.

  With an amount of nothing and no swing, every byte of it stays. The drums stay on
  their channel: see `midi_file.read`. They keep their notes, if no `output_map` is
  named.

  Args:
    input_midi: The file.
    output_midi: Where the new one is written.
    take: Of `take.play`.
    amount: How much of it.
    drum_channel: Of the file's drums, from 1.
    map: The kit that the file was made for: see `drum_maps.find`.
    output_map: The kit that the new one is for.
    swing: Where off-beats are played, counted from each bar; None for where they are.

  Returns:
    Sentences: how many hits were humanized, and what was guessed.

  Raises:
    UserError: if it is not MIDI or has no drums, if there is no such map, or if the
      output can't be written.
  """
  kit, output_kit = drum_maps.find(map), drum_maps.find(output_map, 'output_map')
  file = midi_file.read(input_midi, drum_channel)
  remarks = midi_file.remarks_on_channel(input_midi, file, drum_channel)
  if amount.timing or swing or take.adds_strokes:
    file.refine(FINE_TICKS)
  pitches = [note.pitch for tracks in file.patterns
             for note in midi_file.find_hits(tracks)]
  if not pitches:
    raise UserError(midi_file.no_drums(input_midi, file))
  counts, added, replaced = zip(*(
      humanize_tracks(tracks, file.ticks_per_step, take, amount, kit, swing)
      for tracks in file.patterns))
  unknown = change_notes(file.tracks, kit.drum_of if kit else drum_maps.drum_map(
      take.pitch_classes), output_kit) if output_kit else set()
  is_changed = any(amount) or output_kit or swing
  midi_file.write(
      midi_file.to_bytes(midi_file.exchange(file, file.drum_channel)) if is_changed
      else pathlib.Path(input_midi).read_bytes(), output_midi)
  is_four_four = all(
      midi_file.is_four_four(file, tracks, midi_file.pickup(tracks, file.ticks_per_step),
                             file.last_tick + 1) for tracks in file.patterns)
  remarks = [*remarks, f'{disk.printable(output_midi)}: {sum(counts)} of '
             f'{len(pitches)} drum hits humanized.']
  if sum(added):
    remarks.append(f'Strokes that were added, for flams and drags: {sum(added)}.')
  for own in filter(None, dict.fromkeys(replaced)):
    remarks.append(f'{disk.printable(os.path.basename(input_midi))} swings ({own}); '
                   f'{field("swing")} replaces that.')
  if unknown:
    remarks.append(f'The pitches {midi_file.numbers(unknown)} are none of the nine '
                   'drums, so they stay.')
    others = sorted(note for note in unknown if output_kit.drum_of(note) is not None)
    if others:
      remarks.append(f'In {output_kit.name} they sound as others: ' + ', '.join(
          f'{note} as {grid.DRUM_CLASSES[output_kit.drum_of(note)]}' for note in others) +
          '; delete them in your DAW if they should not.')
  if not is_four_four:
    remarks.append('It is not in 4/4 throughout; where it is not, it was read four '
                   'quarters a bar.')
  return remarks + drum_maps.better_map(
      disk.printable(os.path.basename(input_midi)), pitches, kit)
