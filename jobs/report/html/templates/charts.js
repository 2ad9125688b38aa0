// Draws all charts of the page from their specifications. Expressions are interpreted, not compiled,
// so that the page's content security policy need not allow code from strings.
"use strict";

const chartOptions = {
  mode: "vega-lite",
  renderer: "svg",
  actions: false,
  ast: true,
  // Charts and tooltips are styled by pages.css: the policy allows no style sheet made by a script.
  defaultStyle: false,
  tooltip: { theme: "custom", disableDefaultStyle: true },
};

// Draws one chart. Vega labels its place anew, by the description: that is the text alternative.
const drawChart = (place, spec) => vegaEmbed(place, { ...spec, description: place.ariaLabel }, chartOptions);

const chartPlaces = Array.from(document.querySelectorAll("[data-chart]"));

// A promise, so that tests and printing can wait for the charts.
window.chartsDrawn = (chartPlaces.length ? pageData.load("charts") : Promise.resolve()).then((charts) =>
  Promise.all(chartPlaces.map((place) => drawChart(place, charts[place.dataset.chart]))),
);

// Open folded sections for printing, except tables that repeat a chart.
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
