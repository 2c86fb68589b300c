// An exercise's box: it grades numbers and choices here, offline; functions are graded in the notebook.
/** Returns [state, message] for what a number may mean, or for the index of an option. */
function grade(spec, answers) {
  const tolerance = spec.tolerance || 0;
  const isNear = (answer, value) => Math.abs(answer - value) <= tolerance;
  const right = answers.find((answer) => isNear(answer, spec.answer));
  if (right !== undefined) {
    return ["right", right === answers[0] ? "Right." : `Right, read as ${right}. (In this book a comma groups thousands.)`];
  }
  const mistake = spec.mistakes.find(([value]) => answers.some((answer) => isNear(answer, value)));
  return ["wrong", mistake ? mistake[1] : "Not yet. The hint may help."];
}

function numberField(form, spec, before) {
  const label = html("label", { class: "lm-control" }, form);
  html("span", { class: "lm-name" }, label, "Your answer");
  const input = html("input", { type: "text", inputmode: "decimal", autocomplete: "off", size: 14 }, label);
  input.value = before ?? "";
  input.dataset.lmSuppressShortcuts = "true";
  // JupyterLab cancels the line break with which a browser would send the form.
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  return () => ({ answers: readings(input.value), typed: input.value });
}

function choiceField(form, spec, before) {
  const name = uniqueId("lm-choice");
  const set = html("fieldset", {}, form);
  html("legend", {}, set, "Your answer");
  spec.options.forEach((option, index) => {
    const label = html("label", { class: "lm-option" }, set);
    const radio = html("input", { type: "radio", name, value: index }, label);
    radio.dataset.lmSuppressShortcuts = "true";
    radio.checked = before === index;
    html("span", {}, label).innerHTML = option;
  });
  return () => {
    const chosen = set.querySelector("input:checked");
    return { answers: chosen ? [Number(chosen.value)] : [], typed: chosen ? Number(chosen.value) : null };
  };
}

function gradedForm(el, spec, model) {
  const form = html("form", { class: "lm-answer" }, el);
  const before = model.get("answer"); // a page keeps it; a notebook has none
  const read = (spec.kind === "number" ? numberField : choiceField)(form, spec, before);
  html("button", { type: "submit" }, form, "Check");
  const verdict = html("p", { class: "lm-verdict", role: "status" }, el);
  const judge = () => {
    const { answers } = read();
    const [state, message] = answers.length ? grade(spec, answers)
      : ["open", spec.kind === "number" ? "Type a number, such as 0.5, 1/2 or 4,096." : "Pick one."];
    verdict.className = `lm-verdict lm-${state}`;
    verdict.innerHTML = `${{ right: "✓", wrong: "✗", open: "○" }[state]} ${message}`;
  };
  form.addEventListener("input", () => { // the verdict was on another answer
    verdict.className = "lm-verdict";
    verdict.replaceChildren();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    model.set("answer", read().typed);
    judge();
  });
  if (before !== undefined && before !== null && before !== "") judge();
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
  else gradedForm(el, spec, model);
  folded(el, "Hint", spec.hint, false);
  folded(el, "Solution", spec.solution, isFunction);
}

export default { render };
