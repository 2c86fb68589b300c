// Attention tile by tile: the scores in hand, what each query remembers, the bytes moved so far.
const ROW = 25, HEAD = 22;
const number = (value, digits) => (value === null ? "" : value.toFixed(digits).replace(/^-(?=[0.]+$)/, "").replace("-", "−"));

function picture(parent, title, entries, width, height) {
  const box = html("div", { class: "lm-panel", style: `width:${width}px` }, parent);
  html("p", { class: "lm-title" }, box, title);
  legend(box, entries);
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img" }, box);
}

function write(root, x, y, text, look = "", anchor = "middle") {
  svg("text", { x: x.toFixed(1), y, "text-anchor": anchor, style: `font-size:10.5px;${look}` }, root, text);
}

function drawScores(parent, { seq, tile }, frame, width) {
  const entries = [{ color: 1, label: "in hand, shade e^(s − m)", area: true },
    { color: 6, label: "forgotten", area: true }];
  const root = picture(parent, "Scores s: queries down, keys across", entries, width, HEAD + ROW * seq + 2);
  const cell = (width - 22) / seq;
  for (let i = 0; i < seq; i++) {
    write(root, 22 + (i + 0.5) * cell, 15, String(i + 1));
    write(root, 18, HEAD + i * ROW + 17, String(i + 1), "", "end");
    for (let j = 0; j < seq; j++) {
      const mark = frame.marks[Math.floor(i / tile)][Math.floor(j / tile)];
      const x = 22 + j * cell, y = HEAD + i * ROW, r = i % tile, c = j % tile;
      const strength = mark === "o" ? 0.06 + 0.44 * frame.weights[r][c] : mark === "#" ? 0.3 : 0.05;
      svg("rect", { x: (x + 0.5).toFixed(1), y: y + 0.5, width: (cell - 1).toFixed(1), height: ROW - 1,
        fill: mark === "." || mark === "x" ? "currentColor" : color(mark === "o" ? 1 : 6),
        "fill-opacity": strength.toFixed(3) }, root);
      if (mark === "o") write(root, x + cell / 2, y + 17, frame.scores[r][c] === null ? "−∞" : number(frame.scores[r][c], 1));
    }
  }
  frame.marks.forEach((row, a) => [...row].forEach((mark, b) => {
    const x = 22 + b * tile * cell, y = HEAD + a * tile * ROW, size = tile * cell;
    if (mark === "x") write(root, x + size / 2, y + (tile * ROW) / 2 + 4, "skipped");
    if (mark === "o") svg("rect", { x: x.toFixed(1), y, width: size.toFixed(1), height: tile * ROW, fill: "none",
      stroke: color(1), "stroke-width": 2 }, root);
  }));
}

function drawRows(parent, { seq }, frame, width) {
  const entries = [{ color: 2, label: "m rose: factor under 1", area: true },
    { color: 3, label: "o divided by ℓ", area: true }];
  const root = picture(parent, "What each query remembers", entries, width, HEAD + ROW * seq + 2);
  const at = [0.05, 0.2, 0.4, 0.58, 0.76, 0.93].map((share) => share * width);
  ["", "m", "factor", "ℓ", "o₁", "o₂"].forEach((text, k) => write(root, at[k], 15, text, "font-weight:600"));
  frame.rows.forEach((row, i) => {
    const y = HEAD + i * ROW, [m, factor, ell, ...out] = row, done = i < frame.finished;
    const rose = factor !== null && factor < 1, now = factor !== null;
    svg("rect", { x: 0, y: y + 0.5, width, height: ROW - 1, fill: done ? color(3) : now ? color(1) : "currentColor",
      "fill-opacity": done ? 0.16 : now ? 0.14 : 0.04 }, root);
    const look = rose ? "fill:var(--series-2);font-weight:700" : "";
    write(root, at[0], y + 17, String(i + 1));
    write(root, at[1], y + 17, m === null ? "−∞" : number(m, 2), look);
    write(root, at[2], y + 17, now ? `× ${number(factor, 2)}` : "", look);
    write(root, at[3], y + 17, number(ell, 2));
    out.forEach((value, k) => write(root, at[4 + k], y + 17, number(value, 2), done ? "font-weight:700" : ""));
  });
}

function drawBytes(parent, { most }, frame, width) {
  const root = picture(parent, "Bytes to and from main memory so far", [], width, 62);
  ["naive", "in tiles"].forEach((name, k) => {
    const y = 6 + 28 * k, full = width - 130;
    write(root, 4, y + 15, name, "", "start");
    svg("rect", { x: 60, y, width: full, height: 20, fill: "var(--lm-surface)" }, root);
    svg("rect", { x: 60, y, width: ((full * frame.bytes[k]) / most).toFixed(1), height: 20, fill: color(k ? 1 : 2) }, root);
    write(root, width - 4, y + 15, frame.bytes[k].toLocaleString("en"), "font-weight:600", "end");
  });
}

function render({ model, el }) {
  explorer(model, el, (figure, width) => {
    const spec = model.get("spec"), frame = model.get("frames")[frameIndex(model)];
    const each = width >= 620 ? Math.floor((width - 16) / 2) : width;
    drawScores(figure, spec, frame, each);
    drawRows(figure, spec, frame, each);
    drawBytes(figure, spec, frame, width);
    return frame.note;
  });
}

export default { render };
