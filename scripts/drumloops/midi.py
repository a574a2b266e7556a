"""Reads MIDI files by their ticks: where each drum is hit, in beats.

The one reader of users' files. Hits are counted in sixteenths from ticks, so that
no tempo map can move one, and everything else keeps its bytes, so that a file can
be written again as it was. mido, by which note_seq reads, does neither: it loses
the time before a meta event that it does not know (1.3.3), and refuses files that
every DAW opens (a key signature or a controller out of range, a chunk of another
program's).
"""
import collections
import dataclasses
import os
import struct

from drumloops import cli, disk, grid

DRUM_CHANNEL = 9  # Counted from 0: channel 10, General MIDI's for drums.
DEFAULT_QPM = 120.  # What a file without a tempo is played at; Magenta decodes so.
HI_HATS = (22, 26, 42, 44, 46)  # Of General MIDI and of the Roland TD-11.
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


@dataclasses.dataclass(eq=False)
class Event:
  """A message at a tick; `data` is the status and all that follows it."""
  tick: int
  data: bytes

  def is_drum(self, *kinds):
    """Whether it is of one of these kinds, on the channel of drums."""
    return self.data[0] & 0x0f == DRUM_CHANNEL and self.data[0] & 0xf0 in kinds

  @property
  def is_hit(self):
    return self.is_drum(NOTE_ON) and self.data[2] > 0

  @property
  def meta(self):
    """The content of a meta event (type, bytes), or None."""
    if self.data[0] != META:
      return None
    _, i = read_number(self.data, 2)
    return self.data[1], self.data[i:]


@dataclasses.dataclass
class Midi:
  """A MIDI file: its type, ticks of a quarter, and each track's Events in order.

  The end of a track is the last of its events.
  """
  kind: int
  ticks_per_quarter: int
  tracks: list

  @property
  def patterns(self):
    """The tracks that are played together; those of type 2 are one by one."""
    return [[t] for t in self.tracks] if self.kind == 2 else [self.tracks]

  @property
  def ticks_per_step(self):
    return self.ticks_per_quarter / grid.STEPS_PER_QUARTER

  @property
  def last_tick(self):
    return max((track[-1].tick for track in self.tracks), default=0)

  def refine(self, ticks_per_quarter):
    """Counts in finer ticks, at least so many to a quarter, where it need be."""
    finer = -(-ticks_per_quarter // self.ticks_per_quarter)
    self.ticks_per_quarter *= finer
    for track in self.tracks:
      for event in track:
        event.tick *= finer


# One hit of a drum. `on` and `off` are Events; `off` is None if nothing ends it.
Hit = collections.namedtuple('Hit', 'on off')
# The first bars of a file in which there are drums. hits: [(drum class or None,
# start in steps, velocity from 1 to 127, pitch)], by start, what is early less than
# its step. qpm: the tempo there, in quarters a minute. pitches: Of each hit of these
# drums in the whole file.
FirstBars = collections.namedtuple('FirstBars', 'hits qpm pitches')


class DamagedError(ValueError):
  """Says what is wrong with the bytes of a MIDI file."""


def read_number(data, i):
  """Returns the variable-length number at data[i:], and where it ends."""
  number = 0
  while True:
    number = number << 7 | data[i] & 0x7f
    i += 1
    if data[i - 1] < 0x80:
      return number, i


def write_number(number):
  if number < 0:
    raise ValueError('an event is earlier than the one before it')
  data = [number & 0x7f]
  while number := number >> 7:
    data.append(0x80 | number & 0x7f)
  return bytes(reversed(data))


def read_track(data):
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


def parse(data):
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


def read(path):
  """Returns the Midi of a file.

  Raises:
    cli.UserError: if there is none, or if it can't be read.
  """
  path = os.path.expanduser(path)
  if not os.path.isfile(path):
    raise cli.UserError(f'There is no MIDI file {path}.')
  with open(path, 'rb') as f:
    data = f.read()
  try:
    return parse(data)
  except DamagedError as e:
    raise cli.UserError(f'{path} {e}.') from e


def to_bytes(midi):
  """Returns the bytes of a file, without running status."""
  chunks = [struct.pack('>4sIHHH', b'MThd', 6, midi.kind, len(midi.tracks),
                        midi.ticks_per_quarter)]
  for track in midi.tracks:
    before = [0] + [event.tick for event in track]
    data = b''.join(write_number(event.tick - tick) + event.data
                    for event, tick in zip(track, before))
    chunks.append(struct.pack('>4sI', b'MTrk', len(data)) + data)
  return b''.join(chunks)


def write(data, path):
  """Writes a file's bytes in one step, so that a full disk leaves the old one.

  Raises:
    OSError: which names `path`.
  """
  path = os.path.realpath(path)
  if os.path.exists(path) and not os.path.isfile(path):
    raise cli.UserError(f'{path} is not a file.')
  try:
    with disk.replacing(path) as temporary, open(temporary, 'wb') as f:
      f.write(data)
  except OSError as e:
    raise OSError(e.errno, e.strerror, path) from e


def find_hits(tracks):
  """Returns the Hits of tracks that are played together, in the order of time.

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
  return [Hit(*hit) for hit in sorted(found, key=lambda hit: hit[0].tick)]


def metas(tracks, kind):
  """Returns [(tick, content)] of the meta events of a kind, by tick."""
  found = [(event.tick, event.meta[1]) for track in tracks for event in track
           if event.data[0] == META and event.meta[0] == kind]
  return sorted(found, key=lambda pair: pair[0])


def tempos(tracks):
  """Returns [(tick, quarters a minute)], on whatever track they are."""
  return [(tick, 60e6 / int.from_bytes(content[:3], 'big'))
          for tick, content in metas(tracks, TEMPO)
          if int.from_bytes(content[:3], 'big')]


def tempo_at(tracks, tick):
  """Returns the tempo at a tick; before the first one, that."""
  found = tempos(tracks) or [(0, DEFAULT_QPM)]
  return ([qpm for at, qpm in found if at <= tick] or [found[0][1]])[-1]


def bar_length(content):
  """Returns the quarters of a time signature's bar, 0 if it is damaged."""
  if len(content) < 2 or content[1] > SHORTEST_NOTE:
    return 0
  quarters = 4 * content[0] / 2 ** content[1]
  return quarters if quarters <= LONGEST_BAR else 0


def meters(tracks):
  """Returns [(tick, quarters of a bar)]; without a time signature, 4/4."""
  found = [(0, 4.)]
  for tick, content in metas(tracks, TIME_SIGNATURE):
    if quarters := bar_length(content):
      found.append((tick, quarters))
  return found


def bar_of(midi, tracks, tick):
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


def is_four_four(midi, tracks, begin, end):
  """Whether all bars between two ticks have four quarters."""
  found = meters(tracks)
  ends = [tick for tick, _ in found[1:]] + [float('inf')]
  return all(quarters == 4 for (tick, quarters), until in zip(found, ends)
             if tick < end and until > begin and until > tick)


def first_bars(path, drum_of, bars, known_only=True):
  """Returns the FirstBars of a file: from the first bar in which a drum plays.

  Says in a sentence what of the file is left out.

  Args:
    path: A MIDI file, in 4/4 there.
    drum_of: Returns the drum (from 0) of a pitch, or None.
    bars: How many.
    known_only: Whether hits that are none of those drums are left out. Without,
      it says nothing.

  Raises:
    cli.UserError: if it can't be read, is not in 4/4 or has no such drums.
  """
  midi = read(path)
  tracks = next((p for p in midi.patterns if find_hits(p)), midi.tracks)
  hits = find_hits(tracks)
  if not hits:
    raise cli.UserError(no_drums(path, midi))
  step = midi.ticks_per_step
  known = [hit for hit in hits if drum_of(hit.on.data[1]) is not None]
  if not known:
    raise cli.UserError(
        f'{path} has no hit of the nine drums, only of the pitches '
        f'{pitches(hits)} on MIDI channel 10.')
  # What is early for a bar's first beat belongs to that bar.
  begin, number = bar_of(midi, tracks, int(known[0].on.tick + step / 2))
  length = bars * grid.STEPS_PER_BAR
  if not is_four_four(midi, tracks, begin, begin + length * step):
    raise cli.UserError(
        f'{path} is not in 4/4 throughout its bars {number} to '
        f'{number + bars - 1}, which are the ones that would be used.')
  inside, unknown, after = [], [], 0
  for hit in hits:
    pitch = hit.on.data[1]
    start = (hit.on.tick - begin) / step
    if not 0 <= grid.nearest_step(start) < length:
      after += grid.nearest_step(start) >= length
    elif drum_of(pitch) is None and known_only:
      unknown.append(hit)
    else:
      inside.append((drum_of(pitch), start, min(127, hit.on.data[2]), pitch))
  name = disk.printable(os.path.basename(path))
  if unknown:
    print(f'{name}: {len(unknown)} of {len(unknown) + len(inside)} hits are left '
          f'out, because the pitches {pitches(unknown)} are none of the nine '
          'drums.')
  if after and known_only:
    print(f'{name}: bars {number} to {number + bars - 1} are used, the {after} '
          'hits after them are not.')
  return FirstBars(inside, tempo_at(tracks, begin),
                   [hit.on.data[1] for hit in known])


def pitches(hits):
  return ', '.join(map(str, sorted({hit.on.data[1] for hit in hits})))


def no_drums(path, midi):
  """Returns the sentence that says why no drums were found."""
  channels = sorted({event.data[0] % 16 + 1 for track in midi.tracks
                     for event in track if event.data[0] & 0xf0 == NOTE_ON
                     and event.data[2]})
  if not channels:
    return f'{path} has no notes.'
  return (f'{path} has no drums: its notes are on MIDI channel '
          f'{", ".join(map(str, channels))}, drums are read from channel 10; '
          'move them there in your DAW.')


def flatten(midi):
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
