// Which tiles of the score matrix are visited, and which of these need a mask; every pair is drawn.
const KINDS = { ".": { fill: "currentColor", "fill-opacity": 0.05 }, f: { fill: color(1), "fill-opacity": 0.85 } };
const EDGE = { true: { fill: color(5), "fill-opacity": 0.95 }, false: { fill: color(5), "fill-opacity": 0.28 } };

function drawPairs(root, { tiles, visible, tile: [down, across] }, left, top, cell) {
  visible.forEach((row, j) => [...row].forEach((mark, i) => {
    const kind = tiles[Math.floor(j / down)][Math.floor(i / across)];
    svg("rect", { x: (left + i * cell).toFixed(2), y: (top + j * cell).toFixed(2), width: cell.toFixed(2), height: cell.toFixed(2),
      ...(kind === "p" ? EDGE[mark === "x"] : KINDS[kind]) }, root);
  }));
}

function drawBorders(root, { visible, tile: [down, across] }, left, top, cell) {
  const rows = visible.length, columns = visible[0].length;
  const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2, stroke: "var(--pst-color-background, var(--jp-layout-color0, #fff))",
    "stroke-width": 2 }, root);
  for (let j = down; j < rows; j += down) line(left, top + j * cell, left + columns * cell, top + j * cell);
  for (let i = across; i < columns; i += across) line(left + i * cell, top, left + i * cell, top + rows * cell);
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const frame = model.get("frames")[frameIndex(model)];
    const rows = frame.visible.length, columns = frame.visible[0].length, left = 22, top = 22;
    const cell = Math.min(440, width - left - 4) / columns;
    const box = html("div", { class: "lm-panel", style: `max-width: ${width}px` }, figure);
    html("p", { class: "lm-title" }, box, "Blank tiles are skipped");
    legend(box, [{ color: 1, label: "all visible, no mask needed", area: true },
      { color: 5, label: "some visible, masked (hidden pairs pale)", area: true }]);
    const size = { width: left + columns * cell + 4, height: top + rows * cell + 4 };
    const root = svg("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: "img", "shape-rendering": "crispEdges" }, box);
    svg("text", { x: left + (columns * cell) / 2, y: 14, "text-anchor": "middle" }, root, "keys");
    const middle = top + (rows * cell) / 2;
    svg("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, root, "queries");
    drawPairs(root, frame, left, top, cell);
    drawBorders(root, frame, left, top, cell);
    return frame.note;
  });
}

export default { render };
