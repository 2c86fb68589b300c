// What all pictures share: elements, number formats, scales, axes, controls, legends.
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes = {}, parent = null, text = null) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

function html(tag, attributes = {}, parent = null, text = null) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== null) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

let serial = 0;
const uniqueId = (prefix) => `${prefix}-${Date.now().toString(36)}-${++serial}`;
const color = (number) => `var(--series-${number})`;

/** A number as the page shows it: a few significant digits and a true minus sign. */
function format(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e6)
    ? value.toExponential(1).replace("e+", "e")
    : String(Number(value.toPrecision(digits)));
  return text.replace(/-/g, "−");
}

/**
 * What a typed number may mean: first as this book writes it, 4,096 and 0.966, then as others do,
 * 4.096 and 0,966. Empty for what is no number.
 */
function readings(text) {
  const plain = text.normalize("NFKC").trim().replace(/[−–]/g, "-").replace(/(\d)[\s_'’](?=\d)/g, "$1");
  const part = plain.match(/^([^/%]+)(?:\/([^/%]+)|(%))$/);
  if (part) {
    const below = part[3] ? [100] : readings(part[2]);
    return readings(part[1]).flatMap((above) => below.map((under) => above / under)).filter(Number.isFinite);
  }
  const exponent = "(e[+-]?\\d+)?$";
  const as = (pattern, rewrite) => (RegExp(pattern + exponent, "i").test(plain) ? [Number(rewrite(plain))] : []);
  const found = [
    ...as("^[+-]?(\\d+\\.?\\d*|\\.\\d+)", (number) => number),
    ...as("^[+-]?[1-9]\\d{0,2}(,\\d{3})+(\\.\\d*)?", (number) => number.replaceAll(",", "")),
    ...as("^[+-]?\\d*,\\d+", (number) => number.replace(",", ".")),
    ...as("^[+-]?[1-9]\\d{0,2}(\\.\\d{3})+(,\\d*)?", (number) => number.replaceAll(".", "").replace(",", ".")),
  ];
  return [...new Set(found)].filter(Number.isFinite);
}

/** Maps [low, high] to [from, to]; the logarithmic one maps powers evenly. */
function scale([low, high], [from, to], log = false) {
  const f = log ? Math.log10 : (value) => value;
  const size = f(high) - f(low) || 1;
  return (value) => from + ((f(value) - f(low)) / size) * (to - from);
}

function ticks([low, high], count, log = false) {
  if (log) {
    const first = Math.ceil(Math.log10(low) - 1e-9), last = Math.floor(Math.log10(high) + 1e-9);
    const step = Math.max(1, Math.ceil((last - first) / count));
    const powers = [];
    for (let power = first; power <= last; power += step) powers.push(10 ** power);
    if (powers.length > 1) return powers;
    return [low, Math.sqrt(low * high), high].map((value) => Number(value.toPrecision(2)));
  }
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
  const values = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) {
    values.push(Number((k * step).toPrecision(10)));
  }
  return values;
}

/** An empty plot with grid, ticks and axis labels; returns its scales and a clipped layer. */
function axes(parent, { width, height, panel, xDomain, xTicks = null }) {
  const left = 52, right = 12, top = 10, bottom = panel.x_label ? 42 : 26;
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" }, parent);
  const x = scale(xDomain, [left, width - right], panel.x_log);
  const y = scale(panel.y_range, [height - bottom, top], panel.y_log);
  const grid = svg("g", { class: "lm-grid" }, root);
  const labels = svg("g", { class: "lm-ticks" }, root);
  for (const value of ticks(panel.y_range, height < 150 ? 3 : 5, panel.y_log)) {
    svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) }, grid);
    svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, labels, format(value));
  }
  for (const value of xTicks || ticks(xDomain, width < 360 ? 4 : 6, panel.x_log)) {
    svg("line", { x1: x(value), x2: x(value), y1: top, y2: height - bottom }, grid);
    svg("text", { x: x(value), y: height - bottom + 16, "text-anchor": "middle" }, labels, format(value));
  }
  axisLabels(root, panel, { left, right, top, bottom, width, height });
  const clip = uniqueId("lm-clip");
  const area = { x: left, y: top, width: width - left - right, height: height - top - bottom };
  svg("rect", area, svg("clipPath", { id: clip }, root));
  return { root, x, y, area, layer: svg("g", { "clip-path": `url(#${clip})` }, root) };
}

function axisLabels(root, panel, { left, right, top, bottom, width, height }) {
  const middle = (top + height - bottom) / 2;
  svg("text", { class: "lm-axis", "text-anchor": "middle", transform: `translate(13 ${middle}) rotate(-90)` },
    root, panel.y_label);
  if (panel.x_label) {
    svg("text", { class: "lm-axis", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" },
      root, panel.x_label);
  }
}

/** One row per control; every change writes the trait `at`, and whoever listens redraws. */
function controls(model, parent) {
  const box = html("div", { class: "lm-controls" }, parent);
  const all = model.get("spec").controls;
  // Room for the longest label, so that sliders are equally long and stay so while they move.
  const sliders = all.filter((control) => control.kind === "slider");
  const longest = Math.max(0, ...sliders.flatMap((control) => control.labels.map((label) => label.length)));
  const rows = all.map((control, index) => {
    const row = html("label", { class: "lm-control" }, box);
    html("span", { class: "lm-name" }, row, control.label);
    const input = control.kind === "choice" ? options(row, control) : slider(row, control);
    // On the input itself, or JupyterLab takes its arrow keys.
    input.dataset.lmSuppressShortcuts = "true";
    input.addEventListener("input", () => {
      const at = [...model.get("at")];
      at[index] = Number(input.value);
      model.set("at", at);
      model.save_changes();
    });
    const output = control.kind === "slider" ? html("output", {}, row) : null;
    if (output) output.style.minWidth = `${longest + 1}ch`;
    return { control, input, output };
  });
  return () => rows.forEach(({ control, input, output }, index) => {
    const stop = model.get("at")[index];
    input.value = stop;
    if (!output) return;
    output.textContent = control.labels[stop];
    input.setAttribute("aria-valuetext", control.labels[stop]);
  });
}

function slider(row, control) {
  return html("input", { type: "range", min: 0, max: control.labels.length - 1, step: 1 }, row);
}

function options(row, control) {
  const select = html("select", {}, row);
  control.labels.forEach((label, index) => html("option", { value: index }, select, label));
  return select;
}

/** The index of the frame that belongs to the chosen stops: the last control varies fastest. */
function frameIndex(model, count = model.get("spec").controls.length) {
  const sizes = model.get("spec").controls.map((control) => control.labels.length);
  let index = 0;
  for (let k = 0; k < count; k++) index = index * sizes[k] + model.get("at")[k];
  return index;
}

function legend(parent, entries) {
  const list = html("ul", { class: "lm-legend" }, parent);
  for (const entry of entries) {
    const item = html("li", {}, list);
    const swatch = svg("svg", { width: 26, height: 10, "aria-hidden": "true" }, item);
    if (entry.area) svg("rect", { x: 8, width: 10, height: 10, fill: color(entry.color) }, swatch);
    else if (entry.dots) svg("circle", { cx: 13, cy: 5, r: 3.5,
      ...(entry.hollow ? { fill: "none", stroke: color(entry.color) } : { fill: color(entry.color) }) }, swatch);
    else {
      svg("line", { x1: 1, x2: 25, y1: 5, y2: 5, stroke: color(entry.color), "stroke-width": 2.5,
        ...(entry.dash ? { "stroke-dasharray": "5 4" } : {}) }, swatch);
    }
    item.append(entry.label);
  }
}

/**
 * Builds a widget: controls, figure, note. `draw(figure, width)` runs at every change, on an empty
 * figure unless the kind of picture `keeps` parts of it.
 */
function explorer(model, el, draw, { keeps = false } = {}) {
  el.classList.add("lm-explorer");
  const sync = controls(model, el);
  const figure = html("div", { class: "lm-figure", translate: "no" }, el);
  const note = html("p", { class: "lm-note", "aria-live": "polite" }, el);
  // Known from here on: asking for it at every change would lay the whole page out anew.
  let width = el.clientWidth;
  const redraw = () => {
    sync();
    if (!keeps) figure.replaceChildren();
    const text = draw(figure, Math.max(260, Math.min(width || 640, 760))) || "";
    note.textContent = text;
    note.hidden = !text;
    const name = [model.get("alt"), text].filter(Boolean).join(" ");
    figure.querySelectorAll("svg[role=img]").forEach((root) => root.setAttribute("aria-label", name));
  };
  for (const name of ["at", "frames", "spec"]) model.on(`change:${name}`, redraw);
  redraw();
  new ResizeObserver(() => {
    if (el.clientWidth !== width) { width = el.clientWidth; redraw(); }
  }).observe(el);
}
