// Loops as files of sound.
import {BEAT, DRUM_NAMES, RATE} from './constants.js';
import {mixDown, stems16Bits} from './drum_kit.js';
import {to16Bits, writeWav} from './wav.js';
import {writeZip} from './zip.js';

/** Returns a name that a file may have everywhere. */
export const fileName = name => (
  name.replace(/[^\p{L}\p{N}._-]+/gu, '-').replace(/^\.+/, ''));

const write = (samples, {steps, tempo}) => writeWav(
  samples, {rate: RATE, tempo, beats: steps / BEAT});

/**
 * Returns the bytes of a loop's WAV file.
 * @param {Object} loop {name, hits, steps, tempo}
 */
export async function wavFile(kit, loop, tick) {
  const {hits, steps, tempo} = loop;
  return write(to16Bits(await mixDown(kit, hits, steps, tempo, tick)), loop);
}

/**
 * Returns the bytes of a ZIP file of a loop's WAV and one of each drum, whose sum it
 * is.
 * @param {Object} loop As of `wavFile`.
 */
export async function stemsFile(kit, loop, tick) {
  const {name, hits, steps, tempo} = loop;
  const {mix, stems} = await stems16Bits(kit, hits, steps, tempo, tick);
  const files = [{name, samples: mix}, ...stems.map(({drum, samples}) => (
    {name: `${name}-${DRUM_NAMES[drum].replaceAll(' ', '-')}`, samples}))];
  return writeZip(files.map(file => ({
    name: fileName(`${file.name}.wav`), bytes: write(file.samples, loop)})));
}
