// The page of written loops: plays them, and shows where.
import {fromBase64} from '../shared/base64.js';
import {spec} from '../shared/spec.js';

const loops = [...document.querySelectorAll('.loop')];
/**
 * Fills in a loop, whose content is a comment, but for its text, until it is near. So
 * the page opens in half the time, with less memory.
 */
function fill(loop) {
  if (loop.classList.replace('far', 'near')) {
    const comment = loop.lastChild;
    loop.insertAdjacentHTML('beforeend', comment.data);
    comment.remove();
  }
  return loop;
}

const observer = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (isIntersecting) { observer.unobserve(target); fill(target); }
  }
}, {rootMargin: '200%'});
document.querySelectorAll('.far').forEach(loop => observer.observe(loop));
let context = null;  // Made at the first key or click, as browsers demand.
let current = 0;  // The loop that the keys are about.
let playing = null;  // {i, start(), stop(), position()}

/** Returns a player that repeats a sound of the page to the sample. */
async function seamless(flac) {
  const buffer = await context.decodeAudioData(fromBase64(flac.textContent).buffer);
  const source = new AudioBufferSourceNode(context, {buffer, loop: true});
  source.connect(context.destination);
  return {
    start: () => { source.began = context.currentTime; source.start(); },
    stop: () => source.stop(),
    position: () => (context.currentTime - source.began) / buffer.duration % 1};
}

/** Returns a player of a file, which is silent for a moment at each repetition. */
async function fromFile(url) {
  const audio = new Audio(url);
  audio.loop = true;
  await new Promise((done, fail) => {
    audio.oncanplay = done;
    audio.onerror = () => fail(new Error(`${url} can't be played`));
  });
  return {start: () => audio.play().catch(() => {}),  // Stopped at once.
          stop: () => audio.pause(),
          position: () => audio.currentTime / audio.duration};
}

let wanted = null;  // The loop that plays, or will when its sound is ready.
async function play(i) {
  stop();
  if (!loops[i].dataset.wav) return;
  wanted = current = i;
  fill(loops[i]);
  show(i, true);
  context ??= new AudioContext({sampleRate: spec.rate});
  context.resume();
  const flac = loops[i].querySelector('.flac');
  try {
    const player = await (flac ? seamless(flac) : fromFile(loops[i].dataset.wav));
    if (wanted !== i || playing) return;  // Changed in the meantime.
    playing = {i, ...player};
    playing.start();
    requestAnimationFrame(draw);
  } catch (error) {
    if (wanted !== i) return;
    stop();
    loops[i].querySelector('button').textContent = 'No sound';
  }
}

function stop() {
  if (playing) playing.stop();
  if (wanted !== null) show(wanted, false);
  wanted = playing = null;
}

function show(i, isPlaying) {
  loops[i].classList.toggle('playing', isPlaying);
  loops[i].querySelector('button').textContent = isPlaying ? 'Stop' : 'Play';
}

function toggle(i) {
  if (wanted === i) stop(); else play(i);
}

/** Puts the line that shows where a loop plays at a share of it. */
function place(i, position) {
  const head = loops[i].querySelector('.head');
  if (!head) return;  // There is no picture.
  const steps = Number(loops[i].dataset.steps);
  // The picture begins half a step before the first step.
  const share = (steps * position + 0.5) / (steps + 0.5);
  const {left, right} = spec.grid;
  head.style.left = 100 * (left + (right - left) * share) + '%';
}

function draw() {
  if (!playing) return;
  place(playing.i, playing.position());
  requestAnimationFrame(draw);
}

/** Goes to another loop, and plays it if one plays. */
function move(by) {
  const next = Math.min(loops.length - 1, Math.max(0, current + by));
  if (next === current) return;
  const wasPlaying = wanted !== null;
  current = next;
  fill(loops[next]).focus();
  loops[next].scrollIntoView({block: 'nearest'});
  if (wasPlaying) play(next);
}

const loopOf = event => loops.indexOf(event.target.closest('.loop'));
document.addEventListener('focusin', event => {
  if (loopOf(event) >= 0) current = loopOf(event);
});
document.addEventListener('click', event => {
  if (event.target.closest('button')) toggle(loopOf(event));
});
document.addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey ||
      event.repeat && event.key === ' ') return;
  const action = {' ': () => toggle(current), ArrowDown: () => move(1),
                  ArrowUp: () => move(-1)}[event.key];
  // A button has its own use for the space bar.
  if (!action || event.key === ' ' && event.target.closest('button')) return;
  event.preventDefault();
  action();
});
