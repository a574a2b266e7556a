// The page: begins it, and does what its keys, links and files ask for. In a worker,
// the same script begins what computes.
import {spec} from '../shared/spec.js';
import {chooseNext, elementOf, prepareLoop, showCurrent, showLoop, showLoops, showMarks,
        showMorphCard, showPlaying} from './cards.js';
import {Kit} from './drum_kit.js';
import {byId} from './elements.js';
import {openFiles, saveProject} from './files.js';
import {cancel, humanizeRestored, makeLoops, showMorph} from './jobs.js';
import {writeLink} from './link.js';
import {playInstead, replaySoon, togglePlay} from './playback.js';
import {Player} from './player.js';
import {openKept, openLink} from './project.js';
import {openPort, Remote} from './remote.js';
import {fillSettings, listenToSettings, setAudible, showSettings} from './settings.js';
import {areMany, canRedo, canUndo, MOST_LINK_BARS, page, redo, save, say, snapshot,
        undo, watch} from './state.js';
import {openStorage} from './storage.js';
import {serve} from './worker.js';

/** Lets the page show, and play, what changes in its state. */
function followState() {
  watch({
    said: () => { byId('status').textContent = page.said; },
    busy: isBusy => byId('loops').setAttribute('aria-busy', isBusy), job: showJob,
    coming: prepareLoop, loops: showLoops, loop: showLoop, current: showCurrent,
    playing: showPlaying, gone: playInstead, marks: showMarks, morph: showMorphCard,
    settings: showSettings, audible: setAudible, undo: showSteps, kept: keep});
  watch({
    loop: loop => { if (loop === page.playing) replaySoon(); },
    marks: showMorph});
}

/** Shows whether there are steps; `disabled` would take the focus from the buttons. */
function showSteps() {
  byId('undo').setAttribute('aria-disabled', !canUndo());
  byId('redo').setAttribute('aria-disabled', !canRedo());
}

/** Shows how far a job is that takes long. */
function showJob() {
  const {job} = page;
  if (!job?.isLong && byId('job').contains(document.activeElement)) {
    byId('status').focus();
  }
  byId('job').hidden = !job?.isLong;
  byId('progress').value = job?.share ?? 0;
}

const DAMAGED = 'The link is damaged, so these are not its loops.';
const OWN_LOOPS = 'Your own loops are kept: open the page without the link.';
let storage = null;  // Of `openStorage`.
const putIntoAddress = text => history.replaceState(null, '', '#' + text);

/** Keeps the state: in the browser, or in the address. */
function keep(json) {
  if (page.hasStore) storage.write(json).catch(keepInAddress);
  else putIntoAddress(writeLink(json));
}

/** Says that from now on only the address keeps the state. */
function keepInAddress() {
  page.hasStore = false;
  save();
  say('This browser keeps no more, so the address holds the loops from now on.');
}

async function copyLink() {
  if (areMany(page.loops)) {
    say(`A link holds ${MOST_LINK_BARS} bars at most; a project file holds all.`);
    return;
  }
  const link = `${location.href.split('#')[0]}#${writeLink(snapshot())}`;
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    const text = document.createElement('textarea');
    text.value = link;
    document.body.append(text);
    text.select();
    document.execCommand('copy');
    text.remove();
    byId('copy').focus();
  }
  say('The link is copied: it holds the settings, the loops and all that is done to ' +
      `them.${location.protocol !== 'file:' ? '' : ' It works on this computer only, ' +
      'where the page is a file; links to a page on a web space work anywhere.'}`);
}

/** Opens MIDI files, and scrolls to the first of their loops. */
async function open(files) {
  const loop = await openFiles([...files]);
  if (loop) elementOf(loop).scrollIntoView({block: 'nearest'});
}

/** Undoes or redoes a step; the focus stays where it is, or goes to the loop. */
function step(go) {
  const hadFocus = document.activeElement !== document.body;
  cancel();  // What is made now is of the state that goes.
  if (!go()) {
    say('There are no more steps.');
    return;
  }
  replaySoon();
  humanizeRestored();
  if (hadFocus && document.activeElement === document.body) {
    (page.current ? elementOf(page.current) : byId('new')).focus({preventScroll: true});
  }
}

function listen() {
  byId('cancel').addEventListener('click', cancel);
  byId('undo').addEventListener('click', () => step(undo));
  byId('redo').addEventListener('click', () => step(redo));
  byId('save').addEventListener('click', saveProject);
  byId('copy').addEventListener('click', copyLink);
  byId('open').addEventListener('click', () => byId('file').click());
  byId('file').addEventListener('change', ({target}) => {
    open(target.files);
    target.value = '';
  });
  document.addEventListener('dragover', event => {
    event.preventDefault();
    document.body.classList.add('dropping');
  });
  document.addEventListener('dragleave', ({relatedTarget}) => {
    if (!relatedTarget) document.body.classList.remove('dropping');
  });
  document.addEventListener('drop', event => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    open(event.dataTransfer.files);
  });
  document.addEventListener('keydown', pressKey);
  addEventListener('hashchange', async () => {
    if (await openAddress()) say(DAMAGED);
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) save();  // The tab may be closed.
  });
}

function pressKey(event) {
  const {key, target} = event;
  const isTyping = target.closest('input[type=number]'), letter = key.toLowerCase();
  if (event.altKey) return;
  if (event.ctrlKey || event.metaKey) {
    if (!['z', 'y'].includes(letter) || isTyping) return;
    event.preventDefault();
    step(letter === 'y' || event.shiftKey ? redo : undo);
    return;
  }
  if (event.shiftKey) return;
  if (key === ' ') {
    // These have their own use for the space bar.
    if (isTyping || target.closest('button:not([data-row]), select, summary')) return;
    event.preventDefault();
    if (page.current && !event.repeat) togglePlay(page.current);
  } else if (!target.closest('input, select')) {
    const by = {ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1}[key];
    if (!by) return;
    event.preventDefault();
    chooseNext(by);
  }
}

/**
 * Opens the state behind the # of the address, if there is one, and has the address
 * keep it, so that what the browser keeps stays. Returns whether the link is damaged.
 */
async function openAddress() {
  const text = location.hash.slice(1), {hasStore} = page;
  if (!text) return false;
  if (page.loops.length) save();
  page.hasStore = false;
  if (await openLink(text, hasStore ? OWN_LOOPS : '')) return false;
  page.hasStore = hasStore;
  putIntoAddress('');
  return true;
}

async function begin() {
  const weights = byId('weights');
  try {
    const {port, isWorker} = await openPort(
      byId('script').textContent, byId('spec').textContent);
    byId('refused').hidden = isWorker;
    const engine = new Remote(port);
    const [abilities, kit, kept] = await Promise.all([
      engine.openModels(weights.textContent), Kit.open(spec.kit), openStorage()]);
    storage = kept;
    page.hasStore = Boolean(storage.write);
    await engine.openKit({...kit});
    weights.remove();
    Object.assign(engine, abilities);
    Object.assign(page, {
      engine, player: new Player(kit, part => engine.part(part))});
  } catch (error) {
    say('This browser can\'t run the page; a newer one can.');
    console.error(error);
    return;
  }
  fillSettings();
  showSettings();
  listenToSettings();
  listen();
  const isDamaged = await openAddress();
  if (!page.loops.length && storage.text) await openKept(storage.text);
  if (!page.loops.length) await makeLoops();
  if (isDamaged) say(DAMAGED);
}

if (globalThis.document) {
  followState();
  begin();
} else {
  serve(globalThis);
}
