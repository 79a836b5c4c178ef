"use strict";
// Sorts and searches the tables of class "sortable". Without this script they are plain tables.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const controls = document.createElement("div");
  controls.className = "controls";
  const shown = document.createElement("output");
  const filters = [];

  const labeled = (text, field) => {
    const label = document.createElement("label");
    label.append(text, field);
    controls.append(label);
    field.addEventListener("input", show);
    return field;
  };

  function show() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits = words.every((word) => text.includes(word))
        && filters.every(([column, field]) => !field.value
          || row.cells[column].textContent === field.value);
      row.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${rows.length} rows`;
  }

  const field = document.createElement("input");
  field.type = "search";
  const search = labeled("Search", field);
  heads.forEach((head, column) => {
    if (head.hasAttribute("data-choices")) {
      const select = document.createElement("select");
      const values = [...new Set(rows.map((row) => row.cells[column].textContent))].sort();
      for (const value of ["", ...values]) {
        select.append(new Option(value || "all", value));
      }
      filters.push([column, labeled(head.textContent, select)]);
    }
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => {
      const upward = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", upward ? "ascending" : "descending");
      const text = (row) => row.cells[column].textContent;
      const number = (row) => Number(row.cells[column].dataset.sort || NaN);
      const order = (one, other) => (Number.isNaN(number(one)) || Number.isNaN(number(other))
        ? text(one).localeCompare(text(other), undefined, { numeric: true })
        : number(one) - number(other));
      // Empty cells stay below, whichever way the others are sorted.
      rows.sort((one, other) => Number(!text(one)) - Number(!text(other))
        || (upward ? order(one, other) : order(other, one)));
      body.append(...rows);
    });
    head.replaceChildren(button);
  });
  controls.append(shown);
  table.closest(".scroll").before(controls);
  show();
}
