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
    'kick_hi_hat_correlation': 'Correlation of the timing of kick and closed hi-hat '
                               'at the same step.',
    'auc': 'How well boosted trees that have learned from half of the performances '
           'tell the others from the drummers\'; 0.5 is not at all. The mean of six '
           'splits.',
    'auc_deviation': 'The standard deviation of that over the six splits.',
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
    step_ms: A step's milliseconds, [slices, 1, 1].
    names: The performances, [slices].
  """
  hits: np.ndarray
  velocities: np.ndarray
  microtiming: np.ndarray
  step_ms: np.ndarray
  names: list[str]


Played = tuple[np.ndarray, np.ndarray]  # Velocities and microtiming of slices.


def performances(examples_path: str, converter: Any) -> Performances:
  """Returns the Performances of a TFRecord of NoteSequences.

  In slices that do not overlap, so that each hit counts once.

  Args:
    examples_path: The TFRecord.
    converter: A GrooveConverter.

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
  hits, velocities, offsets = np.split(np.concatenate(slices), 3, axis=-1)
  # GrooveConverter's offsets are from -1 to 1 and positive for early hits.
  return Performances(hits > 0, 127 * velocities, -offsets / 2,
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


def kick_hi_hat_correlation(hits: np.ndarray, microtiming: np.ndarray) -> float:
  """Returns the correlation of the timing of kick and hi-hat at the same step."""
  kick, hat = (grid.DRUM_CLASSES.index(d) for d in ('kick', 'closed hi-hat'))
  both = hits[..., kick] & hits[..., hat]
  return correlation(microtiming[..., kick][both], microtiming[..., hat][both])


def features(hits: np.ndarray, velocities: np.ndarray, microtiming: np.ndarray
             ) -> np.ndarray:
  """Returns a classifier's inputs: [slices, features].

  For velocities and timing: the mean of each drum at each step of the bar; each
  drum's mean, its standard deviation, and that between bars.
  """
  bars = [-1, grid.BARS, grid.STEPS_PER_BAR, grid.DRUMS]
  hits = hits.reshape(bars)
  count, total = hits.sum(axis=1), hits.sum(axis=(1, 2))
  found = []
  for values in (velocities, microtiming):
    values = values.reshape(bars) * hits
    mean = values.sum(axis=1) / np.maximum(count, 1)
    overall = values.sum(axis=(1, 2)) / np.maximum(total, 1)
    def spread(about, weights):
      squares = (hits * (values - about) ** 2).sum(axis=1) * weights
      return np.sqrt(squares.sum(axis=1) / np.maximum(
          (count * weights).sum(axis=1), 1))
    repeats = count > 1
    found += [np.where(count > 0, mean, np.nan).reshape(len(mean), -1),
              np.where(total > 0, overall, np.nan),
              np.where(total > 1, spread(overall[:, np.newaxis, np.newaxis],
                                         np.ones_like(count)), np.nan),
              np.where(repeats.any(axis=1), spread(mean[:, np.newaxis], repeats),
                       np.nan)]
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
             microtiming: np.ndarray | float) -> dict[str, Any]:
  """Returns COLUMNS' numbers, and the distances of each drum.

  Args:
    reference: Performances.
    real: Their velocities and microtiming in written files. No file has a hit before
      its beginning; by such hits a classifier would recognize the drummers.
    velocities: 1 to 127, of the same hits.
    microtiming: In steps.
  """
  hits = reference.hits
  velocities, microtiming = (np.broadcast_to(x, hits.shape)
                             for x in (velocities, microtiming))
  velocity, timing = drum_distances(reference, velocities, microtiming)
  return {
      'timing_error_ms': float((np.abs(
          microtiming - reference.microtiming) * reference.step_ms)[hits].mean(
              dtype=float)),
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
      'kick_hi_hat_correlation': kick_hi_hat_correlation(hits, microtiming),
      **discriminator.auc(*(features(hits, *how) for how in (
          real, (velocities, microtiming))), reference.names),
      'drums': {name: {'hits': int(n), 'timing_distance_ms': float(t),
                       'velocity_distance': float(v)}
                for name, n, t, v in zip(
                    grid.DRUM_CLASSES, hits.sum(axis=(0, 1)), timing, velocity)}}


def written(reference: Performances, loops: Sequence[DrumLoop]) -> Played:
  """Writes loops as sample.py does, and reads the files.

  Args:
    reference: Performances of the same hits, for their tempo.
    loops: One a slice.

  Returns:
    velocities, 1 to 127, and microtiming, in steps, of each hit: two of
    [slices, 64, 9].

  Raises:
    UserError: if a file has another pattern.
  """
  sequences = [
      dataclasses.replace(loop, qpm=15_000 / step_ms).to_note_sequence()
      for loop, step_ms in zip(loops, reference.step_ms.ravel())]
  velocities, microtiming = np.zeros((2,) + reference.hits.shape)
  for i, hits in enumerate(loop_file.deliver(sequences)):
    for pitch, start, velocity in hits:
      cell = i, grid.nearest_step(start), drum_maps.drum_of_decoded(pitch)
      velocities[cell], microtiming[cell] = velocity, start - cell[1]
  if not np.array_equal(velocities > 0, reference.hits):
    raise UserError('The written loops have other patterns than the '
                        'performances; this is a fault of take.py.')
  return velocities, microtiming


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
  return written(reference, [
      dataclasses.replace(loop, hits=hits) for loop, hits in zip(
          loops, takes.play(take, [loop.hits for loop in loops]))])


def deliver_real(reference: Performances) -> Played:
  """Returns what `written` returns of what drummers played.

  A hit at the edge of its sixteenth stays in it.
  """
  return written(reference, [as_loop(hits, velocities, np.clip(
      microtiming, -takes.MAX_MICROTIMING, takes.MAX_MICROTIMING))
                             for hits, velocities, microtiming in zip(*reference[:3])])


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
          REAL: (reference.velocities, reference.microtiming),
          FLAT: (average, 0.),
          MEAN: (means(train, train.velocities), means(train, train.microtiming)),
          **rows}.items()},
      'between_files': {name: between_files(reference, *how) for name, how in {
          REAL: real, **rows}.items()},
      'between_drummers': discriminator.auc_of_drummers(
          features(reference.hits, *real), reference.names,
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
  _, places = np.unique(reference.names, return_inverse=True)
  def played(player):
    return by_performance(reference, *written(reference, [
        as_loop(hits, np.maximum(1, 127 * velocities), np.clip(
            microtiming, -takes.MAX_MICROTIMING, takes.MAX_MICROTIMING))
        for hits, velocities, microtiming in zip(
            reference.hits, *player(reference.hits, places))]))
  return mean_difference(list(zip(*(found.values() for found in map(
      played, several)))))


def by_drummer(model: groove_model.GrooveModel, kept: dict[str, np.ndarray],
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
              his, *deliver(takes.Take(model, kept, take, feel), his))
              for take in TAKES], axis=0)[:, -1].tolist()))
  return found


def report(result: dict) -> str:
  """Returns the text that `evaluate` prints."""
  lines = [f'{result["checkpoint"]}: {result["hits"]} hits in '
           f'{result["slices"]} slices of the {result["split"]} split, quantized '
           'and flattened, then given velocity and timing.', '']
  lines += reports.table(result['feel'], tuple(COLUMNS)) + ['']
  lines += [f'{name}: {meaning}' for name, meaning in COLUMNS.items()]
  if result['between_drummers']:
    lines += ['', discriminator.BETWEEN_DRUMMERS.format(**result['between_drummers'])]
  for column in ('velocity_distance', 'timing_distance_ms'):
    lines += ['', f'{column} of each drum:', '']
    lines += reports.table({
        name: {drum: values[column] for drum, values in row['drums'].items()}
        for name, row in result['feel'].items() if name != REAL}, grid.DRUM_CLASSES)
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


def as_loop(hits: np.ndarray, velocities: np.ndarray, microtiming: np.ndarray
            ) -> DrumLoop:
  """Returns a slice as a loop: three of [64, 9]."""
  return DrumLoop(tuple(
      grid.hit_at(drum, step + microtiming[step, drum],
                  max(1, int(round(velocities[step, drum]))))
      for step, drum in zip(*np.nonzero(hits))))


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
          (reference.velocities[i], reference.microtiming[i]),
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
  model = groove_model.GrooveModel(config, checkpoint)
  result = {'checkpoint': checkpoint, 'split': split,
            'slices': len(reference.hits), 'hits': int(reference.hits.sum())}
  if abilities.of(config).can(abilities.TAKES):
    kept = feel_model.load(checkpoint)
    mean, *several = (takes.Take(model, kept, take)
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
