// MusicVAE of drum patterns, as Magenta's lstm_models.py, with its variables' names. A
// (hierarchical) bidirectional LSTM encodes; a (hierarchical) LSTM decodes one of 512
// classes a step.
import {CLASSES} from './constants.js';
import {sigmoid, softplus, tanh} from './numbers.js';

const FORGET_BIAS = 1;  // Of LSTMBlockCell.
const ENCODED = 4;  // Patterns at a time.

/** The tensors of a page: matrices are int8 with a scale for each column. */
export class Tensors {
  /**
   * @param {Kernel} kernel Whose memory they go to.
   * @param {Object} places {name: {shape, at}}
   * @param {ArrayBuffer} bytes Where `places` says.
   */
  constructor(kernel, places, bytes) {
    this.kernel = kernel;
    this.places = places;
    this.bytes = bytes;
    this.loaded = new Map();
  }

  has(name) {
    return name in this.places;
  }

  numbers(name) {
    const {shape, at} = this.places[name];
    return new Float32Array(this.bytes, at, shape.reduce((a, b) => a * b, 1));
  }

  /** Returns a matrix in the kernel's memory: {at: address, rows, columns, scale}. */
  matrix(name) {
    if (!this.loaded.has(name)) {
      const {shape: [rows, columns], at} = this.places[name];
      const address = this.kernel.take(rows * columns);
      this.kernel.int8.set(new Int8Array(this.bytes, at, rows * columns), address);
      this.loaded.set(name, {
        at: address, rows, columns, scale: this.numbers(name + '/scale')});
    }
    return this.loaded.get(name);
  }
}

/** A dense layer: y = activation(x matrix + bias). */
export class Dense {
  constructor(tensors, name) {
    this.kernel = tensors.kernel;
    this.matrix = tensors.matrix(name + '/kernel');
    this.bias = tensors.numbers(name + '/bias');
    this.size = this.bias.length;
  }

  /** From x, [vectors, rows] of the kernel's memory, to `out`, [vectors, size]. */
  run(x, products, vectors, out, activation = y => y) {
    const {at, rows, columns, scale} = this.matrix;
    this.kernel.multiply(x, at, products, vectors, rows, columns);
    for (let v = 0; v < vectors; v++) {
      for (let i = 0; i < this.size; i++) {
        out[v * this.size + i] = activation(
          products[v * columns + i] * scale[i] + this.bias[i]);
      }
    }
  }
}

/** One layer's LSTM cell for a batch. */
export class Cell {
  /** @param {number} given Rows, the first of its matrix, that `step` leaves out. */
  constructor(tensors, name, batch, given = 0) {
    this.kernel = tensors.kernel;
    this.batch = batch;
    this.matrix = tensors.matrix(name + '/lstm_cell/kernel');
    this.bias = tensors.numbers(name + '/lstm_cell/bias');
    this.units = this.matrix.columns / 4;
    this.given = given;
    this.rows = this.matrix.rows - given;
    this.inputs = this.rows - this.units;
    this.x = this.kernel.vectors(batch, this.rows);  // The input, then its own h.
    this.products = this.kernel.vectors(batch, this.matrix.columns);
    this.c = new Float32Array(batch * this.units);
    this.h = new Float32Array(batch * this.units);
  }

  reset() {
    this.c.fill(0);
    this.h.fill(0);
  }

  /** Sets a vector's input, or the part of it from `offset` on. */
  feed(v, values, offset = 0) {
    this.x.set(values, v * this.rows + offset);
  }

  /**
   * Computes the next state from the input.
   * @param {?function(number): Float32Array} gates What is added to a vector's gates,
   *   in place of the bias.
   */
  step(gates = null) {
    const {units, batch, rows, inputs, x, c, h, products, bias} = this;
    const {at, columns, scale} = this.matrix;
    for (let v = 0; v < batch; v++) {
      x.set(h.subarray(v * units, (v + 1) * units), v * rows + inputs);
    }
    this.kernel.multiply(x, at + this.given * columns, products, batch, rows, columns);
    for (let v = 0; v < batch; v++) {
      const own = gates ? gates(v) : bias, first = v * columns;
      for (let i = 0; i < units; i++) {
        const gate = k => products[first + k] * scale[k] + own[k];
        const cell = sigmoid(gate(i)) * tanh(gate(units + i)) +
          sigmoid(gate(2 * units + i) + FORGET_BIAS) * c[v * units + i];
        c[v * units + i] = cell;
        h[v * units + i] = sigmoid(gate(3 * units + i)) * tanh(cell);
      }
    }
  }
}

/** A stack of bidirectional layers. */
class BidirectionalEncoder {
  constructor(tensors, scope, layers, batch) {
    this.batch = batch;
    this.layers = Array.from({length: layers}, (_, i) => ['fw', 'bw'].map(
      way => new Cell(tensors, `${scope}/cell_${i}/bidirectional_rnn/${way}/` +
                      'multi_rnn_cell/cell_0', batch)));
  }

  /**
   * Returns both directions' last outputs, [batch, 2 * units].
   * @param {Float32Array} sequences [batch, steps, depth]
   */
  run(sequences, steps) {
    const {batch} = this;
    let last = null;
    for (const cells of this.layers) {
      const {units} = cells[0], depth = sequences.length / batch / steps;
      const outputs = new Float32Array(batch * steps * 2 * units);
      last = new Float32Array(batch * 2 * units);
      cells.forEach((cell, backwards) => {
        cell.reset();
        for (let i = 0; i < steps; i++) {
          const t = backwards ? steps - 1 - i : i;
          for (let v = 0; v < batch; v++) {
            const at = (v * steps + t) * depth;
            cell.feed(v, sequences.subarray(at, at + depth));
          }
          cell.step();
          for (let v = 0; v < batch; v++) {
            outputs.set(cell.h.subarray(v * units, (v + 1) * units),
                        ((v * steps + t) * 2 + backwards) * units);
          }
        }
        for (let v = 0; v < batch; v++) {
          last.set(cell.h.subarray(v * units, (v + 1) * units),
                   (2 * v + backwards) * units);
        }
      });
      sequences = outputs;
    }
    return last;
  }
}

/** Encodes sequences to a Gaussian of the latent. */
export class Encoder {
  /**
   * @param {number[]} levels Steps of each level of a hierarchy; one for none.
   * @param {number} layers Of each level.
   */
  constructor(tensors, levels, layers, steps) {
    this.levels = levels;
    this.steps = steps;
    let segments = steps;
    this.parts = levels.map((length, i) => {
      segments /= length;
      const scope = 'encoder' + (levels.length > 1 ? `/hierarchical_level_${i}` : '');
      return new BidirectionalEncoder(tensors, scope, layers, ENCODED * segments);
    });
    [this.mu, this.sigma] = ['mu', 'sigma'].map(
      name => new Dense(tensors, `encoder/${name}`));
    this.x = tensors.kernel.vectors(ENCODED, this.mu.matrix.rows);
    this.products = tensors.kernel.vectors(ENCODED, this.mu.matrix.columns);
  }

  /**
   * Returns {mu, sigma}, [count, z size] each, of sequences: [count, steps, depth].
   */
  run(sequences, count) {
    const size = sequences.length / count, z = this.mu.size;
    const mu = new Float32Array(count * z), sigma = new Float32Array(count * z);
    for (let first = 0; first < count; first += ENCODED) {
      const n = Math.min(ENCODED, count - first);
      let part = new Float32Array(ENCODED * size);
      part.set(sequences.subarray(first * size, (first + n) * size));
      this.parts.forEach((level, i) => { part = level.run(part, this.levels[i]); });
      this.x.set(part);
      const found = [mu, sigma].map(() => new Float32Array(ENCODED * z));
      this.mu.run(this.x, this.products, ENCODED, found[0]);
      this.sigma.run(this.x, this.products, ENCODED, found[1], softplus);
      mu.set(found[0].subarray(0, n * z), first * z);
      sigma.set(found[1].subarray(0, n * z), first * z);
    }
    return {mu, sigma};
  }
}

/** Sets an LSTM stack's first state from its condition x. */
export function setState(dense, x, products, cells) {
  const {batch} = cells[0], states = new Float32Array(batch * dense.size);
  dense.run(x, products, batch, states, tanh);
  for (let v = 0; v < batch; v++) {
    let at = v * dense.size;
    for (const {c, h, units} of cells) {
      c.set(states.subarray(at, at + units), v * units);
      h.set(states.subarray(at + units, at + 2 * units), v * units);
      at += 2 * units;
    }
  }
}

/** Decodes a batch of latents, step by step. */
export class Decoder {
  /**
   * @param {Object} shape {steps, segments, zSize, layers}
   */
  constructor(tensors, shape, batch) {
    const {segments, layers, zSize} = shape, {kernel} = tensors;
    Object.assign(this, {kernel, batch, segments, zSize,
                         segmentSteps: shape.steps / segments});
    const core = segments > 1 ? 'core_decoder/decoder' : 'decoder';
    const cell = (name, rows) => new Cell(tensors, name, batch, rows);
    if (segments > 1) {
      const level = 'decoder/hierarchical_level_0';
      this.conductor = Array.from(
        {length: layers}, (_, i) => cell(`${level}/cell_${i}`, 0));
      this.conduct = new Dense(tensors, level + '/initial_state');
    }
    const depth = segments > 1 ? this.conductor.at(-1).units : zSize;
    this.cells = Array.from({length: layers}, (_, i) => cell(
      `${core}/multi_rnn_cell/cell_${i}`, i ? 0 : CLASSES + depth));
    this.start = new Dense(tensors, core + '/z_to_initial_state');
    this.projection = new Dense(tensors, core + '/output_projection');
    const vectors = size => kernel.vectors(batch, size);
    this.z = vectors(zSize);
    this.products = vectors(Math.max(
      ...[this.conduct, this.start, this.projection].filter(Boolean).map(
        dense => dense.matrix.columns)));
    const [{matrix}] = this.cells;
    this.embedding = vectors(depth);
    this.embeddings = new Float32Array(segments * batch * depth);
    this.gateProducts = vectors(matrix.columns);
    this.gatesZ = new Float32Array(batch * matrix.columns);
    this.gates = new Float32Array(matrix.columns);
    this.output = vectors(this.cells.at(-1).units);
    this.logits = new Float32Array(batch * CLASSES);
  }

  /** Begins with latents, [batch, z size]. */
  begin(z) {
    const {batch, segments} = this;
    this.z.set(z);
    this.t = 0;
    if (segments === 1) {
      this.embeddings.set(z);
      return;
    }
    setState(this.conduct, this.z, this.products, this.conductor);
    for (let s = 0; s < segments; s++) {
      this.conductor.forEach((cell, i) => {
        for (let v = 0; v < batch; v++) {  // Its own input is always 0.
          if (i) {
            const {h, units} = this.conductor[i - 1];
            cell.feed(v, h.subarray(v * units, (v + 1) * units));
          }
        }
        cell.step();
      });
      const {h} = this.conductor.at(-1);
      this.embeddings.set(h, s * h.length);
    }
  }

  /**
   * Returns the logits of the next step, [batch, CLASSES].
   * @param {Int32Array} before The classes of the step before; -1 for none.
   */
  step(before) {
    const {batch, cells: [first]} = this, {at, columns, scale} = first.matrix;
    if (this.t % this.segmentSteps === 0) this._beginSegment();
    this.t++;
    const {int8} = this.kernel, {gates, gatesZ} = this;
    first.step(v => {
      const own = v * columns, row = at + before[v] * columns;
      for (let i = 0; i < columns; i++) {
        gates[i] = gatesZ[own + i] + (before[v] < 0 ? 0 : int8[row + i] * scale[i]);
      }
      return gates;
    });
    for (let i = 1; i < this.cells.length; i++) {
      const {h, units} = this.cells[i - 1];
      for (let v = 0; v < batch; v++) {
        this.cells[i].feed(v, h.subarray(v * units, (v + 1) * units));
      }
      this.cells[i].step();
    }
    this.output.set(this.cells.at(-1).h);
    this.projection.run(this.output, this.products, batch, this.logits);
    return this.logits;
  }

  /** Gives each row of the batch the state of a row, of another decoder too. */
  choose(rows, from = this) {
    const pick = (to, numbers, size) => {
      const old = numbers.slice();
      rows.forEach((row, v) => to.set(
        old.subarray(row * size, (row + 1) * size), v * size));
    };
    this.t = from.t;
    this.cells.forEach(({c, h, units}, i) => {
      pick(c, from.cells[i].c, units);
      pick(h, from.cells[i].h, units);
    });
    pick(this.gatesZ, from.gatesZ, this.cells[0].matrix.columns);
    const part = ({embeddings, segments}, s) => embeddings.subarray(
      s * embeddings.length / segments, (s + 1) * embeddings.length / segments);
    for (let s = 0; s < this.segments; s++) {
      pick(part(this, s), part(from, s), this.embeddings.length / this.segments /
        this.batch);
    }
  }

  _beginSegment() {
    const {batch, embedding, gateProducts, gatesZ, cells: [first]} = this;
    const size = this.embeddings.length / this.segments;
    const {at, columns, scale} = first.matrix, {bias} = first;
    const s = this.t / this.segmentSteps;
    embedding.set(this.embeddings.subarray(s * size, (s + 1) * size));
    setState(this.start, embedding, this.products, this.cells);
    this.kernel.multiply(embedding, at + CLASSES * columns, gateProducts, batch,
                         size / batch, columns);
    for (let v = 0; v < batch; v++) {
      for (let i = 0; i < columns; i++) {
        const k = v * columns + i;
        gatesZ[k] = gateProducts[k] * scale[i] + bias[i];
      }
    }
  }
}
