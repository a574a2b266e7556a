"""Writes loops as files, and the page index.html to look at and listen to them.

The page needs no network and no server: a double click opens it. It lists all
loops of its folder, the newest run's first, and remembers by itself what was
said of the older ones.

A browser's <audio loop> is silent for a tenth of a second at each joint (104 ms
in Chromium 156), but Web Audio repeats to the sample. A page that is opened as a
file may not read files, so the newest loops' sound is in the page.
"""
import base64
import concurrent.futures
import html
import io
import itertools
import json
import math
import os
import re
import threading
import urllib.parse
import zlib

from drumloops import grid
from drumloops.errors import UserError
from drumloops.midi import loop_file, sound
from drumloops.output import plots
from drumloops.system import disk
from tqdm.auto import tqdm

PAGE = 'index.html'
# Where a grid lies in its picture, as shares of the picture's size.
LEFT, RIGHT, TOP, BOTTOM = 0.1, 0.99, 0.88, 0.1
DPI = 100
WIDTH, HEIGHT = round(plots.WIDTH * DPI), round(plots.ROW * DPI)  # Of a picture.
# What a page knows of a loop.
FACTS = {'name': str, 'config': str, 'checkpoint': str, 'mode': str, 'seed': int,
         'temperature': (int, float), 'qpm': (int, float), 'humanized': bool}
# What it may know, too: some loops have none of it, nor have older pages.
MORE_FACTS = {'style': str, 'kept': str, 'amount': (int, float), 'take': int,
              'drummer': int, 'velocity': (int, float), 'timing': (int, float)}
EMBEDDED = 16  # Loops whose sound is in the page; others play with a gap.
SHOWN = 100  # Loops that are whole from the start; others once they are near.
CSS = '''
:root { color-scheme: light dark; --line: #8886; --accent: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto;
  padding: 1rem; }
h1 { font-size: 1.5rem; margin: 0.5rem 0 0; }
.loop { border: 1px solid var(--line); border-radius: 8px; padding: 0.75rem 1rem;
  margin: 1rem 0; content-visibility: auto; contain-intrinsic-height: auto 22rem; }
.far { min-height: 22rem; }
.loop.playing { border-color: var(--accent); box-shadow: 0 0 0 1px var(--accent); }
h2 { font-size: 1.1rem; margin: 0; }
p { margin: 0.25rem 0; }
.grid { position: relative; background: white; }
.grid img { display: block; width: 100%; height: auto; }
.head { position: absolute; width: 2px; background: #d55e00; display: none; }
.playing .head { display: block; }
.row { display: flex; flex-wrap: wrap; gap: 0.5rem 1rem; align-items: center;
  margin-top: 0.5rem; }
button { font: inherit; padding: 0.4rem 1.2rem; border-radius: 6px; cursor: pointer;
  border: 1px solid var(--accent); background: none; color: inherit; }
.playing button { background: var(--accent); color: white; }
a { padding: 0.25rem 0.5rem; }
kbd { border: 1px solid var(--line); border-radius: 4px; padding: 0 0.3rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
'''
SCRIPT = '''
const loops = [...document.querySelectorAll('.loop')];
// But for their texts, older loops are comments until they are near: the page opens in
// half the time, with less memory.
function fill(loop) {
  if (loop.classList.replace('far', 'near')) {
    const comment = loop.lastChild;
    loop.insertAdjacentHTML('beforeend', comment.data);
    comment.remove();
  }
  return loop;
}
const observer = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (isIntersecting) { observer.unobserve(target); fill(target); }
  }
}, {rootMargin: '200%'});
document.querySelectorAll('.far').forEach(loop => observer.observe(loop));
let context = null;  // Made at the first key or click, as browsers demand.
let current = 0;  // The loop that the keys are about.
let playing = null;  // {i, start(), stop(), position()}

async function seamless(flac) {
  const bytes = Uint8Array.from(atob(flac.textContent), c => c.charCodeAt(0));
  const buffer = await context.decodeAudioData(bytes.buffer);
  const source = new AudioBufferSourceNode(context, {buffer, loop: true});
  source.connect(context.destination);
  return {
    start: () => { source.began = context.currentTime; source.start(); },
    stop: () => source.stop(),
    position: () => (context.currentTime - source.began) / buffer.duration % 1};
}
async function fromFile(url) {
  const audio = new Audio(url);
  audio.loop = true;
  await new Promise((done, fail) => {
    audio.oncanplay = done;
    audio.onerror = () => fail(new Error(`${url} can't be played`));
  });
  return {start: () => audio.play().catch(() => {}),  // Stopped at once.
          stop: () => audio.pause(),
          position: () => audio.currentTime / audio.duration};
}
let wanted = null;  // The loop that plays, or will when its sound is ready.
async function play(i) {
  stop();
  if (!loops[i].dataset.wav) return;
  wanted = current = i;
  fill(loops[i]);
  show(i, true);
  context ??= new AudioContext({sampleRate: RATE});
  context.resume();
  const flac = loops[i].querySelector('.flac');
  try {
    const player = await (flac ? seamless(flac) : fromFile(loops[i].dataset.wav));
    if (wanted !== i || playing) return;  // Changed in the meantime.
    playing = {i, ...player};
    playing.start();
    requestAnimationFrame(draw);
  } catch (error) {
    if (wanted !== i) return;
    stop();
    loops[i].querySelector('button').textContent = 'No sound';
  }
}
function stop() {
  if (playing) playing.stop();
  if (wanted !== null) show(wanted, false);
  wanted = playing = null;
}
function show(i, isPlaying) {
  loops[i].classList.toggle('playing', isPlaying);
  loops[i].querySelector('button').textContent = isPlaying ? 'Stop' : 'Play';
}
function toggle(i) {
  if (wanted === i) stop(); else play(i);
}
function place(i, position) {
  const head = loops[i].querySelector('.head');
  if (!head) return;  // There is no picture.
  const steps = Number(loops[i].dataset.steps);
  // The picture begins half a step before the first step.
  const share = (steps * position + 0.5) / (steps + 0.5);
  head.style.left = 100 * (LEFT + (RIGHT - LEFT) * share) + '%';
}
function draw() {
  if (!playing) return;
  place(playing.i, playing.position());
  requestAnimationFrame(draw);
}
function move(by) {
  const next = Math.min(loops.length - 1, Math.max(0, current + by));
  if (next === current) return;
  const wasPlaying = wanted !== null;
  current = next;
  fill(loops[next]).focus();
  loops[next].scrollIntoView({block: 'nearest'});
  if (wasPlaying) play(next);
}
const loopOf = event => loops.indexOf(event.target.closest('.loop'));
document.addEventListener('focusin', event => {
  if (loopOf(event) >= 0) current = loopOf(event);
});
document.addEventListener('click', event => {
  if (event.target.closest('button')) toggle(loopOf(event));
});
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey ||
      event.repeat && event.key === ' ') return;
  const action = {' ': () => toggle(current), ArrowDown: () => move(1),
                  ArrowUp: () => move(-1)}[event.key];
  // A button has its own use for the space bar.
  if (!action || event.key === ' ' && event.target.closest('button')) return;
  event.preventDefault();
  action();
});
'''


def write_loops(loops, output_dir, name, facts, soundfont=None, kept=None,
                hits=None, sounds=True, pictures=True):
  """Writes NAME-1.mid, .wav and .png ... and the page into `output_dir`.

  Args:
    loops: What `loop_file.as_loop` returned.
    output_dir: Folder, made if need be.
    name: What the files' names begin with; if other loops are called so, the
      name is NAME-take2 or the like.
    facts: What the page says of these loops: {'qpm', 'style', 'seed', ...}.
    soundfont: Of `sound.find_soundfont`.
    kept: Which hits of each loop were given, bool [loops, steps, drums], if any.
    hits: Each loop's Hits, for the pictures; by default those of `loop_file.hits`.
    sounds: Whether to write WAV files.
    pictures: Whether to write pictures.

  Returns:
    {'name': name, 'midi': paths, 'picture': paths, 'wav': paths (none without
    FluidSynth), 'page': path, 'was_there': whether these very loops were}.
  """
  os.makedirs(output_dir, exist_ok=True)
  files = [loop_file.midi_bytes(loop) for loop in loops]
  facts = {**facts, 'soundfont': os.path.basename(sound.find_soundfont(soundfont))}
  with alone(output_dir):  # The files with the MIDI keep the name for us.
    name = free_name(output_dir, name, files, facts['soundfont'])
    bases = [os.path.join(output_dir, f'{name}-{i + 1}')
             for i in range(len(files))]
    was_there = all(os.path.exists(base + '.mid') for base in bases)
    for base, file in zip(bases, files):
      with disk.replacing(base + '.mid') as path, open(path, 'wb') as f:
        f.write(file)
  paths = {'name': name, 'midi': [base + '.mid' for base in bases], 'wav': [],
           'picture': [base + '.png' for base in bases if pictures],
           'page': os.path.join(output_dir, PAGE), 'was_there': was_there}
  renderer, futures = Renderer(soundfont, sounds, pictures), []
  executor = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
  try:
    for i, (loop, base) in enumerate(zip(loops, bases)):
      futures.append(executor.submit(
          renderer, base, loop, f'{name} {i + 1}', None if kept is None else kept[i],
          loop_file.hits(loop) if hits is None else hits[i]))
    for base, future in zip(bases, tqdm(
        futures, desc='Rendering', unit='loop', leave=False)):
      if future.result():
        paths['wav'].append(base + '.wav')
  finally:  # If it is stopped, the page has those that are through.
    executor.shutdown(wait=False, cancel_futures=True)
    if renderer.why_silent:
      print(renderer.why_silent)
    with alone(output_dir):
      write_page(output_dir, [
          {'name': os.path.basename(base), 'bars': loop_file.bars_of(loop), **facts}
          for base, loop, future in zip(bases, loops, futures)
          if future.done() and not future.cancelled() and not future.exception()])
  return paths


def write(loops, output_dir, name, soundfont=None, sounds=True, pictures=True):
  """Writes DrumLoops that a model made, as `write_loops` does.

  If they go from one loop to another, also a picture of all, NAME.png: 'strip'.
  """
  output_dir, facts = os.path.expanduser(output_dir), loops[0].facts
  # As they are in the file: nothing is before its beginning.
  hits = [[hit._replace(time=max(0, hit.time)) for hit in loop.hits if hit.drum]
          for loop in loops]
  paths = write_loops(
      [loop.to_note_sequence() for loop in loops], output_dir, name, facts, soundfont,
      None if loops[0].kept is None else [loop.kept_pattern() for loop in loops], hits,
      sounds, pictures)
  if paths['wav']:
    for remark in sound.load_player(soundfont).remarks(
        {hit.pitch for loop in loops for hit in loop.hits if hit.pitch}):
      print(remark)
  if facts['mode'] == 'interpolate':
    paths['strip'] = os.path.join(output_dir, paths['name'] + '.png')
    plots.plot_interpolation(hits, loops[0].bars, *facts['inputs']).savefig(
        paths['strip'], dpi=DPI)
  return paths


class Renderer:
  """Draws and plays loops, in any number of threads.

  FluidSynth and zlib, which take most of the time, let other threads go on.
  """

  def __init__(self, soundfont, sounds, pictures):
    """Takes what `write_loops` does."""
    self._soundfont = soundfont
    self._sounds, self._pictures = sounds, pictures
    self._painters = {}  # By number of bars.
    self._here = threading.local()  # Has a thread's own sound.Player.
    self._lock = threading.Lock()
    self.why_silent = None  # Why there is no sound, although it was asked for.

  def __call__(self, base, loop, title, kept, hits):
    """Writes BASE.png and BASE.wav; returns whether there is the latter."""
    if self._pictures:
      with self._lock:  # matplotlib is not made for several threads.
        bars = loop_file.bars_of(loop)
        if bars not in self._painters:
          self._painters[bars] = Painter(bars)
        image = self._painters[bars](
            title, hits, kept)
      with disk.replacing(base + '.png') as path:
        image.save(path, compress_level=1)  # More takes longer, and saves 2 kB.
    if not self._sounds or self.why_silent:
      return False
    try:
      with self._lock:
        if not hasattr(self._here, 'player'):
          self._here.player = sound.Player(self._soundfont)
      with disk.replacing(base + '.wav') as path:
        self._here.player.write_wav(loop, path)
      return True
    except ImportError:
      self.why_silent = sound.NO_SOUND
    except UserError as e:
      self.why_silent = f'No sound was made: {e}'
    return False


def alone(folder):
  """Keeps other processes from writing loops into a folder meanwhile."""
  return disk.locked(folder, -1, '')


def free_name(folder, name, files, soundfont):
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


def picture(loop, title, found=None, kept=None):
  """Returns a figure of one loop's grid, which lies where the page expects it.

  Args:
    loop: What `loop_file.as_loop` returned.
    title: Above the grid.
    found: The hits, if they are not of a config's own pitches (`loop_file.hits`).
    kept: Which of them were given, as `plots.drum_grid` takes it.
  """
  figure, axis = empty_picture()
  plots.drum_grid(axis, loop_file.hits(loop) if found is None else found,
                  loop_file.bars_of(loop), title, kept=kept)
  return figure


def empty_picture():
  """Returns a figure, and its axis where the page expects a grid."""
  figure, axes = plots.figure_of(1, layout=None)
  figure.subplots_adjust(LEFT, BOTTOM, RIGHT, TOP)
  return figure, axes[0, 0]


class Painter:
  """Draws the pictures of many loops, as `picture` does, in a tenth of the time.

  matplotlib draws an empty grid once, and titles; PIL draws the hits.
  """

  def __init__(self, bars):
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

  def __call__(self, title, found, kept=None):
    """Returns a picture, of PIL.

    Args:
      title: Above the grid.
      found: What `loop_file.hits` returned.
      kept: Of `plots.drum_grid`.
    """
    from PIL import Image, ImageColor, ImageDraw
    boxes, lines = plots.marks(found, self._bars, kept)
    self._canvas.restore_region(self._empty_grid(plots.legend(lines, kept)))
    self._axis.draw_artist(
        plots.set_title(self._axis, title, fontsize=10, loc='left'))
    image = Image.frombuffer('RGBA', self._canvas.get_width_height(),
                             self._canvas.buffer_rgba(), 'raw', 'RGBA', 0, 1
                             ).convert('RGB')
    put = ImageDraw.Draw(image, 'RGBA')  # Lets what is below shine through.
    # As matplotlib, which puts edges where pixels meet.
    (x0, y0), (x1, y1) = self._axis.transData.transform([(0, 0), (1, 1)]).tolist()
    def pixels(left, right, low, high):
      left, right = (math.floor(x0 + (x1 - x0) * x + 0.5) for x in (left, right))
      low, high = (image.height - math.floor(y0 + (y1 - y0) * y + 0.5)
                   for y in (low, high))
      return left, high, max(left, right - 1), low - 1  # In long loops, a pixel.
    for box, colour, shade in boxes:
      put.rectangle(pixels(*box), (*ImageColor.getrgb(colour), round(255 * shade)))
    # A line has edges that cover a part of a pixel.
    whole, rest = divmod(plots.LINE * DPI / 72 / 2, 1)
    orange = ImageColor.getrgb(plots.ORANGE)
    for x, low, high in lines:
      x, top, _, bottom = pixels(x, x, low, high)
      for wide, shade in ((whole + 1, rest), (whole, 1)):
        put.rectangle((x - wide, top, x + wide - 1, bottom),
                      (*orange, round(255 * shade)))
    return image


def is_entry(entry):
  """Whether a page can say this of a loop."""
  return (isinstance(entry, dict) and
          all(isinstance(entry.get(key), kind) for key, kind in FACTS.items()) and
          all(entry.get(key) is None or isinstance(entry[key], kind)
              for key, kind in MORE_FACTS.items()) and
          isinstance(entry.get('inputs', []), list) and
          all(isinstance(name, str) for name in entry.get('inputs', [])) and
          isinstance(entry.get('bars', grid.BARS), int) and
          os.path.basename(entry['name']) == entry['name'])


def read_entries(path):
  """Returns what an older page says of its loops, and whether it is whole.

  What is damaged of it is left out.
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


def write_page(folder, entries):
  """Puts loops before those that the folder's page lists already.

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


def describe(entry):
  """Returns a loop's facts in words, such as '120 beats a minute · funk'."""
  is_sample = entry['mode'] == 'sample'
  config, checkpoint = entry['config'], entry['checkpoint']
  def said(key, words, usual=None):
    """Returns words about a fact; none about one that is missing or the usual."""
    value = entry.get(key)
    return [] if value in (None, usual) else [words.format(value)]
  humanized = ', '.join([
      'humanized', *said('take', 'take {}'), *said('drummer', 'like drummer {}'),
      *said('velocity', 'velocity {:g}', 1), *said('timing', 'timing {:g}', 1)])
  source = f'{entry["mode"]} {" to ".join(entry.get("inputs", []))}'.strip()
  return ' · '.join([
      f'{entry["qpm"]:g} beats a minute', *[source] * (not is_sample),
      *said('amount', 'amount {:g}'), *said('kept', '{}'),
      *(said('style', '{}') or ['any style'] * is_sample),
      *[humanized] * entry['humanized'], f'seed {entry["seed"]}',
      f'temperature {entry["temperature"]:g}' if entry['temperature'] else
      'the most likely drums',
      checkpoint if config in checkpoint else f'{config}, {checkpoint}'])


def flac(path):
  """Returns a WAV file's samples, losslessly compressed, as base64."""
  import soundfile
  audio, rate = soundfile.read(path, dtype='int16')
  packed = io.BytesIO()
  soundfile.write(packed, audio, rate, format='FLAC', subtype='PCM_16')
  return base64.b64encode(packed.getvalue()).decode()


def section(folder, entry, place):
  """Returns the HTML of one loop, the `place`th of the page."""
  name, text = html.escape(entry['name']), html.escape(describe(entry))
  url = urllib.parse.quote(entry['name'])
  path = os.path.join(folder, entry['name'])
  links = f'<a href="./{url}.mid" download>MIDI</a>'
  steps = entry.get('bars', grid.BARS) * grid.STEPS_PER_BAR
  wav = sound = grid_html = ''
  if os.path.exists(path + '.png'):
    # The size is known before the picture is, which is loaded when it is near.
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


def crc(facts):
  """Returns the checksum by which a page's damaged facts are known."""
  return zlib.crc32(facts.encode())


def page(folder, entries):
  """Returns the HTML of the whole page."""
  facts = json.dumps(entries, indent=0).replace('<', '\\u003c')
  sections = '\n'.join(section(folder, entry, i) for i, entry in enumerate(entries))
  top, height = 100 * (1 - TOP), 100 * (TOP - BOTTOM)
  return f'''<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Drum loops</title>
<link rel="icon" href="data:,">
<style>{CSS}.head {{ top: {top:g}%; height: {height:g}%; }}
</style>
</head>
<body>
<h1>Drum loops</h1>
<p>{len(entries)} loops, the newest first. <kbd>Space</kbd> plays and
stops, <kbd>↑</kbd> <kbd>↓</kbd> choose a loop. In the pictures: the darker, the
louder; an orange line shows where a hit off the grid is really played.</p>
{sections}
<script type="application/json" id="facts" data-crc="{crc(facts)}">{facts}</script>
<script>
const LEFT = {LEFT}, RIGHT = {RIGHT};
const RATE = {sound.SAMPLE_RATE};
{SCRIPT}</script>
</body>
</html>
'''
