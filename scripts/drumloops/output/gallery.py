"""Writes loops as files, and the page index.html that shows and plays them.

The page needs no network and no server: a double click opens it. It lists all loops of
its folder, the newest first. What it says of older loops is read from the page itself.

A browser's <audio loop> is silent for a tenth of a second at each repetition (104 ms in
Chromium 156), but Web Audio repeats to the sample. A page that is opened as a file may
not read files, so the newest loops' sound is in the page.
"""
from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import dataclasses
import html
import io
import itertools
import json
import math
import os
import re
import threading
import typing
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence

from drumloops import grid
from drumloops.errors import MOST_SEED, UserError, field, in_words
from drumloops.midi import sound, soundfonts
from drumloops.output import plots, web_files
from drumloops.system import disk
import numpy as np
from tqdm.auto import tqdm

if typing.TYPE_CHECKING:
  from drumloops.grid import Hit
  from drumloops.loop import DrumLoop
  import matplotlib.figure
  import PIL.Image

PAGE = 'index.html'
# Where a grid lies in its picture, as shares of the picture's size.
LEFT, RIGHT, TOP, BOTTOM = 0.1, 0.99, 0.88, 0.1
DPI = 100
WIDTH, HEIGHT = round(plots.WIDTH * DPI), round(plots.ROW * DPI)  # Of a picture.
# What a page knows of a loop.
FACTS = {'name': str, 'config': str, 'checkpoint': str, 'mode': str, 'seed': int,
         'temperature': (int, float), 'qpm': (int, float), 'humanized': bool}
# More facts, which some loops and older pages lack.
MORE_FACTS = {'style': str, 'kept': str, 'sliders': str, 'form': str,
              'amount': (int, float), 'take': int, 'drummer': int,
              'velocity': (int, float, str), 'timing': (int, float, str), 'swing': str,
              'ornaments': (int, float)}
EMBEDDED = 16  # Loops whose sound is in the page; others repeat with a gap.
SHOWN = 100  # Loops that are complete at once; others when they are near.


def write(loops: Sequence[DrumLoop], output_dir: str, name: str,
          soundfont: str | None = None, sounds: bool = True, pictures: bool = True,
          stems: bool = False) -> dict[str, object]:
  """Writes NAME-1.mid, .wav and .png ... and the page into a folder.

  Args:
    loops: Loops that a model made, all by one request.
    output_dir: The folder, made if need be.
    name: What the files' names begin with. If other loops are called so, the name is
      NAME-take2 or the like.
    soundfont: Of `soundfonts.find_soundfont`.
    sounds: Whether to write WAV files.
    pictures: Whether to write pictures.
    stems: Whether to write a WAV file of each drum too, as NAME-1-kick.wav.

  Returns:
    {'name': name, 'midi': paths, 'picture': paths, 'wav': paths (none if the SoundFont
    can't be played), 'stems': paths, 'page': path, 'was_there': whether these very
    loops were}. If the loops go from one to another, also the path of a picture of all:
    'strip'.

  Raises:
    UserError: if there is no such SoundFont, the loops are no model's, or they have no
      stems.
  """
  if 'mode' not in loops[0].facts:
    raise UserError('The page is of loops that a model made; save others one by one, '
                    "as by loop.save('a.mid').")
  output_dir = os.path.expanduser(output_dir)
  os.makedirs(output_dir, exist_ok=True)
  if stems and not sounds:
    raise UserError(f'{field("stems")} are WAV files; without sound there are none.')
  if stems and any(not note.is_drum for loop in loops for note in loop.other_notes):
    raise UserError(f'{field("stems")} are of drums; these loops have other '
                    'instruments, too.')
  files = [loop.to_midi() for loop in loops]
  facts = {**loops[0].facts,
           'soundfont': os.path.basename(soundfonts.find_soundfont(soundfont))}
  with alone(output_dir):  # The MIDI files reserve the name.
    name = free_name(output_dir, name, files, facts['soundfont'])
    bases = [os.path.join(output_dir, f'{name}-{i + 1}') for i in range(len(files))]
    was_there = all(os.path.exists(base + '.mid') for base in bases)
    for base, file in zip(bases, files):
      with disk.replacing(base + '.mid') as path, open(path, 'wb') as f:
        f.write(file)
  renderer = Renderer(soundfont, sounds, pictures, stems)
  futures, executor = [], concurrent.futures.ThreadPoolExecutor(os.cpu_count())
  try:
    for i, (loop, base) in enumerate(zip(loops, bases)):
      futures.append(executor.submit(renderer, base, loop, f'{name} {i + 1}'))
    rendered = [future.result() for future in tqdm(
        futures, desc='Rendering', unit='loop', leave=False)]
  finally:  # If it is stopped, the page has the loops that are finished.
    executor.shutdown(wait=False, cancel_futures=True)
    with alone(output_dir):
      write_page(output_dir, [
          {'name': os.path.basename(base), 'bars': loop.bars, **facts}
          for base, loop, future in zip(bases, loops, futures)
          if future.done() and not future.cancelled() and not future.exception()])
  wavs = [paths[0] for paths in rendered if paths]
  for remark in sound_remarks(loops, soundfont) if wavs else [renderer.why_silent or '']:
    print(remark, end='\n' * bool(remark))
  written = {'name': name, 'midi': [base + '.mid' for base in bases], 'wav': wavs,
             'picture': [base + '.png' for base in bases if pictures],
             'stems': [path for paths in rendered for path in paths[1:]],
             'page': os.path.join(output_dir, PAGE), 'was_there': was_there}
  if facts['mode'] == 'interpolate':
    written['strip'] = os.path.join(output_dir, name + '.png')
    plots.plot_interpolation(
        [hits_in_file(loop) for loop in loops], loops[0].bars, *facts['inputs']).savefig(
            written['strip'], dpi=DPI)
  return written


def describe_files(loops: Sequence[DrumLoop], written: Mapping[str, object],
                   source: str) -> list[str]:
  """Returns sentences on what `write` returned.

  Args:
    loops: What was written.
    written: What it returned.
    source: What made them.
  """
  facts = loops[0].facts
  said = [f'{len(loops)} loop{"s" * (len(loops) > 1)} from {source}: '
          f'{written["midi"][0]} ...; listen to them in {written["page"]}']
  if written['stems']:
    said.append(f'{len(written["stems"])} stems, a WAV file of each drum, are beside '
                f'them: {written["stems"][0]} ...')
  if written['was_there']:
    has_others = facts['mode'] == 'sample' and facts['seed'] < MOST_SEED
    said.append(in_words(
        'They were there already: the same seed gives the same loops' + (
            f', and {field("seed", facts["seed"] + 1)} gives others.' if has_others
            else '.')))
  return said


def hits_in_file(loop: DrumLoop) -> list[Hit]:
  """Returns a loop's hits of the nine drums as its file has them: none before 0."""
  return [hit._replace(time=max(0, hit.time)) for hit in loop.hits if hit.drum]


def sound_remarks(loops: Sequence[DrumLoop], soundfont: str | None) -> list[str]:
  """Returns sentences on the sound of loops: see `sound.Player.remarks`."""
  kinds = {(loop.map, hit.drum, hit.pitch): hit for loop in loops for hit in loop.hits}
  of_kinds = [dataclasses.replace(
      loops[0], hits=(hit,), kept=None, map=kit, other_notes=())
      for (kit, *_), hit in kinds.items()]
  return sound.load_player(soundfont).remarks({
      note.pitch for loop in of_kinds for note in loop.to_note_sequence().notes} | {
          note.pitch for loop in loops for note in loop.other_notes if note.is_drum})


class Renderer:
  """Draws and plays loops, in any number of threads.

  Sounds are mixed one at a time; pictures are drawn and files written meanwhile.
  """

  def __init__(self, soundfont: str | None, sounds: bool, pictures: bool, stems: bool):
    """Takes what `write` takes."""
    self._soundfont, self._sounds = soundfont, sounds
    self._pictures, self._stems = pictures, stems
    self._painters = {}  # By number of bars.
    self._lock = threading.Lock()
    self.why_silent = None  # Why sound was asked for and not made.

  def __call__(self, base: str, loop: DrumLoop, title: str) -> list[str]:
    """Writes BASE.png, BASE.wav and stems; returns the WAV files, BASE.wav first."""
    if self._pictures:
      with self._lock:  # matplotlib is not made for several threads.
        if loop.bars not in self._painters:
          self._painters[loop.bars] = Painter(loop.bars)
        image = self._painters[loop.bars](
            title, hits_in_file(loop), loop.kept_pattern())
      with disk.replacing(base + '.png') as path:
        image.save(path, compress_level=1)  # More takes longer, and saves 2 kB.
    if not self._sounds or self.why_silent:
      return []
    paths = [base + '.wav']
    try:
      player = sound.load_player(self._soundfont)
      with contextlib.ExitStack() as stack:
        def stem(drum):
          paths.append(f'{base}-{drum.replace(" ", "-")}.wav')
          return stack.enter_context(disk.replacing(paths[-1]))
        player.write_wav(
            loop.to_note_sequence(), stack.enter_context(disk.replacing(paths[0])),
            stem if self._stems else None)
      return paths
    except UserError as e:
      self.why_silent = str(e)
      if self.why_silent != in_words(sound.NO_SOUND):
        self.why_silent = f'No sound was made: {e}'
    return []


def alone(folder: str) -> contextlib.AbstractContextManager[None]:
  """Locks a folder, so that no other process writes loops into it."""
  return disk.locked(folder, -1, '')


def free_name(folder: str, name: str, files: Sequence[bytes], soundfont: str) -> str:
  """Returns `name`, or `name`-take2 ... so that no other loops are overwritten.

  Files of the same bytes are the same loops, if the same SoundFont plays them.

  Args:
    folder: Where the loops will be written.
    name: What their names shall begin with.
    files: The bytes of each loop's MIDI file.
    soundfont: The SoundFont's name.
  """
  sounds = {entry['name']: entry.get('soundfont', soundfont)
            for entry in read_entries(os.path.join(folder, PAGE))[0]}
  def is_free(candidate):
    for i, file in enumerate(files):
      if sounds.get(f'{candidate}-{i + 1}', soundfont) != soundfont:
        return False
      path = os.path.join(folder, f'{candidate}-{i + 1}.mid')
      if os.path.exists(path):
        with open(path, 'rb') as f:
          if f.read() != file:
            return False
    return True
  names = itertools.chain([name], (f'{name}-take{i}' for i in itertools.count(2)))
  return next(filter(is_free, names))


def empty_picture() -> tuple[matplotlib.figure.Figure, matplotlib.axes.Axes]:
  """Returns a figure, and its axis where the page expects a grid."""
  figure, axes = plots.figure_of(1, layout=None)
  figure.subplots_adjust(LEFT, BOTTOM, RIGHT, TOP)
  return figure, axes[0, 0]


class Painter:
  """Draws the pictures of many loops, as `plots.drum_grid` does, in a tenth of the time.

  matplotlib draws an empty grid once, and titles; PIL draws the hits.
  """

  def __init__(self, bars: int):
    """Draws the grid of so many bars."""
    from matplotlib.backends import backend_agg
    self._bars, self._grids = bars, {}  # Empty grids, by legend.
    figure, self._axis = empty_picture()
    figure.set_dpi(DPI)
    plots.empty_grid(self._axis, bars)
    self._canvas = backend_agg.FigureCanvasAgg(figure)

  def _empty_grid(self, legend):
    """Returns a canvas's content without title."""
    if legend not in self._grids:
      plots.set_title(self._axis, '', fontsize=10, loc='left')
      self._axis.set_title(legend, fontsize=8, loc='right')
      self._canvas.draw()
      self._grids[legend] = self._canvas.copy_from_bbox(self._canvas.figure.bbox)
    return self._grids[legend]

  def __call__(self, title: str, hits: Sequence[Hit],
               kept: np.ndarray | None = None) -> PIL.Image.Image:
    """Returns a picture.

    Args:
      title: Above the grid.
      hits: The loop's.
      kept: Of `plots.drum_grid`.
    """
    from PIL import Image, ImageColor, ImageDraw
    boxes, lines = plots.marks(hits, self._bars, kept)
    self._canvas.restore_region(self._empty_grid(plots.legend(lines, kept)))
    self._axis.draw_artist(
        plots.set_title(self._axis, title, fontsize=10, loc='left'))
    image = Image.frombuffer('RGBA', self._canvas.get_width_height(),
                             self._canvas.buffer_rgba(), 'raw', 'RGBA', 0, 1
                             ).convert('RGB')
    put = ImageDraw.Draw(image, 'RGBA')  # Blends colours with the grid.
    # As matplotlib: edges lie between pixels.
    (x0, y0), (x1, y1) = self._axis.transData.transform([(0, 0), (1, 1)]).tolist()
    def pixels(left, right, low, high):
      left, right = (math.floor(x0 + (x1 - x0) * x + 0.5) for x in (left, right))
      low, high = (image.height - math.floor(y0 + (y1 - y0) * y + 0.5)
                   for y in (low, high))
      return left, high, max(left, right - 1), low - 1  # In long loops, a pixel.
    for box, colour, shade in boxes:
      put.rectangle(pixels(*box), (*ImageColor.getrgb(colour), round(255 * shade)))
    # A line's edges cover a part of a pixel.
    whole, rest = divmod(plots.LINE * DPI / 72 / 2, 1)
    orange = ImageColor.getrgb(plots.ORANGE)
    for x, low, high in lines:
      x, top, _, bottom = pixels(x, x, low, high)
      for wide, shade in ((whole + 1, rest), (whole, 1)):
        put.rectangle((x - wide, top, x + wide - 1, bottom),
                      (*orange, round(255 * shade)))
    return image


def is_entry(entry: object) -> bool:
  """Whether these are facts of a loop that a page can show."""
  return (isinstance(entry, dict) and
          all(isinstance(entry.get(key), kind) for key, kind in FACTS.items()) and
          all(entry.get(key) is None or isinstance(entry[key], kind)
              for key, kind in MORE_FACTS.items()) and
          isinstance(entry.get('inputs', []), list) and
          all(isinstance(name, str) for name in entry.get('inputs', [])) and
          isinstance(entry.get('bars', grid.BARS), int) and
          os.path.basename(entry['name']) == entry['name'])


def read_entries(path: str) -> tuple[list[dict[str, object]], bool]:
  """Returns the facts of a page's loops, and whether the page is undamaged.

  Damaged facts are left out.
  """
  try:
    with open(path, encoding='utf-8') as f:
      text = f.read()
  except FileNotFoundError:
    return [], True
  except (OSError, UnicodeDecodeError):
    text = ''
  match = re.search(
      r'<script type="application/json" id="facts"(?: data-crc="(\d+)")?>(.*?)'
      r'</script>', text, re.S)
  try:
    entries = json.loads(match[2]) if match else None
  except ValueError:
    entries = None
  if not isinstance(entries, list):
    return [], False
  known = [e for e in entries if is_entry(e)]
  # Pages that older versions wrote have no checksum.
  is_same = match[1] is None or int(match[1]) == crc(match[2])
  return known, is_same and len(known) == len(entries)


def write_page(folder: str, entries: list[dict[str, object]]) -> None:
  """Writes the page of a folder, with new loops before those that it lists already.

  Args:
    folder: Where the loops' files are.
    entries: [{'name': of the files without ending, 'qpm', ...}].
  """
  path = os.path.join(folder, PAGE)
  old, is_whole = read_entries(path)
  if not is_whole:
    print(f'{path} is damaged or not a page of loops; older loops that it does '
          'not tell of are still in its folder.')
  names = {entry['name'] for entry in entries}
  entries = entries + [
      entry for entry in old if entry['name'] not in names and
      os.path.exists(os.path.join(folder, entry['name'] + '.mid'))]
  with disk.replacing(path) as temporary, open(
      temporary, 'w', encoding='utf-8') as f:
    f.write(page(folder, entries))


def describe(entry: Mapping[str, object]) -> str:
  """Returns a loop's facts in words, such as '120 beats a minute · funk'."""
  is_sample = entry['mode'] == 'sample'
  config, checkpoint = entry['config'], entry['checkpoint']
  def said(key, words, usual=None):
    """Returns words about a fact, unless it is missing or has its usual value."""
    value = entry.get(key)
    shown = f'{value:g}' if isinstance(value, float) else value
    return [] if value in (None, usual) else [words.format(shown)]
  humanized = ', '.join([
      'humanized', *said('take', 'take {}'), *said('drummer', 'like drummer {}'),
      *said('velocity', 'velocity {}', 1), *said('timing', 'timing {}', 1),
      *said('ornaments', 'ornaments {}', 0)])
  source = f'{entry["mode"]} {" to ".join(entry.get("inputs", []))}'.strip()
  return ' · '.join([
      f'{entry["qpm"]:g} beats a minute', *[source] * (not is_sample),
      *said('amount', 'amount {}'), *said('kept', '{}'), *said('sliders', '{}'),
      *said('form', '{}'),
      *(said('style', '{}') or ['any style'] * is_sample),
      *[humanized] * entry['humanized'], *said('swing', 'swing {}'),
      f'seed {entry["seed"]}',
      f'temperature {entry["temperature"]:g}' if entry['temperature'] else
      'the most likely drums',
      checkpoint if config in checkpoint else f'{config}, {checkpoint}'])


def flac(path: str) -> str:
  """Returns a WAV file's samples as FLAC in base64."""
  import soundfile
  audio, rate = soundfile.read(path, dtype='int16')
  packed = io.BytesIO()
  soundfile.write(packed, audio, rate, format='FLAC', subtype='PCM_16')
  return base64.b64encode(packed.getvalue()).decode()


def section(folder: str, entry: Mapping[str, object], place: int) -> str:
  """Returns the HTML of one loop, the `place`th of the page."""
  name, text = html.escape(entry['name']), html.escape(describe(entry))
  url = urllib.parse.quote(entry['name'])
  path = os.path.join(folder, entry['name'])
  links = f'<a href="./{url}.mid" download>MIDI</a>'
  steps = entry.get('bars', grid.BARS) * grid.STEPS_PER_BAR
  wav = sound = grid_html = ''
  if os.path.exists(path + '.png'):
    # The picture has its size from the start, but is loaded when it is near.
    grid_html = (f'<div class="grid"><img src="./{url}.png" width="{WIDTH}" '
                 f'height="{HEIGHT}" loading="lazy" alt="Drum grid of {name}">'
                 '<div class="head"></div></div>')
  button = '<span>No sound was made.</span>'
  if os.path.exists(path + '.wav'):
    wav = f'./{url}.wav'
    links += f' <a href="{wav}" download>WAV</a>'
    button = f'<button type="button" aria-label="Play or stop {name}">Play</button>'
    if place < EMBEDDED:
      sound = ('<script type="text/plain" class="flac">'
               f'{flac(path + ".wav")}</script>')
  content, kind = f'{grid_html}<div class="row">{button}{links}</div>{sound}', ''
  if place >= SHOWN:
    content, kind = f'<!--{content}-->', ' far'
  return (f'<article class="loop{kind}" tabindex="-1" aria-label="{name}" '
          f'data-wav="{wav}" data-steps="{steps}"><h2>{name}</h2><p>{text}</p>'
          f'{content}</article>')


def crc(facts: str) -> int:
  """Returns the checksum that shows whether a page's facts are damaged."""
  return zlib.crc32(facts.encode())


def page(folder: str, entries: Sequence[Mapping[str, object]]) -> str:
  """Returns the HTML of the whole page."""
  facts = json.dumps(entries, indent=0).replace('<', '\\u003c')
  return web_files.fill('gallery/gallery.html', {
      'CSS': web_files.read('shared/base.css') + web_files.read('gallery/gallery.css'),
      'TOP': f'{100 * (1 - TOP):g}%', 'HEIGHT': f'{100 * (TOP - BOTTOM):g}%',
      'COUNT': len(entries), 'FACTS': facts, 'CRC': crc(facts),
      'LOOPS': '\n'.join(
          section(folder, entry, i) for i, entry in enumerate(entries)),
      'SPEC': web_files.to_json({
          'rate': sound.SAMPLE_RATE, 'grid': {'left': LEFT, 'right': RIGHT}}),
      'SCRIPT': web_files.join_modules('gallery/gallery.js')})
