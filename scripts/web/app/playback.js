// Plays the page's loops.
import {page, say, tell} from './state.js';

/** Does something that makes a sound; returns whether this browser can. */
export function attempt(action) {
  try {
    action();
    return true;
  } catch {
    say('This browser makes no sound.');
    return false;
  }
}

async function replay() {
  const {playing, player, settings} = page;
  if (playing) await player.play(playing.hits, playing.pattern.length, settings.tempo);
}

let isReplaying = false, isWanted = false;
/**
 * Plays the loop with its changes. Those within 20 ms, an instant, come together, and
 * those that come while it is rendered.
 */
export async function replaySoon() {
  isWanted = true;
  if (isReplaying) return;
  isReplaying = true;
  while (isWanted) {
    await new Promise(done => setTimeout(done, 20));
    isWanted = false;
    await replay();
  }
  isReplaying = false;
}

/** Plays a loop from the beginning or, if another plays, from that one's place. */
export function play(loop) {
  const before = page.playing;
  page.playing = attempt(() => page.player.wake()) ? loop : null;
  tell('playing', before);
  replay();
}

function stop() {
  const before = page.playing;
  page.playing = null;
  page.player.stop();
  tell('playing', before);
}

export function togglePlay(loop) {
  if (page.playing === loop) stop(); else play(loop);
}

/** Plays another loop, or none, because the one that plays left the page. */
export function playInstead(next) {
  if (next) play(next); else stop();
}
