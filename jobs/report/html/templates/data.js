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

  // A number with so many decimals, as Python and SQL write it: of two that are as near, the even one.
  function fixed(number, digits) {
    if (number === undefined || number === null || Number.isNaN(number)) return "–";
    const exact = number.toFixed(60); // more decimals than a number of any size here has
    const point = exact.indexOf(".") + 1 + digits;
    const isHalfway = /^50*$/.test(exact.slice(point));
    const isEven = isHalfway && Number(exact[digits ? point - 1 : point - 2]) % 2 === 0;
    return isEven ? exact.slice(0, digits ? point : point - 1) : number.toFixed(digits);
  }

  // A change with its sign.
  function signed(number, digits) {
    const text = fixed(number === null ? null : Math.abs(number), digits);
    return number === null ? text : `${number < 0 ? "−" : "+"}${text}`;
  }

  // An element with its properties and children.
  function make(tag, properties = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  }

  return {
    data,
    fixed,
    signed,
    make,
    // A cell of a table, with a text.
    cell: (text, isText = false) => make("td", { textContent: text, className: isText ? "text" : "" }),
    // The bytes of a base64 text.
    bytes: (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0)),
    // A promise of a part: of the page's data, of its `parts`, or of the script file that `files` names.
    load(key) {
      for (const held of [data, data.parts ?? {}]) if (key in held) return Promise.resolve(held[key]);
      if (!promises.has(key)) promises.set(key, fetchScript(key, data.files[key]));
      return promises.get(key);
    },
  };
})();
