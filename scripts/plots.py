"""Pictures: drum grids, training curves, the latent space."""
import functools
import glob
import os

import numpy as np
import render

LANES = ('kick', 'snare', 'closed hi-hat', 'open hi-hat', 'low tom', 'mid tom',
         'high tom', 'crash', 'ride')
# The Okabe-Ito palette, which colour-blind eyes can tell apart.
BLUE, ORANGE = '#0072b2', '#d55e00'
COLOURS = (BLUE, '#e69f00', '#009e73', '#cc79a7', '#56b4e9', ORANGE, '#f0e442')
MARKERS = 'os^Dv<P'  # So that colour is not all that tells styles apart.
GREY = '#bbbbbb'
PALEST = 0.15  # Shade of the softest hit, so that it is still seen.
WIDTH, ROW = 10, 2.3  # Inches.
OFF_GRID = 0.01  # Steps; a hit that is nearer to its step is on the grid.
LEGEND = 'darker: louder; orange line: when a hit off the grid is played'


@functools.cache
def lane_of_pitch(pitch):
  """Returns the index in LANES of a MIDI drum, None if it is none of them.

  By the map of the Roland TD-11 that GMD was played on; what that has not, by
  General MIDI's.
  """
  from magenta.models.music_vae import data
  for classes in (data.ROLAND_DRUM_PITCH_CLASSES,
                  data.REDUCED_DRUM_PITCH_CLASSES):
    for lane, pitches in enumerate(classes):
      if pitch in pitches:
        return lane
  return None


def nearest_step(start):
  """Returns the step that a hit at `start` steps counts for."""
  return int(np.floor(start + 0.5))


def hits(sequence):
  """Returns a NoteSequence's drum hits: [(lane, start in steps, velocity)].

  Starts are at sixteenths of the sequence's tempo, not rounded; velocities from
  0 to 1.
  """
  qpm = sequence.tempos[0].qpm if sequence.tempos else render.DEFAULT_QPM
  found = [(lane_of_pitch(note.pitch),
            note.start_time * qpm / 60 * render.STEPS_PER_BAR / 4,
            note.velocity / 127) for note in sequence.notes if note.is_drum]
  return [hit for hit in found if hit[0] is not None]


def drum_grid(axis, sequence, title='', labels=True):
  """Draws the hits of a NoteSequence on 16 steps a bar.

  The darker, the louder. Hits that were not played on their step have a line
  where they were played.
  """
  steps = render.STEPS
  is_human = False
  for lane, start, velocity in hits(sequence):
    step = nearest_step(start)
    if step >= steps:
      continue
    axis.bar(step, 0.76, 0.86, lane - 0.38, align='edge', color=BLUE,
             alpha=PALEST + (1 - PALEST) * velocity, linewidth=0)
    if abs(start - step) > OFF_GRID:
      is_human = True
      axis.plot([start, start], [lane - 0.42, lane + 0.42], color=ORANGE,
                linewidth=1.6, solid_capstyle='butt', zorder=3)
  for step in range(0, steps + 1, 4):
    is_bar = step % render.STEPS_PER_BAR == 0
    axis.axvline(step, color='black' if is_bar else GREY,
                 linewidth=1.2 if is_bar else 0.6, zorder=0)
  axis.set_xlim(-0.5, steps)  # What comes before the beat is seen too.
  axis.set_ylim(-0.6, len(LANES) - 0.4)
  axis.set_yticks(range(len(LANES)), LANES if labels else [''] * len(LANES),
                  fontsize=8)
  bars = range(steps // render.STEPS_PER_BAR)
  axis.set_xticks([b * render.STEPS_PER_BAR for b in bars],
                  [f'bar {b + 1}' for b in bars] if labels else [''] * len(bars),
                  fontsize=8, ha='left')
  axis.tick_params(length=0)
  axis.set_title(title, fontsize=10, loc='left')
  if labels and is_human:
    axis.set_title(LEGEND, fontsize=8, loc='right')


def figure_of(rows, columns=1, size=None, layout='constrained'):
  """Returns a matplotlib figure, and its axes: [rows, columns]."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=size or (WIDTH, ROW * rows), layout=layout)
  return figure, figure.subplots(rows, columns, squeeze=False)


def plot_interpolation(sequences, first, last):
  """Returns a figure of all loops of an interpolation, one under the other."""
  figure, axes = figure_of(len(sequences), size=(
      WIDTH, 0.6 + 1.5 * len(sequences)))
  for i, (axis, sequence) in enumerate(zip(axes[:, 0], sequences)):
    drum_grid(axis, sequence, labels=False)
    share = i / max(1, len(sequences) - 1)
    axis.set_yticks(range(len(LANES)), LANES, fontsize=7)
    axis.set_ylabel(f'{share:.0%}', rotation=0, ha='right', va='center',
                    fontsize=10)
  axes[0, 0].set_title(f'From {first} (0%) ...', fontsize=10, loc='left')
  axes[-1, 0].set_xlabel(f'... to {last} (100%)', fontsize=10, loc='left')
  return figure


def read_events(folder):
  """Returns {tag: ([steps], [values])} of a folder's event files, by step."""
  import tensorflow.compat.v1 as tf
  found = {}
  for path in sorted(glob.glob(os.path.join(
      glob.escape(folder), 'events.out.tfevents.*'))):
    try:
      for event in tf.train.summary_iterator(path):
        for value in event.summary.value:
          found.setdefault(value.tag, {})[event.step] = value.simple_value
    except tf.errors.DataLossError:
      pass  # The last event is being written, or was when training was killed.
  return {tag: tuple(zip(*sorted(values.items())))
          for tag, values in found.items()}


def plot_training(run_dir):
  """Returns a figure of a run's curves, or None if it has no events."""
  events = read_events(os.path.join(run_dir, 'train'))
  if 'loss' not in events:
    return None
  figure, axes = figure_of(1, 3, size=(WIDTH, 3))
  for axis, title, unit, train, validation in (
      (axes[0, 0], 'Loss', 'nats a loop', 'loss', 'validation/loss'),
      (axes[0, 1], 'Reconstruction', 'nats a loop', 'losses/r_loss',
       'validation/reconstruction_loss'),
      (axes[0, 2], 'What the latent says', 'bits a loop', 'losses/kl_bits',
       'validation/kl_bits')):
    if train in events:
      axis.plot(*events[train], color=GREY, linewidth=1, label='training batches')
    if validation in events:
      axis.plot(*events[validation], color=BLUE, marker='o', markersize=3,
                label='validation split')
    axis.set_title(title, fontsize=10)
    axis.set_xlabel('step', fontsize=8)
    axis.set_ylabel(unit, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.spines[['top', 'right']].set_visible(False)
    # The first steps are so much worse that the rest would lie flat.
    values = [np.array(events[tag][1]) for tag in (train, validation)
              if tag in events]
    axis.set_ylim(0, 1.1 * max(np.quantile(v, 0.95) for v in values))
  axes[0, 0].legend(fontsize=8)
  return figure


def plot_latents(latents, styles, samples):
  """Returns a figure of latents in two dimensions, by t-SNE.

  Van der Maaten and Hinton 2008: neighbours in the latent space are neighbours
  in the picture; the axes mean nothing. The same latents give the same picture.

  Args:
    latents: Of encoded loops, [loops, z_size].
    styles: Each one's style, [loops]; the most frequent ones get a colour.
    samples: Latents of sampled loops, [samples, z_size].
  """
  from sklearn import manifold
  both = np.concatenate([latents, samples])
  xy = manifold.TSNE(
      perplexity=min(30, (len(both) - 1) / 3), init='pca',
      random_state=0).fit_transform(both)
  loops, drawn = xy[:len(latents)], xy[len(latents):]
  styles = np.asarray(styles)
  names, counts = np.unique(styles, return_counts=True)
  top = names[np.argsort(-counts, kind='stable')][:len(COLOURS)]
  figure, axes = figure_of(1, size=(9, 6.5))
  axis = axes[0, 0]
  rest = ~np.isin(styles, top)
  for name, mask, colour, marker in (
      ('other styles', rest, GREY, 'o'),
      *((n, styles == n, c, m) for n, c, m in zip(top, COLOURS, MARKERS))):
    if mask.any():
      axis.scatter(*loops[mask].T, s=16, c=colour, marker=marker, linewidth=0,
                   alpha=0.75, label=f'{name} ({mask.sum()})')
  if len(drawn):
    axis.scatter(*drawn.T, s=60, c='black', marker='x', linewidth=1.4,
                 label=f'samples ({len(drawn)})')
  axis.set_xticks([])
  axis.set_yticks([])
  axis.set_title('The latent space: near each other, loops are alike (t-SNE)',
                 fontsize=10, loc='left')
  axis.legend(loc='center left', bbox_to_anchor=(1, 0.5), fontsize=9,
              frameon=False)
  return figure


def show(figure):
  """Shows a figure in a notebook."""
  import io
  from IPython import display
  png = io.BytesIO()
  figure.savefig(png, dpi=100)
  display.display(display.Image(png.getvalue()))
