// Plays loops by Web Audio. Each drum is a buffer as long as the loop. The browser
// repeats it to the sample, so the page's computations do not disturb the sound.
import {DRUMS, RATE} from './constants.js';
import {loopLength, partOf, renderStroke} from './drum_kit.js';

const LEAD = 0.05;  // Seconds from a request until it is heard.
const FADE = 0.01;
const LINEAR = 0.8, WIDEST = 4;  // Of levels: what stays, what the limiter takes.
export const HEADROOM = 0.8;  // For usual loops; all drums on all steps reach 2.7.
/** A WaveShaperNode's curve that leaves what is below LINEAR; nothing passes 1. */
export const LIMITER = Float32Array.from({length: 4097}, (_, i) => {
  const x = WIDEST * (i / 2048 - 1), size = Math.abs(x), room = 1 - LINEAR;
  return Math.sign(x) * (size <= LINEAR ? size :
    LINEAR + room * Math.tanh((size - LINEAR) / room));
});

function bufferOf(wave) {
  const buffer = new AudioBuffer({length: wave.length, sampleRate: RATE});
  buffer.copyToChannel(wave, 0);
  return buffer;
}

export class Player {
  /**
   * @param {Kit} kit
   * @param {function} render Returns a promise of a drum's wave: see `part` of
   *   worker.js.
   */
  constructor(kit, render) {
    Object.assign(this, {
      kit, render, context: null, isPlaying: false, length: 0, steps: 0, asked: 0});
    this.voices = Array.from({length: DRUMS}, () => null);
    this.audible = Array.from({length: DRUMS}, () => true);
  }

  /** Makes sound possible: browsers allow that at a key or a click. */
  wake() {
    if (!this.context) {
      this.context = new AudioContext({sampleRate: RATE});
      const out = new GainNode(this.context, {gain: HEADROOM / WIDEST});
      out.connect(new WaveShaperNode(this.context, {curve: LIMITER})).connect(
        this.context.destination);
      this.channels = this.kit.pans.map((pan, drum) => {
        const gain = new GainNode(this.context, {gain: Number(this.audible[drum])});
        gain.connect(new StereoPannerNode(this.context, {pan})).connect(out);
        return gain;
      });
    }
    this.context.resume().catch(() => {});
  }

  /** @param {boolean[]} audible Whether each drum is heard. */
  setAudible(audible) {
    this.audible = audible;
    const now = this.context?.currentTime;
    this.channels?.forEach(({gain}, drum) => gain.setTargetAtTime(
      Number(audible[drum]), now, FADE / 2));
  }

  /** Plays one hit at once. */
  hit(drum, velocity) {
    this.wake();
    const source = new AudioBufferSourceNode(
      this.context, {buffer: bufferOf(
        Float32Array.from(renderStroke(this.kit, drum, velocity)))});
    source.connect(this.channels[drum]);
    source.start();
  }

  /** The sample, in the context's time, at which a request of now is heard. */
  soon() {
    return Math.ceil((this.context.currentTime + LEAD) * RATE);
  }

  /**
   * Plays hits, after `wake`: from the beginning or, if a loop plays, from its present
   * place. All
   * drums change at one time: the clock is read after rendering, in a task of its own,
   * because Firefox's clock stands still during a task.
   * @param {Object[]} hits Of `hitsOf`.
   */
  async play(hits, steps, tempo) {
    const length = loopLength(steps, tempo), asked = ++this.asked;
    const isOther = length !== this.length || steps !== this.steps;
    const voices = await Promise.all(this.voices.map(async (before, drum) => {
      const part = partOf(drum, hits, tempo, length), key = JSON.stringify(part);
      if (before?.key === key && !isOther) return before;
      return part.length ?
        this.voice(drum, key, await this.render({drum, part, length})) : null;
    }));
    await new Promise(done => setTimeout(done));
    if (asked === this.asked) this.change(voices, steps, length);
  }

  /** Replaces the voices that are heard. */
  change(voices, steps, length) {
    const now = this.soon();
    if (!this.isPlaying) {
      this.origin = now;
    } else if (length !== this.length || steps !== this.steps) {
      const step = (now - this.origin) % this.length / this.length * this.steps;
      this.origin = now - Math.round(step % steps / steps * length);
    }
    Object.assign(this, {length, steps, isPlaying: true});
    const others = (some, than) => some.filter(one => one && !than.includes(one));
    others(voices, this.voices).forEach(voice => this.begin(voice, now));
    others(this.voices, voices).forEach(voice => this.end(voice, now));
    this.voices = voices;
  }

  voice(drum, key, wave) {
    const {context} = this;
    const source = new AudioBufferSourceNode(
      context, {buffer: bufferOf(wave), loop: true});
    const fader = new GainNode(context);
    source.connect(fader).connect(this.channels[drum]);
    return {key, source, fader};
  }

  begin({source, fader}, now) {
    const at = now / RATE;
    if (now > this.origin) {
      fader.gain.setValueAtTime(0, at);
      fader.gain.linearRampToValueAtTime(1, at + FADE);
    }
    source.start(at, (now - this.origin) % this.length / RATE);
  }

  end({source, fader}, now) {
    const at = now / RATE;
    fader.gain.setValueAtTime(1, at);
    fader.gain.linearRampToValueAtTime(0, at + FADE);
    source.stop(at + FADE);
  }

  stop() {
    this.asked++;  // So that no request that waits is heard.
    if (!this.isPlaying) return;
    const now = this.soon();
    this.voices.forEach(voice => voice && this.end(voice, now));
    this.voices.fill(null);
    Object.assign(this, {isPlaying: false, length: 0});
  }

  /** Returns where the loop plays, as a share of it. */
  position() {
    if (!this.isPlaying) return 0;
    const {currentTime, outputLatency = 0} = this.context;
    const samples = (currentTime - outputLatency) * RATE - this.origin;
    return Math.max(0, samples) % this.length / this.length;
  }
}
