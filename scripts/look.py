"""A look at the Groove MIDI Dataset: styles, tempos, splits and an example."""
import collections
import csv
import os
import pathlib
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import render

MOST_STYLES = 12
EXAMPLE = 'drummer1/eval_session/1_funk-groove1_138_beat_4-4.mid'


def read_info(groove_dir):
  """Returns the rows of the data set's info.csv as dicts.

  Raises:
    common.UserError: if there is no info.csv.
  """
  path = pathlib.Path(groove_dir) / 'info.csv'
  if not path.is_file():
    raise common.UserError(f'There is no {path}; run '
                           'scripts/download_groove.py first.')
  with open(path, newline='') as f:
    return list(csv.DictReader(f))


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
                     color=render.INK)
    axis.bar_label(bars, padding=2, fontsize=8)
    axis.set_title(title)
    axis.margins(x=0.15)
  tempo_axis.hist([int(r['bpm']) for r in rows], bins=range(50, 301, 10),
                  color=render.INK)
  tempo_axis.set_title('Tempo (beats a minute)')
  for axis in (split_axis, style_axis, tempo_axis):
    axis.tick_params(labelsize=8)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_xlabel('performances' if axis is not tempo_axis else None)
  return figure


def look(groove_dir, example=EXAMPLE, bars=4):
  """Shows the data set, and the first bars of a performance, in a notebook."""
  common.music_vae()
  from IPython import display
  from magenta.models.music_vae import data
  import note_seq
  rows = read_info(groove_dir)
  hours = sum(float(r['duration']) for r in rows) / 3600
  drummers = len({r['drummer'] for r in rows})
  print(f'{len(rows)} performances by {drummers} drummers, {hours:.1f} hours.')
  render.show_figure(plot_info(rows))
  sequence = note_seq.midi_file_to_note_sequence(
      os.path.join(groove_dir, example))
  seconds = bars * 4 * 60 / sequence.tempos[0].qpm
  sequence = note_seq.extract_subsequence(sequence, 0, seconds)
  render.show_figure(render.plot_loops([sequence], [example]))
  # General MIDI SoundFonts lack some of the TD-11's pads (the hi-hat's edge).
  pads = {pitch: group[0] for group in data.ROLAND_DRUM_PITCH_CLASSES
          for pitch in group}
  for note in sequence.notes:
    note.pitch = pads.get(note.pitch, note.pitch)
  try:
    display.display(display.Audio(
        render.synthesize(sequence), rate=render.SAMPLE_RATE))
  except ImportError:
    print(render.NO_SOUND)
