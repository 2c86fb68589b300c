// Guesses one above the other, from the first block to the last: those up to the slider are shown.
const STEP = 130; // ms from guess to guess while it plays

function rung(root, { y, height, width, left }, at, guess, isLast) {
  const share = guess.shares[0];
  const row = svg("g", { "font-weight": isLast ? 600 : 400 }, root);
  if (at % 5 === 0 || isLast) svg("text", { x: left - 10, y: y + 12, "text-anchor": "end", class: "lm-rung" }, row, at);
  svg("rect", { x: left, y: y + 1.5, width: Math.max(1, (width - left - 150) * share), height: height - 3, rx: 2,
    fill: color(isLast ? 2 : 1), "fill-opacity": isLast ? 0.9 : 0.55 }, row);
  svg("text", { x: width - 145, y: y + 12, class: "lm-word" }, row, visibly(guess.words[0]));
  svg("text", { x: width - 4, y: y + 12, "text-anchor": "end" }, row, share.toFixed(2));
}

const visibly = (token) => token.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥");

/** A button that moves the slider by itself to its end; where motion is not wanted, in one step. */
function player(model, el, last) {
  const button = html("button", { type: "button", class: "lm-play" }, el.querySelector(".lm-controls"), "▶ Climb");
  button.dataset.lmSuppressShortcuts = "true";
  let timer = null;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "▶ Climb"; };
  const put = (block) => { model.set("at", [model.get("at")[0], block]); model.save_changes(); };
  const step = () => {
    const at = model.get("at")[1];
    if (at >= last) stop();
    else put(at + 1);
  };
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return put(last);
    if (model.get("at")[1] >= last) put(0);
    button.textContent = "❚❚ Pause";
    timer = setInterval(step, STEP);
  });
  el.querySelectorAll("input, select").forEach((input) => input.addEventListener("input", stop));
}

function render({ model, el }) {
  const count = model.get("spec").controls[1].labels.length, height = 15;
  explorer(model, el, (figure, width) => {
    const [prompt, at] = model.get("at"), frames = model.get("frames"), left = 42;
    const w = Math.min(width, 620), h = count * height + 22;
    const root = svg("svg", { width: w, height: h, viewBox: `0 0 ${w} ${h}`, role: "img" }, figure);
    svg("line", { x1: left - 0.5, x2: left - 0.5, y1: 0, y2: count * height, stroke: "currentColor", "stroke-opacity": 0.35 }, root);
    for (let block = 0; block <= at; block++) {
      const y = (count - 1 - block) * height;
      rung(root, { y, height, width: w, left }, block, frames[prompt * count + block], block === at);
    }
    svg("text", { x: left, y: h - 5, class: "lm-axis" }, root, model.get("spec").axis);
    return frames[prompt * count + at].note;
  });
  player(model, el, count - 1);
}

export default { render };
