"""What the notebook shows: players, pictures, comparisons, files to and from."""
import base64
import collections
import contextlib
import html
import io
import itertools
import os
import pathlib
import re
import shlex
import shutil
import sys

from drumloops import errors, grid, sampling
from drumloops.errors import UserError
from drumloops.data import splits, styles
from drumloops.export import hub
from drumloops.humanize import humanizer
from drumloops.midi import input_loop, loop_file, midi_file, sound
from drumloops.models import autoencoder, constraints
from drumloops.output import gallery, plots
from drumloops.runs import checkpoint_files, run_folder
from drumloops.system import cells, disk, interrupts, magenta_setup
from drumloops.metrics import evaluation
import numpy as np

if cells.shell():
  errors.speak_as(cells.in_cells)
OGG_BLOCK = 1 << 14  # Samples.


def ogg(audio):
  """Returns sound as an Ogg Vorbis file, of a sixth of FLAC's size.

  A notebook is saved to Drive with all that its cells show.

  Args:
    audio: float32 or int16, [samples, channels], at sound.SAMPLE_RATE.
  """
  import soundfile
  packed = io.BytesIO()
  with soundfile.SoundFile(packed, 'w', sound.SAMPLE_RATE, audio.shape[1],
                           'VORBIS', format='OGG') as f:
    # libsndfile encodes on the stack: much at once can be too much.
    for i in range(0, len(audio), OGG_BLOCK):
      f.write(audio[i:i + OGG_BLOCK])
  return packed.getvalue()


def loop_html(png, audio=None):
  """Returns HTML of a loop: its grid and, looped, its player, as one piece."""
  def data(content, kind):
    return f'"data:{kind};base64,{base64.b64encode(content).decode()}"'
  player = '' if audio is None else (
      '<audio controls loop style="width:100%" '
      f'src={data(ogg(audio), "audio/ogg")}></audio>')
  return ('<div style="max-width:1000px;margin-bottom:1em">'
          f'<img alt="drum grid" style="max-width:100%;background:white" '
          f'src={data(png, "image/png")}>{player}</div>')


def written_loops_html(paths):
  """Returns `loop_html` of each loop that `gallery.write_loops` wrote."""
  import soundfile
  def read(path):
    with open(path, 'rb') as f:
      return f.read()
  return [loop_html(read(picture), soundfile.read(paths['wav'][i], dtype='int16')[0]
                    if paths['wav'] else None)
          for i, picture in enumerate(paths['picture'])]


def show_html(*parts):
  from IPython import display
  display.display(display.HTML('\n'.join(parts)))


def show_loops(paths):
  """Shows what `sampling.sample` returned: each loop's grid, a player under it."""
  if 'strip' in paths:
    show_image(paths['strip'])
  for loop in written_loops_html(paths):
    show_html(loop)


def side_by_side(columns):
  """Returns HTML of pieces beside each other, where there is room.

  Args:
    columns: {name: its HTML}.
  """
  return ('<div style="display:flex;flex-wrap:wrap;gap:1em">' + ''.join(
      f'<div style="flex:1 1 20em"><b>{html.escape(name)}</b>{column}</div>'
      for name, column in columns.items()) + '</div>')


def show_patches():
  """Shows how much of Magenta the patches change, and, folded, the diff."""
  from magenta_patches import __main__ as patcher
  files, diff = patcher.find_files(), patcher.diff()
  added = [file.wanted.count(b'\n') for file in files if file.is_added]
  more, less = (len(re.findall(rf'^{sign}(?!{sign}{sign} )', diff, re.M))
                for sign in (r'\+', '-'))
  print(f'{len(files) - len(added)} files of Magenta and note-seq are changed: {more} '
        f'lines added, {less} removed. {len(added)} files are new: {sum(added)} lines. '
        'magenta_patches/README.md says why.')
  show_html('<details><summary>Every change, as a diff</summary><pre>'
            f'{html.escape(diff)}</pre></details>')


def first_bars_html(path, soundfont=None, **options):
  """Returns `loop_html` of a MIDI file's first 4 bars with drums, at its tempo.

  Args:
    path: The file.
    soundfont: Of `sound.find_soundfont`.
    **options: Of `midi_file.first_bars`.
  """
  png, audio = io.BytesIO(), None
  found = read_first_bars(path, **options)
  loop = first_bars(found)
  gallery.picture(loop, os.path.basename(path), first_hits(found)).savefig(png, dpi=gallery.DPI)
  try:
    player = sound.Player(soundfont)
    player.say_what_is_missing({note.pitch for note in loop.notes})
    audio = player(loop)
  except ImportError:
    print(sound.NO_SOUND)
  return loop_html(png.getvalue(), audio)


def show_first_bars(path, soundfont=None, **options):
  """Shows what `first_bars_html` returns."""
  show_html(first_bars_html(path, soundfont, **options))


def show_image(path):
  """Shows a picture, if there is one."""
  from IPython import display
  if os.path.exists(path):
    display.display(display.Image(filename=path))


def pass_token_on(address):
  """Lets scripts use Colab's secret HF_TOKEN, which only the kernel can read."""
  if address.startswith(checkpoint_files.HUB):
    import huggingface_hub
    if token := huggingface_hub.get_token():
      os.environ['HF_TOKEN'] = token


def train(config, run_dir, backup_dir, examples, tfds_name, num_steps, batch_size,
          init_from):
  """Trains a run, or goes on with it, and shows its curves, if stopped too.

  Raises:
    UserError: if it failed or was stopped.
  """
  if not tfds_name:
    need_data(examples)
  pass_token_on(init_from)
  try:
    interrupts.run('train.py', config=config, run_dir=run_dir, backup_dir=backup_dir,
               examples_path=None if tfds_name else examples, tfds_name=tfds_name,
               num_steps=num_steps, hparams=f'batch_size={batch_size}',
               init_from=init_from)
  except interrupts.Stopped:
    show_training(run_dir)
    raise
  show_training(run_dir)


def show_training(run_dir):
  """Shows a run's curves, if it has any yet."""
  magenta_setup.music_vae()  # Which reads them without a word.
  figure = plots.plot_training(run_dir)
  if figure is not None:
    plots.show(figure)


def show_tensorboard(logdir):
  """Shows TensorBoard, which reads training's summaries as they come."""
  try:
    from tensorboard import notebook
  except ImportError:
    print('TensorBoard is not installed; cell 8 shows the curves when it is '
          'through.')
    return
  os.makedirs(logdir, exist_ok=True)
  # A kernel's own programs need not be on the path.
  os.environ.setdefault('TENSORBOARD_BINARY', shutil.which('tensorboard') or (
      os.path.join(os.path.dirname(sys.executable), 'tensorboard')))
  notebook.start(f'--logdir {shlex.quote(logdir)}')


def choose_midi(path, upload, default):
  """Returns the MIDI file that a form cell means.

  Args:
    path: What was typed in; ~ is the home folder.
    upload: Whether to ask for a file on the user's own computer (in Colab).
    default: Used where nothing was typed in.

  Raises:
    UserError: if an upload is wanted, but this is not Colab or nothing
      came.
  """
  if not upload:
    return os.path.expanduser(path) or default
  try:
    from google.colab import files
  except ImportError:
    raise UserError('Only Colab can upload; type the path of a MIDI '
                        'file instead.') from None
  uploaded = list(files.upload())
  if not uploaded:
    raise UserError('No file was chosen; run the cell again.')
  return os.path.abspath(uploaded[0])


def play_with_me(config_name, path, keep, keep_bars, rhythm, without, bars, style,
                 options):
  """Shows two loops around what is kept of a MIDI file.

  At its tempo, if that is one a loop may have, else at that of the options.

  Args:
    config_name: The weights' config; where its loops can't be completed, the
      project's own weights do it.
    path: The MIDI file.
    keep, keep_bars, rhythm, without: Of `constraints.Constraints.read`.
    bars: Of `sampling.sample`, as `style`.
    options: More of it.
  """
  if why := sampling.why_not_completed(config_name, magenta_setup.get_config(config_name)):
    print(why, "So the project's own weights play.")
    config_name, style = magenta_setup.DEFAULT_CONFIG, ''
    options = {**options, 'checkpoint_file': None}
  show_loops(sampling.sample(
      config_name, mode='complete', num_outputs=2, input_midi_1=path, style=style,
      constraints=constraints.Constraints.read(
          keep=keep, keep_bars=keep_bars, rhythm=rhythm, without=without), bars=bars,
      **at_its_tempo(path, options)))


def reconstruct(config_name, path, options):
  """Shows a MIDI file's first bars beside what is left of them in their latent.

  The project's own weights for it are used in the place of those for sampling, and
  the most likely drums play, whatever the temperature for sampling is.
  """
  if options['checkpoint_file'] == str(
      checkpoint_files.OWN_WEIGHTS / magenta_setup.DEFAULT_CONFIG):
    options = {**options, 'checkpoint_file': None}
  [loop] = written_loops_html(sampling.sample(
      config_name, mode='reconstruct', num_outputs=1, input_midi_1=path,
      **{**at_its_tempo(path, options), 'temperature': None}))
  show_html(side_by_side({
      disk.printable(os.path.basename(path)): first_bars_html(
          path, options['soundfont'], **how_to_read(options)),
      'reconstruction': loop}))


def how_to_read(options):
  """Returns those options of `sampling.sample` that say how a MIDI file is read."""
  return {key: options[key] for key in ('first_bar', 'drum_channel') if key in options}


def at_its_tempo(path, options):
  """Returns options of `sampling.sample` with the tempo of a file's first bars.

  Where no loop may have it, theirs stays.
  """
  qpm = read_first_bars(path, **how_to_read(options)).qpm
  return {**options, 'qpm': qpm if sampling.MIN_QPM <= qpm <= sampling.MAX_QPM
          else options['qpm']}


def read_first_bars(path, **options):
  """Returns the midi_file.FirstBars to show of a file; what is no drum is heard too.

  Says nothing: that is for what is then done with the file.
  """
  from magenta.models.music_vae import data
  with contextlib.redirect_stdout(None):
    return midi_file.first_bars(path, grid.drum_map(data.ROLAND_DRUM_PITCH_CLASSES),
                           grid.BARS, known_only=False, **options)


def first_bars(found):
  """Returns what `read_first_bars` did as a loop at its tempo."""
  import note_seq
  sequence = note_seq.NoteSequence()
  sequence.tempos.add(qpm=found.qpm)
  step = 60 / found.qpm / grid.STEPS_PER_QUARTER
  for _, start, velocity, pitch in found.hits:
    sequence.notes.add(pitch=pitch, velocity=velocity, is_drum=True,
                       instrument=midi_file.DRUM_CHANNEL, start_time=start * step,
                       end_time=(start + 1) * step)
  return loop_file.as_loop(sequence, found.qpm)


def first_hits(found):
  """Returns what a grid draws of `read_first_bars`, as `loop_file.hits` of loops."""
  return [(drum, start, velocity)
          for drum, start, velocity, _ in found.hits
          if drum is not None]


def show_humanized(input_midi, output_dir, soundfont=None,
                   take=humanizer.DEFAULT_TAKE, amount=1., like=None, first_bar=0,
                   drum_channel=midi_file.DRUM_CHANNEL + 1):
  """Shows a MIDI file's first bars, and how a take plays them.

  A button below plays the next take. The new files are called after the old one,
  in `output_dir`.

  Args:
    input_midi: The file.
    output_dir: Where to write.
    soundfont: Of `sound.find_soundfont`.
    take: Of `humanizer.load`.
    amount: Of the feel, from 0 to humanizer.MOST.
    like: A MIDI file whose feel is taken.
    first_bar: The first that is shown: see `midi_file.first_bars`.
    drum_channel: Of both files: see `midi_file.read`.
  """
  import ipywidgets
  from IPython import display
  magenta_setup.music_vae()
  input_midi = os.path.expanduser(input_midi)
  stem = os.path.splitext(os.path.basename(input_midi))[0]
  os.makedirs(output_dir, exist_ok=True)
  numbers = itertools.count(take)
  def show(path):
    show_first_bars(path, soundfont, first_bar=first_bar, drum_channel=drum_channel)
  def play():
    number = next(numbers)
    output_midi = os.path.join(output_dir, f'{stem}-humanized-{number}.mid')
    humanizer.humanize_file(
        input_midi, output_midi, humanizer.load(
            take=number, like=like and os.path.expanduser(like),
            drum_channel=drum_channel),
        humanizer.read_amount(amount, None, None), drum_channel)
    show(output_midi)
  show(input_midi)
  play()
  button = ipywidgets.Button(description='New take')
  others = ipywidgets.Output()
  def play_another(_):
    with others:
      play()
  button.on_click(play_another)
  display.display(others, button)


def find_weights(storage, run_name, config_name, other=''):
  """Returns the folder of a run's finished weights, else of the project's own.

  Args:
    storage: Where runs are kept.
    run_name: The run.
    config_name: The project's own are of this config.
    other: What the user wants instead of these, if anything.

  Raises:
    UserError: if there are neither.
  """
  if other:
    pass_token_on(other)
    return other
  folder = os.path.join(storage, run_name, run_folder.WEIGHTS)
  if os.path.isdir(folder):
    return folder
  own = str(checkpoint_files.OWN_WEIGHTS / config_name)
  if not os.path.isdir(own):
    raise UserError(
        f'{run_name or "The run"} has no finished weights, and none of '
        f'{config_name} come with the project: run cells 4, 6, 8 and 9 first.')
  print(f'{run_name or "The run"} has no finished weights, so those that come '
        'with the project are used.')
  return own


def need(name, cell):
  """Raises UserError unless the notebook has a variable of this name.

  Args:
    name: The variable's.
    cell: The number of the cell that makes it.
  """
  from IPython import get_ipython
  if name not in get_ipython().user_ns:
    raise UserError(f'This needs what cell {cell} makes: run that first.')


def need_data(examples_path):
  """Raises UserError if the data set is not there."""
  if not os.path.exists(examples_path):
    raise UserError('This needs the data set: run cells 4 and 6 first.')


def compare_checkpoints(config_name, run_dir, examples_path, options):
  """Shows a run's checkpoints side by side: a loop of each, and its numbers.

  The loops are sampled from the same latent. The numbers are of (at most 512)
  loops of the validation split.

  Args:
    config_name: Name of the run's config.
    run_dir: The run.
    examples_path: TFRecord of the train split.
    options: Of `sampling.sample`, such as the seed and the output_dir.

  Raises:
    UserError: if the run has no checkpoint, or the data are missing.
  """
  need_data(examples_path)
  checkpoints = checkpoint_files.all_checkpoints(run_dir)
  if run_folder.is_best_of_other_data(run_dir, run_folder.validation_id(examples_path)):
    checkpoints = [c for c in checkpoints if os.path.dirname(c) !=
                   os.path.join(run_dir, run_folder.BEST)]
  if not checkpoints:
    raise UserError('This run has no checkpoint yet: run cell 8 first.')
  config = magenta_setup.get_config(config_name)
  evaluator = autoencoder.Autoencoder(config)
  slices = splits.evenly_spaced(
      splits.load_split(config, examples_path, None, 'validation'))
  columns = {}
  for i, checkpoint in enumerate(checkpoints):
    evaluator.load(checkpoint)
    scores = evaluator.score(slices, os.path.basename(checkpoint))
    [loop] = written_loops_html(sampling.sample(
        config_name, num_outputs=1, name=f'checkpoint-{i + 1}',
        **{**options, 'checkpoint_file': checkpoint}))
    rows = ''.join(f'<tr><td style="text-align:left">{name}</td>'
                   f'<td>{scores[name]:.3f}</td></tr>'
                   for name in autoencoder.RECONSTRUCTION if name in scores)
    name = '/'.join(checkpoint.split(os.sep)[-2:])
    columns[name] = f'{loop}<table>{rows}</table>'
  meanings = ''.join(f'<li><b>{name}</b>: {html.escape(meaning)}</li>'
                     for name, meaning in autoencoder.RECONSTRUCTION.items())
  show_html(side_by_side(columns), f'<ul>{meanings}</ul>')


def show_latents(config_name, checkpoint_file, examples_path, midi_paths):
  """Shows the test split in the latent space by style, and MIDI files in it.

  Raises:
    UserError: if the data are missing.
  """
  need_data(examples_path)
  config = magenta_setup.get_config(config_name)
  from magenta.models.music_vae import packed_slices
  if why := sampling.why_not_encoded(config_name, config):
    raise UserError(why)
  evaluator = autoencoder.Autoencoder(config, sample=False)
  evaluator.load(checkpoint_files.find_checkpoint(checkpoint_file=checkpoint_file))
  parts = [input_loop.read(path, config, sampling.bars_of(config)) for path in midi_paths]
  slices = np.array([
      part.encoder_input(config.data_converter) if
      packed_slices.is_groove(config.data_converter) else part.loop
      for part in parts])
  by_style = styles.slices_by_style(
      splits.split_path(examples_path, 'test'), config.data_converter)
  if not by_style:
    raise UserError("The files' names do not say styles as GMD's do, so "
                        'there is nothing to colour the map by.')
  plots.show(evaluation.latent_map(evaluator, by_style, slices))


def share(repo, config_name, weights, evaluation_dir, private, license):
  """Shares weights on the Hub, if a repository is named.

  Raises:
    UserError: if they could not be shared.
  """
  if not repo:
    print('Nothing was shared; to share your weights, type user/name.')
    return
  hub.share(repo, config_name, weights, evaluation_dir, private, license or None)


def download(folder, archive):
  """Zips a folder, and in Colab sends it to the user's computer."""
  send(shutil.make_archive(archive, 'zip', folder),
       'All loops, with the page to listen on, are in ')


def send(path, where='It is '):
  """In Colab sends a file to the user's computer; elsewhere says where it is."""
  try:
    from google.colab import files
    files.download(path)
  except ImportError:
    print(f'{where}{path}')


MOST_STYLES = 12
EXAMPLE = 'drummer1/eval_session/1_funk-groove1_138_beat_4-4.mid'


def read_performances(groove_dir):
  """Returns the rows of the data set's info.csv as dicts, numbers as floats.

  Raises:
    UserError: if there is no info.csv, or it is damaged.
  """
  path = pathlib.Path(groove_dir) / 'info.csv'
  if not path.is_file():
    raise UserError(f'There is no {path}; run '
                        'scripts/download_groove.py first.')
  numbers = ('bpm', 'duration')
  rows = splits.read_info(path, ('drummer', 'split', 'style', *numbers))
  for row in rows:
    for column in numbers:
      try:
        row[column] = float(row[column])
      except ValueError as e:
        raise splits.bad_info(
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
  magenta_setup.music_vae()
  rows = read_performances(groove_dir)
  hours = sum(r['duration'] for r in rows) / 3600
  drummers = len({r['drummer'] for r in rows})
  print(f'{len(rows)} performances by {drummers} drummers, {hours:.1f} hours.')
  plots.show(plot_info(rows))
  show_first_bars(os.path.join(groove_dir, example))
