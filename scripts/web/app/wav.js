// WAV files, as wav_file.py writes them, to the byte.

const HEAD = 44, TAIL = 100;  // Bytes before and after the samples.
const ROOT_NOTE = 60;  // Of a sound without pitch.

/** Returns samples between -1 and 1 in 16 bits, left and right in turn. */
export function to16Bits([left, right]) {
  const whole = x => Math.floor(32768 * x + 0.5), samples = new Int16Array(2 * left.length);
  for (let i = 0; i < left.length; i++) {
    samples[2 * i] = whole(left[i]);
    samples[2 * i + 1] = whole(right[i]);
  }
  return samples;
}

/**
 * Returns the bytes of a stereo loop of 16 bits that says its tempo.
 * @param {Int16Array} samples Of `to16Bits`.
 * @param {number} beats The loop's length.
 */
export function writeWav(samples, {rate, tempo, beats}) {
  const size = 2 * samples.length, whole = HEAD + size + TAIL;
  const view = new DataView(new ArrayBuffer(whole));
  let at = 0;
  const put = (kind, bytes) => (...values) => values.forEach(value => {
    view[`set${kind}`](at, value, true);
    at += bytes;
  });
  const [byte, short, long] = [put('Uint8', 1), put('Uint16', 2), put('Uint32', 4)];
  const float = put('Float32', 4);
  const text = name => byte(...Array.from(name, c => c.charCodeAt(0)));
  text('RIFF');
  long(whole - 8);
  text('WAVEfmt ');
  long(16);
  short(1, 2);  // PCM, stereo.
  long(rate, 4 * rate);
  short(4, 16);
  text('data');
  long(size);
  new Int16Array(view.buffer, HEAD, samples.length).set(samples);
  at += size;
  text('acid');
  long(24, 4);  // A loop that may be stretched.
  short(ROOT_NOTE, 0x8000);
  float(0);
  long(beats);
  short(4, 4);
  float(tempo);
  text('smpl');
  long(60, 0, 0, Math.round(1e9 / rate), ROOT_NOTE, 0, 0, 0, 1, 0);
  long(0, 0, 0, samples.length / 2 - 1, 0, 0);  // All of it is repeated, for ever.
  return new Uint8Array(view.buffer);
}
