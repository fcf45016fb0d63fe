"use strict";
(() => {
  const root = document.documentElement;
  const stored = (value) => {
    // A page opened from a file may be refused storage.
    try {
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  };
  const dark = () => {
    const theme = root.dataset.theme;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const chosen = stored();
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;

  const key = (row, place) => {
    const cell = row.cells[place];
    if (!cell.closest("table").rows[0].cells[place].classList.contains("number")) {
      return cell.textContent.trim() || null;
    }
    const number = "value" in cell.dataset ? Number(cell.dataset.value) : NaN;
    return Number.isNaN(number) ? null : number;
  };
  const compare = (first, second) =>
    typeof first === "number" ? first - second : first.localeCompare(second, "en", { numeric: true });

  const sort = (button) => {
    const head = button.closest("th");
    const body = head.closest("table").tBodies[0];
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const keyed = Array.from(body.rows, (row) => [key(row, head.cellIndex), row]);
    const filled = keyed.filter(([value]) => value !== null);
    const empty = keyed.filter(([value]) => value === null);
    filled.sort(([first], [second]) => sign * compare(first, second));
    body.append(...filled.concat(empty).map(([, row]) => row));
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const told = document.getElementById("sorted");
    told.textContent = `Sorted by ${button.textContent.trim()}, ${head.getAttribute("aria-sort")}.`;
  };

  let closed = [];
  const printing = (begins) => {
    if (begins) {
      closed = closed.concat(Array.from(document.querySelectorAll("details:not([open])")));
      for (const details of closed) details.open = true;
    } else {
      for (const details of closed) details.open = false;
      closed = [];
    }
  };

  addEventListener("DOMContentLoaded", () => {
    for (const button of document.querySelectorAll("table.sortable thead button")) {
      button.addEventListener("click", () => sort(button));
    }
    const toggle = document.querySelector("button.theme");
    const label = () => (toggle.textContent = dark() ? "Light theme" : "Dark theme");
    toggle.hidden = false;
    toggle.addEventListener("click", () => {
      root.dataset.theme = dark() ? "light" : "dark";
      stored(root.dataset.theme);
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
    label();
    addEventListener("beforeprint", () => printing(true));
    addEventListener("afterprint", () => printing(false));
    matchMedia("print").addEventListener("change", (event) => printing(event.matches));
  });
})();
