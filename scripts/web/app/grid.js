// A loop as a grid of buttons, a sequencer: one for each drum and sixteenth, and those
// that choose what is kept.
import {BAR, DRUM_NAMES, DRUMS} from './constants.js';
import {CONSTRAINTS} from './constraints.js';

const LATE = 0.02;  // Steps of microtiming that are shown.

function button(row, column, name, text = '') {
  const kind = row > 0 && column > 0 ? 'cell' : 'keep';
  return `<button type="button" tabindex="-1" aria-pressed="false" class="${kind}"
    data-row="${row}" data-column="${column}" aria-label="${name}">${text}</button>`;
}

export class Grid {
  /**
   * @param {number} steps
   * @param {Object} on What clicks do: toggle(step, drum), keep(constraint's name,
   *   index). Without it, the grid only shows a loop.
   */
  constructor(name, steps, on) {
    Object.assign(this, {steps, on, focused: null});
    this.shown = new Map();  // By cell: [velocity, steps late].
    // What is kept by the button at a row and a column.
    this.keeps = new Map(CONSTRAINTS.flatMap(({name, buttons}) => buttons(steps).map(
      ({row, column, ...button}, index) => [
        `${row},${column}`, {name, index, ...button}])));
    this.element = document.createElement('div');
    this.element.className = 'scroll';
    this.element.innerHTML = this.markup();
    this.board = this.element.firstElementChild;
    this.setName(name);
    this.board.style.setProperty('--steps', steps);
    this.playhead = this.element.querySelector('.playhead');
    // Buttons by row (bars' numbers first) and column (drums' names first).
    this.rows = Array.from({length: DRUMS + 1}, () => []);
    for (const one of this.board.querySelectorAll('button')) {
      this.rows[one.dataset.row][one.dataset.column] = one;
    }
    if (!on) {
      for (const one of this.rows.flat()) one.setAttribute('aria-disabled', 'true');
    }
    this.setFocused(this.rows[DRUMS][1]);
    this.board.addEventListener('click', event => this.click(event));
    this.board.addEventListener('keydown', event => this.key(event));
    this.board.addEventListener('keyup', event => {
      if (event.key === ' ') event.preventDefault();  // Space plays.
    });
    this.board.addEventListener('focusin', event => this.setFocused(event.target));
  }

  /** Returns the button at a row and a column that keeps something, else a text. */
  header(row, column, otherwise = '') {
    const {label, text} = this.keeps.get(`${row},${column}`) ?? {};
    return label ? button(row, column, label, text) : otherwise;
  }

  markup() {
    const {steps} = this, bars = steps / BAR;
    const numbers = Array.from({length: bars}, (_, bar) => (
      `<div role="columnheader" aria-colindex="${2 + bar * BAR}" class="bar">${
        this.header(0, 1 + bar * BAR, bar + 1)}</div>`)).join('');
    const rows = DRUM_NAMES.map((name, drum) => {
      const row = DRUMS - drum;
      return `<div role="row" class="row" aria-rowindex="${row + 1}">
        <div role="rowheader" class="label">${this.header(row, 0, name)}</div>${
        Array.from({length: steps}, (_, t) => `<span role="gridcell">${
          button(row, 1 + t, `${name}, bar ${Math.floor(t / BAR) + 1}, step ${
            t % BAR + 1}`)}</span>`).join('')}</div>`;
    }).reverse().join('');
    return `<div role="grid" class="board" aria-rowcount="${DRUMS + 1}"
      aria-colcount="${steps + 1}"><div role="row" class="row" aria-rowindex="1">
      <div role="columnheader" class="label">${
        this.header(0, 0, 'keep')}</div>${numbers}</div>${rows}
      <div class="playhead" aria-hidden="true" hidden></div></div>`;
  }

  setName(name) {
    this.board.setAttribute('aria-label', `Hits of ${name}`);
  }

  setFocused(button) {
    if (!button.dataset.row) return;
    this.focused?.setAttribute('tabindex', '-1');
    this.focused = button;
    button.setAttribute('tabindex', '0');
  }

  click({target}) {
    const {row, column} = target.closest('button')?.dataset ?? {};
    if (!this.on || row === undefined) return;
    const kept = this.keeps.get(`${row},${column}`);
    if (kept) this.on.keep(kept.name, kept.index);
    else this.on.toggle(column - 1, DRUMS - row);
  }

  /** Moves by arrow keys, Home, End, and by bars with Page Up and Down. */
  key(event) {
    const {key, target} = event;
    if (!target.dataset.row || event.ctrlKey || event.metaKey || event.altKey) return;
    let [row, column] = [Number(target.dataset.row), Number(target.dataset.column)];
    const jump = row ? 1 : BAR;
    if (key === 'ArrowUp') row--;
    else if (key === 'ArrowDown') row++;
    else if (key === 'ArrowLeft') column -= jump;
    else if (key === 'ArrowRight') column += column ? jump : 1;
    else if (key === 'PageUp') column -= BAR;
    else if (key === 'PageDown') column += BAR;
    else if (key === 'Home') column = 0;
    else if (key === 'End') column = this.steps;
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.focus(row, column);
  }

  /** Returns the row and the column of the button that has the focus, if one has. */
  place() {
    const {row, column} = document.activeElement.dataset;
    return this.board.contains(document.activeElement) && [Number(row), Number(column)];
  }

  /** Focuses the button at a row and a column, or the nearest one. */
  focus(row, column) {
    row = Math.min(DRUMS, Math.max(0, row));
    column = Math.min(this.steps, Math.max(row || this.rows[0][0] ? 0 : 1, column));
    if (!row && column) column -= (column - 1) % BAR;
    const next = this.rows[row][column];
    next.focus();
    next.scrollIntoView({block: 'nearest', inline: 'nearest'});
  }

  /** Shows a loop's hits and what is kept of it. */
  show(loop) {
    const now = new Map(loop.hits.map(({step, drum, start, velocity}) => [
      this.rows[DRUMS - drum][1 + step], [velocity, start - step]]));
    for (const cell of this.shown.keys()) {
      if (!now.has(cell)) cell.setAttribute('aria-pressed', 'false');
    }
    for (const [cell, [velocity, late]] of now) {
      const before = this.shown.get(cell);
      if (before?.[0] === velocity && before[1] === late) continue;
      cell.setAttribute('aria-pressed', 'true');
      cell.classList.toggle('late', Math.abs(late) > LATE);
      cell.style.setProperty('--velocity', (velocity / 127).toFixed(2));
      cell.style.setProperty('--late', late.toFixed(2));
    }
    this.shown = now;
    for (const [place, {name, index}] of this.keeps) {
      const [row, column] = place.split(',');
      this.rows[row][column].setAttribute('aria-pressed', loop[name][index]);
    }
  }

  /** Shows where the loop plays: a share of it, or null. */
  showPlayhead(share) {
    this.playhead.hidden = share === null;
    if (share !== null) this.playhead.style.setProperty('--at', share.toFixed(4));
  }

  /** Scrolls to where the loop plays, if that is out of sight. */
  follow(share) {
    const {scrollLeft, clientWidth, scrollWidth} = this.element;
    const labels = this.rows[DRUMS][1].getBoundingClientRect().left -
      this.board.getBoundingClientRect().left;
    const at = share * (scrollWidth - labels);  // From the first cell on.
    if (at < scrollLeft || at > scrollLeft + clientWidth - labels) {
      this.element.scrollLeft = at;
    }
  }
}
