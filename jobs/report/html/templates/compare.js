// The page that puts the ladders of two runs side by side. Differences here are plain: intervals and
// tests are on the page of the comparison, which gfjobs makes.
"use strict";

(() => {
  const root = document.getElementById("compare");
  if (!root) return;
  const { runs, compared } = pageData.data;
  const { fixed, signed, make, cell } = pageData;
  const known = runs.map((run) => run.run_id);
  const made = new Set(compared.map((pair) => pair.join("--")));
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const choices = { a: root.querySelector("#run-a"), b: root.querySelector("#run-b") };
  const table = root.querySelector("table");
  // A site that is served makes the page of any comparison when it is asked for.
  const isServed = document.querySelector('script[src$="assets/live.js"]') !== null;
  const WHOLE = "With intervals, McNemar's test and the images that changed";
  let shown = 0;

  const both = (a, b) => a !== null && b !== null;

  function pairs(a, b) {
    const others = new Map(b.map((row) => [JSON.stringify(row.key), row]));
    return a
      .map((row) => [row, others.get(JSON.stringify(row.key))])
      .filter(([, other]) => other);
  }

  function line([a, b]) {
    const percent = (name) => (both(a[name], b[name]) && a[name] ? 100 * (b[name] / a[name] - 1) : null);
    const time = (side) => (side.is_valid ? fixed(side.forward_ms, 3) : "INVALID");
    const areValid = a.is_valid && b.is_valid;
    return make(
      "tr",
      {},
      make("th", { scope: "row", textContent: a.model }),
      cell(a.threshold),
      cell(fixed(a.acc1, 2)),
      cell(fixed(b.acc1, 2)),
      cell(signed(both(a.acc1, b.acc1) ? b.acc1 - a.acc1 : null, 2)),
      cell(time(a)),
      cell(time(b)),
      cell(signed(areValid ? percent("forward_ms") : null, 1)),
      cell(fixed(a.energy_mj, 3)),
      cell(fixed(b.energy_mj, 3)),
      cell(signed(areValid ? percent("energy_mj") : null, 1)),
      cell(fixed(a.mean_blocks, 2)),
      cell(fixed(b.mean_blocks, 2)),
      cell(b.setting === a.setting ? a.setting : `${a.setting}; B: ${b.setting}`, true),
    );
  }

  // Links to the page of this comparison, or names the command that makes it.
  function sayWhole(a, b) {
    const place = part("whole");
    const name = `${a}--${b}`;
    if (made.has(name) || isServed) {
      const href = `comparisons/${encodeURIComponent(name)}.html`;
      place.replaceChildren(make("a", { href, textContent: WHOLE }));
    } else {
      const command = `gfjobs compare ${a} ${b} --html comparison.html`;
      place.replaceChildren(`${WHOLE}: `, make("code", { textContent: command }));
    }
  }

  const chosen = (side, fallback) => {
    const asked = permalink.get(side);
    return known.includes(asked) ? asked : fallback;
  };

  async function show() {
    const turn = ++shown;
    const [a, b] = [chosen("a", known[1]), chosen("b", known[0])];
    choices.a.value = a;
    choices.b.value = b;
    sayWhole(a, b);
    let ladders;
    try {
      ladders = await Promise.all([a, b].map((run) => pageData.load(`ladder/${run}`)));
    } catch (error) {
      part("status").textContent = `${error.message}: make the site again`;
      return;
    }
    if (turn !== shown) return;
    const found = pairs(...ladders);
    table.tBodies[0].replaceChildren(...found.map(line));
    sortableTables.refresh(table);
    sortableTables.hideEmpty(table);
    const alone = ladders.map((rows) => rows.length - found.length);
    part("status").textContent =
      `${found.length} rows are in both; ${alone[0]} only in A, ${alone[1]} only in B.` +
      " Rows of other devices, engines or thresholds are not paired.";
  }

  for (const [side, select] of Object.entries(choices)) {
    select.addEventListener("change", () => {
      permalink.set(side, select.value);
      window.compareDrawn = show();
    });
  }
  permalink.onChange(() => (window.compareDrawn = show()));
  root.hidden = false;
  window.compareDrawn = show();
})();
