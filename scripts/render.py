"""Turns drum NoteSequences into MIDI files, WAV files and a picture."""
import os

import numpy as np
from tqdm import tqdm

SAMPLE_RATE = 44100  # Hz.
STEPS_PER_BAR = 16
MAX_PICTURED = 32  # Loops in one picture; more would be too tall to look at.
LANES = ('kick', 'snare', 'closed hi-hat', 'open hi-hat', 'low tom', 'mid tom',
         'high tom', 'crash', 'ride')
INK = '#0072b2'  # Of the Okabe-Ito palette, which colour-blind eyes can tell.
NO_SOUND = (
    'No sound was made, because FluidSynth was not found; install it with '
    '`apt install libfluidsynth3` (Debian, Ubuntu; libfluidsynth2 on older '
    'ones and on Colab) or `brew install fluid-synth` (macOS) and run this '
    'again.')


def synthesize(sequence):
  """Returns a NoteSequence as mono audio, float32 in [-1, 1], at SAMPLE_RATE.

  With FluidSynth and the small SoundFont that pretty_midi ships.

  Raises:
    ImportError: if FluidSynth's library is not installed.
  """
  import note_seq
  if not sequence.notes:
    return np.zeros(int(sequence.total_time * SAMPLE_RATE), np.float32)
  return note_seq.midi_synth.fluidsynth(
      sequence, sample_rate=SAMPLE_RATE).astype(np.float32)


def drum_grid(sequence, steps):
  """Returns the hits of a NoteSequence on the 16-step grid: [drums, steps].

  Values are velocities from 0 (no hit) to 1; drums are those of LANES.
  """
  import note_seq
  from magenta.models.music_vae import data
  lanes = {pitch: lane
           for lane, pitches in enumerate(data.ROLAND_DRUM_PITCH_CLASSES)
           for pitch in pitches}
  grid = np.zeros([len(LANES), steps])
  qpm = sequence.tempos[0].qpm if sequence.tempos else (
      note_seq.DEFAULT_QUARTERS_PER_MINUTE)
  for note in sequence.notes:
    step = round(note.start_time * qpm / 60 * STEPS_PER_BAR / 4)
    if note.is_drum and note.pitch in lanes and step < steps:
      lane = lanes[note.pitch]
      grid[lane, step] = max(grid[lane, step], note.velocity / 127)
  return grid


def plot_loops(sequences, titles, steps=64):
  """Returns a matplotlib figure with a drum grid for every NoteSequence."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(10, 2.3 * len(sequences)), layout='constrained')
  axes = figure.subplots(len(sequences), 1, squeeze=False)[:, 0]
  for axis, sequence, title in zip(axes, sequences, titles):
    grid = drum_grid(sequence, steps)
    lanes, hits = np.nonzero(grid)
    axis.bar(hits, 0.7, 0.86, lanes - 0.35, align='edge', color=INK)
    for step in range(0, steps + 1, 4):
      is_bar = step % STEPS_PER_BAR == 0
      axis.axvline(step, color='black' if is_bar else '#bbbbbb',
                   linewidth=1.2 if is_bar else 0.6, zorder=0)
    axis.set_xlim(0, steps)
    axis.set_ylim(-0.6, len(LANES) - 0.4)
    axis.set_yticks(range(len(LANES)), LANES, fontsize=8)
    bars = range(steps // STEPS_PER_BAR)
    axis.set_xticks([b * STEPS_PER_BAR for b in bars],
                    [f'bar {b + 1}' for b in bars], fontsize=8, ha='left')
    axis.tick_params(length=0)
    axis.set_title(title, fontsize=10, loc='left')
  return figure


def write_loops(sequences, output_dir, name):
  """Writes NAME-1.mid, NAME-1.wav, ... and NAME.png into `output_dir`.

  The picture shows the first MAX_PICTURED loops.

  Returns:
    {'midi': paths, 'wav': paths (none without FluidSynth), 'picture': path}.
  """
  import note_seq
  import soundfile
  os.makedirs(output_dir, exist_ok=True)
  paths = {'midi': [], 'wav': [],
           'picture': os.path.join(output_dir, f'{name}.png')}
  titles = [f'{name} {i + 1}' for i in range(len(sequences))]
  for i, sequence in enumerate(sequences):
    base = os.path.join(output_dir, f'{name}-{i + 1}')
    note_seq.sequence_proto_to_midi_file(sequence, base + '.mid')
    paths['midi'].append(base + '.mid')
  plot_loops(sequences[:MAX_PICTURED], titles).savefig(paths['picture'], dpi=100)
  try:
    for midi, sequence in zip(
        tqdm(paths['midi'], desc='Rendering', unit='loop', leave=False),
        sequences):
      wav = midi[:-len('.mid')] + '.wav'
      soundfile.write(wav, synthesize(sequence), SAMPLE_RATE, 'PCM_16')
      paths['wav'].append(wav)
  except ImportError:
    print(NO_SOUND)
  return paths


def show_figure(figure):
  """Shows a matplotlib figure in a notebook."""
  import io
  from IPython import display
  png = io.BytesIO()
  figure.savefig(png, dpi=100)
  display.display(display.Image(png.getvalue()))


def show_image(path):
  """Shows a picture in a notebook."""
  from IPython import display
  display.display(display.Image(filename=path))


def show(paths):
  """Shows what `write_loops` wrote in a notebook: the picture, the players."""
  from IPython import display
  show_image(paths['picture'])
  for i, midi in enumerate(paths['midi']):
    print(os.path.basename(midi))
    if paths['wav']:
      display.display(display.Audio(filename=paths['wav'][i]))
