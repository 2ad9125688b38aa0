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
