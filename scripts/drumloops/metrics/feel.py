"""Says in numbers how human the dynamics and timing of a humanizer are.

Real performances are quantized and flattened, then humanized, and compared with
what the drummer did. What is measured are the MIDI files that sample.py
--humanize writes. evaluate.py prints this for configs that humanize.
"""
import collections
import os

from drumloops import cli, data_splits, grid, humanizing, loop_midi, midi, plots
from drumloops.metrics import reports
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
}
REAL = 'the drummers themselves'
FLAT = 'baseline: flat and on the grid'
MEAN = 'baseline: mean of drum and step'
HUMANIZED = 'humanized'
# Slices of performances. hits: bool, [slices, 64, 9]. velocities: 1 to 127
# where a drum plays. microtiming: in steps. step_ms: a step's milliseconds,
# [slices, 1, 1].
Performances = collections.namedtuple(
    'Performances', 'hits velocities microtiming step_ms names')


def performances(examples_path, converter):
  """Returns the Performances of a TFRecord of NoteSequences.

  In slices that do not overlap, so that each hit counts once.

  Raises:
    cli.UserError: if there are none.
  """
  if not os.path.isfile(examples_path):
    raise cli.UserError(f'There is no {examples_path}; make it with '
                        'scripts/make_tfrecord.py, or name another.')
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import upstream
  converter = upstream.changed(converter, hop_size=upstream.slice_bars(
      converter) * upstream.steps_per_bar(converter))
  slices, step_ms, names = [], [], []
  for record in tf.python_io.tf_record_iterator(examples_path):
    sequence = note_seq.NoteSequence.FromString(record)
    found = packed_slices.pack(sequence, converter)
    slices.append(found)
    step_ms += [60_000 / sequence.tempos[0].qpm / 4] * len(found)
    names += [sequence.filename] * len(found)
  if not names:
    raise cli.UserError(
        f'There is no 4-bar slice of drums in {examples_path}.')
  hits, velocities, offsets = np.split(np.concatenate(slices), 3, axis=-1)
  # GrooveConverter's offsets are from -1 to 1 and positive for early hits.
  return Performances(hits > 0, 127 * velocities, -offsets / 2,
                      np.reshape(step_ms, [-1, 1, 1]), names)


def means(train, values):
  """Returns the mean of `values` by drum and step of a bar: [64, 9].

  Where the drum never plays in `train`, its mean over all steps.
  """
  by_step = [part.reshape(-1, grid.BARS, grid.STEPS_PER_BAR, grid.DRUMS)
             for part in (values * train.hits, train.hits)]
  total, count = (part.sum(axis=(0, 1)) for part in by_step)
  overall = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
  mean = np.where(count > 0, total / np.maximum(count, 1), overall)
  return np.tile(mean, [grid.BARS, 1])


def repetition(hits, velocities):
  """Returns the correlation of velocities with those a bar before."""
  shape = [-1, grid.BARS, grid.STEPS_PER_BAR, grid.DRUMS]
  hits, velocities = hits.reshape(shape), velocities.reshape(shape)
  both = hits[:, 1:] & hits[:, :-1]
  return correlation(velocities[:, 1:][both], velocities[:, :-1][both])


def correlation(a, b):
  """Returns the correlation of two arrays; 0 where one is constant."""
  return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.


def distances(real, values, hits):
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


def describe(reference, velocities, microtiming):
  """Returns COLUMNS' numbers, and the distances of each drum."""
  hits = reference.hits
  velocities, microtiming = (np.broadcast_to(x, hits.shape)
                          for x in (velocities, microtiming))
  ms, real_ms = (x * reference.step_ms
                 for x in (microtiming, reference.microtiming))
  timing, velocity = (distances(*pair, hits) for pair in (
      (real_ms, ms), (reference.velocities, velocities)))
  weights = hits.sum(axis=(0, 1)) / hits.sum()
  return {
      'timing_error_ms': float(np.abs(ms - real_ms)[hits].mean(dtype=float)),
      'velocity_error': float(np.abs(
          velocities - reference.velocities)[hits].mean(dtype=float)),
      'timing_distance_ms': float(weights @ timing),
      'velocity_distance': float(weights @ velocity),
      'velocity_correlation': correlation(
          velocities[hits], reference.velocities[hits]),
      'bar_repetition': repetition(hits, velocities),
      'drums': {name: {'hits': int(n), 'timing_distance_ms': float(t),
                       'velocity_distance': float(v)}
                for name, n, t, v in zip(
                    grid.DRUM_CLASSES, hits.sum(axis=(0, 1)), timing, velocity)}}


def deliver(humanizer, reference):
  """Humanizes slices as sample.py does, and reads the files it would write.

  Args:
    humanizer: A humanizing.Humanizer.
    reference: Performances, of which only the hits and the tempo are used.

  Returns:
    velocities, 1 to 127, and microtiming, in steps, of each hit: two of
    [slices, 64, 9].

  Raises:
    cli.UserError: if a file has another pattern.
  """
  flat = [as_sequence(hits, np.full(hits.shape, 80), np.zeros(hits.shape))
          for hits in reference.hits]
  loops = [loop_midi.as_loop(sequence, 15_000 / step_ms)
           for sequence, step_ms in zip(
               humanizing.humanize_loops(flat, humanizer),
               reference.step_ms.ravel())]
  velocities, microtiming = np.zeros((2,) + reference.hits.shape)
  for i, hits in enumerate(loop_midi.deliver(loops)):
    for pitch, start, velocity in hits:
      cell = i, grid.nearest_step(start), grid.class_of_pitch(pitch)
      velocities[cell], microtiming[cell] = velocity, start - cell[1]
  if not np.array_equal(velocities > 0, reference.hits):
    raise cli.UserError('The written loops have other patterns than the '
                        'performances; this is a fault of humanizing.py.')
  return velocities, microtiming


def compare(delivered, train, reference):
  """Returns {REAL, the baselines and HUMANIZED: `describe`'s numbers}.

  Args:
    delivered: What `deliver` returned.
    train: Performances of the train split.
    reference: Those of the evaluated one.
  """
  average = train.velocities[train.hits].mean(dtype=float)
  return {
      REAL: describe(reference, reference.velocities, reference.microtiming),
      FLAT: describe(reference, average, 0.),
      MEAN: describe(reference, means(train, train.velocities),
                     means(train, train.microtiming)),
      HUMANIZED: describe(reference, *delivered)}


def report(result):
  """Returns the text that `evaluate` prints."""
  lines = [f'{result["checkpoint"]}: {result["hits"]} hits in '
           f'{result["slices"]} slices of the {result["split"]} split, quantized '
           'and flattened, then given velocity and timing.', '']
  lines += reports.table(result['feel'], tuple(COLUMNS)) + ['']
  lines += [f'{name}: {meaning}' for name, meaning in COLUMNS.items()]
  for column in ('velocity_distance', 'timing_distance_ms'):
    lines += ['', f'{column} of each drum:', '']
    lines += reports.table({
        name: {drum: values[column] for drum, values in row['drums'].items()}
        for name, row in result['feel'].items() if name != REAL}, grid.DRUM_CLASSES)
  return '\n'.join(lines)


def ghost_slice(reference):
  """Returns the index of the slice whose snare has most accents and ghost notes.

  The one with the widest spread of velocities, of those with a snare hit a beat.
  """
  hits = reference.hits[..., grid.DRUM_CLASSES.index('snare')]
  velocities = reference.velocities[..., grid.DRUM_CLASSES.index('snare')]
  count = hits.sum(axis=1)
  mean = (velocities * hits).sum(axis=1) / np.maximum(count, 1)
  spread = (hits * (velocities - mean[:, np.newaxis]) ** 2).sum(axis=1)
  return int(np.argmax(np.where(
      count >= 4 * grid.BARS, spread / np.maximum(count, 1), 0)))


def as_sequence(hits, velocities, microtiming):
  """Returns a NoteSequence of one slice: three of [64, 9]."""
  import note_seq
  from magenta.models.music_vae import data
  sequence = note_seq.NoteSequence()
  sequence.tempos.add(qpm=midi.DEFAULT_QPM)
  step_seconds = 60 / midi.DEFAULT_QPM / 4
  for step, drum in zip(*np.nonzero(hits)):
    start = (step + microtiming[step, drum]) * step_seconds
    sequence.notes.add(
        pitch=data.ROLAND_DRUM_PITCH_CLASSES[drum][0], is_drum=True,
        instrument=9, velocity=int(round(velocities[step, drum])),
        start_time=start, end_time=start + step_seconds)
  return sequence


def plot(train, reference, velocities, microtiming):
  """Returns a figure: distributions, and a slice played in three ways."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(plots.WIDTH, 10), layout='constrained')
  top, bottom = figure.subfigures(2, 1, height_ratios=[3, 7])
  axes = top.subplots(1, 4)
  hits = reference.hits
  for i, drum in enumerate(('snare', 'closed hi-hat')):
    d = grid.DRUM_CLASSES.index(drum)
    mask = hits[..., d]
    for axis, unit, bins, real, ours, mean in (
        (axes[2 * i], 'velocity', np.arange(0, 129, 8), reference.velocities,
         velocities, means(train, train.velocities)),
        (axes[2 * i + 1], 'steps late', np.linspace(-0.5, 0.5, 26),
         reference.microtiming, microtiming, means(train, train.microtiming))):
      mean = np.broadcast_to(mean, hits.shape)
      for values, colour, style, label in (
          (real, 'black', '-', 'drummers'), (ours, plots.BLUE, '-', 'humanized'),
          (mean, plots.ORANGE, ':', 'mean of drum, step')):
        axis.hist(values[..., d][mask], bins, histtype='step', color=colour,
                  linestyle=style, linewidth=1.5, label=label)
      axis.set_title(drum, fontsize=10, loc='left')
      axis.set_xlabel(unit, fontsize=8)
      axis.set_yticks([])
      axis.tick_params(labelsize=8)
      axis.spines[['top', 'right', 'left']].set_visible(False)
  axes[0].legend(fontsize=7)
  i = ghost_slice(reference)
  average = train.velocities[train.hits].mean()
  for axis, title, how in zip(
      bottom.subplots(3, 1),
      (f'As the drummer played it ({os.path.basename(reference.names[i])})',
       'Quantized and flattened: all that the model is told', 'Humanized'),
      ((reference.velocities[i], reference.microtiming[i]),
       (np.full(hits.shape[1:], average), np.zeros(hits.shape[1:])),
       (velocities[i], microtiming[i]))):
    plots.drum_grid(axis, loop_midi.hits(as_sequence(hits[i], *how)), title=title)
  return figure


def evaluate(config, checkpoint, examples_path, split, output_dir=None):
  """Evaluates a humanizer and prints the report; returns all numbers.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    examples_path: TFRecord of the train split, beside which the others lie.
    split: The split with which to compare.
    output_dir: Where to write evaluation.json and evaluation.png, if anywhere.
  """
  humanizer = humanizing.Humanizer(config, checkpoint)
  train, reference = (performances(
      data_splits.split_path(examples_path, s), config.data_converter)
                      for s in ('train', split))
  delivered = deliver(humanizer, reference)
  result = {'checkpoint': checkpoint, 'split': split,
            'slices': len(reference.hits), 'hits': int(reference.hits.sum()),
            'feel': compare(delivered, train, reference)}
  print(report(result))
  if output_dir:
    reports.write_evaluation(output_dir, result, {'evaluation.png': plot(
        train, reference, *delivered)})
  return result
