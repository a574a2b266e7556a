// A drum kit of oscillators and noise, and loops played on it. It is computed with
// the functions of numbers.js, so that a loop's WAV is the same in every browser.
import {fromBase64} from '../shared/base64.js';
import {DRUM_NAMES, DRUMS, RATE} from './constants.js';
import {exp, Random, sine, tanh} from './numbers.js';

const [CLOSED, OPEN] = ['closed hi-hat', 'open hi-hat'].map(
  name => DRUM_NAMES.indexOf(name));
export const HEADROOM = 0.6;  // All drums at once are not too loud.
const PEAK = 0.8912509381337456;  // -1 dBFS.
const LAYERS = 5;  // Of velocity.
const VARIANTS = 2;  // Of a sound, so that a roll's hits differ.
const CHOKE = Math.round(0.012 * RATE);
const PI = 3.141592653589793;

const WAVE_SIZE = 4096;
const sineWave = Float64Array.from({length: WAVE_SIZE + 1}, (_, i) => (
  2 * i <= WAVE_SIZE ? sine(2 * PI * i / WAVE_SIZE) :
  -sine(2 * PI * (i - WAVE_SIZE / 2) / WAVE_SIZE)));

/** The sine of a phase in turns. */
function sineAt(turns) {
  const x = (turns - Math.floor(turns)) * WAVE_SIZE, i = Math.floor(x);
  return sineWave[i] + (x - i) * (sineWave[i + 1] - sineWave[i]);
}

function silence(seconds) {
  return new Float64Array(Math.round(seconds * RATE));
}

/** Returns the factor by which a level falls each sample, to 1/e in some seconds. */
function decayOf(seconds) {
  return exp(-1 / (seconds * RATE));
}

/** Adds a sine that falls from one frequency to another, and fades. */
function addTone(out, {from, to = from, drop = 0.02, decay, level, phase = 0}) {
  const falling = decayOf(drop), fading = decayOf(decay);
  let above = from - to, turns = phase, now = level;
  for (let i = 0; i < out.length && now > 1e-5; i++) {
    out[i] += now * sineAt(turns);
    turns += (to + above) / RATE;
    above *= falling;
    now *= fading;
  }
}

/** Returns noise that fades. */
function fadingNoise(random, seconds, decay) {
  const fading = decayOf(decay), out = silence(seconds);
  for (let i = 0, now = 1; i < out.length; i++) {
    now *= fading;
    out[i] = now * (2 * random.uniform() - 1);
  }
  return out;
}

/** Filters in place by a state-variable filter of two poles (Zavalishin 2012). */
function filter(signal, kind, cutoff, q = 0.7) {
  const angle = PI * cutoff / RATE, g = sine(angle) / sine(PI / 2 - angle), k = 1 / q;
  const a = 1 / (1 + g * (g + k));
  let s1 = 0, s2 = 0;
  for (let i = 0; i < signal.length; i++) {
    const band = a * (s1 + g * (signal[i] - s2)), low = s2 + g * band;
    s1 = 2 * band - s1;
    s2 = 2 * low - s2;
    signal[i] = kind === 'low' ? low : kind === 'band' ? k * band :
      signal[i] - k * band - low;
  }
  return signal;
}

function add(out, signal, level) {
  for (let i = 0; i < signal.length && i < out.length; i++) out[i] += level * signal[i];
}

/** Returns a cymbal's noise: square waves of inharmonic frequencies. */
function metal(seconds, decay, pitch) {
  const fading = decayOf(decay), out = silence(seconds);
  for (const frequency of [205.3, 304.4, 369.6, 522.7, 540, 800]) {
    const turn = frequency * pitch / RATE;
    for (let i = 0, turns = 0, now = 1 / 6; i < out.length; i++) {
      out[i] += turns < 0.5 ? now : -now;
      turns += turn;
      if (turns >= 1) turns -= 1;
      now *= fading;
    }
  }
  return out;
}

function kick(random, bright) {
  const out = silence(0.55);
  addTone(out, {from: 175 + 55 * bright, to: 49, drop: 0.022, decay: 0.11, level: 1});
  addTone(out, {
    from: 420, to: 110, drop: 0.01, decay: 0.022, level: 0.3 + 0.4 * bright});
  const beater = filter(fadingNoise(random, 0.03, 0.004), 'low', 2500 + 6000 * bright);
  add(out, beater, 0.6 + 0.9 * bright);
  return out.map(x => tanh(1.7 * x));
}

function snare(random, bright) {
  const out = silence(0.4);
  addTone(out, {from: 245, to: 186, drop: 0.015, decay: 0.06, level: 0.5});
  addTone(out, {from: 345, to: 331, decay: 0.045, level: 0.27, phase: 0.25});
  addTone(out, {from: 512, decay: 0.03, level: 0.12});
  const wires = fadingNoise(random, 0.4, 0.075 + 0.045 * bright);
  add(out, filter(wires.slice(), 'band', 2300, 0.6), 0.9 + 0.4 * bright);
  add(out, filter(wires, 'high', 4300), 0.6 + 0.6 * bright);
  const snap = filter(fadingNoise(random, 0.02, 0.0035), 'high', 1500);
  add(out, snap, 0.35 + 0.4 * bright);
  return out.map(x => tanh(1.3 * x));
}

function hiHat(random, bright, seconds, decay) {
  const out = silence(seconds);
  const noise = fadingNoise(random, seconds, decay);
  add(out, metal(seconds, decay, 1.9), 1.1);
  add(out, noise, 0.6);
  filter(filter(out, 'high', 6300), 'high', 5200 + 1500 * bright);
  const tip = filter(fadingNoise(random, 0.02, 0.003), 'band', 5200);
  add(out, tip, 0.12 + 0.12 * bright);
  return out;
}

function tom(random, bright, frequency) {
  const out = silence(0.75), decay = 20 / (frequency + 30);
  addTone(out, {from: 1.42 * frequency, to: frequency, drop: 0.045, decay, level: 1});
  addTone(out, {from: 2.1 * frequency, to: 1.59 * frequency, drop: 0.04,
                decay: 0.35 * decay, level: 0.22 + 0.15 * bright});
  addTone(out, {from: 2.4 * frequency, decay: 0.2 * decay, level: 0.15 * bright});
  const stick = filter(fadingNoise(random, 0.05, 0.008), 'low', 2500 + 4500 * bright);
  add(out, stick, 0.7 + 0.9 * bright);
  return out.map(x => tanh(1.2 * x));
}

function crash(random, bright) {
  const out = silence(2.6);
  add(out, filter(fadingNoise(random, 2.6, 0.42), 'high', 6500), 0.55 + 0.3 * bright);
  add(out, filter(fadingNoise(random, 2.6, 0.62), 'band', 3900, 0.8), 0.5);
  add(out, filter(fadingNoise(random, 0.3, 0.05), 'high', 2500), 0.35 + 0.35 * bright);
  for (let i = 0; i < 26; i++) {
    const from = 900 + 7600 * random.uniform() * random.uniform() + 260 * i;
    addTone(out, {from, decay: 900 / (from + 700) + 0.15, phase: random.uniform(),
                  level: 0.05 + 0.03 * random.uniform()});
  }
  return out.map((x, i) => x * Math.min(1, 0.35 + i / (0.008 * RATE)));
}

function ride(random, bright) {
  const out = silence(1.9);
  add(out, filter(fadingNoise(random, 1.9, 0.4), 'high', 5600), 0.13 + 0.1 * bright);
  add(out, filter(filter(metal(1.9, 0.3, 1.37), 'high', 4800), 'high', 4000), 0.35);
  for (const [from, decay, level] of [
    [812, 0.3, 0.035], [1497, 0.35, 0.05], [2890, 0.5, 0.12], [3643, 0.6, 0.14],
    [4271, 0.45, 0.12], [5413, 0.4, 0.1], [6187, 0.35, 0.09], [7324, 0.25, 0.07],
    [9101, 0.2, 0.06]]) {
    addTone(out, {from, decay, level, phase: random.uniform()});
  }
  add(out, filter(fadingNoise(random, 0.02, 0.003), 'band', 5000), 0.6 + 0.6 * bright);
  return out;
}

// Each drum's sound, its level at the highest velocity, and its place from left, -1, to
// right, 1, as the audience sees the drummer.
const SOUNDS = {
  'kick': [kick, 0.95, 0],
  'snare': [snare, 0.8, 0.05],
  'closed hi-hat': [(random, bright) => hiHat(
    random, bright, 0.25, 0.03 + 0.02 * bright), 0.46, 0.3],
  'open hi-hat': [(random, bright) => hiHat(random, bright, 1.1, 0.26), 0.22, 0.3],
  'low tom': [(random, bright) => tom(random, bright, 82), 0.85, -0.35],
  'mid tom': [(random, bright) => tom(random, bright, 112), 0.8, -0.1],
  'high tom': [(random, bright) => tom(random, bright, 150), 0.72, 0.15],
  'crash': [crash, 0.42, 0.4],
  'ride': [ride, 0.13, -0.4]};
export const PANS = DRUM_NAMES.map(name => SOUNDS[name][2]);

/** Returns the highest level of signals. */
function peakOf(...signals) {
  let peak = 0;
  for (const signal of signals) {
    for (const x of signal) if (x > peak) peak = x; else if (-x > peak) peak = -x;
  }
  return peak;
}

/** Returns a drum's sound, `bright` from 0 to 1. */
function synthesize(drum, bright, variant = 0) {
  const [make, level] = SOUNDS[DRUM_NAMES[drum]];
  const sound = make(new Random(drum, variant), bright);
  if (bright < 1) filter(sound, 'low', 5500 + 12500 * bright);
  const scale = level / peakOf(sound), fade = Math.round(0.02 * RATE);
  return Float32Array.from(sound, (x, i) => (
    scale * x * Math.min(1, (sound.length - 1 - i) / fade)));
}

/** Sounds by drum and velocity. */
export class Kit {
  /** @param {Object[]} samples {drum, velocity, wave: at RATE}; [] to synthesize. */
  constructor(samples = []) {
    this.samples = samples;
    this.sounds = new Map();
  }

  /** @param {Object[]} files {drum, velocity, data: base64 of an audio file} */
  static async open(files) {
    const decoder = new OfflineAudioContext(1, 1, RATE);
    const samples = await Promise.all(files.map(async ({drum, velocity, data}) => ({
      drum, velocity, wave: (await decoder.decodeAudioData(
        fromBase64(data).buffer)).getChannelData(0)})));
    const loudest = peakOf(...samples.map(({wave}) => wave));
    for (const sample of samples) sample.wave = sample.wave.map(x => x / loudest);
    return new Kit(samples);
  }

  /** Returns {wave, gain} of a hit; `velocity` from 1 to 127. */
  sound(drum, velocity, variant) {
    const loudness = v => v / 127 * Math.sqrt(v / 127);
    if (this.samples.length) {
      const nearest = this.samples.filter(sample => sample.drum === drum).reduce(
        (a, b) => (Math.abs(a.velocity - velocity) <= Math.abs(b.velocity - velocity) ?
          a : b));
      return {wave: nearest.wave,
              gain: loudness(velocity) / loudness(nearest.velocity)};
    }
    const layer = Math.min(LAYERS - 1, Math.floor(velocity / 128 * LAYERS));
    const other = variant % VARIANTS, key = (drum * LAYERS + layer) * VARIANTS + other;
    if (!this.sounds.has(key)) {
      this.sounds.set(key, synthesize(drum, (layer + 0.5) / LAYERS, other));
    }
    return {wave: this.sounds.get(key), gain: loudness(velocity)};
  }
}

/** Returns how many samples bars last. */
export function loopLength(bars, tempo) {
  return Math.round(bars * 240 / tempo * RATE);
}

/**
 * Returns one drum's hits in a loop: [{start, velocity, variant, end: where an open
 * hi-hat is closed, or Infinity}], in steps.
 */
export function partOf(drum, hits, steps) {
  const pedal = drum === OPEN ? hits.filter(
    hit => hit.drum === CLOSED || hit.drum === OPEN).map(hit => hit.start) : [];
  return hits.filter(hit => hit.drum === drum).map(({step, start, velocity}) => {
    const ends = pedal.map(end => end > start ? end : end + steps);
    return {start, velocity, variant: step, end: Math.min(Infinity, ...ends)};
  });
}

/**
 * Returns a drum's sound in a loop. What rings after the loop's end is mixed into its
 * beginning.
 * @param {Object[]} part Of `partOf`.
 */
export function renderPart(kit, drum, part, steps, length) {
  const out = new Float32Array(length), perStep = length / steps;
  for (const {start, velocity, variant, end} of part) {
    const {wave, gain} = kit.sound(drum, velocity, variant);
    const begin = Math.round(start * perStep);
    const size = Math.min(wave.length, Math.round((end - start) * perStep) + CHOKE);
    const isCut = size < wave.length;
    for (let i = 0, at = begin % length; i < size; i++) {
      out[at] += gain * wave[i] * (isCut ? Math.min(1, (size - i) / CHOKE) : 1);
      if (++at === length) at = 0;
    }
  }
  return out;
}

/** Returns a loop's sound, normalized: [left, right]. */
export function mixDown(kit, hits, steps, length) {
  const sides = [new Float32Array(length), new Float32Array(length)];
  for (let drum = 0; drum < DRUMS; drum++) {
    const part = partOf(drum, hits, steps);
    if (!part.length) continue;
    const wave = renderPart(kit, drum, part, steps, length);
    // Of equal power, as a StereoPannerNode.
    const angle = PI / 4 * (1 + PANS[drum]);
    [sine(PI / 2 - angle), sine(angle)].forEach((level, side) => {
      const out = sides[side];
      for (let i = 0; i < length; i++) out[i] += level * wave[i];
    });
  }
  const scale = PEAK / (peakOf(...sides) || 1);
  return sides.map(side => side.map(x => scale * x));
}
