// MIDI files of loops: written as loop_midi.py does, read as midi.py does.
import {BAR} from './sampling.js';

const TICKS_PER_STEP = 120;
const DRUM_CHANNEL = 9;  // Counted from 0.
const DEFAULT_TEMPO = 120;
export const GENERAL_MIDI = [36, 38, 42, 46, 45, 48, 50, 49, 51];
// Of which drum a pitch is: Magenta's ROLAND_DRUM_PITCH_CLASSES (of the TD-11) and
// REDUCED_DRUM_PITCH_CLASSES (of General MIDI).
const ROLAND_PITCHES = [
  [36], [38, 37, 40], [42, 22, 44], [46, 26], [43, 58], [47, 45], [50, 48],
  [49, 52, 55, 57], [51, 53, 59]];
const REDUCED_PITCHES = [
  [36, 35], [38, 27, 28, 31, 32, 33, 34, 37, 39, 40, 56, 65, 66, 75, 85],
  [42, 44, 54, 68, 69, 70, 71, 73, 78, 80, 22], [46, 67, 72, 74, 79, 81, 26],
  [45, 29, 41, 43, 61, 64, 84], [48, 47, 60, 63, 77, 86, 87], [50, 30, 62, 76, 83],
  [49, 52, 55, 57, 58], [51, 53, 59, 82]];
const [META, END_OF_TRACK, TEMPO, TIME_SIGNATURE] = [0xff, 0x2f, 0x51, 0x58];
// Data bytes after a status.
const SIZES = {0x80: 2, 0x90: 2, 0xa0: 2, 0xb0: 2, 0xc0: 1, 0xd0: 1, 0xe0: 2,
  0xf1: 1, 0xf2: 2, 0xf3: 1};
// In quarters, and as a time signature has it: a 128th. What is beyond is damage.
const [LONGEST_BAR, SHORTEST_NOTE] = [64, 7];

/** Says in a sentence why a file can't be taken in; begins after its name. */
export class MidiError extends Error {}

const damaged = why => new MidiError(`is not a valid MIDI file: ${why}.`);

/** A number of 7 bits a byte, the first ones marked. */
function variableLength(number) {
  const bytes = [number & 0x7f];
  while (number >>= 7) bytes.unshift(0x80 | number & 0x7f);
  return bytes;
}

function chunk(name, bytes) {
  const {length} = bytes;
  return [...Array.from(name, c => c.charCodeAt(0)),
          length >>> 24, length >> 16 & 255, length >> 8 & 255, length & 255, ...bytes];
}

/** Returns a track's bytes that end at a tick, of [tick, order, bytes] each. */
function trackOf(events, end) {
  events.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  const bytes = [];
  let now = 0;
  for (const [tick, , data] of [...events, [end, 0, [META, END_OF_TRACK, 0]]]) {
    bytes.push(...variableLength(tick - now), ...data);
    now = tick;
  }
  return chunk('MTrk', bytes);
}

/**
 * Returns the bytes of a MIDI file that is exactly its bars long.
 * @param {Object[]} hits {drum, start: in steps, velocity: 1 to 127}
 * @param {number[]} pitches Of the drums.
 */
export function writeMidi(hits, steps, tempo, pitches = GENERAL_MIDI) {
  const end = steps * TICKS_PER_STEP, beat = Math.round(60e6 / tempo);
  const notes = hits.map(({drum, start, velocity}) => ({
    tick: Math.max(0, Math.round(start * TICKS_PER_STEP)), pitch: pitches[drum],
    velocity})).sort((a, b) => a.tick - b.tick);
  const events = [], sounding = new Map();
  for (const note of notes) {
    note.end = Math.min(end, note.tick + TICKS_PER_STEP);
    const before = sounding.get(note.pitch);
    if (before) before.end = Math.min(before.end, note.tick);
    sounding.set(note.pitch, note);
  }
  for (const {tick, end: off, pitch, velocity} of notes) {
    events.push([tick, 1, [0x90 | DRUM_CHANNEL, pitch, velocity]]);
    events.push([off, 0, [0x80 | DRUM_CHANNEL, pitch, 0]]);
  }
  return Uint8Array.from([
    ...chunk('MThd', [0, 1, 0, 2, 4 * TICKS_PER_STEP >> 8, 4 * TICKS_PER_STEP & 255]),
    ...trackOf([
      [0, 0, [META, TEMPO, 3, beat >> 16, beat >> 8 & 255, beat & 255]],
      [0, 1, [META, TIME_SIGNATURE, 4, 4, 2, 24, 8]]], end),
    ...trackOf(events, end)]);
}

/** Returns {events: [{tick, status, data, kind: of a meta event}], end} of a track. */
function readTrack(bytes, breaksOff) {
  const events = [];
  let tick = 0, status = 0, i = 0;
  const readNumber = () => {
    for (let number = 0; i < bytes.length;) {
      number = number * 128 + (bytes[i] & 0x7f);
      if (bytes[i++] < 0x80) return number;
    }
    throw breaksOff;
  };
  while (i < bytes.length) {
    tick += readNumber();
    if (i === bytes.length) throw breaksOff;
    const first = bytes[i];
    if (first === META || first === 0xf0 || first === 0xf7) {
      const kind = first === META ? bytes[i + 1] : null;
      i += first === META ? 2 : 1;
      const size = readNumber();
      if (kind === END_OF_TRACK) break;
      events.push({tick, status: first, kind, data: bytes.subarray(i, i + size)});
      i += size;
    } else {
      if (first >= 0x80) {
        i++;
        if (first >= 0xf0) {
          i += SIZES[first] ?? 0;
          continue;
        }
        status = first;
      } else if (!status) {
        throw damaged('a track begins in the middle of an event');
      }
      const size = SIZES[status & 0xf0];
      events.push({tick, status, kind: null, data: bytes.subarray(i, i + size)});
      i += size;
    }
  }
  if (i > bytes.length) throw breaksOff;
  return {events, end: tick};
}

/**
 * Returns {kind, ticksPerQuarter, tracks} of a file's bytes. Chunks that are no tracks
 * are passed over, a RIFF around the file is too.
 */
export function parseMidi(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const name = at => String.fromCharCode(...bytes.subarray(at, at + 4));
  let at = 0;
  if (name(0) === 'RIFF') {
    while (at < bytes.length && name(at) !== 'MThd') at++;
  }
  if (name(at) !== 'MThd' || bytes.length < at + 14) {
    throw new MidiError('is not a valid MIDI file.');
  }
  const [kind, count, division] = [8, 10, 12].map(place => view.getUint16(at + place));
  if (division >= 0x8000) throw new MidiError('counts in seconds instead of beats.');
  if (!division) throw damaged('a beat has no ticks in it');
  const tracks = [];
  for (at += 8 + view.getUint32(at + 4); at < bytes.length;) {
    if (bytes.length - at < 8 || !/^[ -~]{4}$/.test(name(at))) {
      if (tracks.length && tracks.length < count) {  // Else a program left it there.
        throw damaged(`it breaks off after track ${tracks.length}`);
      }
      break;
    }
    const begin = at + 8, end = begin + view.getUint32(at + 4);
    if (name(at) === 'MTrk') {
      const breaksOff = damaged(`it breaks off in track ${tracks.length + 1}`);
      tracks.push(readTrack(bytes.subarray(begin, end), breaksOff));
      if (end > bytes.length && [META, END_OF_TRACK, 0].some(
        (byte, i) => bytes.at(i - 3) !== byte)) throw breaksOff;
    }
    at = end;
  }
  if (!tracks.length) throw damaged('it has no track');
  return {kind, ticksPerQuarter: division, tracks};
}

/** Returns the beginnings of notes, on any channel. */
function notesOf(tracks) {
  return tracks.flatMap(({events}) => events.filter(
    ({status, data}) => (status & 0xf0) === 0x90 && data[1] > 0));
}

/** Returns the meta events of a kind, by tick. */
function metasOf(tracks, kind) {
  return tracks.flatMap(({events}) => events.filter(event => event.kind === kind))
    .sort((a, b) => a.tick - b.tick);
}

/** Returns the tempo at a tick; before the first one, that. */
function tempoAt(tracks, tick) {
  const found = metasOf(tracks, TEMPO).map(({tick: at, data}) => [
    at, data.subarray(0, 3).reduce((beat, byte) => 256 * beat + byte, 0)]).filter(
    ([, beat]) => beat);
  if (!found.length) return DEFAULT_TEMPO;
  return 60e6 / (found.filter(([at]) => at <= tick).at(-1) ?? found[0])[1];
}

/** Returns the time signatures: [tick, quarters of a bar]; at first 4/4. */
function metersOf(tracks) {
  return [[0, 4], ...metasOf(tracks, TIME_SIGNATURE)
    .filter(({data}) => data[1] <= SHORTEST_NOTE)
    .map(({tick, data}) => [tick, 4 * data[0] / 2 ** data[1]])
    .filter(([, quarters]) => quarters > 0 && quarters <= LONGEST_BAR)];
}

/** Returns where the bar of a tick begins, and its number, from 1. */
function barOf(meters, ticksPerQuarter, tick) {
  let bars = 0;
  for (let i = 0; ; i++) {
    const [begin, quarters] = meters[i], length = quarters * ticksPerQuarter;
    const end = meters[i + 1]?.[0] ?? Infinity;
    if (end > tick) {
      const whole = Math.floor((tick - begin) / length);
      return [begin + whole * length, bars + whole + 1];
    }
    bars += Math.ceil((end - begin) / length);
  }
}

/** Returns a function from a pitch to its drum, undefined if it is none. */
function drumMap(pitches) {
  const maps = [ROLAND_PITCHES, REDUCED_PITCHES];
  if (pitches[4] === GENERAL_MIDI[4]) maps.reverse();
  const drums = new Map();
  for (const map of [pitches.map(pitch => [pitch]), ...maps]) {
    map.forEach((all, drum) => all.forEach(pitch => {
      if (!drums.has(pitch)) drums.set(pitch, drum);
    }));
  }
  return pitch => drums.get(pitch);
}

/** Returns the last tick whose bar counts for the tracks' length: see midi.py. */
function lastCounted(tracks, ticksPerQuarter) {
  const isOff = ({status, data}) => (status & 0xf0) === 0x80 ||
    (status & 0xf0) === 0x90 && !data[1];
  return [...tracks.filter(({events, end}) => !events.some(
    event => event.tick === end && isOff(event))).map(
    ({end}) => end - ticksPerQuarter - 1),
          ...notesOf(tracks).map(({tick}) => tick)].reduce((a, b) => Math.max(a, b));
}

/**
 * Returns the first bars of a file in which drums play, as a loop: {pattern, tempo,
 * notes: sentences that say what was left out or added}.
 * @param {number} least Bars of a loop; a file that has fewer is repeated.
 * @param {number} most Bars that are taken in.
 * @param {number[]} pitches Of the drums.
 * @throws {MidiError}
 */
export function readMidi(bytes, {least, most, pitches = GENERAL_MIDI}) {
  const {kind, ticksPerQuarter, tracks: all} = parseMidi(bytes);
  const isDrum = ({status}) => (status & 0x0f) === DRUM_CHANNEL;
  // Tracks of type 2 are not played together.
  const tracks = (kind === 2 ? all.map(track => [track]) : [all]).find(
    together => notesOf(together).some(isDrum)) ?? all;
  const hits = notesOf(tracks).filter(isDrum).sort((a, b) => a.tick - b.tick);
  if (!hits.length) {
    const channels = [...new Set(notesOf(all).map(
      ({status}) => (status & 0x0f) + 1))].sort((a, b) => a - b);
    throw new MidiError(channels.length ? 'has no drums: its notes are on MIDI ' +
      `channel ${channels.join(', ')}, drums are read from channel 10; move them ` +
      'there in your DAW.' :
      'has no notes.');
  }
  const drumOf = drumMap(pitches), step = ticksPerQuarter / 4;
  const pitchList = some => [...new Set(some.map(({data}) => data[0]))].sort(
    (a, b) => a - b).join(', ');
  const first = hits.find(({data}) => drumOf(data[0]) !== undefined);
  if (!first) {
    throw new MidiError('has no hit of the nine drums, only of the pitches ' +
      `${pitchList(hits)} on MIDI channel 10.`);
  }
  const meters = metersOf(tracks);
  // What is early for a bar's first beat belongs to that bar.
  const [begin, number] = barOf(
    meters, ticksPerQuarter, Math.floor(first.tick + step / 2));
  const own = 1 + Math.floor(
    (lastCounted(tracks, ticksPerQuarter) - begin) / (BAR * step));
  const used = Math.max(1, Math.min(most, own)), steps = used * BAR;
  const where = used === 1 ? `bar ${number}` : `bars ${number} to ${number + used - 1}`;
  const end = begin + steps * step;
  meters.forEach(([tick, quarters], i) => {
    const until = meters[i + 1]?.[0] ?? Infinity;
    const isWhole = until >= end || (until - tick) % (BAR * step) === 0;
    if ((quarters !== 4 || !isWhole) && tick < end && until > begin && until > tick) {
      throw new MidiError(
        `is not in 4/4 throughout its ${where}, which would be used.`);
    }
  });
  // In the middle of the file what is early for the next bar is not in these.
  const last = own > used ? steps - 0.5 : steps;
  const pattern = new Uint16Array(steps), unknown = [];
  let known = 0, after = 0;
  for (const hit of hits) {
    const at = (hit.tick - begin) / step, drum = drumOf(hit.data[0]);
    if (at > last) {
      after++;
    } else if (drum !== undefined) {
      pattern[Math.min(Math.floor(at + 0.5), steps - 1)] |= 1 << drum;
      known++;
    } else if (at > -0.5) {
      unknown.push(hit);
    }
  }
  const notes = [];
  if (unknown.length) {
    notes.push(`${unknown.length} of ${unknown.length + known} hits are left out, ` +
      `because the pitches ${pitchList(unknown)} are none of the nine drums.`);
  }
  if (after) {
    notes.push(`Of the file ${where} ${used === 1 ? 'is' : 'are'} used, the ${
      after} hits after that are not.`);
  }
  const times = Math.ceil(least / used);
  if (times > 1) notes.push(`It is repeated to fill ${times * used} bars.`);
  return {notes, tempo: tempoAt(tracks, begin), pattern: Uint16Array.from(
    {length: times * steps}, (_, t) => pattern[t % steps])};
}
