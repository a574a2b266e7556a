// The page: what is on it, and what its buttons, keys and files do.
import {DRUM_NAMES, FLAT, hitsOf, Kit, loopLength, mixDown, RATE} from './drums.js';
import {Engine, fromBase64} from './engine.js';
import {Grid} from './grid.js';
import {LinkError, readLink, writeLink} from './link.js';
import {MidiError, readMidi, writeMidi} from './midi.js';
import {Player} from './player.js';
import {BAR, DRUMS} from './sampling.js';
import {writeWav} from './wav.js';

const COUNT = 4;  // New loops at a time.
const [MOST_TAKEN_BARS, MOST_LONG_BARS] = [16, 32];
const [LEAST_TEMPO, MOST_TEMPO] = [20, 400];
const MOST_FILE = 8e6;  // Bytes.
const UNDO_STEPS = 100;
const FOLLOW_AGAIN = 4000;  // Milliseconds after someone scrolled a grid.
const ACTIONS = [
  ['rest', 'Play the rest'], ['like', 'More like this'], ['a', 'A'], ['b', 'B'],
  ['longer', 'Longer'], ['midi', 'MIDI'], ['wav', 'WAV'], ['remove', 'Remove']];
const MORPH_ACTIONS = [['keep', 'Keep as a loop'], ['midi', 'MIDI'], ['wav', 'WAV']];
const NEEDS_ENCODER = ['rest', 'like', 'a', 'b', 'longer'];

const byId = id => document.getElementById(id);
const noDrums = () => Array.from({length: DRUMS}, () => false);
const still = matchMedia('(prefers-reduced-motion: reduce)');
let engine, player;

/**
 * All that is on the page. A loop is {name, pattern, seed: of its own random numbers,
 * origin: {seed, index, style} of which it is drawn or null, tries: to play its rest,
 * likes: times that more like it were made, keptDrums, keptBars, isOwn: whether someone
 * worked on it} and, not in links, {feel: of Humanizer, felt: of what, hits, card}.
 */
const page = {
  settings: {style: '', seed: 0, temperature: 0.6, tempo: 100, bars: 4, feel: 1,
             take: 1, drummer: 0, change: 0.5},
  muted: noDrums(), solo: noDrums(), made: 0, loops: [], a: null, b: null, share: 0.5,
  current: null, playing: null, morph: null};
const undoable = [];

function say(text) {
  byId('status').textContent = text;
}

/** Returns a function that does something when it hasn't been called for a while. */
function afterwards(milliseconds, action) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

let queue = Promise.resolve();
/**
 * Does what needs the models, one after another, for they remember where they are.
 * @param {string} doing What is said meanwhile, if it takes long.
 * @param {function} job Returns what is said then, or nothing.
 */
function work(doing, job) {
  queue = queue.then(async () => {
    const began = performance.now();
    let before = null;
    const timer = setTimeout(() => {
      before = byId('status').textContent;
      say(doing);
    }, 300);
    byId('loops').setAttribute('aria-busy', 'true');
    try {
      const said = await job();
      clearTimeout(timer);
      if (said) say(`${said} (${Math.round(performance.now() - began)} ms)`);
      else if (byId('status').textContent === doing) say(before);
    } catch (error) {
      clearTimeout(timer);
      say('This failed; another try may not.');
      console.error(error);
    }
    byId('loops').setAttribute('aria-busy', 'false');
  });
  return queue;
}

/** Returns a function that works, and once more if it is called meanwhile. */
function latest(doing, job) {
  let isRunning = false, isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted) {
      await work(doing, () => {
        isWanted = false;
        return job();
      });
    }
    isRunning = false;
  };
}

// Loops and what is known of them.

function newLoop(given) {
  return {
    name: '', pattern: null, seed: 0, origin: null, tries: 0, likes: 0,
    keptDrums: noDrums(), isOwn: false, feel: null, felt: '', ...given,
    keptBars: given.keptBars ??
      Array.from({length: given.pattern.length / BAR}, () => false)};
}

/** Returns a seed that no other loop of this page has. */
function nextSeed() {
  return page.settings.seed * 1000 + 100 + page.made++;
}

const hasKept = loop => [...loop.keptDrums, ...loop.keptBars].some(Boolean);
const isWorkedOn = loop => (
  loop.isOwn || hasKept(loop) || loop === page.a || loop === page.b);
const allLoops = () => page.morph ? [...page.loops, page.morph] : page.loops;

/** Returns a pattern that is no shorter than the model's. */
function fit(pattern) {
  return Uint16Array.from({length: Math.max(pattern.length, engine.steps)},
                          (_, t) => pattern[t % pattern.length]);
}

function snapshot() {
  const index = loop => page.loops.includes(loop) ? page.loops.indexOf(loop) : null;
  return writeLink({
    title: engine.title.slice(0, 100), settings: page.settings, muted: page.muted,
    solo: page.solo, made: page.made, share: page.share, a: index(page.a),
    b: index(page.b), current: index(page.current),
    loops: page.loops.map(({
      name, pattern, seed, origin, tries, likes, keptDrums, keptBars, isOwn}) => ({
      name, pattern, seed, origin, tries, likes, keptDrums, keptBars, isOwn}))});
}

const saveSoon = afterwards(500, () => {
  history.replaceState(null, '', '#' + snapshot());
});

/** Keeps the loops as they are for Undo; to be called before they change. */
function remember() {
  undoable.push(snapshot());
  if (undoable.length > UNDO_STEPS) undoable.shift();
  byId('undo').disabled = false;
}

/** Brings the loops of a state onto the page. */
function restore(state) {
  const {made, share, a, b, current} = state;
  const playing = page.loops.indexOf(page.playing);
  const loops = state.loops.map(loop => {
    const pattern = fit(loop.pattern);
    return newLoop({...loop, pattern, keptBars: Array.from(
      {length: pattern.length / BAR}, (_, bar) => loop.keptBars[bar] ?? false)});
  });
  Object.assign(page, {made, share, a: loops[a] ?? null, b: loops[b] ?? null});
  setLoops(loops, loops[current] ?? loops[0], loops[playing]);
  return work('Playing the loops.', () => perform(loops));
}

async function undo() {
  if (!undoable.length) return;
  restore(readLink(undoable.pop()));
  byId('undo').disabled = !undoable.length;
  say('Undone.');
}

/** Puts loops onto the page; those that stay are left alone. */
function setLoops(loops, current = page.current, playing = loops[0]) {
  const gone = page.loops.filter(loop => !loops.includes(loop));
  page.loops = loops;
  for (const name of ['a', 'b']) {
    if (gone.includes(page[name])) page[name] = null;
  }
  gone.forEach(loop => loop.card.element.remove());
  loops.forEach((loop, i) => {
    loop.card ??= new Card(loop, ACTIONS);
    const here = byId('loops').children[i];
    if (here !== loop.card.element) byId('loops').insertBefore(loop.card.element, here);
    show(loop);
  });
  choose(loops.includes(current) || current === page.morph ? current : loops[0]);
  if (gone.includes(page.playing)) {
    if (playing) play(playing); else stop();
  }
  showMorph();
  saveSoon();
}

/** Shows a loop as it is played now, and plays it so if it is the one. */
function show(loop) {
  loop.hits = hitsOf(loop.pattern, loop.feel, page.settings.feel);
  loop.card?.show();
  if (loop === page.playing) replaySoon();
}

/** Asks the humanizer how loops are played, where it isn't known. */
async function perform(loops) {
  if (engine.canHumanize) {
    const {take, drummer} = page.settings;
    const felt = loop => `${take} ${drummer} ${loop.pattern.join()}`;
    const stale = loops.filter(loop => loop.felt !== felt(loop));
    for (let i = 0; i < stale.length; i += COUNT) {
      const some = stale.slice(i, i + COUNT), are = some.map(felt);
      const feels = await engine.humanize(some.map(loop => loop.pattern), {
        take, drummer, seeds: some.map(loop => loop.seed)});
      some.forEach((loop, k) => {
        Object.assign(loop, {feel: feels[k], felt: are[k]});
        show(loop);
      });
      await new Promise(done => setTimeout(done));
    }
  }
  loops.forEach(show);
  saveSoon();
}

const performAll = latest('Playing the loops.', () => perform(allLoops()));
const performSoon = afterwards(250, performAll);

// What is done with the models.

/** Makes new loops of the settings, of the next seed if these are there already. */
function makeLoops() {
  const doing = 'Making new loops.';
  return work(doing, async () => {
    const {settings} = page;
    const isThere = page.loops.some(({origin, pattern}) => (
      origin && origin.seed === settings.seed && origin.style === settings.style &&
      pattern.length === settings.bars * BAR));
    if (isThere) settings.seed++;
    const {seed, style, temperature, bars} = settings;
    showSettings();
    // Longer loops take longer, so they come one by one.
    const size = bars * BAR > engine.steps ? 1 : COUNT;
    let last;
    for (let index = 0; index < COUNT; index += size) {
      if (index) say(`${doing} ${index} of ${COUNT} are there.`);
      const patterns = await engine.sample({
        seed, index, count: size, style, temperature, bars});
      const loops = patterns.map((pattern, i) => newLoop({
        pattern, name: `loop-${seed}-${index + i + 1}`, seed: seed * 1000 + index + i,
        origin: {seed, index: index + i, style}}));
      await perform(loops);
      if (!index && page.loops.length) remember();
      const others = index ? page.loops : page.loops.filter(isWorkedOn);
      const at = others.indexOf(last) + 1;
      setLoops([...others.slice(0, at), ...loops, ...others.slice(at)],
               index ? page.current : loops[0]);
      last = loops.at(-1);
    }
    return `${COUNT} new loops.`;
  });
}

/**
 * Draws the loops once more that nobody worked on, of the same noise. Longer ones, of
 * which only the beginning could change gradually, stay.
 */
const resample = latest('Playing at this temperature.', async () => {
  const canChange = loop => (
    loop.origin && !hasKept(loop) && loop.pattern.length === engine.steps);
  const groups = new Map();  // Loops of a seed and a style are drawn together.
  for (const loop of page.loops.filter(canChange)) {
    const key = JSON.stringify([loop.origin.seed, loop.origin.style]);
    groups.set(key, [...groups.get(key) ?? [], loop]);
  }
  for (const loops of groups.values()) {
    const {seed, style} = loops[0].origin;
    const indices = loops.map(({origin}) => origin.index), index = Math.min(...indices);
    const patterns = await engine.sample({
      seed, index, count: Math.max(...indices) - index + 1, style,
      bars: engine.steps / BAR, temperature: page.settings.temperature});
    loops.filter(canChange).forEach(loop => {
      loop.pattern = patterns[loop.origin.index - index];
    });
    await perform(loops);
  }
  if (page.a && page.b) await playMorph();
});

/** Changes a loop's pattern by what a job makes of it. */
function rework(loop, doing, job) {
  return work(doing, async () => {
    const before = loop.pattern;
    const pattern = await job(before);
    if (loop.pattern !== before || !page.loops.includes(loop)) {
      return 'The loop was changed meanwhile, so it stays as it is.';
    }
    remember();
    Object.assign(loop, {pattern, origin: null, isOwn: true});
    loop.keptBars = Array.from(
      {length: pattern.length / BAR}, (_, bar) => loop.keptBars[bar] ?? false);
    await perform([loop]);
    morphSoon(loop);
    return `${loop.name} is ready.`;
  });
}

function playRest(loop) {
  const {keptDrums, keptBars} = loop;
  if (!hasKept(loop)) {
    say('First choose what to keep: click on names of drums or numbers of bars.');
  } else if (keptDrums.every(Boolean) || keptBars.every(Boolean)) {
    say('All of this loop is kept; there is nothing left to play.');
  } else {
    rework(loop, 'Playing the rest.', pattern => engine.complete(
      pattern, {drums: keptDrums, bars: keptBars}, {
        seed: loop.seed * 1000 + ++loop.tries,
        temperature: page.settings.temperature, style: ''}));
  }
}

function goOn(loop) {
  const bars = (loop.pattern.length + engine.steps) / BAR;
  if (bars > MOST_LONG_BARS) {
    say(`Loops have ${MOST_LONG_BARS} bars at most.`);
    return;
  }
  rework(loop, 'Going on.', pattern => engine.goOn(pattern, bars, {
    seed: loop.seed * 1000 + 500 + ++loop.tries,
    temperature: page.settings.temperature, style: ''}));
}

function makeLike(loop) {
  work('Making more like this.', async () => {
    const {change, temperature} = page.settings;
    const patterns = await engine.like(loop.pattern, {
      seed: loop.seed * 1000 + ++loop.likes, amount: change, temperature,
      count: COUNT});
    remember();
    const loops = patterns.map((pattern, i) => newLoop({
      pattern, seed: nextSeed(), name: shortened(
        `${loop.name}-like-${COUNT * (loop.likes - 1) + i + 1}`)}));
    await perform(loops);
    const at = page.loops.indexOf(loop) + 1;
    setLoops([...page.loops.slice(0, at), ...loops, ...page.loops.slice(at)]);
    return `${loops.length} loops like ${loop.name} are below it.`;
  });
}

function shortened(name) {
  return name.slice(0, 80);
}

/** Plays what is between A and B. */
async function playMorph() {
  const {a, b, share} = page;
  if (!a || !b) return;
  const pattern = await engine.morph(a.pattern, b.pattern, share, {
    seed: a.seed, temperature: page.settings.temperature});
  const name = `${a.name}-${Math.round(100 * share)}-${b.name}`;
  if (page.morph) {
    Object.assign(page.morph, {pattern, name, seed: a.seed});
  } else {
    page.morph = newLoop({pattern, name, seed: a.seed});
    page.morph.card = new Card(page.morph, MORPH_ACTIONS);
    byId('between').replaceChildren(page.morph.card.element);
  }
  await perform([page.morph]);
}

const morph = latest('Playing what is between A and B.', playMorph);

function morphSoon(loop) {
  if (loop === page.a || loop === page.b) morph();
}

/** Shows which loops are A and B, and the slider if there are both. */
function showMorph() {
  const {a, b, share} = page, isShown = Boolean(a && b && engine.canListen);
  byId('morph').hidden = !isShown;
  byId('morph-a').textContent = a?.name ?? '';
  byId('morph-b').textContent = b?.name ?? '';
  byId('share').value = Math.round(100 * share);
  byId('morph').querySelector('output').value = `${Math.round(100 * share)} %`;
  for (const loop of page.loops) loop.card.showChosen();
  if (isShown) {
    morph();
  } else if (page.morph) {
    if (page.playing === page.morph) stop();
    if (page.current === page.morph) choose(page.loops[0]);
    page.morph = null;
    byId('between').replaceChildren();
  }
}

/** Makes a loop A or B, or no longer. */
function mark(loop, name) {
  const other = name === 'a' ? 'b' : 'a';
  page[name] = page[name] === loop ? null : loop;
  if (page[other] === loop) page[other] = null;
  showMorph();
  if (page.a && page.b) say(`Morph from ${page.a.name} to ${page.b.name} below.`);
  else if (page.a || page.b) say(`Choose ${page.a ? 'B' : 'A'} as well to morph.`);
  saveSoon();
}

// What is done by hand.

function toggle(loop, step, drum) {
  remember();
  const pattern = loop.pattern.slice();
  pattern[step] ^= 1 << drum;
  Object.assign(loop, {pattern, origin: null, isOwn: true});
  show(loop);
  if (pattern[step] >> drum & 1) attempt(() => player.hit(drum, FLAT));
  performSoon();
  morphSoon(loop);
  saveSoon();
}

function keep(loop, list, index) {
  list[index] = !list[index];
  show(loop);
  saveSoon();
}

function keepMorph() {
  remember();
  const {pattern, name, seed} = page.morph;
  const loop = newLoop({pattern, name: shortened(name), seed, isOwn: true});
  setLoops([...page.loops, loop], loop);
  performAll();
  loop.card.element.focus();
  say(`${loop.name} is among the loops now.`);
}

function remove(loop) {
  remember();
  const at = page.loops.indexOf(loop), loops = page.loops.filter(one => one !== loop);
  const next = loops[Math.min(at, loops.length - 1)];
  setLoops(loops, page.current === loop ? next : page.current, next);
  (next?.card.element ?? byId('new')).focus();
  say(`${loop.name} is removed; Undo brings it back.`);
}

function download(name, bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], {type}));
  Object.assign(document.createElement('a'), {
    href: url, download: name.replace(/[^\p{L}\p{N}._-]+/gu, '-')}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

function saveMidi({name, hits, pattern}) {
  download(`${name}.mid`, writeMidi(
    hits, pattern.length, page.settings.tempo, engine.pitches), 'audio/midi');
  say(`${name}.mid is saved.`);
}

function saveWav({name, hits, pattern: {length}}) {
  download(`${name}.wav`, writeWav(...mixDown(
    player.kit, hits, length, loopLength(length / BAR, page.settings.tempo)), RATE),
           'audio/wav');
  say(`${name}.wav is saved.`);
}

/** Takes MIDI files in as loops. */
async function takeIn(files) {
  const said = [], loops = [];
  for (const file of files) {
    try {
      if (file.size > MOST_FILE) throw new MidiError('is too large for a MIDI file.');
      const {pattern, tempo, notes} = readMidi(
        new Uint8Array(await file.arrayBuffer()), {
          least: engine.steps / BAR, most: MOST_TAKEN_BARS, pitches: engine.pitches});
      loops.push(newLoop({
        pattern, seed: nextSeed(), isOwn: true,
        name: shortened(file.name.replace(/\.[^.]*$/, '')) || 'file'}));
      page.settings.tempo = Math.min(MOST_TEMPO, Math.max(
        LEAST_TEMPO, Math.round(100 * tempo) / 100));
      said.push(`${file.name}: ${pattern.length / BAR} bars at ${
        page.settings.tempo} beats a minute, hits at the nearest sixteenths.`,
                ...notes);
    } catch (error) {
      // A folder can't be read.
      said.push(`${file.name} ${
        error instanceof MidiError ? error.message : 'can\'t be read.'}`);
    }
  }
  if (loops.length) {
    remember();
    showSettings();
    setLoops([...loops, ...page.loops], loops[0]);
    await performAll();
    loops[0].card.element.scrollIntoView({block: 'nearest'});
  }
  say(said.join(' ') || 'That is no file.');
}

async function copyLink() {
  history.replaceState(null, '', '#' + snapshot());
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    const text = document.createElement('textarea');
    text.value = location.href;
    document.body.append(text);
    text.select();
    document.execCommand('copy');
    text.remove();
    byId('copy').focus();
  }
  say('The link is copied: it holds the settings, the loops and all that is done to ' +
      'them.');
}

// Playing.

function attempt(action) {
  try {
    action();
    return true;
  } catch {
    say('This browser makes no sound.');
    return false;
  }
}

function replay() {
  const {playing, settings} = page;
  if (playing) player.play(playing.hits, playing.pattern.length, settings.tempo);
}
let replaying = null;
/** Plays what has changed, at most once in what the eye takes for an instant. */
function replaySoon() {
  replaying ??= setTimeout(() => {
    replaying = null;
    replay();
  }, 20);
}

function play(loop) {
  const before = page.playing;
  page.playing = loop;
  if (!attempt(replay)) {
    page.playing = null;
    return;
  }
  before?.card.showPlaying();
  loop.card.showPlaying();
  if (!before) requestAnimationFrame(draw);
}

function stop() {
  const before = page.playing;
  page.playing = null;
  player.stop();
  before?.card.showPlaying();
}

function togglePlay(loop) {
  if (page.playing === loop) stop(); else play(loop);
}

function draw() {
  const {playing} = page;
  if (!playing) return;
  const {grid, scrolled} = playing.card, share = player.position();
  const beats = playing.pattern.length / 4;
  grid.showPlayhead(still.matches ? Math.floor(share * beats) / beats : share);
  if (!grid.element.contains(document.activeElement) &&
      performance.now() - scrolled > FOLLOW_AGAIN) grid.follow(share);
  requestAnimationFrame(draw);
}

/** Makes the loops' sounds before they are asked for, a few at a time. */
async function prepareSounds() {
  for (const {drum, velocity, step} of page.loops.flatMap(({hits}) => hits)) {
    player.kit.sound(drum, velocity, step);
    await new Promise(done => setTimeout(done));
  }
}

/** Makes a loop the one that keys are about. */
function choose(loop) {
  if (page.current !== loop) page.current?.card.element.removeAttribute('aria-current');
  page.current = loop ?? null;
  loop?.card.element.setAttribute('aria-current', 'true');
}

function chooseNext(by) {
  const loops = allLoops(), next = loops[loops.indexOf(page.current) + by];
  if (!next) return;
  choose(next);
  next.card.element.focus();
  if (page.playing) play(next);
}

/** A loop on the page. */
class Card {
  constructor(loop, actions) {
    Object.assign(this, {loop, scrolled: -Infinity, grid: null});
    const element = document.createElement('div');
    Object.assign(this, {element});
    element.className = 'loop';
    element.setAttribute('role', 'group');
    element.tabIndex = -1;
    element.innerHTML = `<div class="place"></div><div class="actions">
      <button type="button" data-action="play" class="play">Play</button><h2></h2>
      <div class="more">${actions.map(([action, text]) => (
        `<button type="button" data-action="${action}">${text}</button>`)).join('')}
      </div></div>`;
    this.isMorph = actions === MORPH_ACTIONS;
    this.buttons = Object.fromEntries(Array.from(
      element.querySelectorAll('[data-action]'), button => [
        button.dataset.action, button]));
    for (const action of NEEDS_ENCODER) {
      if (!engine.canListen) this.buttons[action]?.remove();
    }
    element.addEventListener('focusin', () => choose(loop));
    element.addEventListener('click', ({target}) => {
      const action = target.closest('[data-action]')?.dataset.action;
      if (action) this.act(action);
    });
  }

  act(action) {
    const {loop} = this;
    ({play: togglePlay, rest: playRest, like: makeLike, longer: goOn, midi: saveMidi,
      wav: saveWav, a: () => mark(loop, 'a'), b: () => mark(loop, 'b'), remove,
      keep: keepMorph})[action](loop);
  }

  show() {
    const {loop, element} = this, {name, pattern} = loop;
    if (this.name !== name) {
      this.name = name;
      element.setAttribute('aria-label', `Loop ${name}`);
      element.querySelector('h2').textContent = name;
      for (const button of Object.values(this.buttons)) {
        button.setAttribute('aria-label', `${button.textContent}, ${name}`);
      }
      this.grid?.setName(name);
    }
    if (this.grid?.steps !== pattern.length) {
      this.grid = new Grid(name, pattern.length, this.isMorph ? null : {
        toggle: (step, drum) => toggle(loop, step, drum),
        keepDrum: drum => keep(loop, loop.keptDrums, drum),
        keepBar: bar => keep(loop, loop.keptBars, bar)});
      for (const kind of ['pointerdown', 'wheel', 'touchmove']) {
        this.grid.element.addEventListener(kind, () => {
          this.scrolled = performance.now();
        }, {passive: true});
      }
      element.querySelector('.place').replaceChildren(this.grid.element);
    }
    this.grid.show(loop.hits, loop.keptDrums, loop.keptBars);
  }

  showPlaying() {
    const isPlaying = page.playing === this.loop, {play: button} = this.buttons;
    this.element.classList.toggle('playing', isPlaying);
    button.textContent = isPlaying ? 'Stop' : 'Play';
    button.setAttribute('aria-label', `${button.textContent}, ${this.loop.name}`);
    if (!isPlaying) this.grid.showPlayhead(null);
  }

  /** Shows whether the loop is A or B. */
  showChosen() {
    for (const name of ['a', 'b']) {
      this.buttons[name]?.setAttribute('aria-pressed', page[name] === this.loop);
    }
  }
}

// Settings.

const SLIDERS = {  // Their values of settings, and what is said beside them.
  temperature: [1, value => value.toFixed(2)],
  tempo: [1, value => String(value)],
  feel: [100, value => `${Math.round(100 * value)} %`],
  change: [100, value => `${Math.round(100 * value)} %`]};

function showSettings() {
  const {settings} = page;
  for (const name of ['style', 'seed', 'bars', 'take', 'drummer']) {
    byId(name).value = settings[name];
  }
  for (const [name, [scale, text]] of Object.entries(SLIDERS)) {
    byId(name).value = scale * settings[name];
    byId(name).setAttribute('aria-valuetext', text(settings[name]));
    document.querySelector(`output[for=${name}]`).value = text(settings[name]);
  }
}

/** Does what follows from a setting that has changed. */
function applySetting(name) {
  if (name === 'temperature') resample();
  if (name === 'tempo') replaySoon();
  if (name === 'feel') allLoops().forEach(show);
  if (name === 'take' || name === 'drummer') performAll();
  showSettings();
  saveSoon();
}

function setAudible() {
  const {muted, solo} = page, isSolo = solo.some(Boolean);
  player.setAudible(solo.map((is, drum) => isSolo ? is : !muted[drum]));
  for (const button of byId('channels').querySelectorAll('button')) {
    const {list, drum} = button.dataset;
    button.setAttribute('aria-pressed', page[list][drum]);
  }
}

function fillIn() {
  const option = (value, text) => new Option(text, value);
  const bars = engine.steps / BAR;
  byId('title').textContent = `Weights: ${engine.title}`;
  byId('style').append(...engine.styles.map(style => option(style, style)));
  byId('style-field').hidden = !engine.styles.length;
  byId('bars').append(...(engine.canListen ? [1, 2, 4] : [1]).map(
    times => option(times * bars, times * bars)));
  byId('drummer').append(...engine.drummers.map(
    drummer => option(drummer, `drummer ${drummer}`)));
  byId('feel-fields').hidden = byId('feel-intro').hidden = !engine.canHumanize;
  byId('change-field').hidden = !engine.canListen;
  byId('channels').innerHTML = DRUM_NAMES.map((name, drum) => (
    `<div role="group" aria-label="${name}"><span>${name}</span>${
      [['muted', 'Mute'], ['solo', 'Solo']].map(([list, text]) => (
        `<button type="button" aria-pressed="false" data-list="${list}" data-drum="${
          drum}" aria-label="${text} ${name}">${text}</button>`)).join('')}</div>`)
  ).reverse().join('');
  page.settings.bars = bars;
}

function listen() {
  byId('new').disabled = false;
  byId('drawing').addEventListener('submit', event => {
    event.preventDefault();
    makeLoops();
  });
  for (const name of ['style', 'seed', 'bars', 'take', 'drummer']) {
    byId(name).addEventListener('change', ({target}) => {
      if (!target.reportValidity()) return say(target.validationMessage);
      page.settings[name] = name === 'style' ? target.value : Number(target.value);
      applySetting(name);
    });
  }
  for (const [name, [scale]] of Object.entries(SLIDERS)) {
    byId(name).addEventListener('input', ({target}) => {
      page.settings[name] = target.value / scale;
      applySetting(name);
    });
  }
  byId('new-take').addEventListener('click', () => {
    page.settings.take++;
    applySetting('take');
  });
  byId('share').addEventListener('input', ({target}) => {
    page.share = target.value / 100;
    showMorph();
    saveSoon();
  });
  byId('channels').addEventListener('click', ({target}) => {
    const {list, drum} = target.dataset;
    if (!list) return;
    page[list][drum] = !page[list][drum];
    setAudible();
    saveSoon();
  });
  byId('undo').addEventListener('click', undo);
  byId('copy').addEventListener('click', copyLink);
  byId('open').addEventListener('click', () => byId('file').click());
  byId('file').addEventListener('change', ({target}) => {
    takeIn([...target.files]);
    target.value = '';
  });
  document.addEventListener('dragover', event => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  document.addEventListener('dragleave', ({relatedTarget}) => {
    if (!relatedTarget) document.body.classList.remove('dropping');
  });
  document.addEventListener('drop', event => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    takeIn([...event.dataTransfer.files]);
  });
  document.addEventListener('keydown', pressKey);
  addEventListener('hashchange', () => openLink());
}

function pressKey(event) {
  const {key, target} = event;
  if (event.altKey || event.shiftKey) return;
  const isTyping = target.closest('input[type=number]');
  if (event.ctrlKey || event.metaKey) {
    if (key !== 'z' || isTyping) return;
    event.preventDefault();
    undo();
    return;
  }
  if (key === ' ') {
    // These have their own use for the space bar.
    if (isTyping || target.closest('button:not([data-row]), select, summary')) return;
    event.preventDefault();
    if (page.current && !event.repeat) togglePlay(page.current);
  } else if (!target.closest('input, select')) {
    const by = {ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1}[key];
    if (!by) return;
    event.preventDefault();
    chooseNext(by);
  }
}

/** Brings what is behind the # onto the page; returns whether it could. */
async function openLink() {
  const text = location.hash.slice(1);
  if (!text) return false;
  let state;
  try {
    state = readLink(text);
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    history.replaceState(null, '', '#');
    await startAfresh();
    say('The link is damaged, so these are new loops.');
    return true;
  }
  const {settings} = state;
  if (!engine.styles.includes(settings.style)) settings.style = '';
  if (!engine.drummers.includes(settings.drummer)) settings.drummer = 0;
  if (!byId('bars').querySelector(`[value="${settings.bars}"]`)) {
    settings.bars = engine.steps / BAR;
  }
  Object.assign(page, {settings, muted: state.muted, solo: state.solo});
  showSettings();
  setAudible();
  await restore(state);
  say(state.title === engine.title.slice(0, 100) ? '' :
    `These loops were made with other weights, ${state.title}; they are as they were.`);
  return true;
}

async function startAfresh() {
  setLoops([]);
  await makeLoops();
}

async function begin() {
  const spec = JSON.parse(byId('spec').textContent);
  const weights = byId('weights');
  try {
    engine = await Engine.open(spec, fromBase64(weights.textContent).buffer);
    weights.remove();
    player = new Player(spec.samples ? await Kit.open(spec.samples, fromBase64) :
      new Kit());
  } catch (error) {
    say('This browser can\'t run the page; a newer one can.');
    console.error(error);
    return;
  }
  fillIn();
  showSettings();
  listen();
  if (!await openLink()) await startAfresh();
  await prepareSounds();
}

await begin();
