// Drums, grid, sound and limits, as Python has them: see `constants` of web_app.py.
import {spec} from '../shared/spec.js';

export const DRUM_NAMES = spec.drums.names, DRUMS = DRUM_NAMES.length;
export const CLASSES = 1 << DRUMS;  // Of a step: each drum is hit or not.
export const PITCHES = spec.drums.pitches;  // Of the drums, as they are written.
export const DRUM_OF_PITCH = spec.drums.ofPitch;  // Null for a pitch of no drum.
export const [BAR, BEAT] = [spec.grid.bar, spec.grid.beat];  // Steps.
export const PART = spec.grid.part;  // Bars, of a longer loop, that a marker names.
export const TICKS = spec.midi.ticks / BEAT;  // Of a step, in MIDI files.
export const SOUND = spec.sound;  // How the drum kit is played.
export const RATE = SOUND.rate;  // Samples a second.
export const TEMPOS = spec.limits.tempos;  // The least and the most, beats a minute.
export const MOST_BARS = spec.limits.bars;
export const MOST_SEED = spec.limits.seed;  // A take's number, too.
export const MOST_FEEL = spec.limits.feel;
export const STEERING = spec.sliders;  // How they move latents, and what they measure.
export const MOST_OFFSET = spec.limits.offset;  // Steps; a hit stays in its own.
