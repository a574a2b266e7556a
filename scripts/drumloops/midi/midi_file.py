"""Reads MIDI files by their ticks: where each drum is hit, in beats.

This is the one reader of users' files. Hits are counted in sixteenths from ticks, so no
tempo map moves one. Everything else keeps its bytes, so a file can be written again as
it was. mido, which note_seq uses, does neither. mido 1.3.3 loses the time before
unknown meta events. It refuses files that every DAW opens: with a key signature or a
controller out of range, or with a chunk of another program.
"""
import bisect
import collections
import dataclasses
import os
import struct
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.system import disk

DRUM_CHANNEL = 9  # Counted from 0: channel 10, General MIDI's for drums.
FOOT_CONTROLLER = 4  # How far the hi-hat's pedal is down.
NOTE_OFF, NOTE_ON, KEY_PRESSURE, CONTROLLER = 0x80, 0x90, 0xa0, 0xb0
PROGRAM, PRESSURE, BEND, TO_DEVICE = 0xc0, 0xd0, 0xe0, (0xf0, 0xf7)
META, END_OF_TRACK, TEMPO, TIME_SIGNATURE = 0xff, 0x2f, 0x51, 0x58
# Data bytes after a status; the last three have no place in a file, but mido
# reads them there.
SIZES = {0x80: 2, 0x90: 2, 0xa0: 2, 0xb0: 2, 0xc0: 1, 0xd0: 1, 0xe0: 2,
         0xf1: 1, 0xf2: 2, 0xf3: 1}
# In quarters, and as a time signature has it: a 128th. What is beyond is damage.
LONGEST_BAR, SHORTEST_NOTE = 64, 7
# Pitches by which drums are known from others: kicks and snares; a whole kit.
LOWEST, OF_A_KIT = range(35, 39), (*range(35, 60), 22, 26)


def define_flags() -> None:
  """Defines the flag of all commands that read MIDI."""
  from absl import flags
  flags.DEFINE_integer('drum_channel', DRUM_CHANNEL + 1, 'MIDI channel of the drums. '
                       'A file without notes on it is read from channel '
                       f'{DRUM_CHANNEL + 1}.', lower_bound=1, upper_bound=16)


@dataclasses.dataclass(eq=False)
class Event:
  """A message at a tick; `data` is the status and all that follows it."""
  tick: int
  data: bytes

  def is_drum(self, *kinds: int) -> bool:
    """Whether it is of one of these kinds, on the channel of drums."""
    return self.data[0] & 0x0f == DRUM_CHANNEL and self.data[0] & 0xf0 in kinds

  @property
  def is_note(self) -> bool:
    """Whether a note begins, on any channel."""
    return self.data[0] & 0xf0 == NOTE_ON and self.data[2] > 0

  @property
  def is_note_off(self) -> bool:
    """Whether a note ends, on any channel."""
    return self.data[0] & 0xf0 == NOTE_OFF or (
        self.data[0] & 0xf0 == NOTE_ON and not self.data[2])

  @property
  def is_hit(self) -> bool:
    """Whether a drum is hit."""
    return self.is_drum(NOTE_ON) and self.data[2] > 0

  @property
  def meta(self) -> tuple[int, bytes] | None:
    """The content of a meta event (type, bytes), or None."""
    if self.data[0] != META:
      return None
    _, i = read_number(self.data, 2)
    return self.data[1], self.data[i:]


@dataclasses.dataclass
class Midi:
  """A MIDI file: its type, ticks of a quarter, and each track's Events in order.

  The end of a track is the last of its events. Drums are on channel 10; those of
  another one, `drum_channel` (from 1), have changed places with what is there.
  """
  kind: int
  ticks_per_quarter: int
  tracks: list[list[Event]]
  drum_channel: int = DRUM_CHANNEL + 1

  @property
  def patterns(self) -> list[list[list[Event]]]:
    """The tracks that are played together; those of type 2 are one by one."""
    return [[t] for t in self.tracks] if self.kind == 2 else [self.tracks]

  @property
  def ticks_per_step(self) -> float:
    """Ticks of a sixteenth."""
    return self.ticks_per_quarter / grid.STEPS_PER_QUARTER

  @property
  def last_tick(self) -> int:
    """The tick at which the last track ends."""
    return max((track[-1].tick for track in self.tracks), default=0)

  def refine(self, ticks_per_quarter: int) -> None:
    """Counts in finer ticks, at least so many to a quarter, where it need be."""
    finer = -(-ticks_per_quarter // self.ticks_per_quarter)
    self.ticks_per_quarter *= finer
    for track in self.tracks:
      for event in track:
        event.tick *= finer


class Note(NamedTuple):
  """A hit as it is in a file: `on` and `off`; `off` is None if nothing ends it."""
  on: Event
  off: Event | None

  @property
  def pitch(self) -> int:
    """The MIDI note."""
    return self.on.data[1]

  @property
  def velocity(self) -> int:
    """How hard, from 1 to 127."""
    return min(127, self.on.data[2])


class DamagedError(ValueError):
  """Says what is wrong with the bytes of a MIDI file."""


def read_number(data: bytes, i: int) -> tuple[int, int]:
  """Returns the variable-length number at data[i:], and where it ends."""
  number = 0
  while True:
    number = number << 7 | data[i] & 0x7f
    i += 1
    if data[i - 1] < 0x80:
      return number, i


def write_number(number: int) -> bytes:
  """Returns a number as a variable-length one."""
  if number < 0:
    raise ValueError('an event is earlier than the one before it')
  data = [number & 0x7f]
  while number := number >> 7:
    data.append(0x80 | number & 0x7f)
  return bytes(reversed(data))


def read_track(data: bytes) -> list[Event]:
  """Returns a track chunk's Events, the end of the track last.

  Raises:
    DamagedError: if its bytes make no sense.
    IndexError: if they break off.
  """
  events, tick, status, size, i = [], 0, None, 0, 0
  while i < len(data):
    delta, i = (data[i], i + 1) if data[i] < 0x80 else read_number(data, i)
    tick += delta
    begin, first = i, data[i]
    if first < 0x80:  # Running status; the standard ends it at a meta event,
      if status is None:  # but there are programs that do not.
        raise DamagedError('a track begins in the middle of an event')
      i += size
      events.append(Event(tick, status + data[begin:i]))
    elif first < 0xf0:
      status, size = data[i:i + 1], SIZES[first & 0xf0]
      i += 1 + size
      events.append(Event(tick, data[begin:i]))
    elif first in (META, 0xf0, 0xf7):
      length, i = read_number(data, i + 1 + (first == META))
      if data[begin:begin + 2] == bytes([META, END_OF_TRACK]):
        break
      i += length
      events.append(Event(tick, data[begin:i]))
    else:
      i += 1 + SIZES.get(first, 0)
      events.append(Event(tick, data[begin:i]))
  if i > len(data):
    raise IndexError
  events.append(Event(tick, bytes([META, END_OF_TRACK, 0])))
  return events


def parse(data: bytes) -> Midi:
  """Returns the Midi of a file's bytes.

  Chunks that are no tracks are passed over, a RIFF around the file is too.

  Raises:
    DamagedError: if it can't be read; its text goes on after the file's name.
  """
  if data[:4] == b'RIFF':
    data = data[max(0, data.find(b'MThd')):]
  if data[:4] != b'MThd' or len(data) < 14:
    raise DamagedError('is not a valid MIDI file')
  size, kind, count, division = struct.unpack('>IHHH', data[4:14])
  if division >= 1 << 15:
    raise DamagedError('counts in seconds instead of beats')
  if not division:
    raise DamagedError('is not a valid MIDI file: a beat has no ticks in it')
  tracks, i = [], 8 + size
  while i < len(data):
    tag = data[i:i + 4]
    if len(data) - i < 8 or not (tag.isascii() and tag.decode().isprintable()):
      if 0 < len(tracks) < count:  # Else a program left it at the end.
        raise DamagedError('is not a valid MIDI file: it breaks off after track '
                           f'{len(tracks)}')
      break
    size, = struct.unpack('>I', data[i + 4:i + 8])
    if tag == b'MTrk':
      try:
        tracks.append(read_track(data[i + 8:i + 8 + size]))
      except IndexError:
        raise DamagedError('is not a valid MIDI file: it breaks off in track '
                           f'{len(tracks) + 1}') from None
      except DamagedError as e:
        raise DamagedError(f'is not a valid MIDI file: {e}') from None
      if i + 8 + size > len(data) and data[-3:] != bytes(
          [META, END_OF_TRACK, 0]):
        raise DamagedError('is not a valid MIDI file: it breaks off in track '
                           f'{len(tracks)}')
    i += 8 + size
  if not tracks:
    raise DamagedError('is not a valid MIDI file: it has no track')
  return Midi(kind, division, tracks)


def exchange(midi: Midi, channel: int) -> Midi:
  """Returns a Midi whose drums have changed places with a channel, from 1."""
  if channel == DRUM_CHANNEL + 1:
    return midi
  others = {DRUM_CHANNEL: channel - 1, channel - 1: DRUM_CHANNEL}
  def exchanged(data):
    number = data[0] & 0x0f
    return (bytes([data[0] & 0xf0 | others[number]]) + data[1:]
            if data[0] < 0xf0 and number in others else data)
  return dataclasses.replace(
      midi, drum_channel=channel if midi.drum_channel != channel else DRUM_CHANNEL + 1,
      tracks=[[Event(event.tick, exchanged(event.data)) for event in track]
              for track in midi.tracks])


def with_drums_of(midi: Midi, channel: int) -> Midi:
  """Returns a Midi whose drums are those of a channel, from 1.

  Where that has no notes and channel 10 has, they stay those of channel 10.
  """
  used = note_channels(midi)
  return midi if channel not in used and DRUM_CHANNEL + 1 in used else (
      exchange(midi, channel))


def note_channels(midi: Midi) -> list[int]:
  """Returns the channels, from 1, on which there are notes: a sorted list."""
  return sorted({event.data[0] % 16 + 1 for track in midi.tracks for event in track
                 if event.is_note})


def read(path: str, drum_channel: int = DRUM_CHANNEL + 1) -> Midi:
  """Returns the Midi of a file.

  Args:
    path: The file.
    drum_channel: Where its drums are, from 1; see `with_drums_of`.

  Raises:
    UserError: if there is none, or if it can't be read.
  """
  path = os.path.expanduser(path)
  if not os.path.isfile(path):
    raise UserError(f'There is no MIDI file {path}.')
  with open(path, 'rb') as f:
    data = f.read()
  try:
    midi = with_drums_of(parse(data), drum_channel)
  except DamagedError as e:
    raise UserError(f'{path} {e}.') from e
  return midi


def remarks_on_channel(path: str, midi: Midi, drum_channel: int) -> tuple[str, ...]:
  """Returns what to say if a file's drums are on channel 10 after all."""
  return () if midi.drum_channel == drum_channel else (
      f'{disk.printable(os.path.basename(path))} has no notes on MIDI channel '
      f'{drum_channel}, so its drums are read from channel 10.',)


def to_bytes(midi: Midi) -> bytes:
  """Returns the bytes of a file, without running status."""
  chunks = [struct.pack('>4sIHHH', b'MThd', 6, midi.kind, len(midi.tracks),
                        midi.ticks_per_quarter)]
  for track in midi.tracks:
    before = [0] + [event.tick for event in track]
    data = b''.join(write_number(event.tick - tick) + event.data
                    for event, tick in zip(track, before))
    chunks.append(struct.pack('>4sI', b'MTrk', len(data)) + data)
  return b''.join(chunks)


def write(data: bytes, path: str) -> None:
  """Writes a file's bytes in one step, so that a full disk leaves the old one.

  Raises:
    OSError: which names `path`.
  """
  path = os.path.realpath(path)
  if os.path.exists(path) and not os.path.isfile(path):
    raise UserError(f'{path} is not a file.')
  with disk.replacing(path) as temporary, open(temporary, 'wb') as f:
    f.write(data)


def find_hits(tracks: list[list[Event]]) -> list[Note]:
  """Returns the Notes of the drums in tracks played together, in the order of time.

  Drums are on channel 10. A note_off ends the first hit of its pitch, in its
  track, that nothing has ended yet; a hit that nothing ends is one too.
  """
  found = []
  for track in tracks:
    sounding = collections.defaultdict(collections.deque)
    for event in track:
      if event.is_hit:
        found.append([event, None])
        sounding[event.data[1]].append(found[-1])
      elif event.is_drum(NOTE_ON, NOTE_OFF) and sounding[event.data[1]]:
        sounding[event.data[1]].popleft()[1] = event
  return [Note(*hit) for hit in sorted(found, key=lambda hit: hit[0].tick)]


def metas(tracks: list[list[Event]], kind: int) -> list[tuple[int, bytes]]:
  """Returns [(tick, content)] of the meta events of a kind, by tick."""
  found = [(event.tick, event.meta[1]) for track in tracks for event in track
           if event.data[0] == META and event.meta[0] == kind]
  return sorted(found, key=lambda pair: pair[0])


def tempos(tracks: list[list[Event]]) -> list[tuple[int, float]]:
  """Returns [(tick, quarters a minute)], on whatever track they are."""
  return [(tick, 60e6 / int.from_bytes(content[:3], 'big'))
          for tick, content in metas(tracks, TEMPO)
          if int.from_bytes(content[:3], 'big')]


def tempo_at(tracks: list[list[Event]], tick: float) -> float:
  """Returns the tempo at a tick; before the first one, that."""
  found = tempos(tracks) or [(0, grid.DEFAULT_QPM)]
  return ([qpm for at, qpm in found if at <= tick] or [found[0][1]])[-1]


def bar_length(content: bytes) -> float:
  """Returns the quarters of a time signature's bar, 0 if it is damaged."""
  if len(content) < 2 or content[1] > SHORTEST_NOTE:
    return 0
  quarters = 4 * content[0] / 2 ** content[1]
  return quarters if quarters <= LONGEST_BAR else 0


def meters(tracks: list[list[Event]]) -> list[tuple[int, float]]:
  """Returns [(tick, quarters of a bar)]; without a time signature, 4/4."""
  found = [(0, 4.)]
  for tick, content in metas(tracks, TIME_SIGNATURE):
    if quarters := bar_length(content):
      found.append((tick, quarters))
  return found


def bar_of(midi: Midi, tracks: list[list[Event]], tick: int) -> tuple[float, int]:
  """Returns the tick at which the bar of a tick begins, and the bar's number.

  Bars are counted from 1, by the file's time signatures, whatever they are.
  """
  bars = 0
  found = meters(tracks)
  for (begin, quarters), (end, _) in zip(found, found[1:] + [(tick + 1, 0)]):
    length = quarters * midi.ticks_per_quarter
    if end > tick:
      whole = int((tick - begin) // length)
      return begin + whole * length, bars + whole + 1
    bars += -int((begin - end) // length)
  raise AssertionError('the last time signature ends after the tick')


def tick_of_bar(midi: Midi, tracks: list[list[Event]], number: int) -> float:
  """Returns the tick at which a bar begins, counted as `bar_of` does."""
  found, left = meters(tracks), number - 1
  for (begin, quarters), (end, _) in zip(found, found[1:] + [(float('inf'), 0)]):
    length = quarters * midi.ticks_per_quarter
    if begin + left * length < end:
      return begin + left * length
    left -= -int((begin - end) // length)


def last_counted(midi: Midi, tracks: list[list[Event]]) -> int:
  """Returns the last tick whose bar counts for the tracks' length.

  That of the last note, or a quarter before the tracks end: after a bar's end the
  last note may still sound, or a program be late by some ticks. A track's end that is
  just the end of its last note, however long that rings, does not count.
  """
  def ends_with_a_note(track):
    return any(event.is_note_off for event in track if event.tick == track[-1].tick)
  return max([track[-1].tick - midi.ticks_per_quarter - 1 for track in tracks
              if not ends_with_a_note(track)] +
             [event.tick for track in tracks for event in track if event.is_note])


def pickup(tracks: list[list[Event]], step: float) -> int:
  """Returns the ticks of what is before the first bar, if the meters say so, or 0.

  It is shorter than a bar, and a time signature of 4/4 ends it.
  """
  first = next((tick for tick, quarters in meters(tracks)
                if tick and quarters == 4), 0)
  return first if first < grid.STEPS_PER_BAR * step else 0


def bar_shifts(tracks: list[list[Event]], step: float) -> Callable[[int], float]:
  """Returns a function from a tick to steps: by so much its bar is late.

  With that many steps more, each time signature of 4/4 begins at a multiple of a
  bar's steps. Other meters are counted four quarters a bar; a pickup ends one.

  Args:
    tracks: That are played together.
    step: Ticks of a sixteenth.
  """
  bar = grid.STEPS_PER_BAR * step
  shifts = [(0, -pickup(tracks, step) % bar)]
  for tick, quarters in meters(tracks)[1:]:
    if tick and quarters == 4:
      shift = shifts[-1][1]
      shifts.append((tick, shift + -(tick + shift) % bar))
  # What is early for a bar's first beat belongs to that bar.
  return lambda tick: shifts[max(0, bisect.bisect(
      shifts, tick + step / 2, key=lambda pair: pair[0]) - 1)][1] / step


def is_four_four(midi: Midi, tracks: list[list[Event]], begin: float, end: float
                 ) -> bool:
  """Whether all bars between two ticks have four quarters.

  A bar that the next time signature cuts off, be it of 4/4 too, has fewer.
  """
  found, bar = meters(tracks), 4 * midi.ticks_per_quarter
  ends = [tick for tick, _ in found[1:]] + [float('inf')]
  return all(quarters == 4 and (until >= end or (until - tick) % bar == 0)
             for (tick, quarters), until in zip(found, ends)
             if tick < end and until > begin and until > tick)


def numbers(found: Iterable[int]) -> str:
  """Returns numbers in a sentence, from the lowest."""
  return ', '.join(map(str, sorted(found)))


def pitches(notes: Iterable[Note]) -> str:
  """Returns the pitches of hits in a sentence."""
  return numbers({note.pitch for note in notes})


def looks_like_drums(midi: Midi) -> bool:
  """Whether the notes of channel 10 could be a drummer's.

  Nine in ten have pitches of a kit, at least one a kick's or a snare's; half last an
  eighth at most; and at a sixteenth that has any there are 1.1 on average, or more.
  """
  hits = [hit for tracks in midi.patterns for hit in find_hits(tracks)]
  of_kit = sum(hit.on.data[1] in OF_A_KIT for hit in hits)
  short = sum(hit.off is None or hit.off.tick - hit.on.tick <= 2 * midi.ticks_per_step
              for hit in hits)
  cells = {(grid.nearest_step(hit.on.tick / midi.ticks_per_step), hit.on.data[1])
           for hit in hits}
  return (any(pitch in LOWEST for _, pitch in cells) and of_kit >= 0.9 * len(hits) and
          short >= len(hits) / 2 and len(cells) >= 1.1 * len({s for s, _ in cells}))


def likely_channels(midi: Midi) -> list[int]:
  """Returns on which other channels, from 1, there may be drums."""
  own, midi = midi.drum_channel, exchange(midi, midi.drum_channel)
  return [channel for channel in note_channels(midi)
          if channel != own and looks_like_drums(exchange(midi, channel))]


def hint(likely: Collection[int]) -> str:
  """Returns the end of a sentence about `likely_channels`."""
  return (f'; the notes of channel {numbers(likely)} look like drums, which '
          f'{field("drum_channel", min(likely))} reads' if likely else '')


def none_of_the_nine(path: str, midi: Midi, hits: Iterable[Note]) -> str:
  """Returns the sentence that says of which pitches the hits are instead."""
  return (f'{path} has no hit of the nine drums, only of the pitches {pitches(hits)} '
          f'on MIDI channel {midi.drum_channel}{hint(likely_channels(midi))}.')


def no_drums(path: str, midi: Midi) -> str:
  """Returns the sentence that says why no drums were found, and where they may be."""
  channels = note_channels(midi)
  if not channels:
    return f'{path} has no notes.'
  elsewhere = hint(likely_channels(midi)) or f'; {field("drum_channel")} names another'
  return (f'{path} has no drums: its notes are on MIDI channel {numbers(channels)}, '
          f'drums are read from channel {midi.drum_channel}{elsewhere}.')


def flatten(midi: Midi) -> Midi:
  """Returns what note_seq and so Magenta reads all hits of, in beats as they are.

  One tempo instead of a tempo map, an end for each hit that has none or lasts no
  time, nothing that mido can't read.
  """
  qpm = tempo_at(midi.tracks, 0)
  ends = []
  for hit in find_hits(midi.tracks):
    if hit.off is None or hit.off.tick <= hit.on.tick:
      ends.append(hit)
  missing = {id(hit.on) for hit in ends}
  wrong = {id(hit.off) for hit in ends}
  length = max(1, midi.ticks_per_quarter // 8)
  tracks = []
  for track in midi.tracks:
    kept = []
    for event in track[:-1]:
      if id(event) in wrong or event.data[0] >= 0xf0 and (
          event.data[0] != META or event.data[1] != TIME_SIGNATURE
          or not bar_length(event.meta[1])):
        continue
      if event.data[0] == META:  # Some have too few bytes.
        content = (event.meta[1] + bytes([24, 8]))[:4]
        event = Event(event.tick, bytes([META, TIME_SIGNATURE, 4]) + content)
      data = event.data[:1] + bytes(min(b, 127) for b in event.data[1:]) if (
          event.data[0] < 0xf0) else event.data
      kept.append(Event(event.tick, data))
      if id(event) in missing:
        kept.append(Event(event.tick + length, bytes(
            [NOTE_OFF | DRUM_CHANNEL, data[1], 0])))
    # pretty_midi drops a hit that an end at its tick follows, be it another's.
    kept.sort(key=lambda event: (event.tick, event.is_hit))
    end = max([track[-1].tick] + [event.tick for event in kept])
    tracks.append(kept + [Event(end, track[-1].data)])
  tracks[0].insert(0, Event(0, bytes([META, TEMPO, 3]) + round(
      60e6 / qpm).to_bytes(3, 'big')))
  return Midi(midi.kind, midi.ticks_per_quarter, tracks)
