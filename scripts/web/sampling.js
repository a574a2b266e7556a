// Ways to make patterns with a model: drawn, near a given one, between two, around
// what is kept of one. As drumloops' sampling.py, varying.py and completing.py.
import {CLASSES, Decoder, Encoder} from './model.js';
import {angleOf, exp, log, logSumExp, Random, sine} from './numbers.js';

export const DRUMS = 9;
export const BAR = 16;
const BEAT = 4;
const PARTICLES = 64;  // Latents that try to play a loop, of which one does.
const OWN_SHARE = 0.9;  // Of them that come from the encoder, not from the prior.
const FEW = 0.5;  // Particles make way if they count for less than this share.
const MARGIN = 1e-3;  // By which a played class is the first.
// What random numbers are for, so that none are used twice.
const [LATENT, NOISE, VARIED, MORPHED, COMPLETED] = [1, 2, 3, 4, 5];

/** Lets the page live on. */
function pause() {
  return new Promise(done => setTimeout(done));
}

/** Gumbel noise for a whole pattern. */
export function drawNoise(random, steps) {
  return Float32Array.from({length: steps * CLASSES}, () => random.gumbel());
}

/**
 * Gumbel noise under which classes are the first ones (Maddison et al. 2014,
 * arXiv 1411.0030).
 * @param {Float32Array} logits Divided by the temperature, [steps, CLASSES].
 */
export function noiseOf(logits, classes, random) {
  const noise = new Float32Array(logits.length);
  for (let t = 0; t < classes.length; t++) {
    const here = logits.subarray(t * CLASSES, (t + 1) * CLASSES);
    const highest = logSumExp(here) + random.gumbel();
    for (let k = 0; k < CLASSES; k++) {
      const value = here[k] + random.gumbel();
      const below = highest - value > 30 ? value :
        highest - log(1 + exp(highest - value));
      noise[t * CLASSES + k] = (k === classes[t] ? highest : Math.min(
        below, highest - MARGIN)) - here[k];
    }
  }
  return noise;
}

/**
 * Gumbel noise between two, `a` at 0 and `b` at 1. The higher of two such numbers,
 * less what is due to their shares, is one again, so what is between is as they are.
 */
export function mixNoise(a, b, share) {
  if (share <= 0) return a;
  if (share >= 1) return b;
  const [lessA, lessB] = [log(1 - share), log(share)];
  return a.map((value, i) => Math.max(value + lessA, b[i] + lessB));
}

/** Goes from one latent to another at an even angle. */
export function slerp(a, b, share) {
  let dot = 0, squareA = 0, squareB = 0;
  a.forEach((x, i) => {
    dot += x * b[i];
    squareA += x * x;
    squareB += b[i] * b[i];
  });
  const angle = angleOf(dot / Math.sqrt(squareA * squareB)), whole = sine(angle);
  const [p, q] = whole < 1e-6 ? [1 - share, share] : [
    sine((1 - share) * angle) / whole, sine(share * angle) / whole];
  return a.map((x, i) => p * x + q * b[i]);
}

/** What the encoder hears of which classes each step may have, [steps, DRUMS + 1]. */
export function roll(allowed) {
  const heard = new Float32Array(allowed.length * (DRUMS + 1));
  allowed.forEach((classes, t) => {
    for (let d = 0; d <= DRUMS; d++) {
      let having = 0;
      for (const k of classes) having += d < DRUMS ? k >> d & 1 : k === 0;
      heard[t * (DRUMS + 1) + d] = having === classes.length ? 1 : having ? 0.5 : 0;
    }
  });
  return heard;
}

/** What classes a step may have of which some drums are kept. */
export function allowedClasses(given, keptDrums) {
  const kept = keptDrums.reduce((mask, is, d) => is ? mask | 1 << d : mask, 0);
  return Array.from({length: CLASSES}, (_, k) => k).filter(
    k => (k & kept) === (given & kept));
}

export class Sampler {
  /**
   * @param {Tensors} tensors
   * @param {Object} model {steps, segments, zSize, layers, encoder: {levels,
   *   layers} or null}
   * @param {Object} styles {name: {mean, deviation}} of latents.
   */
  constructor(tensors, model, styles) {
    Object.assign(this, {tensors, model, styles});
    this.decoders = new Map();
    this.encoder = model.encoder && new Encoder(
      tensors, '', model.encoder.levels, model.encoder.layers, model.steps);
  }

  decoder(batch) {
    if (!this.decoders.has(batch)) {
      this.decoders.set(batch, new Decoder(this.tensors, this.model, batch));
    }
    return this.decoders.get(batch);
  }

  /** Returns {mu, sigma} of patterns, [count, z size] each. */
  encode(patterns) {
    const rolls = patterns.map(pattern => roll(Array.from(pattern, k => [k])));
    const size = this.model.steps * (DRUMS + 1);
    const sequences = new Float32Array(patterns.length * size);
    rolls.forEach((heard, i) => sequences.set(heard, i * size));
    return this.encoder.run(sequences, patterns.length);
  }

  /**
   * Returns patterns that latents and noise decide.
   * @param {Float32Array[]} latents
   * @param {Float32Array[]} noises [steps, CLASSES] each.
   */
  async play(latents, noises, temperature) {
    const {steps, zSize} = this.model, count = latents.length;
    const decoder = this.decoder(count + 3 & ~3), {batch} = decoder;
    const z = new Float32Array(batch * zSize), now = new Int32Array(batch).fill(-1);
    latents.forEach((latent, v) => z.set(latent, v * zSize));
    decoder.begin(z);
    const patterns = latents.map(() => new Uint16Array(steps));
    for (let t = 0; t < steps; t++) {
      if (t % BAR === 0) await pause();
      const logits = decoder.step(now);
      for (let v = 0; v < count; v++) {
        let best = -Infinity;
        for (let k = 0; k < CLASSES; k++) {
          const value = logits[v * CLASSES + k] / temperature +
            noises[v][t * CLASSES + k];
          if (value > best) [best, now[v]] = [value, k];
        }
        patterns[v][t] = now[v];
      }
    }
    return patterns;
  }

  /** Returns the logits of the true steps, [steps, CLASSES] of each pattern. */
  force(latents, patterns) {
    const {steps, zSize} = this.model;
    const decoder = this.decoder(latents.length + 3 & ~3), {batch} = decoder;
    const z = new Float32Array(batch * zSize), now = new Int32Array(batch).fill(-1);
    latents.forEach((latent, v) => z.set(latent, v * zSize));
    decoder.begin(z);
    const found = patterns.map(() => new Float32Array(steps * CLASSES));
    for (let t = 0; t < steps; t++) {
      const logits = decoder.step(now);
      patterns.forEach((pattern, v) => {
        found[v].set(logits.subarray(v * CLASSES, (v + 1) * CLASSES), t * CLASSES);
        now[v] = pattern[t];
      });
    }
    return found;
  }

  /** Returns a latent of a style, or of any, as `random` has it. */
  latent(random, style) {
    const z = Float32Array.from(random.normals(this.model.zSize));
    const gaussian = style ? this.styles[style] : null;
    return gaussian ? z.map(
      (x, i) => gaussian.mean[i] + gaussian.deviation[i] * x) : z;
  }

  /** Returns several patterns: of a seed and numbers from `index` on. */
  async sample({seed, index = 0, count = 1, style = '', temperature}) {
    const numbers = Array.from({length: count}, (_, i) => index + i);
    return this.play(
      numbers.map(i => this.latent(new Random(LATENT, seed, i), style)),
      numbers.map(i => drawNoise(new Random(NOISE, seed, i), this.model.steps)),
      temperature);
  }

  ownNoise(latents, patterns, temperature, random) {
    return this.force(latents, patterns).map((logits, i) => noiseOf(
      logits.map(x => x / temperature), patterns[i], random));
  }

  /** Returns variations of a pattern, `amount` from 0, itself, to 1. */
  async vary(pattern, {seed, amount, temperature, count = 1}) {
    if (amount <= 0) return Array.from({length: count}, () => pattern.slice());
    const {mu, sigma} = this.encode([pattern]);
    const own = this.ownNoise([mu], [pattern], temperature, new Random(VARIED, seed))[0];
    const latents = [], noises = [];
    for (let i = 0; i < count; i++) {
      const random = new Random(VARIED, seed, i + 1);
      const moved = random.normals(mu.length);
      latents.push(mu.map((x, k) => x + amount * sigma[k] * moved[k]));
      noises.push(mixNoise(own, drawNoise(random, this.model.steps), amount));
    }
    return this.play(latents, noises, temperature);
  }

  /** Returns a pattern between two: `a` at 0, `b` at 1. */
  async morph(a, b, share, {seed, temperature}) {
    if (share <= 0) return a.slice();
    if (share >= 1) return b.slice();
    const {mu} = this.encode([a, b]), size = mu.length / 2;
    const latents = [mu.subarray(0, size), mu.subarray(size)];
    const own = this.ownNoise(latents, [a, b], temperature, new Random(MORPHED, seed));
    const [pattern] = await this.play(
      [slerp(...latents, share)], [mixNoise(...own, share)], temperature);
    return pattern;
  }

  /**
   * Returns a pattern of allowed classes, by sequential Monte Carlo (Gordon et al.
   * 1993), as masked_sampling.py says.
   * @param {number[][]} allowed The classes of each step, one and more.
   */
  async complete(allowed, {
    seed, temperature, style = '', particles = PARTICLES}) {
    const {steps, zSize} = this.model, random = new Random(COMPLETED, seed);
    const decoder = this.decoder(particles);
    const {mu, sigma} = this.encoder.run(roll(allowed), 1);
    const z = new Float32Array(particles * zSize);
    for (let v = 0; v < particles; v++) {
      const isOwn = random.uniform() < OWN_SHARE && !style;
      const latent = this.latent(random, style);
      z.set(isOwn ? latent.map((x, i) => mu[i] + sigma[i] * x) : latent, v * zSize);
    }
    decoder.begin(z);
    let weights = new Float64Array(particles);  // Their logarithms.
    let now = new Int32Array(particles).fill(-1);
    let histories = Array.from({length: particles}, () => new Uint16Array(steps));
    for (let t = 0; t < steps; t++) {
      if (t % BEAT === 0) await pause();
      const logits = decoder.step(now), classes = allowed[t];
      for (let v = 0; v < particles; v++) {
        const all = logits.subarray(v * CLASSES, (v + 1) * CLASSES).map(
          x => x / temperature);
        const some = classes.length === CLASSES ? all : Float32Array.from(
          classes, k => all[k]);
        if (some !== all) weights[v] += logSumExp(some) - logSumExp(all);
        now[v] = classes[drawFrom(some, random)];
        histories[v][t] = now[v];
      }
      if (t % BEAT === BEAT - 1) {
        const rows = survivors(weights, random);
        if (rows) {
          weights = new Float64Array(particles);
          now = Int32Array.from(rows, row => now[row]);
          histories = Array.from(rows, row => histories[row].slice());
          decoder.choose(rows);
        }
      }
    }
    return histories[drawFrom(weights, random)];
  }

  /**
   * Returns a whole pattern, of any number of bars, of allowed classes: from the
   * beginning on, each next bars by the bars before them.
   */
  async completeAll(allowed, options) {
    const {steps} = this.model, pattern = Uint16Array.from(allowed, a => a[0]);
    for (let begin = 0, known = 0, part = 0; ; part++) {
      const window = Array.from({length: steps}, (_, i) => (
        i < known ? [pattern[begin + i]] : allowed[begin + i]));
      if (window.some(classes => classes.length > 1)) {
        pattern.set(await this.complete(
          window, {...options, seed: options.seed + part * 1e6}), begin);
      }
      const left = pattern.length - begin - steps;
      if (left <= 0) return pattern;
      const added = Math.min(left, steps / 2);
      begin += added;
      known = steps - added;
    }
  }
}

/** Returns an index by the softmax of logits. */
function drawFrom(logits, random) {
  const total = logSumExp(logits);
  let left = random.uniform();
  for (let i = 0; i < logits.length - 1; i++) {
    left -= exp(logits[i] - total);
    if (left < 0) return i;
  }
  return logits.length - 1;
}

/** Returns which particles go on by systematic resampling; null if all do. */
function survivors(weights, random) {
  const total = logSumExp(weights), count = weights.length;
  const shares = Array.from(weights, w => exp(w - total));
  if (1 / shares.reduce((sum, w) => sum + w * w, 0) >= FEW * count) return null;
  const rows = new Int32Array(count), offset = random.uniform();
  let row = 0, sum = shares[0];
  for (let i = 0; i < count; i++) {
    while (sum < (i + offset) / count && row < count - 1) sum += shares[++row];
    rows[i] = row;
  }
  return rows;
}
