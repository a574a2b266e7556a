// A drummer's velocities and microtiming for hits, drawn one hit after the other, and
// takes. As stroke_network.py, groove_model.py and take.py; each hit has one stroke.
import {BAR, DRUMS, MOST_OFFSET} from './constants.js';
import {Dense} from './music_vae.js';
import {exp, log, Random, tanh} from './numbers.js';
import {noTick, tickOf} from './ticks.js';

const TOGETHER = 4;  // Patterns at a time.
// What is known of the drums at a step: which are hit, how, and where 127 was struck.
const KINDS = [0, 1, 2, 3].map(kind => kind * DRUMS);
const [HIT, VELOCITY, OFFSET, LOUDEST] = KINDS;
const KNOWN = KINDS.length * DRUMS;
const {fround} = Math;  // Where a mean lies between bins, it decides as in Python.

const relu = x => x > 0 ? x : 0;
const sumOf = values => values.reduce((sum, x) => sum + x, 0);

/** Draws the velocities or the offsets of hits. */
class Distribution {
  /**
   * @param {number} which 0 for velocities, 1 for offsets.
   * @param {function(number, number): number} place Of a value among so many bins.
   * @param {function(number, number, number): number} value In a bin, at a share of it.
   */
  constructor(tensors, which, {widths, temperatures}, place, value) {
    const [hidden, heights, logits] = ['hidden', 'heights', 'logits'].map(
      layer => new Dense(tensors, `groove/${['velocity', 'offset'][which]}/${layer}`));
    const bins = logits.size;
    Object.assign(this, {
      which, hidden, heights, logits, value, temperature: temperatures[which]});
    this.bin = x => Math.max(0, Math.min(bins - 1, Math.floor(place(x, bins))));
    this.curves = widths.map(width => Float32Array.from(
      {length: bins}, (_, i) => exp(-0.5 * (i / width) * (i / width))));
    this.x = tensors.kernel.vectors(TOGETHER, hidden.size);
    this.high = new Float32Array(TOGETHER * heights.size);
    this.likely = new Float32Array(TOGETHER * bins);
  }

  /**
   * Returns the values of hits.
   * @param {Float32Array} features [hits, units]
   * @param {Object[]} rows Of each hit {again: lists of the values that have curves,
   *   null for none; chance: uniform numbers, or null for the mean}.
   * @param {function} add Changes a hit's units.
   */
  draw(features, products, rows, add = () => {}) {
    const {which, hidden, heights, logits, x, high, likely} = this;
    const part = (values, {size}, v) => values.subarray(v * size, (v + 1) * size);
    hidden.run(features, products, rows.length, x);
    rows.forEach((_, v) => {
      const own = part(x, hidden, v);
      add(own, v);
      own.forEach((y, i) => { own[i] = relu(y); });
    });
    heights.run(x, products, rows.length, high);
    logits.run(x, products, rows.length, likely);
    return rows.map(({again, chance}, v) => {
      const own = part(likely, logits, v);
      this._addCurves(own, again[which], part(high, heights, v));
      return fround(this._value(own, chance));
    });
  }

  _addCurves(logits, again, heights) {
    again.forEach((value, k) => value !== null && this.curves.forEach((curve, w) => {
      const middle = this.bin(value), height = heights[w * again.length + k];
      for (let i = 0; i < logits.length; i++) {
        logits[i] += height * curve[Math.abs(i - middle)];
      }
    }));
  }

  _value(logits, chance) {
    const most = Math.max(...logits), bins = logits.length;
    const shares = Float64Array.from(logits, y => exp((y - most) / this.temperature));
    const all = sumOf(shares);
    if (!chance) {
      return sumOf(shares.map((share, i) => share * this.value(i, 0.5, bins))) / all;
    }
    let i = 0, left = chance[this.which] * all - shares[0];
    while (left > 0 && i < bins - 1) left -= shares[++i];
    return this.value(i, chance[2], bins);
  }
}

export class Humanizer {
  /**
   * @param {Tensors} tensors The decoder's names begin with 'groove/'.
   * @param {Object} groove What `add_humanizer` of web_app.py returns.
   * @param {Object} feels {mean, root, drummers: {number: {mean, deviation}}}
   */
  constructor(tensors, groove, feels) {
    Object.assign(this, {tensors, groove, feels});
    [this.hit, this.features] = ['hit', 'features'].map(
      name => new Dense(tensors, 'groove/' + name));
    this.velocity = new Distribution(
      tensors, 0, groove, x => (127 * x - 0.499) / 2,
      (bin, share) => Math.min(2 * bin + 1 + Math.floor(2 * share), 127) / 127);
    this.offset = new Distribution(
      tensors, 1, groove, (x, bins) => (x + 1) / 2 * bins,
      (bin, share, bins) => (bin + share) / bins * 2 - 1);
    this.units = this.features.size;
    const vectors = size => tensors.kernel.vectors(TOGETHER, size);
    this.x = vectors(this.hit.matrix.rows);
    [this.hidden, this.seen] = [0, 0].map(() => vectors(this.units));
    this.products = vectors(Math.max(
      ...[this.features, this.velocity.logits, this.offset.logits].map(
        ({matrix}) => matrix.columns)));
    this.gain = Array.from({length: DRUMS}, (_, drum) => this._add(
      'gain', drum, new Float32Array(this.units)));
    this.bias = new Float32Array(this.units);
    for (const name of ['pattern', 'played', 'tempo', 'latent']) {
      tensors.numbers(`groove/${name}/bias`).forEach((x, i) => { this.bias[i] += x; });
    }
  }

  /** Adds a row of a matrix to numbers, times a factor; returns these. */
  _add(name, row, sums, factor = 1) {
    const {at, columns, scale} = this.tensors.matrix('groove/' + name);
    const {int8} = this.tensors.kernel, from = at + row * columns;
    for (let i = 0; i < this.units; i++) sums[i] += factor * int8[from + i] * scale[i];
    return sums;
  }

  /** Adds what a convolution has of a hit to the steps `least` to `most` later. */
  _convolve(name, plan, step, least, most, depth, row, factor = 1) {
    for (let lag = least; lag <= most; lag++) {
      const own = plan[step + lag];
      if (own) this._add(name + '/kernel', (most - lag) * depth + row, own, factor);
    }
  }

  /** Returns a pattern's hits, and for each step what its hits depend on: {plan}. */
  _begin({pattern, tempo, z, chance}) {
    const {groove} = this, hits = [], first = this.bias.slice();
    this._add('tempo/kernel', 0, first, log(tempo / groove.tempo) / log(2));
    z.forEach((x, i) => this._add('latent/kernel', i, first, x));
    const plan = Array.from(pattern, (_, step) => this._add(
      'bar', Math.floor(Math.min(step, groove.memory) / BAR),
      this._add('step', step % BAR, first.slice())));
    pattern.forEach((classes, step) => {
      for (let drum = 0; drum < DRUMS; drum++) {
        if (!(classes >> drum & 1)) continue;
        hits.push({step, drum});
        this._convolve(
          'pattern', plan, step, -groove.after, groove.before, DRUMS, drum);
      }
    });
    // As if a pattern of rests came first.
    const known = new Float32Array((groove.memory + pattern.length) * KNOWN);
    return {hits, plan, chance, known};
  }

  /**
   * Sets x to what was drawn before a hit.
   * @return {Array} Lists of the velocities and offsets that have curves.
   */
  _recall({known, step, drum}, x) {
    const {memory, lags, again, recent} = this.groove;
    const at = (kind, lag, of = drum) => known[
      (memory + step - lag) * KNOWN + kind + of];
    // Of each drum: how many hits, and sums of their velocities, offsets, the squares of
    // both, and of how many are loudest. With this drum, and of all a bar apart: the same
    // of how many pairs, and of the differences.
    const [sums, pairs] = [6, 3].map(size => Array.from(
      {length: DRUMS}, () => new Float32Array(size)));
    const all = new Float32Array(3), changes = new Float32Array(3);
    const add = (to, values) => values.forEach((value, i) => { to[i] += value; });
    for (let lag = memory; lag; lag--) {
      for (let of = 0; of < DRUMS; of++) {
        if (!at(HIT, lag, of)) continue;
        const [velocity, offset, isLoudest] = [VELOCITY, OFFSET, LOUDEST].map(
          kind => at(kind, lag, of));
        add(sums[of], [
          1, velocity, offset, velocity * velocity, offset * offset, isLoudest]);
        add(all, [1, velocity, offset]);
        const less = (lag, of) => [
          1, at(VELOCITY, lag, of) - velocity, at(OFFSET, lag, of) - offset];
        if (at(HIT, lag)) add(pairs[of], less(lag, drum));
        if (lag <= recent && at(HIT, lag + BAR, of)) {
          add(changes, less(lag + BAR, of).map((value, i) => i ? -value : value));
        }
      }
    }
    const mean = (sums, i) => sums[i] / Math.max(1, sums[0]);
    const own = sums[drum], [velocity, offset] = [1, 2].map(i => mean(own, i));
    // What the drums before it at its step say of it, each and all together.
    const said = KINDS.slice(0, 3).map(() => new Float32Array(DRUMS + 1)), total = [0, 0, 0];
    const others = [];
    for (let of = 0; of < drum; of++) {
      if (!at(HIT, 0, of)) continue;
      others.push(at(OFFSET, 0, of));
      if (!own[0] || !sums[of][0]) continue;
      // A difference of means counts as much as that of one step with both.
      const weight = pairs[of][0] + 1;
      said[0][of] = 1;
      [VELOCITY, OFFSET].forEach((kind, k) => {
        const i = k + 1;
        said[i][of] = at(kind, 0, of) + (
          pairs[of][i] + mean(own, i) - mean(sums[of], i)) / weight;
        total[i] += weight * said[i][of];
      });
      total[0] += weight;
    }
    said.forEach((values, i) => {
      values[DRUMS] = i ? total[i] / Math.max(1, total[0]) : Math.min(1, total[0]);
    });
    const now = (memory + step) * KNOWN;
    x.set([
      ...lags.flatMap(lag => KINDS.map(kind => at(kind, lag))), velocity, offset,
      ...[3, 4].map(i => Math.sqrt(relu(mean(own, i) - mean(own, i - 2) ** 2))),
      mean(own, 5), tanh(own[0] / 8), mean(all, 1), mean(all, 2), mean(changes, 1),
      mean(changes, 2), ...known.subarray(now, now + KNOWN),
      ...Array.from({length: DRUMS}, (_, of) => Number(of === drum)),
      ...said.flatMap(values => [...values])]);
    const values = (kind, i) => [
      ...again.map(lag => at(HIT, lag) ? at(kind, lag) : null),
      own[0] ? mean(own, i) : null,
      at(HIT, BAR) ? at(kind, BAR) + mean(changes, i) : null,
      said[0][DRUMS] ? said[i][DRUMS] : null];
    return [values(VELOCITY, 1), [
      ...values(OFFSET, 2), others.at(-1) ?? null,
      others.length ? sumOf(others) / others.length : null]];
  }

  /**
   * Returns how patterns are played: of each {hits, known}, from step -memory on.
   * @param {Object[]} parts TOGETHER at most: {pattern, tempo, z, chance: returns the
   *   next uniform number, of three a hit; null for the mean of what is likely}.
   */
  async decode(parts, tick = noTick) {
    const {units, x, hidden, seen, products} = this, {memory, played} = this.groove;
    const states = parts.map(part => this._begin(part));
    const most = Math.max(...states.map(({hits}) => hits.length));
    for (let i = 0; i < most; i++) {
      await tick(i / most);
      const rows = states.filter(({hits}) => i < hits.length).map((state, v) => {
        const row = {...state, ...state.hits[i]}, size = this.hit.matrix.rows;
        row.again = this._recall(row, x.subarray(v * size, (v + 1) * size));
        row.chance &&= [0, 0, 0].map(row.chance);
        return row;
      });
      this.hit.run(x, products, rows.length, hidden);
      rows.forEach(({plan, step, drum}, v) => plan[step].forEach((value, k) => {
        const at = v * units + k;
        hidden[at] = relu(value * this.gain[drum][k] + hidden[at]);
      }));
      this.features.run(hidden, products, rows.length, seen, relu);
      const velocities = this.velocity.draw(seen, products, rows);
      const offsets = this.offset.draw(seen, products, rows, (own, v) => this._add(
        'offset/velocity', this.velocity.bin(velocities[v]), own));
      rows.forEach(({known, plan, step, drum}, v) => {
        const isLoudest = velocities[v] > 126.5 / 127;
        [1, velocities[v], offsets[v], Number(isLoudest)].forEach((value, k) => {
          const row = KINDS[k] + drum;
          known[(memory + step) * KNOWN + row] = value;
          if (value) this._convolve('played', plan, step, 1, played, KNOWN, row, value);
        });
      });
    }
    return states;
  }

  /**
   * Returns how patterns are played: {velocity: 0 to 1, offset: steps late}, [steps,
   * DRUMS] each, 0 where nothing is hit.
   * @param {Uint16Array[]} patterns
   * @param {Object} how {take: its number, 0 for the mean; drummer: 0 for any; tempo:
   *   beats a minute; one for all by default, for a loop keeps its feel when its tempo
   *   changes, and in a link}
   */
  async humanize(patterns, {tick = noTick, ...how}) {
    const found = [], {memory} = this.groove;
    for (let i = 0; i < patterns.length; i += TOGETHER) {
      found.push(...await this.decode(
        patterns.slice(i, i + TOGETHER).map(pattern => this._part(pattern, how)),
        tickOf(tick, i / TOGETHER, Math.ceil(patterns.length / TOGETHER))));
    }
    return found.map(({hits, plan, known}) => {
      const [velocity, offset] = [0, 0].map(
        () => new Float32Array(plan.length * DRUMS));
      for (const {step, drum} of hits) {
        const from = (memory + step) * KNOWN + drum, to = step * DRUMS + drum;
        velocity[to] = known[from + VELOCITY];
        offset[to] = Math.min(MOST_OFFSET, Math.max(
          -MOST_OFFSET, -known[from + OFFSET] / 2));
      }
      return {velocity, offset};
    });
  }

  /** Returns what `decode` takes of a pattern. */
  _part(pattern, {take, drummer = 0, tempo = this.groove.tempo}) {
    const {mean, root, drummers} = this.feels, {samePlayer} = this.groove;
    const who = drummers[drummer], size = mean.length;
    // The same hits have the same random numbers.
    const ofHits = new Random(1, ...pattern), ofTake = new Random(2, take, ...pattern);
    let feel = who ? Float64Array.from(who.mean) : new Float64Array(size);
    if (take) {
      const [own, other] = [ofHits, ofTake].map(random => random.normals(size));
      feel = feel.map((x, i) => x + (who ? who.deviation[i] : 1) * (
        Math.sqrt(samePlayer) * own[i] + Math.sqrt(1 - samePlayer) * other[i]));
    }
    return {
      pattern, tempo, chance: take ? () => ofTake.uniform() : null,
      z: mean.map((x, i) => x + sumOf(feel.map((y, k) => root[i * size + k] * y)))};
  }
}
