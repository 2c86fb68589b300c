// Curves over x, in one or more panels side by side.
function path(values, xs, x, y) {
  let pen = "M", d = "";
  values.forEach((value, k) => {
    if (value === null) { pen = "M"; return; }
    d += `${pen}${x(xs[k]).toFixed(1)} ${y(value).toFixed(1)}`;
    pen = "L";
  });
  return d;
}

function drawSeries({ layer, x, y }, panel, item, values) {
  if (item.dots) {
    values.forEach((value, k) => {
      if (value === null) return;
      svg("circle", { cx: x(panel.x[k]).toFixed(1), cy: y(value).toFixed(1), r: 3.5, fill: color(item.color) }, layer);
    });
    return;
  }
  svg("path", { d: path(values, panel.x, x, y), fill: "none", stroke: color(item.color), "stroke-width": 2.2,
    "stroke-linejoin": "round", ...(item.dash ? { "stroke-dasharray": "6 5" } : {}) }, layer);
}

function drawMark({ root, x, y, area }, [px, py, text]) {
  const cx = x(px), cy = y(py), onLeft = cx > area.x + area.width * 0.6;
  svg("circle", { class: "lm-mark", cx, cy, r: 4.5 }, root);
  const below = cy < area.y + area.height - 24;
  svg("text", { class: "lm-mark-text", x: cx + (onLeft ? -8 : 8), y: cy + (below ? 18 : -10),
    "text-anchor": onLeft ? "end" : "start" }, root, text);
}

function drawPanel(parent, panel, values, marks, width) {
  const box = html("div", { class: "lm-panel" }, parent);
  box.style.width = `${width}px`; // a long legend wraps: it does not push the next panel down
  html("p", { class: "lm-title" }, box, panel.title);
  legend(box, panel.series);
  const xDomain = [panel.x[0], panel.x[panel.x.length - 1]];
  const plot = axes(box, { width, height: Math.round(Math.min(300, 130 + width * 0.4)), panel, xDomain });
  const free = [...values];
  for (const item of panel.series) drawSeries(plot, panel, item, item.y || free.shift());
  for (const mark of marks) drawMark(plot, mark);
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const panels = model.get("spec").panels, frame = model.get("frames")[frameIndex(model)];
    const across = panels.length > 1 && width >= 560 ? 2 : 1;
    const each = Math.floor((width - 16 * (across - 1)) / across);
    panels.forEach((panel, k) => drawPanel(figure, panel, frame.series[k], (frame.marks || [])[k] || [], each));
    return frame.note;
  });
}

export default { render };
