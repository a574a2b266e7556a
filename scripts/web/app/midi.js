// MIDI files of loops: written as loop_file.py does, read as midi_file.py does.
import {spec} from '../shared/spec.js';
import {BAR, BEAT, DRUM_NAMES, PART, TICKS} from './constants.js';
import {betterKit, drumsOf, notesFor} from './drum_maps.js';

const {
  channel: DRUM_CHANNEL,  // Counted from 0.
  tempo: DEFAULT_TEMPO,
  // In quarters, and as a time signature has it: a 128th. What is beyond is damage.
  longestBar: LONGEST_BAR, shortestNote: SHORTEST_NOTE} = spec.midi;
const [META, TEXT, TRACK_NAME, MARKER, END_OF_TRACK, TEMPO, TIME_SIGNATURE] = [
  0xff, 0x01, 0x03, 0x06, 0x2f, 0x51, 0x58];
// Data bytes after a status.
const SIZES = {0x80: 2, 0x90: 2, 0xa0: 2, 0xb0: 2, 0xc0: 1, 0xd0: 1, 0xe0: 2,
  0xf1: 1, 0xf2: 2, 0xf3: 1};

/** Says in a sentence, which the file's name begins, why a file can't be opened. */
export class MidiError extends Error {}

const damaged = why => new MidiError(`is not a valid MIDI file: ${why}.`);

/** Returns a number as MIDI writes lengths: 7 bits a byte, all but the last marked. */
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

/** Returns an event of a kind of text, in ASCII. */
function textEvent(kind, text) {
  return [META, kind, ...variableLength(text.length),
          ...Array.from(text, c => c.charCodeAt(0))];
}

/** Returns the bytes of a track of events, [tick, order, bytes] each, with its end. */
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
 * @param {string} kit Whose notes are written: see drum_maps.js.
 */
export function writeMidi(hits, steps, tempo, kit = '') {
  const end = steps * TICKS, beat = Math.round(60e6 / tempo);
  const pitches = notesFor(kit);
  const notes = hits.map(({drum, start, velocity}) => ({
    tick: Math.max(0, Math.round(start * TICKS)), pitch: pitches[drum],
    velocity})).sort((a, b) => a.tick - b.tick);
  const names = new Map(hits.map(({drum}) => [pitches[drum], DRUM_NAMES[drum]]));
  const events = [
    [0, 0, textEvent(TRACK_NAME, 'Drums')],
    ...[...names].sort(([a], [b]) => a - b).map(
      ([pitch, name]) => [0, 0, textEvent(TEXT, `${pitch} ${name}`)])];
  const bars = steps / BAR, markers = [], sounding = new Map();
  for (let bar = 0; bars > PART && bar < bars; bar += PART) {
    markers.push([bar * BAR * TICKS, 2, textEvent(
      MARKER, `bars ${bar + 1} to ${Math.min(bar + PART, bars)}`)]);
  }
  for (const note of notes) {
    note.end = Math.min(end, note.tick + TICKS);
    const before = sounding.get(note.pitch);
    if (before) before.end = Math.min(before.end, note.tick);
    sounding.set(note.pitch, note);
  }
  for (const {tick, end: off, pitch, velocity} of notes) {
    events.push([tick, 1, [0x90 | DRUM_CHANNEL, pitch, velocity]]);
    events.push([off, 0, [0x80 | DRUM_CHANNEL, pitch, 0]]);
  }
  return Uint8Array.from([
    ...chunk('MThd', [0, 1, 0, 2, spec.midi.ticks >> 8, spec.midi.ticks & 255]),
    ...trackOf([
      [0, 0, [META, TEMPO, 3, beat >> 16, beat >> 8 & 255, beat & 255]],
      [0, 1, [META, TIME_SIGNATURE, 4, 4, 2, 24, 8]], ...markers], end),
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
 * are skipped, as is a RIFF around the file.
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

/** Returns the note-ons of all channels. */
function notesOf(tracks) {
  return tracks.flatMap(({events}) => events.filter(
    ({status, data}) => (status & 0xf0) === 0x90 && data[1] > 0));
}

/** Returns the meta events of a kind, by tick. */
function metasOf(tracks, kind) {
  return tracks.flatMap(({events}) => events.filter(event => event.kind === kind))
    .sort((a, b) => a.tick - b.tick);
}

/** Returns the tempo at a tick; before the first tempo event, that event's. */
function tempoAt(tracks, tick) {
  const found = metasOf(tracks, TEMPO).map(({tick: at, data}) => [
    at, data.subarray(0, 3).reduce((beat, byte) => 256 * beat + byte, 0)]).filter(
    ([, beat]) => beat);
  if (!found.length) return DEFAULT_TEMPO;
  return 60e6 / (found.filter(([at]) => at <= tick).at(-1) ?? found[0])[1];
}

/** Returns the time signatures, [tick, quarters of a bar]; the first is 4/4. */
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

/** Returns the last tick that counts for the tracks' length: see midi_file.py. */
function lastCounted(tracks, ticksPerQuarter) {
  const isOff = ({status, data}) => (status & 0xf0) === 0x80 ||
    (status & 0xf0) === 0x90 && !data[1];
  return [...tracks.filter(({events, end}) => !events.some(
    event => event.tick === end && isOff(event))).map(
    ({end}) => end - ticksPerQuarter - 1),
          ...notesOf(tracks).map(({tick}) => tick)].reduce((a, b) => Math.max(a, b));
}

/** Returns pitches of note-ons in order, each once, as text. */
const pitchList = hits => [...new Set(hits.map(({data}) => data[0]))].sort(
  (a, b) => a - b).join(', ');

/**
 * Returns the tracks of a file that are played together, and their hits by tick.
 * @throws {MidiError} if there is no drum.
 */
function findHits(kind, all) {
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
  return {tracks, hits};
}

/**
 * Returns which bars of a file are used, from the first with a drum on: {begin: in
 * ticks, steps, isCut: whether the file goes on, where: the bars in words}.
 * @param {number} firstTick Of the first drum.
 * @throws {MidiError} if they are not in 4/4.
 */
function findBars(tracks, ticksPerQuarter, firstTick, most) {
  const meters = metersOf(tracks), step = ticksPerQuarter / BEAT;
  // A hit just before a bar's first beat belongs to that bar.
  const [begin, number] = barOf(
    meters, ticksPerQuarter, Math.floor(firstTick + step / 2));
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
  return {begin, steps, isCut: own > used, where};
}

/**
 * Returns the first bars of a file in which drums play, as a loop: {pattern, tempo,
 * notes: sentences that say what was left out or added}.
 * @param {number} least Bars of a loop; a file that has fewer is repeated.
 * @param {number} most Bars that are used.
 * @param {string} map The kit whose notes it has: see drum_maps.js.
 * @throws {MidiError}
 */
export function readMidi(bytes, {least, most, map = ''}) {
  const {kind, ticksPerQuarter, tracks: all} = parseMidi(bytes);
  const {tracks, hits} = findHits(kind, all);
  const drumOfPitch = drumsOf(map), drumOf = ({data}) => drumOfPitch(data[0]);
  const first = hits.find(hit => drumOf(hit) !== null);
  if (!first) {
    throw new MidiError('has no hit of the nine drums, only of the pitches ' +
      `${pitchList(hits)} on MIDI channel 10.`);
  }
  const {begin, steps, isCut, where} = findBars(
    tracks, ticksPerQuarter, first.tick, most);
  // If the file goes on, a hit just before the next bar belongs to that bar.
  const last = isCut ? steps - 0.5 : steps, step = ticksPerQuarter / BEAT;
  const pattern = new Uint16Array(steps), unknown = [];
  let known = 0, after = 0;
  for (const hit of hits) {
    const at = (hit.tick - begin) / step, drum = drumOf(hit);
    if (at > last) {
      after++;
    } else if (drum !== null) {
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
    notes.push(`Of the file ${where} ${steps === BAR ? 'is' : 'are'} used, the ${
      after} hits after that are not.`);
  }
  notes.push(...betterKit(hits.map(({data}) => data[0]), map));
  const times = Math.ceil(least * BAR / steps);
  if (times > 1) notes.push(`It is repeated to fill ${times * steps / BAR} bars.`);
  return {notes, tempo: tempoAt(tracks, begin), pattern: Uint16Array.from(
    {length: times * steps}, (_, t) => pattern[t % steps])};
}
