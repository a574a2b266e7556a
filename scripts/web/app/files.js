// Loops as files: MIDI and WAV that are saved, MIDI that is opened.
import {fileName} from './audio_files.js';
import {BAR} from './constants.js';
import {humanizeAll, work} from './jobs.js';
import {MidiError, readMidi, writeMidi} from './midi.js';
import {openProject} from './project.js';
import {isFull, MOST_LINK_BARS, nameLoop, namesOf, newLoop, nextSeed, page,
        possibleTempo, remember, say, setLoops, shortened, snapshot,
        tell} from './state.js';

const PROJECT = 'drum-loops.json';
const MOST_BARS_OF_FILE = 16;
const MOST_BYTES = 8e6;

function download(name, bytes, type) {
  const url = URL.createObjectURL(new Blob([bytes], {type}));
  Object.assign(document.createElement('a'), {
    href: url, download: fileName(name)}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** Returns the name of a loop's file, without what says the kind. */
const nameOf = ({name}) => `${name}-${page.settings.tempo}bpm`;

export function saveMidi(loop) {
  const {hits, pattern} = loop, {tempo, outputMap} = page.settings;
  const name = `${nameOf(loop)}.mid`;
  download(name, writeMidi(hits, pattern.length, tempo, outputMap), 'audio/midi');
  say(`${name} is saved.`);
}

/** Saves all that is on the page. */
export function saveProject() {
  download(PROJECT, snapshot(), 'application/json');
  say(`${PROJECT} is saved: it holds the settings, the loops and all that is done to ` +
      'them.');
}

/** Saves a file that takes time: what `render`, a task of Remote, returns. */
function saveSound(loop, ending, type, render) {
  const {hits, pattern: {length: steps}} = loop, {tempo} = page.settings;
  const name = nameOf(loop), file = name + ending;
  return work(`Writing ${file}.`, async run => {
    download(file, await render({name, hits, steps, tempo}, run), type);
    return `${file} is saved.`;
  });
}

export const saveWav = loop => saveSound(
  loop, '.wav', 'audio/wav', (...given) => page.engine.wav(...given));

/** Saves a loop's WAV and one of each drum, whose sum it is, in a ZIP file. */
export const saveStems = loop => saveSound(
  loop, '-stems.zip', 'application/zip',
  (...given) => page.engine.stems(...given));

/** Returns the loop of a MIDI file, its tempo, and sentences about it. */
async function openMidi(file, names) {
  if (file.size > MOST_BYTES) throw new MidiError('is too large for a MIDI file.');
  const {pattern, tempo: exact, notes} = readMidi(
    new Uint8Array(await file.arrayBuffer()),
    {least: page.engine.steps / BAR, most: MOST_BARS_OF_FILE, map: page.settings.map});
  const tempo = possibleTempo(Math.round(100 * exact) / 100);
  const loop = newLoop({
    pattern, seed: nextSeed(),
    name: shortened(file.name.replace(/\.[^.]*$/, '')) || 'file'});
  if (names.has(loop.name)) nameLoop(loop, loop.name, names);
  return {loop, tempo, said: [
    `${file.name}: ${pattern.length / BAR} bars at ${tempo} beats a minute, hits at ` +
    'the nearest sixteenths.', ...notes]};
}

/** Opens MIDI files as loops, and returns the first; or opens a project. */
export async function openFiles(files) {
  const project = files.find(({name}) => /\.json$/i.test(name));
  if (project) {
    await openProject(project);
    return null;
  }
  const said = [], loops = [];
  let {tempo} = page.settings;
  for (const [i, file] of files.entries()) {
    if (isFull([...page.loops, ...loops])) {
      said.unshift(`${files.length - i} of ${files.length} files are not taken in: ` +
        `the page holds ${MOST_LINK_BARS} bars at most.`);
      break;
    }
    try {
      const opened = await openMidi(file, namesOf([...page.loops, ...loops]));
      loops.push(opened.loop);
      tempo = opened.tempo;
      said.push(...opened.said);
    } catch (error) {
      // A folder can't be read.
      said.push(`${file.name} ${
        error instanceof MidiError ? error.message : 'can\'t be read.'}`);
    }
  }
  if (loops.length) {
    remember();
    page.settings.tempo = tempo;
    tell('settings');
    setLoops([...loops, ...page.loops], loops[0]);
    await humanizeAll();
  }
  say(said.join(' ') || 'That is no file.');
  return loops[0];
}
