"""DrumModel: makes drum loops with a checkpoint of MusicVAE."""
import contextlib
import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from drumloops import abilities, grid, requests
from drumloops.data import patterns
from drumloops.errors import UserError, field, in_words
from drumloops.grid import Hit
from drumloops.loop import DrumLoop
from drumloops.midi import drum_maps, swing
from drumloops.models import (
    completion, fills, graph, latent, prior, sliders, song, variation)
from drumloops.models.constraints import Constraints
from drumloops.models.sliders import Sliders
from drumloops.requests import LoopRequest
from drumloops.runs import checkpoint_files
from drumloops.system import disk, magenta_setup
import numpy as np

MAX_BATCH_SIZE = 1024
RECONSTRUCTION_CONFIG = 'hier-drums_4bar_echo'  # Its weights reconstruct best.


class DrumModel:
  """A checkpoint that makes drum loops.

      model = DrumModel()
      loops = model.sample(4, style='funk', bars=8)
      mine = DrumLoop.read('mine.mid')
      more = model.complete(mine, keep=['kick', 'snare'], count=4)

  Each method returns a list of DrumLoops. Nothing is printed or written. A graph is
  built when it is first used, and kept; that of `sample` is for a number of loops.

  Attributes:
    remarks: Sentences on which weights were taken, if that was a guess.
  """

  def __init__(self, weights: str | None = None,
               config: str = magenta_setup.DEFAULT_CONFIG, hparams: str = '',
               progress: bool = False):
    """Finds the weights.

    Args:
      weights: A checkpoint, a folder of checkpoints, a run, a .tar of Magenta's, or
        hf://user/name; by default the project's own.
      config: The config that they were trained with.
      hparams: Changes to it, such as 'z_size=64'.
      progress: Whether long work shows a progress bar.

    Raises:
      UserError: if there is no such config or checkpoint.
    """
    self.config_name, self.hparams, self.progress = config, hparams, progress
    self.config = magenta_setup.get_config(config, hparams)
    self.abilities = abilities.of(self.config, config)
    self.is_own, self.remarks = not weights, []
    self.abilities.require(abilities.SAMPLE)
    self.checkpoint = checkpoint_files.find_checkpoint(
        checkpoint_file=weights or None, config_name=config, say=self.remarks.append)
    self._trained = None  # The last TrainedModel, and its batch size.

  @property
  def styles(self) -> dict[str, int]:
    """The styles that `sample` knows, and of how many training loops they are."""
    return self._prior_with('any').styles

  def read(self, path: str, **options: object) -> DrumLoop:
    """Returns `DrumLoop.read` of a file, by the config's length and map of pitches."""
    from magenta.models.music_vae import upstream
    self.abilities.require(abilities.ENCODE)
    return DrumLoop.read(path, **{
        'bars': self.abilities.bars, **options,
        'pitch_classes': upstream.pitch_classes(self.config.data_converter)})

  def slice_of(self, loop: DrumLoop) -> np.ndarray:
    """Returns what `Autoencoder.encode` takes of a loop.

    Classes, int [steps], or a performance, float32 [steps, 27].
    """
    from magenta.models.music_vae import packed_slices
    loop = self._fit(loop, LoopRequest())
    converter = self.config.data_converter
    return (loop.encoder_input(converter) if packed_slices.is_groove(converter) else
            loop.pattern())

  def sample(self, count: int = 1, style: str = '', temperature: float | None = None,
             seed: int = 0, bars: int | None = None, qpm: float | None = None,
             fill: str | int | Iterable[int] = (), **sliders: float
             ) -> list[DrumLoop]:
    """Returns new loops.

    Args:
      count: How many.
      style: One of `styles`; '' for any.
      temperature: How random each step is; None for 0.65.
      seed: The same seed gives the same loops.
      bars: Their length; None for the config's, 4.
      qpm: Their tempo in quarters a minute; None for 120.
      fill: Bars, from 1, that get a fill. 4 is every fourth one; [4, 8] are these two.
      **sliders: density=1, syncopation, fills: how much of it they have, from -2 to 2,
        beside drummers' loops: see `models.sliders`. 0 leaves it as it comes.
    """
    return self.make(LoopRequest(requests.SAMPLE, count, temperature, seed, style, qpm,
                                 bars, sliders=Sliders.read(**sliders),
                                 fill=fills.read(fill)))

  def song(self, form: str | Iterable[str], style: str = '',
           temperature: float | None = None, seed: int = 0, qpm: float | None = None
           ) -> DrumLoop:
    """Returns a song: its sections are alike for one name, and differ for others.

    A chorus is denser than a verse, and rides.

    Args:
      form: Its sections with their bars: 'intro4,verse8,chorus8,verse8,outro4'.
      style: One of `styles`; '' for any.
      temperature: How random each step is; None for 0.65.
      seed: The same seed gives the same song.
      qpm: Its tempo in quarters a minute; None for 120.
    """
    return self.make(LoopRequest(requests.SONG, 1, temperature, seed, style, qpm,
                                 form=song.read_form(form)))[0]

  def complete(self, loop: DrumLoop, *, count: int = 1, style: str = '',
               temperature: float | None = None, seed: int = 0,
               bars: int | None = None, qpm: float | None = None,
               fill: str | int | Iterable[int] = (), **constraints: object
               ) -> list[DrumLoop]:
    """Returns loops around what is kept of one.

    Args:
      loop: It repeats if it is shorter and drums or its rhythm are kept.
      count: How many.
      style: One of `styles`; '' for any.
      temperature: How random each step is; None for 0.65.
      seed: The same seed gives the same loops.
      bars: Their length; None for the config's, 4.
      qpm: Their tempo; None for the loop's.
      fill: Bars that get a fill, as for `sample`. If nothing is kept by a constraint,
        all else is.
      **constraints: What is kept, by the fields of `Constraints`: keep=['kick',
        'snare'] or 'kick,snare', keep_bars=[1, 2], rhythm=True, without=['crash'].
    """
    return self.make(LoopRequest(
        requests.COMPLETE, count, temperature, seed, style, qpm, bars,
        constraints=Constraints.read(**constraints), fill=fills.read(fill)), loop)

  def vary(self, loop: DrumLoop, amount: float = requests.DEFAULT_AMOUNT, count: int = 1,
           temperature: float | None = None, seed: int = 0, bars: int | None = None,
           qpm: float | None = None, fill: str | int | Iterable[int] = (),
           **sliders: float) -> list[DrumLoop]:
    """Returns variations of a loop.

    Args:
      loop: The loop.
      amount: From 0, the loop itself, to 1, others of its kind.
      count: How many.
      temperature: How random each step is; None for 0.65.
      seed: The same seed gives the same loops.
      bars: Their length; None for the config's, 4.
      qpm: Their tempo; None for the loop's.
      fill: Bars that get a fill, as for `sample`.
      **sliders: density=1, syncopation, fills: how much more of it they have than the
        loop, from -2 to 2.
    """
    return self.make(LoopRequest(requests.VARY, count, temperature, seed, '', qpm, bars,
                                 amount, sliders=Sliders.read(**sliders),
                                 fill=fills.read(fill)), loop)

  def interpolate(self, first: DrumLoop, last: DrumLoop, count: int = 5,
                  temperature: float | None = None, seed: int = 0,
                  qpm: float | None = None) -> list[DrumLoop]:
    """Returns loops from one to another, both ends included.

    Args:
      first: The loop to begin with.
      last: The loop to end with.
      count: How many.
      temperature: How random each step is; None for 0.65.
      seed: The same seed gives the same loops.
      qpm: Their tempo; None for the first loop's.
    """
    return self.make(LoopRequest(requests.INTERPOLATE, count, temperature, seed,
                                 qpm=qpm), first, last)

  def reconstruct(self, loop: DrumLoop, count: int = 1, temperature: float | None = None,
                  seed: int = 0, qpm: float | None = None) -> list[DrumLoop]:
    """Returns loops decoded from the latent of one.

    The project's own model has other weights for this.

    Args:
      loop: The loop.
      count: How many.
      temperature: How random each step is; None for the most likely drums, which are
        always the same.
      seed: The same seed gives the same loops.
      qpm: Their tempo; None for the loop's.
    """
    return self.make(LoopRequest(requests.RECONSTRUCT, count, temperature, seed,
                                 qpm=qpm), loop)

  def for_mode(self, mode: str) -> 'DrumModel':
    """Returns the model that is used for a mode: to reconstruct, perhaps another."""
    is_default = self.is_own and self.config_name == magenta_setup.DEFAULT_CONFIG
    return self._reconstructor if (
        is_default and mode == requests.RECONSTRUCT) else self

  @functools.cached_property
  def _reconstructor(self) -> 'DrumModel':
    return DrumModel(config=RECONSTRUCTION_CONFIG, hparams=self.hparams,
                     progress=self.progress)

  def make(self, request: LoopRequest, *given: DrumLoop) -> list[DrumLoop]:
    """Returns the loops of a request.

    Args:
      request: What is asked for.
      *given: The loops that it is about, as many as `requests.INPUTS` says.

    Raises:
      UserError: if models of this config can't do this.
    """
    model = self.for_mode(request.mode)
    if model is not self:
      return model.make(request, *given)
    self.check(request)
    request = request.for_model(self.abilities.bars)
    qpm = request.qpm or (given[0].qpm if given else grid.DEFAULT_QPM)
    if not grid.MIN_QPM <= qpm <= grid.MAX_QPM:
      raise UserError(f'{given[0].name} is at {qpm:g} quarters a minute; choose a tempo '
                      f'from {grid.MIN_QPM} to {grid.MAX_QPM} with {field("qpm")}.')
    given = [self._fit(dataclasses.replace(loop, remarks=()), request) for loop in given]
    remarks = tuple(remark for loop in given for remark in loop.remarks)
    if request.is_greedy and request.count > 1 and request.bars == self.abilities.bars:
      request = dataclasses.replace(request, count=1)
      remarks += (f'Without {field("temperature")} every reconstruction is the same, so '
                  'one is made.',)
    sequences, kept, more_remarks = self._decode(request, given)
    remarks += more_remarks
    loops = []
    for i, sequence in enumerate(sequences):
      loop = DrumLoop.of_note_sequence(
          sequence, qpm, request.bars, name=f'{request.style or request.mode} {i + 1}',
          remarks=tuple(map(in_words, remarks)), sections=request.form,
          facts=self._facts(request, given, qpm))
      if given:  # Between two loops, the nearer one's swing and notes.
        origin = given[round(i * (len(given) - 1) / max(1, len(sequences) - 1))]
        loop = self._give_back(loop, origin, None if kept is None else kept[i],
                               request.mode)
      loops.append(loop)
    return loops

  def check(self, request: LoopRequest) -> None:
    """Raises UserError unless models of this config can do what is asked."""
    able = self.abilities
    able.require(abilities.SAMPLE)
    if requests.INPUTS[request.mode]:
      able.require(abilities.ENCODE)
    if request.mode in (requests.COMPLETE, requests.VARY) or (
        request.bars not in (None, able.bars)) or (
            request.sliders or request.form or request.fill):
      able.require(abilities.COMPLETE)

  def _fit(self, loop: DrumLoop, request: LoopRequest) -> DrumLoop:
    """Returns a given loop with the config's drums, and as long as it is used."""
    from magenta.models.music_vae import upstream
    if self.abilities.has_nine_drums and not loop.map:
      drum_of = drum_maps.drum_map(upstream.pitch_classes(self.config.data_converter))
      loop = dataclasses.replace(loop, hits=tuple(
          hit if hit.pitch is None or drum_of(hit.pitch) is None else
          hit._replace(drum=grid.DRUM_CLASSES[drum_of(hit.pitch)])
          for hit in loop.hits))
    return with_length(
        loop, request.bars if request.mode == requests.COMPLETE else self.abilities.bars,
        request.constraints, repeats=request.mode == requests.COMPLETE and bool(
            request.fill) and not request.constraints.keep_bars)

  def _facts(self, request: LoopRequest, given: Sequence[DrumLoop], qpm: float
             ) -> dict[str, object]:
    """Returns what the page of written loops says of these."""
    return {
        'config': self.config_name,
        # As much of where the checkpoint lies as tells it from others.
        'checkpoint': '/'.join(os.path.abspath(self.checkpoint).split(os.sep)[-3:]),
        'mode': request.mode, 'inputs': [disk.printable(loop.name) for loop in given],
        'style': request.style or None, 'number': request.count, 'seed': request.seed,
        'temperature': request.softmax_temperature, 'qpm': qpm, 'humanized': False,
        'take': None,
        'amount': request.amount if request.mode == requests.VARY else None,
        'kept': str(request.constraints) or None,
        'sliders': str(request.sliders) or None,
        'form': ', '.join(map(str, request.form)) or None,
        'fill': ', '.join(str(bar + 1) for bar in request.fill) or None}

  @functools.cached_property
  def _varier(self) -> variation.Varier:
    return variation.Varier(self.config, self.checkpoint)

  @functools.cached_property
  def _completer(self) -> completion.Completer:
    return completion.Completer(self.config, self.checkpoint)

  @functools.cached_property
  def _filler(self) -> completion.Completer:
    return completion.Completer(
        self.config, self.checkpoint, particles=fills.PARTICLES,
        loops=fills.CANDIDATES)

  def _completer_with(self, seed: int) -> completion.Completer:
    self._completer.reseed(seed)
    return self._completer

  def _decode(self, request: LoopRequest, given: Sequence[DrumLoop]
              ) -> tuple[Sequence[object], np.ndarray | None, tuple[str, ...]]:
    """Returns NoteSequences, which of their hits are kept, and remarks.

    Kept hits are bool, [loops, steps, drums]; None if nothing is kept.
    """
    mode, count, temperature, seed = (
        request.mode, request.count, request.softmax_temperature, request.seed)
    kept, remarks = None, ()
    if mode == requests.COMPLETE and not request.constraints.keeps_anything:
      loops = np.repeat([given[0].pattern()], count, axis=0)  # To be filled in.
      kept = patterns.bits(loops)
    elif mode == requests.COMPLETE:
      pattern = given[0].pattern()
      loops = self._completer_with(seed).complete(np.repeat(
          [request.constraints.allowed(pattern)], count, axis=0), temperature,
          request.style, self.progress)
      kept = np.repeat([request.constraints.kept(pattern)], count, axis=0)
    elif given and self.abilities.can(abilities.COMPLETE):
      own = [loop.pattern() for loop in given]
      if mode == requests.VARY:
        loops = variation.vary(
            self._varier, *own, request.amount, count, temperature, seed,
            self._steered(request.sliders, *sliders.measure(np.array(own)))
            if request.sliders else None)
        kept = patterns.bits(loops & own)
      elif mode == requests.INTERPOLATE:
        loops = variation.interpolate(self._varier, *own, count, temperature, seed)
      else:
        loops = variation.reconstruct(self._varier, *own, count, temperature, seed)
        remarks = (how_much_was_kept(own[0], loops),) if own[0].any() else ()
    elif request.sliders:
      rng = np.random.RandomState(seed)
      latents, kept_sliders = self._prior_with(request.style), sliders.load(
          self.checkpoint)
      loops = latents.sample(lambda number: sliders.sample(
          self._varier, kept_sliders, request.sliders,
          latents.draw(number, rng, request.style), temperature, rng), count)
    elif mode == requests.SONG:
      rng, latents = np.random.RandomState(seed), self._prior_with(request.style)
      loops = np.array([song.play(
          self._varier, sliders.load(self.checkpoint), request.form,
          lambda number: latents.draw(number, rng, request.style), temperature, rng)
                        for _ in range(count)])
    else:
      sequences = self._decode_latents(request, given)
      if request.bars == self.abilities.bars and not request.fill:
        return sequences, None, ()
      loops = self._patterns(sequences)
    if request.bars * grid.STEPS_PER_BAR > loops.shape[1]:
      more = self._completer_with(seed).go_on(
          loops, request.bars, temperature or requests.DEFAULT_TEMPERATURE,
          request.style, self.progress)
      if kept is not None:
        kept = np.pad(kept, [(0, 0), (0, more.shape[1] - loops.shape[1]), (0, 0)])
      loops = more
    if request.fill or request.form:
      filled, more_remarks = self._filled(request, loops)
      remarks += more_remarks
      if kept is not None:
        kept &= patterns.bits(loops & filled)
      loops = filled
    return to_sequences(self.config, loops), kept, remarks

  def _filled(self, request: LoopRequest, loops: np.ndarray
              ) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns loops with fills where a request, or a song's sections, want them.

    Also returns a sentence if weights without fills make a song.
    """
    where = (fills.bars_of(request.fill, request.bars) if request.fill else
             np.cumsum([section.bars for section in request.form])[:-1] - 1)
    if not len(where):
      return loops, ()
    if request.form and not fills.are_kept(self.checkpoint):
      return loops, ('These weights know no fills, so no section ends with one.',)
    slopes, rng = fills.load(self.checkpoint)['slopes'], np.random.RandomState(
        request.seed)
    self._filler.reseed(request.seed)
    return np.array([fills.fill(
        self._filler, slopes, loop, where, request.constraints.allowed(loop),
        request.softmax_temperature, request.style, rng) for loop in loops]), ()

  def _steered(self, asked: Sliders, own: np.ndarray
               ) -> Callable[[np.ndarray, np.ndarray, float], np.ndarray]:
    """Returns what decodes latents and noise to loops as sliders ask.

    Args:
      asked: How much more of each attribute than `own`.
      own: What the musician's loop has of each.
    """
    kept = sliders.load(self.checkpoint)
    return lambda *how: sliders.steer(self._varier, kept, asked, own, *how)[0]

  def _trained_model(self, batch_size: int, seed: int) -> object:
    """Returns Magenta's TrainedModel, whose samples `seed` decides.

    Raises:
      UserError: if the checkpoint is not of the config.
    """
    from magenta.models.music_vae import TrainedModel, checkpoints, upstream
    import tensorflow.compat.v1 as tf
    if self._trained and self._trained[1] == batch_size:
      upstream.change_session(self._trained[0], functools.partial(
          graph.reseed_session, seed=seed))
      return self._trained[0]
    tf.set_random_seed(seed)
    try:
      self._trained = TrainedModel(
          self.config, batch_size, checkpoints.plain(self.checkpoint)), batch_size
    except (ValueError, tf.errors.InvalidArgumentError,
            tf.errors.NotFoundError) as e:
      raise UserError(checkpoint_files.does_not_fit(self.checkpoint)) from e
    return self._trained[0]

  def _decode_latents(self, request: LoopRequest, given: Sequence[DrumLoop]
                      ) -> Sequence[object]:
    """Returns NoteSequences, decoded from latents by Magenta's own TrainedModel.

    The latents are drawn from the prior; with one given loop they are all its latent,
    with two they go from one to the other.
    """
    count, length = request.count, self.config.hparams.max_seq_len
    latents = self._prior_with(request.style)
    model = self._trained_model(min(count, MAX_BATCH_SIZE), request.seed)
    if given:
      slices = [loop.encoder_input(self.config.data_converter) for loop in given]
      _, mu, _ = model.encode_tensors(slices, [len(s) for s in slices])
      drawn = np.array([latent.slerp(*mu, t) for t in np.linspace(0, 1, count)]
                       ) if len(mu) == 2 else np.repeat(mu, count, axis=0)
      # Nothing is as likely as the most likely one then, but for what rounding does.
      return model.decode(drawn, length, request.softmax_temperature or 1e-6)
    if latents.is_normal:
      with numpy_seed(request.seed):
        return model.sample(count, length, request.softmax_temperature)
    rng = np.random.RandomState(request.seed)
    return latents.sample(
        lambda number: model.decode(latents.draw(number, rng, request.style), length,
                                    request.softmax_temperature), count, self._patterns)

  def _patterns(self, sequences: Sequence[object]) -> np.ndarray:
    """Returns the patterns of NoteSequences, int [loops, steps]."""
    return np.array([DrumLoop.of_note_sequence(
        sequence, bars=self.abilities.bars).pattern() for sequence in sequences])

  def _prior_with(self, style: str) -> prior.Prior:
    """Returns the weights' Prior, which knows styles if one is asked for."""
    return prior.of(self.checkpoint, self.config.hparams.z_size, style)

  def _give_back(self, loop: DrumLoop, given: DrumLoop, kept: np.ndarray | None,
                 mode: str) -> DrumLoop:
    """Returns a made loop with the swing, the notes and the kept hits of a given one.

    Args:
      loop: Its hits are on the grid, where the config is of patterns.
      given: The loop that it was made from.
      kept: Where hits are kept, bool [steps, drums]; None if none are.
      mode: A reconstruction is decoded from a latent, which holds no notes.
    """
    def is_kept(hit: Hit) -> bool:
      return kept is not None and bool(kept[grid.step_of(hit.start, len(kept)),
                                            hit.index])
    hits, remarks, swings, pitches, kit = loop.hits, loop.remarks, None, {}, None
    if given.swing and self.abilities.can(abilities.BE_HUMANIZED):
      swings = given.swing
      unkept = swing.play_swung(hits, given.swing)
      hits = [hit if is_kept(hit) else new for hit, new in zip(hits, unkept)]
      remarks += (in_words(
          f'{disk.printable(given.name)} swings ({given.swing}), and so does what is '
          f'made from it, unless {field("swing")} asks for another swing.'),)
    own = ()
    if self.abilities.has_nine_drums:
      kit = given.map
      pitches = (given.pitches if mode != requests.RECONSTRUCT else
                 kit.written if kit else {})
      # The decoded note may be another drum of the given loop's kit.
      hits = [hit._replace(pitch=pitches.get(hit.index, None if kit else hit.pitch))
              for hit in hits if not is_kept(hit)]
      own = tuple(hit for hit in given.hits if hit.drum and is_kept(hit))
    return dataclasses.replace(
        loop, hits=(*hits, *own), kept=None if kept is None else frozenset(own),
        swing=swings, pitches=pitches, map=kit, remarks=remarks)


def with_length(loop: DrumLoop, bars: int, constraints: Constraints,
                repeats: bool = False) -> DrumLoop:
  """Returns a loop of so many bars: cut, repeated, or with silence after it.

  Args:
    loop: A given loop.
    bars: How many.
    constraints: What is kept of it. For drums and the rhythm a shorter loop begins
      again where it ends; else there is silence. For bars there must be so many.
    repeats: Whether it begins again in any case.

  Raises:
    UserError: if its bars are fewer than what is kept.
  """
  steps, length = bars * grid.STEPS_PER_BAR, loop.bars * grid.STEPS_PER_BAR
  name = disk.printable(loop.name)
  gives = f'{name} gives {loop.bars} bar{"s" * (loop.bars > 1)}'
  if loop.bars == bars:
    return loop
  if loop.bars > bars:
    # What is early for the next bar is not in these.
    return dataclasses.replace(
        loop, bars=bars, hits=tuple(hit for hit in loop.hits if hit.start <= steps - 0.5),
        remarks=(f'{name}: of its {loop.bars} bars, the first {bars} are used.',))
  if not (constraints.keep or constraints.rhythm or repeats):
    if max(constraints.keep_bars, default=-1) >= loop.bars:
      raise UserError(f'{gives}, so {field("keep_bars")} goes up to {loop.bars}.')
    return dataclasses.replace(
        loop, bars=bars, remarks=() if constraints.keep_bars else (
            f'{gives}; after that there is silence.',))
  return dataclasses.replace(
      loop, bars=bars, hits=tuple(
          hit._replace(time=(begin + hit.start) / grid.STEPS_PER_QUARTER)
          for begin in range(0, steps, length) for hit in loop.hits
          if begin + hit.start <= steps - 0.5 or begin + length <= steps),
      remarks=(f'{gives}, which repeat{"s" * (loop.bars == 1)}: bar {loop.bars + 1} is '
               'bar 1 again.',))


@contextlib.contextmanager
def numpy_seed(seed: int) -> Iterator[None]:
  """Seeds NumPy's global generator, by which TrainedModel draws latents, for a while."""
  state = np.random.get_state()
  np.random.seed(seed)
  try:
    yield
  finally:
    np.random.set_state(state)


def to_sequences(config: object, slices: np.ndarray) -> Sequence[object]:
  """Returns slices of a config as its decoded NoteSequences.

  Args:
    config: A config of drum slices.
    slices: Classes, int [loops, steps], or what a GrooveConverter's are.
  """
  converter = copy.copy(config.data_converter)
  converter.set_mode('infer')
  return converter.from_tensors(
      slices if slices.ndim == 3 else np.eye(converter.output_depth)[slices])


def how_much_was_kept(pattern: np.ndarray, loops: np.ndarray) -> str:
  """Returns a sentence about how much of a pattern its reconstructions have.

  Args:
    pattern: Classes, [steps].
    loops: The reconstructions, [loops, steps].
  """
  hits, played = patterns.hits([pattern]), patterns.hits(loops)
  right = (hits & played).sum(axis=(1, 2, 3))
  f1 = 2 * right / (hits.sum() + played.sum(axis=(1, 2, 3)))
  return (f'Of the {hits.sum()} hits that were given, the latent kept '
          f'{right.mean() / hits.sum():.0%}; '
          f'{1 - right.sum() / max(1, played.sum()):.0%} of those that are played are '
          f'others (F1 {f1.mean():.2f}).')
