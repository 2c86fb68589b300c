// A text field and the bytes of what is typed: UTF-8 by the browser's own encoder.
function byteRow(character) {
  const bytes = [...new TextEncoder().encode(character)];
  const code = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return [character === " " ? "␣" : character, `U+${code}`, bytes.length,
    bytes.map((byte) => byte.toString(2).padStart(8, "0")).join(" "), bytes.join(" ")];
}

function drawTable(figure, text, header) {
  const box = html("div", { class: "lm-table", role: "region", tabindex: 0, "aria-label": "bytes of each character" }, figure);
  const table = html("table", {}, box);
  const head = html("tr", {}, html("thead", {}, table));
  header.forEach((title) => html("th", { scope: "col" }, head, title));
  const body = html("tbody", {}, table);
  for (const character of text) {
    const row = html("tr", {}, body);
    byteRow(character).forEach((cell, k) => html(k ? "td" : "th", k ? {} : { scope: "row" }, row, cell));
  }
}

function render({ model, el }) {
  const spec = model.get("spec");
  el.classList.add("lm-bytes");
  const label = html("label", { class: "lm-control" }, el);
  html("span", { class: "lm-name" }, label, spec.label);
  const input = html("input", { type: "text", maxlength: 24, value: spec.text, autocomplete: "off" }, label);
  input.dataset.lmSuppressShortcuts = "true";
  const figure = html("div", { class: "lm-figure" }, el);
  const note = html("p", { class: "lm-note", "aria-live": "polite" }, el);
  const redraw = () => {
    figure.replaceChildren();
    drawTable(figure, input.value, spec.header);
    const characters = [...input.value].length, bytes = new TextEncoder().encode(input.value).length;
    note.textContent = `${characters} characters, ${bytes} bytes.`;
  };
  input.addEventListener("input", redraw);
  redraw();
}

export default { render };
