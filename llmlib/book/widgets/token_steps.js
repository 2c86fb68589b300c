// Rows of tokens as chips: what a tokenizer makes of a text, step by step.
// A chip shows a space as an open box, so that "the" and " the" can be told apart.
const visible = (token) => token.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");

function drawChips(parent, row) {
  const box = html("div", { class: "lm-chip-row" }, parent);
  if (row.label) html("span", { class: "lm-chip-label" }, box, row.label);
  const list = html("ol", { class: "lm-chips" }, box);
  row.tokens.forEach((token, k) => {
    const lit = (row.marked || []).includes(k);
    html("li", { class: `lm-chip lm-tint-${k % 2}${lit ? " lm-lit" : ""}` }, list, visible(token));
  });
}

function render({ model, el }) {
  explorer(model, el, (figure) => {
    const frame = model.get("frames")[frameIndex(model)];
    const box = html("div", { class: "lm-token-steps", role: "group", "aria-label": model.get("alt") }, figure);
    frame.rows.forEach((row) => drawChips(box, row));
    return frame.note;
  });
}

export default { render };
