// Tables that sort and filter: every `<table data-sortable="NAME">`. Without this script they are
// plain tables. A header's button sorts ascending, then descending, then as written; a cell sorts by
// its `data-value`, else by its text. Order and filter stand in the address as NAME.sort, NAME.filter.
"use strict";

window.sortableTables = (() => {
  const MISSING = new Set(["", "–", "INVALID"]);
  const UNITS = { "": 1, k: 1e3, M: 1e6, G: 1e9 };
  const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const tables = new Map(); // name: table with its rows as written

  // A number as we write it: ±0.003, −1.25, 12,345, 93.1 %, 1.73 M. NaN if it is none.
  function number(text) {
    const plain = text.replace(/^[±~]/, "").replace("−", "-").replace(/,(?=\d{3})/g, "").replace(/ ?%$/, "");
    const [, digits, unit] = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?) ?([kMG]?)$/.exec(plain) ?? [];
    return digits === undefined ? NaN : Number(digits) * UNITS[unit];
  }

  const text = (row, column) => {
    const cell = row.cells[column];
    return (cell?.dataset.value ?? cell?.textContent ?? "").trim();
  };

  // Missing values come last in either direction.
  function compare(column, isDescending) {
    return (one, other) => {
      const [a, b] = [text(one, column), text(other, column)];
      if (MISSING.has(a) || MISSING.has(b)) return MISSING.has(a) - MISSING.has(b);
      const [x, y] = [number(a), number(b)];
      const order = Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y;
      return isDescending ? -order : order;
    };
  }

  function show(own) {
    const sort = permalink.get(`${own.name}.sort`) ?? "";
    const isDescending = sort.startsWith("-");
    const column = own.columns.indexOf(isDescending ? sort.slice(1) : sort);
    own.headers.forEach((header, place) => {
      const order = isDescending ? "descending" : "ascending";
      header.setAttribute("aria-sort", place === column ? order : "none");
    });
    const rows = column < 0 ? own.rows : [...own.rows].sort(compare(column, isDescending));
    const filter = permalink.get(`${own.name}.filter`) ?? "";
    const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of own.rows) {
      const said = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => said.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    if (own.field && own.field.value !== filter) own.field.value = filter;
    if (own.count) own.count.textContent = words.length ? `${shown} of ${own.rows.length} rows` : "";
    if (rows.some((row, place) => row !== own.body.rows[place])) own.body.append(...rows);
  }

  function sortBy(own, column) {
    const name = own.columns[column];
    const now = permalink.get(`${own.name}.sort`);
    permalink.set(`${own.name}.sort`, now === name ? `-${name}` : now === `-${name}` ? null : name);
    show(own);
  }

  function addFilter(own) {
    const place = own.table.closest(".scroll") ?? own.table;
    const line = document.createElement("p");
    const label = document.createElement("label");
    own.field = document.createElement("input");
    own.count = document.createElement("output");
    line.className = "filter on-screen";
    own.field.type = "search";
    own.field.autocomplete = "off";
    own.count.setAttribute("aria-live", "polite");
    label.append("Filter rows ", own.field);
    line.append(label, own.count);
    place.before(line);
    own.field.addEventListener("input", () => {
      permalink.set(`${own.name}.filter`, own.field.value);
      show(own);
    });
  }

  function enhance(table) {
    const headers = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
    const columns = headers.map((header) => header.textContent.trim());
    const own = { name: table.dataset.sortable, table, headers, columns, body: table.tBodies[0] };
    own.rows = [...own.body.rows];
    headers.forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sortBy(own, column));
      header.append(button);
    });
    addFilter(own);
    tables.set(own.name, own);
    show(own);
  }

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    if (table.tBodies[0]?.rows.length > 1) enhance(table);
  }
  permalink.onChange(() => tables.forEach(show));

  return {
    // Sorts and filters a table anew whose rows a script has replaced.
    refresh(table) {
      const own = tables.get(table.dataset.sortable);
      if (!own) return enhance(table);
      own.rows = [...own.body.rows];
      return show(own);
    },
    // Hides the columns that are empty in every row: what was not measured takes no place.
    hideEmpty(table) {
      const rows = [...table.tBodies[0].rows];
      [...table.tHead.rows[0].cells].forEach((header, column) => {
        header.hidden = rows.every((row) => MISSING.has(row.cells[column].textContent));
        for (const row of rows) row.cells[column].hidden = header.hidden;
      });
    },
  };
})();
