"""Pictures: drum grids, training curves, the latent space."""
from __future__ import annotations

import functools
import glob
import os
import typing
from collections.abc import Callable, Sequence

from drumloops import grid
from drumloops.grid import Hit
from drumloops.runs import run_folder
from drumloops.system import disk
import numpy as np

if typing.TYPE_CHECKING:
  from matplotlib.axes import Axes
  from matplotlib.figure import Figure

# The Okabe-Ito palette, which colour-blind eyes can tell apart.
BLUE, ORANGE = '#0072b2', '#d55e00'
GREEN = '#009e73'
COLOURS = (BLUE, '#e69f00', GREEN, '#cc79a7', '#56b4e9', ORANGE, '#f0e442')
MARKERS = 'os^Dv<P'  # Styles differ in colour and in marker.
GREY = '#bbbbbb'
PALEST = 0.15  # Opacity of the softest hit.
WIDTH, ROW = 10, 2.3  # Inches.
MOST_MAPPED = 5000  # Loops in a picture of latents, which takes half a minute.
OWN_FONT = 'DejaVu Sans'  # Comes with matplotlib.
LINE = 1.6  # Points; width of the line of a hit off the grid.
OFF_GRID = 0.01  # Steps; a hit that is nearer to its step is on the grid.
LEGEND = 'darker: louder; orange line: when a hit off the grid is played'
KEPT_LEGEND = 'blue: kept; green: added'
Mark = tuple[tuple[float, float, float, float], str, float]  # See `marks`.


def drum_grid(axis: Axes, hits: Sequence[Hit],
              bars: int = grid.BARS, title: str = '', labels: bool = True,
              kept: np.ndarray | None = None) -> None:
  """Draws hits on 16 steps a bar.

  Louder hits are darker. A line shows where a hit off the grid is played.

  Args:
    axis: Of matplotlib.
    hits: Those without a drum are not drawn.
    bars: How many to draw.
    title: Above the grid.
    labels: Whether rows and bars have their names.
    kept: Which hits were given, bool [steps, drums]; the others are green.
  """
  from matplotlib import collections
  empty_grid(axis, bars, labels)
  boxes, lines = marks(hits, bars, kept)
  # Two artists are drawn much faster than one for each hit.
  for artist in (
      collections.PolyCollection(
          [[(x, y) for x, y in ((left, low), (left, high), (right, high),
                                (right, low))]
           for (left, right, low, high), *_ in boxes],
          facecolors=[(colour, shade) for _, colour, shade in boxes], linewidths=0),
      collections.LineCollection(
          [[(x, low), (x, high)] for x, low, high in lines], colors=ORANGE,
          linewidths=LINE, capstyle='butt', zorder=3)):
    axis.add_collection(artist, autolim=False)
  set_title(axis, title, fontsize=10, loc='left')
  if labels:
    axis.set_title(legend(lines, kept), fontsize=8, loc='right')


def marks(hits: Sequence[Hit], bars: int,
          kept: np.ndarray | None = None
          ) -> tuple[list[Mark], list[tuple[float, float, float]]]:
  """Returns what `drum_grid` draws for hits, in steps and drums.

  Args:
    hits: Of `drum_grid`.
    bars: Of `drum_grid`.
    kept: Of `drum_grid`.

  Returns:
    [((left, right, low, high), colour, opacity)] of boxes, and [(x, low, high)] of
    lines.
  """
  boxes, lines = [], []
  for hit in hits:
    drum, start = hit.index, hit.start
    if drum is None or start >= bars * grid.STEPS_PER_BAR:
      continue
    step = grid.step_of(start, bars * grid.STEPS_PER_BAR)
    boxes.append(((step, step + 0.86, drum - 0.38, drum + 0.38),
                  BLUE if kept is None or kept[step, drum] else GREEN,
                  PALEST + (1 - PALEST) * hit.velocity / 127))
    if abs(start - step) > OFF_GRID:
      lines.append((start, drum - 0.42, drum + 0.42))
  return boxes, lines


def legend(lines: Sequence[object], kept: np.ndarray | None) -> str:
  """Returns the legend of a picture with these lines and kept hits."""
  return '; '.join([KEPT_LEGEND] * (kept is not None) + [LEGEND] * bool(lines))


def empty_grid(axis: Axes, bars: int, labels: bool = True) -> None:
  """Draws the part of `drum_grid` that all loops of so many bars share."""
  steps = bars * grid.STEPS_PER_BAR
  for step in range(0, steps + 1, grid.STEPS_PER_QUARTER):
    is_bar = step % grid.STEPS_PER_BAR == 0
    axis.axvline(step, color='black' if is_bar else GREY,
                 linewidth=1.2 if is_bar else 0.6, zorder=0)
  axis.set_xlim(-0.5, steps)  # Hits before the first beat are seen too.
  axis.set_ylim(-0.6, len(grid.DRUM_CLASSES) - 0.4)
  axis.set_yticks(range(grid.DRUMS), grid.DRUM_CLASSES if labels else
                  [''] * grid.DRUMS, fontsize=8)
  axis.set_xticks([b * grid.STEPS_PER_BAR for b in range(bars)],
                  [f'bar {b + 1}' if labels else '' for b in range(bars)],
                  fontsize=8, ha='left')
  axis.tick_params(length=0)


@functools.cache
def font_with(letters: frozenset[str]) -> str | None:
  """Returns the family of an installed font that has all letters, or None."""
  from matplotlib import font_manager
  for path in sorted(font_manager.findSystemFonts(),
                     key=lambda path: ('Bold' in path, path)):
    try:
      font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # Not every font can be drawn.
      continue
    if all(font.get_char_index(ord(letter)) for letter in letters):
      font_manager.fontManager.addfont(path)  # It may be newer than the cache.
      return font.family_name
  print(f'No font on this machine has the letters {"".join(sorted(letters))}, so '
        'pictures show ? instead; `apt install fonts-nanum` brings Hangul.')
  return None


def set_text(put: Callable[..., typing.Any], text: str,
             **options: object) -> typing.Any:
  """Calls a matplotlib function with a user's own words; returns its artist.

  A $ is no mathematics here, and another font draws letters that matplotlib's own
  lacks.

  Args:
    put: The function, such as `Axes.set_title`.
    text: The words.
    **options: Of the function.
  """
  from matplotlib import font_manager
  text = disk.printable(text)
  own = font_manager.get_font(font_manager.findfont(OWN_FONT))
  missing = frozenset(c for c in text if not own.get_char_index(ord(c)))
  family = [OWN_FONT]
  if missing:
    if other := font_with(missing):
      family.append(other)
    else:
      text = ''.join('?' if c in missing else c for c in text)
  return put(text, parse_math=False, family=family, **options)


def set_title(axis: Axes, text: str, **options: object) -> typing.Any:
  """Sets an axis's title, as `set_text`."""
  return set_text(axis.set_title, text, **options)


def figure_of(rows: int, columns: int = 1, size: tuple[float, float] | None = None,
              layout: str | None = 'constrained') -> tuple[Figure, np.ndarray]:
  """Returns a figure, of `size` in inches, and its axes: [rows, columns]."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=size or (WIDTH, ROW * rows), layout=layout)
  return figure, figure.subplots(rows, columns, squeeze=False)


def plot_interpolation(
    loops: Sequence[Sequence[Hit]], bars: int, first: str, last: str) -> Figure:
  """Returns a figure of an interpolation's loops, one under the other.

  Args:
    loops: The hits of each.
    bars: Their length.
    first: The first loop's name.
    last: The last loop's name.
  """
  figure, axes = figure_of(len(loops), size=(WIDTH, 0.6 + 1.5 * len(loops)))
  for i, (axis, loop) in enumerate(zip(axes[:, 0], loops)):
    drum_grid(axis, loop, bars, labels=False)
    share = i / max(1, len(loops) - 1)
    axis.set_yticks(range(grid.DRUMS), grid.DRUM_CLASSES, fontsize=7)
    axis.set_ylabel(f'{share:.0%}', rotation=0, ha='right', va='center',
                    fontsize=10)
  set_title(axes[0, 0], f'From {first} (0%) ...', fontsize=10, loc='left')
  set_text(axes[-1, 0].set_xlabel, f'... to {last} (100%)', fontsize=10,
           loc='left')
  return figure


def read_events(folder: str) -> dict[str, tuple[tuple[int, ...], tuple[float, ...]]]:
  """Returns {tag: (steps, values)} of a folder's event files, by step."""
  import tensorflow.compat.v1 as tf
  found = {}
  for path in sorted(glob.glob(os.path.join(
      glob.escape(folder), 'events.out.tfevents.*'))):
    try:
      for event in tf.train.summary_iterator(path):
        for value in event.summary.value:
          found.setdefault(value.tag, {})[event.step] = value.simple_value
    except tf.errors.DataLossError:
      pass  # The last event is written now, or training was killed meanwhile.
  return {tag: tuple(zip(*sorted(values.items())))
          for tag, values in found.items()}


def plot_training(run_dir: str) -> Figure | None:
  """Returns a figure of a run's curves, or None if it has no events."""
  events = read_events(os.path.join(run_dir, run_folder.TRAIN))
  if 'loss' not in events:
    return None
  figure, axes = figure_of(1, 3, size=(WIDTH, 3))
  for axis, title, unit, train, validation in (
      (axes[0, 0], 'Loss', 'nats a loop', 'loss', 'validation/loss'),
      (axes[0, 1], 'Reconstruction', 'nats a loop', 'losses/r_loss',
       'validation/reconstruction_loss'),
      (axes[0, 2], 'KL divergence', 'bits a loop', 'losses/kl_bits',
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
    # The first steps' values would leave no height for the others.
    values = [np.array(events[tag][1]) for tag in (train, validation)
              if tag in events]
    axis.set_ylim(0, 1.1 * max(np.quantile(v, 0.95) for v in values))
  axes[0, 0].legend(fontsize=8)
  return figure


def plot_latents(latents: np.ndarray, styles: Sequence[str],
                 samples: np.ndarray) -> Figure:
  """Returns a figure of latents in two dimensions, by t-SNE.

  Neighbours in the latent space are neighbours in the picture; the axes have no
  meaning (van der Maaten and Hinton 2008). The same latents give the same picture. Of
  more loops than MOST_MAPPED it has so many, evenly spaced.

  Args:
    latents: Of encoded loops, [loops, z_size].
    styles: Each one's style, [loops]; the most frequent ones get a colour.
    samples: Latents of sampled loops, [samples, z_size].
  """
  from sklearn import manifold
  total = len(latents)
  shown = np.linspace(0, total - 1, min(total, MOST_MAPPED)).astype(int)
  latents, styles = latents[shown], np.asarray(styles)[shown]
  both = np.concatenate([latents, samples])
  xy = manifold.TSNE(
      perplexity=min(30, (len(both) - 1) / 3), init='pca',
      random_state=0).fit_transform(both)
  loops, drawn = xy[:len(latents)], xy[len(latents):]
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
  axis.set_title('The latent space: near each other, loops are alike (t-SNE'
                 + (f' of {MOST_MAPPED:,} of {total:,})' if total > MOST_MAPPED
                    else ')'), fontsize=10, loc='left')
  axis.legend(loc='center left', bbox_to_anchor=(1, 0.5), fontsize=9,
              frameon=False)
  return figure


def show(figure: Figure) -> None:
  """Shows a figure in a notebook."""
  import io
  from IPython import display
  png = io.BytesIO()
  figure.savefig(png, dpi=100)
  display.display(display.Image(png.getvalue()))
