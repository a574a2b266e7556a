// The page: begins it, and does what its keys, links and files ask for. In a worker, the
// same script begins what computes.
import {spec} from '../shared/spec.js';
import {chooseNext, elementOf, showCurrent, showLoop, showLoops, showMarks,
        showMorphCard, showPlaying} from './cards.js';
import {Kit} from './drum_kit.js';
import {byId} from './elements.js';
import {openFiles} from './files.js';
import {cancel, humanizeRestored, makeLoops, showMorph} from './jobs.js';
import {LinkError, readLink} from './link.js';
import {playInstead, replaySoon, togglePlay} from './playback.js';
import {Player} from './player.js';
import {openPort, Remote} from './remote.js';
import {fillSettings, listenToSettings, showSettings,
        takeSettings} from './settings.js';
import {canUndo, page, restore, say, setLoops, snapshot, title, undo,
        watch} from './state.js';
import {serve} from './worker.js';

/** Lets the page show, and play, what changes in its state. */
function followState() {
  watch({
    said: () => { byId('status').textContent = page.said; },
    busy: isBusy => byId('loops').setAttribute('aria-busy', isBusy), job: showJob,
    loops: showLoops, loop: showLoop, current: showCurrent, playing: showPlaying,
    gone: playInstead, marks: showMarks, morph: showMorphCard, settings: showSettings,
    undo: () => { byId('undo').disabled = !canUndo(); }, link: putIntoAddress});
  watch({
    loop: loop => { if (loop === page.playing) replaySoon(); },
    marks: showMorph});
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

const putIntoAddress = text => history.replaceState(null, '', '#' + text);

async function copyLink() {
  putIntoAddress(snapshot());
  try {
    await navigator.clipboard.writeText(location.href);
  } catch {
    const text = document.createElement('textarea');
    text.value = location.href;
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

function undoLast() {
  if (undo()) humanizeRestored();
}

function listen() {
  byId('cancel').addEventListener('click', cancel);
  byId('undo').addEventListener('click', undoLast);
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
  addEventListener('hashchange', () => openLink());
}

function pressKey(event) {
  const {key, target} = event;
  if (event.altKey || event.shiftKey) return;
  const isTyping = target.closest('input[type=number]');
  if (event.ctrlKey || event.metaKey) {
    if (key !== 'z' || isTyping) return;
    event.preventDefault();
    undoLast();
    return;
  }
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

/** Opens the state behind the # of the address; returns whether there is one. */
async function openLink() {
  const text = location.hash.slice(1);
  if (!text) return false;
  let state;
  try {
    state = readLink(text);
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    putIntoAddress('');
    await startAfresh();
    say('The link is damaged, so these are new loops.');
    return true;
  }
  takeSettings(state);
  restore(state);
  await humanizeRestored();
  say(state.title === title() ? '' :
    `These loops were made with other weights, ${state.title}; they are as they were.`);
  return true;
}

async function startAfresh() {
  setLoops([]);
  await makeLoops();
}

async function begin() {
  const weights = byId('weights');
  try {
    const {port, isWorker} = await openPort(
      byId('script').textContent, byId('spec').textContent);
    byId('refused').hidden = isWorker;
    const engine = new Remote(port);
    const [abilities, kit] = await Promise.all([
      engine.openModels(weights.textContent), Kit.open(spec.kit)]);
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
  if (!await openLink()) await startAfresh();
}

if (globalThis.document) {
  followState();
  begin();
} else {
  serve(globalThis);
}
