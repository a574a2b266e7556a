// What is on the page. Others are told of changes (`watch`), so this needs no document.
import {BAR, DRUMS, MOST_SEED, TEMPOS} from './constants.js';
import {hasKept, keptOf} from './constraints.js';
import {hitsOf} from './hits.js';
import {readLink, writeLink} from './link.js';

export const MOST_PAGE_BARS = 1600;  // Of all loops: every browser takes such a link.
const UNDO_STEPS = 100;
const MOST_LETTERS_OF_NAME = 80;  // Of a loop's name.

const noDrums = () => Array.from({length: DRUMS}, () => false);

/**
 * All that is on the page. `engine` is an Engine or a Remote; `job` is what the models
 * do now, {share: of it that is done, isLong, isCancelled}, or null. A loop is {name, pattern, seed: of its own random numbers,
 * origin: {seed, index, style} of which it is a sample or null, tries: completions so
 * far, likes: how often variations were made of it, isOwn: whether the user changed it,
 * and for each constraint what is kept} and, not in links, {feel: of Humanizer, felt:
 * what the feel was made for, hits}.
 */
export const page = {
  engine: null, player: null, said: '', job: null,
  settings: {style: '', seed: 0, temperature: 0.6, tempo: 100, bars: 4, feel: 1,
             take: 1, drummer: 0, change: 0.5, map: '', outputMap: ''},
  muted: noDrums(), solo: noDrums(), made: 0, loops: [], a: null, b: null, share: 0.5,
  current: null, playing: null, morph: null};
const undoable = [];
const watchers = {};

/**
 * Calls functions at changes.
 * @param {Object} actions {change: function}. The changes, and what each function gets:
 *   said: another message.
 *   busy: whether the models work.
 *   job: another job, or more of it is done.
 *   loops: the loops that left.
 *   loop: a loop whose hits, name or kept parts changed.
 *   current, playing: the loop that was it before.
 *   gone: the loop to play in place of the one that plays, which left; or null.
 *   marks: other A, B or share between them.
 *   morph: another loop between A and B.
 *   settings: other settings.
 *   undo: more or less to undo.
 *   link: the state as text.
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
  name: '', pattern: null, seed: 0, origin: null, tries: 0, likes: 0, isOwn: false,
  feel: null, felt: '', ...given, ...keptOf(given, given.pattern.length)});

/** Returns the seed, or take, after a number. */
export const numberAfter = number => (number + 1) % (MOST_SEED + 1);

/** Returns a seed that no other loop of this page has. */
export function nextSeed() {
  return page.settings.seed * 1000 + 100 + page.made++;
}

/** Returns the nearest tempo that loops are played at. */
export const possibleTempo = tempo => Math.min(TEMPOS[1], Math.max(TEMPOS[0], tempo));

export const shortened = name => name.slice(0, MOST_LETTERS_OF_NAME);

/** Whether a loop stays when new ones are made. */
export const isWorkedOn = loop => (
  loop.isOwn || hasKept(loop) || loop === page.a || loop === page.b);

export const allLoops = () => page.morph ? [...page.loops, page.morph] : page.loops;
export const canMorph = () => Boolean(page.a && page.b && page.engine.canEncode);

/** Whether there is no room beside these loops; if so, says it. */
export function isFull(loops = page.loops) {
  const steps = loops.reduce((sum, {pattern}) => sum + pattern.length, 0);
  if (steps < MOST_PAGE_BARS * BAR) return false;
  say(`The page holds ${MOST_PAGE_BARS} bars at most; remove some loops first.`);
  return true;
}

/** Returns a pattern, repeated if it is shorter than the model's. */
function fit(pattern) {
  return Uint16Array.from({length: Math.max(pattern.length, page.engine.steps)},
                          (_, t) => pattern[t % pattern.length]);
}

/** Returns what links hold of a loop. */
const stored = loop => {
  const {name, pattern, seed, origin, tries, likes, isOwn} = loop;
  return {name, pattern, seed, origin, tries, likes, ...keptOf(loop, pattern.length),
          isOwn};
};

/** Returns the name of the weights, as links have it. */
export const title = () => page.engine.title.slice(0, 100);

/** Returns the text of the state, for a link. */
export function snapshot() {
  const index = loop => page.loops.includes(loop) ? page.loops.indexOf(loop) : null;
  const {settings, muted, solo, made, share, a, b, current, loops} = page;
  return writeLink({
    title: title(), settings, muted, solo, made, share, a: index(a), b: index(b),
    current: index(current), loops: loops.map(stored)});
}

export const saveSoon = afterwards(500, () => tell('link', snapshot()));

/** Keeps the loops as they are for Undo; to be called before they change. */
export function remember() {
  undoable.push(snapshot());
  if (undoable.length > UNDO_STEPS) undoable.shift();
  tell('undo');
}

export const canUndo = () => undoable.length > 0;

/** Brings back the loops of before the last change; returns whether there is one. */
export function undo() {
  if (!canUndo()) return false;
  restore(readLink(undoable.pop()));
  tell('undo');
  say('Undone.');
  return true;
}

/** Brings the loops of a state onto the page; those that are there already stay. */
export function restore(state) {
  const {made, share, a, b, current} = state;
  const playing = page.loops.indexOf(page.playing);
  const key = loop => JSON.stringify(stored(loop));
  const there = new Map(page.loops.map(loop => [key(loop), loop]));
  const loops = state.loops.map(loop => {
    const same = there.get(key(loop));
    there.delete(key(loop));
    return same ?? newLoop({...loop, pattern: fit(loop.pattern)});
  });
  Object.assign(page, {made, share, a: loops[a] ?? null, b: loops[b] ?? null});
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
  Object.assign(loop, {pattern, origin: null, isOwn: true});
  show(loop);
  saveSoon();
  return Boolean(pattern[step] >> drum & 1);
}

/** Keeps a part of a loop in completions, or no longer. */
export function toggleKept(loop, constraint, index) {
  loop[constraint][index] = !loop[constraint][index];
  show(loop);
  saveSoon();
}
