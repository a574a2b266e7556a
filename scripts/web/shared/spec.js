// What a page's script knows from Python: web_app.py and gallery.py write it as JSON.
// In a worker there is no document; the text before its script is `const SPEC =`.
export const spec = globalThis.document ?
  JSON.parse(document.getElementById('spec').textContent) : SPEC;
