// WAV files.

/** Returns the bytes of a stereo file of 16 bits, of samples from -1 to 1. */
export function writeWav(left, right, rate) {
  const size = 4 * left.length, view = new DataView(new ArrayBuffer(44 + size));
  const name = (at, text) => Array.from(text).forEach(
    (c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  name(0, 'RIFF');
  view.setUint32(4, 36 + size, true);
  name(8, 'WAVEfmt ');
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true);  // PCM.
  view.setUint16(22, 2, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, 4 * rate, true);
  view.setUint16(32, 4, true);
  view.setUint16(34, 16, true);
  name(36, 'data');
  view.setUint32(40, size, true);
  const whole = x => Math.max(-32768, Math.min(32767, Math.round(32767 * x)));
  left.forEach((x, i) => {
    view.setInt16(44 + 4 * i, whole(x), true);
    view.setInt16(46 + 4 * i, whole(right[i]), true);
  });
  return new Uint8Array(view.buffer);
}
