// ---- gallery ----
const PAGE = 20;
const [IMAGE, DOMAIN, LABEL, COUNT] = [0, 1, 2, 3]; // of a query
const [ID, IMAGE_LABEL, IMAGE_DOMAIN] = [0, 1, 2]; // of an image
const KEPT_BY_MMP = 5;

// a text that may be broken after what joins its words
const breakable = (text) => text.split(/(?<=[_/\-])/).flatMap((part, n) => (n ? [element("wbr"), part] : [part]));

function gallery() {
  const sets = JSON.parse(byId("gallery-data").textContent);
  const form = byId("filters");
  const { run: runs, other, domain, show, order, text } = form.elements;
  const pictures = new Map(); // parsed when a set is first looked at
  let page = 0;
  let visible = [];

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
    const orders = [["", "as listed"], [`worst ${main}`, `lowest ${main} first`], [`best ${main}`, `highest ${main} first`]];
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
    const verdict = hit ? "right" : "wrong";
    const elsewhere = place_domain && place_domain !== set.domains[query[DOMAIN]] ? place_domain : null;
    return element(
      "li",
      { class: `${hit ? "hit" : "miss"}${beyond ? " beyond" : ""}`, title: `${label} (${place_domain})\n${id}` },
      element("div", { class: "frame" }, picture(s, image, `${label}, ${id}`),
        element("span", { class: "mark", "aria-hidden": "true" }, hit ? "✓" : "✗")),
      element("span", { class: "unseen" }, `${place + 1}, ${verdict}${beyond ? ", not counted" : ""}: `),
      element("span", { class: "text" }, ...breakable(label)),
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
        element("div", { class: "of" },
          element("h3", { class: "label" }, ...breakable(query[LABEL])),
          element("p", { class: "about" }, `${set.domains[query[DOMAIN]]}, ${query[COUNT]} to find · `, ...breakable(id))),
        element("div", { class: "side" },
          element("h4", {}, "Query"),
          element("div", { class: "frame" }, picture(s, query[IMAGE], `query: ${query[LABEL]}, ${id}`)))),
      element("div", { class: "sides" }, side(entry, q), second ? side(second, q) : null),
    );
  }

  function draw() {
    const total = chosen(runs).set.queries.length;
    const pages = Math.max(1, Math.ceil(visible.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    byId("queries").replaceChildren(...visible.slice(page * PAGE, (page + 1) * PAGE).map(card));
    const number = (value) => value.toLocaleString("en");
    byId("count").textContent = `${number(visible.length)} of ${number(total)} queries`;
    byId("page").textContent = `Page ${number(page + 1)} of ${number(pages)}`;
    byId("pager").hidden = pages === 1;
    const [previous, next] = byId("pager").querySelectorAll("button");
    previous.disabled = page === 0;
    next.disabled = page === pages - 1;
  }

  function filter() {
    choices();
    visible = ordered(chosen(runs).set.queries.map((_, q) => q).filter(passes));
    page = 0;
    draw();
  }

  function download() {
    const entry = chosen(runs);
    const compared = chosen(other);
    const metrics = Object.keys(entry.run.values);
    const shown = [entry, compared].filter((each) => each !== null);
    const cell = (text) => {
      const plain = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text; // which a spreadsheet would compute
      return `"${plain.replaceAll('"', '""')}"`;
    };
    const lines = [["image", "domain", "label", "n", ...shown.flatMap(({ run }) => metrics.map((metric) => cell(`${name(run)}: ${metric}`)))]];
    for (const q of visible) {
      const query = entry.set.queries[q];
      const values = shown.flatMap(({ run }) => metrics.map((metric) => run.values[metric][q] ?? ""));
      lines.push([cell(entry.set.images[query[IMAGE]][ID]), cell(entry.set.domains[query[DOMAIN]]), cell(query[LABEL]), query[COUNT], ...values]);
    }
    const file = new Blob([lines.map((line) => `${line.join(",")}\n`).join("")], { type: "text/csv" });
    const link = element("a", { href: URL.createObjectURL(file), download: "queries.csv" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  fillRuns(runs, all);
  runs.value = `0:${sets[0].opens}`;
  byId("download").addEventListener("click", download);
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

gallery();
