"use strict";
// Sort a table by one of its columns: best first, then the other way round. Rows without a value stay last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const column = head.cellIndex;
    const first = head.dataset.first;
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const one of head.parentNode.cells) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    const key = (row) => {
      const cell = row.cells[column];
      return "v" in cell.dataset ? (cell.dataset.v === "" ? null : Number(cell.dataset.v)) : cell.textContent.trim();
    };
    const compare = (a, b) => (typeof a === "number" ? a - b || 0 : a.localeCompare(b, "en", { numeric: true }));
    const body = head.closest("table").tBodies[0];
    const rows = Array.from(body.rows, (row) => [key(row), row]);
    rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b)));
    body.append(...rows.map(([, row]) => row));
  });
}
// A link to something folded away opens it.
const open = () => {
  let place = location.hash && document.getElementById(location.hash.slice(1));
  for (const target = place; place; place = place.parentElement) {
    if (place.tagName === "DETAILS") place.open = true;
    if (place.parentElement === null) target.scrollIntoView();
  }
};
addEventListener("hashchange", open);
open();
