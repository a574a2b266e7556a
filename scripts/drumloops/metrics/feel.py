"""How human the velocities and timing of a humanizer are, in numbers.

Real performances are quantized and flattened, then humanized, and compared with
what the drummer played. They are read from MIDI files such as sample.py --humanize
writes. evaluate.py prints this for configs that humanize.
"""
import collections
import dataclasses
from collections.abc import Iterable, Sequence
import itertools
import os
import warnings
from typing import Any, NamedTuple

from drumloops import abilities, grid
from drumloops.errors import UserError, stage
from drumloops.data import splits
from drumloops.humanize import feel_model
from drumloops.humanize import take as takes
from drumloops.loop import DrumLoop
from drumloops.midi import drum_maps, loop_file
from drumloops.models import groove_model
from drumloops.output import plots
from drumloops.metrics import discriminator, reports
import numpy as np

SOFT, LOUDEST = 50, 126
BACKBEATS = 4, 12
COLUMNS = {
    'timing_error_ms': 'Mean distance of a hit from where the drummer played '
                       'it, in milliseconds.',
    'velocity_error': 'Mean distance of its velocity from the drummer\'s, of '
                      '127.',
    'timing_distance_ms': 'How far the timings\' distribution is from the '
                          'drummers\' (Wasserstein distance, mean over the '
                          'drums by their hits), in milliseconds.',
    'velocity_distance': 'The same of velocities.',
    'velocity_correlation': 'Correlation with the drummer\'s velocities.',
    'bar_repetition': 'Correlation of a hit\'s velocity with that of the same '
                      'drum and step a bar before.',
    'velocity_range': 'Standard deviation of velocities, as a share of the '
                      'drummers\'.',
    'timing_range': 'The same of timing.',
    'hi_hat_correlation': 'Correlation of the velocities of closed hi-hat hits that '
                          'follow each other within a beat.',
}
HEARD = {
    'kick_hi_hat_ms': 'How far kick and closed hi-hat of a step are apart, mean, in '
                      'milliseconds.',
    'kick_hi_hat_correlation': 'Correlation of their timing.',
    'kick_ride_correlation': 'The same of kick and ride.',
    'snare_hi_hat_correlation': 'The same of snare and closed hi-hat.',
    'soft_snare': f'Share of snare hits below velocity {SOFT}.',
    'snare_off_backbeat': 'Mean velocity of the snare off the backbeat.',
    'kick_on_beat': 'Mean velocity of the kick on the beat.',
    'kick_between': 'The same on the eighth between.',
    'loudest': f'Share of velocities of {LOUDEST} and more.',
    'latest_off_beat': 'How late the latest 5 % of off-beat eighths are, in steps.',
    'more_strokes': 'Strokes of a drum in a sixteenth beside the loudest, as a share of '
                    'the hits.',
}
TOLD_APART = {
    'auc': 'How well boosted trees that have learned from half of the performances '
           'tell the others from the drummers\'; 0.5 is not at all. The mean of six '
           'splits.',
    'auc_deviation': 'The standard deviation of that over the six splits.',
    'timing_auc': 'The same by timing alone.',
    'timing_auc_deviation': 'Its deviation.',
}
TAKES = (1, 2)
REAL = 'the drummers themselves'
FLAT = 'baseline: flat and on the grid'
MEAN = 'baseline: mean of drum and step'
MEAN_TAKE = 'the mean take'
HUMANIZED = 'humanized'
OF_ONE_BEAT = 'performances of one beat by one drummer'
MIN_SLICES = 10  # Of a drummer, to compare with.
MIN_SHARED_HITS = 12  # Of two files, to compare them.


class Performances(NamedTuple):
  """Slices of performances.

  Attributes:
    hits: bool, [slices, 64, 9].
    velocities: 1 to 127 where a drum is hit, [slices, 64, 9].
    microtiming: In steps; late is more than 0. [slices, 64, 9].
    more: Velocities and microtiming of the other strokes, from the loudest on: [slices,
      64, 9, 2, strokes]; velocities are 0 where there is none.
    step_ms: A step's milliseconds, [slices, 1, 1].
    names: The performances, [slices].
  """
  hits: np.ndarray
  velocities: np.ndarray
  microtiming: np.ndarray
  more: np.ndarray
  step_ms: np.ndarray
  names: list[str]


# Velocities, microtiming and other strokes of slices: see Performances.
Played = tuple[np.ndarray, np.ndarray, np.ndarray]


def performances(examples_path: str, converter: Any) -> Performances:
  """Returns the Performances of a TFRecord of NoteSequences.

  In slices that do not overlap, so that each hit counts once.

  Args:
    examples_path: The TFRecord.
    converter: A GrooveConverter, or a StrokeConverter.

  Raises:
    UserError: if there are none.
  """
  if not os.path.isfile(examples_path):
    raise UserError(f'There is no {examples_path}; make it with '
                    f'{stage("make_tfrecord.py")}, or name another.')
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import upstream
  converter = upstream.changed(converter, hop_size=upstream.slice_bars(
      converter) * upstream.steps_per_bar(converter))
  slices, step_ms, names = [], [], []
  records = list(tf.python_io.tf_record_iterator(examples_path))
  parse = note_seq.NoteSequence.FromString
  for found, sequence in zip(packed_slices.pack_each(
      records, parse, converter, len(records)), map(parse, records)):
    slices.append(found)
    step_ms += [60_000 / sequence.tempos[0].qpm / 4] * len(found)
    names += [sequence.filename] * len(found)
  if not names:
    raise UserError(f'There is no 4-bar slice of drums in {examples_path}.')
  slices = np.concatenate(slices)
  hits, *strokes = np.split(
      slices, range(grid.DRUMS, slices.shape[-1], grid.DRUMS), axis=-1)
  strokes = np.stack(strokes[:len(strokes) // 2 * 2], axis=-1)
  strokes = strokes.reshape(*hits.shape, -1, 2).swapaxes(-1, -2)
  strokes = strokes * [[127], [-1 / 2]]  # Offsets are in half steps; early is over 0.
  return Performances(hits > 0, *strokes[..., 0].transpose(3, 0, 1, 2), strokes[..., 1:],
                      np.reshape(step_ms, [-1, 1, 1]), names)


def means(train: Performances, values: np.ndarray) -> np.ndarray:
  """Returns the mean of `values` by drum and step of a bar: [64, 9].

  The drum's mean over all steps, where `train` never hits it.

  Args:
    train: Performances.
    values: Of its hits, [slices, 64, 9].
  """
  by_step = [part.reshape(-1, grid.BARS, grid.STEPS_PER_BAR, grid.DRUMS)
             for part in (values * train.hits, train.hits)]
  total, count = (part.sum(axis=(0, 1)) for part in by_step)
  overall = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
  mean = np.where(count > 0, total / np.maximum(count, 1), overall)
  return np.tile(mean, [grid.BARS, 1])


def repetition(hits: np.ndarray, velocities: np.ndarray) -> float:
  """Returns the correlation of velocities with those a bar before."""
  shape = [-1, grid.BARS, grid.STEPS_PER_BAR, grid.DRUMS]
  hits, velocities = hits.reshape(shape), velocities.reshape(shape)
  both = hits[:, 1:] & hits[:, :-1]
  return correlation(velocities[:, 1:][both], velocities[:, :-1][both])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
  """Returns the correlation of two arrays; 0 where one is constant, or empty."""
  return (float(np.corrcoef(a, b)[0, 1])
          if len(a) and np.ptp(a) and np.ptp(b) else 0.)


def hi_hat_correlation(hits: np.ndarray, velocities: np.ndarray) -> float:
  """Returns the correlation of velocities of hi-hat hits that follow within a beat."""
  hat = grid.DRUM_CLASSES.index('closed hi-hat')
  pairs = [np.empty([0, 2])]
  for hit, velocity in zip(hits[..., hat], velocities[..., hat]):
    steps = np.flatnonzero(hit)
    first, then = steps[:-1], steps[1:]
    near = then - first <= grid.STEPS_PER_QUARTER
    pairs.append(np.stack([velocity[first[near]], velocity[then[near]]], axis=1))
  return correlation(*np.concatenate(pairs).T)


def heard(reference: Performances, velocities: np.ndarray, microtiming: np.ndarray,
          more: np.ndarray) -> dict[str, float]:
  """Returns HEARD's numbers of hits of `reference`, however they are played."""
  hits, step_ms = reference.hits, reference.step_ms[..., 0]
  step = np.arange(hits.shape[1]) % grid.STEPS_PER_BAR
  kick, snare, hat, ride = map(
      grid.DRUM_CLASSES.index, ('kick', 'snare', 'closed hi-hat', 'ride'))
  def together(a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    both = hits[..., a] & hits[..., b]
    return microtiming[..., a][both], microtiming[..., b][both]
  def mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=float)) if values.size else 0.
  def of(drum: int, steps: np.ndarray) -> np.ndarray:
    return velocities[..., drum][hits[..., drum] & steps]
  off_beats = microtiming[hits & (step % 4 == 2)[:, np.newaxis]]
  apart = np.abs(microtiming[..., kick] - microtiming[..., hat]) * step_ms
  return {
      'kick_hi_hat_ms': mean(apart[hits[..., kick] & hits[..., hat]]),
      'kick_hi_hat_correlation': correlation(*together(kick, hat)),
      'kick_ride_correlation': correlation(*together(kick, ride)),
      'snare_hi_hat_correlation': correlation(*together(snare, hat)),
      'soft_snare': mean(of(snare, step >= 0) < SOFT),
      'snare_off_backbeat': mean(of(snare, ~np.isin(step, BACKBEATS))),
      'kick_on_beat': mean(of(kick, step % 4 == 0)),
      'kick_between': mean(of(kick, step % 4 == 2)),
      'loudest': mean(velocities[hits] >= LOUDEST),
      'latest_off_beat': float(np.quantile(off_beats, 0.95)) if off_beats.size else 0.,
      'more_strokes': float((more[..., 0, :] > 0).sum() / hits.sum())}


def features(hits: np.ndarray, velocities: np.ndarray, microtiming: np.ndarray,
             more: np.ndarray, step_ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns a classifier's inputs: of all, and of timing alone; [slices, features].

  NaN is where there is nothing to measure.
  """
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', RuntimeWarning)  # Of means of nothing.
    return _all_features(hits, velocities, microtiming, more, step_ms)


def _all_features(hits, velocities, microtiming, more, step_ms):
  shares = _share(more[..., 0, :].any(axis=-1), hits)
  by_kind = [_features(hits, values) for values in (velocities, microtiming)]
  step = np.arange(hits.shape[1]) % grid.STEPS_PER_BAR
  snare = grid.DRUM_CLASSES.index('snare')
  places = [step % 4 == 0, step % 4 == 2, step % 2 == 1]
  levels = [np.nanmean(np.where(hits & place[:, np.newaxis], velocities, np.nan), axis=1)
            for place in (*places, ~np.isin(step, BACKBEATS))]
  loud = [_share(velocities >= LOUDEST, hits),
          _share(velocities < SOFT, hits)[:, snare:snare + 1]]
  late = [np.nanquantile(np.where(hits & place[:, np.newaxis], microtiming, np.nan),
                         [.05, .5, .95], axis=(1, 2)).T for place in places]
  late.append(np.nanmean(np.where(hits, np.abs(microtiming) * step_ms, np.nan), axis=1))
  timing = np.concatenate([by_kind[1], *late], axis=1)
  return np.concatenate([by_kind[0], *levels, *loud, shares, timing], axis=1), timing


def _share(which, hits):
  """Returns each drum's share of hits, [slices, 9]; NaN without hits."""
  return (which & hits).sum(axis=1) / np.where(hits.any(axis=1), hits.sum(axis=1), np.nan)


def _features(hits, values):
  """Returns features of velocities, or of microtiming: [slices, features].

  Each drum's mean at each step of the bar; its mean, deviation and quantiles; how it
  differs from bar to bar and from hit to hit; and how drums of a step differ.
  """
  values = np.where(hits, values, np.nan)
  bars = values.reshape(len(hits), grid.BARS, grid.STEPS_PER_BAR, grid.DRUMS)
  change = bars[:, 1:] - bars[:, :-1]
  found = [np.nanmean(bars, axis=1).reshape(len(hits), -1), np.nanmean(values, axis=1),
           np.nanstd(values, axis=1), np.nanmean(np.nanstd(bars, axis=1), axis=1),
           np.nanmean(change, axis=(1, 2)), np.nanmean(np.abs(change), axis=(1, 2)),
           np.nanmax(np.abs(change), axis=(1, 2))]
  found += list(np.nanquantile(values, [.05, .25, .5, .75, .95], axis=1))
  in_rows = np.full([len(hits), grid.DRUMS, 4], np.nan)
  for i, d in np.argwhere(hits.sum(axis=1) > 2):
    played = values[i, hits[i, :, d], d]
    steps = np.diff(played)
    in_rows[i, d] = (np.abs(steps).mean(), np.median(np.abs(steps)),
                     np.abs(played[2:] - played[:-2]).mean(),
                     (steps[1:] * steps[:-1]).mean() / max(steps.var(), 1e-6))
  found.append(in_rows.reshape(len(hits), -1))
  for a, b in itertools.combinations(range(grid.DRUMS), 2):
    apart = values[..., a] - values[..., b]
    found.append(np.stack([np.nanmean(apart, axis=1), np.nanmean(np.abs(apart), axis=1),
                           np.nanstd(apart, axis=1)], axis=1))
  return np.concatenate(found, axis=1)


def distances(real: np.ndarray, values: np.ndarray, hits: np.ndarray) -> list[float]:
  """Returns the Wasserstein distance of each drum's values: [9].

  Args:
    real: The drummers' values, [slices, 64, 9].
    values: Others, of the same hits.
    hits: Which of them count.
  """
  from scipy import stats
  return [stats.wasserstein_distance(
      real[..., d][hits[..., d]], values[..., d][hits[..., d]])
          if hits[..., d].any() else 0. for d in range(grid.DRUMS)]


def drum_distances(reference: Performances, velocities: np.ndarray,
                   microtiming: np.ndarray) -> np.ndarray:
  """Returns `distances` of velocity, of 127, and of timing, in ms: [2, 10].

  Of each drum, then the mean over the drums, by their hits.
  """
  hits, ms = reference.hits, reference.step_ms
  weights = hits.sum(axis=(0, 1)) / hits.sum()
  found = [distances(*pair, hits) for pair in (
      (reference.velocities, velocities),
      (reference.microtiming * ms, microtiming * ms))]
  return np.array([[*drums, weights @ drums] for drums in found])


def describe(reference: Performances, real: Played, velocities: np.ndarray | float,
             microtiming: np.ndarray | float, more: np.ndarray | None = None
             ) -> dict[str, Any]:
  """Returns the numbers of COLUMNS, HEARD and TOLD_APART, and those of each drum.

  Args:
    reference: Performances.
    real: How they are played in written files. No file has a hit before its beginning;
      by such hits a classifier would recognize the drummers.
    velocities: 1 to 127, of the same hits.
    microtiming: In steps.
    more: Of other strokes; None for none.
  """
  hits, step_ms = reference.hits, reference.step_ms
  velocities, microtiming = (np.broadcast_to(x, hits.shape)
                             for x in (velocities, microtiming))
  more = np.zeros_like(reference.more) if more is None else more
  velocity, timing = drum_distances(reference, velocities, microtiming)
  inputs = [features(hits, *how, step_ms) for how in (
      real, (velocities, microtiming, more))]
  aucs = [discriminator.auc(*pair, reference.names) for pair in zip(*inputs)]
  def strokes(more: np.ndarray) -> np.ndarray:
    return (more[..., 0, :] > 0).sum(axis=(0, 1, 3))
  return {
      'timing_error_ms': float((np.abs(
          microtiming - reference.microtiming) * step_ms)[hits].mean(dtype=float)),
      'velocity_error': float(np.abs(
          velocities - reference.velocities)[hits].mean(dtype=float)),
      'timing_distance_ms': float(timing[-1]),
      'velocity_distance': float(velocity[-1]),
      'velocity_correlation': correlation(
          velocities[hits], reference.velocities[hits]),
      'bar_repetition': repetition(hits, velocities),
      'velocity_range': float(
          velocities[hits].std() / reference.velocities[hits].std()),
      'timing_range': float(
          microtiming[hits].std() / reference.microtiming[hits].std()),
      'hi_hat_correlation': hi_hat_correlation(hits, velocities),
      **heard(reference, velocities, microtiming, more),
      **dict(zip(TOLD_APART, [value for auc in aucs for value in auc.values()])),
      'drums': {name: {'hits': int(n), 'timing_distance_ms': float(t),
                       'velocity_distance': float(v), 'more_strokes': int(k),
                       'more_strokes_of_drummers': int(own)}
                for name, n, t, v, k, own in zip(
                    grid.DRUM_CLASSES, hits.sum(axis=(0, 1)), timing, velocity,
                    strokes(more), strokes(reference.more))}}


def written(reference: Performances, loops: Sequence[DrumLoop]) -> Played:
  """Writes loops as sample.py does, and reads the files.

  Args:
    reference: Performances of the same hits, for their tempo.
    loops: One a slice.

  Returns:
    How each hit is played.

  Raises:
    UserError: if a file has another pattern.
  """
  sequences = [
      dataclasses.replace(loop, qpm=15_000 / step_ms).to_note_sequence()
      for loop, step_ms in zip(loops, reference.step_ms.ravel())]
  strokes = np.zeros(reference.hits.shape + (2, 1 + reference.more.shape[-1]))
  for i, hits in enumerate(loop_file.deliver(sequences)):
    cells_ = collections.defaultdict(list)
    for pitch, start, velocity in hits:
      cell = grid.nearest_step(start), drum_maps.drum_of_decoded(pitch)
      cells_[cell].append((velocity, start - cell[0]))
    for cell, found in cells_.items():
      found = sorted(found, key=lambda stroke: -stroke[0])[:strokes.shape[-1]]
      strokes[i, *cell, :, :len(found)] = np.transpose(found)
  if not np.array_equal(strokes[..., 0, 0] > 0, reference.hits):
    raise UserError('The written loops have other patterns than the '
                        'performances; this is a fault of take.py.')
  return strokes[..., 0, 0], strokes[..., 1, 0], strokes[..., 1:]


def between_files(reference: Performances, velocities: np.ndarray,
                  microtiming: np.ndarray) -> dict[str, float]:
  """Returns how alike files are played: {'velocity', 'timing': correlation}.

  Of the first slices of any two performances, at the hits that both have, on average.
  """
  _, first = np.unique(reference.names, return_index=True)
  found = {'velocity': [], 'timing': []}
  for i, j in itertools.combinations(first, 2):
    both = reference.hits[i] & reference.hits[j]
    if both.sum() >= MIN_SHARED_HITS:
      for values, correlations in zip((velocities, microtiming), found.values()):
        correlations.append(correlation(values[i][both], values[j][both]))
  return {name: float(np.mean(values)) if values else 0.
          for name, values in found.items()}


def deliver(take: takes.Take, reference: Performances) -> Played:
  """Humanizes slices as sample.py does; returns what `written` returns.

  Of the reference, only the hits and the tempo are used.
  """
  loops = [as_loop(hits, np.full(hits.shape, 80), np.zeros(hits.shape))
           for hits in reference.hits]
  played = takes.play(take, [loop.hits for loop in loops],
                      qpm=15_000 / reference.step_ms.ravel())
  return written(reference, [
      dataclasses.replace(loop, hits=(*hits, *(added.hit for added in ornaments)))
      for loop, (hits, ornaments) in zip(loops, played)])


def deliver_real(reference: Performances) -> Played:
  """Returns what `written` returns of what drummers played.

  A stroke at the edge of its sixteenth stays in it.
  """
  def inside(microtiming: np.ndarray) -> np.ndarray:
    return np.clip(microtiming, -takes.MAX_MICROTIMING, takes.MAX_MICROTIMING)
  return written(reference, [
      as_loop(hits, velocities, inside(microtiming), np.stack(
          [more[..., 0, :], inside(more[..., 1, :])], axis=-2))
      for hits, velocities, microtiming, more in zip(*reference[:4])])


def compare(rows: dict[str, Played], train: Performances, reference: Performances
            ) -> dict[str, Any]:
  """Returns the numbers of humanized performances, the drummers' and baselines'.

  Args:
    rows: {name: what `deliver` returned}.
    train: Performances of the train split.
    reference: Those of the evaluated one.

  Returns:
    {'feel': {name: what `describe` returns}, 'between_files': {name: what
    `between_files` returns}, 'between_drummers': what
    `discriminator.auc_of_drummers` returns}.
  """
  real = deliver_real(reference)
  average = train.velocities[train.hits].mean(dtype=float)
  return {
      'feel': {name: describe(reference, real, *how) for name, how in {
          REAL: real,
          FLAT: (average, 0.),
          MEAN: (means(train, train.velocities), means(train, train.microtiming)),
          **rows}.items()},
      'between_files': {name: between_files(reference, *how[:2]) for name, how in {
          REAL: real, **rows}.items()},
      'between_drummers': discriminator.auc_of_drummers(
          features(reference.hits, *real, reference.step_ms)[0], reference.names,
          list(map(feel_model.drummer_of, reference.names)))}


def cells(hits: np.ndarray, velocities: np.ndarray, ms: np.ndarray
          ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns counts and mean values of a bar's cells: three of [16, 9]."""
  shape = [-1, grid.STEPS_PER_BAR, grid.DRUMS]
  hits, velocities, ms = (x.reshape(shape) for x in (hits, velocities, ms))
  count = hits.sum(axis=0)
  return (count, *((x * hits).sum(axis=0) / np.maximum(count, 1)
                   for x in (velocities, ms)))


def difference(a: Sequence[np.ndarray], b: Sequence[np.ndarray]
               ) -> list[float] | None:
  """Returns how two performances differ in velocity (of 127) and timing (ms).

  The mean distance of what `cells` returned, over cells that both hit 3 times or more,
  by how often they do. None if there are fewer than 8 such cells.
  """
  count = np.minimum(a[0], b[0])
  count = np.where(count >= 3, count, 0)
  if (count > 0).sum() < 8:
    return None
  return [float(np.average(np.abs(x - y), weights=count))
          for x, y in zip(a[1:], b[1:])]


def by_performance(performances: Performances, velocities: np.ndarray,
                   microtiming: np.ndarray) -> dict[str, tuple]:
  """Returns {performance: what `cells` returns of it}."""
  names, ms = np.array(performances.names), microtiming * performances.step_ms
  return {name: cells(*(x[names == name] for x in (
      performances.hits, velocities, ms))) for name in sorted(set(names))}


def takes_of_drummers(all_performances: Iterable[Performances]) -> dict | None:
  """Returns how performances of one beat by one drummer differ, on average.

  Of one beat are GMD's files of a drummer with the same style and tempo.

  Args:
    all_performances: Performances of every split.

  Returns:
    {'velocity', 'timing_ms', 'pairs'}; None where there are no such pairs.
  """
  beats = collections.defaultdict(list)
  for performances in all_performances:
    for name, found in by_performance(performances, *performances[1:3]).items():
      _, style, tempo, kind, *_ = [*os.path.basename(name).split('_'), '', '', '', '']
      if kind == 'beat':
        beats[feel_model.drummer_of(name), style, tempo].append(found)
  return mean_difference([pair for found in beats.values()
                          for pair in itertools.combinations(found, 2)])


def mean_difference(pairs: Iterable[tuple]) -> dict | None:
  """Returns the mean of `difference`: {'velocity', 'timing_ms', 'pairs'}, or None."""
  found = [d for d in (difference(*pair) for pair in pairs) if d]
  return found and dict(zip(('velocity', 'timing_ms', 'pairs'), [
      *map(float, np.mean(found, axis=0)), len(found)])) or None


def takes_of_one(several: Sequence[takes.Take], reference: Performances
                 ) -> dict | None:
  """Returns the `mean_difference` of two takes of the same performances' hits.

  Args:
    several: Two takes.
    reference: Performances; all slices of one are a pattern.
  """
  names = np.array(reference.names)
  rows = [np.flatnonzero(names == name) for name in dict.fromkeys(names)]
  sections = [takes.Section(np.concatenate(reference.hits[own]), i,
                            15_000 / reference.step_ms[own[0], 0, 0])
              for i, own in enumerate(rows)]
  found = []
  for take in several:
    first = np.zeros([2, *reference.hits.shape])
    for own, played in zip(rows, take(sections)):
      first[:, own] = played[0].reshape(2, len(own), -1, grid.DRUMS)
    found.append(by_performance(reference, 127 * first[0], first[1]))
  return mean_difference(list(zip(*(part.values() for part in found))))


def by_drummer(model: groove_model.StrokeModel, kept: dict[str, np.ndarray],
               reference: Performances) -> dict[str, dict[str, dict[str, float]]]:
  """Returns how near takes come to each drummer, with his feel and with anyone's.

  Of the hits that he played, the mean over TAKES.

  Args:
    model: The model.
    kept: What `feel_model.load` returned.
    reference: Performances.

  Returns:
    {'anyone' or 'named': {drummer: {'velocity_distance', 'timing_distance_ms'}}}.
  """
  drummers = np.array([feel_model.drummer_of(name) for name in reference.names])
  found = {'anyone': {}, 'named': {}}
  for drummer in kept['names']:
    rows = np.flatnonzero(drummers == drummer)
    if len(rows) < MIN_SLICES:
      continue
    his = Performances(*(part[rows] for part in reference[:-1]),
                       [reference.names[i] for i in rows])
    for who, feel in (('anyone', None), ('named', feel_model.gaussian(kept, drummer))):
      found[who][str(drummer)] = dict(zip(
          ('velocity_distance', 'timing_distance_ms'), np.mean([drum_distances(
              his, *deliver(takes.Take(model, kept, take, feel), his)[:2])
              for take in TAKES], axis=0)[:, -1].tolist()))
  return found


def report(result: dict) -> str:
  """Returns the text that `evaluate` prints."""
  lines = [f'{result["checkpoint"]}: {result["hits"]} hits in '
           f'{result["slices"]} slices of the {result["split"]} split, quantized '
           'and flattened, then given velocity and timing.', '']
  for columns in (COLUMNS, HEARD, TOLD_APART):
    lines += [*reports.table(result['feel'], tuple(columns)), '']
    lines += [*(f'{name}: {meaning}' for name, meaning in columns.items()), '']
  if result['between_drummers']:
    lines += [discriminator.BETWEEN_DRUMMERS.format(**result['between_drummers'])]
  for column in ('velocity_distance', 'timing_distance_ms', 'more_strokes'):
    lines += ['', f'{column} of each drum:', '']
    lines += reports.table({
        name: {drum: values[column] for drum, values in row['drums'].items()}
        for name, row in result['feel'].items()}, grid.DRUM_CLASSES)
  differences = {k: v for k, v in result.get('takes', {}).items() if v}
  if differences:
    lines += ['', 'How much differs, by drum and step of the bar: velocity of 127, '
              'timing in milliseconds:', '', *reports.table(
                  differences, ('velocity', 'timing_ms', 'pairs'))]
  lines += ['', 'How alike any two files are played, as the correlation of what both '
            'have hits of:', '', *reports.table(
                result['between_files'], ('velocity', 'timing'))]
  drummers = result.get('drummers', {}).get('named')
  for column in ('velocity_distance', 'timing_distance_ms') if drummers else ():
    lines += ['', f'{column} from each drummer, whoever plays or if he is named:', '',
              *reports.table({who: {name: row[column] for name, row in rows.items()}
                              for who, rows in result['drummers'].items()},
                             tuple(drummers))]
  return '\n'.join(lines)


def ghost_slice(reference: Performances) -> int:
  """Returns the index of the slice whose snare has most accents and ghost notes.

  Of those with a snare hit a beat, it has the widest spread of velocities.
  """
  hits = reference.hits[..., grid.DRUM_CLASSES.index('snare')]
  velocities = reference.velocities[..., grid.DRUM_CLASSES.index('snare')]
  count = hits.sum(axis=1)
  mean = (velocities * hits).sum(axis=1) / np.maximum(count, 1)
  spread = (hits * (velocities - mean[:, np.newaxis]) ** 2).sum(axis=1)
  return int(np.argmax(np.where(
      count >= 4 * grid.BARS, spread / np.maximum(count, 1), 0)))


def as_loop(hits: np.ndarray, velocities: np.ndarray, microtiming: np.ndarray,
            more: np.ndarray | None = None) -> DrumLoop:
  """Returns a slice as a loop: three of [64, 9], and of other strokes or None."""
  found = []
  for step, drum in zip(*np.nonzero(hits)):
    strokes = [(velocities[step, drum], microtiming[step, drum])]
    strokes += [] if more is None else more[step, drum].T.tolist()
    found += [grid.hit_at(drum, step + late, max(1, int(round(velocity))))
              for velocity, late in strokes if velocity]
  return DrumLoop(tuple(found))


def plot(train: Performances, reference: Performances, played: dict[str, Played]
         ) -> Any:
  """Returns a matplotlib figure: distributions, and a slice played in several ways.

  Args:
    train: Performances of the train split.
    reference: Those of the evaluated one.
    played: {name: what `deliver` returned}.
  """
  from matplotlib.figure import Figure
  figure = Figure(figsize=(plots.WIDTH, 6 + 2.4 * len(played)), layout='constrained')
  top, bottom = figure.subfigures(2, 1, height_ratios=[3, 3 + 2.4 * len(played)])
  _plot_distributions(top.subplots(1, 4), train, reference, *next(iter(played.items())))
  i = ghost_slice(reference)
  hits = reference.hits[i]
  average = train.velocities[train.hits].mean()
  ways = {
      f'As the drummer played it ({os.path.basename(reference.names[i])})':
          [part[i] for part in reference[1:4]],
      'Quantized and flattened: all that the model is told':
          (np.full(hits.shape, average), np.zeros(hits.shape)),
      **{name.capitalize(): [part[i] for part in how]
         for name, how in played.items()}}
  for axis, (title, how) in zip(bottom.subplots(len(ways), 1), ways.items()):
    plots.drum_grid(axis, as_loop(hits, *how).hits, title=title)
  return figure


def _plot_distributions(axes, train, reference, name, how):
  """Draws histograms of the snare's and the hi-hat's velocities and microtiming."""
  for i, drum in enumerate(('snare', 'closed hi-hat')):
    d = grid.DRUM_CLASSES.index(drum)
    hits = reference.hits[..., d]
    for axis, unit, bins, real, ours, mean in (
        (axes[2 * i], 'velocity', np.arange(0, 129, 8), reference.velocities, how[0],
         means(train, train.velocities)),
        (axes[2 * i + 1], 'steps late', np.linspace(-0.5, 0.5, 26),
         reference.microtiming, how[1], means(train, train.microtiming))):
      for values, colour, style, label in (
          (real, 'black', '-', 'drummers'), (ours, plots.BLUE, '-', name),
          (np.broadcast_to(mean, real.shape), plots.ORANGE, ':',
           'mean of drum, step')):
        axis.hist(values[..., d][hits], bins, histtype='step', color=colour,
                  linestyle=style, linewidth=1.5, label=label)
      axis.set_title(drum, fontsize=10, loc='left')
      axis.set_xlabel(unit, fontsize=8)
      axis.set_yticks([])
      axis.tick_params(labelsize=8)
      axis.spines[['top', 'right', 'left']].set_visible(False)
  axes[0].legend(fontsize=7)


def evaluate(config: Any, checkpoint: str, examples_path: str, split: str,
             output_dir: str | None = None) -> dict:
  """Evaluates a humanizer and prints the report; returns all numbers.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    examples_path: TFRecord of the train split, beside which the others lie.
    split: The split with which to compare.
    output_dir: Where to write evaluation.json and evaluation.png, if anywhere.

  Raises:
    UserError: if there are no such data, or the checkpoint is of another config.
  """
  # First, for they are read by forked processes, which can't use a GPU's session.
  of_split = {s: performances(splits.split_path(examples_path, s),
                              config.data_converter) for s in ('train', split)}
  train, reference = of_split['train'], of_split[split]
  model = groove_model.load(config, checkpoint)
  result = {'checkpoint': checkpoint, 'split': split,
            'slices': len(reference.hits), 'hits': int(reference.hits.sum())}
  if abilities.of(config).can(abilities.TAKES):
    kept = feel_model.load(checkpoint)
    mean, *several = (takes.Take(model, kept, take, ornaments=float(take > 0))
                      for take in (takes.MEAN_TAKE, *TAKES))
    played = {f'take {n}': deliver(take, reference)
              for n, take in zip(TAKES, several)}
    rows = {MEAN_TAKE: deliver(mean, reference), **played}
    result['takes'] = {
        OF_ONE_BEAT: takes_of_drummers(of_split.values()),
        'takes of one pattern': takes_of_one(several, reference)}
    result['drummers'] = by_drummer(model, kept, reference)
  else:
    rows = played = {HUMANIZED: deliver(takes.Take(model), reference)}
  result.update(compare(rows, train, reference))
  print(report(result))
  if output_dir:
    reports.write_evaluation(output_dir, result, {'evaluation.png': plot(
        train, reference, played)})
  return result
