// What a calculator draws: bars, tables, results and the roofline of a chip.

// --- bars and tables -------------------------------------------------------------------------------

function givenLine(parent, spec, state, values) {
  const line = html("p", { class: "lm-given" }, parent);
  line.append(state.preset ? spec.presets[state.preset - 1].label : "Your own", ": ");
  spec.fields.forEach(({ letter }, k) => {
    const part = html("span", {}, line);
    letterHtml(part, letter);
    part.append(` = ${values[letter] === undefined ? "?" : group(values[letter])}`);
    line.append(k < spec.fields.length - 1 ? ", " : "");
  });
  spec.picks.forEach((pick, k) => line.append(`; ${pick.shown}${pick.options[state.pick[k]].label}`));
  line.append(".");
}

function messages(parent, faults, isStale) {
  const box = html("div", { class: "lm-faults" }, parent);
  for (const { letter, text } of faults) {
    const line = html("p", {}, box, "⚠ ");
    letterHtml(line, letter);
    line.append(` ${text}`);
  }
  if (isStale) html("p", {}, box, "The picture below still shows the last numbers that made sense.");
}

const groupValue = (partGroup, results) => partGroup.parts.reduce((sum, { name }) => sum + results[name], 0);
const barTotal = (bar, results) => bar.groups.reduce((sum, one) => sum + groupValue(one, results), 0);

/** Returns the name and color of each segment that has no room for its name. */
function drawBar(parent, bar, results, printed, changed, width) {
  const total = barTotal(bar, results), limit = bar.limit && results[`${bar.name}:limit`];
  const whole = Math.max(total, limit || 0);
  const strip = html("div", { class: "lm-strip", role: "img", "aria-label": barSentence(bar, results, total) }, parent);
  const nameless = [];
  bar.groups.forEach((partGroup, k) => {
    const value = groupValue(partGroup, results);
    if (!value) return;
    const room = (width * value) / whole, name = `${partGroup.label} ${percent(value / total)}`;
    const isLit = partGroup.parts.some(({ name: part }) => moved(printed[part], changed));
    const style = `flex-basis:${(100 * value) / whole}%;--own:${color(k + 1)}`;
    const segment = html("div", { class: isLit ? "lm-segment lm-lit" : "lm-segment", style, title: name }, strip);
    for (const { name: part } of partGroup.parts) {
      if (results[part]) html("i", { style: `flex-grow:${results[part] / value}` }, segment);
    }
    const label = room > 7.2 * name.length + 10 ? name : room > 38 ? percent(value / total) : "";
    html("span", {}, segment, label);
    if (label !== name) nameless.push([name, color(k + 1)]);
  });
  if (limit) drawLimit(parent, strip, (100 * limit) / whole, `${bar.limit}: ${UNITS[bar.unit](limit)}`);
  return nameless;
}

/** Names of the segments that were too narrow for theirs; a screen reader has them from the bar. */
function drawKeys(parent, nameless) {
  const keys = html("p", { class: "lm-keys", "aria-hidden": "true" }, parent);
  for (const [name, own] of nameless) {
    const key = html("span", {}, keys);
    html("span", { class: "lm-swatch", style: `--own:${own}` }, key);
    key.append(name);
  }
}

/** A line across the bar; its name stands on the side that has room. */
function drawLimit(parent, strip, at, text) {
  html("b", { class: "lm-limit", style: `left:${at}%` }, strip);
  const isRight = at > 55, room = `max(0px, ${isRight ? 100 - at : at}% - 0.4em)`;
  html("p", { class: "lm-limit-label", style: isRight ? `text-align:right;padding-right:${room}` : `padding-left:${room}` },
    parent, isRight ? `${text} ▲` : `▲ ${text}`);
}

function barSentence(bar, results, total) {
  const parts = bar.groups.map((one) => [one.label, groupValue(one, results)]).filter(([, value]) => value)
    .map(([label, value]) => `${label} ${percent(value / total)}`);
  return `${bar.title}: ${UNITS[bar.unit](total)}. ${parts.join(", ")}.`;
}

function drawRows(body, partGroup, k, { bar, results, printed, changed }) {
  const parts = partGroup.parts.filter(({ name }) => results[name]);
  if (!parts.length) return;
  const value = groupValue(partGroup, results), share = percent(value / barTotal(bar, results));
  const single = parts.length === 1;
  const row = (label, products, count, isHead) => {
    const line = html("tr", { class: isHead ? "lm-group" : "lm-part" }, body);
    const name = html("th", { scope: "row" }, line);
    if (isHead) html("span", { class: "lm-swatch", style: `--own:${color(k + 1)}`, "aria-hidden": "true" }, name);
    name.append(label);
    if (isHead) html("span", { class: "lm-share" }, name, ` ${share}`);
    const middle = html("td", {}, line);
    if (products) formulaHtml(middle, products, changed);
    html("td", { class: "lm-number" }, line, UNITS[bar.unit](count));
  };
  row(partGroup.label, single ? printed[parts[0].name] : null, value, true);
  if (!single) parts.forEach(({ name, label }) => row(label, printed[name], results[name], false));
}

function drawTable(parent, drawn, isTitled) {
  const { bar } = drawn, headings = ["component", "formula", { flops: "FLOPs", bytes: "bytes" }[bar.unit] || "count"];
  const region = { role: "region", tabindex: 0, "aria-label": `${bar.title}, by component` };
  const box = html("div", { class: "lm-table lm-parts", ...region }, parent);
  const table = html("table", {}, box);
  if (isTitled) html("caption", {}, table, bar.title);
  const head = html("tr", {}, html("thead", {}, table));
  headings.forEach((title, k) => html("th", { scope: "col", ...(k === 2 ? { class: "lm-number" } : {}) }, head, title));
  const body = html("tbody", {}, table);
  bar.groups.forEach((partGroup, k) => drawRows(body, partGroup, k, drawn));
}

/** What a bar and its table are drawn from. */
function prepare(spec, state, { values, results, largest }, bar) {
  const parts = bar.groups.flatMap((one) => one.parts)
    .map(({ name, products, cases }) => ({ name, products: products || cases[largest] }));
  const printed = parts.map(({ name, products }) => [name, simplify(spec, state, values, products)]);
  const whole = simplify(spec, state, values, parts.flatMap(({ products }) => products));
  const when = bar.largest ? spec.largest.shown.replace("{}", spec.largest.names[largest]) : "";
  // One bar has its table right below, with the colors' names.
  const isFolded = spec.bars.length > 1;
  return { bar, results, whole, when, isFolded, printed: Object.fromEntries(printed), changed: state.changed };
}

function drawSection(parent, drawn, width) {
  const { bar, results, printed, whole, when, changed, isFolded } = drawn;
  const section = html("div", { class: "lm-section" }, parent);
  const title = html("p", { class: "lm-title" }, section, `${bar.title}: `);
  html("strong", {}, title, UNITS[bar.unit](barTotal(bar, results)));
  if (when) html("span", { class: "lm-when" }, title, ` ${when}`);
  const nameless = drawBar(section, bar, results, printed, changed, width);
  if (isFolded && nameless.length) drawKeys(section, nameless);
  formulaHtml(html("p", { class: "lm-whole" }, section, "= "), whole, changed);
}

function drawResults(parent, spec, results) {
  const list = html("dl", { class: "lm-results" }, parent);
  for (const { name, label, unit } of spec.results) {
    const item = html("div", {}, list);
    html("dt", {}, item, label);
    const shown = html("dd", {}, item, UNITS[unit](results[name]));
    const isWhole = Number.isInteger(results[name]) && results[name] < EXACT;
    if (hasDigits(unit) && isWhole && results[name] >= 1e3) html("span", {}, shown, ` = ${group(results[name])}`);
  }
}

// --- the roofline ------------------------------------------------------------------------------

function drawRoof(parent, spec, results, width) {
  const peak = results["roof:peak"] / 1e12, bandwidth = results["roof:bandwidth"] / 1e12;
  const steps = spec.roof.map((label) => {
    const flops = results[`roof:${label}:flops`], moved = results[`roof:${label}:bytes`];
    return { label, x: flops / moved, y: Math.min(peak, (flops / moved) * bandwidth),
      isOnRoof: (flops / moved) * bandwidth >= peak };
  });
  const low = Math.min(0.1, ...steps.map(({ x }) => 10 ** Math.floor(Math.log10(x))));
  // A little beyond the last power, so that its tick has room.
  const high = 2 * Math.max(1e5, ...steps.map(({ x }) => 10 ** Math.ceil(Math.log10(x))));
  const bottom = 10 ** Math.floor(Math.log10(low * bandwidth)), top = 10 ** Math.ceil(Math.log10(peak * 1.5));
  const box = html("div", { class: "lm-panel lm-roof" }, parent);
  html("p", { class: "lm-title" }, box, "The chip's roof, and where the two steps stand");
  const panel = { x_label: "FLOPs per byte moved", y_label: "TFLOP/s", x_log: true, y_log: true, y_range: [bottom, top] };
  const plot = axes(box, { width, height: Math.round(Math.min(280, 150 + width * 0.25)), panel, xDomain: [low, high] });
  const ridge = peak / bandwidth, at = (x, y) => `${plot.x(x).toFixed(1)} ${plot.y(y).toFixed(1)}`;
  svg("path", { d: `M${at(low, low * bandwidth)}L${at(ridge, peak)}L${at(high, peak)}`, class: "lm-roofline" }, plot.layer);
  svg("line", { class: "lm-cursor", x1: plot.x(ridge), x2: plot.x(ridge), y1: plot.y(peak), y2: plot.y(bottom) }, plot.layer);
  svg("text", { x: plot.x(ridge) + 6, y: plot.y(bottom) - 8 }, plot.root, `${few(ridge)} FLOPs per byte`);
  steps.forEach((step, k) => drawStep(plot, step, k));
}

function drawStep({ root, x, y, area }, step, k) {
  const cx = x(step.x), cy = y(step.y), onLeft = cx > area.x + area.width * 0.6;
  if (k) svg("rect", { x: cx - 5.5, y: cy - 5.5, width: 11, height: 11, class: "lm-mark" }, root);
  else svg("circle", { cx, cy, r: 6, class: "lm-mark" }, root);
  // On the roof the first label stands above, where nothing is; on the slope both stand below it.
  const y0 = step.isOnRoof && !k ? cy - 12 : cy + 20;
  const place = { x: cx + (onLeft ? 8 : 10), y: y0, "text-anchor": onLeft ? "end" : "start" };
  svg("text", { class: "lm-mark-text", ...place }, root, `${step.label}: ${few(step.x)}`);
}
