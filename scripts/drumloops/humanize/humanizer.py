"""Humanizer: gives loops, and MIDI files, a drummer's velocity and microtiming."""
import collections
import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping

import numpy as np

from drumloops import abilities, grid
from drumloops.errors import UserError
from drumloops.grid import Hit
from drumloops.humanize import feel_model, humanize_file
from drumloops.humanize import take as takes
from drumloops.humanize.take import Take, TakeRequest
from drumloops.loop import DrumLoop
from drumloops.midi import drum_maps, midi_file
from drumloops.midi.drum_maps import DrumMap
from drumloops.midi.swing import Swing
from drumloops.models import groove_model
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup

CONFIG = 'groovae_4bar_strokes'


class Humanizer:
  """A model that plays hits as drummers do.

      humanizer = Humanizer()
      played = humanizer.play(loops, take=2, amount=0.8)

  Nothing is printed or written. The graph is built when it is first used, and kept.

  Attributes:
    remarks: Sentences on which weights were taken, if that was a guess.
  """

  def __init__(self, weights: str | None = None, config: str = CONFIG,
               hparams: str = '', progress: bool = False):
    """Finds the weights.

    Args:
      weights: As of `DrumModel`; by default the project's own.
      config: Their config.
      hparams: Changes to it, such as 'z_size=8'.
      progress: Whether long work shows a progress bar.

    Raises:
      UserError: if there is no such config or checkpoint, or it does not humanize.
    """
    self.progress, self.remarks = progress, []
    self.config = magenta_setup.get_config(config, hparams)
    self.abilities = abilities.of(self.config, config)
    self.abilities.require(abilities.HUMANIZE)
    self.checkpoint = checkpoint_files.find_checkpoint(
        checkpoint_file=weights or None, config_name=config, say=self.remarks.append)

  @functools.cached_property
  def model(self) -> 'groove_model.MeanModel | groove_model.StrokeModel':
    """The graph, with the weights."""
    return groove_model.load(self.config, self.checkpoint)

  @functools.cached_property
  def feels(self) -> dict[str, np.ndarray]:
    """What `feel_model.load` returns of the checkpoint."""
    return feel_model.load(self.checkpoint)

  def choose(self, request: TakeRequest = TakeRequest(),
             drum_channel: int = midi_file.DRUM_CHANNEL + 1,
             map: str | DrumMap | None = None) -> Take:
    """Returns the Take that is asked for.

    Args:
      request: The take.
      drum_channel: Of the performance whose feel is taken: see `midi_file.read`.
      map: The kit that it was made for: see `drum_maps.find`.

    Raises:
      UserError: if there is no such drummer or performance, or no feel to take.
    """
    if not self.abilities.can(abilities.TAKES):
      if request.like or request.drummer is not None or request.ornaments:
        self.abilities.require(abilities.TAKES)
      return Take(self.model, take=takes.MEAN_TAKE, progress=self.progress)
    feel = None
    if request.drummer is not None:
      feel = feel_model.gaussian(self.feels, f'drummer{request.drummer}')
    if request.like:
      feel = feel_model.feel_of(self.model, self.feels, read_performance(
          os.path.expanduser(request.like), self.model, drum_channel, map)), 0.
    return Take(self.model, self.feels, request.take, feel, request.ornaments,
                self.progress)

  def play(self, loops: DrumLoop | Iterable[DrumLoop], take: int = takes.DEFAULT_TAKE,
           amount: float = 1.,
           velocity: float | str | Mapping[str, float] | None = None,
           timing: float | str | Mapping[str, float] | None = None,
           drummer: int | None = None, like: str | None = None,
           swing: float | str | Swing | None = None, ornaments: float = 0.
           ) -> list[DrumLoop]:
    """Returns loops as a drummer plays them; kept hits stay as they were given.

    Args:
      loops: One, or several.
      take: Which of any number of ways to play; 0 is what drummers do on average.
      amount: How much of it, from 0 to 1.2.
      velocity: The same of its velocities alone: one number, or by drum, {'snare':
        0.5} or 'snare:0.5,hi-hat:1'. For other drums `amount` counts.
      timing: The same of its microtiming alone.
      drummer: The number of a drummer of GMD, whose feel is taken.
      like: Instead, a MIDI file of a performance whose feel is taken.
      swing: Where off-beats are played: see `DrumLoop.swung`.
      ornaments: How often hits become flams and drags, from 0 to 1, which is as often
        as drummers' do.

    Raises:
      UserError: if something of this can't be.
    """
    return self.play_take(loops, TakeRequest(
        take, amount, velocity, timing, drummer, like, swing, ornaments))

  def play_take(self, loops: DrumLoop | Iterable[DrumLoop], request: TakeRequest
                ) -> list[DrumLoop]:
    """Returns what `play` does, of a request."""
    loops = [loops] if isinstance(loops, DrumLoop) else list(loops)
    much, swing = request.how_much, request.swing
    if not any(much):
      return [loop.swung(swing) for loop in loops]
    def as_read(loop: DrumLoop) -> list[Hit]:
      straight = loop.swing.straighten(loop.hits) if swing and loop.swing else loop.hits
      return [hit._replace(time=grid.step_of(hit.start, loop.bars * grid.STEPS_PER_BAR)
                           / grid.STEPS_PER_QUARTER) if old in (loop.kept or ()) else hit
              for old, hit in zip(loop.hits, straight)]
    played = takes.play(self.choose(request), list(map(as_read, loops)), much, swing,
                        [loop.qpm for loop in loops], [
                            [hit in (loop.kept or ()) for hit in loop.hits]
                            for loop in loops])
    take = request.take if self.abilities.can(abilities.TAKES) else takes.MEAN_TAKE
    def as_played(loop: DrumLoop, played: tuple) -> DrumLoop:
      swung, kept = loop.swung(swing), loop.kept or ()
      hits, ornaments = played
      others = (hit for hit in swung.hits if hit.drum is None)
      return dataclasses.replace(swung, hits=(
          *(next(others) if new is None else old if old in kept else new
            for old, new in zip(loop.hits, hits)),
          *(added.hit for added in ornaments if loop.hits[added.index] not in kept)),
                                 facts={
              **swung.facts, 'humanized': True, 'take': take,
              'drummer': request.drummer, 'velocity': takes.to_typed(much.velocity),
              'timing': takes.to_typed(much.timing),
              'ornaments': request.ornaments})
    return [as_played(*pair) for pair in zip(loops, played)]

  def humanize_file(self, input_midi: str, output_midi: str,
                    request: TakeRequest = TakeRequest(),
                    drum_channel: int = midi_file.DRUM_CHANNEL + 1,
                    map: str | DrumMap | None = None,
                    output_map: str | DrumMap | None = None) -> list[str]:
    """Humanizes the drums of a MIDI file: see `humanize_file.humanize_file`."""
    return humanize_file.humanize_file(
        os.path.expanduser(input_midi), os.path.expanduser(output_midi),
        self.choose(request, drum_channel, map), request.how_much, drum_channel, map,
        output_map, request.swing)


def read_performance(path: str, model: 'groove_model.StrokeModel',
                     drum_channel: int = midi_file.DRUM_CHANNEL + 1,
                     map: str | DrumMap | None = None) -> np.ndarray:
  """Returns the hits of a MIDI file as slices of a performance: [slices, 64, 64].

  4 bars at a time, those in which a drum plays.

  Raises:
    UserError: if it is not MIDI, or has no drums.
  """
  from magenta.models.music_vae import stroke_converter
  file, kit = midi_file.read(path, drum_channel), drum_maps.find(map)
  drum_of = kit.drum_of if kit else drum_maps.drum_map(model.pitch_classes)
  cells, tempos = collections.defaultdict(list), {}
  for i, tracks in enumerate(file.patterns):
    shift = midi_file.bar_shifts(tracks, file.ticks_per_step)
    for note in midi_file.find_hits(tracks):
      start = note.on.tick / file.ticks_per_step + shift(note.on.tick)
      step, drum = grid.nearest_step(start), drum_of(note.pitch)
      if drum is not None:
        part = i, step // takes.PART
        cells[part, step % takes.PART, drum].append(
            (note.on.data[2] / 127, grid.offset_of(start, step)))
        tempos.setdefault(part, midi_file.tempo_at(tracks, note.on.tick))
  slices = {part: stroke_converter.empty_slice(takes.PART, qpm)
            for part, qpm in tempos.items()}
  for (part, *cell), strokes in cells.items():
    stroke_converter.put(slices[part], *cell, strokes)
  if not slices:
    notes = [note for tracks in file.patterns for note in midi_file.find_hits(tracks)]
    raise UserError(midi_file.none_of_the_nine(path, file, notes) if notes else
                    midi_file.no_drums(path, file))
  return np.array(list(slices.values()))
