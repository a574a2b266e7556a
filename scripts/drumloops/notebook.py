"""What the notebook's cells show and ask: players, pictures, comparisons, files."""
import collections
import functools
import html
import itertools
import os
import pathlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence

from drumloops import abilities, errors, grid
from drumloops.data import splits, styles
from drumloops.errors import UserError, in_words, stage
from drumloops.export import hub
from drumloops.humanize import take as takes
from drumloops.humanize.humanizer import Humanizer
from drumloops.humanize.take import TakeRequest
from drumloops.loop import DrumLoop
from drumloops.metrics import evaluation
from drumloops.midi import midi_file
from drumloops.model import DrumModel
from drumloops.models import autoencoder, sliders
from drumloops.output import gallery, plots
from drumloops.output.html import loop_html, side_by_side
from drumloops.runs import checkpoint_files, run_folder
from drumloops.system import cells, interrupts, magenta_setup
import numpy as np

if cells.shell():
  errors.speak_as(cells.in_cells)


def show_html(*parts: str) -> None:
  """Shows HTML."""
  from IPython import display
  display.display(display.HTML('\n'.join(parts)))


def show(loops: DrumLoop | Sequence[DrumLoop], folder: str = '', soundfont: str = '',
         output_map: str = '', stems: bool = False) -> None:
  """Shows loops: each one's picture, a player under it.

  Args:
    loops: One, or several.
    folder: Where they are written too, as MIDI, WAV and pictures; '' for nowhere.
    soundfont: Of `soundfonts.find_soundfont`.
    output_map: The kit that the MIDI is written for: see `DrumLoop.with_map`.
    stems: Whether a WAV file of each drum is written, too.
  """
  loops = [loops] if isinstance(loops, DrumLoop) else loops
  show_html(*html_of(loops, folder, soundfont, output_map, stems))


def html_of(loops: Sequence[DrumLoop], folder: str = '', soundfont: str = '',
            output_map: str = '', stems: bool = False) -> list[str]:
  """Returns each loop's HTML; prints what is said of loops that a model made.

  Args:
    loops: Of one request.
    folder: Of `show`.
    soundfont: Of `show`.
    output_map: Of `show`.
    stems: Of `show`.
  """
  import soundfile
  loops = [loop.with_map(output_map) for loop in loops]
  say(dict.fromkeys(remark for loop in loops for remark in loop.remarks))
  if not folder:
    return [loop.html(soundfont) for loop in loops]
  facts = loops[0].facts
  written = gallery.write(
      loops, folder, facts['style'] or facts['mode'], soundfont, stems=stems)
  say(gallery.describe_files(loops, written, facts['checkpoint']))
  show_image(written.get('strip', ''))
  return [loop_html(pathlib.Path(picture).read_bytes(), *(
      soundfile.read(written['wav'][i], dtype='int16') if written['wav'] else ()))
      for i, picture in enumerate(written['picture'])]


def show_beside(given: DrumLoop, made: Sequence[DrumLoop], folder: str,
                soundfont: str = '', output_map: str = '', stems: bool = False) -> None:
  """Shows a given loop beside its reconstruction, which is written.

  Args:
    given: A loop.
    made: Its reconstruction, in a list.
    folder: Of `show`.
    soundfont: Of `show`.
    output_map: Of `show`.
    stems: Of `show`.
  """
  [shown] = html_of(made, folder, soundfont, output_map, stems)
  show_html(side_by_side({given.name: given.html(soundfont), 'reconstruction': shown}))


def say(sentences: Iterable[str]) -> None:
  """Prints sentences in the words of the notebook."""
  for sentence in sentences:
    print(in_words(sentence))


@functools.cache
def humanizer() -> Humanizer:
  """Returns the project's own Humanizer."""
  return Humanizer()


def humanize(model: DrumModel, loops: Sequence[DrumLoop], **playing: object
             ) -> list[DrumLoop]:
  """Returns a model's loops as a drummer plays them; says so if they are not played so.

  Args:
    model: What made them.
    loops: The loops.
    **playing: Of `TakeRequest`.
  """
  request = TakeRequest(**playing)
  if any(request.how_much):
    if model.abilities.can(abilities.BE_HUMANIZED):
      return humanizer().play_take(loops, request)
    print(model.abilities.why_not(abilities.BE_HUMANIZED))
  return [loop.swung(request.swing) for loop in loops]


def show_patches() -> None:
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


def show_image(path: str) -> None:
  """Shows a picture, if there is one."""
  from IPython import display
  if os.path.exists(path):
    display.display(display.Image(filename=path))


def pass_token_on(address: str) -> None:
  """Lets scripts use Colab's secret HF_TOKEN, which only the kernel can read."""
  if address.startswith(checkpoint_files.HUB):
    import huggingface_hub
    if token := huggingface_hub.get_token():
      os.environ['HF_TOKEN'] = token


def train(config: str, run_dir: str, backup_dir: str, examples: str, tfds_name: str,
          num_steps: int, batch_size: int, init_from: str) -> None:
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


def show_training(run_dir: str) -> None:
  """Shows a run's curves, if it has any yet."""
  magenta_setup.music_vae()  # Which reads them without a word.
  figure = plots.plot_training(run_dir)
  if figure is not None:
    plots.show(figure)


def show_tensorboard(logdir: str) -> None:
  """Shows TensorBoard, which reads training's summaries as they come."""
  try:
    from tensorboard import notebook
  except ImportError:
    print(in_words(f'TensorBoard is not installed; {stage("train.py")} shows the curves '
                   'at its end.'))
    return
  os.makedirs(logdir, exist_ok=True)
  # A kernel's own programs need not be on the path.
  os.environ.setdefault('TENSORBOARD_BINARY', shutil.which('tensorboard') or (
      os.path.join(os.path.dirname(sys.executable), 'tensorboard')))
  notebook.start(f'--logdir {shlex.quote(logdir)}')


def choose(model: DrumModel, path: str, upload: bool, default: DrumLoop, first_bar: int,
           drum_channel: int, bars: int | None = None, map: str = '') -> DrumLoop:
  """Returns the loop that a form means, and says what of a file is not in it.

  Args:
    model: It is read for this model.
    path: The MIDI file that was typed in, if any; ~ is the home folder.
    upload: Whether to ask for a file on the user's own computer (in Colab).
    default: Used where there is neither.
    first_bar: The bar that a file begins with, from 1; 0 for the first with a drum.
    drum_channel: The MIDI channel of its drums.
    bars: How many at most; None for the model's.
    map: The kit that a file was made for: see `DrumLoop.read`.

  Raises:
    UserError: if the file can't be read, or nothing was uploaded.
  """
  path = choose_midi(path, upload)
  if not path:
    return default
  loop = model.read(path, first_bar=first_bar, drum_channel=drum_channel, map=map,
                    **{'bars': bars} if bars else {})
  say(loop.left_out)
  return loop


def choose_midi(path: str, upload: bool) -> str:
  """Returns the path of the MIDI file that a form means, '' for none: see `choose`."""
  if not upload:
    return os.path.expanduser(path)
  try:
    from google.colab import files
  except ImportError:
    raise UserError('Only Colab can upload; type the path of a MIDI '
                    'file instead.') from None
  uploaded = list(files.upload())
  if not uploaded:
    raise UserError('No file was chosen; run the cell again.')
  return os.path.abspath(uploaded[0])


def tempo_of(loop: DrumLoop, other: float) -> float:
  """Returns a loop's tempo if one that is made may have it, else another."""
  return loop.qpm if grid.MIN_QPM <= loop.qpm <= grid.MAX_QPM else other


def plain_loop(model: DrumModel, folder: str, map: str = '', **options: object) -> str:
  """Returns the path of a MIDI file of a loop without velocity and microtiming.

  Args:
    model: Samples it.
    folder: Where it is written.
    map: The kit that it is written for.
    **options: Of `DrumModel.sample`.
  """
  path = os.path.join(folder, 'plain.mid')
  model.sample(**options)[0].save(path, map)
  return path


def that_completes(model: DrumModel) -> DrumModel:
  """Returns a model if it can complete loops, else the project's own, and says so."""
  if model.abilities.can(abilities.COMPLETE):
    return model
  print(model.abilities.why_not(abilities.COMPLETE), "So the project's own weights play.")
  return DrumModel()


def that_makes_songs(model: DrumModel) -> DrumModel:
  """Returns a model if it can make songs, else the project's own, and says so."""
  able = that_completes(model)
  try:
    sliders.load(able.checkpoint)
  except UserError as e:  # Of weights that were finished before there were sliders.
    print(e, "So the project's own weights play.")
    return DrumModel()
  return able


def show_humanized(input_midi: str, output_dir: str, soundfont: str = '',
                   first_bar: int = 0, drum_channel: int = midi_file.DRUM_CHANNEL + 1,
                   map: str = '', output_map: str = '',
                   take: int = takes.DEFAULT_TAKE, **playing: object) -> None:
  """Shows a MIDI file's first bars, and how a take plays them.

  A button below plays the next take. The new files are called after the old one.

  Args:
    input_midi: The file.
    output_dir: Where to write.
    soundfont: Of `soundfonts.find_soundfont`.
    first_bar: The first that is shown: see `DrumLoop.read`.
    drum_channel: Of both files.
    map: The kit that both files were made for: see `DrumLoop.read`.
    output_map: The kit that the new files are for: see `DrumLoop.with_map`.
    take: The first take.
    **playing: Of `TakeRequest`.
  """
  import ipywidgets
  from IPython import display
  stem = os.path.splitext(os.path.basename(input_midi))[0]
  os.makedirs(output_dir, exist_ok=True)
  numbers = itertools.count(take)
  def show_file(path: str, kit: str) -> None:
    show(DrumLoop.read(path, first_bar=first_bar, drum_channel=drum_channel, map=kit),
         soundfont=soundfont)
  def play() -> None:
    number = next(numbers)
    output_midi = os.path.join(output_dir, f'{stem}-humanized-{number}.mid')
    say(humanizer().humanize_file(input_midi, output_midi, TakeRequest(
        take=number, **playing), drum_channel, map, output_map))
    show_file(output_midi, output_map or map)
  show_file(input_midi, map)
  play()
  button = ipywidgets.Button(description='New take')
  others = ipywidgets.Output()
  def play_another(_: object) -> None:
    with others:
      play()
  button.on_click(play_another)
  display.display(others, button)


def find_weights(storage: str, run_name: str, config: str, checkpoint_file: str = ''
                 ) -> str | None:
  """Returns a run's finished weights, None for the project's own.

  Args:
    storage: Where runs are kept.
    run_name: The run.
    config: The project's own are of this config.
    checkpoint_file: What the user wants instead of these, if anything.

  Raises:
    UserError: if there are neither.
  """
  if checkpoint_file:
    pass_token_on(checkpoint_file)
    return checkpoint_file
  folder = os.path.join(storage, run_name, run_folder.WEIGHTS)
  if os.path.isdir(folder):
    return folder
  has_none = f'{run_name or "The run"} has no finished weights'
  if not (checkpoint_files.OWN_WEIGHTS / config).is_dir():
    raise UserError(f'{has_none}, and none of {config} come with the project: run '
                    f'{stage("train.py")} and {stage("export.py")} first.')
  print(f'{has_none}, so those that come with the project are used.')
  return None


def need(name: str) -> None:
  """Raises UserError unless the notebook has a variable of this name."""
  if name not in cells.shell().user_ns:
    title = next(cell.title for cell in cells.read_cells()
                 if re.search(rf'(?m)^{name} = ', cell.source))
    raise UserError(f'This needs what cell "{title}" makes: run that first.')


def need_data(examples_path: str) -> None:
  """Raises UserError if the data set is not there."""
  if not os.path.exists(examples_path):
    raise UserError(f'This needs the data set: run {stage("download_groove.py")} and '
                    f'{stage("make_tfrecord.py")} first.')


def compare_checkpoints(config_name: str, run_dir: str, examples_path: str,
                        soundfont: str = '', **options: object) -> None:
  """Shows a run's checkpoints side by side: a loop of each, and its numbers.

  The loops are sampled from the same latent. The numbers are of (at most 512)
  loops of the validation split.

  Args:
    config_name: Name of the run's config.
    run_dir: The run.
    examples_path: TFRecord of the train split.
    soundfont: Of `soundfonts.find_soundfont`.
    **options: Of `DrumModel.sample`.

  Raises:
    UserError: if the run has no checkpoint, or the data are missing.
  """
  need_data(examples_path)
  checkpoints = checkpoint_files.all_checkpoints(run_dir)
  if run_folder.is_best_of_other_data(run_dir, run_folder.validation_id(examples_path)):
    checkpoints = [c for c in checkpoints if os.path.dirname(c) !=
                   os.path.join(run_dir, run_folder.BEST)]
  if not checkpoints:
    raise UserError(f'This run has no checkpoint yet: run {stage("train.py")} first.')
  config = magenta_setup.get_config(config_name)
  evaluator = autoencoder.Autoencoder(config)
  slices = splits.evenly_spaced(
      splits.load_split(config, examples_path, None, 'validation'))
  columns = {}
  for checkpoint in checkpoints:
    evaluator.load(checkpoint)
    scores = evaluator.score(slices, os.path.basename(checkpoint))
    [loop] = DrumModel(checkpoint, config_name).sample(**options)
    rows = ''.join(f'<tr><td style="text-align:left">{name}</td>'
                   f'<td>{scores[name]:.3f}</td></tr>'
                   for name in autoencoder.RECONSTRUCTION if name in scores)
    name = '/'.join(checkpoint.split(os.sep)[-2:])
    columns[name] = f'{loop.html(soundfont)}<table>{rows}</table>'
  meanings = ''.join(f'<li><b>{name}</b>: {html.escape(meaning)}</li>'
                     for name, meaning in autoencoder.RECONSTRUCTION.items())
  show_html(side_by_side(columns), f'<ul>{meanings}</ul>')


def show_latents(model: DrumModel, examples_path: str, loops: Sequence[DrumLoop]
                 ) -> None:
  """Shows the test split in the latent space by style, and loops in it.

  Args:
    model: Its encoder is used.
    examples_path: TFRecord of the train split, beside which the others lie.
    loops: Shown as crosses.

  Raises:
    UserError: if the data are missing.
  """
  need_data(examples_path)
  model.abilities.require(abilities.ENCODE)
  by_style = styles.slices_by_style(
      splits.split_path(examples_path, 'test'), model.config.data_converter)
  if not by_style:
    raise UserError("The files' names do not say styles as GMD's do, so "
                    'there is nothing to colour the map by.')
  evaluator = autoencoder.Autoencoder(model.config, sample=False)
  evaluator.load(model.checkpoint)
  plots.show(evaluation.latent_map(
      evaluator, by_style, np.array([model.slice_of(loop) for loop in loops])))


def share(repo: str, model: DrumModel, evaluation_dir: str, private: bool, license: str
          ) -> None:
  """Shares a model's weights on the Hub, if a repository is named.

  Raises:
    UserError: if they could not be shared.
  """
  if not repo:
    print('Nothing was shared; to share your weights, type user/name.')
    return
  hub.share(repo, model.config_name, model.checkpoint, evaluation_dir, private,
            license or None)


def download(folder: str, archive: str) -> None:
  """Zips a folder, and in Colab sends it to the user's computer."""
  send(shutil.make_archive(archive, 'zip', folder),
       'All loops, with the page to listen on, are in ')


def send(path: str, where: str = 'It is ') -> None:
  """In Colab sends a file to the user's computer; elsewhere says where it is."""
  try:
    from google.colab import files
    files.download(path)
  except ImportError:
    print(f'{where}{path}')


MOST_STYLES = 12
EXAMPLE = 'drummer1/eval_session/1_funk-groove1_138_beat_4-4.mid'


def read_performances(groove_dir: str) -> list[dict]:
  """Returns the rows of the data set's info.csv as dicts, numbers as floats.

  Raises:
    UserError: if there is no info.csv, or it is damaged.
  """
  path = pathlib.Path(groove_dir) / 'info.csv'
  if not path.is_file():
    raise UserError(f'There is no {path}; run '
                        f'{stage("download_groove.py")} first.')
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


def plot_info(rows: list[dict]) -> object:
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


def look(groove_dir: str, example: str = EXAMPLE) -> None:
  """Shows the data set, and the first bars of a performance, in a notebook."""
  magenta_setup.music_vae()
  rows = read_performances(groove_dir)
  hours = sum(r['duration'] for r in rows) / 3600
  drummers = len({r['drummer'] for r in rows})
  print(f'{len(rows)} performances by {drummers} drummers, {hours:.1f} hours.')
  plots.show(plot_info(rows))
  show(DrumLoop.read(os.path.join(groove_dir, example)))
