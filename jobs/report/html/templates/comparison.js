// Shows the changed images of one pair of cells, or of all; the choice stands in the address.
"use strict";

(() => {
  const choice = document.querySelector("[data-part=cell]");
  if (!choice) return;
  const cells = [...document.querySelectorAll("[data-cell]")];
  const count = document.querySelector("[data-part=cell-count]");

  function show() {
    choice.value = permalink.get("cell") ?? "";
    if (choice.selectedIndex < 0) choice.value = ""; // a cell that this page has not
    for (const cell of cells) cell.hidden = choice.value !== "" && cell.dataset.cell !== choice.value;
    count.textContent = choice.value ? `1 of ${cells.length} cells` : "";
  }

  choice.addEventListener("change", () => {
    permalink.set("cell", choice.value);
    show();
  });
  permalink.onChange(show);
  choice.closest("[hidden]").hidden = false;
  show();
})();
