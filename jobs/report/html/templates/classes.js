// Accuracy by class, and what is taken for what, at the thresholds of the explorer: the figures of
// SQL's class_accuracy() and confusion(). A number of the matrix shows its images.
"use strict";

(() => {
  const root = document.getElementById("classes");
  if (!root || !pageData.data.passes.length) return;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const { make, bytes, fixed } = pageData;
  const MOST_PAIRS = 30; // listed instead of a matrix
  const MOST_IMAGES = 24; // of a pair
  const LEVELS = [1, 5, 20, 50]; // upper ends of the colour scale, percent of a row
  const unpackedOf = new WeakMap();
  let now = null;

  function unpack(pass) {
    if (!unpackedOf.has(pass)) {
      const codes = pass.classes.bytes === 1 ? Uint8Array : Uint16Array;
      const ids = pass.classes.image_ids;
      unpackedOf.set(pass, {
        ...pass.classes,
        labels: new codes(bytes(pass.classes.labels).buffer),
        predictions: new codes(bytes(pass.classes.predictions).buffer),
        idOf: ids ? ((all) => (image) => all[image])(new Int32Array(bytes(ids).buffer)) : (image) => image,
      });
    }
    return unpackedOf.get(pass);
  }

  // Images by class and prediction, and the blocks that they ran.
  function count({ pass, taken }) {
    const own = unpack(pass);
    const size = own.classes.length;
    const found = { own, pass, size, pairs: new Map(), images: new Array(size).fill(0) };
    found.blocks = new Array(size).fill(0);
    found.taken = taken;
    for (let image = 0; image < pass.images; image++) {
      const label = own.labels[image];
      const key = label * size + own.predictions[taken[image] * pass.images + image];
      found.pairs.set(key, (found.pairs.get(key) ?? 0) + 1);
      found.images[label]++;
      found.blocks[label] += pass.exit_blocks[taken[image]] + 1;
    }
    return found;
  }

  const nameOf = (code) => now.own.classes[code].name;
  const pairOf = (key) => [Math.floor(key / now.size), key % now.size];
  const level = (share) => LEVELS.filter((end) => share > end).length;
  const plural = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

  // As `gfjobs summary --classes` lists them: those of the lowest accuracy first.
  function showClasses() {
    const rows = now.own.classes
      .map((each, code) => ({ ...each, code, images: now.images[code], right: now.pairs.get(code * now.size + code) ?? 0 }))
      .filter((each) => each.images)
      .map((each) => ({ ...each, acc1: (100 * each.right) / each.images, mistaken: null, times: 0 }))
      .sort((a, b) => a.acc1 - b.acc1 || a.label - b.label);
    const byCode = new Map(rows.map((each) => [each.code, each]));
    for (const [key, images] of now.pairs) {
      const [label, prediction] = pairOf(key);
      const row = byCode.get(label);
      const isMore = images > row.times || (images === row.times && prediction < row.mistaken);
      if (label !== prediction && isMore) Object.assign(row, { mistaken: prediction, times: images });
    }
    const shown = rows.slice(0, now.own.listed_classes);
    part("classes").replaceChildren(
      ...shown.map((row) =>
        make(
          "tr",
          {},
          make("th", { scope: "row", textContent: row.name }),
          make("td", { textContent: String(row.images) }),
          make("td", { textContent: fixed(row.acc1, 2) }),
          make("td", { textContent: fixed(now.blocks[row.code] / row.images, 2) }),
          make("td", { className: "text value", textContent: row.mistaken === null ? "–" : nameOf(row.mistaken) }),
          make("td", { textContent: row.mistaken === null ? "–" : String(row.times) }),
        ),
      ),
    );
    part("classes-shown").textContent =
      "blocks: mean until an image of the class exits" +
      (shown.length < rows.length
        ? `; ${shown.length} of ${rows.length} classes are shown, those of the lowest accuracy`
        : "");
    sortableTables.refresh(part("classes").closest("table"));
  }

  function button(key, text) {
    const [label, prediction] = pairOf(key);
    const images = now.pairs.get(key);
    const said = label === prediction ? "predicted rightly" : `predicted as ${nameOf(prediction)}`;
    const made = make("button", { type: "button", className: "pair-button", textContent: text });
    made.setAttribute("aria-label", `${plural(images, "image")} of ${nameOf(label)} ${said}`);
    made.dataset.pair = String(key);
    return made;
  }

  function showMatrix() {
    const heads = now.own.classes.map((each) =>
      make("th", { scope: "col" }, make("span", { textContent: each.name })),
    );
    const head = make("tr", {}, make("td", { textContent: "class \\ prediction" }), ...heads);
    const rows = now.own.classes.map((each, label) => {
      const cells = now.own.classes.map((_, prediction) => {
        const key = label * now.size + prediction;
        const images = now.pairs.get(key) ?? 0;
        const cell = make("td", {}, images ? button(key, String(images)) : "0");
        cell.dataset.level = images ? String(level((100 * images) / now.images[label])) : "none";
        if (label === prediction) cell.className = "diagonal";
        return cell;
      });
      return make("tr", {}, make("th", { scope: "row", textContent: each.name }), ...cells);
    });
    part("matrix").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
    part("confusion-hint").textContent =
      "A row has the images of a class, a column those predicted as one. Press a number to see its images; arrow keys move between the numbers.";
  }

  // Of many classes, a list.
  function showPairs() {
    const wrong = [...now.pairs].filter(([key]) => key % (now.size + 1) !== 0);
    wrong.sort(([a, m], [b, n]) => n - m || a - b);
    const shown = wrong.slice(0, MOST_PAIRS);
    const names = ["class", "predicted as", "images", "% of the class"];
    const head = make("tr", {}, ...names.map((name) => make("th", { scope: "col", textContent: name })));
    const rows = shown.map(([key, images]) => {
      const [label, prediction] = pairOf(key);
      return make(
        "tr",
        {},
        make("th", { scope: "row", textContent: nameOf(label) }),
        make("td", { className: "text value", textContent: nameOf(prediction) }),
        make("td", {}, button(key, String(images))),
        make("td", { textContent: fixed((100 * images) / now.images[label], 1) }),
      );
    });
    part("matrix").replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
    part("confusion-hint").textContent =
      `The ${plural(shown.length, "most confused pair")} of ${wrong.length.toLocaleString("en")}: a matrix of` +
      ` ${now.size} classes would be hard to read. Press a number to see its images.`;
  }

  function showLegend(isMatrix) {
    const ends = [0, ...LEVELS, 100];
    part("legend").hidden = !isMatrix;
    part("legend").replaceChildren(
      make("li", { textContent: "share of the row:" }),
      ...ends.slice(1).map((end, place) => {
        const swatch = make("span", { className: "swatch" });
        swatch.dataset.level = String(place);
        return make("li", {}, swatch, ` ${place ? ends[place] : "over 0"}–${end} %`);
      }),
      make("li", {}, make("span", { className: "swatch diagonal" }), " predicted rightly"),
    );
    part("legend").lastChild.firstChild.dataset.level = "3";
  }

  // The images of a pair: those with a picture first.
  async function showPair(key) {
    const [label, prediction] = pairOf(key);
    const { pass, own, taken, size } = now;
    const ids = [];
    for (let image = 0; image < pass.images; image++) {
      const is = own.labels[image] * size + own.predictions[taken[image] * pass.images + image];
      if (is === key) ids.push({ id: own.idOf(image), exit: pass.exit_blocks[taken[image]] });
    }
    const urls = await pageData.load(pass.pictures);
    ids.sort((a, b) => (b.id in urls) - (a.id in urls) || a.id - b.id);
    const shown = ids.slice(0, MOST_IMAGES);
    const pictured = shown.filter(({ id }) => id in urls).length;
    const said = label === prediction ? "predicted rightly" : `predicted as ${nameOf(prediction)}`;
    const limit = [`${shown.length} of ${plural(ids.length, "image")} shown`, `${pictured} with a picture`];
    part("pair").replaceChildren(
      make("h4", { textContent: `${nameOf(label)}, ${said}` }),
      make("p", { className: "hint", textContent: `${limit.join(", ")}${ids.length ? "" : " at these thresholds"}` }),
      make(
        "ul",
        { className: "pictures" },
        ...shown.map(({ id, exit }) => {
          const item = make("li");
          if (id in urls) item.append(make("img", { src: urls[id], alt: `image ${id}`, width: 64, height: 64 }));
          item.append(make("small", { textContent: `#${id}` }), make("small", { textContent: `after block ${exit}` }));
          return item;
        }),
      ),
    );
  }

  // The chosen pair stands in the address by its labels.
  function chosenPair() {
    const [label, prediction] = (permalink.get("pair") ?? "").split(",").map((text) => {
      return now.own.classes.findIndex((each) => String(each.label) === text);
    });
    return label >= 0 && prediction >= 0 ? label * now.size + prediction : null;
  }

  function choosePair(key) {
    const [label, prediction] = pairOf(key).map((code) => now.own.classes[code].label);
    permalink.set("pair", `${label},${prediction}`);
    mark(key);
    return showPair(key);
  }

  function mark(key) {
    const buttons = [...part("matrix").querySelectorAll(".pair-button")];
    const isThere = buttons.some((each) => each.dataset.pair === String(key));
    buttons.forEach((each, place) => {
      const isChosen = each.dataset.pair === String(key);
      each.setAttribute("aria-pressed", String(isChosen));
      each.tabIndex = isChosen || (!isThere && place === 0) ? 0 : -1; // arrow keys reach the others
    });
  }

  // To the next number in the direction of an arrow key.
  function move(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const cell = event.target.closest("td");
    if (!cell || !(event.key in steps)) return;
    event.preventDefault();
    const [down, right] = steps[event.key];
    const rows = part("matrix").rows;
    let [row, column] = [cell.parentElement.rowIndex + down, cell.cellIndex + right];
    for (; rows[row]?.cells[column]; row += down, column += right) {
      const next = rows[row].cells[column].querySelector("button");
      if (!next) continue;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
      return;
    }
  }

  document.addEventListener("routed", ({ detail }) => {
    const { pass, thresholds } = detail;
    part("live").hidden = !pass.classes;
    part("without").hidden = Boolean(pass.classes);
    if (!pass.classes) return;
    now = count(detail);
    part("at").textContent =
      `${pass.name}, at threshold ${thresholds.join(", ")}${thresholds.length === 1 ? " for all gates" : ""}:` +
      " the thresholds chosen above.";
    showClasses();
    const isMatrix = now.size <= now.own.matrix_classes;
    part("matrix").className = isMatrix ? "matrix" : "";
    (isMatrix ? showMatrix : showPairs)();
    showLegend(isMatrix);
    const key = chosenPair();
    mark(key);
    if (key === null) part("pair").replaceChildren();
    else showPair(key);
  });
  part("matrix").addEventListener("click", ({ target }) => {
    const pressed = target.closest(".pair-button");
    if (pressed) choosePair(Number(pressed.dataset.pair));
  });
  part("matrix").addEventListener("keydown", move);
})();
