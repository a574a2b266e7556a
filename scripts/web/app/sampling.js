// Patterns from a model: new ones, variations, interpolations, completions. As
// variation.py and completion.py of drumloops/models.
import {BAR, BEAT, CLASSES, DRUMS} from './constants.js';
import {Decoder, Encoder} from './music_vae.js';
import {angleOf, exp, log, logSumExp, Random, sine} from './numbers.js';

// Particles are resampled when their effective number falls below this share.
const FEW = 0.5;
const MARGIN = 1e-3;  // By which a pattern's class is ahead of the others.
// Each use has random numbers of its own.
const [LATENT, NOISE, VARIED, INTERPOLATED, COMPLETED] = [1, 2, 3, 4, 5];

/** Lets the page answer to its user. */
function pause() {
  return new Promise(done => setTimeout(done));
}

/** Gumbel noise for a whole pattern. */
function drawNoise(random, steps) {
  return Float32Array.from({length: steps * CLASSES}, () => random.gumbel());
}

/**
 * Returns Gumbel noise under which the decoder plays these classes (Maddison et al.
 * 2014, arXiv 1411.0030).
 * @param {Float32Array} logits Divided by the temperature, [steps, CLASSES].
 */
function noiseOf(logits, classes, random) {
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
 * Returns Gumbel noise between two, `a` at 0 and `b` at 1. The maximum of two Gumbel
 * numbers, each plus the logarithm of its share, is a Gumbel number again.
 */
function mixNoise(a, b, share) {
  if (share <= 0) return a;
  if (share >= 1) return b;
  const [lessA, lessB] = [log(1 - share), log(share)];
  return a.map((value, i) => Math.max(value + lessA, b[i] + lessB));
}

/** Returns the spherical interpolation of two latents. */
function slerp(a, b, share) {
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

/**
 * Returns the encoder's input, [steps, DRUMS + 1], for the classes that each step may
 * have: 1 where all have the drum, 0 where none has, else a half. The last column says
 * that no drum is hit.
 */
function roll(allowed) {
  const input = new Float32Array(allowed.length * (DRUMS + 1));
  allowed.forEach((classes, t) => {
    for (let d = 0; d <= DRUMS; d++) {
      let having = 0;
      for (const k of classes) having += d < DRUMS ? k >> d & 1 : k === 0;
      input[t * (DRUMS + 1) + d] = having === classes.length ? 1 : having ? 0.5 : 0;
    }
  });
  return input;
}

export class Sampler {
  /**
   * @param {Tensors} tensors
   * @param {Object} model {steps, segments, zSize, layers, encoder: {levels,
   *   layers} or null}
   * @param {Object} styles {name: {mean, deviation}} of latents.
   * @param {Object} completion {particles: latents that play a loop, of which one is
   *   chosen; ownShare: the share of them that comes from the encoder, not the prior}
   */
  constructor(tensors, model, styles, completion) {
    Object.assign(this, {tensors, model, styles, completion});
    this.decoders = new Map();
    this.encoder = model.encoder && new Encoder(
      tensors, model.encoder.levels, model.encoder.layers, model.steps);
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
    rolls.forEach((input, i) => sequences.set(input, i * size));
    return this.encoder.run(sequences, patterns.length);
  }

  /**
   * Returns the patterns that latents are decoded to with this noise.
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

  /**
   * Returns the logits, [steps, CLASSES] of each pattern, if the decoder is told the
   * pattern's own step before each step.
   */
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

  /** Returns a latent drawn from a style's Gaussian, or from the prior. */
  latent(random, style) {
    const z = Float32Array.from(random.normals(this.model.zSize));
    const gaussian = style ? this.styles[style] : null;
    return gaussian ? z.map(
      (x, i) => gaussian.mean[i] + gaussian.deviation[i] * x) : z;
  }

  /** Returns the patterns number `index` and following of a seed. */
  async sample({seed, index = 0, count = 1, style = '', temperature}) {
    const numbers = Array.from({length: count}, (_, i) => index + i);
    return this.play(
      numbers.map(i => this.latent(new Random(LATENT, seed, i), style)),
      numbers.map(i => drawNoise(new Random(NOISE, seed, i), this.model.steps)),
      temperature);
  }

  /** Returns noise under which latents are decoded to these patterns. */
  ownNoise(latents, patterns, temperature, random) {
    return this.force(latents, patterns).map((logits, i) => noiseOf(
      logits.map(x => x / temperature), patterns[i], random));
  }

  /** Returns variations of a pattern, `amount` from 0, itself, to 1. */
  async vary(pattern, {seed, amount, temperature, count = 1}) {
    if (amount <= 0) return Array.from({length: count}, () => pattern.slice());
    const {mu, sigma} = this.encode([pattern]);
    const [own] = this.ownNoise(
      [mu], [pattern], temperature, new Random(VARIED, seed));
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
  async interpolate(a, b, share, {seed, temperature}) {
    if (share <= 0) return a.slice();
    if (share >= 1) return b.slice();
    const {mu} = this.encode([a, b]), size = mu.length / 2;
    const latents = [mu.subarray(0, size), mu.subarray(size)];
    const own = this.ownNoise(
      latents, [a, b], temperature, new Random(INTERPOLATED, seed));
    const [pattern] = await this.play(
      [slerp(...latents, share)], [mixNoise(...own, share)], temperature);
    return pattern;
  }

  /**
   * Returns a pattern of allowed classes, by sequential Monte Carlo (Gordon et al.
   * 1993): see masked_sampling.py.
   * @param {number[][]} allowed The classes of each step, one and more.
   */
  async complete(allowed, {
    seed, temperature, style = '', particles = this.completion.particles}) {
    const {steps, zSize} = this.model, random = new Random(COMPLETED, seed);
    const decoder = this.decoder(particles);
    const {mu, sigma} = this.encoder.run(roll(allowed), 1);
    const z = new Float32Array(particles * zSize);
    for (let v = 0; v < particles; v++) {
      const isOwn = random.uniform() < this.completion.ownShare && !style;
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
   * Returns a pattern of any length, of allowed classes. It is made from the beginning
   * on; the model continues the bars before.
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

/** Returns which particles continue, by systematic resampling; null if all do. */
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
