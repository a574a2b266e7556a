/** Returns the page's element of an id. */
export const byId = id => document.getElementById(id);
