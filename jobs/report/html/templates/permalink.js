// The state of a page in its address: `#name=value&name=value`, next to a plain `#section`, which
// stays the browser's. A copied address shows the same.
"use strict";

window.permalink = (() => {
  const QUIET_MS = 150; // a slider moves faster than a browser lets an address change
  const listeners = [];
  let state = new Map();
  let section = "";
  let timer = 0;

  // A part with "=" is state; the one without is the section.
  function read() {
    const found = { state: new Map(), section: "" };
    for (const each of location.hash.slice(1).split("&").filter(Boolean)) {
      const [name, ...rest] = each.split("=");
      try {
        if (rest.length) found.state.set(decodeURIComponent(name), decodeURIComponent(rest.join("=")));
        else found.section = decodeURIComponent(name);
      } catch {
        // Not percent-encoded as a URL is: not ours.
      }
    }
    return found;
  }

  function write() {
    clearTimeout(timer);
    const parts = section ? [encodeURIComponent(section)] : [];
    for (const [name, value] of state) parts.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
    const hash = parts.length ? `#${parts.join("&")}` : "";
    if (hash !== location.hash) history.replaceState(null, "", hash || location.href.split("#")[0]);
  }

  function scroll() {
    if (section) document.getElementById(section)?.scrollIntoView();
  }

  ({ state, section } = read());

  window.addEventListener("hashchange", () => {
    const found = read();
    const isAnchor = found.section && !found.state.size;
    section = found.section;
    if (isAnchor && state.size) {
      write(); // a link within the page: what is chosen stays chosen
      return;
    }
    state = found.state;
    for (const listener of listeners) listener();
    scroll();
  });
  // The browser finds a section by the whole fragment only.
  window.addEventListener("load", () => state.size && scroll());

  return {
    // The value of a name, or null.
    get: (name) => state.get(name) ?? null,
    // Sets a value, or removes it: null or "".
    set(name, value) {
      if (value === null || value === "") state.delete(name);
      else state.set(name, String(value));
      clearTimeout(timer);
      timer = setTimeout(write, QUIET_MS);
    },
    // Calls a function whenever the address has come to say something else.
    onChange: (listener) => listeners.push(listener),
  };
})();
