"use strict";
// Text from data enters the page as text only (textContent, attributes), never as markup.

const byId = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

// ---- theme ----
const STORED = "probe-report-theme";

function theme() {
  const select = byId("theme");
  const apply = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
  };
  try {
    select.value = localStorage.getItem(STORED) ?? "";
  } catch { /* storage may be off for files; the choice then lasts as long as the page */ }
  if (select.selectedIndex < 0) select.value = "";
  apply(select.value);
  select.addEventListener("change", () => {
    apply(select.value);
    try {
      localStorage.setItem(STORED, select.value);
    } catch { /* as above */ }
  });
  select.closest("label").hidden = false;
}

// ---- tables ----
function sortBy(table, header) {
  const headers = [...header.parentElement.children];
  const column = headers.indexOf(header);
  const headings = [...table.tBodies[0].querySelectorAll("tr.heading")]; // of groups, which sorting takes apart
  for (const heading of headings) heading.hidden = true;
  const rows = [...table.tBodies[0].rows].filter((row) => !headings.includes(row));
  const keys = new Map(rows.map((row) => [row, row.cells[column].dataset.sort ?? ""]));
  const present = [...keys.values()].filter((key) => key !== "");
  const numeric = present.length > 0 && present.every((key) => Number.isFinite(Number(key)));
  // numbers begin with the highest, texts with A; what is empty stays at the end
  const was = header.getAttribute("aria-sort");
  const descending = was === "none" ? numeric : was === "ascending";
  const sign = descending ? -1 : 1;
  const compare = (a, b) => {
    const [x, y] = [keys.get(a), keys.get(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true }));
  };
  table.tBodies[0].append(...rows.sort(compare));
  for (const other of headers) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function tables() {
  for (const table of document.querySelectorAll("table.sortable")) {
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest(".sort");
      if (button) sortBy(table, button.closest("th"));
    });
  }
  for (const controls of document.querySelectorAll(".controls")) {
    const table = byId(controls.dataset.for);
    const caption = table.caption.querySelector(".visible");
    const legend = caption.textContent;
    const against = controls.querySelector(".against");
    const known = [...controls.querySelectorAll("input[type=radio]")].map((input) => input.value);
    const apply = () => {
      const metric = controls.querySelector("input[type=radio]:checked")?.value ?? "";
      const printed = controls.querySelector(".with-printed")?.checked ?? true;
      for (const cell of table.querySelectorAll("[data-metric]")) {
        const extra = cell.dataset.kind === "printed" || cell.dataset.kind === "difference";
        const other = metric !== "" && known.includes(cell.dataset.metric) && cell.dataset.metric !== metric;
        cell.hidden = other || (extra && !printed);
      }
      for (const group of table.querySelectorAll("[scope=colgroup]")) {
        const below = table.querySelectorAll(`[scope=col][data-group="${group.dataset.group}"]:not([hidden])`);
        group.hidden = below.length === 0;
        group.colSpan = Math.max(1, below.length);
      }
      const sure = controls.querySelector(".with-intervals")?.checked ?? false;
      for (const part of table.querySelectorAll(".sure")) part.hidden = !sure;
      if (against) {
        against.parentElement.hidden = !sure;
        comparedWith(against.value, table);
      }
      const every = known.filter((name) => name !== "").join(" / ");
      caption.textContent = metric ? legend.replace(every, metric) : legend; // the metrics that are shown
      hints();
    };
    controls.addEventListener("change", apply);
    controls.hidden = controls.childElementCount === 0;
    apply();
  }
}

// the p of each mean against a row's, by its number; against the best without
function comparedWith(row, table) {
  for (const p of table.querySelectorAll("[data-against]")) {
    p.dataset.best ??= p.textContent; // as the page came
    const found = row === "" ? null : JSON.parse(p.dataset.against)[row];
    const value = found < 0.001 ? "p < 0.001" : `p = ${found?.toFixed(3)}`;
    p.textContent = row === "" ? p.dataset.best : found === null ? "–" : value;
  }
}

// says that a table goes on, where it does
function hints() {
  for (const hint of document.querySelectorAll(".hint")) {
    const scroll = hint.nextElementSibling;
    hint.hidden = scroll.scrollWidth <= scroll.clientWidth + 1;
    scroll.classList.toggle("wide", !hint.hidden);
  }
}

function copying() {
  for (const button of document.querySelectorAll(".copy")) {
    const command = button.previousElementSibling;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const label = button.firstChild;
      try {
        await navigator.clipboard.writeText(command.textContent);
        label.data = "Copied";
      } catch {
        getSelection().selectAllChildren(command); // not allowed to copy: ready for the user to do so
        label.data = "Selected";
      }
      setTimeout(() => { label.data = "Copy"; }, 1500);
    });
  }
}

theme();
tables();
copying();
hints();
addEventListener("resize", hints);
