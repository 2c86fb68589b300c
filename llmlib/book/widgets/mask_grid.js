// Which token sees which, by the part of the pattern that shows it; beside it, how many layers a message takes.
const EMPTY = { fill: "currentColor", "fill-opacity": 0.06 };

function shade(layers) {
  // One layer is dark; each further one is fainter, down to a level that still differs from empty.
  return { fill: color(4), "fill-opacity": Math.max(0.14, 1 - 0.27 * (layers - 1)).toFixed(2) };
}

function drawGrid(parent, { title, rows, paint, width, entries, axes: [across, down] }) {
  const box = html("div", { class: "lm-panel" }, parent);
  html("p", { class: "lm-title" }, box, title);
  legend(box, entries);
  const margin = 22, cell = (width - margin - 4) / rows.length, size = cell * rows.length;
  const root = svg("svg", { width, height: size + margin + 4, viewBox: `0 0 ${width} ${size + margin + 4}`, role: "img" }, box);
  svg("text", { x: margin + size / 2, y: 14, "text-anchor": "middle" }, root, across);
  svg("text", { x: 14, y: margin + size / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${margin + size / 2})` }, root, down);
  rows.forEach((row, j) => [...row].forEach((mark, i) => {
    svg("rect", { x: (margin + i * cell + 0.5).toFixed(1), y: (margin + j * cell + 0.5).toFixed(1),
      width: (cell - 1).toFixed(1), height: (cell - 1).toFixed(1), ...paint(mark) }, root);
  }));
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const spec = model.get("spec"), frame = model.get("frames")[frameIndex(model)];
    const each = width >= 560 ? Math.floor((width - 16) / 2) : width;
    const labels = ["key", "query"];
    drawGrid(figure, { title: "Who sees whom", rows: frame.mask, width: each, axes: labels,
      paint: (mark) => (mark === "." ? EMPTY : { fill: color(Number(mark)) }),
      entries: spec.parts.map((label, k) => ({ color: k + 1, label, area: true })) });
    drawGrid(figure, { title: "Layers a message takes", rows: frame.layers, width: each, axes: labels,
      paint: (mark) => (mark === "." ? EMPTY : shade(Math.max(1, Number(mark)))),
      entries: [{ color: 4, label: "1; fainter is more", area: true }] });
    return frame.note;
  });
}

export default { render };
