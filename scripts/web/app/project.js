// All that is on the page, as a link, a file, and what the browser keeps.
import {humanizeRestored} from './jobs.js';
import {LinkError, readLink, readState} from './link.js';
import {fitSettings} from './settings.js';
import {page, remember, restore, say, title} from './state.js';

/**
 * Puts a state in the place of what is on the page.
 * @param {function} read Returns the state.
 * @return {boolean} Whether it is one.
 */
async function openState(read, said = '') {
  let state;
  try {
    state = read();
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    return false;
  }
  fitSettings(state.settings);
  if (page.loops.length) remember();
  restore(state);
  await humanizeRestored();
  say(state.title === title() ? said : 'These loops were made with other weights, ' +
    `${state.title}; they are as they were. ${said}`);
  return true;
}

/** Opens what stands behind the # of a link, and says so; returns whether it can. */
export const openLink = (text, said) => openState(() => readLink(text), said);

/** Opens the JSON that the browser kept; returns whether it can. */
export const openKept = json => openState(() => readState(json));

/** Opens a project's file. */
export async function openProject(file) {
  const json = await file.text();
  const said = `${file.name} is open; Undo brings back what was here.`;
  if (!await openState(() => readState(json), said)) {
    say(`${file.name} is no project of this page.`);
  }
}
