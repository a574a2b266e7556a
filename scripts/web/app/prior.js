// The prior: where new patterns' latents are drawn. As prior.py of drumloops/models.
import {exp, log, logSumExp} from './numbers.js';
import {crc32} from './zip.js';

/** Returns an index by weights that are not negative. */
function chooseFrom(weights, random) {
  let left = random.uniform() * weights.reduce((a, b) => a + b);
  const chosen = weights.findIndex(weight => (left -= weight) < 0);
  return chosen < 0 ? weights.findLastIndex(Boolean) : chosen;
}

/** Returns the lower triangle, by rows, whose product with its transpose is a matrix. */
function cholesky(size, at) {
  const root = Array.from({length: size}, (_, i) => new Float64Array(i + 1));
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = at(i, j);
      for (let k = 0; k < j; k++) sum -= root[i][k] * root[j][k];
      root[i][j] = i === j ? Math.sqrt(sum) : sum / root[j][j];
    }
  }
  return root;
}

/** N(0, I), or Gaussians of which each is of one style. */
export class Prior {
  /**
   * @param {Tensors} tensors
   * @param {Object} prior {styles: names, style: of each Gaussian, weights, told: the
   *   dimensions that they are of, tries}, or null for N(0, I).
   */
  constructor(tensors, prior, zSize) {
    Object.assign(this, {prior, zSize});
    this.styles = prior?.styles ?? [];
    this.tries = prior?.tries ?? 0;
    if (!prior) return;
    [this.means, this.factors] = ['means', 'factors'].map(
      name => tensors.numbers('prior/' + name));
    const {shape, at} = tensors.places['prior/hashes'];
    this.hashes = new Set(new Uint32Array(tensors.bytes, at, shape[0]));
  }

  /** Returns a latent of a style, or of any. */
  draw(random, style) {
    const z = Float32Array.from(random.normals(this.zSize));
    return this.prior ? this.place(z, chooseFrom(this.weights(style), random)) : z;
  }

  /** Returns a latent of a Gaussian, made of one of N(0, I). */
  place(z, gaussian) {
    const {told} = this.prior, size = told.length, placed = z.slice();
    let at = gaussian * size * (size + 1) / 2;  // Rows of a lower triangle.
    told.forEach((k, i) => {
      let value = this.means[gaussian * size + i];
      for (let j = 0; j <= i; j++) value += this.factors[at++] * z[told[j]];
      placed[k] = value;
    });
    return placed;
  }

  /** Returns each Gaussian's weight in a style; of no or an unknown one, its weight. */
  weights(style) {
    const wanted = this.styles.indexOf(style);
    return this.prior.weights.map((weight, i) => (
      wanted >= 0 && this.prior.style[i] !== wanted ? 0 : weight));
  }

  /**
   * Returns latents of the prior, given what the encoder says of a part of a loop: see
   * prior.py, of whose lines these are the loops.
   */
  given(mu, sigma, count, random, style) {
    const own = () => Float32Array.from(
      random.normals(this.zSize), (x, k) => mu[k] + sigma[k] * x);
    if (!this.prior) return Array.from({length: count}, own);
    const {told} = this.prior, size = told.length, inside = size * (size + 1) / 2;
    const precision = told.map(k => Math.max(1 / (sigma[k] * sigma[k]) - 1, 0));
    const pull = told.map((k, i) => (
      precision[i] && mu[k] / (sigma[k] * sigma[k])));
    const parts = this.weights(style).map((weight, g) => {
      if (!weight) return {share: -Infinity};
      const means = this.means.subarray(g * size, (g + 1) * size);
      const factor = (i, j) => i < j ? 0 : this.factors[g * inside + i * (i + 1) / 2 + j];
      const root = cholesky(size, (a, b) => {
        let sum = a === b ? 1 : 0;
        for (let k = Math.max(a, b); k < size; k++) {
          sum += factor(k, a) * precision[k] * factor(k, b);
        }
        return sum;
      });
      const towards = new Float64Array(size);
      let share = log(weight);
      for (let i = 0; i < size; i++) {
        let sum = 0;
        for (let k = i; k < size; k++) {
          sum += factor(k, i) * (pull[k] - precision[k] * means[k]);
        }
        for (let j = 0; j < i; j++) sum -= root[i][j] * towards[j];
        towards[i] = sum / root[i][i];
        share += (towards[i] * towards[i] - precision[i] * means[i] * means[i]) / 2 +
          means[i] * pull[i] - log(root[i][i]);
      }
      return {share, root, towards, means, factor};
    });
    const total = logSumExp(parts.map(({share}) => share));
    const shares = parts.map(({share}) => exp(share - total));
    return Array.from({length: count}, () => {
      const z = random.normals(this.zSize);
      const latent = Float32Array.from(z, (x, k) => mu[k] + sigma[k] * x);
      const {root, towards, means, factor} = parts[chooseFrom(shares, random)];
      const moved = new Float64Array(size);
      for (let i = size - 1; i >= 0; i--) {
        let sum = towards[i] + z[told[i]];
        for (let j = i + 1; j < size; j++) sum -= root[j][i] * moved[j];
        moved[i] = sum / root[i][i];
      }
      told.forEach((k, i) => {
        let value = means[i];
        for (let j = 0; j <= i; j++) value += factor(i, j) * moved[j];
        latent[k] = value;
      });
      return latent;
    });
  }

  /** Whether a pattern is a training loop, hit for hit. */
  isCopy(pattern) {
    return Boolean(this.hashes?.has(crc32(
      Array.from(pattern).flatMap(k => [k & 255, k >> 8]))));
  }
}
