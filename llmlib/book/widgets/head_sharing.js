// Which query heads read which key/value head, and what that costs: a wiring diagram over bars.
function wires(parent, { heads, groups }, width) {
  const height = 150, top = 46, bottom = 112, slot = (width - 8) / heads;
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" }, parent);
  const size = heads / groups, at = (k) => 4 + slot * (k + 0.5);
  svg("text", { x: 4, y: 14 }, root, `${groups} key/value ${groups > 1 ? "heads" : "head"}: cached`);
  svg("text", { x: 4, y: height - 6 }, root, `${heads} query heads: computed anew, never kept`);
  for (let group = 0; group < groups; group++) {
    const shade = color(1 + (group % 5)), middle = at(group * size + (size - 1) / 2);
    const half = Math.min(13, 0.42 * slot * size);
    for (let k = group * size; k < (group + 1) * size; k++) {
      svg("line", { x1: middle.toFixed(1), x2: at(k).toFixed(1), y1: top, y2: bottom, stroke: shade,
        "stroke-width": slot > 12 ? 1.6 : 1 }, root);
      svg("circle", { cx: at(k).toFixed(1), cy: bottom, r: Math.min(6, 0.4 * slot).toFixed(1), fill: shade }, root);
    }
    svg("rect", { x: (middle - half).toFixed(1), y: top - 22, width: (2 * half).toFixed(1), height: 22, rx: 3,
      fill: shade }, root);
  }
}

function costs(parent, bars, width) {
  const height = 40 * bars.length, full = width - 8;
  const root = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" }, parent);
  bars.forEach((bar, k) => {
    svg("text", { x: 4, y: 40 * k + 14 }, root, bar.label);
    svg("text", { class: "lm-mark-text", x: width - 4, y: 40 * k + 14, "text-anchor": "end" }, root, bar.text);
    svg("rect", { x: 4, y: 40 * k + 20, width: full, height: 11, fill: "var(--lm-surface)" }, root);
    svg("rect", { x: 4, y: 40 * k + 20, width: (full * bar.share).toFixed(1), height: 11, fill: color(bar.color) }, root);
  });
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const frame = model.get("frames")[frameIndex(model)];
    const panel = html("div", { class: "lm-panel" }, figure);
    wires(panel, frame, width);
    costs(panel, frame.bars, width);
    return frame.note;
  });
}

export default { render };
