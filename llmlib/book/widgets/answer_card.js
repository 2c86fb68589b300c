// An exercise's box: it grades numbers and choices here, offline; functions are graded in the notebook.
function parseNumber(text) {
  const plain = text.trim().replace(/[−–]/g, "-").replace(/,(?=\d{3}(\D|$))/g, "").replace(/\s/g, "");
  const fraction = plain.match(/^([^/]+)\/([^/]+)$/);
  if (fraction) return Number(fraction[1]) / Number(fraction[2]);
  if (plain.endsWith("%")) return Number(plain.slice(0, -1)) / 100;
  return plain === "" ? NaN : Number(plain);
}

/** Returns [state, message] for a number or the index of an option. */
function grade(spec, answer) {
  const tolerance = spec.tolerance || 0;
  if (Math.abs(answer - spec.answer) <= tolerance) return ["right", "Right."];
  const mistake = spec.mistakes.find(([value]) => Math.abs(answer - value) <= tolerance);
  return ["wrong", mistake ? mistake[1] : "Not yet. The hint may help."];
}

function numberField(form, spec) {
  const label = html("label", { class: "lm-control" }, form);
  html("span", { class: "lm-name" }, label, "Your answer");
  const input = html("input", { type: "text", inputmode: "decimal", autocomplete: "off", size: 14 }, label);
  input.dataset.lmSuppressShortcuts = "true";
  // JupyterLab cancels the line break with which a browser would send the form.
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return () => {
    const value = parseNumber(input.value);
    return Number.isNaN(value) ? null : value;
  };
}

function choiceField(form, spec) {
  const name = uniqueId("lm-choice");
  const set = html("fieldset", {}, form);
  html("legend", {}, set, "Your answer");
  spec.options.forEach((option, index) => {
    const label = html("label", { class: "lm-option" }, set);
    const radio = html("input", { type: "radio", name, value: index }, label);
    radio.dataset.lmSuppressShortcuts = "true";
    html("span", {}, label).innerHTML = option;
  });
  return () => {
    const chosen = set.querySelector("input:checked");
    return chosen ? Number(chosen.value) : null;
  };
}

function gradedForm(el, spec) {
  const form = html("form", { class: "lm-answer" }, el);
  const read = (spec.kind === "number" ? numberField : choiceField)(form, spec);
  html("button", { type: "submit" }, form, "Check");
  const verdict = html("p", { class: "lm-verdict", role: "status" }, el);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const answer = read();
    const [state, message] = answer === null
      ? ["open", spec.kind === "number" ? "Type a number, such as 0.5, 1/2 or 4,096." : "Pick one."]
      : grade(spec, answer);
    verdict.className = `lm-verdict lm-${state}`;
    verdict.innerHTML = `${{ right: "✓", wrong: "✗", open: "○" }[state]} ${message}`;
  });
}

function folded(el, title, content, isCode) {
  const details = html("details", {}, el);
  html("summary", {}, details, title);
  if (isCode) html("code", {}, html("pre", { tabindex: 0 }, details), content);
  else html("div", {}, details).innerHTML = content;
}

function render({ model, el }) {
  const spec = model.get("spec"), isFunction = spec.kind === "function";
  el.classList.add("lm-exercise");
  el.dataset.answer = spec.kind;
  if (isFunction) html("p", {}, el, "Write this one in the notebook: the cell grades your function.");
  else gradedForm(el, spec);
  folded(el, "Hint", spec.hint, false);
  folded(el, "Solution", spec.solution, isFunction);
}

export default { render };
