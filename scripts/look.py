"""A look at the Groove MIDI Dataset: styles, tempos, splits and an example."""
import collections
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import make_tfrecord
import notebook_cells
import plots

MOST_STYLES = 12
EXAMPLE = 'drummer1/eval_session/1_funk-groove1_138_beat_4-4.mid'


def read_info(groove_dir):
  """Returns the rows of the data set's info.csv as dicts, numbers as floats.

  Raises:
    common.UserError: if there is no info.csv, or it is damaged.
  """
  path = pathlib.Path(groove_dir) / 'info.csv'
  if not path.is_file():
    raise common.UserError(f'There is no {path}; run '
                           'scripts/download_groove.py first.')
  numbers = ('bpm', 'duration')
  rows = make_tfrecord.read_info(path, ('drummer', 'split', 'style', *numbers))
  for row in rows:
    for column in numbers:
      try:
        row[column] = float(row[column])
      except ValueError as e:
        raise make_tfrecord.bad_info(
            path, f'has {row[column]!r} as a {column}') from e
  return rows


def plot_info(rows):
  """Returns a figure: performances by split, by style, and by tempo."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(11, 3.2), layout='constrained')
  split_axis, style_axis, tempo_axis = figure.subplots(1, 3)
  for axis, title, names in (
      (split_axis, 'Official split', [r['split'] for r in rows]),
      (style_axis, 'Style', [r['style'].split('/')[0] for r in rows])):
    counts = collections.Counter(names).most_common(MOST_STYLES)[::-1]
    bars = axis.barh([n for n, _ in counts], [c for _, c in counts],
                     color=plots.BLUE)
    axis.bar_label(bars, padding=2, fontsize=8)
    axis.set_title(title)
    axis.margins(x=0.15)
  tempo_axis.hist([r['bpm'] for r in rows], bins=range(50, 301, 10),
                  color=plots.BLUE)
  tempo_axis.set_title('Tempo (beats a minute)')
  for axis in (split_axis, style_axis, tempo_axis):
    axis.tick_params(labelsize=8)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_xlabel('performances' if axis is not tempo_axis else None)
  return figure


def look(groove_dir, example=EXAMPLE):
  """Shows the data set, and the first bars of a performance, in a notebook."""
  common.music_vae()
  rows = read_info(groove_dir)
  hours = sum(r['duration'] for r in rows) / 3600
  drummers = len({r['drummer'] for r in rows})
  print(f'{len(rows)} performances by {drummers} drummers, {hours:.1f} hours.')
  plots.show(plot_info(rows))
  notebook_cells.show_first_bars(os.path.join(groove_dir, example))
