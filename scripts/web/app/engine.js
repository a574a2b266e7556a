// All that the page does with its models.
import {fromBase64} from '../shared/base64.js';
import {spec} from '../shared/spec.js';
import {BAR, CLASSES} from './constants.js';
import {allowedClasses} from './constraints.js';
import {Humanizer} from './humanizer.js';
import {Kernel} from './kernel.js';
import {Tensors} from './music_vae.js';
import {Prior} from './prior.js';
import {Sampler} from './sampling.js';
import {noTick, tickOf} from './ticks.js';

const SCRATCH = 48 << 20;  // Bytes beside the weights.

export class Engine {
  /**
   * @param {ArrayBuffer} bytes The tensors that `spec` describes.
   * @param {boolean} isPlain Whether to do without WebAssembly.
   */
  static async open(bytes, isPlain = false) {
    const engine = new Engine();
    const kernel = await Kernel.open(
      bytes.byteLength + SCRATCH, isPlain ? null : fromBase64(spec.wasm));
    const tensors = new Tensors(kernel, spec.tensors, bytes);
    const named = (kind, names) => Object.fromEntries(names.map(name => [name, {
      mean: tensors.numbers(`${kind}/${name}/mean`),
      deviation: tensors.numbers(`${kind}/${name}/deviation`)}]));
    engine.title = spec.title;
    engine.drummers = spec.drummers;
    engine.steps = spec.model.steps;
    const prior = new Prior(tensors, spec.prior, spec.model.zSize);
    engine.styles = prior.styles;
    engine.sampler = new Sampler(
      tensors, spec.model, prior, spec.completion,
      spec.steering && {...spec.steering, vectors: tensors.numbers('sliders')});
    engine.hasSliders = Boolean(spec.steering);
    engine.canEncode = Boolean(spec.model.encoder);
    engine.canFill = Boolean(engine.canEncode && spec.completion.fills);
    engine.canHumanize = Boolean(spec.groove);
    if (spec.groove) {
      engine.humanizer = new Humanizer(tensors, spec.groove, {
        mean: tensors.numbers('feel/mean'), root: tensors.numbers('feel/root'),
        drummers: named('drummer', spec.drummers)});
    }
    return engine;
  }

  /**
   * Returns the patterns number `index` and following of a seed. As all that makes
   * patterns, it calls `tick`, if it is given, with the share of it that is done.
   */
  async sample({bars = 4, tick = noTick, ...how}) {
    // What comes after the first part tells the rest of the way: see completeAll.
    const parts = this.sampler.windows(bars * BAR).length;
    const patterns = await this.sampler.sample({...how, tick: tickOf(tick, 0, parts)});
    return this._extend(patterns, bars, patterns.map(
      (_, i) => how.seed * 1000 + (how.index ?? 0) + i), {...how, tick});
  }

  /** Returns where in a pattern parts begin that are as long as the model's. */
  _parts({length}) {
    return Array.from(
      {length: Math.floor(length / this.steps)}, (_, i) => i * this.steps);
  }

  /**
   * Returns variations of a pattern. Each part as long as the model's patterns is
   * varied; shorter bars at the end stay.
   */
  async vary(pattern, {tick = noTick, ...how}) {
    const varied = Array.from({length: how.count}, () => pattern.slice());
    const places = this._parts(pattern);
    for (const [i, at] of places.entries()) {
      const parts = await this.sampler.vary(pattern.slice(at, at + this.steps), {
        ...how, seed: how.seed + 1e6 * at, tick: tickOf(tick, i, places.length)});
      varied.forEach((whole, i) => whole.set(parts[i], at));
    }
    return varied;
  }

  /** Returns a pattern between two, as long as the shorter one. */
  async interpolate(a, b, share, {tick = noTick, ...how}) {
    if (share <= 0) return a.slice();
    if (share >= 1) return b.slice();
    const places = this._parts(a.length < b.length ? a : b);
    const between = new Uint16Array(places.length * this.steps);
    for (const [i, at] of places.entries()) {
      const [from, to] = [a, b].map(pattern => pattern.slice(at, at + this.steps));
      between.set(await this.sampler.interpolate(
        from, to, share, {...how, seed: how.seed + 1e6 * at,
                          tick: tickOf(tick, i, places.length)}), at);
    }
    return between;
  }

  /**
   * Returns a completion of a pattern.
   * @param {Object} kept {constraint: bool[]}: see constraints.js.
   */
  async complete(pattern, kept, how) {
    const [found] = await this.sampler.completeAll(
      [allowedClasses(pattern, kept)], [how.seed], how);
    return found;
  }

  /**
   * Returns a pattern whose last bar is a fill, around the drums that are kept: see
   * fills.py of drumloops/models.
   */
  async fill(pattern, kept, {seed, ...how}) {
    const {slopes, candidates, particles} = spec.completion.fills;
    const begin = pattern.length - this.steps, first = this.steps - BAR;
    const part = pattern.slice(begin);
    const keptBars = Array.from(
      {length: this.steps / BAR}, (_, bar) => bar * BAR < first);
    const favored = slopes.map(row => Array.from({length: CLASSES}, (_, k) => (
      row.reduce((sum, slope, drum) => sum + (k >> drum & 1 ? slope : 0), 0))));
    const favor = new Float32Array(this.steps * CLASSES);
    favored.forEach((row, t) => favor.set(row, (first + t) * CLASSES));
    const mask = allowedClasses(part, {...kept, keptBars});
    const numbers = [...Array(candidates).keys()];
    const made = await this.sampler.complete(
      numbers.map(() => mask), numbers.map(i => seed + 1e6 * i),
      {...how, particles, favor});
    const score = one => favored.reduce((sum, row, t) => sum + row[one[first + t]], 0);
    const best = made.reduce((a, b) => score(b) > score(a) ? b : a);
    const filled = pattern.slice();
    filled.set(best, begin);
    return filled;
  }

  /** Returns a pattern of `bars` bars that begins with another. */
  async extend(pattern, bars, how) {
    const [found] = await this._extend([pattern], bars, [how.seed], how);
    return found;
  }

  /** Extends patterns of one length together, which costs less. */
  async _extend(patterns, bars, seeds, how) {
    const [{length}] = patterns;
    if (bars * BAR <= length) return patterns;
    const any = Array.from({length: CLASSES}, (_, k) => k);
    return this.sampler.completeAll(patterns.map(pattern => Array.from(
      {length: bars * BAR}, (_, t) => t < length ? [pattern[t]] : any)), seeds, how);
  }

  /** Returns how patterns are played: see Humanizer.humanize. */
  async humanize(patterns, how) {
    return this.humanizer.humanize(patterns, how);
  }
}
