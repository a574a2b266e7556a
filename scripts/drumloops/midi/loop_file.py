"""Loops as MIDI files, exactly their bars long: written, and read again."""
import collections
import copy
import itertools
import os
import struct
import tempfile
from collections.abc import Callable, Sequence

from drumloops import grid
from drumloops.midi import drum_maps, midi_file
from tqdm.auto import tqdm

TEXT, TRACK_NAME, MARKER = 0x01, 0x03, 0x06  # Of a MIDI file's events.
TICKS_PER_QUARTER = 480  # Fine enough for a drummer's timing (1 ms at 120).


def as_loop(sequence: object, qpm: float = grid.DEFAULT_QPM, bars: int = grid.BARS
            ) -> object:
  """Returns a NoteSequence as a loop: exactly so many bars of 4/4.

  What comes before its beginning is played at it, with the beat: it could as well
  end the loop, which repeats, but then a DAW and every reader of the file would
  find that hit in another place of the pattern. What begins after its end is left
  out.

  Args:
    sequence: At a tempo of its own.
    qpm: The loop's tempo, in quarters a minute.
    bars: Its length.
  """
  old_qpm = sequence.tempos[0].qpm if sequence.tempos else grid.DEFAULT_QPM
  loop = copy.deepcopy(sequence)
  loop.ticks_per_quarter = TICKS_PER_QUARTER
  del loop.tempos[:], loop.time_signatures[:], loop.notes[:]
  loop.tempos.add(qpm=qpm)
  loop.time_signatures.add(numerator=4, denominator=4)
  loop.total_time = bars * 4 * 60 / qpm
  for note in sequence.notes:
    start = max(0, note.start_time * old_qpm / qpm)
    if start < loop.total_time:
      loop.notes.add().CopyFrom(note)
      loop.notes[-1].velocity = max(1, note.velocity)  # 0 would end a note.
      loop.notes[-1].start_time = start
      loop.notes[-1].end_time = min(
          loop.total_time, max(start, note.end_time * old_qpm / qpm))
  return loop


def bars_of(loop: object) -> int:
  """Returns how many bars `as_loop` gave a loop."""
  return round(loop.total_time * loop.tempos[0].qpm / 60 / 4)


def midi_bytes(loop: object, drum_of: Callable[[int], int | None] =
               drum_maps.drum_of_written, sections: Sequence[tuple[str, int]] = ()
               ) -> bytes:
  """Returns the notes of a loop as a MIDI file that ends after its bars.

  Its events are those that note_seq writes, in a fifteenth of the time. The tempo is
  rounded to the microsecond. Tracks end with the loop, since a DAW takes them for its
  length. A text says which drum each note is, and a marker where each section, or each
  four bars of a longer loop, begin.

  Args:
    loop: What `as_loop` returned.
    drum_of: Returns the drum (from 0) of a note, None if it is none.
    sections: A song's, (name, bars) each.
  """
  qpm = loop.tempos[0].qpm
  tick = 60 / (qpm * TICKS_PER_QUARTER)  # Seconds.
  length = bars_of(loop) * 4 * TICKS_PER_QUARTER
  tempo = round(60e6 / qpm).to_bytes(3, 'big')
  tracks = [track_bytes([(0, bytes([midi_file.META, midi_file.TEMPO, 3]) + tempo),
                         (0, bytes([midi_file.META, midi_file.TIME_SIGNATURE, 4,
                                    4, 2, 24, 8])), *markers(loop, sections)],
                        length)]
  names = {info.instrument: info.name for info in loop.instrument_infos}
  instruments = collections.defaultdict(list)
  for note in loop.notes:
    instruments[note.instrument, note.program, note.is_drum].append(note)
  # note_seq keeps the first channel for instrument 0, if there is none too.
  first = 0 if any(number == 0 for number, *_ in instruments) else 1
  for i, ((number, program, is_drum), notes) in enumerate(
      sorted(instruments.items()), first):
    i %= 15
    channel = midi_file.DRUM_CHANNEL if is_drum else i + (i >= midi_file.DRUM_CHANNEL)
    hits = sorted((round(time / tick), note.pitch, velocity)
                  for note in notes for time, velocity in (
                      (note.start_time, note.velocity), (note.end_time, 0)))
    name = names.get(number, instrument_name(number, program, is_drum))
    tracks.append(track_bytes([
        *[(0, text_event(TRACK_NAME, name))] * bool(name),
        *((0, text_event(TEXT, text)) for text in drum_names(notes, drum_of) if is_drum),
        (0, bytes([midi_file.PROGRAM | channel, program])),
        *((at, bytes([midi_file.NOTE_ON | channel, pitch, velocity]))
          for at, pitch, velocity in hits)], length))
  return struct.pack('>4sIHHH', b'MThd', 6, 1, len(tracks),
                     TICKS_PER_QUARTER) + b''.join(tracks)


def text_event(kind: int, text: str) -> bytes:
  """Returns a MIDI event of a kind of text."""
  data = text.encode('latin1')
  return bytes([midi_file.META, kind]) + midi_file.write_number(len(data)) + data


def drum_names(notes: Sequence[object], drum_of: Callable[[int], int | None]
               ) -> list[str]:
  """Returns which drum each note is, as '36 kick', of those that are drums."""
  drums = {pitch: drum_of(pitch) for pitch in sorted({note.pitch for note in notes})}
  return [f'{pitch} {grid.DRUM_CLASSES[drum]}' for pitch, drum in drums.items()
          if drum is not None]


def markers(loop: object, sections: Sequence[tuple[str, int]] = ()
            ) -> list[tuple[int, bytes]]:
  """Returns where sections, or each four bars of a longer loop, begin.

  Args:
    loop: What `as_loop` returned.
    sections: A song's, (name, bars) each.

  Returns:
    [(tick, event)].
  """
  if sections:
    begins = itertools.accumulate((bars for _, bars in sections), initial=0)
    return [(bar * 4 * TICKS_PER_QUARTER, text_event(MARKER, name))
            for (name, _), bar in zip(sections, begins)]
  bars = bars_of(loop)
  return [(bar * 4 * TICKS_PER_QUARTER,
           text_event(MARKER, f'bars {bar + 1} to {min(bar + grid.BARS, bars)}'))
          for bar in range(0, bars, grid.BARS) if bars > grid.BARS]


def instrument_name(number: int, program: int, is_drum: bool) -> str:
  """Returns what note_seq calls the track of an instrument; '' for the first."""
  if number == 0:
    return ''
  if is_drum:
    return 'Drums'
  import pretty_midi
  return pretty_midi.program_to_instrument_name(program)


def track_bytes(events: list[tuple[int, bytes]], length: int) -> bytes:
  """Returns a MIDI track that ends at a tick, with running status.

  Args:
    events: [(tick, bytes)], in order.
    length: Ticks.
  """
  parts, now, status = [], 0, None
  end = bytes([midi_file.META, midi_file.END_OF_TRACK, 0])
  for tick, data in [*events, (length, end)]:
    parts.append(midi_file.write_number(tick - now))
    parts.append(data[data[0] == status:])
    now, status = tick, data[0] if data[0] != midi_file.META else None
  data = b''.join(parts)
  return struct.pack('>4sI', b'MTrk', len(data)) + data


def deliver(loops: Sequence[object]) -> list[list[tuple[int, float, int]]]:
  """Writes loops as MIDI files and reads them, with a progress bar.

  What is measured of loops is measured of these, which are what a user gets.

  Args:
    loops: What `as_loop` returned.

  Returns:
    For each loop, [(pitch, start in steps, velocity from 1 to 127)] of its drums.
  """
  found = []
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'loop.mid')
    for loop in tqdm(loops, desc='Writing and reading', unit='loop', leave=False):
      with open(path, 'wb') as f:
        f.write(midi_bytes(loop))
      file = midi_file.read(path)
      found.append([(hit.on.data[1], hit.on.tick / file.ticks_per_step,
                     hit.on.data[2]) for hit in midi_file.find_hits(file.tracks)])
  return found
