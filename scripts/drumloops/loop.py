"""DrumLoop: hits with a tempo and a length."""
import dataclasses
import io
import math
import os
from collections.abc import Sequence
from typing import NamedTuple

from drumloops import grid
from drumloops.errors import UserError, field, in_words
from drumloops.grid import Hit
from drumloops.midi import drum_maps, input_loop, loop_file, midi_file, sound
from drumloops.midi import swing as swings
from drumloops.midi.drum_maps import DrumMap
from drumloops.midi.swing import Swing
from drumloops.output import html, plots
from drumloops.system import disk, magenta_setup
import numpy as np

NOTE_BEATS = 1 / grid.STEPS_PER_QUARTER  # How long a hit's note is in MIDI.
MIN_QPM, MAX_QPM = 4, 1000  # Of any file; MIDI has no room for slower tempos.


class OtherNote(NamedTuple):
  """A note of another instrument, as Magenta's other configs decode them.

  begin, end: In beats. The rest is as in NoteSequence.
  """
  pitch: int
  begin: float
  end: float
  velocity: int
  instrument: int
  program: int
  is_drum: bool


@dataclasses.dataclass(frozen=True)
class DrumLoop:
  """Hits with a tempo and a length. A value: nothing changes it.

      mine = DrumLoop.read('mine.mid')
      mine.hits[0]    # Hit(drum='kick', time=0.0, velocity=100, pitch=36)
      mine.save('copy.mid')

  In a notebook it shows its picture and a player.

  Attributes:
    hits: By time. What is before 0 is early for the first beat.
    bars: How many of 4/4.
    qpm: The tempo, in quarters a minute.
    name: What pictures and sentences call it.
    kept: Of hits, those that were given; None if nothing was.
    swing: How its off-beats are played, None if they are straight.
    pitches: {drum: its MIDI note}, where a file plays it with another than a model.
    map: The DrumMap, or its name, that its notes are of; None for Magenta's maps.
    left_out: Sentences that say what of a file is not in it, or is used by no model.
    remarks: Sentences that say what a model guessed or dropped for it.
    facts: How it was made, for the page of written loops.
    other_notes: Of other instruments.
    sections: Of a song, (name, bars) each; MIDI has a marker where each begins.
  """
  hits: tuple[Hit, ...]
  bars: int = grid.BARS
  qpm: float = grid.DEFAULT_QPM
  name: str = 'loop'
  kept: frozenset[Hit] | None = None
  swing: Swing | None = None
  pitches: dict[int, int] = dataclasses.field(default_factory=dict, compare=False)
  map: DrumMap | None = None
  left_out: tuple[str, ...] = dataclasses.field(default=(), compare=False)
  remarks: tuple[str, ...] = dataclasses.field(default=(), compare=False)
  facts: dict[str, object] = dataclasses.field(
      default_factory=dict, compare=False, repr=False)
  other_notes: tuple[OtherNote, ...] = ()
  sections: tuple[tuple[str, int], ...] = ()

  def __post_init__(self) -> None:
    """Puts hits in order.

    Raises:
      UserError: if a hit, the length or the tempo can't be.
    """
    hits = tuple(sorted((Hit(*hit) for hit in self.hits),
                        key=lambda hit: max(0, hit.time)))
    object.__setattr__(self, 'hits', hits)
    object.__setattr__(self, 'map', drum_maps.find(self.map))
    if self.bars != int(self.bars) or self.bars < 1:
      raise UserError(f'A loop has at least one bar, not {self.bars}.')
    if not MIN_QPM <= self.qpm <= MAX_QPM:
      raise UserError(f'{field("qpm")} must be from {MIN_QPM} to {MAX_QPM}, not '
                      f'{self.qpm:g}.')
    for hit in hits:
      if hit.drum is not None and hit.drum not in grid.DRUM_CLASSES:
        raise UserError(f'There is no drum {hit.drum!r}; the nine are '
                        f'{", ".join(grid.DRUM_CLASSES)}.')
      if hit.drum is None and hit.pitch is None:
        raise UserError('A hit has a drum, or else a pitch.')
      if hit.pitch is not None and not 0 <= hit.pitch <= 127:
        raise UserError(f'A pitch is from 0 to 127, not {hit.pitch}.')
      if hit.velocity != int(hit.velocity) or not 1 <= hit.velocity <= 127:
        raise UserError(f'A velocity is from 1 to 127, not {hit.velocity}.')
      if not math.isfinite(hit.time):
        raise UserError(f'A time is in beats, not {hit.time}.')

  @classmethod
  def read(cls, path: str, bars: int = grid.BARS, first_bar: int = 0,
           drum_channel: int = midi_file.DRUM_CHANNEL + 1,
           pitch_classes: Sequence[Sequence[int]] | None = None,
           map: str | DrumMap | None = None) -> 'DrumLoop':
    """Returns the bars of a MIDI file from the first in which a drum plays.

    Args:
      path: The file.
      bars: How many at most.
      first_bar: The bar to begin with instead, from 1.
      drum_channel: The MIDI channel of its drums, from 1.
      pitch_classes: A config's map of pitches, as `drum_maps.drum_map` takes it.
      map: Instead, the kit that the file was made for: see `drum_maps.find`.

    Raises:
      UserError: if it is no MIDI file, is not in 4/4 there, or has no drums, or if
        there is no such map.
    """
    path = os.path.expanduser(path)
    kit = drum_maps.find(map)
    found = input_loop.read_bars(path, bars, first_bar, drum_channel, pitch_classes,
                                 kit)
    return cls(found.hits, found.count, found.qpm, os.path.basename(path),
               swing=swings.find_swing([hit for hit in found.hits if hit.drum]),
               pitches=found.pitches, map=kit, left_out=tuple(
                   in_words(sentence) for sentence in found.left_out))

  @classmethod
  def of_note_sequence(cls, sequence: object, qpm: float = grid.DEFAULT_QPM,
                       bars: int | None = None, **attributes: object) -> 'DrumLoop':
    """Returns a decoded NoteSequence as a loop.

    Args:
      sequence: At a tempo of its own.
      qpm: The loop's.
      bars: Its length; None for as many as there are notes in.
      **attributes: Others of the loop.
    """
    own_qpm = sequence.tempos[0].qpm if sequence.tempos else grid.DEFAULT_QPM
    beats = own_qpm / 60  # In a second.
    if bars is None:
      bars = max(1, int(np.ceil(sequence.total_time * beats / grid.QUARTERS_PER_BAR)))
    hits, others = [], []
    for note in sequence.notes:
      drum = drum_maps.drum_of_decoded(note.pitch) if note.is_drum else None
      if drum is None:
        others.append(OtherNote(
            note.pitch, note.start_time * beats, note.end_time * beats, note.velocity,
            note.instrument, note.program, note.is_drum))
      else:
        hits.append(Hit(grid.DRUM_CLASSES[drum], note.start_time * beats,
                        max(1, note.velocity), note.pitch))  # 0 would end a note.
    return cls(tuple(hits), bars, qpm, other_notes=tuple(others), **attributes)

  def pattern(self) -> np.ndarray:
    """Returns which drums are hit at each step: a class each, int [steps].

    A class has a bit for each drum, as in Magenta's DrumsConverter.
    """
    pattern = np.zeros(self.bars * grid.STEPS_PER_BAR, int)
    for hit in self.hits:
      if hit.drum and hit.start <= len(pattern):
        pattern[grid.step_of(hit.start, len(pattern))] |= 1 << hit.index
    return pattern

  def kept_pattern(self) -> np.ndarray | None:
    """Returns where hits were kept, bool [steps, drums]; None if nothing was."""
    if self.kept is None:
      return None
    kept = np.zeros([self.bars * grid.STEPS_PER_BAR, grid.DRUMS], bool)
    for hit in self.kept:
      kept[grid.step_of(hit.start, len(kept)), hit.index] = True
    return kept

  def encoder_input(self, converter: object) -> np.ndarray:
    """Returns what a converter's encoder takes: [steps, input_depth].

    With a DrumsConverter bool, a class or a drum each; with a GrooveConverter float32,
    hits, velocities and offsets.

    Args:
      converter: Magenta's.
    """
    from magenta.models.music_vae import upstream
    drum_of = drum_maps.drum_map(upstream.pitch_classes(converter))
    steps, drums = self.bars * grid.STEPS_PER_BAR, len(upstream.pitch_classes(converter))
    hits, velocities, offsets = np.zeros([3, steps, drums], np.float32)
    for hit in self.hits:
      if self.map is None and hit.pitch is not None:
        drum = drum_of(hit.pitch)
      elif hit.drum is None:  # A note that the map has not.
        continue
      else:
        drum = hit.index if drums == grid.DRUMS else drum_of(
            drum_maps.GM.pitch_of(hit.index))
      step = grid.step_of(hit.start, steps)
      # As upstream: of several, the loudest.
      if drum is not None and hit.velocity / 127 > velocities[step, drum]:
        hits[step, drum], velocities[step, drum] = 1, hit.velocity / 127
        offsets[step, drum] = max(-1, grid.offset_of(hit.start, step))
    if type(converter).__name__ == 'GrooveConverter':
      known = 0 if upstream.is_humanizing(converter) else 1
      return np.concatenate([hits, known * velocities, known * offsets], axis=-1)
    if upstream.has_roll_input(converter):
      return np.append(hits, hits.sum(axis=1, keepdims=True) == 0, axis=1) > 0
    classes = (hits.astype(int) << np.arange(drums)).sum(axis=1)
    return np.eye(converter.input_depth, dtype=bool)[classes]

  def with_map(self, map: str | DrumMap | None) -> 'DrumLoop':
    """Returns the loop for a kit: each drum has the note that is written there.

    What is none of the nine drums is left out.

    Args:
      map: See `drum_maps.find`; None leaves the loop as it is.

    Raises:
      UserError: if there is no such map, or it has no note of a drum that plays.
    """
    kit = drum_maps.find(map, 'output_map')
    if kit is None:
      return self
    def moved(hits):
      return [hit._replace(pitch=kit.pitch_of(hit.index)) for hit in hits if hit.drum]
    return dataclasses.replace(
        self, hits=tuple(moved(self.hits)), pitches=kit.written, map=kit,
        kept=None if self.kept is None else frozenset(moved(self.kept)),
        other_notes=tuple(note for note in self.other_notes if not note.is_drum))

  def swung(self, swing: float | str | Swing | None) -> 'DrumLoop':
    """Returns the loop with another swing than its own; kept hits stay.

    To humanize it too, name the swing to `Humanizer.play` instead.

    Args:
      swing: Where the second of two sixteenths begins, in percent of both: 50 is
        straight, 75 the most. Of eighths: 'eighths:66'. None leaves the loop as it is.

    Raises:
      UserError: if there is no such swing.
    """
    swing = swings.read_swing(swing)
    if swing is None:
      return self
    moving = [hit for hit in self.hits if hit not in (self.kept or ())]
    if self.swing:
      moving = self.swing.straighten(moving)
    moved = iter(swings.move(moving, swing=swing) / grid.STEPS_PER_QUARTER)
    def beat(time: float) -> float:
      return float(swing.place(time * grid.STEPS_PER_QUARTER)) / grid.STEPS_PER_QUARTER
    return dataclasses.replace(
        self, swing=None if swing.is_straight else swing,
        facts={**self.facts, 'swing': swing.typed},
        hits=tuple(hit if hit in (self.kept or ()) else
                   hit._replace(time=float(next(moved))) for hit in self.hits),
        other_notes=tuple(note._replace(begin=beat(note.begin), end=beat(note.end))
                          for note in self.other_notes))

  def to_note_sequence(self) -> object:
    """Returns the loop as a NoteSequence, exactly its bars long.

    A hit before its beginning is played at it. What begins after its end is not in it.
    If the loop has a map, its drums have General MIDI's notes here, which Magenta and
    SoundFonts know.
    """
    return (self.with_map(drum_maps.GM) if self.map else self)._own_notes()

  def _own_notes(self):
    """Returns the loop as a NoteSequence with the notes of its map."""
    magenta_setup.music_vae()  # Else note_seq would import TensorFlow aloud.
    import note_seq
    sequence = note_seq.NoteSequence()
    sequence.tempos.add(qpm=grid.DEFAULT_QPM)
    beat = 60 / grid.DEFAULT_QPM  # Seconds.
    for note in (*map(self._note_of, self.hits), *self.other_notes):
      pitch = note.pitch
      if note.is_drum and not self.map:
        pitch = drum_maps.GENERAL_MIDI.get(pitch, pitch)
      sequence.notes.add(
          pitch=pitch, velocity=note.velocity, instrument=note.instrument,
          program=note.program, is_drum=note.is_drum, start_time=note.begin * beat,
          end_time=note.end * beat)
    return loop_file.as_loop(sequence, self.qpm, self.bars)

  def _note_of(self, hit: Hit) -> OtherNote:
    pitch = ((self.map or drum_maps.GM).pitch_of(hit.index) if hit.pitch is None else
             hit.pitch)
    return OtherNote(pitch, hit.time, hit.time + NOTE_BEATS, hit.velocity,
                     midi_file.DRUM_CHANNEL, 0, True)

  def to_midi(self, map: str | DrumMap | None = None) -> bytes:
    """Returns the loop as a MIDI file, exactly its bars long.

    Args:
      map: Of `with_map`.
    """
    loop = self.with_map(map)
    return loop_file.midi_bytes(
        loop._own_notes(), loop.map.drum_of if loop.map else drum_maps.drum_of_written,
        loop.sections)

  def save(self, path: str, map: str | DrumMap | None = None) -> None:
    """Writes the loop, as MIDI (.mid) or as sound (.wav).

    Args:
      path: The file.
      map: Of `with_map`, for MIDI.

    Raises:
      UserError: if the path is no such file, there is no such map, or the loop's sound
        can't be made.
      OSError: if it can't be written.
    """
    path = os.path.expanduser(path)
    ending = os.path.splitext(path)[1].lower()
    if ending not in ('.mid', '.midi', '.wav'):
      raise UserError(f'{path} ends neither with .mid nor with .wav.')
    if os.path.isdir(path):
      raise UserError(f'{path} is not a file.')
    if ending == '.wav':
      with disk.replacing(path) as temporary:
        sound.load_player().write_wav(self.to_note_sequence(), temporary)
    else:
      midi_file.write(self.to_midi(map), path)

  def audio(self, soundfont: str | None = None) -> np.ndarray:
    """Returns the loop as sound: float64 [samples, 2] at `sound.SAMPLE_RATE`.

    Its end sounds on at its beginning, so it repeats without a gap.

    Args:
      soundfont: Of `soundfonts.find_soundfont`.

    Raises:
      UserError: if there is no FluidSynth, or the SoundFont can't be used.
    """
    return sound.load_player(soundfont)(self.to_note_sequence())

  def stems(self, soundfont: str | None = None) -> dict[str, np.ndarray]:
    """Returns each drum's part of `audio`, at one gain: {drum: float64 [samples, 2]}.

    Args:
      soundfont: Of `soundfonts.find_soundfont`.

    Raises:
      UserError: as `audio` does, and if other instruments play, too.
    """
    return sound.load_player(soundfont).stems(self.to_note_sequence())

  def plot(self, title: str | None = None) -> object:
    """Returns a matplotlib figure of the loop: a row a drum, a column a step."""
    figure, axes = plots.figure_of(1)
    plots.drum_grid(axes[0, 0], self.hits, self.bars, self.name if title is None
                    else title, kept=self.kept_pattern())
    return figure

  def html(self, soundfont: str | None = None) -> str:
    """Returns HTML: the picture, and a player, or why there is none."""
    png, audio, why = io.BytesIO(), None, ''
    self.plot().savefig(png, dpi=html.DPI)
    try:
      audio = self.audio(soundfont or None)
    except UserError as e:
      why = str(e)
    return html.loop_html(png.getvalue(), audio, sound.SAMPLE_RATE, why)

  def _repr_html_(self) -> str:
    """What a notebook shows."""
    return self.html()
