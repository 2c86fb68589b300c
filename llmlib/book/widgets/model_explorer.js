// A table to sort, filter and search, and the same rows as points: those that it shows are lit.
const LABELED = 14; // so many points have room for their names

/** What the reader chose, by name. */
function chosen(model) {
  const [group, filter, sort, x, y, turned, text] = model.get("at");
  const spec = model.get("spec"), descending = spec.columns[sort].descending !== (turned === sort);
  return { group, filter, sort, x: spec.axes[x], y: spec.axes[y], text, descending };
}

/** The rows that filter and search leave, in order; what is not known comes last. */
function rowsOf(spec, { filter, sort, text, descending }) {
  const column = spec.columns[sort], keys = column.values || column.texts, sign = descending ? -1 : 1;
  const plain = (word) => word.toLowerCase().replace(/[-\s]+/g, " "), wanted = plain(text.trim());
  const said = (row) => [spec.names[row], ...spec.columns.filter((c) => c.searched).map((c) => c.texts[row])];
  const rows = spec.names.map((_, row) => row).filter((row) => spec.filters[filter][row]
    && said(row).some((word) => plain(word).includes(wanted)));
  const compare = (a, b) => (typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true }));
  return rows.sort((a, b) => {
    if (keys[a] === null || keys[b] === null) return (keys[a] === null) - (keys[b] === null) || a - b;
    return sign * compare(keys[a], keys[b]) || a - b;
  });
}

function domain(values, log) {
  const known = values.filter((value) => value !== null);
  const low = Math.min(...known), high = Math.max(...known);
  if (log) return [low / (high / low) ** 0.05, high * (high / low) ** 0.05];
  const room = (high - low) * 0.06 || 1;
  return [low - room, high + room];
}

/** A name beside its point where no other name stands yet; returns whether there was room. */
function label(root, name, x, y, area, taken) {
  const size = 6.4 * name.length, right = x + 9 + size < area.x + area.width;
  const left = right ? x + 9 : x - 9 - size;
  const hit = taken.some((box) => Math.abs(box.y - y) < 13 && left < box.left + box.size && box.left < left + size);
  if (hit) return false;
  taken.push({ left, y, size });
  svg("text", { x: (right ? x + 9 : x - 9).toFixed(1), y: (y + 4).toFixed(1), "text-anchor": right ? "start" : "end",
    style: "font-size:11px" }, root, name);
  return true;
}

function drawPoints(parent, spec, { x: across, y: upward }, rows, width) {
  const [h, v] = [spec.columns[across], spec.columns[upward]];
  const kinds = Object.entries(spec.kinds), colorOf = (row) => 1 + kinds.findIndex(([, has]) => has[row]);
  const box = html("div", { class: "lm-panel", style: `width:${width}px` }, parent);
  legend(box, [...kinds.map(([name], k) => ({ color: k + 1, label: name, dots: true })),
    ...(rows.length < spec.names.length ? [{ color: 6, label: "not in the table", dots: true, hollow: true }] : [])]);
  const panel = { x_label: h.axis, y_label: v.axis, x_log: h.log, y_log: v.log, y_range: domain(v.values, v.log) };
  const plot = axes(box, { width, height: 270, panel, xDomain: domain(h.values, h.log) });
  const shown = new Set(rows), named = new Set(), taken = [], marks = new Map();
  const placed = spec.names.map((_, row) => row).filter((row) => h.values[row] !== null && v.values[row] !== null);
  for (const row of placed.sort((a, b) => shown.has(a) - shown.has(b))) {
    const x = plot.x(h.values[row]), y = plot.y(v.values[row]);
    const look = shown.has(row) ? { r: 5, fill: color(colorOf(row)), "fill-opacity": 0.7 }
      : { r: 3, fill: "none", stroke: color(6), "stroke-opacity": 0.6 };
    marks.set(row, svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), ...look }, plot.root));
    if (shown.has(row) && rows.length <= LABELED && label(plot.root, spec.names[row], x, y, plot.area, taken)) named.add(row);
  }
  return { plot, marks, named };
}

function drawHead(table, spec, shown, state, sortBy) {
  const head = html("tr", {}, html("thead", {}, table));
  for (const index of shown) {
    const column = spec.columns[index], sorted = index === state.sort;
    const cell = html("th", { scope: "col", ...(column.values ? { class: "lm-number" } : {}),
      "aria-sort": sorted ? (state.descending ? "descending" : "ascending") : "none" }, head);
    const button = html("button", { type: "button", "data-column": index }, cell, column.label);
    html("span", { "aria-hidden": "true" }, button, sorted ? (state.descending ? "\u00a0▼" : "\u00a0▲") : "");
    button.dataset.lmSuppressShortcuts = "true";
    button.addEventListener("click", () => sortBy(index));
  }
  return head;
}

/** Above a table that is wider than its box: how many columns lie to the right, out of sight. */
function sayThatItScrolls(parent, box, head) {
  const hint = html("p", { class: "lm-note" }, parent);
  parent.insertBefore(hint, box);
  const say = () => {
    const edge = box.scrollLeft + box.clientWidth + 1;
    const hidden = [...head.children].filter((cell) => cell.offsetLeft + cell.offsetWidth > edge).length;
    hint.textContent = hidden ? `The table scrolls sideways: ${hidden} more ${hidden > 1 ? "columns" : "column"} →` : "";
  };
  box.addEventListener("scroll", say);
  say();
}

function drawTable(parent, spec, state, rows, sortBy) {
  const group = spec.controls[0].labels[state.group], title = spec.controls[1].labels[state.filter];
  const shown = spec.columns.map((_, index) => index)
    .filter((index) => index === 0 || spec.columns[index].groups.includes(group) || index === state.sort);
  const box = html("div", { class: "lm-table lm-cards-box", role: "region", tabindex: 0, "aria-label": "table of model cards" },
    parent);
  const table = html("table", {}, box);
  const way = state.descending ? "descending" : "ascending";
  html("caption", {}, table, `${rows.length} of ${spec.names.length} cards (${title}), by ${spec.columns[state.sort].label}, ${way}`);
  const head = drawHead(table, spec, shown, state, sortBy);
  const body = html("tbody", {}, table), lines = new Map();
  for (const row of rows) {
    const line = html("tr", {}, body);
    shown.forEach((index, k) => {
      const column = spec.columns[index];
      const look = column.values ? { class: "lm-number" } : column.prose ? { class: "lm-prose" } : {};
      html(k ? "td" : "th", k ? look : { scope: "row" }, line, column.texts[row]);
    });
    lines.set(row, line);
  }
  if (!rows.length) html("td", { colspan: shown.length }, html("tr", {}, body), "No card matches.");
  sayThatItScrolls(parent, box, head);
  return lines;
}

/** A pointer on a row lights its point and names it, and the other way round. */
function tieTogether(spec, { plot, marks, named }, lines) {
  for (const [row, line] of lines) {
    const mark = marks.get(row);
    if (!mark) continue;
    let name = null;
    const [x, y] = [Number(mark.getAttribute("cx")), Number(mark.getAttribute("cy"))];
    const light = (on) => {
      line.classList.toggle("lm-lit-row", on);
      mark.setAttribute("r", on ? 8 : 5);
      name?.remove();
      name = null;
      if (!on || named.has(row)) return;
      const right = x < plot.area.x + plot.area.width / 2;
      name = svg("text", { class: "lm-mark-text lm-halo", x: right ? x + 12 : x - 12, y: y + 4,
        "text-anchor": right ? "start" : "end" }, plot.root, spec.names[row]);
    };
    for (const element of [line, mark]) {
      element.addEventListener("pointerenter", () => light(true));
      element.addEventListener("pointerleave", () => light(false));
    }
  }
}

/** How many cards are shown, and the first and last of those whose place in the order is known. */
function sentence(spec, state, rows) {
  const column = spec.columns[state.sort], shown = `${rows.length} of ${spec.names.length} cards`;
  const known = rows.filter((row) => !column.values || column.values[row] !== null);
  if (!known.length) return `${shown}; for none of them ${column.label} is known.`;
  const said = (row) => spec.names[row] + (state.sort && !column.prose ? ` (${column.texts[row]})` : "");
  const last = known.length > 1 ? `, the last ${said(known[known.length - 1])}` : "";
  const rest = rows.length > known.length ? `; ${rows.length - known.length} without a number` : "";
  return `${shown}; by ${column.label}, the first is ${said(known[0])}${last}${rest}.`;
}

function searchField(model, el) {
  const row = html("label", { class: "lm-control" }, el.querySelector(".lm-controls"));
  html("span", { class: "lm-name" }, row, "search");
  const input = html("input", { type: "text", maxlength: 30, autocomplete: "off", placeholder: "llama, SwiGLU, GQA …" }, row);
  input.dataset.lmSuppressShortcuts = "true";
  input.value = model.get("at")[6];
  input.addEventListener("input", () => {
    model.set("at", [...model.get("at").slice(0, 6), input.value]);
    model.save_changes();
  });
}

function render({ model, el }) {
  el.classList.add("lm-cards");
  const sortBy = (index) => {
    const at = [...model.get("at")], before = el.querySelector(".lm-cards-box").scrollLeft;
    at[5] = at[2] === index && at[5] !== index ? index : -1;
    at[2] = index;
    model.set("at", at);
    model.save_changes();
    el.querySelector(".lm-cards-box").scrollLeft = before;
    el.querySelector(`button[data-column="${index}"]`).focus({ preventScroll: true });
  };
  explorer(model, el, (figure, width) => {
    const spec = model.get("spec"), state = chosen(model), rows = rowsOf(spec, state);
    const points = drawPoints(figure, spec, state, rows, width);
    tieTogether(spec, points, drawTable(figure, spec, state, rows, sortBy));
    if (!rows.length) return "No card matches.";
    return sentence(spec, state, rows);
  });
  searchField(model, el);
}

export default { render };
