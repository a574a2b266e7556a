// All that the page does with its models.
import {fromBase64} from '../shared/base64.js';
import {spec} from '../shared/spec.js';
import {BAR, CLASSES} from './constants.js';
import {allowedClasses} from './constraints.js';
import {Humanizer} from './humanizer.js';
import {Kernel} from './kernel.js';
import {Tensors} from './music_vae.js';
import {Sampler} from './sampling.js';

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
    engine.styles = spec.styles;
    engine.drummers = spec.drummers;
    engine.steps = spec.model.steps;
    engine.sampler = new Sampler(
      tensors, spec.model, named('style', spec.styles), spec.completion);
    engine.canEncode = Boolean(spec.model.encoder);
    engine.canHumanize = Boolean(spec.groove);
    if (spec.groove) {
      engine.humanizer = new Humanizer(tensors, spec.groove, {
        mean: tensors.numbers('feel/mean'), root: tensors.numbers('feel/root'),
        drummers: named('drummer', spec.drummers)});
    }
    return engine;
  }

  /** Returns the patterns number `index` and following of a seed. */
  async sample({bars = 4, ...how}) {
    const patterns = await this.sampler.sample(how), longer = [];
    for (const [i, pattern] of patterns.entries()) {
      longer.push(await this.extend(pattern, bars, {
        ...how, seed: how.seed * 1000 + (how.index ?? 0) + i}));
    }
    return longer;
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
  async vary(pattern, how) {
    const varied = Array.from({length: how.count}, () => pattern.slice());
    for (const at of this._parts(pattern)) {
      const parts = await this.sampler.vary(
        pattern.slice(at, at + this.steps), {...how, seed: how.seed + 1e6 * at});
      varied.forEach((whole, i) => whole.set(parts[i], at));
    }
    return varied;
  }

  /** Returns a pattern between two, as long as the shorter one. */
  async interpolate(a, b, share, how) {
    if (share <= 0) return a.slice();
    if (share >= 1) return b.slice();
    const places = this._parts(a.length < b.length ? a : b);
    const between = new Uint16Array(places.length * this.steps);
    for (const at of places) {
      const [from, to] = [a, b].map(pattern => pattern.slice(at, at + this.steps));
      between.set(await this.sampler.interpolate(
        from, to, share, {...how, seed: how.seed + 1e6 * at}), at);
    }
    return between;
  }

  /**
   * Returns a completion of a pattern.
   * @param {Object} kept {constraint: bool[]}: see constraints.js.
   */
  async complete(pattern, kept, how) {
    return this.sampler.completeAll(allowedClasses(pattern, kept), how);
  }

  /** Returns a pattern of `bars` bars that begins with another. */
  async extend(pattern, bars, how) {
    if (bars * BAR <= pattern.length) return pattern;
    const any = Array.from({length: CLASSES}, (_, k) => k);
    return this.sampler.completeAll(Array.from({length: bars * BAR}, (_, t) => (
      t < pattern.length ? [pattern[t]] : any)), how);
  }

  /** Returns how patterns are played: see Humanizer.humanize. */
  async humanize(patterns, how) {
    return this.humanizer.humanize(patterns, how);
  }
}
