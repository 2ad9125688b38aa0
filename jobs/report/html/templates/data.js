// The page's data: what stands in the page itself, and parts that are loaded when they are needed.
// A part of a page that stands alone is in the page; in a site it is a script file that calls
// `gfjobsData(KEY, VALUE)`, since a page opened from a folder may load scripts but nothing else.
"use strict";

window.pageData = (() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const promises = new Map();
  const waiting = new Map();

  window.gfjobsData = (key, value) => waiting.get(key)?.(value);

  function fetchScript(key, path) {
    return new Promise((resolve, reject) => {
      const script = document.createElement("script");
      waiting.set(key, resolve);
      script.src = path;
      script.addEventListener("error", () => reject(new Error(`${path} cannot be loaded`)));
      document.head.append(script);
    });
  }

  return {
    data,
    // A promise of a part: a value of `data.parts`, or of the script file that `data.files` names.
    load(key) {
      if (data.parts && key in data.parts) return Promise.resolve(data.parts[key]);
      if (!promises.has(key)) promises.set(key, fetchScript(key, data.files[key]));
      return promises.get(key);
    },
  };
})();
