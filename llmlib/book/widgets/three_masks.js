// One sentence under several masks; the row of the position that is asked is dark, the others pale.
function paint(known, isRow) {
  if (!known) return { fill: "currentColor", "fill-opacity": 0.06 };
  return { fill: color(isRow ? 2 : 1), "fill-opacity": isRow ? 1 : 0.35 };
}

// Room for a token on either side of a grid, and for slanted ones above it.
const SIDE = 46, TOP = 44;

function drawMask(parent, panel, cell, ask) {
  const box = html("div", { class: "lm-panel" }, parent);
  html("p", { class: "lm-title" }, box, panel.title);
  const left = SIDE, top = TOP, n = panel.rows.length, width = 2 * SIDE + n * cell, height = top + cell * n + 6;
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" }, box);
  panel.rows.forEach((token, j) => {
    const y = top + j * cell, x = left + (j + 0.7) * cell, isRow = j === panel.at;
    const bold = isRow ? { class: "lm-mark-text" } : {};
    svg("text", { x, y: top - 5, transform: `rotate(-55 ${x} ${top - 5})` }, root, token);
    svg("text", { x: left - 5, y: y + cell * 0.75, "text-anchor": "end", ...bold }, root, token);
    [...panel.mask[j]].forEach((mark, i) => svg("rect", { x: (left + i * cell + 0.5).toFixed(1), y: (y + 0.5).toFixed(1),
      width: (cell - 1).toFixed(1), height: (cell - 1).toFixed(1), ...paint(mark === "x", isRow) }, root));
    const learned = panel.learned[j];
    if (learned) svg("text", { x: left + n * cell + 5, y: y + cell * 0.75, ...bold }, root, `→ ${learned}`);
    // A whole row is what a finger meets; by keyboard the slider does the same.
    const target = svg("rect", { x: 0, y, width, height: cell, fill: "transparent" }, root);
    target.style.cursor = "pointer";
    target.addEventListener("click", () => ask(panel.words[j]));
  });
  if (panel.split) {
    const end = left + n * cell, y = top + panel.split * cell;
    svg("line", { class: "lm-cursor", x1: left, x2: end, y1: y, y2: y }, root);
    svg("line", { class: "lm-cursor", x1: left + panel.split * cell, x2: left + panel.split * cell, y1: top, y2: top + n * cell }, root);
  }
}

function render({ model, el }) {
  const ask = (word) => {
    const at = [...model.get("at")];
    at[0] = word - 1;
    model.set("at", at);
    model.save_changes();
  };
  explorer(model, el, (figure, width) => {
    const frame = model.get("frames")[frameIndex(model)], sizes = frame.panels.map((panel) => panel.rows.length);
    const together = width - (16 + 2 * SIDE) * sizes.length + 14, rows = sizes.reduce((a, b) => a + b);
    const cell = together / rows >= 12 ? Math.min(17, together / rows) : Math.min(17, (width - 2 * SIDE) / Math.max(...sizes));
    legend(html("div", { class: "lm-picture" }, figure), [{ color: 2, label: "what is known where the word is guessed", area: true },
      { color: 1, label: "known elsewhere", area: true }]);
    frame.panels.forEach((panel) => drawMask(figure, panel, cell, ask));
    return frame.note;
  });
}

export default { render };
