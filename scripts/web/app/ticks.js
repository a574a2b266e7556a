// How far something is. What takes long calls `tick(share)` with the share that is done
// and awaits what it returns; it throws what `tick` throws.

/** Says that what was asked for is not wanted any more. */
export class Cancelled extends Error {}

/** For what nobody waits for. */
export const noTick = () => {};

/** Returns the tick of a part of the whole, `from` one share `to` another. */
export const within = (tick, from, to) => share => tick(from + (to - from) * share);

/** Returns the tick of part number i of n. */
export const tickOf = (tick, i, n) => within(tick, i / n, (i + 1) / n);
