// What is on the page. Others are told of changes (`watch`), so this needs no document.
import {BAR, DRUMS, MOST_SEED, TEMPOS} from './constants.js';
import {keptOf} from './constraints.js';
import {hitsOf} from './hits.js';
import {readState, writeState} from './link.js';

export const MOST_LINK_BARS = 1600;  // Of all loops: every browser takes such a link.
const UNDO_STEPS = 100;
const ONE_STEP = 1000;  // Milliseconds between changes of one slider that are one step.
const MOST_LETTERS_OF_NAME = 80;  // Of a loop's name.

const noDrums = () => Array.from({length: DRUMS}, () => false);

/**
 * All that is on the page. `engine` is an Engine or a Remote. `job` is what is being
 * done, {share: of it that is done, isLong, isCancelled}, or null. `made` counts the
 * loops that have got a name; `hasStore` says whether the browser keeps the state.
 *
 * A loop is {name, pattern, seed: of its own random numbers, origin: {seed, index,
 * style} of which it is a sample or null, tries: completions so far, likes: how often
 * variations were made of it, and for each constraint what is kept} and, not in links,
 * {feel: of Humanizer, felt: what the feel was made for, hits}.
 */
export const page = {
  engine: null, player: null, said: '', job: null, hasStore: false,
  settings: {style: '', density: 0, syncopation: 0, fills: 0, seed: 0, temperature: 0.65,
             tempo: 100, bars: 4, feel: 1, take: 1, drummer: 0, change: 0.5,
             map: '', outputMap: ''},
  muted: noDrums(), solo: noDrums(), made: 0, loops: [], a: null, b: null, share: 0.5,
  current: null, playing: null, morph: null};
const past = [], future = [];  // Of undo and redo, the last one first to come.
let last = {of: null, at: 0};  // What was remembered last.
const watchers = {};

/**
 * Calls functions at changes.
 * @param {Object} actions {change: function}. The changes, and what each function gets:
 *   said: another message.
 *   busy: whether a job is being done.
 *   job: another job, or more of it is done.
 *   coming: a loop that will be there soon.
 *   loops: the loops that left.
 *   loop: a loop whose hits, name or kept parts changed.
 *   current, playing: the loop that was it before.
 *   gone: the loop to play in place of the one that plays, which left; or null.
 *   marks: other A, B or share between them.
 *   morph: another loop between A and B.
 *   settings: other settings.
 *   audible: other drums are muted or solo.
 *   undo: more or less to undo or redo.
 *   kept: the state as JSON.
 */
export function watch(actions) {
  for (const [change, action] of Object.entries(actions)) {
    (watchers[change] ??= []).push(action);
  }
}

/** Calls those who watch a change, in the order in which they began to. */
export function tell(change, ...about) {
  for (const action of watchers[change] ?? []) action(...about);
}

/** Shows the user a message. */
export function say(text) {
  page.said = text;
  tell('said');
}

/** Returns a function that calls another when it hasn't been called for a while. */
export function afterwards(milliseconds, action) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}

/** Returns a loop that has at least a pattern. */
export const newLoop = given => ({
  name: '', pattern: null, seed: 0, origin: null, tries: 0, likes: 0,
  feel: null, felt: '', ...given, ...keptOf(given, given.pattern.length)});

/** Returns the seed, or take, after a number. */
export const numberAfter = number => (number + 1) % (MOST_SEED + 1);

/** Returns a seed that no other loop of this page has, nor the i loops before it. */
export const nextSeed = (i = 0) => page.settings.seed * 1000 + 101 + page.made + i;

/** Gives a loop a name that none of this page has or had: what it is, and a number. */
export function nameLoop(loop, what, names = namesOf(page.loops)) {
  do loop.name = shortened(what, `-${++page.made}`); while (names.has(loop.name));
}

/** Returns the set of loops' names. */
export const namesOf = loops => new Set(loops.map(({name}) => name));

/** Returns a loop's name without its number. */
export const kindOf = ({name}) => name.replace(/-\d+$/, '');

/** Returns the nearest tempo that loops are played at. */
export const possibleTempo = tempo => Math.min(TEMPOS[1], Math.max(TEMPOS[0], tempo));

/** Returns a name that is no longer than names may be, with what stands after it. */
export const shortened = (name, after = '') => (
  name.slice(0, MOST_LETTERS_OF_NAME - after.length) + after);

export const allLoops = () => page.morph ? [...page.loops, page.morph] : page.loops;
export const canMorph = () => Boolean(page.a && page.b && page.engine.canEncode);

/** Whether loops are too many for a link. */
export const areMany = loops => loops.reduce(
  (sum, {pattern}) => sum + pattern.length, 0) >= MOST_LINK_BARS * BAR;

/**
 * Whether there is no room beside these loops, for only a link keeps them; if so, says
 * it.
 */
export function isFull(loops = page.loops) {
  if (page.hasStore || !areMany(loops)) return false;
  say(`The page holds ${MOST_LINK_BARS} bars at most; remove some loops first.`);
  return true;
}

/** Returns a pattern, repeated if it is shorter than the model's. */
function fit(pattern) {
  return Uint16Array.from({length: Math.max(pattern.length, page.engine.steps)},
                          (_, t) => pattern[t % pattern.length]);
}

/** Returns what links hold of a loop. */
const stored = loop => {
  const {name, pattern, seed, origin, tries, likes} = loop;
  return {name, pattern, seed, origin, tries, likes, ...keptOf(loop, pattern.length)};
};

/** Returns the name of the weights, as links have it. */
export const title = () => page.engine.title.slice(0, 100);

/** Returns the JSON of the state. */
export function snapshot() {
  const index = loop => page.loops.includes(loop) ? page.loops.indexOf(loop) : null;
  const {settings, muted, solo, made, share, a, b, current, loops} = page;
  return writeState({
    title: title(), settings, muted, solo, made, share, a: index(a), b: index(b),
    current: index(current), loops: loops.map(stored)});
}

/** Has the state kept, at once or soon. */
export const save = () => tell('kept', snapshot());
export const saveSoon = afterwards(200, save);

/**
 * Keeps the state as it is for Undo; to be called before each change.
 * @param {?string} of What changes, where changes soon after each other are one step.
 */
export function remember(of = null) {
  const now = performance.now();
  const isSame = of && of === last.of && now - last.at < ONE_STEP;
  last = {of, at: now};
  if (isSame) return;
  past.push(snapshot());
  if (past.length > UNDO_STEPS) past.shift();
  future.length = 0;
  tell('undo');
}

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;

/** Goes back to the state of before the last change; returns whether there is one. */
export function undo() {
  return goTo(past, future, 'Undone.');
}

/** Goes forward to the state of before the last Undo; returns whether there is one. */
export function redo() {
  return goTo(future, past, 'Done again.');
}

function goTo(from, to, said) {
  if (!from.length) return false;
  last = {of: null, at: 0};
  to.push(snapshot());
  restore(readState(from.pop()));
  tell('undo');
  say(said);
  return true;
}

/** Brings a state onto the page. Loops that are there by name change as they must. */
export function restore(state) {
  const {settings, muted, solo, share, a, b, current} = state;
  const playing = page.loops.indexOf(page.playing);
  const there = new Map(page.loops.map(loop => [loop.name, loop])), names = new Set();
  const made = Math.max(page.made, state.made);  // So that no name comes twice.
  Object.assign(page, {settings, muted, solo, share, made});
  const loops = state.loops.map(given => {
    const loop = {...given, pattern: fit(given.pattern)};
    if (names.has(loop.name)) nameLoop(loop, loop.name, names);  // In links of before.
    names.add(loop.name);
    const same = there.get(loop.name);
    return same ? Object.assign(
      same, newLoop({...loop, feel: same.feel, felt: same.felt})) : newLoop(loop);
  });
  Object.assign(page, {a: loops[a] ?? null, b: loops[b] ?? null});
  tell('settings');
  tell('audible');
  setLoops(loops, loops[current] ?? loops[0], loops[playing]);
}

/**
 * Puts loops onto the page; those that stay are left alone.
 * @param {Object} current The loop that keys are about.
 * @param {Object} next The loop that plays if the one that does has left.
 */
export function setLoops(loops, current = page.current, next = loops[0]) {
  const gone = page.loops.filter(loop => !loops.includes(loop));
  page.loops = loops;
  for (const name of ['a', 'b']) {
    if (gone.includes(page[name])) page[name] = null;
  }
  tell('loops', gone);
  loops.forEach(show);
  choose(loops.includes(current) || current === page.morph ? current : loops[0]);
  if (gone.includes(page.playing)) tell('gone', next ?? null);
  tell('marks');
  saveSoon();
}

/** Finds how a loop is played now, and tells of it. */
export function show(loop) {
  loop.hits = hitsOf(loop.pattern, loop.feel, page.settings.feel);
  tell('loop', loop);
}

/** Makes a loop the one that keys are about. */
export function choose(loop) {
  const before = page.current;
  page.current = loop ?? null;
  tell('current', before);
}

/** Sets the loop between A and B, null for none. */
export function setMorph(loop) {
  const before = page.morph;
  page.morph = loop;
  if (before && page.playing === before) tell('gone', null);
  if (before && page.current === before) choose(page.loops[0]);
  tell('morph');
}

/** Makes a loop A or B, or no longer. */
export function mark(loop, name) {
  remember();
  const other = name === 'a' ? 'b' : 'a';
  page[name] = page[name] === loop ? null : loop;
  if (page[other] === loop) page[other] = null;
  tell('marks');
  if (page.a && page.b) say(`Morph from ${page.a.name} to ${page.b.name} below.`);
  else if (page.a || page.b) say(`Choose ${page.a ? 'B' : 'A'} as well to morph.`);
  saveSoon();
}

/** Adds a hit to a loop, or removes it; returns whether it is there now. */
export function toggleHit(loop, step, drum) {
  remember();
  const pattern = loop.pattern.slice();
  pattern[step] ^= 1 << drum;
  Object.assign(loop, {pattern, origin: null});
  show(loop);
  saveSoon();
  return Boolean(pattern[step] >> drum & 1);
}

/** Keeps a part of a loop in completions, or no longer. */
export function toggleKept(loop, constraint, index) {
  remember();
  loop[constraint][index] = !loop[constraint][index];
  show(loop);
  saveSoon();
}
