// Follows the runs of a site that `gfjobs site --serve` shows: progress on every page, and the page
// is loaded again when it has changed. The server puts this script into each page.
"use strict";

(() => {
  const { top, page, version } = document.currentScript.dataset;
  const [LOOK_MS, MOST_MS, SHOWN] = [2000, 60000, 4];
  const PLACE = `gfjobs scroll ${location.pathname}`;

  const box = document.createElement("section");
  const said = document.createElement("p");
  const bars = document.createElement("ul");
  const again = document.createElement("button");
  let wait = LOOK_MS;
  let timer = 0;
  let isAsking = false;
  let isChanged = false;
  let spoken = "";
  let before = [];
  const ended = new Set();

  function build() {
    box.id = "live";
    box.hidden = true;
    box.setAttribute("aria-label", "Runs in progress");
    said.setAttribute("role", "status");
    again.type = "button";
    again.textContent = "Show the new figures";
    again.hidden = true;
    again.addEventListener("click", load);
    box.append(said, again, bars);
    const main = document.querySelector("main") ?? document.body;
    main.prepend(box);
  }

  // Reloading keeps the fragment. The place is kept here: charts are drawn after the browser has
  // scrolled to where it was.
  function load() {
    try {
      sessionStorage.setItem(PLACE, JSON.stringify([scrollX, scrollY]));
    } catch {
      // No storage: the browser's own memory of the place must do.
    }
    location.reload();
  }

  async function restorePlace() {
    let place = null;
    try {
      place = JSON.parse(sessionStorage.getItem(PLACE));
      sessionStorage.removeItem(PLACE);
    } catch {
      return;
    }
    if (!Array.isArray(place)) return;
    await Promise.allSettled([window.chartsDrawn, window.explorerReady]);
    scrollTo({ left: place[0], top: place[1], behavior: "instant" });
  }

  // Whether the reader is in the middle of something that a reload would undo.
  function isBusy() {
    const active = document.activeElement;
    const isTyping = active?.matches("input, select, textarea") ?? false;
    const selection = getSelection();
    const isSelecting = selection !== null && !selection.isCollapsed;
    return isTyping || isSelecting || document.querySelector("dialog[open]") !== null;
  }

  function loadIfChanged() {
    if (!isChanged) return;
    again.hidden = !isBusy();
    if (again.hidden) load();
    else box.hidden = false;
  }

  // A screen reader is told a sentence when it changes: at the beginning, every tenth, the end.
  // That a run is running is seen by its bar.
  function say(sentence, isSeen) {
    said.className = isSeen ? "" : "unseen";
    if (sentence === spoken) return;
    spoken = sentence;
    said.textContent = sentence;
  }

  // Shows a run where the page has a place for it; returns whether it has.
  function fill(run) {
    const place = document.querySelector(`[data-live-run="${CSS.escape(run.run)}"]`);
    const [progress, text] = ["progress", "span"].map((name) => place?.querySelector(name));
    if (!progress || !text) return false;
    progress.max = Math.max(run.asked, 1);
    progress.value = Math.min(run.committed, run.asked);
    progress.setAttribute("aria-label", `Progress of ${run.run}`);
    text.textContent = run.text;
    return true;
  }

  function bar(run) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    const progress = document.createElement("progress");
    const text = document.createElement("span");
    link.href = `${top}runs/${run.run}.html`;
    link.textContent = run.run;
    progress.max = Math.max(run.asked, 1);
    progress.value = Math.min(run.committed, run.asked);
    progress.setAttribute("aria-label", `Progress of ${run.run}`);
    text.textContent = run.text;
    item.append(link, " ", progress, " ", text);
    return item;
  }

  function show(state) {
    const runs = state.running;
    const others = runs.filter((run) => !fill(run));
    const items = others.slice(0, SHOWN).map(bar);
    if (others.length > SHOWN) {
      const more = document.createElement("li");
      more.textContent = `and ${others.length - SHOWN} more`;
      items.push(more);
    }
    // The focus stays on the link that has it.
    const focused = [...bars.children].findIndex((each) => each.contains(document.activeElement));
    bars.replaceChildren(...items);
    if (focused >= 0) bars.children[focused]?.querySelector("a")?.focus();
    const parts = runs.slice(0, SHOWN).map((run) => {
      const tenths = Math.floor((10 * run.committed) / Math.max(run.asked, 1));
      return `${run.run} is running: ${10 * tenths} %`;
    });
    const running = parts.length;
    const names = runs.map((run) => run.run);
    before.filter((name) => !names.includes(name)).forEach((name) => ended.add(name));
    before = names;
    for (const name of ended) {
      if (!names.includes(name)) parts.push(`${name} has ended`);
    }
    if (state.error) parts.push(`The pages may be out of date: ${state.error}`);
    say(parts.join(". "), parts.length > running);
    box.hidden = !parts.length && again.hidden;
    isChanged = state.page !== null && state.page !== version;
    loadIfChanged();
  }

  async function look() {
    clearTimeout(timer);
    if (isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(`${top}live.json?page=${page}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      show(await answer.json());
      wait = LOOK_MS;
    } catch {
      bars.replaceChildren();
      say("The server has stopped. This page stays as it is.", true);
      box.hidden = false;
      wait = Math.min(2 * wait, MOST_MS);
    }
    isAsking = false;
    if (document.visibilityState === "visible") timer = setTimeout(look, wait);
  }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.visibilityState === "visible") look();
  });
  document.addEventListener("focusout", () => setTimeout(loadIfChanged));
  build();
  restorePlace();
  look();
})();
