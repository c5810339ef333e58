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
  const rows = [...table.tBodies[0].rows];
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
    const apply = () => {
      const metric = controls.querySelector("input[type=radio]:checked").value;
      const printed = controls.querySelector(".with-printed")?.checked ?? true;
      for (const cell of table.querySelectorAll("[data-metric]")) {
        const extra = cell.dataset.kind === "printed" || cell.dataset.kind === "difference";
        cell.hidden = (metric !== "" && cell.dataset.metric !== metric) || (extra && !printed);
        if (cell.dataset.span) cell.colSpan = printed ? Number(cell.dataset.span) : 1;
      }
    };
    controls.addEventListener("change", apply);
    controls.hidden = false;
    apply();
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

// ---- gallery ----
const PAGE = 20;
const [IMAGE, DOMAIN, LABEL, COUNT] = [0, 1, 2, 3]; // of a query
const [ID, IMAGE_LABEL, IMAGE_DOMAIN] = [0, 1, 2]; // of an image
const KEPT_BY_MMP = 5;

function gallery() {
  const sets = JSON.parse(byId("gallery-data").textContent);
  const form = byId("filters");
  const { run: runs, other, domain, show, order, text } = form.elements;
  const pictures = new Map(); // parsed when a set is first looked at
  let page = 0;
  let shown = [];

  const all = sets.flatMap((set, s) => set.runs.map((run, r) => ({ set, s, run, r, value: `${s}:${r}` })));
  const chosen = (select) => all.find((entry) => entry.value === select.value) ?? null;
  const name = (run) => `${run.row}, seed ${run.seed}`;

  function fillRuns(select, entries, none) {
    select.replaceChildren();
    if (none) select.append(element("option", { value: "" }, none));
    const groups = new Map();
    for (const { set, run, value } of entries) {
      const title = sets.length > 1 ? `${set.name}: ${run.recipe}` : run.recipe;
      if (!groups.has(title)) groups.set(title, select.appendChild(element("optgroup", { label: title })));
      groups.get(title).append(element("option", { value }, name(run)));
    }
  }

  function fill(select, entries) {
    const before = select.value;
    select.replaceChildren(...entries.map(([value, title]) => element("option", { value }, title)));
    if (entries.some(([value]) => value === before)) select.value = before;
  }

  function choices() {
    const { set, s, run } = chosen(runs);
    const kept = other.value;
    fillRuns(other, all.filter((entry) => entry.s === s && entry.value !== runs.value), "no other run");
    other.value = kept;
    if (other.selectedIndex < 0) other.value = "";
    const metrics = Object.keys(run.values);
    const main = metrics[0];
    fill(domain, [["", "all domains"], ...set.domains.map((title, d) => [String(d), title])]);
    const failures = metrics.flatMap((metric) => [
      [`zero ${metric}`, `${metric} = 0`],
      ...(metric.startsWith("R@") ? [] : [[`part ${metric}`, `${metric} < 1`]]),
    ]);
    const pairs = [
      [`left ${main}`, `first run better (${main})`],
      [`right ${main}`, `second run better (${main})`],
      [`both ${main}`, `both ${main} = 0`],
    ];
    fill(show, [["", "all queries"], ...failures, ["nothing", "nothing to find"], ...(other.value ? pairs : [])]);
    const orders = [["", "as in the manifest"], [`worst ${main}`, `lowest ${main} first`], [`best ${main}`, `highest ${main} first`]];
    fill(order, other.value ? [...orders, [`gap ${main}`, `largest difference in ${main} first`]] : orders);
  }

  function passes(q) {
    const { set, run } = chosen(runs);
    const second = chosen(other)?.run;
    const query = set.queries[q];
    if (domain.value !== "" && query[DOMAIN] !== Number(domain.value)) return false;
    const wanted = text.value.trim().toLowerCase();
    if (wanted && !`${query[LABEL]}\n${set.images[query[IMAGE]][ID]}`.toLowerCase().includes(wanted)) return false;
    const space = show.value.indexOf(" ");
    const [kind, metric] = space < 0 ? [show.value, ""] : [show.value.slice(0, space), show.value.slice(space + 1)];
    if (kind === "") return true;
    if (kind === "nothing") return query[COUNT] === 0;
    const value = run.values[metric][q];
    const theirs = second?.values[metric]?.[q] ?? null;
    if (value === null) return false;
    if (kind === "zero") return value === 0;
    if (kind === "part") return value < 1;
    if (theirs === null) return false;
    if (kind === "left") return value > theirs;
    if (kind === "right") return value < theirs;
    return value === 0 && theirs === 0;
  }

  function ordered(found) {
    if (order.value === "") return found;
    const space = order.value.indexOf(" ");
    const [kind, metric] = [order.value.slice(0, space), order.value.slice(space + 1)];
    const [first, second] = [chosen(runs).run.values[metric], chosen(other)?.run.values[metric]];
    const key = (q) => {
      if (first[q] === null) return Infinity;
      if (kind === "gap") return -Math.abs(first[q] - (second?.[q] ?? first[q]));
      return kind === "worst" ? first[q] : -first[q];
    };
    const keys = new Map(found.map((q) => [q, key(q)]));
    return found.sort((a, b) => (keys.get(a) === keys.get(b) ? a - b : keys.get(a) < keys.get(b) ? -1 : 1));
  }

  function picture(s, image, alt) {
    if (!pictures.has(s)) pictures.set(s, JSON.parse(byId(`pictures-${s}`).textContent));
    const src = pictures.get(s)[image];
    return src
      ? element("img", { src, alt, width: 96, height: 96, loading: "lazy", decoding: "async" })
      : element("span", { class: "absent" }, "no picture", element("span", { class: "unseen" }, ` of ${alt}`));
  }

  function neighbour({ set, s }, query, place, image, similarity, hit) {
    const [id, label, place_domain] = set.images[image];
    const beyond = place >= Math.min(query[COUNT], KEPT_BY_MMP);
    const said = hit ? "right" : "wrong";
    const elsewhere = place_domain && place_domain !== set.domains[query[DOMAIN]] ? place_domain : null;
    return element(
      "li",
      { class: `${hit ? "hit" : "miss"}${beyond ? " beyond" : ""}`, title: `${label} (${place_domain})\n${id}` },
      element("div", { class: "frame" }, picture(s, image, `${label}, ${id}`),
        element("span", { class: "mark", "aria-hidden": "true" }, hit ? "✓" : "✗")),
      element("span", { class: "unseen" }, `${place + 1}, ${said}${beyond ? ", not counted" : ""}: `),
      element("span", { class: "text" }, label),
      elsewhere ? element("span", { class: "text note" }, `in ${elsewhere}`) : null,
      element("span", { class: "note" }, similarity.toFixed(3)),
    );
  }

  function side(entry, q) {
    const query = entry.set.queries[q];
    const [images, similarities, hits] = entry.run.found[q];
    const scores = Object.entries(entry.run.values)
      .map(([metric, values]) => (values[q] === null ? null : `${metric} ${(100 * values[q]).toFixed(0)}\u202f%`))
      .filter((score) => score !== null);
    return element(
      "div",
      { class: "side" },
      element("h4", {}, element("strong", {}, name(entry.run)), ` · ${scores.join(", ") || "nothing to find"}`),
      element("ol", { class: "found" },
        ...images.map((image, place) => neighbour(entry, query, place, image, similarities[place], hits[place]))),
    );
  }

  function card(q) {
    const entry = chosen(runs);
    const second = chosen(other);
    const { set, s } = entry;
    const query = set.queries[q];
    const id = set.images[query[IMAGE]][ID];
    return element(
      "li",
      { class: `query${second ? " compared" : ""}` },
      element("div", { class: "asked" },
        element("div", { class: "frame" }, picture(s, query[IMAGE], `query: ${query[LABEL]}, ${id}`)),
        element("div", {},
          element("span", { class: "label" }, query[LABEL]),
          element("span", { class: "about" }, `${set.domains[query[DOMAIN]]}, ${query[COUNT]} to find`, element("br"), id))),
      element("div", { class: "sides" }, side(entry, q), second ? side(second, q) : null),
    );
  }

  function draw() {
    const total = chosen(runs).set.queries.length;
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    byId("queries").replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map(card));
    const number = (value) => value.toLocaleString("en");
    byId("count").textContent = `${number(shown.length)} of ${number(total)} queries`;
    byId("page").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    byId("pager").hidden = pages === 1;
    const [previous, next] = byId("pager").querySelectorAll("button");
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }

  function filter() {
    choices();
    shown = ordered(chosen(runs).set.queries.map((_, q) => q).filter(passes));
    page = 0;
    draw();
  }

  fillRuns(runs, all);
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  byId("pager").addEventListener("click", (event) => {
    const step = event.target.dataset.step;
    if (!step) return;
    page += Number(step);
    draw();
    byId("filters").scrollIntoView();
  });
  form.hidden = false;
  filter();
}

theme();
tables();
copying();
if (byId("gallery-data")) gallery();
document.documentElement.dataset.ready = "";
