// The page's state as text, which is behind the # of a link to it.
import {fromBase64} from './engine.js';
import {BAR, DRUMS} from './sampling.js';

const VERSION = 1;
const MOST_BARS = 64, MOST_LETTERS = 100, MOST_INDEX = 64;
// Of base64 in addresses. A step's class is two of them, as a number of base 64.
const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const MOST_SEED = 1e9;
const NUMBERS = {  // Settings, their least and most.
  seed: [0, MOST_SEED], temperature: [0.1, 2], tempo: [20, 400], bars: [1, MOST_BARS],
  feel: [0, 1.2], take: [0, MOST_SEED], drummer: [0, MOST_SEED], change: [0, 1]};
const WHOLE = ['seed', 'bars', 'take', 'drummer'];

/** Says that a link is not one of this page's. */
export class LinkError extends Error {}

function check(isRight) {
  if (!isRight) throw new LinkError('The link is damaged');
}

function checkNumber(value, least, most, isWhole = true) {
  check(typeof value === 'number' && value >= least && value <= most &&
        (!isWhole || Number.isInteger(value)));
  return value;
}

/** Of these there may be one more at any time. */
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
    0, (1 << DRUMS) - 1));
}

/**
 * Returns the text of a state.
 * @param {Object} state {title: of the models, settings: {style, seed, ...}, muted and
 *   solo: bool [drums], made: loops so far, loops, a, b, current: indices or null,
 *   share: of B}; its loops: {name, pattern, seed, origin: {seed, index, style} or
 *   null, tries, likes, keptDrums, keptBars, isOwn}
 */
export function writeLink(state) {
  const json = JSON.stringify({
    ...state, version: VERSION, muted: writeBits(state.muted),
    solo: writeBits(state.solo), loops: state.loops.map(loop => ({
      ...loop, pattern: writePattern(loop.pattern),
      keptDrums: writeBits(loop.keptDrums), keptBars: writeBits(loop.keptBars)}))});
  let bytes = '';
  for (const byte of new TextEncoder().encode(json)) bytes += String.fromCharCode(byte);
  return btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/**
 * Returns the state of a text.
 * @throws {LinkError}
 */
export function readLink(text) {
  let found;
  try {
    found = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(fromBase64(
      text.replaceAll('-', '+').replaceAll('_', '/'))));
  } catch {
    check(false);
  }
  check(found?.version === VERSION && typeof found.settings === 'object' &&
        Array.isArray(found.loops));
  const settings = {style: checkText(found.settings?.style)};
  for (const [name, [least, most]] of Object.entries(NUMBERS)) {
    settings[name] = checkNumber(
      found.settings[name], least, most, WHOLE.includes(name));
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
      check(typeof origin === 'object' && typeof loop.isOwn === 'boolean');
      return {
        pattern, name: checkText(loop.name), isOwn: loop.isOwn,
        seed: checkCount(loop.seed), tries: checkCount(loop.tries),
        likes: checkCount(loop.likes),
        origin: origin && {
          seed: checkNumber(origin.seed, 0, MOST_SEED),
          index: checkNumber(origin.index, 0, MOST_INDEX),
          style: checkText(origin.style)},
        keptDrums: readBits(loop.keptDrums, DRUMS),
        keptBars: readBits(loop.keptBars, pattern.length / BAR)};
    })};
}
