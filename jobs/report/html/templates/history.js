// The history page: one model in one setting, at one threshold or all, over the nights. Figures,
// changes and verdicts are those of the data file; nothing is computed here but what is drawn.
"use strict";

(() => {
  const root = document.getElementById("history");
  if (!root) return;
  const { groups, runs } = pageData.data;
  const { fixed, signed, make, cell } = pageData;
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const [series, threshold] = [root.querySelector("#series"), root.querySelector("#threshold")];
  const body = root.querySelector("table").tBodies[0];
  const runOf = new Map(runs.map((run) => [run.run_id, run]));
  const digits = { acc1: 2, forward_ms: 3, energy_mj: 3, mean_blocks: 2 };
  const ALL = "all";
  let shown = 0;

  function link(runId) {
    const href = `runs/${encodeURIComponent(runId)}.html`;
    return make("th", { scope: "row" }, make("a", { href, textContent: runId }));
  }

  const nameOf = (line) => (line.threshold === "–" ? "static" : `t ${line.threshold}`);

  function points(data, lines, metric) {
    return lines.flatMap((line) =>
      line.night
        .map((night, place) => {
          const runId = data.nights[night];
          const verdict = line.verdicts[place]?.[metric];
          return {
            line: nameOf(line),
            night: runOf.get(runId)?.submitted_at ?? null,
            run: runId,
            grid: runOf.get(runId)?.name ?? "",
            value: line[metric][place],
            valid: line.is_valid[place] ? "yes" : "no",
            step: verdict === "regression" || verdict === "improvement" ? verdict : null,
          };
        })
        .filter((point) => point.value !== null && point.night !== null),
    );
  }

  function rows(data, lines) {
    return lines.flatMap((line) =>
      line.night
        .map((night, place) => {
          const runId = data.nights[night];
          const judged = Object.entries(line.verdicts[place] ?? {}).map(([name, verdict]) => `${name} ${verdict}`);
          const said = lines.length > 1 ? [nameOf(line), ...judged] : judged;
          return make(
            "tr",
            {},
            link(runId),
            cell((runOf.get(runId)?.submitted_at ?? "–").slice(0, 16).replace("T", " ")),
            cell(fixed(line.acc1[place], digits.acc1)),
            cell(signed(line.changes.acc1[place], digits.acc1)),
            cell(fixed(line.forward_ms[place], digits.forward_ms)),
            cell(signed(line.changes.forward_ms[place], 1)),
            cell(fixed(line.energy_mj[place], digits.energy_mj)),
            cell(signed(line.changes.energy_mj[place], 1)),
            cell(fixed(line.mean_blocks[place], digits.mean_blocks)),
            cell(line.is_valid[place] ? "yes" : "no"),
            cell(said.join("; "), true),
            cell(line.explained[place] ?? "", true),
          );
        })
        .reverse(),
    );
  }

  // A chart of these rows: a line has its colour in every chart, whichever lines that one has.
  function chart(data, metric, values) {
    const spec = structuredClone(pageData.data.charts[metric]);
    const drawn = new Set(values.map((value) => value.line));
    const domain = data.lines.map(nameOf);
    for (const { encoding } of spec.layer) {
      if (!encoding.color) continue;
      encoding.color.scale = { domain };
      encoding.color.legend.values = domain.filter((name) => drawn.has(name));
    }
    return { ...spec, data: { ...spec.data, values } };
  }

  async function draw(data, lines) {
    for (const place of root.querySelectorAll("[data-series]")) {
      const metric = place.dataset.series;
      const values = points(data, lines, metric);
      const figure = place.closest("figure");
      figure.hidden = values.length === 0;
      if (figure.hidden) continue;
      const numbers = values.map((value) => value.value);
      const places = digits[metric];
      place.setAttribute(
        "aria-label",
        `${figure.querySelector("figcaption").textContent} over ${new Set(values.map((value) => value.run)).size} runs:` +
          ` from ${fixed(Math.min(...numbers), places)} to ${fixed(Math.max(...numbers), places)},` +
          ` newest ${fixed(numbers[numbers.length - 1], places)}; the table has each figure`,
      );
      await drawChart(place, chart(data, metric, values));
    }
  }

  // Shows what the address says, else the first series and all its thresholds.
  async function show() {
    const asked = permalink.get("series");
    const group = groups.find((each) => each.name === asked) ?? groups[0];
    const turn = ++shown;
    series.value = group.name;
    let data;
    try {
      data = await pageData.load(`history/${group.name}`);
    } catch (error) {
      part("status").textContent = `${error.message}: make the site again`;
      return;
    }
    if (turn !== shown) return;
    const names = data.lines.map((line) => line.threshold);
    const wanted = permalink.get("t");
    const chosen = wanted === ALL || names.includes(wanted) ? wanted : names[0];
    const options = names.length > 1 ? [...names, ALL] : names;
    threshold.replaceChildren(...options.map((name) => new Option(name === "–" ? "none: static" : name, name)));
    threshold.value = chosen;
    const lines = data.lines.filter((line) => chosen === ALL || line.threshold === chosen);
    body.replaceChildren(...rows(data, lines));
    sortableTables.refresh(root.querySelector("table"));
    sortableTables.hideEmpty(root.querySelector("table"));
    const unknown = asked && asked !== group.name ? "The address names a series that is not here; this is the first. " : "";
    part("status").textContent = `${unknown}${data.nights.length} runs of ${group.model}, ${group.setting}`;
    await draw(data, lines);
  }

  series.addEventListener("change", () => {
    permalink.set("series", series.value);
    permalink.set("t", null);
    window.historyDrawn = show();
  });
  threshold.addEventListener("change", () => {
    permalink.set("t", threshold.value);
    window.historyDrawn = show();
  });
  permalink.onChange(() => (window.historyDrawn = show()));
  root.hidden = false;
  window.historyDrawn = show();
})();
