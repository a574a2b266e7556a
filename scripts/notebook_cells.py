"""What the notebook shows: players, pictures, comparisons, files to and from."""
import base64
import html
import io
import os
import shlex
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import evaluate
import humanize
import page
import plots
import render
import sample
import styles
import numpy as np


def loop_html(png, wav=None):
  """Returns HTML of a loop: its grid and, looped, its player, as one piece."""
  def data(content, kind):
    return f'"data:{kind};base64,{base64.b64encode(content).decode()}"'
  player = '' if wav is None else (
      f'<audio controls loop style="width:100%" src={data(wav, "audio/wav")}>'
      '</audio>')
  return ('<div style="max-width:1000px;margin-bottom:1em">'
          f'<img alt="drum grid" style="max-width:100%;background:white" '
          f'src={data(png, "image/png")}>{player}</div>')


def written_loops_html(paths):
  """Returns `loop_html` of each loop that `page.write_loops` wrote."""
  def read(path):
    with open(path, 'rb') as f:
      return f.read()
  return [loop_html(read(picture), read(paths['wav'][i]) if paths['wav'] else None)
          for i, picture in enumerate(paths['picture'])]


def show_html(*parts):
  from IPython import display
  display.display(display.HTML('\n'.join(parts)))


def show_loops(paths):
  """Shows what `sample.sample` returned: each loop's grid, a player under it."""
  if 'strip' in paths:
    show_image(paths['strip'])
  show_html(*written_loops_html(paths))


def show_loop(loop, title):
  """Shows what `render.as_loop` returned, which lies in no file."""
  import soundfile
  png, wav = io.BytesIO(), io.BytesIO()
  page.picture(loop, title).savefig(png, dpi=page.DPI)
  try:
    soundfile.write(wav, render.synthesize(loop), render.SAMPLE_RATE, 'PCM_16',
                    format='WAV')
  except ImportError:
    print(render.NO_SOUND)
  show_html(loop_html(png.getvalue(), wav.getvalue() or None))


def show_image(path):
  """Shows a picture, if there is one."""
  from IPython import display
  if os.path.exists(path):
    display.display(display.Image(filename=path))


def show_training(run_dir):
  """Shows a run's curves."""
  figure = plots.plot_training(run_dir)
  if figure is None:
    raise common.UserError(f'There are no training curves in {run_dir} yet.')
  plots.show(figure)


def show_tensorboard(logdir):
  """Shows TensorBoard, which reads training's summaries as they come."""
  from tensorboard import notebook
  os.makedirs(logdir, exist_ok=True)
  # A kernel's own programs need not be on the path.
  os.environ.setdefault('TENSORBOARD_BINARY', shutil.which('tensorboard') or (
      os.path.join(os.path.dirname(sys.executable), 'tensorboard')))
  notebook.start(f'--logdir {shlex.quote(logdir)}')


def choose_midi(path, upload, default):
  """Returns the MIDI file that a form cell means.

  Args:
    path: What was typed in.
    upload: Whether to ask for a file on the user's own computer (in Colab).
    default: Used where nothing was typed in.

  Raises:
    common.UserError: if an upload is wanted, but this is not Colab or nothing
      came.
  """
  if not upload:
    return path or default
  try:
    from google.colab import files
  except ImportError:
    raise common.UserError('Only Colab can upload; type the path of a MIDI '
                           'file instead.') from None
  uploaded = list(files.upload())
  if not uploaded:
    raise common.UserError('No file was chosen; run the cell again.')
  return os.path.abspath(uploaded[0])


def first_bars(path):
  """Returns the first 4 bars with drums of a MIDI file, as a loop at its tempo."""
  import note_seq
  sequence = note_seq.midi_file_to_note_sequence(path)
  qpm = sequence.tempos[0].qpm
  bar = 4 * 60 / qpm
  half_step = bar / render.STEPS_PER_BAR / 2
  drums = [note.start_time for note in sequence.notes if note.is_drum]
  # A hit that is early for a bar's first beat belongs to that bar.
  start = int((min(drums) + half_step) / bar) * bar
  for note in sequence.notes:
    note.start_time, note.end_time = note.start_time - start, note.end_time - start
  kept = [note for note in sequence.notes
          if note.start_time >= -half_step and note.is_drum]
  del sequence.notes[:]
  sequence.notes.extend(kept)
  return render.as_loop(sequence, qpm)


def show_humanized(input_midi, output_dir):
  """Humanizes a MIDI file; shows its first bars before and after.

  The new file is called after the old one, in `output_dir`.
  """
  stem = os.path.splitext(os.path.basename(input_midi))[0]
  output_midi = os.path.join(output_dir, stem + '-humanized.mid')
  os.makedirs(output_dir, exist_ok=True)
  humanize.humanize_file(input_midi, output_midi, humanize.load())
  for path in (input_midi, output_midi):
    show_loop(first_bars(path), os.path.basename(path))


def find_weights(storage, run_name, config_name):
  """Returns the folder of a run's finished weights, else of the project's own.

  Args:
    storage: Where runs are kept.
    run_name: The run.
    config_name: The project's own are of this config.
  """
  folder = os.path.join(storage, run_name, 'weights')
  if os.path.isdir(folder):
    return folder
  print(f'{run_name or "The run"} has no finished weights, so those that come '
        'with the project are used.')
  return os.path.dirname(common.find_checkpoint(config_name=config_name))


def need_data(examples_path):
  """Raises common.UserError if the data set is not there."""
  if not os.path.exists(examples_path):
    raise common.UserError('This needs the data set: run cells 4 and 6 first.')


def compare_checkpoints(config_name, run_dir, examples_path, options):
  """Shows a run's checkpoints side by side: a loop of each, and its numbers.

  The loops are sampled from the same latent. The numbers are of (at most 512)
  loops of the validation split.

  Args:
    config_name: Name of the run's config.
    run_dir: The run.
    examples_path: TFRecord of the train split.
    options: Of `sample.sample`, such as the seed and the output_dir.

  Raises:
    common.UserError: if the run has no checkpoint, or the data are missing.
  """
  need_data(examples_path)
  checkpoints = sample.all_checkpoints(run_dir)
  if not checkpoints:
    raise common.UserError(f'There is no checkpoint in {run_dir} yet.')
  config = common.get_config(config_name)
  evaluator = evaluate.Evaluator(config)
  slices = evaluate.evenly_spaced(
      evaluate.load_split(config, examples_path, None, 'validation'))
  columns = []
  for i, checkpoint in enumerate(checkpoints):
    evaluator.load(checkpoint)
    scores = evaluator.score(slices, os.path.basename(checkpoint))
    [loop] = written_loops_html(sample.sample(
        config_name, num_outputs=1, name=f'checkpoint-{i + 1}',
        **{**options, 'checkpoint_file': checkpoint}))
    rows = ''.join(f'<tr><td style="text-align:left">{name}</td>'
                   f'<td>{scores[name]:.3f}</td></tr>'
                   for name in evaluate.RECONSTRUCTION)
    name = '/'.join(checkpoint.split(os.sep)[-2:])
    columns.append(f'<div style="flex:1 1 20em"><b>{html.escape(name)}</b>{loop}'
                   f'<table>{rows}</table></div>')
  meanings = ''.join(f'<li><b>{name}</b>: {html.escape(meaning)}</li>'
                     for name, meaning in evaluate.RECONSTRUCTION.items())
  show_html('<div style="display:flex;flex-wrap:wrap;gap:1em">', *columns,
            f'</div><ul>{meanings}</ul>')


def show_latents(config_name, checkpoint_file, examples_path, midi_paths):
  """Shows the test split in the latent space by style, and MIDI files in it.

  Raises:
    common.UserError: if the data are missing.
  """
  need_data(examples_path)
  config = common.get_config(config_name)
  evaluator = evaluate.Evaluator(config, sample=False)
  evaluator.load(common.find_checkpoint(checkpoint_file=checkpoint_file))
  converter = config.data_converter
  rolls = np.array([sample.first_slice(path, converter)[:, :-1]
                    for path in midi_paths])
  by_style = styles.slices_by_style(
      evaluate.split_path(examples_path, 'test'), converter)
  if not by_style:
    raise common.UserError("The files' names do not say styles as GMD's do, so "
                           'there is nothing to colour the map by.')
  plots.show(evaluate.latent_map(
      evaluator, by_style, rolls @ (1 << np.arange(rolls.shape[-1]))))


def download(folder, archive):
  """Zips a folder, and in Colab sends it to the user's computer."""
  path = shutil.make_archive(archive, 'zip', folder)
  try:
    from google.colab import files
    files.download(path)
  except ImportError:
    print('All loops, with the page to listen on, are in', path)
