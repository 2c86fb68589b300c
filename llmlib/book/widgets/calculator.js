// A calculator. Its formulas come from Python as JavaScript and as lists of products; here they are
// fed with what stands in the boxes. calculator_formulas.js prints them, calculator_picture.js draws.

// --- the controls ------------------------------------------------------------------------------

function listen(input, event, action) {
  input.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes its keys
  input.addEventListener(event, action);
  return input;
}

function selectBox(parent, label, labels, action) {
  const row = html("label", { class: "lm-pick" }, parent);
  html("span", {}, row, label);
  const select = listen(html("select", {}, row), "input", () => action(Number(select.value)));
  labels.forEach((text, index) => html("option", { value: index }, select, text));
  return select;
}

function checkBox(parent, action) {
  const row = html("label", { class: "lm-check" }, parent);
  const input = listen(html("input", { type: "checkbox" }, row), "input", () => action(input.checked));
  return { row, input };
}

function numberBox(parent, field, change) {
  const box = html("div", { class: "lm-field", "data-letter": field.letter }, parent);
  const id = uniqueId("lm-field");
  const label = html("label", { for: id }, box);
  letterHtml(label, field.letter);
  html("span", {}, label, ` ${field.label}`);
  const kind = { type: "text", inputmode: "numeric", autocomplete: "off", size: 9, maxlength: 40 };
  const input = listen(html("input", { ...kind, id }, box), "input", () => change({ text: input.value }));
  let follow = null, slider = null;
  if (field.stops.length) {
    const range = { type: "range", min: 0, max: field.stops.length - 1, step: 1 };
    slider = listen(html("input", { ...range, "aria-label": `${field.label}, slider` }, box), "input",
      () => change({ text: group(field.stops[slider.value]) }));
  }
  if (field.follows) {
    // What it followed to stays when it is let go.
    follow = checkBox(box, (on) => change({ follow: on, text: on ? undefined : input.value }));
    follow.row.append("= ");
    productHtml(follow.row, { factor: field.follows.product[0], powers: field.follows.product[1] });
  }
  return { field, input, slider, follow };
}

/** Builds every control; returns what shows a state in them. */
function calculatorControls(spec, model, el, faultId) {
  const state = () => model.get("state");
  const edit = (letters, changes) => {
    const preset = changes.preset ?? keptPreset(spec, state(), letters);
    model.set("state", { ...state(), changed: letters[0] || "", ...changes, preset });
    model.save_changes();
  };
  const top = html("div", { class: "lm-picks" }, el);
  const names = ["your own", ...spec.presets.map(({ label }) => label)];
  const preset = selectBox(top, "model", names, (index) => edit([], presetState(spec, state(), index)));
  const picks = spec.picks.map(({ label, options }, k) => selectBox(top, label, options.map((option) => option.label),
    (index) => edit(Object.keys(options[0].numbers), { pick: state().pick.map((old, j) => (j === k ? index : old)) })));
  const sliding = html("div", { class: "lm-fields lm-sliding" }, el), short = html("div", { class: "lm-fields" }, el);
  const boxes = spec.fields.map((field) => numberBox(field.stops.length ? sliding : short, field,
    ({ text = state().text[field.letter], follow = false }) => edit([field.letter], {
      text: { ...state().text, [field.letter]: text },
      follow: { ...state().follow, ...(field.follows ? { [field.letter]: follow } : {}) },
    })));
  const bottom = html("div", { class: "lm-checks" }, el);
  const toggles = spec.toggles.map(({ letter, label }) => {
    const { row, input } = checkBox(bottom, (on) => edit([letter], { on: { ...state().on, [letter]: Number(on) } }));
    row.append(label);
    row.dataset.letter = letter;
    return { letter, input };
  });
  return ({ values, faults }) => {
    preset.value = state().preset;
    picks.forEach((select, k) => { select.value = state().pick[k]; });
    toggles.forEach(({ letter, input }) => { input.checked = Boolean(state().on[letter]); });
    boxes.forEach((box) => showBox(box, state(), values, faults, faultId));
  };
}

/** A preset says nothing about a batch or a chip: changing those keeps its name. */
function keptPreset(spec, state, letters) {
  const preset = spec.presets[state.preset - 1];
  const isTouched = preset && letters.some((letter) => letter in preset.text || letter in preset.on
    || spec.picks.some((pick, k) => k in preset.pick && letter in pick.options[0].numbers));
  return isTouched ? 0 : state.preset;
}

function presetState(spec, state, index) {
  if (!index) return { preset: 0 };
  const { text, follow, on, pick } = spec.presets[index - 1];
  return { preset: index, text: { ...state.text, ...text }, follow: { ...state.follow, ...follow },
    on: { ...state.on, ...on }, pick: state.pick.map((old, k) => pick[k] ?? old) };
}

function showBox({ field, input, slider, follow }, state, values, faults, faultId) {
  const follows = Boolean(state.follow[field.letter]), value = values[field.letter];
  const text = follows ? (value === undefined ? "" : group(value)) : state.text[field.letter];
  if (input.value !== text) input.value = text;
  input.classList.toggle("lm-follows", follows);
  const isWrong = faults.some(({ letter }) => letter === field.letter);
  input.setAttribute("aria-invalid", String(isWrong));
  if (isWrong) input.setAttribute("aria-describedby", faultId);
  else input.removeAttribute("aria-describedby");
  if (follow) follow.input.checked = follows;
  if (!slider) return;
  if (value !== undefined) slider.value = nearest(field.stops, value);
  slider.setAttribute("aria-valuetext", value === undefined ? "not a number" : group(value));
}

/** The stop nearest on a logarithmic scale. */
function nearest(stops, value) {
  const far = (stop) => Math.abs(Math.log((stop + 1) / (value + 1)));
  return stops.reduce((best, stop, k) => (far(stop) < far(stops[best]) ? k : best), 0);
}

// --- all of it ---------------------------------------------------------------------------------

/** As llmlib/book/widgets/base.py computes it. */
function fingerprint(text) {
  let value = 0x811c9dc5;
  for (let k = 0; k < text.length; k++) value = Math.imul(value ^ text.charCodeAt(k), 0x01000193) >>> 0;
  return `${value.toString(16).padStart(8, "0")}-${text.length}`;
}

/** A built page brings its formulas as functions; a notebook makes them of their code. */
const body = (code) => globalThis.LM_FORMULAS?.[fingerprint(code)] || new Function("given", code);

function drawAll(figure, spec, state, found, width) {
  const isOpen = Boolean(figure.querySelector("details")?.open);
  figure.replaceChildren();
  givenLine(figure, spec, state, found.values);
  const all = spec.bars.map((bar) => prepare(spec, state, found, bar));
  for (const drawn of all) drawSection(figure, drawn, width);
  drawResults(figure, spec, found.results);
  if (spec.roof) drawRoof(figure, spec, found.results, width);
  if (all.length === 1) return drawTable(figure, all[0], false);
  const folded = html("details", { class: "lm-components", ...(isOpen ? { open: "" } : {}) }, figure);
  html("summary", {}, folded, "Every component");
  for (const drawn of all) drawTable(folded, drawn, true);
}

function sentence(spec, state, results) {
  const units = Object.fromEntries(spec.results.map(({ name, unit }) => [name, unit]));
  const name = state.preset ? spec.presets[state.preset - 1].label : "Your own model";
  return spec.note.replace(/\{(\w+)\}/g, (_, key) => (key === "model" ? name : UNITS[units[key]](results[key])));
}

function render({ model, el }) {
  const spec = model.get("spec");
  const run = Object.fromEntries(["values", "sizes", "follows", "conditions"].map((name) => [name, body(spec[name])]));
  el.classList.add("lm-calculator");
  const faultId = uniqueId("lm-faults"), sync = calculatorControls(spec, model, el, faultId);
  const figure = html("div", { class: "lm-figure" }, el);
  const faultBox = html("div", { class: "lm-fault-box", id: faultId }, figure), picture = html("div", { class: "lm-picture" }, figure);
  const note = html("p", { class: "lm-note", "aria-live": "polite" }, el);
  if (spec.remark) html("p", { class: "lm-remark" }, el, spec.remark);
  let width = el.clientWidth;
  const redraw = () => {
    const state = model.get("state"), found = read(spec, run, state);
    sync(found);
    faultBox.replaceChildren();
    note.classList.toggle("lm-unseen", !found.results); // the message stands above the picture already
    picture.classList.toggle("lm-stale", Boolean(found.faults.length));
    el.dataset.values = found.results ? JSON.stringify(found.results) : "";
    if (found.results) {
      drawAll(picture, spec, state, found, Math.max(260, Math.min(width || 640, 760)));
      picture.querySelectorAll("svg[role=img]").forEach((root) => root.setAttribute("aria-label", model.get("alt")));
      note.textContent = sentence(spec, state, found.results);
    } else {
      messages(faultBox, found.faults, picture.childNodes.length > 0);
      givenLine(faultBox, spec, state, found.values);
      note.textContent = `No result. ${found.faults.map(({ letter, text }) => `${letter} ${text}`).join(" ")}`;
    }
  };
  model.on("change:state", redraw);
  redraw();
  new ResizeObserver(() => {
    if (el.clientWidth !== width) { width = el.clientWidth; redraw(); }
  }).observe(el);
}

export default { render };
