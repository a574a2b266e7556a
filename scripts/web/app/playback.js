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

function replay() {
  const {playing, player, settings} = page;
  if (playing) player.play(playing.hits, playing.pattern.length, settings.tempo);
}

let replaying = null;
/** Plays the loop with its changes. Those within 20 ms, an instant, come together. */
export function replaySoon() {
  replaying ??= setTimeout(() => {
    replaying = null;
    replay();
  }, 20);
}

/** Plays a loop from the beginning or, if another plays, from that one's place. */
export function play(loop) {
  const before = page.playing;
  page.playing = loop;
  if (attempt(replay)) tell('playing', before);
  else page.playing = null;
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
