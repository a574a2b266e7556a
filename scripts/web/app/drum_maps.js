// Which drum a MIDI note is in which kit: see drum_maps.py.
import {spec} from '../shared/spec.js';
import {DRUM_OF_PITCH, PITCHES} from './constants.js';

// Their notes of each drum, of which the first is written: {name: {title, notes}}.
export const KITS = spec.kits;
const {shares, noDrum, frequent, moreLikely, evidence, moreFrequent} = spec.kitsOfFiles;

/** Returns the notes that are written for a kit, by drum; '' for the model's own. */
export const notesFor = kit => kit ? KITS[kit].notes.map(([note]) => note) : PITCHES;

/** Returns a function from a kit's note to its drum, or null; '' for Magenta's maps. */
export function drumsOf(kit) {
  if (!kit) return pitch => DRUM_OF_PITCH[pitch];
  const drums = new Map(KITS[kit].notes.flatMap(
    (own, drum) => own.map(note => [note, drum])));
  return pitch => drums.get(pitch) ?? null;
}

/** Returns the mean logarithm of the probability of notes: see drum_maps.py. */
function likelihood(kit, pitches) {
  const chances = new Map(KITS[kit].notes.flatMap((own, drum) => {
    const [first, other] = own.length === 1 ? [1] : [1 / 2, 1 / 2 / (own.length - 1)];
    return own.map((note, i) => [note, shares[drum] / 100 * (i ? other : first)]);
  }));
  return pitches.reduce((sum, pitch) => sum + Math.log(chances.get(pitch) ?? noDrum), 0) /
    pitches.length;
}

/** Returns sentences on a kit that fits a file's notes clearly better, if there is one. */
export function betterKit(pitches, used) {
  const likely = Object.keys(KITS).map(kit => [likelihood(kit, pitches), kit]);
  const [most, best] = likely.reduce((a, b) => b[0] > a[0] ? b : a);
  const own = Math.max(...likely.filter(([, kit]) => (
    used ? kit === used : ['gm', 'td11'].includes(kit))).map(([value]) => value));
  const hits = pitches.length;
  const count = drumOf => pitches.filter(
    pitch => frequent.includes(drumOf(pitch))).length;
  const usual = kit => pitch => notesFor(kit || 'gm').indexOf(pitch);
  const [there, here, what] = [
    [count(drumsOf(best)), count(drumsOf(used)), ''],
    [count(usual(best)), count(usual(used)), 'the usual notes of ']].reduce(
    (a, b) => b[0] - b[1] > a[0] - a[1] ? b : a);
  const isBetter = most - own >= Math.max(moreLikely, evidence / hits) &&
    there - here >= moreFrequent * hits;
  return isBetter ? [
    `It reads like ${KITS[best].title}: ${there} of ${hits} hits are ${what}kick, snare, ` +
    `hi-hat or ride there, ${here} here. Choose that as the notes of the file, and open ` +
    'it again.'] : [];
}
