// What may be kept of a loop in a completion. A further constraint is one more entry of
// CONSTRAINTS: grids show its buttons, links hold it, completions obey it.
import {BAR, CLASSES, DRUM_NAMES, DRUMS} from './constants.js';

/**
 * name: The property of loops, and of links, that says which of its buttons are
 *   pressed: bool[].
 * buttons(steps): Where a grid has these: [{row: 0 for bars' numbers, from 1 for drums,
 *   column: 0 for drums' names, from 1 for steps, text, label}].
 * rule(pressed, pattern): Returns whether step t may have a class, by (t, class). The
 *   pattern's own class must be allowed.
 */
export const CONSTRAINTS = [{
  name: 'keptDrums',
  buttons: () => DRUM_NAMES.map((name, drum) => ({
    row: DRUMS - drum, column: 0, text: name, label: `Keep ${name}`})),
  rule: (pressed, pattern) => {
    const mask = pressed.reduce((sum, is, drum) => sum | is << drum, 0);
    return (t, k) => (k & mask) === (pattern[t] & mask);
  },
}, {
  name: 'keptBars',
  buttons: steps => Array.from({length: steps / BAR}, (_, bar) => ({
    row: 0, column: 1 + bar * BAR, text: bar + 1, label: `Keep bar ${bar + 1}`})),
  rule: (pressed, pattern) => (t, k) => (
    k === pattern[t] || !pressed[Math.floor(t / BAR)]),
}];

/** Returns {constraint: bool[]} of an object that has some of them, for a length. */
export function keptOf(loop, steps) {
  return Object.fromEntries(CONSTRAINTS.map(({name, buttons}) => [
    name, buttons(steps).map((_, i) => loop[name]?.[i] ?? false)]));
}

/** Returns whether something of a loop is kept. */
export function hasKept(loop) {
  return CONSTRAINTS.some(({name}) => loop[name].some(Boolean));
}

/**
 * Returns the classes that each step of a completion may have, [steps][classes].
 * @param {Object} kept {constraint: bool[]}.
 */
export function allowedClasses(pattern, kept) {
  const rules = CONSTRAINTS.map(({name, rule}) => rule(kept[name], pattern));
  const classes = Array.from({length: CLASSES}, (_, k) => k);
  return Array.from(pattern, (_, t) => classes.filter(
    k => rules.every(isAllowed => isAllowed(t, k))));
}
