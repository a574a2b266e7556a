// Products of float32 vectors with int8 matrices, which take most of the time.

/** The memory of all vectors and matrices, and their product. */
export class Kernel {
  /**
   * @param {number} bytes The memory's size.
   * @param {?Uint8Array} wasm kernel.wasm. Without it, or where it can't run, the loop
   *   below computes the same bits in five times the time.
   */
  static async open(bytes, wasm) {
    const kernel = new Kernel();
    kernel.end = 0;
    kernel.buffer = null;
    if (wasm && typeof WebAssembly === 'object' && WebAssembly.validate(wasm)) {
      const memory = new WebAssembly.Memory({initial: Math.ceil(bytes / 65536)});
      const {instance} = await WebAssembly.instantiate(wasm, {page: {memory}});
      kernel.buffer = memory.buffer;
      kernel.product = instance.exports.multiply;
    } else {
      kernel.buffer = new ArrayBuffer(bytes);
      kernel.product = null;
    }
    kernel.int8 = new Int8Array(kernel.buffer);
    kernel.float32 = new Float32Array(kernel.buffer);
    return kernel;
  }

  /** Returns the address of so many unused bytes. */
  take(bytes) {
    const address = this.end;
    this.end = address + bytes + 15 & ~15;
    if (this.end > this.buffer.byteLength) throw new Error('The memory is full.');
    return address;
  }

  /**
   * Returns float32 vectors in this memory, one after the other. Their number is
   * rounded up to a multiple of 4.
   */
  vectors(count, size) {
    return new Float32Array(
      this.buffer, this.take(4 * size * (count + 3 & ~3)), size * (count + 3 & ~3));
  }

  /**
   * y = x w, without w's scale.
   * @param {Float32Array} x [vectors, rows], of `vectors`, as y: [vectors, columns].
   * @param {number} w Address of int8, [rows, columns]; columns a multiple of 8.
   */
  multiply(x, w, y, vectors, rows, columns) {
    vectors = vectors + 3 & ~3;
    if (this.product) {
      this.product(x.byteOffset, w, y.byteOffset, vectors, rows, columns);
      return;
    }
    const {int8} = this;
    for (let v = 0; v < vectors; v++) {
      const sums = y.subarray(v * columns, (v + 1) * columns).fill(0);
      for (let row = 0; row < rows; row++) {
        const value = x[v * rows + row], at = w + row * columns;
        if (value === 0) continue;
        for (let i = 0; i < columns; i++) {
          sums[i] = sums[i] + Math.fround(value * int8[at + i]);
        }
      }
    }
  }
}
