// ZIP files, without compression: WAV and MIDI hardly shrink.

const CRCS = Uint32Array.from({length: 256}, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? byte >>> 1 ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/** Returns the CRC-32 of bytes, as a ZIP file has it. */
export function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = crc >>> 8 ^ CRCS[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

/**
 * Returns the bytes of a ZIP file.
 * @param {Object[]} files {name, bytes}
 */
export function writeZip(files) {
  const parts = [], directory = [];
  let at = 0;
  const number = (value, size) => Array.from({length: size}, (_, i) => (
    value / 256 ** i & 255));
  for (const {name, bytes} of files) {
    const title = new TextEncoder().encode(name);
    // Version 2.0; the name is in UTF-8; stored; 1980-01-01, so that it is reproducible.
    const facts = [
      ...number(20, 2), ...number(0x800, 2), ...number(0, 2), ...number(0, 2),
      ...number(0x21, 2), ...number(crc32(bytes), 4), ...number(bytes.length, 4),
      ...number(bytes.length, 4), ...number(title.length, 2), ...number(0, 2)];
    parts.push([...number(0x04034b50, 4), ...facts, ...title], bytes);
    directory.push([...number(0x02014b50, 4), ...number(20, 2), ...facts,
                    ...number(0, 10), ...number(at, 4), ...title]);
    at += 30 + title.length + bytes.length;
  }
  const size = directory.reduce((sum, entry) => sum + entry.length, 0);
  const end = [...number(0x06054b50, 4), ...number(0, 4), ...number(files.length, 2),
               ...number(files.length, 2), ...number(size, 4), ...number(at, 4),
               ...number(0, 2)];
  const zip = new Uint8Array(at + size + end.length);
  let place = 0;
  for (const part of [...parts, ...directory, end]) {
    zip.set(part, place);
    place += part.length;
  }
  return zip;
}
