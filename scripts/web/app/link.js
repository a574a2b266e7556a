// The page's state as text: JSON, and what stands behind the # of a link.
import {fromBase64} from '../shared/base64.js';
import {BAR, CLASSES, DRUMS, MOST_BARS, MOST_FEEL, MOST_SEED,
        STEERING} from './constants.js';
import {CONSTRAINTS} from './constraints.js';
import {ATTRIBUTES} from './sliders.js';

const VERSION = 1;
const MOST_LETTERS = 100, MOST_INDEX = 64;
// Of base64 in addresses. A step's class is two of them, as a number of base 64.
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const NUMBERS = {  // Settings, their least and most.
  seed: [0, MOST_SEED], temperature: [0.1, 2], tempo: [0, Infinity],
  bars: [1, MOST_BARS], feel: [0, MOST_FEEL], take: [0, MOST_SEED],
  drummer: [0, MOST_SEED], change: [0, 1]};
const WHOLE = ['seed', 'bars', 'take', 'drummer'];

/** Says that a text is no state of this page's. */
export class LinkError extends Error {}

function check(isRight) {
  if (!isRight) throw new LinkError('The link is damaged');
}

function checkNumber(value, least, most, isWhole = true) {
  check(typeof value === 'number' && value >= least && value <= most &&
        (!isWhole || Number.isInteger(value)));
  return value;
}

/** Numbers that have no limit, as each action may add one. */
const checkCount = value => checkNumber(value, 0, Infinity);

function checkText(value) {
  check(typeof value === 'string' && value.length <= MOST_LETTERS);
  return value;
}

const writeBits = bits => bits.map(Number).join('');
function readBits(text, count) {
  check(checkText(text).length === count && /^[01]*$/.test(text));
  return Array.from(text, c => c === '1');
}

const writePattern = pattern => Array.from(
  pattern, k => DIGITS[k >> 6] + DIGITS[k & 63]).join('');
function readPattern(text) {
  check(typeof text === 'string' && text.length % (2 * BAR) === 0 && text.length &&
        text.length <= 2 * BAR * MOST_BARS);
  return Uint16Array.from({length: text.length / 2}, (_, t) => checkNumber(
    64 * DIGITS.indexOf(text[2 * t]) + DIGITS.indexOf(text[2 * t + 1]),
    0, CLASSES - 1));
}

/** Links that are older than a constraint do not have it. */
const readKept = (loop, steps) => Object.fromEntries(CONSTRAINTS.map(
  ({name, buttons}) => {
    const {length} = buttons(steps);
    return [name, readBits(loop[name] ?? '0'.repeat(length), length)];
  }));

/**
 * Returns the JSON of a state.
 * @param {Object} state {title: of the models, settings: {style, seed, ...}, muted and
 *   solo: bool [drums], made: loops so far, loops, a, b, current: indices or null,
 *   share: of B}; its loops: {name, pattern, seed, origin: {seed, index, style} or
 *   null, tries, likes, and what is kept: constraint: bool[]}
 */
export function writeState(state) {
  return JSON.stringify({
    ...state, version: VERSION, muted: writeBits(state.muted),
    solo: writeBits(state.solo), loops: state.loops.map(loop => ({
      ...loop, pattern: writePattern(loop.pattern), ...Object.fromEntries(
        CONSTRAINTS.map(({name}) => [name, writeBits(loop[name])]))}))});
}

/** Returns what stands behind the # of a link to a state, of its JSON. */
export function writeLink(json) {
  let bytes = '';
  for (const byte of new TextEncoder().encode(json)) bytes += String.fromCharCode(byte);
  return btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/**
 * Returns the state of a link.
 * @throws {LinkError}
 */
export function readLink(text) {
  let json;
  try {
    json = new TextDecoder('utf-8', {fatal: true}).decode(fromBase64(
      text.replaceAll('-', '+').replaceAll('_', '/')));
  } catch {
    check(false);
  }
  return readState(json);
}

/**
 * Returns the state of JSON.
 * @throws {LinkError}
 */
export function readState(json) {
  let found;
  try {
    found = JSON.parse(json);
  } catch {
    check(false);
  }
  check(found?.version === VERSION && found.settings &&
        typeof found.settings === 'object' && Array.isArray(found.loops));
  // Older links have no kits and sliders.
  const {style, map = '', outputMap = ''} = found.settings;
  const settings = {
    style: checkText(style), map: checkText(map), outputMap: checkText(outputMap)};
  for (const [name, [least, most]] of Object.entries(NUMBERS)) {
    settings[name] = checkNumber(
      found.settings[name], least, most, WHOLE.includes(name));
  }
  for (const name of ATTRIBUTES) {
    settings[name] = checkNumber(
      found.settings[name] ?? 0, -STEERING.most, STEERING.most, false);
  }
  const index = value => value === null ? null : checkNumber(
    value, 0, found.loops.length - 1);
  return {
    settings, title: checkText(found.title), muted: readBits(found.muted, DRUMS),
    solo: readBits(found.solo, DRUMS), made: checkCount(found.made),
    a: index(found.a), b: index(found.b), current: index(found.current),
    share: checkNumber(found.share, 0, 1, false),
    loops: found.loops.map(loop => {
      check(loop && typeof loop === 'object');
      const pattern = readPattern(loop.pattern), {origin} = loop;
      check(typeof origin === 'object');
      return {
        pattern, name: checkText(loop.name),
        seed: checkCount(loop.seed), tries: checkCount(loop.tries),
        likes: checkCount(loop.likes),
        origin: origin && {
          seed: checkNumber(origin.seed, 0, MOST_SEED),
          index: checkNumber(origin.index, 0, MOST_INDEX),
          style: checkText(origin.style)},
        ...readKept(loop, pattern.length)};
    })};
}
