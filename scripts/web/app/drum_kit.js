// A drum kit, and loops played on it, as midi/drum_kit.py and sound.py do it: of the
// same samples. Gains, places and fades are whole multiples of powers of two, so that
// sums are exact, in any order.
import {fromBase64} from '../shared/base64.js';
import {DRUM_NAMES, DRUMS, RATE, SOUND} from './constants.js';
import {sine} from './numbers.js';
import {noTick} from './ticks.js';
import {to16Bits} from './wav.js';

const [CLOSED, OPEN] = ['closed hi-hat', 'open hi-hat'].map(
  name => DRUM_NAMES.indexOf(name));
const PI = 3.141592653589793;

/** Returns the nearest sample; between two, the later one. */
export function sampleAt(seconds) {
  return Math.floor(seconds * RATE + 0.5 + SOUND.tie);
}

/** Returns the nearest whole multiple of 1 / units. */
function rounded(level, units) {
  return Math.floor(units * level + 0.5) / units;
}

/** Returns how loud a place is left and right, of equal power. */
function sidesOf(pan) {
  const angle = PI / 4 * (1 + pan);
  return [sine(PI / 2 - angle), sine(angle)].map(
    level => rounded(level, SOUND.panUnits));
}

/** Returns a body's gain: 1 at velocity 127, of which an edge gets velocity / 127. */
function gainOf(velocity, edge) {
  const v = velocity / 127;
  return v * v * Math.sqrt((1 + edge) / (1 + edge * v * v));
}

/** Sounds by drum and velocity. */
export class Kit {
  /**
   * @param {number[]} pans Each drum's place, from -1, left, to 1.
   * @param {Object[]} layers As `read_index` of drum_kit.py says.
   * @param {Float32Array} waves All sounds, one after the other.
   */
  constructor({pans, layers}, waves) {
    Object.assign(this, {pans, layers, waves});
  }

  /**
   * @param {Object} data Base64 of an audio file of 16 bits that has the waves. It
   *   begins with 1/2 and -1/2, since Chromium divides what is above 0 by 32767.
   */
  static async open({data, ...index}) {
    const audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(
      fromBase64(data).buffer);
    const waves = audio.getChannelData(0), [up, down] = waves;
    return new Kit(index, waves.map(
      x => Math.round(x / (x < 0 ? -down : up) * 16384) / 32768));
  }

  /**
   * Returns the sounds of a stroke: [{from: their first sample, samples, gain}].
   * @param {number} number How many of the drum were before; neighbours differ.
   */
  stroke(drum, velocity, number) {
    const layer = this.layers.filter(one => one.drum === drum).reduce(
      (a, b) => (Math.abs(a.velocity - velocity) <= Math.abs(b.velocity - velocity) ?
        a : b));
    const turns = number * SOUND.golden, share = turns - Math.floor(turns);
    const level = gainOf(velocity, layer.edge) / gainOf(layer.velocity, layer.edge);
    return [[layer.bodies, level], [layer.edges, level * velocity / 127]].filter(
      ([all]) => all.length).map(([all, gain]) => {
      const [from, samples] = all[Math.floor(share * all.length)];
      return {from, samples, gain: rounded(gain, SOUND.gainUnits)};
    });
  }
}

/** Returns how many samples a loop lasts. */
export function loopLength(steps, tempo) {
  return sampleAt(steps * 15 / tempo);
}

/**
 * Returns one drum's strokes in a loop, in order: [{begin: the sample, velocity,
 * number: how many were before, end: after how many samples an open hi-hat is closed}].
 */
export function partOf(drum, hits, tempo, length) {
  const strokes = hits.map(hit => ({
    ...hit, begin: sampleAt(hit.start * 15 / tempo) % length}));
  const closing = strokes.filter(hit => drum === OPEN && (
    hit.drum === CLOSED || hit.drum === OPEN)).map(({begin}) => begin);
  return strokes.filter(hit => hit.drum === drum).sort((a, b) => a.begin - b.begin).map(
    ({begin, velocity}, number) => ({begin, velocity, number, end: closing.reduce(
      (end, at) => Math.min(end, at > begin ? at - begin : at - begin + length),
      Infinity)}));
}

/** Returns one stroke's sound. */
export function renderStroke(kit, drum, velocity) {
  const sounds = kit.stroke(drum, velocity, 0);
  return renderPart(kit, drum, [{begin: 0, velocity, number: 0, end: Infinity}],
                    Math.max(1, ...sounds.map(({samples}) => samples)));
}

/**
 * Returns a drum's sound in a loop, without its place. What rings after the loop's end
 * is mixed into its beginning.
 * @param {Object[]} part Of `partOf`.
 */
export function renderPart(kit, drum, part, length) {
  const out = new Float64Array(length), {waves} = kit;
  for (const {begin, velocity, number, end} of part) {
    for (const {from, samples, gain} of kit.stroke(drum, velocity, number)) {
      const over = end + SOUND.choke, size = Math.min(samples, over);
      for (let i = 0, at = begin; i < size; i++) {
        out[at] += gain * waves[from + i] * (i > end ? (over - i) / SOUND.choke : 1);
        if (++at === length) at = 0;
      }
    }
  }
  return out;
}

/** Yields each drum's sound in a loop: {drum, sides: [left, right]}. */
function* stemsOf(kit, hits, tempo, length) {
  for (let drum = 0; drum < DRUMS; drum++) {
    const part = partOf(drum, hits, tempo, length);
    if (!part.length) continue;
    const wave = renderPart(kit, drum, part, length);
    yield {drum, sides: sidesOf(kit.pans[drum]).map(
      level => wave.map(x => level * x))};
  }
}

function addTo(sums, sides, gain = 1) {
  sums.forEach((sum, side) => sides[side].forEach((x, i) => { sum[i] += gain * x; }));
}

function peakOf(sides) {
  let peak = 0;
  for (const side of sides) for (const x of side) peak = Math.max(peak, x, -x);
  return peak;
}

/** Returns the gain that takes a peak to -1 dBFS; of silence, it is 1. */
const gainTo = peak => peak > SOUND.silence ? SOUND.peak / peak : 1;

const silence = length => [new Float64Array(length), new Float64Array(length)];

/** Returns a loop's sound, its peak at -1 dBFS: [left, right]. */
export async function mixDown(kit, hits, steps, tempo, tick = noTick) {
  const length = loopLength(steps, tempo), sums = silence(length);
  for (const {drum, sides} of stemsOf(kit, hits, tempo, length)) {
    await tick(drum / DRUMS);
    addTo(sums, sides);
  }
  const gain = gainTo(peakOf(sums));
  return sums.map(side => side.map(x => gain * x));
}

/**
 * Returns each drum's sound in 16 bits, and their sum, all at one gain, as
 * `Player.write_wav` of sound.py writes them: {mix, stems: [{drum, samples}]}.
 */
export async function stems16Bits(kit, hits, steps, tempo, tick = noTick) {
  const length = loopLength(steps, tempo), sums = silence(length), stems = [];
  let peak = 0;
  for (const {drum, sides} of stemsOf(kit, hits, tempo, length)) {
    await tick(drum / DRUMS / 2);
    peak = Math.max(peak, peakOf(sides));
    addTo(sums, sides);
  }
  const gain = Math.min(gainTo(peakOf(sums)), SOUND.loudest / Math.max(peak, SOUND.silence));
  const mix = to16Bits(sums.map(sum => sum.map(x => gain * x)));
  // Each is the difference between two sums that are rounded, so no error adds up.
  sums.forEach(sum => sum.fill(0));
  const last = Math.max(...hits.map(({drum}) => drum));
  let before = new Int16Array(2 * length);
  for (const {drum, sides} of stemsOf(kit, hits, tempo, length)) {
    await tick((1 + drum / DRUMS) / 2);
    addTo(sums, sides, gain);
    const now = drum === last ? mix : to16Bits(sums);
    stems.push({drum, samples: now.map((x, i) => x - before[i])});
    before = now;
  }
  return {mix, stems};
}
