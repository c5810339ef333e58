// What anybody has named (ids, labels, files) only ever becomes text: textContent, never markup.
const $ = (id) => document.getElementById(id);
const THUMBNAIL = 320, PREVIEW = 1024, ROWS = 24, LEAST = 4, DARKEST = 225; // pixels, rows, 0 to 255; a drag shorter than LEAST px is a click

let about, query = null, box = null, latest = 0, shown = 0, shownFailures = 0;

async function ask(path, parameters = {}, body = null) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  const answer = await fetch(`${path}?${new URLSearchParams(given)}`, body ? { method: "POST", body } : {});
  const content = await answer.json().catch(() => ({ detail: "the server's answer cannot be read." }));
  if (!answer.ok) throw new Error(content.detail);
  return content;
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function say(text) {
  $("problem").hidden = true;
  $("status").textContent = text;
}

async function attempt(work) {
  try {
    await work();
  } catch (error) {
    $("status").textContent = "";
    $("problem").textContent = error instanceof TypeError ? "The server does not answer; is it running?" : error.message;
    $("problem").hidden = false;
  }
}

const imageOf = (id, px) => `/api/image?${new URLSearchParams({ id, px })}`;
const count = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;

// ---- hits and rows ----

function picture(id) {
  const image = make("img", { src: imageOf(id, THUMBNAIL), alt: "", loading: "lazy" });
  const frame = make("span", { className: "picture" }, image);
  image.addEventListener("error", () => frame.replaceChildren("no image"));
  return frame;
}

function card(row, { first = false, why = false, similarity = true } = {}) {
  const button = make("button", { type: "button", tabIndex: first ? 0 : -1 }, picture(row.id));
  if (row.similarity !== undefined && similarity) {
    const line = make("span", { className: "label" }, make("span", { className: "similarity", textContent: row.similarity.toFixed(3) }));
    if (row.no_match) line.append(" ", make("span", { className: "no-match", textContent: "no match" }));
    button.append(line);
  }
  if (row.label) button.append(make("span", { className: "label", textContent: row.label }));
  button.append(make("span", { className: "id", textContent: row.id, title: row.id }));
  button.setAttribute("aria-label", [
    row.rank ? `Hit ${row.rank}, similarity ${row.similarity.toFixed(3)}` : "Image",
    ...(row.no_match ? ["no match"] : []), ...(row.label ? [row.label] : []), row.id, "search from it",
  ].join(", "));
  button.addEventListener("click", () => searchFrom(row.id));
  const item = make("li", { className: "hit" }, button);
  if (why) {
    const asked = make("button", { type: "button", className: "why", textContent: "Why?", tabIndex: first ? 0 : -1 });
    asked.setAttribute("aria-label", `Why did hit ${row.rank} match?`);
    asked.addEventListener("click", () => attempt(() => explain(row)));
    item.append(asked);
  }
  return item;
}

function fill(rows, why) {
  $("hits").replaceChildren(...rows.map((row, number) => card(row, { first: number === 0, why })));
}

// One of the hits is in the tab order; the arrow keys go from hit to hit, as they lie on the screen.
$("hits").addEventListener("keydown", (event) => {
  const items = [...$("hits").children], at = items.findIndex((item) => item.contains(document.activeElement));
  if (at < 0) return;
  const columns = items.filter((item) => item.offsetTop === items[0].offsetTop).length;
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -at, End: items.length - 1 - at };
  const step = steps[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = items[at + step];
  if (next) enter(next);
});

function enter(item) {
  for (const button of $("hits").querySelectorAll("button")) button.tabIndex = -1;
  for (const button of item.querySelectorAll("button")) button.tabIndex = 0;
  item.firstElementChild.focus();
}
$("hits").addEventListener("focusin", (event) => {
  const item = event.target.closest("li");
  if (!item || item.firstElementChild.tabIndex === 0) return;
  for (const button of $("hits").querySelectorAll("button")) button.tabIndex = item.contains(button) ? 0 : -1;
});

async function browse(more = false) {
  query = box = null;
  showQuery();
  const mine = ++latest, start = more ? shown : 0;
  const found = await ask("/api/rows", { contains: $("contains").value, start, count: ROWS });
  if (mine !== latest) return;
  $("results-title").textContent = "From the index";
  if (more) $("hits").append(...found.rows.map((row) => card(row)));
  else fill(found.rows, false);
  if (more && found.rows.length) enter($("hits").children[start]);
  shown = start + found.rows.length;
  $("more").hidden = shown >= found.total;
  say(`${count(found.total, "image", "images")}; choose one to search from it.`);
}

// ---- the query ----

async function search() {
  if (!query) return browse();
  const mine = ++latest;
  say("Searching …");
  const parameters = { k: $("k").value, where: $("where").value, exclude_self: $("exclude").checked };
  if (box) parameters.box = [box.x, box.y, box.w, box.h].join(",");
  const found = query.file
    ? await ask("/api/search", { ...parameters, name: query.name }, query.file)
    : await ask("/api/search", { ...parameters, id: query.id });
  if (mine !== latest) return;
  $("results-title").textContent = box ? `Hits of a part of ${query.name}` : `Hits of ${query.name}`;
  $("more").hidden = true;
  fill(found.hits, about.images);
  const seconds = `${Math.round(found.seconds * 1000).toLocaleString()} ms`;
  say(found.hits.length ? `${count(found.hits.length, "hit", "hits")} of ${query.name} in ${seconds}.` : "No hits: no row is left by the filter.");
}

function searchFrom(id) {
  const hash = `#${new URLSearchParams({ id })}`;
  if (location.hash === hash) route();
  else location.hash = hash;
}

async function startFromRow(id) {
  const row = await ask("/api/row", { id });
  query = { id, name: id, width: row.columns.width ?? null, height: row.columns.height ?? null };
  box = null;
  showQuery();
  await search();
  $("results").focus();
}

async function startFromFile(file) {
  if (!about.images) throw new Error("This index is of vectors that were made elsewhere; search from one of its rows.");
  if (file.size > about.upload_bytes) {
    throw new Error(`${file.name || "The image"} is larger than ${Math.round(about.upload_bytes / 1e6)} MB; take a smaller one.`);
  }
  if (query?.url) URL.revokeObjectURL(query.url);
  query = { file, name: file.name || "the pasted image", url: URL.createObjectURL(file), width: null, height: null };
  box = null;
  history.pushState(null, "", location.pathname);
  showView("search");
  showQuery();
  await search();
}

function showQuery() {
  $("asked").hidden = $("part").hidden = !query;
  $("browse").hidden = Boolean(query);
  drawBox();
  if (!query) return $("preview").removeAttribute("src");
  $("asked-name").textContent = query.name;
  $("preview").src = query.url ?? imageOf(query.id, PREVIEW);
  $("preview").alt = `The query, ${query.name}`;
}

$("preview").addEventListener("load", () => {
  if (query?.file) [query.width, query.height] = [$("preview").naturalWidth, $("preview").naturalHeight];
  $("part").hidden = !query?.width || !about.images;
  [["x", 0], ["y", 0], ["w", query?.width], ["h", query?.height]].forEach(([side, value]) => {
    if (!box) $(`box-${side}`).value = value ?? "";
  });
  drawBox();
});
$("preview").addEventListener("error", () => { $("asked").hidden = !query; $("part").hidden = true; });

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) attempt(() => startFromFile(file));
  $("file").value = "";
});
const fileOf = (transfer) => [...(transfer?.files ?? [])][0];
addEventListener("paste", (event) => {
  const file = fileOf(event.clipboardData);
  if (!file) return;
  event.preventDefault();
  attempt(() => startFromFile(file));
});
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").classList.remove("over"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  const file = fileOf(event.dataTransfer);
  if (file) attempt(() => startFromFile(file));
});

// ---- a part of it ----

let from = null;
const within = (value, most) => Math.min(Math.max(value, 0), most);

function place(event) {
  const area = $("preview").getBoundingClientRect();
  return { x: within(event.clientX - area.left, area.width), y: within(event.clientY - area.top, area.height), area };
}
$("canvas").addEventListener("pointerdown", (event) => {
  if (!query?.width || !about.images || event.button !== 0) return;
  from = place(event);
  $("canvas").setPointerCapture(event.pointerId);
});
$("canvas").addEventListener("pointermove", (event) => { if (from) drawBox(dragged(event)); });
$("canvas").addEventListener("pointercancel", () => { from = null; drawBox(); });
$("canvas").addEventListener("pointerup", (event) => {
  if (!from) return;
  const to = place(event), small = Math.abs(to.x - from.x) < LEAST || Math.abs(to.y - from.y) < LEAST;
  const drawn = dragged(event);
  from = null;
  if (small) return drawBox();
  searchPart(drawn);
});

function dragged(event) {
  const to = place(event), across = query.width / to.area.width, down = query.height / to.area.height;
  const x = Math.floor(Math.min(from.x, to.x) * across), y = Math.floor(Math.min(from.y, to.y) * down);
  return {
    x: Math.min(x, query.width - 1), y: Math.min(y, query.height - 1),
    w: within(Math.ceil(Math.abs(to.x - from.x) * across), query.width - x) || 1,
    h: within(Math.ceil(Math.abs(to.y - from.y) * down), query.height - y) || 1,
  };
}

function drawBox(drawn = box) {
  $("box").hidden = !drawn || !query?.width;
  if ($("box").hidden) return;
  const percent = (part, whole) => `${(100 * part) / whole}%`;
  Object.assign($("box").style, {
    left: percent(drawn.x, query.width), top: percent(drawn.y, query.height),
    width: percent(drawn.w, query.width), height: percent(drawn.h, query.height),
  });
}

function searchPart(part) {
  box = part;
  for (const side of ["x", "y", "w", "h"]) $(`box-${side}`).value = part[side];
  drawBox();
  attempt(search);
}
$("part-form").addEventListener("submit", (event) => {
  event.preventDefault();
  searchPart(Object.fromEntries(["x", "y", "w", "h"].map((side) => [side, $(`box-${side}`).valueAsNumber])));
});
$("whole").addEventListener("click", () => { box = null; drawBox(); attempt(search); });

// ---- the filter ----

function condition(column, comparison, value) {
  const name = `"${column.replaceAll('"', '""')}"`, quoted = `'${value.replaceAll("'", "''")}'`;
  if (comparison === "LIKE") return `${name} LIKE '%${value.replaceAll("'", "''")}%'`;
  const isNumber = /^(U?Int|Float)/.test(about.columns[column]) && value.trim() !== "" && Number.isFinite(Number(value));
  return `${name} ${comparison} ${isNumber ? Number(value) : quoted}`;
}
$("add").addEventListener("click", () => {
  const added = condition($("column").value, $("comparison").value, $("value").value);
  $("where").value = $("where").value.trim() ? `(${$("where").value}) AND ${added}` : added;
  attempt(search);
});
$("options").addEventListener("submit", (event) => { event.preventDefault(); attempt(search); });
$("clear").addEventListener("click", () => { $("where").value = ""; attempt(search); });
for (const id of ["k", "exclude"]) $(id).addEventListener("change", () => { if (query) attempt(search); });
$("browse").addEventListener("submit", (event) => { event.preventDefault(); attempt(() => browse()); });
$("more").addEventListener("click", () => attempt(() => browse(true)));

// ---- failures ----

async function listFailures(more = false) {
  const start = more ? shownFailures : 0;
  if (!more) say("Searching from every labelled image …");
  const found = await ask("/api/failures", { start, count: ROWS });
  const items = found.failures.map(({ query: asked, hit }) => {
    const between = make("span", { className: "between", textContent: `→ ${hit.similarity.toFixed(3)}` });
    const [left, right] = [card(asked, { first: true }), card(hit, { first: true, similarity: false })].map((item) => make("div", { className: "hit" }, ...item.children));
    return make("li", { className: "failure" }, left, between, right);
  });
  if (more) $("failures").append(...items);
  else $("failures").replaceChildren(...items);
  shownFailures = start + items.length;
  $("more-failures").hidden = shownFailures >= found.wrong;
  if (!found.labelled) {
    $("failures-note").textContent = "The rows of this index have no labels, so that nothing says which hits are wrong.";
  } else {
    const alone = found.labelled - found.findable;
    const right = found.queries ? ` R@1 is ${(100 * (1 - found.wrong / found.queries)).toFixed(1)} %.` : "";
    $("failures-note").textContent =
      `Of ${count(found.queries, "labelled image", "labelled images")}${found.queries < found.findable ? `, evenly spaced among ${found.findable.toLocaleString()},` : ""} ` +
      `the nearest other file of ${found.wrong.toLocaleString()} has another label; the most similar come first.${right}` +
      (alone ? ` ${count(alone, "image is", "images are")} left out: no other file has the label.` : "");
  }
  say(`${count(found.wrong, "failure", "failures")}.`);
}
$("more-failures").addEventListener("click", () => attempt(() => listFailures(true)));

// ---- why ----

async function explain(row) {
  const parameters = { hit: row.id, id: query.file ? null : query.id };
  if (box) parameters.box = [box.x, box.y, box.w, box.h].join(",");
  say("Looking at the parts …");
  const why = await ask("/api/why", parameters, query.file ?? null);
  $("why-note").textContent = why.note;
  $("why-images").replaceChildren();
  for (const [title, source, map, part] of [
    ["The query", query.url ?? imageOf(query.id, PREVIEW), why.query, box],
    [row.id, imageOf(row.id, PREVIEW), why.hit, null],
  ]) {
    const canvas = make("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${title}, brighter where it adds more to the similarity`);
    $("why-images").append(make("figure", {}, canvas, make("figcaption", { textContent: title })));
    const image = make("img", { src: source });
    await image.decode().then(() => heat(canvas, image, map, part), () => {});
  }
  say("");
  $("why").showModal();
}

// The image, from dark, where it adds least, to bright, where it adds most. `seen`: the part of it that the backbone sees, as shares of its sides.
function heat(canvas, image, map, part) {
  const scale = part ? image.naturalWidth / query.width : 1;
  const [left, top] = part ? [part.x * scale, part.y * scale] : [0, 0];
  const [width, height] = part ? [part.w * scale, part.h * scale] : [image.naturalWidth, image.naturalHeight];
  [canvas.width, canvas.height] = [Math.round(width), Math.round(height)];
  const [rows, columns] = [map.values.length, map.values[0].length];
  const all = map.values.flat(), least = Math.min(...all), range = Math.max(Math.max(...all) - least, 1e-9);
  const small = make("canvas", { width: columns, height: rows }), pixels = new ImageData(columns, rows);
  all.forEach((value, at) => pixels.data.set([0, 0, 0, Math.round(DARKEST * (1 - (value - least) / range))], 4 * at));
  small.getContext("2d").putImageData(pixels, 0, 0);
  const paint = canvas.getContext("2d"), [x, y, w, h] = map.seen;
  paint.drawImage(image, left, top, width, height, 0, 0, canvas.width, canvas.height);
  paint.fillStyle = "rgb(0 0 0 / 78%)";
  paint.beginPath();
  paint.rect(0, 0, canvas.width, canvas.height);
  paint.rect(x * canvas.width, y * canvas.height, w * canvas.width, h * canvas.height);
  paint.fill("evenodd");
  paint.drawImage(small, x * canvas.width, y * canvas.height, w * canvas.width, h * canvas.height);
}

// ---- where one is ----

function showView(name) {
  for (const view of ["search", "failures"]) $(`${view}-view`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function route() {
  const place = location.hash.slice(1), id = new URLSearchParams(place).get("id");
  showView(place === "failures" ? "failures" : "search");
  attempt(() => (place === "failures" ? listFailures() : id !== null ? startFromRow(id) : browse()));
}
addEventListener("hashchange", route);

attempt(async () => {
  about = await ask("/api/index");
  document.title = `${about.name} · probe serve`;
  $("name").textContent = `${about.name}, ${count(about.rows, "image", "images")}`;
  $("column").append(...Object.keys(about.columns).map((name) => make("option", { value: name, textContent: name })));
  if (about.columns.label) $("column").value = "label";
  $("promise").textContent = about.promise ?? "";
  $("choose").disabled = !about.images;
  route();
});
