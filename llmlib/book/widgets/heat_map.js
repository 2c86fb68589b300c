// A matrix over (x, y) in colors that diverge at zero, a cursor, and the row through the cursor.
function cells(plot, spec, matrix, largest) {
  const dx = (plot.x(spec.x[spec.x.length - 1]) - plot.x(spec.x[0])) / (spec.x.length - 1);
  const dy = (plot.y(spec.y[0]) - plot.y(spec.y[spec.y.length - 1])) / (spec.y.length - 1);
  // Crisp edges: blended ones would show the page through as a grid of seams.
  const map = svg("g", { "shape-rendering": "crispEdges" }, plot.layer);
  matrix.forEach((row, j) => row.forEach((value, i) => {
    svg("rect", { x: (plot.x(spec.x[i]) - dx / 2).toFixed(1), y: (plot.y(spec.y[j]) - dy / 2).toFixed(1),
      width: dx.toFixed(1), height: dy.toFixed(1), fill: color(value < 0 ? 2 : 1),
      "fill-opacity": (Math.abs(value) / largest).toFixed(3) }, map);
  }));
}

/** The lines and the point that show where the sliders stand; returns what moves them there. */
function cursor(plot, spec) {
  const { area } = plot, line = { class: "lm-cursor" };
  const upright = svg("line", { ...line, y1: area.y, y2: area.y + area.height }, plot.root);
  const level = svg("line", { ...line, x1: area.x, x2: area.x + area.width }, plot.root);
  const point = svg("circle", { class: "lm-mark", r: 5 }, plot.root);
  return (i, j) => {
    const x = plot.x(spec.x[i]), y = plot.y(spec.y[j]);
    for (const name of ["x1", "x2"]) upright.setAttribute(name, x);
    for (const name of ["y1", "y2"]) level.setAttribute(name, y);
    point.setAttribute("cx", x);
    point.setAttribute("cy", y);
  };
}

function drawMap(parent, spec, matrix, width) {
  const box = html("div", { class: "lm-panel" }, parent);
  html("p", { class: "lm-title" }, box, spec.value_label);
  const largest = Math.max(...matrix.flat().map(Math.abs)) || 1;
  const entries = [[2, `−${format(largest)}`], [1, format(largest)]];
  legend(box, entries.map(([number, label]) => ({ color: number, label, area: true })));
  const panel = { x_label: spec.x_label, y_label: spec.y_label, y_range: [spec.y[0], spec.y[spec.y.length - 1]] };
  const plot = axes(box, { width, height: 300, panel, xDomain: [spec.x[0], spec.x[spec.x.length - 1]] });
  cells(plot, spec, matrix, largest);
  return { box, spec, matrix, width, move: cursor(plot, spec) };
}

function drawRow(parent, spec, matrix, i, j, width) {
  const box = html("div", { class: "lm-panel" }, parent);
  html("p", { class: "lm-title" }, box, `${spec.value_label} along the horizontal line`);
  legend(box, [{ color: 3, label: `${spec.y_label} = ${format(spec.y[j])}` }]);
  const values = matrix.flat(), range = [Math.min(...values), Math.max(...values)];
  const panel = { x_label: spec.x_label, y_label: spec.value_label, y_range: range };
  const plot = axes(box, { width, height: 300, panel, xDomain: [spec.x[0], spec.x[spec.x.length - 1]] });
  const points = matrix[j].map((value, k) => `${plot.x(spec.x[k]).toFixed(1)} ${plot.y(value).toFixed(1)}`);
  svg("path", { d: "M" + points.join("L"), fill: "none", stroke: color(3), "stroke-width": 2.2 }, plot.layer);
  svg("circle", { class: "lm-mark", cx: plot.x(spec.x[i]), cy: plot.y(matrix[j][i]), r: 5 }, plot.root);
}

function render({ model, el }) {
  let map = null;
  const stands = (spec, matrix, width) => map && map.spec === spec && map.matrix === matrix && map.width === width;
  explorer(model, el, (figure, width) => {
    const spec = model.get("spec"), [, i, j] = model.get("at");
    const { matrix } = model.get("frames")[frameIndex(model, 1)];
    const each = width >= 560 ? Math.floor((width - 16) / 2) : width;
    // A slider moves the cursor over the map that stands: drawing its thousands of cells again is slow.
    if (stands(spec, matrix, each)) figure.lastChild.remove();
    else {
      figure.replaceChildren();
      map = drawMap(figure, spec, matrix, each);
    }
    map.move(i, j);
    drawRow(figure, spec, matrix, i, j, each);
    return `${spec.x_label} ${format(spec.x[i])}, ${spec.y_label} ${format(spec.y[j])}: `
      + `${spec.value_label} ${format(matrix[j][i])}.`;
  }, { keeps: true });
}

export default { render };
