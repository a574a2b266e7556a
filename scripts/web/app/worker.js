// The other half of the page, in a worker: the models, and sound that isn't heard yet.
import {fromBase64} from '../shared/base64.js';
import {stemsFile, wavFile} from './audio_files.js';
import {Kit, renderPart} from './drum_kit.js';
import {Engine} from './engine.js';
import {Cancelled} from './ticks.js';

const SLICE = 30;  // Milliseconds of work between two looks at what the page wants.
export const MODELS = [
  'sample', 'vary', 'interpolate', 'complete', 'fill', 'extend', 'humanize'];

/**
 * Does what Remote of remote.js asks for.
 * @param {Object} port Of messages: a worker's scope or a MessagePort.
 */
export function serve(port) {
  const cancelled = new Set();
  let engine, kit, rested = 0;
  const tasks = {
    async openModels(weights) {
      engine = await Engine.open(fromBase64(weights).buffer);
      const {sampler, humanizer, ...facts} = engine;
      return facts;
    },
    openKit({waves, ...index}) { kit = new Kit(index, waves); },
    part: ({drum, part, length}) => Float32Array.from(
      renderPart(kit, drum, part, length)),
    wav: (loop, {tick}) => wavFile(kit, loop, tick),
    stems: (loop, {tick}) => stemsFile(kit, loop, tick),
    ...Object.fromEntries(MODELS.map(
      name => [name, (...given) => engine[name](...given)]))};

  async function tick(id, share) {
    if (performance.now() - rested < SLICE) return;
    port.postMessage({id, share});
    await new Promise(done => setTimeout(done));
    rested = performance.now();
    if (cancelled.delete(id)) throw new Cancelled();
  }

  port.onmessage = async ({data: {id, task, given, isCancelled}}) => {
    if (isCancelled) {
      cancelled.add(id);
      return;
    }
    try {
      const how = given.at(-1);
      if (how.tick === null) how.tick = share => tick(id, share);
      const result = await tasks[task](...given);
      const isBuffer = ArrayBuffer.isView(result);
      port.postMessage({id, result}, isBuffer ? [result.buffer] : []);
    } catch (error) {
      if (!(error instanceof Cancelled)) port.postMessage({id, error});
    }
    cancelled.delete(id);
  };
  port.postMessage({});  // It is there.
}
