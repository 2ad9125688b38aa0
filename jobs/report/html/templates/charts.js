// Draws every chart of the page from its specification. Expressions are interpreted, not compiled, so
// that the page's content security policy need not allow code from strings.
"use strict";

const report = JSON.parse(document.getElementById("report-data").textContent);

const chartOptions = {
  mode: "vega-lite",
  renderer: "svg",
  actions: false,
  ast: true,
  // The page's own tooltip would be a second style sheet: titles of the browser are enough.
  tooltip: { theme: "custom" },
};

// What is drawn, so that tests and printing can wait for it.
window.chartsDrawn = Promise.all(
  Array.from(document.querySelectorAll("[data-chart]"), (place) =>
    vegaEmbed(place, report.charts[place.dataset.chart], chartOptions),
  ),
);

// Paper cannot be clicked: what is folded is unfolded for it, but for tables that repeat a chart.
const unfolded = [];
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("details:not([open])")) {
    if (each.closest("figure")) continue;
    each.open = true;
    unfolded.push(each);
  }
});
window.addEventListener("afterprint", () => {
  for (const each of unfolded.splice(0)) each.open = false;
});
