// A drummer's velocities and microtiming for hits: GrooVAE, which is told the hits, and
// takes. As groove_model.py, feel_model.py and humanizer.py of drumloops.
import {DRUMS, MOST_OFFSET} from './constants.js';
import {Cell, Dense, Encoder, setState} from './music_vae.js';
import {normalCdf, Random, sigmoid, tanh} from './numbers.js';

const CHANNELS = 2 * DRUMS;  // Velocities, then offsets.
const PLAYED = 4;  // Parts of patterns at a time.

/** y = matrix x, of a square matrix, [rows, rows]. */
function times(matrix, x, at = 0) {
  const size = x.length, y = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    let sum = 0;
    for (let k = 0; k < size; k++) sum += matrix[at + i * size + k] * x[k];
    y[i] = sum;
  }
  return y;
}

/** Returns between which of sorted points a value lies: [index, share]. */
function place(value, points, at, count) {
  let i = 0;
  while (i < count - 2 && points[at + i + 1] <= value) i++;
  const width = points[at + i + 1] - points[at + i];
  const share = (value - points[at + i]) / width;
  return [i, width > 0 ? Math.min(1, Math.max(0, share)) : 0];
}

/** Draws hits around the decoder's output as far from it as drummers play. */
class Spread {
  /**
   * @param {Object} kept What feel_model.fit keeps, the roots of its correlations, and
   *   {kinds, periods, least, most} of feel_model.
   */
  constructor(kept) {
    Object.assign(this, kept);
    this.levelCount = kept.levels.length;
    this.bins = kept.said.length / kept.kinds / 2 / CHANNELS;
    this.bars = kept.trust.length / kept.kinds / CHANNELS / kept.periods.length;
  }

  /**
   * Returns the random part of a take, for one part of a pattern: {likely: [steps,
   * CHANNELS], kinds: [CHANNELS], before}.
   */
  chance(feel, evenness, random, steps) {
    const scores = Array.from({length: steps}, () => times(
      this.correlationRoot, random.normals(CHANNELS)));
    const likely = new Float64Array(steps * CHANNELS);
    for (let c = 0; c < CHANNELS; c++) {
      const along = times(this.repetitionRoots, scores.map(row => row[c]),
                          c * steps * steps);
      along.forEach((score, t) => { likely[t * CHANNELS + c] = normalCdf(score); });
    }
    const rest = times(this.restRoot, evenness);
    const kinds = Array.from({length: CHANNELS}, (_, c) => {
      let sum = rest[c];
      feel.forEach((x, i) => { sum += this.even[c * feel.length + i] * x; });
      return Math.min(this.kinds - 1, Math.floor(this.kinds * normalCdf(sum)));
    });
    // The hits so far, by their place in the bar and in the beat.
    const before = this.periods.map(period => ({
      period, sum: new Float64Array(period * CHANNELS),
      count: new Uint16Array(period * CHANNELS)}));
    return {likely, kinds, before};
  }

  /** Returns how step t is played, [CHANNELS]; `said` is the decoder's output. */
  play(t, hits, said, {likely, kinds, before}) {
    return Float32Array.from(said, (value, c) => {
      if (!hits[c % DRUMS]) return 0;
      const kind = kinds[c];
      const cells = before.map(({period}) => (t % period) * CHANNELS + c);
      const bars = before[0].count[cells[0]];
      let expected = value;
      before.forEach(({sum, count}, p) => {
        const n = count[cells[p]];
        if (!n) return;
        const trust = (kind * CHANNELS + c) * this.bars + bars;
        expected += this.trust[trust * this.periods.length + p] * (
          sum[cells[p]] / n - value);
      });
      const row = ((kind * 2 + (bars > 0)) * CHANNELS + c) * this.bins;
      const [bin, share] = place(expected, this.said, row, this.bins);
      const [level, levelShare] = place(
        likely[t * CHANNELS + c], this.levels, 0, this.levelCount);
      const strayed = b => {
        const at = (row + b) * this.levelCount + level;
        return this.strayed[at] +
          levelShare * (this.strayed[at + 1] - this.strayed[at]);
      };
      const low = strayed(bin), high = strayed(bin + 1);
      const played = Math.fround(Math.min(this.most[c], Math.max(
        this.least[c], expected + low + share * (high - low))));
      before.forEach(({sum, count}, p) => {
        sum[cells[p]] += played;
        count[cells[p]]++;
      });
      return played;
    });
  }
}

export class Humanizer {
  /**
   * @param {Tensors} tensors The groove model's names begin with 'groove/'.
   * @param {Object} groove {steps, zSize, layers, encoderLayers, samePlayer: the share
   *   of a feel's variance that the hits decide}
   * @param {Object} kept Of a `Spread`; and mean, root, drummers: {number: {mean,
   *   deviation}}.
   */
  constructor(tensors, groove, kept) {
    Object.assign(this, {kernel: tensors.kernel, groove, kept});
    this.spread = new Spread(kept);
    this.encoder = new Encoder(
      tensors, 'groove/', [groove.steps], groove.encoderLayers, groove.steps);
    this.cells = Array.from({length: groove.layers}, (_, i) => new Cell(
      tensors, `groove/decoder/multi_rnn_cell/cell_${i}`, PLAYED));
    this.start = new Dense(tensors, 'groove/decoder/z_to_initial_state');
    this.projection = new Dense(tensors, 'groove/decoder/output_projection');
    this.z = this.kernel.vectors(PLAYED, groove.zSize);
    this.h = this.kernel.vectors(PLAYED, this.cells.at(-1).units);
    this.products = this.kernel.vectors(
      PLAYED, Math.max(this.start.matrix.columns, this.projection.matrix.columns));
  }

  /** Returns the Gaussians of the latents of hits alone: {mu, sigma}. */
  encode(slices) {
    const {steps} = this.groove, depth = 4 * DRUMS;
    const sequences = new Float32Array(slices.length * steps * depth);
    slices.forEach((slice, s) => slice.forEach((hits, t) => hits.forEach((hit, d) => {
      const at = (s * steps + t) * depth;  // Hits, velocities, offsets; hits again.
      sequences[at + d] = sequences[at + 3 * DRUMS + d] = hit;
    })));
    return this.encoder.run(sequences, slices.length);
  }

  /**
   * Returns how parts of patterns are played, [steps, CHANNELS] each: velocities, and
   * offsets as GrooveConverter has them.
   * @param {Object[]} slices PLAYED at most: {hits: [steps, DRUMS], z, chance: of
   *   `Spread`, or null for the decoder's output itself}.
   */
  decode(slices) {
    const {steps, zSize} = this.groove, [first] = this.cells;
    slices.forEach(({z}, v) => this.z.set(z, v * zSize));
    setState(this.start, this.z, this.products, this.cells);
    const played = slices.map(() => new Float32Array(steps * CHANNELS));
    const says = new Float32Array(PLAYED * 3 * DRUMS);
    const before = slices.map(() => new Float32Array(3 * DRUMS));
    for (let t = 0; t < steps; t++) {
      slices.forEach(({hits, z}, v) => {
        first.feed(v, before[v]);
        first.feed(v, z, 3 * DRUMS);
        first.feed(v, hits[t], 3 * DRUMS + zSize);
      });
      first.step();
      for (let i = 1; i < this.cells.length; i++) {
        const {h, units} = this.cells[i - 1];
        slices.forEach((_, v) => this.cells[i].feed(
          v, h.subarray(v * units, (v + 1) * units)));
        this.cells[i].step();
      }
      this.h.set(this.cells.at(-1).h);
      this.projection.run(this.h, this.products, PLAYED, says);
      slices.forEach(({hits, chance}, v) => {
        const said = Float32Array.from({length: CHANNELS}, (_, c) => (
          c < DRUMS ? sigmoid : tanh)(says[(3 * v + 1) * DRUMS + c]));
        const now = chance ? this.spread.play(t, hits[t], said, chance) : said;
        played[v].set(now, t * CHANNELS);
        before[v].fill(0);
        hits[t].forEach((hit, d) => {
          if (!hit) return;
          before[v][d] = 1;
          before[v][DRUMS + d] = now[d];
          before[v][2 * DRUMS + d] = now[DRUMS + d];
        });
      });
    }
    return played;
  }

  /**
   * Returns how patterns are played: {velocity: 0 to 1, offset: steps late}, [steps,
   * DRUMS] each, 0 where nothing is hit.
   * @param {Uint16Array[]} patterns
   * @param {Object} how {take: its number, 0 for the mean; drummer: 0 for any}
   */
  humanize(patterns, {take, drummer = 0}) {
    const {steps} = this.groove;
    const found = patterns.map(({length}) => ({
      velocity: new Float32Array(length * DRUMS),
      offset: new Float32Array(length * DRUMS)}));
    const slices = patterns.flatMap((pattern, i) => this._slices(
      pattern, take, drummer).map(
      (slice, s) => ({...slice, ...found[i], first: s * steps})));
    for (let i = 0; i < slices.length; i += PLAYED) {
      const part = slices.slice(i, i + PLAYED);
      this.decode(part).forEach((played, v) => {
        const {hits, velocity, offset, first} = part[v];
        hits.forEach((now, t) => now.forEach((hit, d) => {
          if (!hit) return;
          const at = (first + t) * DRUMS + d, from = t * CHANNELS + d;
          velocity[at] = played[from];
          offset[at] = Math.min(MOST_OFFSET, Math.max(
            -MOST_OFFSET, -played[from + DRUMS] / 2));
        }));
      });
    }
    return found;
  }

  /** Returns what `decode` takes of a pattern. */
  _slices(pattern, take, drummer) {
    const {steps, zSize, samePlayer} = this.groove, {kept} = this;
    const hits = Array.from({length: Math.ceil(pattern.length / steps)}, (_, s) => (
      Array.from({length: steps}, (_, t) => Array.from({length: DRUMS}, (_, d) => (
        (pattern[s * steps + t] ?? 0) >> d & 1)))));
    const {mu, sigma} = this.encode(hits);
    // The same hits have the same random numbers.
    const ofHits = new Random(1, ...pattern), ofTake = new Random(2, take, ...pattern);
    const draw = size => {
      const [own, other] = [ofHits.normals(size), ofTake.normals(size)];
      return own.map((x, i) => Math.sqrt(samePlayer) * x +
        Math.sqrt(1 - samePlayer) * other[i]);
    };
    const who = kept.drummers[drummer];
    let feel = who ? Float64Array.from(who.mean) : new Float64Array(zSize);
    let evenness = null;
    if (take) {
      const drawn = draw(zSize);
      feel = feel.map((x, i) => x + (who ? who.deviation[i] : 1) * drawn[i]);
      evenness = draw(CHANNELS);
    }
    const open = times(kept.root, feel);
    return hits.map((slice, s) => ({
      hits: slice,
      z: Float32Array.from({length: zSize}, (_, i) => mu[s * zSize + i] +
        sigma[s * zSize + i] * (kept.mean[i] + open[i])),
      chance: take ? this.spread.chance(feel, evenness, ofTake, steps) : null}));
  }
}
