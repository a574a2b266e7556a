// The models and the rendering of sound, in a worker that runs the page's own script.
import {noTick} from './ticks.js';
import {MODELS, serve} from './worker.js';

const TASKS = ['openModels', 'openKit', 'part', 'wav', 'stems', ...MODELS];

/** Does what Engine does, and more of `serve`, elsewhere. */
export class Remote {
  /** @param {Object} port Of `openPort`. */
  constructor(port) {
    Object.assign(this, {port, last: 0, calls: new Map()});
    port.onmessage = ({data}) => this._hear(data);
  }

  /** Returns what a task of `serve` returns; the last of `given` may have a `tick`. */
  call(task, ...given) {
    const id = ++this.last, {tick = noTick} = given.at(-1);
    if (tick !== noTick) {  // Functions can't be sent.
      given = [...given.slice(0, -1), {...given.at(-1), tick: null}];
    }
    return new Promise((done, failed) => {
      this.calls.set(id, {tick, done, failed});
      this.port.postMessage({id, task, given});
    });
  }

  _hear({id, share, result, error}) {
    const {tick, done, failed} = this.calls.get(id) ?? {};
    if (!done) return;  // It was cancelled.
    try {
      if (error) throw error;
      tick(share ?? 1);
      if (share !== undefined) return;
      done(result);
    } catch (reason) {
      failed(reason);
      if (share !== undefined) this.port.postMessage({id, isCancelled: true});
    }
    this.calls.delete(id);
  }
}

for (const task of TASKS) {
  Remote.prototype[task] = function(...given) { return this.call(task, ...given); };
}

/**
 * Returns {port: to `serve` in a worker, isWorker}. Where the browser refuses workers,
 * the port leads back to the page.
 * @param {string} script The page's.
 * @param {string} spec JSON of `spec`.
 */
export async function openPort(script, spec) {
  const url = URL.createObjectURL(new Blob(
    [`'use strict'; const SPEC = ${spec};\n`, script], {type: 'text/javascript'}));
  try {
    const worker = new Worker(url);
    await new Promise((done, failed) => {
      Object.assign(worker, {onmessage: done, onerror: failed});
    });
    return {port: worker, isWorker: true};
  } catch {
    const {port1, port2} = new MessageChannel();
    serve(port2);
    return {port: port1, isWorker: false};
  } finally {
    URL.revokeObjectURL(url);
  }
}
