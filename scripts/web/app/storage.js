// What the browser keeps for the page: a text, by the page's address, in IndexedDB.

const DATABASE = 'drum-loops', KEPT = 'texts';
const PATIENCE = 500;  // Milliseconds in which a page that was closed lets go of it.

/** Returns what an IDBRequest finds. */
const found = request => new Promise((done, failed) => {
  Object.assign(request, {
    onsuccess: () => done(request.result), onerror: () => failed(request.error)});
});

/** Whether no other tab has this page, as two would overwrite each other's text. */
function isAlone(key) {
  if (!navigator.locks) return true;
  const signal = AbortSignal.timeout(PATIENCE);
  return new Promise(done => {
    navigator.locks.request(`${DATABASE} ${key}`, {signal}, () => {
      done(true);
      return new Promise(() => {});  // Until the tab is closed.
    }).catch(() => done(false));
  });
}

/**
 * Returns {text: what is kept or undefined, write: keeps another, or null where the
 * browser keeps nothing or another tab has the page}.
 */
export async function openStorage() {
  const key = location.pathname;
  try {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(KEPT);
    const database = await found(request);
    const texts = mode => database.transaction(KEPT, mode).objectStore(KEPT);
    const write = async text => {
      const store = texts('readwrite'), request = store.put(text, key);
      store.transaction.commit?.();  // So that it is kept where the page ends now.
      return found(request);
    };
    const isOurs = await isAlone(key);
    return {
      text: await found(texts('readonly').get(key)), write: isOurs ? write : null};
  } catch {
    return {text: undefined, write: null};
  }
}
