// Sliders: latents are moved until their patterns have as much of an attribute as is
// asked for. As sliders.py of drumloops/models.
import {BAR, DRUMS, STEERING} from './constants.js';

export const ATTRIBUTES = STEERING.attributes;

/** Returns the sliders of settings, in the order of ATTRIBUTES. */
export const slidersOf = settings => ATTRIBUTES.map(name => settings[name]);

function countDrums(k) {
  let hits = 0;
  for (let d = 0; d < DRUMS; d++) hits += k >> d & 1;
  return hits;
}

/** Returns how much of each attribute a pattern has. */
export function measure(pattern) {
  const {strengths, skins, filling, full} = STEERING, steps = pattern.length;
  let hits = 0, fills = 0;
  for (let at = 0; at < steps; at += BAR) {
    const bar = Array.from(pattern.subarray(at, at + BAR));
    const sum = drums => bar.reduce((sum, k) => sum + countDrums(k & drums), 0);
    const own = sum(-1);
    hits += own;
    fills = Math.max(fills, sum(filling) / Math.max(own, full));
  }
  let syncopation = 0, strongest = -Infinity;
  for (let t = 2 * steps - 1; t >= 0; t--) {  // Backwards; the loop repeats.
    const strength = strengths[t % BAR];
    if (pattern[t % steps] & skins) {
      if (t < steps) syncopation += Math.max(strongest - strength, 0);
      strongest = -Infinity;
    } else {
      strongest = Math.max(strongest, strength);
    }
  }
  return [hits * BAR / steps, syncopation * BAR / steps, fills];
}

/** Returns y at x, linear between points; of points at one x, the last counts. */
function lookUp(x, xs, ys) {
  const i = xs.findLastIndex(at => at <= x);
  if (i < 0) return ys[0];
  if (i === xs.length - 1) return ys[i];
  return ys[i] + (x - xs[i]) * (ys[i + 1] - ys[i]) / (xs[i + 1] - xs[i]);
}

/**
 * Returns the patterns of moved latents.
 * @param {Object} model {vectors: [attributes, z size], levels, deviation}.
 * @param {number[]} sliders One an attribute; 0 lets it be.
 * @param {number[]|null} own How much a loop has from which sliders count.
 * @param {Float32Array[]} latents
 * @param {function} play Returns the patterns of latents; gets the round and of how many.
 */
export async function steer({vectors, levels, deviation}, sliders, own, latents, play) {
  const {marks, rounds, damping, maxStep, others} = STEERING;
  const wanted = sliders.map((value, i) => lookUp(
    value + (own ? lookUp(own[i], levels[i], marks) : 0), marks, levels[i]));
  const best = latents.map(() => Infinity), nearest = [];
  let start = null;
  for (let round = 0; round <= rounds; round++) {
    const patterns = await play(latents, round, rounds + 1), has = patterns.map(measure);
    start ??= has;
    latents = latents.map((latent, v) => {
      const lacks = sliders.map((value, i) => value ? wanted[i] - has[v][i] : 0);
      const away = sliders.reduce((sum, value, i) => {
        const by = (value ? lacks[i] : has[v][i] - start[v][i]) / deviation[i];
        return sum + (value ? by * by : others * by * by);
      }, 0);
      if (away < best[v]) [best[v], nearest[v]] = [away, patterns[v]];
      const step = Array.from(latent, (_, k) => damping * lacks.reduce(
        (sum, lack, i) => sum + lack * vectors[i * latent.length + k], 0));
      const length = Math.sqrt(step.reduce((sum, x) => sum + x * x, 0));
      return latent.map((x, k) => x + step[k] * maxStep / Math.max(length, maxStep));
    });
  }
  return nearest;
}
