// Bar charts of vectors, one panel above the other, on axes that stand still.
function drawBars(parent, panel, values, width) {
  const box = html("div", { class: "lm-panel" }, parent);
  html("p", { class: "lm-title" }, box, panel.title);
  const plot = axes(box, { width, height: 132, panel, xDomain: [-0.5, values.length - 0.5], xTicks: [] });
  const slot = plot.area.width / values.length, zero = plot.y(0);
  svg("line", { class: "lm-zero", x1: plot.area.x, x2: plot.area.x + plot.area.width, y1: zero, y2: zero }, plot.layer);
  values.forEach((value, k) => {
    const center = plot.x(k), end = plot.y(value);
    svg("rect", { x: center - slot * 0.32, width: slot * 0.64, y: Math.min(zero, end), height: Math.abs(end - zero),
      fill: color(panel.color) }, plot.layer);
    svg("text", { class: "lm-ticks", x: center, y: plot.area.y + plot.area.height + 16, "text-anchor": "middle" },
      plot.root, panel.labels[k]);
    if (slot < 34) return;
    const inside = Math.min(Math.max(end + (value < 0 ? 13 : -4), plot.area.y + 11), plot.area.y + plot.area.height - 3);
    svg("text", { class: "lm-value", x: center, y: inside, "text-anchor": "middle" }, plot.root, format(value, 3));
  });
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const frame = model.get("frames")[frameIndex(model)];
    model.get("spec").panels.forEach((panel, k) => drawBars(figure, panel, frame.values[k], width));
    return frame.note;
  });
}

export default { render };
