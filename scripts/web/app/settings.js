// The settings: the form's fields and sliders, and the drums that are muted.
import {BAR, DRUM_NAMES, MOST_FEEL, MOST_SEED} from './constants.js';
import {KITS} from './drum_maps.js';
import {byId} from './elements.js';
import {humanizeAll, makeLoops, resample} from './jobs.js';
import {replaySoon} from './playback.js';
import {ATTRIBUTES} from './sliders.js';
import {allLoops, numberAfter, page, possibleTempo, remember, saveSoon, say, show,
        tell} from './state.js';

const KIT_FIELDS = ['map', 'outputMap'], TEXTS = ['style', ...KIT_FIELDS];
const FIELDS = [...TEXTS, 'seed', 'bars', 'take', 'drummer'];
const percent = value => `${Math.round(100 * value)} %`;
const signed = value => value ? `${value > 0 ? '+' : '−'}${Math.abs(value)}` : 'any';
const SLIDERS = {  // What a setting is multiplied by there, and the text beside it.
  temperature: [1, value => value.toFixed(2)],
  ...Object.fromEntries(ATTRIBUTES.map(name => [name, [1, signed]])),
  tempo: [1, value => String(value)],
  feel: [100, percent],
  change: [100, percent]};

export function showSettings() {
  const {settings} = page;
  for (const name of FIELDS) byId(name).value = settings[name];
  for (const [name, [scale, text]] of Object.entries(SLIDERS)) {
    byId(name).value = scale * settings[name];
    byId(name).setAttribute('aria-valuetext', text(settings[name]));
    document.querySelector(`output[for=${name}]`).value = text(settings[name]);
  }
}

/** Leaves of settings what this page's models have. */
export function fitSettings(settings) {
  const {engine} = page;
  if (!engine.styles.includes(settings.style)) settings.style = '';
  if (!engine.drummers.includes(settings.drummer)) settings.drummer = 0;
  if (!lengths().includes(settings.bars)) settings.bars = lengths()[0];
  if (!engine.hasSliders) for (const name of ATTRIBUTES) settings[name] = 0;
  for (const name of KIT_FIELDS) {
    if (!Object.hasOwn(KITS, settings[name])) settings[name] = '';
  }
  settings.tempo = possibleTempo(settings.tempo);
}

/** Changes a setting and does what follows from it. */
function applySetting(name, value) {
  remember(name);
  page.settings[name] = value;
  if (name === 'temperature' || ATTRIBUTES.includes(name)) resample();
  if (name === 'tempo') replaySoon();
  if (name === 'feel') allLoops().forEach(show);
  if (name === 'take' || name === 'drummer') humanizeAll();
  tell('settings');
  saveSoon();
}

/** Lets drums be heard, and shows which. */
export function setAudible() {
  const {muted, solo} = page, isSolo = solo.some(Boolean);
  page.player.setAudible(solo.map((is, drum) => isSolo ? is : !muted[drum]));
  for (const button of byId('channels').querySelectorAll('button')) {
    const {list, drum} = button.dataset;
    button.setAttribute('aria-pressed', page[list][drum]);
  }
}

/** Returns how many bars new loops may have. */
function lengths() {
  const bars = page.engine.steps / BAR;
  return (page.engine.canEncode ? [1, 2, 4] : [1]).map(times => times * bars);
}

/** Puts in what the models have: styles, drummers, lengths; and the drums. */
export function fillSettings() {
  const {engine} = page, option = (value, text) => new Option(text, value);
  byId('title').textContent = `Weights: ${engine.title}`;
  byId('style').append(...engine.styles.map(style => option(style, style)));
  byId('style-field').hidden = !engine.styles.length;
  byId('sliders').hidden = !engine.hasSliders;
  byId('bars').append(...lengths().map(bars => option(bars, bars)));
  byId('drummer').append(...engine.drummers.map(
    drummer => option(drummer, `drummer ${drummer}`)));
  for (const name of KIT_FIELDS) {
    byId(name).append(...Object.entries(KITS).map(
      ([kit, {title}]) => option(kit, title)));
  }
  byId('seed').max = byId('take').max = MOST_SEED;
  byId('feel').max = 100 * MOST_FEEL;
  byId('feel-fields').hidden = byId('feel-intro').hidden = !engine.canHumanize;
  byId('change-field').hidden = !engine.canEncode;
  byId('channels').innerHTML = DRUM_NAMES.map((name, drum) => (
    `<div role="group" aria-label="${name}"><span>${name}</span>${
      [['muted', 'Mute'], ['solo', 'Solo']].map(([list, text]) => (
        `<button type="button" aria-pressed="false" data-list="${list}" data-drum="${
          drum}" aria-label="${text} ${name}">${text}</button>`)).join('')}</div>`)
  ).reverse().join('');
  [page.settings.bars] = lengths();
}

/** Lets the fields, sliders and buttons work. */
export function listenToSettings() {
  byId('new').disabled = false;
  byId('drawing').addEventListener('submit', event => {
    event.preventDefault();
    makeLoops();
  });
  for (const name of FIELDS) {
    byId(name).addEventListener('change', ({target}) => {
      if (!target.checkValidity()) {
        say(`Seeds and takes are whole numbers from ${target.min} to ${target.max}.`);
        showSettings();
      } else {
        applySetting(name, TEXTS.includes(name) ? target.value : Number(target.value));
      }
    });
  }
  for (const [name, [scale]] of Object.entries(SLIDERS)) {
    byId(name).addEventListener('input', ({target}) => applySetting(
      name, target.value / scale));
  }
  byId('new-take').addEventListener('click', () => applySetting(
    'take', numberAfter(page.settings.take)));
  byId('share').addEventListener('input', ({target}) => {
    remember('share');
    page.share = target.value / 100;
    tell('marks');
    saveSoon();
  });
  byId('channels').addEventListener('click', ({target}) => {
    const {list, drum} = target.dataset;
    if (!list) return;
    remember();
    page[list][drum] = !page[list][drum];
    setAudible();
    saveSoon();
  });
}
