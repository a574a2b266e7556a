// Functions and random numbers that are the same to the last bit in every browser. They
// use additions, products, quotients and square roots only, which IEEE 754 defines.

const number = new Float64Array(1), words = new Uint32Array(number.buffer);
const POWERS = new Float64Array(2046);  // Of two, from -1022 on.
POWERS[1022] = 1;
for (let i = 1; i < 1024; i++) POWERS[1022 + i] = 2 * POWERS[1021 + i];
for (let i = 1; i <= 1022; i++) POWERS[1022 - i] = POWERS[1023 - i] / 2;
const LN2 = 0.6931471805599453;
const LN2_HIGH = 0.6931471803691238, LN2_LOW = 1.9082149292705877e-10;

/** The exponential, to 1e-11; 0 below -700. */
export function exp(x) {
  if (x < -700) return 0;
  const n = Math.floor(x / LN2 + 0.5);
  const r = (x - n * LN2_HIGH) - n * LN2_LOW;
  // Taylor's series, of |r| up to 0.35.
  return POWERS[1022 + n] * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (
    1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * (1 / 40320)))))))));
}

/** The natural logarithm of x > 0. */
export function log(x) {
  number[0] = x;
  let n = (words[1] >>> 20) - 1023;
  words[1] = words[1] & 0xfffff | 1023 << 20;
  let m = number[0];
  if (m > 1.4142135623730951) { m /= 2; n++; }
  const s = (m - 1) / (m + 1), square = s * s;
  // The series of atanh, of |s| up to 0.172.
  return n * LN2 + 2 * s * (1 + square * (1 / 3 + square * (1 / 5 + square * (
    1 / 7 + square * (1 / 9 + square * (1 / 11 + square / 13))))));
}

export function sigmoid(x) {
  return 1 / (1 + exp(-x));
}

export function tanh(x) {
  const size = x < 0 ? -x : x;
  if (size > 20) return x < 0 ? -1 : 1;
  const e = exp(-2 * size), y = (1 - e) / (1 + e);
  return x < 0 ? -y : y;
}

export function softplus(x) {
  return x > 30 ? x : log(1 + exp(x));
}

/** The sine of an angle from 0 to pi. */
export function sine(x) {
  let sum = 1;
  for (let i = 28; i > 0; i -= 2) sum = 1 - sum * x * x / (i * (i + 1));
  return x * sum;
}

/** The angle, from 0 to pi, of a cosine. */
export function angleOf(cosine) {
  const half = 1.5707963267948966;
  let low = 0, high = 2 * half;
  for (let i = 0; i < 60; i++) {
    const angle = (low + high) / 2;
    const at = angle < half ? sine(half - angle) : -sine(angle - half);
    if (at > cosine) low = angle; else high = angle;
  }
  return (low + high) / 2;
}

/** The log of the sum of exponentials. */
export function logSumExp(values) {
  let most = -Infinity;
  for (const value of values) if (value > most) most = value;
  if (most === -Infinity) return most;
  let sum = 0;
  for (const value of values) sum += exp(value - most);
  return most + log(sum);
}

/** Random numbers by sfc32 (Chris Doty-Humphrey). */
export class Random {
  /** @param {...number} keys Whole numbers below 2 ** 53: the seed. */
  constructor(...keys) {
    this.state = new Uint32Array([0x9e3779b9, 0x243f6a88, 0xb7e15162, 1]);
    for (const key of keys) {
      for (const word of [key >>> 0, Math.floor(key / 4294967296) >>> 0]) {
        this.state[0] ^= word;
        for (let i = 0; i < 12; i++) this.bits();
      }
    }
  }

  bits() {
    const s = this.state;
    const sum = s[0] + s[1] + s[3] >>> 0;
    s[3] += 1;
    s[0] = s[1] ^ s[1] >>> 9;
    s[1] = s[2] + (s[2] << 3);
    s[2] = (s[2] << 21 | s[2] >>> 11) + sum;
    return sum;
  }

  /** Uniform, more than 0 and less than 1. */
  uniform() {
    return (this.bits() + 0.5) / 4294967296;
  }

  /** Gumbel noise: the argmax of logits and it is a draw by their softmax. */
  gumbel() {
    return -log(-log(this.uniform()));
  }

  /** Standard normal (Marsaglia's polar method). */
  normal() {
    for (;;) {
      const x = 2 * this.uniform() - 1, y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square < 1 && square > 0) return x * Math.sqrt(-2 * log(square) / square);
    }
  }

  normals(count) {
    return Float64Array.from({length: count}, () => this.normal());
  }
}
