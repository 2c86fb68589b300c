// A matrix whose rows and columns are tokens, positions or layers; a cell may carry a word.
function labels(root, spec, { left, top, cell, height }) {
  spec.rows.forEach((text, j) => svg("text", { x: left - 6, y: top + j * height + height * 0.7, "text-anchor": "end" }, root, text));
  spec.columns.forEach((text, i) => {
    const x = left + (i + 0.5) * cell;
    const slanted = { x, y: top - 8, transform: `rotate(-40 ${x} ${top - 8})` };
    svg("text", slanted, root, text);
  });
}

function drawCell(root, { x, y, cell, height }, value, text, largest) {
  const strength = value === null ? 0 : Math.min(1, value / largest);
  // Under a word the shade stays light enough to read it, in light and in dark mode.
  const opacity = value === null ? 0 : 0.04 + (text ? 0.4 : 0.96) * strength;
  const box = svg("rect", { x: x + 0.5, y: y + 0.5, width: cell - 1, height: height - 1, fill: color(1),
    "fill-opacity": opacity.toFixed(3) }, root);
  svg("title", {}, box, `${text ? text + ": " : ""}${format(value, 3)}`);
  if (text) svg("text", { x: x + cell / 2, y: y + height * 0.7, "text-anchor": "middle" }, root, text);
}

/** Reads one cell aloud: the one that was clicked or touched, or that the arrow keys have come to. */
function cellReader(box, root, parent, { spec, frame, left, top, cell, height }, chosen) {
  const said = html("p", { class: "lm-reading", "aria-live": "polite" }, parent);
  const mark = svg("rect", { class: "lm-cursor", width: cell, height, fill: "none", visibility: "hidden" }, root);
  const show = () => {
    const [j, i] = chosen.at, word = frame.words ? `${frame.words[j][i]} ` : "";
    for (const [name, value] of Object.entries({ x: left + i * cell, y: top + j * height, visibility: "visible" }))
      mark.setAttribute(name, value);
    said.textContent = `row ${spec.rows[j]} · column ${spec.columns[i]}: ${word}${format(frame.values[j][i], 3)}`;
  };
  const choose = (j, i) => {
    if (frame.values[j]?.[i] === undefined) return;
    chosen.at = [j, i];
    show();
  };
  box.addEventListener("click", ({ clientX, clientY }) => {
    const shown = root.getBoundingClientRect(), scale = root.viewBox.baseVal.width / shown.width;
    const along = (from, start, step) => Math.floor((from * scale - start) / step);
    choose(along(clientY - shown.top, top, height), along(clientX - shown.left, left, cell));
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  box.dataset.lmSuppressShortcuts = "true";
  box.addEventListener("keydown", (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    if (chosen.at) choose(chosen.at[0] + step[0], chosen.at[1] + step[1]);
    else choose(0, 0);
    mark.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  if (chosen.at) choose(...chosen.at);
}

function render({ model, el }) {
  const chosen = { at: null };
  explorer(model, el, (figure, width) => {
    const spec = model.get("spec"), frame = model.get("frames")[frameIndex(model)];
    const longest = Math.max(...spec.rows.map((text) => text.length));
    const left = 16 + 7.2 * longest, top = 30 + 5 * Math.max(...spec.columns.map((text) => text.length));
    const least = spec.words ? 76 : 18;
    const cell = Math.max(least, Math.min(spec.words ? 110 : 40, (width - left - 40) / spec.columns.length));
    const height = spec.words ? 19 : cell;
    const size = { width: left + cell * spec.columns.length + 40, height: top + height * spec.rows.length + 4 };
    html("p", { class: "lm-title" }, figure, `rows: ${spec.row_label} · columns: ${spec.column_label}`);
    // Wider than a phone: it scrolls inside its own box, and its letters shrink by a tenth at most.
    const box = html("div", { class: "lm-scroll", tabindex: 0, role: "group", "aria-label": "cells: a click or the arrow keys read one" }, figure);
    const root = svg("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}`, role: "img" }, box);
    root.style.minWidth = `${Math.floor(0.9 * size.width)}px`;
    labels(root, spec, { left, top, cell, height });
    frame.values.forEach((row, j) => row.forEach((value, i) => {
      const place = { x: left + i * cell, y: top + j * height, cell, height };
      drawCell(root, place, value, frame.words ? frame.words[j][i] : "", spec.largest);
    }));
    cellReader(box, root, figure, { spec, frame, left, top, cell, height }, chosen);
    return frame.note;
  });
}

export default { render };
