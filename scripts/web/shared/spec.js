// What a page's script knows from Python: web_app.py and gallery.py write it as JSON.
export const spec = JSON.parse(document.getElementById('spec').textContent);
