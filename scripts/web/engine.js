// All that the page's models can do, as the interface asks for it.
import {Humanizer} from './groove.js';
import {Kernel} from './kernel.js';
import {CLASSES, Tensors} from './model.js';
import {allowedClasses, BAR, Sampler} from './sampling.js';

const SCRATCH = 48 << 20;  // Bytes beside the weights.

/** Returns the bytes of base64 text. */
export function fromBase64(text) {
  const characters = atob(text), bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}

export class Engine {
  /**
   * @param {Object} spec What web_page.py wrote: see its `spec`.
   * @param {ArrayBuffer} bytes The tensors.
   * @param {boolean} isPlain Whether to do without WebAssembly.
   */
  static async open(spec, bytes, isPlain = false) {
    const engine = new Engine();
    const kernel = await Kernel.open(
      bytes.byteLength + SCRATCH, isPlain ? null : fromBase64(spec.wasm));
    const tensors = new Tensors(kernel, spec.tensors, bytes);
    const named = (kind, names) => Object.fromEntries(names.map(name => [name, {
      mean: tensors.numbers(`${kind}/${name}/mean`),
      deviation: tensors.numbers(`${kind}/${name}/deviation`)}]));
    engine.title = spec.title;
    engine.pitches = spec.pitches;
    engine.styles = spec.styles;
    engine.drummers = spec.drummers;
    engine.steps = spec.model.steps;
    engine.sampler = new Sampler(tensors, spec.model, named('style', spec.styles));
    engine.canListen = Boolean(spec.model.encoder);
    engine.canHumanize = Boolean(spec.groove);
    if (spec.groove) {
      const kept = Object.fromEntries(spec.groove.kept.map(
        name => [name, tensors.numbers('feel/' + name)]));
      engine.humanizer = new Humanizer(tensors, spec.groove, {
        ...kept, kinds: spec.groove.kinds, drummers: named('drummer', spec.drummers)});
    }
    return engine;
  }

  /** Returns patterns of a seed and of numbers from `index` on. */
  async sample({bars = 4, ...how}) {
    const patterns = await this.sampler.sample(how), longer = [];
    for (const [i, pattern] of patterns.entries()) {
      longer.push(await this.goOn(pattern, bars, {
        ...how, seed: how.seed * 1000 + (how.index ?? 0) + i}));
    }
    return longer;
  }

  /** Returns where in a pattern parts begin that are as long as the model's. */
  _parts({length}) {
    return Array.from({length: Math.floor(length / this.steps)}, (_, i) => i * this.steps);
  }

  /** Returns variations of a pattern, part by part; what is over at its end stays. */
  async like(pattern, how) {
    const varied = Array.from({length: how.count}, () => pattern.slice());
    for (const at of this._parts(pattern)) {
      const parts = await this.sampler.vary(
        pattern.slice(at, at + this.steps), {...how, seed: how.seed + 1e6 * at});
      varied.forEach((whole, i) => whole.set(parts[i], at));
    }
    return varied;
  }

  /** Returns a pattern between two; it has the parts that both have. */
  async morph(a, b, share, how) {
    if (share <= 0) return a.slice();
    if (share >= 1) return b.slice();
    const places = this._parts(a.length < b.length ? a : b);
    const between = new Uint16Array(places.length * this.steps);
    for (const at of places) {
      const [from, to] = [a, b].map(pattern => pattern.slice(at, at + this.steps));
      between.set(await this.sampler.morph(
        from, to, share, {...how, seed: how.seed + 1e6 * at}), at);
    }
    return between;
  }

  /**
   * Returns a pattern that has what is kept of one.
   * @param {Object} kept {drums: bool, [9], bars: bool, [bars]}
   */
  async complete(pattern, {drums, bars}, how) {
    return this.sampler.completeAll(Array.from(pattern, (k, t) => (
      bars[Math.floor(t / BAR)] ? [k] : allowedClasses(k, drums))), how);
  }

  /** Returns a pattern of `bars` bars that begins with another. */
  async goOn(pattern, bars, how) {
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
