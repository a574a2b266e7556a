// The loops as cards, each with its grid and its buttons.
import {BEAT} from './constants.js';
import {byId} from './elements.js';
import {saveMidi, saveStems, saveWav} from './files.js';
import {Grid} from './grid.js';
import {FLAT} from './hits.js';
import {complete, extend, fill, humanizeAll, humanizeSoon, updateMorph,
        vary} from './jobs.js';
import {attempt, play, togglePlay} from './playback.js';
import {allLoops, canMorph, choose, isFull, mark, nameLoop, newLoop, page, remember,
        say, setLoops, toggleHit, toggleKept} from './state.js';

const FOLLOW_AGAIN = 4000;  // Milliseconds after the user scrolled a grid.
// A card's buttons: name, text, what is done with the loop, what the engine needs for it.
const SAVING = [['midi', 'MIDI', saveMidi], ['wav', 'WAV', saveWav],
                ['stems', 'Stems', saveStems]];
const ACTIONS = [
  ['rest', 'Play the rest', complete, 'canEncode'], ['fill', 'Fill', fill, 'canFill'],
  ['like', 'More like this', vary, 'canEncode'],
  ['a', 'A', loop => mark(loop, 'a'), 'canEncode'],
  ['b', 'B', loop => mark(loop, 'b'), 'canEncode'],
  ['longer', 'Longer', extend, 'canEncode'], ...SAVING, ['remove', 'Remove', remove]];
const MORPH_ACTIONS = [['keep', 'Keep as a loop', keepMorph], ...SAVING];

const cards = new WeakMap();  // By loop.

/** Returns the element of a loop's card. */
export const elementOf = loop => cards.get(loop).element;

function hit(loop, step, drum) {
  const isThere = toggleHit(loop, step, drum);
  if (isThere) attempt(() => page.player.hit(drum, FLAT));
  humanizeSoon();
  updateMorph(loop);
}

function keepMorph() {
  if (isFull()) return;
  remember();
  const {pattern, seed} = page.morph, loop = newLoop({pattern, seed});
  nameLoop(loop, 'morph');
  setLoops([...page.loops, loop], loop);
  humanizeAll();
  elementOf(loop).focus();
  say(`${loop.name} is among the loops now.`);
}

function remove(loop) {
  remember();
  const at = page.loops.indexOf(loop), loops = page.loops.filter(one => one !== loop);
  const next = loops[Math.min(at, loops.length - 1)];
  setLoops(loops, page.current === loop ? next : page.current, next);
  (next ? elementOf(next) : byId('new')).focus();
  say(`${loop.name} is removed; Undo brings it back.`);
}

/** A loop on the page. */
class Card {
  constructor(loop, actions, isMorph = false) {
    Object.assign(this, {loop, isMorph, scrolled: -Infinity, grid: null});
    const all = [['play', 'Play', togglePlay], ...actions.filter(
      ([, , , ability]) => !ability || page.engine[ability])];
    const [playing, ...others] = all.map(([name, text]) => (
      `<button type="button" data-action="${name}">${text}</button>`));
    const element = document.createElement('div');
    Object.assign(this, {element});
    element.className = 'loop';
    element.setAttribute('role', 'group');
    element.tabIndex = -1;
    element.innerHTML = `<div class="place"></div><div class="actions">
      ${playing}<h2></h2><div class="more">${others.join('')}</div></div>`;
    this.buttons = Object.fromEntries(Array.from(
      element.querySelectorAll('[data-action]'), button => [
        button.dataset.action, button]));
    this.buttons.play.className = 'play';
    for (const [name, , act] of all) {
      this.buttons[name].addEventListener('click', () => act(loop));
    }
    element.addEventListener('focusin', () => choose(loop));
  }

  show() {
    const {loop, element} = this, {name, pattern} = loop;
    if (this.name !== name) {
      this.name = name;
      element.setAttribute('aria-label', `Loop ${name}`);
      element.querySelector('h2').textContent = name;
      for (const button of Object.values(this.buttons)) {
        button.setAttribute('aria-label', `${button.textContent}, ${name}`);
      }
      this.grid?.setName(name);
    }
    if (this.grid?.steps !== pattern.length) {
      const focused = this.grid?.place();
      this.grid = new Grid(name, pattern.length, this.isMorph ? null : {
        toggle: (step, drum) => hit(loop, step, drum),
        keep: (constraint, index) => toggleKept(loop, constraint, index)});
      for (const kind of ['pointerdown', 'wheel', 'touchmove']) {
        this.grid.element.addEventListener(kind, () => {
          this.scrolled = performance.now();
        }, {passive: true});
      }
      element.querySelector('.place').replaceChildren(this.grid.element);
      if (focused) this.grid.focus(...focused);
    }
    this.grid.show(loop);
  }

  showPlaying() {
    const isPlaying = page.playing === this.loop, {play: button} = this.buttons;
    this.element.classList.toggle('playing', isPlaying);
    button.textContent = isPlaying ? 'Stop' : 'Play';
    button.setAttribute('aria-label', `${button.textContent}, ${this.loop.name}`);
    if (!isPlaying) this.grid.showPlayhead(null);
  }

  /** Shows whether the loop is A or B. */
  showMarks() {
    for (const name of ['a', 'b']) {
      this.buttons[name]?.setAttribute('aria-pressed', page[name] === this.loop);
    }
  }
}

/** Makes the card of a loop that will be on the page. */
export function prepareLoop(loop) {
  cards.set(loop, new Card(loop, ACTIONS));
  cards.get(loop).show();
}

/** Shows the loops that are on the page now, and leaves the others' cards alone. */
export function showLoops(gone) {
  gone.forEach(loop => elementOf(loop).remove());
  page.loops.forEach((loop, i) => {
    if (!cards.has(loop)) cards.set(loop, new Card(loop, ACTIONS));
    const here = byId('loops').children[i], element = elementOf(loop);
    if (here === element) return;
    if (!element.isConnected) reveal(element);
    byId('loops').insertBefore(element, here);
  });
}

const coming = [];
/** Lets an element be laid out, one a frame, because many at once take long. */
function reveal(element) {
  element.classList.add('coming');
  if (coming.push(element) > 1) return;
  requestAnimationFrame(function next() {
    coming.shift().classList.remove('coming');
    if (coming.length) requestAnimationFrame(next);
  });
}

/** Shows a loop that has changed. */
export const showLoop = loop => cards.get(loop)?.show();

/** Shows which loop keys are about. */
export function showCurrent(before) {
  if (before && before !== page.current) {
    elementOf(before).removeAttribute('aria-current');
  }
  if (page.current) elementOf(page.current).setAttribute('aria-current', 'true');
}

/** Shows which loop plays, and where. */
export function showPlaying(before) {
  if (before) cards.get(before).showPlaying();
  if (page.playing) cards.get(page.playing).showPlaying();
  if (page.playing && !before) requestAnimationFrame(draw);
}

let still = null;  // Whether the user wants no motion.
function draw() {
  const {playing, player} = page;
  if (!playing) return;
  const {grid, scrolled} = cards.get(playing), share = player.position();
  const beats = playing.pattern.length / BEAT;
  still ??= matchMedia('(prefers-reduced-motion: reduce)');
  grid.showPlayhead(still.matches ? Math.floor(share * beats) / beats : share);
  if (!grid.element.contains(document.activeElement) &&
      performance.now() - scrolled > FOLLOW_AGAIN) grid.follow(share);
  requestAnimationFrame(draw);
}

/** Shows which loops are A and B, and the slider if there are both. */
export function showMarks() {
  const {a, b, share} = page;
  byId('morph').hidden = !canMorph();
  byId('morph-a').textContent = a?.name ?? '';
  byId('morph-b').textContent = b?.name ?? '';
  byId('share').value = Math.round(100 * share);
  byId('morph').querySelector('output').value = `${Math.round(100 * share)} %`;
  for (const loop of page.loops) cards.get(loop).showMarks();
}

/** Shows the loop between A and B, if there is one. */
export function showMorphCard() {
  if (page.morph) cards.set(page.morph, new Card(page.morph, MORPH_ACTIONS, true));
  byId('between').replaceChildren(...page.morph ? [elementOf(page.morph)] : []);
}

/** Goes to the loop after the current one, or before it by -1. */
export function chooseNext(by) {
  const loops = allLoops(), next = loops[loops.indexOf(page.current) + by];
  if (!next) return;
  choose(next);
  elementOf(next).focus();
  if (page.playing) play(next);
}
