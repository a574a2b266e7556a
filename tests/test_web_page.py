"""The page that makes loops itself, used in headless browsers from a file."""
import base64
import io
import json
import re
import shutil

import browser
import conftest
from drumloops import DrumLoop, Hit, errors, grid
from drumloops.export import web_app
from drumloops.midi import drum_maps, midi_file
from drumloops.models import sliders
from drumloops.output import web_files
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
import mido
import numpy as np
from own_loops import beat
import pytest
import soundfile
import test_midi

MAX_MB = 12
DONE = 'document.getElementById("loops").getAttribute("aria-busy") === "false"'
# What a test has at hand in the page: each loop's hits, as its grid shows them, and
# the files that it saves.
TOOLS = '''(() => {
  window.saved = [];
  const old = URL.createObjectURL;
  URL.createObjectURL = blob => { saved.push(blob); return old.call(URL, blob); };
  window.card = i => document.querySelectorAll('.loop')[i];
  window.act = (i, action) => card(i).querySelector(`[data-action=${action}]`).click();
  window.cell = (i, drum, step) => card(i).querySelector(
    `[data-row="${9 - drum}"][data-column="${step + 1}"]`);
  window.pattern = i => {
    const found = Array(card(i).querySelectorAll('[data-row="9"]').length - 1).fill(0);
    for (const {dataset: {row, column}} of card(i).querySelectorAll(
        '.cell[aria-pressed=true]')) found[column - 1] |= 1 << 9 - row;
    return found;
  };
  window.set = (id, value) => {
    const slider = document.getElementById(id);
    slider.value = value;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
  };
  window.copied = '';
  Object.defineProperty(navigator, 'clipboard', {configurable: true, value: {
    writeText: async text => { copied = text; }}});
  window.base64 = async blob => btoa(Array.from(
    new Uint8Array(await blob.arrayBuffer()), b => String.fromCharCode(b)).join(''));
})()'''


@pytest.fixture(scope='module')
def page(tmp_path_factory):
  path = tmp_path_factory.mktemp('web') / 'drums.html'
  result = conftest.script('web.py', f'--output={path}')
  assert not result.returncode, result.stderr
  assert str(path) in result.stdout and len(result.stdout.splitlines()) == 1
  return path


def set_up(window):
  """Waits for the loops."""
  window.wait(f'document.querySelectorAll(".loop").length > 0 && {DONE}')
  window.run(TOOLS)


@pytest.fixture
def window(page):
  with browser.Browser() as window:
    window.open(page)
    set_up(window)
    yield window
    assert not window.console_errors()
    # Nothing was fetched: a request would be an entry.
    assert window.run('performance.getEntriesByType("resource").length') == 0


def do(window, javascript):
  """Does something that the models take part in, and waits until it is done."""
  window.run(javascript)
  window.run('new Promise(done => setTimeout(done, 400))')
  window.wait(DONE)
  return window.run('document.getElementById("status").textContent')


def set_slider(window, name, value):
  return do(window, f'set({json.dumps(name)}, {value})')


def save(window, i, kind):
  """Returns the bytes of a loop's file."""
  window.run(f'(saved.length = 0, act({i}, {json.dumps(kind)}))')
  window.wait('saved.length > 0')
  return base64.b64decode(window.run('base64(saved[0])'))


def test_one_file_that_may_fetch_nothing(page):
  text = page.read_text()
  assert len(text) <= MAX_MB * 1e6
  [policy] = re.findall('Content-Security-Policy" content="([^"]*)"', text)
  policy = dict(part.split(maxsplit=1) for part in policy.split('; '))
  for name in 'script-src', 'style-src':  # By their hashes.
    policy[name] = re.sub("'sha256-[^']*'", 'own', policy[name])
  assert policy == {
      'default-src': "'none'", 'script-src': "own 'wasm-unsafe-eval'",
      'worker-src': 'blob:', 'style-src': 'own', 'img-src': 'data:',
      'form-action': "'none'", 'base-uri': "'none'"}


def before_scripts(window, javascript):
  """Runs JavaScript in a page before its own."""
  window.send('Page.addScriptToEvaluateOnNewDocument', source=javascript)


# What a browser may do that has no workers, or whose policy refuses them.
REFUSALS = {
    'none': 'delete window.Worker',
    'refused': """window.Worker = class extends EventTarget {
        constructor() { super(); setTimeout(() => this.onerror(new Event('error'))); }
      }"""}


@pytest.mark.parametrize('refusal', REFUSALS)
def test_without_a_worker_the_page_makes_the_same(page, refusal):
  found = []
  for before in 'window.workers = 0', REFUSALS[refusal]:
    with browser.Browser() as window:
      before_scripts(window, before)
      window.open(page)
      set_up(window)
      is_said = window.run('!document.getElementById("refused").hidden')
      assert is_said == (before == REFUSALS[refusal])
      window.run('set("tempo", 150)')
      do(window, 'act(1, "play")')
      window.wait('document.querySelector(".playing") !== null')
      found.append([all_patterns(window), *(
          save(window, 0, kind) for kind in ('midi', 'wav', 'stems'))])
      assert not window.console_errors()
  assert found[0] == found[1]


# Clicks on a button and cancels what that does. Returns how much was done, and said.
CANCEL = """(async click => {
  const byId = id => document.getElementById(id), shares = [];
  const frame = () => new Promise(done => setTimeout(done, 10));
  click();
  while (byId('job').hidden || byId('progress').value < 0.1) await frame();
  for (let i = 0; i < 5; i++, await frame()) shares.push(byId('progress').value);
  byId('cancel').focus();
  byId('cancel').click();
  while (!byId('job').hidden) await frame();
  return [shares, byId('status').textContent, document.activeElement.id];
})"""


def test_what_takes_long_is_shown_and_cancelled(window):
  for _ in range(3):
    do(window, 'act(1, "longer")')  # To 16 bars, whose rest takes seconds.
  before = all_patterns(window)
  window.run('document.getElementById("bars").value = 16')
  window.run('document.getElementById("bars").dispatchEvent(new Event("change"))')
  for click in ('document.getElementById("new").click()',
                """(card(1).querySelector('[data-row="9"][data-column="0"]').click(),
                  act(1, 'rest'))"""):
    shares, said, focused = window.run(f'{CANCEL}(() => {click})')
    assert shares == sorted(shares) and 0 < shares[0] < 1
    assert said == 'Cancelled.' and focused == 'status'
    assert all_patterns(window) == before
  # The page goes on as if that had not been.
  do(window, 'act(1, "rest")')
  assert all_patterns(window)[1] != before[1]


def test_loops_are_there_and_grids_are_sequencers(window):
  patterns = [window.run(f'pattern({i})') for i in range(4)]
  assert all(len(p) == 64 and any(p) for p in patterns)
  assert len({tuple(p) for p in patterns}) == 4
  before = patterns[0]
  do(window, 'cell(0, 7, 5).click()')  # A crash.
  after = window.run('pattern(0)')
  assert after[5] == before[5] ^ 1 << 7
  assert after[:5] + after[6:] == before[:5] + before[6:]
  do(window, 'document.getElementById("undo").click()')
  assert window.run('pattern(0)') == before


def test_midi_is_what_the_grid_shows(window, tmp_path):
  """Read back hit for hit; amount 0 is flat and on the grid."""
  magenta_setup.music_vae()
  for amount in (100, 0):
    set_slider(window, 'feel', amount)
    set_slider(window, 'tempo', 93)
    path = tmp_path / 'loop.mid'
    path.write_bytes(save(window, 0, 'midi'))
    file = midi_file.read(str(path))
    found = np.zeros(64, int)
    hits = midi_file.find_hits(file.tracks)
    for hit in hits:
      start = hit.on.tick / file.ticks_per_step
      found[grid.nearest_step(start)] |= 1 << drum_maps.drum_of_decoded(hit.pitch)
      assert amount or start == int(start)
    assert found.tolist() == window.run('pattern(0)')
    velocities = {hit.on.data[2] for hit in hits}
    assert (len(velocities) == 1) == (not amount)
    parsed = mido.MidiFile(path)
    assert parsed.length == pytest.approx(16 * 60 / 93, abs=1e-3)
    tempo, = (m.tempo for track in parsed.tracks for m in track
              if m.type == 'set_tempo')
    assert mido.tempo2bpm(tempo) == pytest.approx(93, abs=1e-3)


def test_wav_is_exactly_its_length(window):
  set_slider(window, 'tempo', 131)
  audio, rate = soundfile.read(io.BytesIO(save(window, 1, 'wav')))
  assert rate == 44100 and audio.shape == (round(16 * 60 / 131 * rate), 2)
  assert np.abs(audio).max() == pytest.approx(10 ** (-1 / 20), abs=0.01)
  assert np.abs(audio).mean() > 0.002


def test_playing_passes_the_joint(window):
  set_slider(window, 'tempo', 220)  # 4.4 s.
  window.press('Space')
  places = [window.run('''new Promise(done => setTimeout(() => done(
      document.querySelector('.playing .playhead').getBoundingClientRect().x), 150))''')
            for _ in range(45)]
  turns = [i for i, (a, b) in enumerate(zip(places, places[1:])) if b < a]
  assert len(turns) >= 1 and places[turns[0] + 1] < places[0] + 120
  assert np.ptp(places) > 500
  window.press('Space')
  assert window.run('document.querySelector(".playing")') is None


# Notes [task, when, the clock] of all starts. In Firefox, rendering is slow here, and
# the clock stands still during a task, as it does where there is a sound card.
STARTS = '''(isFirefox => {
  window.starts = [];
  let task = 0, shown = 0;
  const {start} = AudioBufferSourceNode.prototype;
  AudioBufferSourceNode.prototype.start = function(when, ...rest) {
    starts.push([task, when, isFirefox ? performance.now() / 1000 :
      this.context.currentTime]);
    Promise.resolve().then(() => task++);
    return start.call(this, when, ...rest);
  };
  if (!isFirefox) return;
  setInterval(() => { shown = performance.now() / 1000; });
  Object.defineProperty(BaseAudioContext.prototype, 'currentTime', {get: () => shown});
  const {copyToChannel} = AudioBuffer.prototype;
  AudioBuffer.prototype.copyToChannel = function(...wave) {
    for (const end = performance.now() + 20; performance.now() < end;);
    return copyToChannel.apply(this, wave);
  };
})'''


@pytest.mark.parametrize('kind', [browser.Browser, browser.Firefox])
def test_all_drums_start_at_one_time(page, kind):
  """And none in the past, on a slow machine too."""
  with kind() as window:
    window.open(page)
    set_up(window)
    window.run(f'{STARTS}({json.dumps(kind is browser.Firefox)})')
    if kind is browser.Browser:
      window.send('Emulation.setCPUThrottlingRate', rate=8)
    for action in ('act(0, "play")', 'act(1, "play")', 'set("tempo", 70)',
                   'document.getElementById("new-take").click()'):
      window.run('starts.length = 0')
      do(window, action)
      tasks = {}
      for task, when, clock in window.wait('starts.length > 1 && starts'):
        tasks.setdefault(task, set()).add(when)
        assert when >= clock
      assert all(len(whens) == 1 for whens in tasks.values())
    # What is stopped before it is heard is not heard.
    do(window, 'act(1, "play")')
    do(window, '(starts.length = 0, act(0, "play"), act(0, "play"))')
    assert window.run('starts.length') == 0


def test_what_is_kept_stays_and_the_rest_is_played(window):
  before = window.run('pattern(1)')
  assert 'what to keep' in do(window, 'act(1, "rest")')
  window.run('''card(1).querySelector('[data-row="9"][data-column="0"]').click();
                card(1).querySelector('[data-row="0"][data-column="17"]').click()''')
  do(window, 'act(1, "rest")')
  after = window.run('pattern(1)')
  assert after != before and after[16:32] == before[16:32]
  assert [k & 1 for k in after] == [k & 1 for k in before]


RHYTHM = '''{
  name: 'keptRhythm',
  buttons: () => [{row: 0, column: 0, text: 'rhythm', label: 'Keep the rhythm'}],
  rule: ([isKept], pattern) => (t, k) => !isKept || (k > 0) === (pattern[t] > 0),
}];'''


def test_one_more_constraint_is_one_more_entry(tmp_path, monkeypatch):
  """In constraints.js: grids show it, completions obey it and links hold it."""
  shutil.copytree(web_files.WEB, tmp_path / 'web')
  monkeypatch.setattr(web_files, 'WEB', tmp_path / 'web')
  constraints = tmp_path / 'web' / 'app' / 'constraints.js'
  text = constraints.read_text()
  constraints.write_text(text.replace('}];\n', '}, ' + RHYTHM, 1))
  name = magenta_setup.DEFAULT_CONFIG
  (tmp_path / 'page.html').write_text(web_app.page(*web_app.spec_and_weights(
      name, magenta_setup.get_config(name),
      checkpoint_files.find_checkpoint(config_name=name))))
  with browser.Browser() as window:
    window.open(tmp_path / 'page.html')
    set_up(window)
    before = window.run('pattern(1)')
    button = 'card(1).querySelector(\'[data-row="0"][data-column="0"]\')'
    window.run(f'{button}.click()')
    do(window, 'act(1, "rest")')
    after = window.run('pattern(1)')
    assert after != before and [k > 0 for k in after] == [k > 0 for k in before]
    reload(window)
    assert window.run(f'{button}.getAttribute("aria-pressed")') == 'true'
    assert window.run('pattern(1)') == after and not window.console_errors()


def test_fill_and_sliders(window):
  """They are there; a fill is in the last bar, around the drums that are kept."""
  assert window.run('!document.getElementById("sliders").hidden')
  before = window.run('pattern(0)')
  window.run("""card(0).querySelector('[data-row="9"][data-column="0"]').click()""")
  do(window, 'act(0, "fill")')
  after = window.run('pattern(0)')
  assert after[:48] == before[:48] and after[48:] != before[48:]
  assert [k & 1 for k in after] == [k & 1 for k in before]  # The kick.
  toms = 1 << 4 | 1 << 5 | 1 << 6 | 1 << 1
  assert sum(bin(k & toms).count('1') for k in after[48:]) >= 4
  assert not window.console_errors()


def test_more_like_this_longer_and_a_morph(window):
  a, b = window.run('pattern(0)'), window.run('pattern(1)')
  do(window, 'act(0, "a"); act(1, "b")')
  between = '#between .loop'
  window.wait(f'document.querySelector({json.dumps(between)}) !== null')
  morphs = []
  for share in (0, 45, 50, 100):
    set_slider(window, 'share', share)
    morphs.append(window.run('pattern(document.querySelectorAll(".loop").length - 1)'))
  assert morphs[0] == a and morphs[-1] == b
  assert morphs[1] not in (a, b)
  changed = sum(x != y for x, y in zip(morphs[1], morphs[2]))
  assert changed < sum(x != y for x, y in zip(a, b))  # Gradually.
  do(window, 'act(0, "like")')
  assert window.run('document.querySelectorAll("#loops .loop").length') == 8
  do(window, 'act(0, "longer")')
  longer = window.run('pattern(0)')
  assert len(longer) == 128 and longer[:64] == a and any(longer[64:])


def test_sliders_move_loops_that_nobody_changed(window):
  """And those that are made of one's own; 0 gives the loops back."""
  def patterns(places=(0, 1, 2, 3)):
    return np.array([window.run(f'pattern({i})') for i in places])
  before = patterns()
  do(window, 'cell(0, 7, 5).click()')  # This one is one's own now.
  own = patterns([0])[0]
  means = []
  for value in (-2, 2):
    set_slider(window, 'density', value)
    assert patterns([0])[0].tolist() == own.tolist()
    means.append(sliders.density(patterns([1, 2, 3])).mean())
  assert means[0] < 0.7 * means[1]
  assert window.run('document.querySelector("output[for=density]").value') == '+2'
  do(window, 'act(0, "like")')
  assert sliders.density(patterns([1, 2, 3, 4])).mean() > sliders.density([own])[0]
  set_slider(window, 'density', 0)
  np.testing.assert_array_equal(patterns([5, 6, 7]), before[1:])


def test_temperature_changes_loops_gradually(window):
  before = np.array([window.run(f'pattern({i})') for i in range(4)])
  counts = []
  for temperature in (0.65, 1.2):
    set_slider(window, 'temperature', temperature)
    now = np.array([window.run(f'pattern({i})') for i in range(4)])
    counts.append((now != before).sum())
  assert counts[0] < counts[1] and counts[0] < 60


def drop(window, *files):
  """Drops files, (name, bytes) each; returns what is said of them."""
  given = [(name, base64.b64encode(data).decode()) for name, data in files]
  do(window, f'''{{
      const transfer = new DataTransfer();
      for (const [name, data] of {json.dumps(given)}) {{
        transfer.items.add(new File(
          [Uint8Array.from(atob(data), c => c.charCodeAt(0))], name));
      }}
      document.dispatchEvent(new DragEvent('drop', {{dataTransfer: transfer}})); }}''')
  return wait_for(window, files[0][0])


def wait_for(window, words):
  """Waits until these words are said; returns all that is."""
  said = 'document.getElementById("status").textContent'
  return window.wait(f'{said}.includes({json.dumps(words)}) && {said}')


def midi_files(tmp_path, count):
  """Returns (name, bytes) of files that have a hit each, all at other steps."""
  path = tmp_path / 'in.mid'
  return [(f'{i}.mid', test_midi.write(path, test_midi.notes([(i, 36)])) and
           path.read_bytes()) for i in range(count)]


def test_a_midi_file_is_taken_in(window, tmp_path):
  magenta_setup.music_vae()
  import note_seq
  path = tmp_path / 'mine.mid'
  note_seq.sequence_proto_to_midi_file(beat(), str(path))
  said = drop(window, ('mine.mid', path.read_bytes()))
  assert 'mine.mid' in said
  file = midi_file.read(str(path))
  loop = DrumLoop.read(str(path))
  assert window.run('pattern(0)') == loop.pattern().tolist() and file.tracks
  assert 'MIDI' in drop(window, ('notes.txt', b'no music'))
  assert window.run('document.querySelectorAll(".loop").length') == 5


def copy_link(window):
  do(window, 'document.getElementById("copy").click()')
  return window.run('copied')


def test_files_of_other_kits(window, tmp_path):
  """A better map is said; what the selects say is read, written and kept in the link."""
  path = tmp_path / 'mine.mid'
  loop = DrumLoop([Hit('closed hi-hat', i / 2) for i in range(32)] + [
      Hit(('kick', 'snare')[i % 2], i) for i in range(16)])
  loop.save(path, map='addictive2')
  assert 'reads like XLN Addictive Drums 2: 48 of 48' in drop(
      window, ('mine.mid', path.read_bytes()))
  for name, kit in (('map', 'addictive2'), ('outputMap', 'ssd5')):
    do(window, f'''(() => {{
        const select = document.getElementById('{name}');
        select.value = '{kit}';
        select.dispatchEvent(new Event('change', {{bubbles: true}}));
      }})()''')
  assert 'reads like' not in drop(window, ('mine.mid', path.read_bytes()))
  assert window.run('pattern(0)') == loop.pattern().tolist()
  path.write_bytes(save(window, 0, 'midi'))
  again = DrumLoop.read(path, map='ssd5')
  assert again.pattern().tolist() == loop.pattern().tolist()
  link = copy_link(window)
  kits = '["map", "outputMap"].map(name => document.getElementById(name).value)'
  window.open(link)
  set_up(window)
  assert window.run(kits) == ['addictive2', 'ssd5']


def test_a_link_holds_everything_in_every_browser(page, tmp_path):
  """Edits, what is kept, and how it is played, to the byte of the files."""
  with browser.Browser() as window:
    window.open(page)
    set_up(window)
    do(window, 'cell(2, 7, 5).click()')
    window.run('card(0).querySelector(\'[data-row="9"][data-column="0"]\').click()')
    set_slider(window, 'tempo', 141)
    do(window, 'document.getElementById("new-take").click()')
    link = copy_link(window)
    assert 'this computer only' in window.run(
        'document.getElementById("status").textContent')
    before, _, link = link.partition('#')
    assert before == window.run('location.href') == page.as_uri()
    want = [save(window, i, kind) for i in range(4) for kind in ('midi', 'wav')]
  for kind in (browser.Browser, browser.Firefox):
    with kind() as other:
      other.open(page)
      set_up(other)
      do(other, f'location.hash = "{link}"')
      other.wait('document.getElementById("tempo").value === "141"')
      other.wait(DONE)
      assert want == [
          save(other, i, file) for i in range(4) for file in ('midi', 'wav')]


def reload(window):
  """Loads the page again, which has kept its state."""
  do(window, '0')
  window.send('Page.reload')
  window.wait('!window.act')
  set_up(window)


def all_patterns(window):
  return window.run(
      'Array.from(document.querySelectorAll(".loop"), (_, i) => pattern(i))')


def test_a_page_of_many_loops_is_there_again(window, tmp_path):
  drop(window, *midi_files(tmp_path, 63), *midi_files(tmp_path, 2))
  many = all_patterns(window)
  assert len(many) == 69
  reload(window)
  assert all_patterns(window) == many
  do(window, 'act(3, "remove")')
  assert len(all_patterns(window)) == 68
  window.run('window.before = [...document.querySelectorAll(".loop")]')
  do(window, 'document.getElementById("undo").click()')
  assert all_patterns(window) == many
  # The others are left alone.
  assert window.run('before.every(element => element.isConnected)')


# All that a user sees of the state.
STATE = '''JSON.stringify([
    [...document.querySelectorAll('h2, [aria-pressed]:not(.cell)')].map(
      e => [e.textContent, e.getAttribute('aria-pressed')]),
    [...document.querySelectorAll('main input:not([type=file]), main select')].map(
      e => e.value),
    [...document.querySelectorAll('.cell[aria-pressed=true]')].map(
      e => [e.getAttribute('aria-label'), e.style.getPropertyValue('--velocity')])])'''
NAMES = '[...document.querySelectorAll("#loops h2")].map(e => e.textContent)'


def click(name):
  return f'document.getElementById({json.dumps(name)}).click()'


def some_actions(rng, count):
  """Yields statements; each does what a user may do to one of the first four loops."""
  for _ in range(count):
    i, drum, step, value = (int(rng.integers(n)) for n in (4, 9, 64, 100))
    yield str(rng.choice([
        f'cell({i}, {drum}, {step}).click()', f'act({i}, "like")', f'act({i}, "a")',
        f'act({(i + 1) % 4}, "b")', f'act({i}, "longer")', f'act({i}, "remove")',
        f'''(card({i}).querySelector('[data-row="{9 - drum}"][data-column="0"]').click(),
            act({i}, 'rest'))''',
        f'set("tempo", {100 + value})', f'set("feel", {value})', f'set("share", {value})',
        f'document.querySelectorAll("#channels button")[{i}].click()',
        click('new'), click('new-take'), click('undo'), click('undo'), click('redo')]))


@pytest.mark.parametrize('kind,rounds', [(browser.Browser, 3), (browser.Firefox, 1)])
def test_the_browser_keeps_the_state(page, kind, rounds):
  """After any actions, of a page that is a file."""
  rng = np.random.default_rng(0)
  with kind() as window:
    window.open(page)
    for i in range(rounds):
      set_up(window)
      for action in some_actions(rng, 12):
        window.run(action)
      do(window, '0')
      before = window.run(STATE)
      window.open(page)
      set_up(window)
      assert window.run(STATE) == before, i
      assert window.run('location.href') == page.as_uri()


def test_a_link_leaves_ones_own_loops(page):
  with browser.Browser() as window:
    window.open(page)
    set_up(window)
    link = copy_link(window)
    do(window, 'cell(0, 7, 5).click()')
    own = all_patterns(window)
    window.open(link)
    set_up(window)
    assert window.run('document.getElementById("status").textContent').startswith(
        'Your own loops are kept')
    assert all_patterns(window) != own
    do(window, 'cell(0, 7, 6).click()')
    others = all_patterns(window)
    reload(window)
    assert all_patterns(window) == others
    window.open(page)
    set_up(window)
    assert all_patterns(window) == own


def test_a_second_tab_has_its_state_in_its_address(page):
  """So the first tab's is not overwritten."""
  with browser.Browser() as window:
    window.open(page)
    set_up(window)
    do(window, 'cell(0, 7, 5).click()')
    first = all_patterns(window)
    before_scripts(window, '''window.other = navigator.locks.request(
        'drum-loops ' + location.pathname, () => new Promise(() => {}))''')
    reload(window)
    assert all_patterns(window) == first
    do(window, 'cell(0, 7, 6).click()')
    second = all_patterns(window)
    assert '#' in window.run('location.href')
    reload(window)
    assert all_patterns(window) == second
    window.open(page)
    set_up(window)
    assert all_patterns(window) == first


def test_undo_and_redo_leave_the_focus(window):
  focused = '''[document.activeElement.id, document.activeElement.ariaLabel,
      document.activeElement.dataset.column]'''
  window.run('cell(1, 7, 5).focus()')
  before, place = all_patterns(window), window.run(focused)
  do(window, 'cell(1, 7, 5).click()')
  do(window, 'act(1, "longer")')
  after = all_patterns(window)
  assert window.run(focused) == place
  for keys, want in (('Control+z', None), ('Control+z', before), ('Control+y', None),
                     ('Control+Shift+z', after)):
    window.press(keys)
    do(window, '0')
    assert want is None or all_patterns(window) == want
    assert window.run(focused) == place
  window.run('document.getElementById("undo").focus()')
  for _ in range(3):
    said = do(window, 'document.activeElement.click()')
    assert window.run('document.activeElement.id') == 'undo'
  assert said == 'There are no more steps.' and all_patterns(window) == before
  # What leaves gives the focus to what stays.
  do(window, click('new'))
  window.run('card(0).querySelector("button").focus()')
  window.press('Control+z')
  do(window, '0')
  assert window.run('document.activeElement.closest(".loop") !== null')


def test_new_loops_come_to_the_others(window):
  """With names that none had before."""
  before = all_patterns(window)
  window.run('document.getElementById("style").value = "funk"')
  window.run('document.getElementById("style").dispatchEvent(new Event("change"))')
  do(window, click('new'))
  assert all_patterns(window)[4:] == before
  assert window.run(NAMES) == [f'funk-{i}' for i in (5, 6, 7, 8)] + [
      f'loop-{i}' for i in (1, 2, 3, 4)]
  do(window, click('undo'))
  do(window, 'act(0, "like")')
  assert window.run(NAMES)[:3] == ['loop-1', 'loop-9', 'loop-10']


def test_a_project_is_saved_and_opened(window):
  do(window, 'cell(0, 7, 5).click()')
  set_slider(window, 'tempo', 131)
  saved = window.run(STATE)
  window.run(f'(saved.length = 0, {click("save")})')
  project = base64.b64decode(window.run('base64(saved[0])'))
  set_slider(window, 'tempo', 77)
  do(window, click('new'))
  later = window.run(STATE)
  assert 'drum-loops.json is open' in drop(window, ('drum-loops.json', project))
  assert window.run(STATE) == saved
  do(window, click('undo'))
  assert window.run(STATE) == later
  assert 'is no project' in drop(window, ('other.json', b'{"version": 1}'))
  assert window.run(STATE) == later


def test_a_full_page_takes_no_more(page, tmp_path):
  full = tmp_path / 'full.html'
  text = page.read_text().replace('MOST_LINK_BARS = 1600', 'MOST_LINK_BARS = 20')
  full.write_text(re.sub("'sha256-[^']*' 'wasm", "'unsafe-inline' 'wasm", text))
  with browser.Browser() as window:
    before_scripts(window, 'delete window.indexedDB')
    window.open(full)
    set_up(window)
    assert '2 of 3 files are not taken in' in drop(window, *midi_files(tmp_path, 3))
    for action in ('like', 'longer'):
      assert '20 bars at most' in do(window, f'act(0, {json.dumps(action)})')
    assert [len(pattern) for pattern in all_patterns(window)] == 5 * [64]


def test_any_seed_and_take_or_a_sentence(window):
  window.run('''window.enter = (id, value) => {
      const field = document.getElementById(id);
      field.value = value;
      field.dispatchEvent(new Event('change')); }''')
  assert f'from 0 to {errors.MOST_SEED}' in do(window, 'enter("seed", -1)')
  do(window, f'enter("seed", {errors.MOST_SEED}); enter("take", {errors.MOST_SEED})')
  for button in ('new', 'new', 'new-take', 'new-take'):
    do(window, f'document.getElementById({json.dumps(button)}).click()')
  before = all_patterns(window)
  reload(window)
  assert all_patterns(window) == before


def test_a_damaged_link_is_a_sentence(page):
  with browser.Browser() as window:
    window.open(page)
    set_up(window)
    window.run('location.hash = "nonsense"')
    wait_for(window, 'link is damaged')
    assert window.run('document.querySelectorAll(".loop").length')
    assert not window.console_errors()


@pytest.mark.parametrize('width,height', [(390, 844), (844, 390), (1280, 800)])
def test_on_phones_nothing_is_wider_than_the_page(page, width, height):
  with browser.Browser(width, height) as window:
    window.open(page)
    set_up(window)
    assert window.run('document.documentElement.scrollWidth') <= width
    small = window.run('''[...document.querySelectorAll(
        'button, input, select')].filter(e => e.offsetParent && !e.hidden).map(
        e => e.getBoundingClientRect()).filter(
        r => r.width < 24 || r.height < 24).length''')
    assert width > 900 or not small
    assert window.run('''[...document.querySelectorAll('button, input, select')].every(
        e => e.hidden || e.type === 'file' || e.getAttribute('aria-label') ||
        e.textContent.trim() || e.labels?.length)''')
