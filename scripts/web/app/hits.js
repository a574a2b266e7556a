// The hits of a pattern, as a drummer plays them.
import {DRUMS, MOST_OFFSET, TICKS} from './constants.js';

export const FLAT = 100;  // The velocity, of 127, of a hit without a feel.

/**
 * Returns a pattern's hits as they are played: [{step, drum, start: in steps, velocity:
 * 1 to 127}].
 * @param {Object} feel {velocity, offset} of Humanizer.humanize, or null.
 * @param {number} amount Of the feel; at 0 all have one velocity and no microtiming.
 */
export function hitsOf(pattern, feel, amount) {
  const hits = [];
  pattern.forEach((classes, step) => {
    for (let drum = 0; drum < DRUMS; drum++) {
      if (!(classes >> drum & 1)) continue;
      const at = step * DRUMS + drum;
      // A hit that was just added has no feel yet.
      const isFelt = feel && feel.velocity[at] > 0;
      const played = isFelt ? 127 * feel.velocity[at] : FLAT;
      const late = isFelt ? amount * feel.offset[at] : 0;
      hits.push({
        step, drum,
        // To the tick, so that sound and MIDI file say the same.
        start: Math.max(0, Math.round(TICKS * (
          step + Math.max(-MOST_OFFSET, Math.min(MOST_OFFSET, late)))) / TICKS),
        velocity: Math.max(1, Math.min(127, Math.round(
          FLAT + amount * (played - FLAT))))});
    }
  });
  return hits;
}
