// What the models do: new loops, completions, variations, and how all loops are played.
import {BAR} from './constants.js';
import {allowedClasses, hasKept, keptOf} from './constraints.js';
import {afterwards, allLoops, canMorph, isFull, kindOf, nameLoop, newLoop, nextSeed,
        numberAfter, page, remember, saveSoon, say, setLoops, setMorph, show,
        tell} from './state.js';
import {slidersOf} from './sliders.js';
import {Cancelled, tickOf, within} from './ticks.js';

const COUNT = 4;  // New loops at a time.
const MOST_LONG_BARS = 32;
const MAKING = 0.8;  // The share of making loops; the rest is how they are played.
const LONG = 300;  // Milliseconds after which a job is shown.

let queue = Promise.resolve();
/**
 * Does one job after another, because the models keep a state.
 * @param {string} doing The message during a job that takes long.
 * @param {function} job Gets {tick: as ticks.js says}; returns the message after it, or
 *   nothing.
 */
export function work(doing, job) {
  queue = queue.then(async () => {
    const own = {share: 0, isLong: false, isCancelled: false};
    const began = performance.now();
    let before = null;
    const timer = setTimeout(() => {
      before = page.said;
      own.isLong = true;
      say(doing);
      tell('job');
    }, LONG);
    page.job = own;
    tell('busy', true);
    try {
      const said = await job({tick: share => {
        if (own.isCancelled) throw new Cancelled();
        own.share = share;
        tell('job');
      }});
      if (said) say(`${said} (${Math.round(performance.now() - began)} ms)`);
      else if (page.said === doing) say(before);
    } catch (error) {
      if (error instanceof Cancelled) {
        say('Cancelled.');
      } else {
        say('This failed; another try may not.');
        console.error(error);
      }
    }
    clearTimeout(timer);
    page.job = null;
    tell('job');
    tell('busy', false);
  });
  return queue;
}

const making = ({tick}) => ({tick: within(tick, 0, MAKING)});
const playing = ({tick}) => ({tick: within(tick, MAKING, 1)});

/** Cancels the job that is being done. */
export function cancel() {
  if (page.job) page.job.isCancelled = true;
}

/** Returns a function that does a job, and once more if it is called meanwhile. */
function latest(doing, job) {
  let isRunning = false, isWanted = false;
  return async () => {
    isWanted = true;
    if (isRunning) return;
    isRunning = true;
    while (isWanted) {
      await work(doing, run => {
        isWanted = false;
        return job(run);
      });
    }
    isRunning = false;
  };
}

/** Humanizes loops where that isn't done yet. */
async function humanize(loops, {tick}) {
  if (page.engine.canHumanize) {
    const {take, drummer} = page.settings;
    const felt = loop => `${take} ${drummer} ${loop.pattern.join()}`;
    const stale = loops.filter(loop => loop.felt !== felt(loop));
    for (let i = 0; i < stale.length; i += COUNT) {
      const some = stale.slice(i, i + COUNT), are = some.map(felt);
      const feels = await page.engine.humanize(some.map(loop => loop.pattern), {
        take, drummer, tick: tickOf(tick, i / COUNT, Math.ceil(stale.length / COUNT))});
      some.forEach((loop, k) => {
        Object.assign(loop, {feel: feels[k], felt: are[k]});
        show(loop);
      });
    }
  }
  tick(1);
  loops.forEach(show);
  saveSoon();
}

/** Lets the page prepare loops one by one, so that it never stands still for long. */
async function announce(loops, {tick}) {
  for (const loop of loops) {
    tell('coming', loop);
    await new Promise(done => setTimeout(done));
    tick(1);
  }
}

const HUMANIZING = 'Playing the loops.';
export const humanizeAll = latest(HUMANIZING, run => humanize(allLoops(), run));
export const humanizeSoon = afterwards(250, humanizeAll);
/** Humanizes the loops of a link or an earlier state. */
export const humanizeRestored = () => work(
  HUMANIZING, run => humanize(page.loops, run));

/** Makes new loops of the settings, of the next seed if these are there already. */
export function makeLoops() {
  return work('Making new loops.', async run => {
    if (isFull()) return;
    const {settings, engine} = page;
    const isThere = page.loops.some(({origin, pattern}) => (
      origin && origin.seed === settings.seed && origin.style === settings.style &&
      pattern.length === settings.bars * BAR));
    const {style, temperature, bars} = settings;
    const seed = isThere ? numberAfter(settings.seed) : settings.seed;
    const patterns = await engine.sample({
      seed, count: COUNT, style, temperature, bars, sliders: slidersOf(settings),
      ...making(run)});
    const loops = patterns.map((pattern, index) => newLoop({
      pattern, seed: seed * 1000 + index, origin: {seed, index, style}}));
    await humanize(loops, playing(run));
    await announce(loops, run);
    if (page.loops.length) remember();
    settings.seed = seed;
    tell('settings');
    loops.forEach(loop => nameLoop(loop, style || 'loop'));
    setLoops([...loops, ...page.loops], loops[0]);
    return `${COUNT} new loops.`;
  });
}

/**
 * Samples the loops that nobody changed again, with the same noise. Longer loops stay,
 * because only their beginning would change gradually.
 */
export const resample = latest('Playing as the settings ask.', async run => {
  const {engine} = page;
  const canChange = loop => (
    loop.origin && !hasKept(loop) && loop.pattern.length === engine.steps);
  const groups = new Map();  // Loops of a seed and a style are sampled together.
  for (const loop of page.loops.filter(canChange)) {
    const key = JSON.stringify([loop.origin.seed, loop.origin.style]);
    groups.set(key, [...groups.get(key) ?? [], loop]);
  }
  for (const loops of groups.values()) {
    const {seed, style} = loops[0].origin;
    const indices = loops.map(({origin}) => origin.index), index = Math.min(...indices);
    const patterns = await engine.sample({
      seed, index, count: Math.max(...indices) - index + 1, style,
      bars: engine.steps / BAR, temperature: page.settings.temperature,
      sliders: slidersOf(page.settings), ...run});
    loops.filter(canChange).forEach(loop => {
      loop.pattern = patterns[loop.origin.index - index];
    });
    await humanize(loops, run);
  }
  if (page.a && page.b) await interpolate(run);
});

/** Replaces a loop's pattern by the one that a job returns. */
function rework(loop, doing, job) {
  return work(doing, async run => {
    const before = loop.pattern;
    const pattern = await job(before, making(run));
    const reworked = newLoop({...loop, pattern});
    await humanize([reworked], playing(run));
    if (loop.pattern !== before || !page.loops.includes(loop)) {
      return 'The loop was changed meanwhile, so it stays as it is.';
    }
    remember();
    const {feel, felt} = reworked;
    Object.assign(loop, {
      pattern, origin: null, feel, felt, ...keptOf(loop, pattern.length)});
    show(loop);
    saveSoon();
    updateMorph(loop);
    return `${loop.name} is ready.`;
  });
}

/** Completes a loop around what is kept of it. */
export function complete(loop) {
  if (!hasKept(loop)) {
    say('First choose what to keep: click on names of drums or numbers of bars.');
  } else if (allowedClasses(loop.pattern, loop).every(({length}) => length === 1)) {
    say('All of this loop is kept; there is nothing left to play.');
  } else {
    return rework(loop, 'Playing the rest.', (pattern, run) => page.engine.complete(
      pattern, keptOf(loop, pattern.length), {
        ...run,
        seed: loop.seed * 1000 + ++loop.tries,
        temperature: page.settings.temperature, style: ''}));
  }
}

/** Makes a loop's last bar a fill, around the drums that are kept. */
export function fill(loop) {
  const last = loop.pattern.length / BAR - 1;
  if (loop.keptBars[last] || loop.keptDrums.every(Boolean)) {
    say(`All of bar ${last + 1} is kept; there is no room for a fill.`);
    return;
  }
  return rework(loop, 'Filling the last bar.', (pattern, run) => page.engine.fill(
    pattern, keptOf(loop, pattern.length), {
      ...run, seed: loop.seed * 1000 + 700 + ++loop.tries,
      temperature: page.settings.temperature}));
}

/** Continues a loop by as many bars as the model's patterns have. */
export function extend(loop) {
  const bars = (loop.pattern.length + page.engine.steps) / BAR;
  if (bars > MOST_LONG_BARS) {
    say(`Loops have ${MOST_LONG_BARS} bars at most.`);
    return;
  }
  if (isFull()) return;
  return rework(loop, 'Going on.', (pattern, run) => page.engine.extend(pattern, bars, {
    ...run, seed: loop.seed * 1000 + 500 + ++loop.tries,
    temperature: page.settings.temperature, style: ''}));
}

/** Adds variations of a loop below it. */
export function vary(loop) {
  return work('Making more like this.', async run => {
    if (isFull()) return;
    const {change, temperature} = page.settings;
    const patterns = await page.engine.vary(loop.pattern, {
      seed: loop.seed * 1000 + ++loop.likes, amount: change, temperature,
      count: COUNT, ...making(run),
      // Samples have as much of it already.
      sliders: loop.origin ? [] : slidersOf(page.settings)});
    const loops = patterns.map((pattern, i) => newLoop({pattern, seed: nextSeed(i)}));
    await humanize(loops, playing(run));
    await announce(loops, run);
    remember();
    loops.forEach(one => nameLoop(one, kindOf(loop)));
    const at = page.loops.indexOf(loop) + 1;
    setLoops([...page.loops.slice(0, at), ...loops, ...page.loops.slice(at)]);
    return `${loops.length} loops like ${loop.name} are below it.`;
  });
}

/** Makes the loop between A and B. */
async function interpolate(run) {
  const {a, b, share} = page;
  if (!a || !b) return;
  const pattern = await page.engine.interpolate(a.pattern, b.pattern, share, {
    seed: a.seed, temperature: page.settings.temperature, ...run});
  const name = `${a.name}-${Math.round(100 * share)}-${b.name}`;
  if (page.morph) Object.assign(page.morph, {pattern, name, seed: a.seed});
  else setMorph(newLoop({pattern, name, seed: a.seed}));
  await humanize([page.morph], run);
}

const morph = latest('Playing what is between A and B.', interpolate);

/** Makes the loop between A and B again if a loop that changed is one of them. */
export function updateMorph(loop) {
  if (loop === page.a || loop === page.b) morph();
}

/** Makes the loop between A and B, or removes it. */
export function showMorph() {
  if (canMorph()) morph();
  else if (page.morph) setMorph(null);
}
