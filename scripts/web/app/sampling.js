// Patterns from a model: new ones, variations, interpolations, completions. As
// variation.py and completion.py of drumloops/models.
import {BAR, BEAT, CLASSES, DRUMS} from './constants.js';
import {Decoder, Encoder} from './music_vae.js';
import {angleOf, exp, log, logSumExp, Random, sine} from './numbers.js';
import {measure, steer} from './sliders.js';
import {noTick, tickOf} from './ticks.js';

// Particles are resampled when their effective number falls below this share.
const FEW = 0.5;
const MARGIN = 1e-3;  // By which a pattern's class is ahead of the others.
// Each use has random numbers of its own.
const [LATENT, NOISE, VARIED, INTERPOLATED, COMPLETED] = [1, 2, 3, 4, 5];


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
   * @param {Prior} prior
   * @param {Object} completion {particles: latents that play a loop, of which one is
   *   chosen; goingOn: as many where only what lies before is kept; fills: of Engine.fill}
   * @param {Object} sliders What sliders.js needs of the model; null without.
   */
  constructor(tensors, model, prior, completion, sliders) {
    Object.assign(this, {tensors, model, prior, completion, sliders});
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
    return this.encodeRolls(
      patterns.map(pattern => roll(Array.from(pattern, k => [k]))));
  }

  encodeRolls(rolls) {
    const size = this.model.steps * (DRUMS + 1);
    const sequences = new Float32Array(rolls.length * size);
    rolls.forEach((input, i) => sequences.set(input, i * size));
    return this.encoder.run(sequences, rolls.length);
  }

  /**
   * Returns the patterns that latents are decoded to with this noise.
   * @param {Float32Array[]} latents
   * @param {Float32Array[]} noises [steps, CLASSES] each.
   */
  async play(latents, noises, temperature, tick = noTick) {
    const {steps, zSize} = this.model, count = latents.length;
    const decoder = this.decoder(count + 3 & ~3), {batch} = decoder;
    const z = new Float32Array(batch * zSize), now = new Int32Array(batch).fill(-1);
    latents.forEach((latent, v) => z.set(latent, v * zSize));
    decoder.begin(z);
    const patterns = latents.map(() => new Uint16Array(steps));
    for (let t = 0; t < steps; t++) {
      if (t % BAR === 0) await tick(t / steps);
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

  /**
   * Returns what `play` does of latents that are moved as sliders ask.
   * @param {number[]|undefined} asked One an attribute.
   * @param {Uint16Array|null} own The pattern from which they count.
   */
  async steer(asked, own, latents, noises, temperature, tick) {
    if (!asked?.some(Boolean)) return this.play(latents, noises, temperature, tick);
    return steer(this.sliders, asked, own && measure(own), latents,
                 (moved, ...round) => this.play(
                   moved, noises, temperature, tick && tickOf(tick, ...round)));
  }

  /**
   * Returns the patterns number `index` and following of a seed. One that is a training
   * loop is drawn anew.
   */
  async sample({seed, index = 0, count = 1, style = '', temperature, sliders, tick}) {
    const patterns = [];
    let numbers = Array.from({length: count}, (_, i) => index + i);
    for (let tried = 0; numbers.length && tried <= this.prior.tries; tried++) {
      const found = await this.steer(
        sliders, null,
        numbers.map(i => this.prior.draw(new Random(LATENT, seed, i, tried), style)),
        numbers.map(i => drawNoise(new Random(NOISE, seed, i, tried), this.model.steps)),
        temperature, tried ? noTick : tick);
      found.forEach((pattern, k) => { patterns[numbers[k] - index] = pattern; });
      numbers = numbers.filter((_, k) => this.prior.isCopy(found[k]));
    }
    return patterns;
  }

  /** Returns noise under which latents are decoded to these patterns. */
  ownNoise(latents, patterns, temperature, random) {
    return this.force(latents, patterns).map((logits, i) => noiseOf(
      logits.map(x => x / temperature), patterns[i], random));
  }

  /** Returns variations of a pattern, `amount` from 0, itself, to 1. */
  async vary(pattern, {seed, amount, temperature, count = 1, sliders, tick}) {
    if (amount <= 0 && !sliders?.some(Boolean)) {
      return Array.from({length: count}, () => pattern.slice());
    }
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
    return this.steer(sliders, pattern, latents, noises, temperature, tick);
  }

  /** Returns a pattern between two: `a` at 0, `b` at 1. */
  async interpolate(a, b, share, {seed, temperature, tick}) {
    if (share <= 0) return a.slice();
    if (share >= 1) return b.slice();
    const {mu} = this.encode([a, b]), size = mu.length / 2;
    const latents = [mu.subarray(0, size), mu.subarray(size)];
    const own = this.ownNoise(
      latents, [a, b], temperature, new Random(INTERPOLATED, seed));
    const [pattern] = await this.play(
      [slerp(...latents, share)], [mixNoise(...own, share)], temperature, tick);
    return pattern;
  }

  /**
   * Returns patterns of allowed classes, by sequential Monte Carlo (Gordon et al.
   * 1993): see masked_sampling.py. Where all steps that follow are free, weights stay
   * as they are, so one particle of each pattern is chosen there and goes on alone.
   * @param {number[][][]} masks The classes of each step, one and more, by pattern.
   * @param {number[]} seeds Of each pattern.
   * @param {Float32Array} favor The log of how much likelier a class shall be, [steps,
   *   CLASSES]; null for no difference.
   */
  async complete(masks, seeds, {
    temperature, style = '', particles, favor = null, tick = noTick}) {
    const {steps, zSize} = this.model;
    const randoms = seeds.map(seed => new Random(COMPLETED, seed));
    const free = favor ? steps : 1 + Math.max(...masks.map(
      mask => mask.findLastIndex(({length}) => length < CLASSES)));
    const isGoingOn = masks.every(mask => mask.slice(0, free).every(
      ({length}) => length === 1));
    let each = particles ?? this.completion[isGoingOn ? 'goingOn' : 'particles'];
    let decoder = this.decoder(masks.length * each);
    const {mu, sigma} = this.encodeRolls(masks.map(roll));
    const z = new Float32Array(decoder.batch * zSize);
    randoms.forEach((random, i) => {
      const part = [mu, sigma].map(all => all.subarray(i * zSize, (i + 1) * zSize));
      this.prior.given(...part, each, random, style).forEach(
        (latent, v) => z.set(latent, (i * each + v) * zSize));
    });
    decoder.begin(z);
    let weights = new Float64Array(decoder.batch);  // Their logarithms.
    let now = new Int32Array(decoder.batch).fill(-1);
    let histories = Array.from(now, () => new Uint16Array(steps));
    const own = i => weights.subarray(i * each, (i + 1) * each);
    const drawn = () => randoms.map((random, i) => i * each + drawFrom(own(i), random));
    const logits = new Float32Array(CLASSES);
    for (let t = 0; t < steps; t++) {
      if (t === free) {
        const rows = drawn(), alone = this.decoder(rows.length);
        alone.choose(rows, decoder);
        [decoder, each, weights] = [alone, 1, new Float64Array(rows.length)];
        now = Int32Array.from(rows, row => now[row]);
        histories = rows.map(row => histories[row]);
      }
      if (t % BEAT === 0) await tick(t / steps);
      const all = decoder.step(now);
      for (let v = 0; v < decoder.batch; v++) {
        const i = Math.floor(v / each), classes = masks[i][t];
        for (let k = 0; k < CLASSES; k++) {
          logits[k] = all[v * CLASSES + k] / temperature;
        }
        const isFree = !favor && classes.length === CLASSES;
        const some = isFree ? logits : Float32Array.from(
          classes, k => logits[k] + (favor ? favor[t * CLASSES + k] : 0));
        if (!isFree) weights[v] += logSumExp(some) - logSumExp(logits);
        now[v] = classes[classes.length > 1 ? drawFrom(some, randoms[i]) : 0];
        histories[v][t] = now[v];
      }
      if (t < free && t % BEAT === BEAT - 1) {
        const found = randoms.map((random, i) => survivors(own(i), random));
        if (found.some(Boolean)) {
          const rows = found.flatMap((few, i) => Array.from(
            {length: each}, (_, k) => i * each + (few ? few[k] : k)));
          found.forEach((few, i) => few && own(i).fill(0));
          now = Int32Array.from(rows, row => now[row]);
          histories = rows.map(row => histories[row].slice());
          decoder.choose(rows);
        }
      }
    }
    return drawn().map(row => histories[row]);
  }

  /**
   * Returns patterns of any length, of allowed classes. They are made from the
   * beginning on; the model continues the bars before.
   * @param {number[][][]} masks As for `complete`, all of one length.
   */
  async completeAll(masks, seeds, {tick = noTick, ...how}) {
    const {steps} = this.model, [{length}] = masks;
    const patterns = masks.map(mask => Uint16Array.from(mask, classes => classes[0]));
    const windows = this.windows(length);
    for (const [part, {begin, known}] of windows.entries()) {
      const own = masks.map((mask, k) => Array.from({length: steps}, (_, i) => (
        i < known ? [patterns[k][begin + i]] : mask[begin + i])));
      if (own.flat().every(classes => classes.length === 1)) continue;
      const found = await this.complete(own, seeds.map(seed => seed + part * 1e6), {
        ...how, tick: tickOf(tick, part, windows.length)});
      found.forEach((pattern, k) => patterns[k].set(pattern, begin));
    }
    return patterns;
  }

  /** Returns where each part begins, and how many of its steps are known then. */
  windows(length) {
    const {steps} = this.model, windows = [{begin: 0, known: 0}];
    for (let end = steps; end < length;) {
      const added = Math.min(length - end, steps / 2);
      end += added;
      windows.push({begin: end - steps, known: steps - added});
    }
    return windows;
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
