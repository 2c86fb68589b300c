// Clock faces: hands from the center, and dots where a hand has been.
function face(parent, dial, spec, width) {
  const box = html("div", { class: "lm-panel", style: `width:${width}px` }, parent);
  html("p", { class: "lm-title" }, box, dial.title);
  const size = width, middle = size / 2, unit = middle - 8;
  const at = ([x, y]) => [middle + (x * unit) / spec.reach, middle - (y * unit) / spec.reach];
  const root = svg("svg", { width: size, height: size, viewBox: `0 0 ${size} ${size}`, role: "img" }, box);
  const grid = svg("g", { class: "lm-grid" }, root);
  svg("line", { x1: 4, x2: size - 4, y1: middle, y2: middle }, grid);
  svg("line", { x1: middle, x2: middle, y1: 4, y2: size - 4 }, grid);
  svg("circle", { cx: middle, cy: middle, r: unit, fill: "none", stroke: "var(--lm-line)" }, root);
  for (const point of dial.trail || []) {
    const [x, y] = at(point);
    svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 2.5, fill: color(6), "fill-opacity": 0.75 }, root);
  }
  dial.hands.forEach((hand, k) => {
    const [x, y] = at(hand), { color: number, dash } = spec.hands[k];
    const look = { stroke: color(number), "stroke-width": 2.6, "stroke-linecap": "round" };
    svg("line", { x1: middle, y1: middle, x2: x.toFixed(1), y2: y.toFixed(1), ...look,
      ...(dash ? { "stroke-dasharray": "5 4" } : {}) }, root);
    svg("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 4, fill: color(number) }, root);
  });
  html("p", { style: "margin:0;font-size:0.85em" }, box, dial.text || "");
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const spec = model.get("spec"), frame = model.get("frames")[frameIndex(model)];
    const top = html("div", { class: "lm-scroll" }, figure);
    legend(top, spec.hands);
    const across = Math.min(frame.dials.length, width >= 560 ? spec.across : 2);
    const each = Math.min(spec.largest, Math.floor((width - 16 * (across - 1)) / across));
    frame.dials.forEach((dial) => face(figure, dial, spec, each));
    return frame.note;
  });
}

export default { render };
