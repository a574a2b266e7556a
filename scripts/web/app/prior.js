// The prior: where new patterns' latents are drawn. As prior.py of drumloops/models.
import {crc32} from './zip.js';

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
    return this.prior ? this.place(z, this._choose(random, style)) : z;
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

  _choose(random, style) {
    const wanted = this.styles.indexOf(style), {weights} = this.prior;
    const own = weights.map((weight, i) => (
      style && this.prior.style[i] !== wanted ? 0 : weight));
    let left = random.uniform() * own.reduce((a, b) => a + b);
    const chosen = own.findIndex(weight => (left -= weight) < 0);
    return chosen < 0 ? own.findLastIndex(Boolean) : chosen;
  }

  /** Whether a pattern is a training loop, hit for hit. */
  isCopy(pattern) {
    return Boolean(this.hashes?.has(crc32(
      Array.from(pattern).flatMap(k => [k & 255, k >> 8]))));
  }
}
