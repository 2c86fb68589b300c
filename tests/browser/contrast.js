// Returns the texts below `selector` whose contrast with what is behind them is under 4.5; icons
// need 3. A formula is a text, and so is what stands in a field.
(selector) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const once = (compute, known = new Map()) => (key) => {
    if (!known.has(key)) known.set(key, compute(key));
    return known.get(key);
  };
  const parse = once((color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  });
  const over = (top, below) => [0, 1, 2].map((k) => top[k] * top[3] + below[k] * (1 - top[3])).concat(1);
  const page = document.documentElement.dataset.theme === "dark" ? [0, 0, 0, 1] : [255, 255, 255, 1];
  const style = once((element) => getComputedStyle(element));
  const behind = once((element) => (element ? over(parse(style(element).backgroundColor), behind(element.parentElement)) : page));
  const opacity = once((element) => (element ? Number(style(element).opacity) * opacity(element.parentElement) : 1));
  // For screen readers alone: cut to a point, or to nothing.
  const isCut = once((element) => {
    if (!element || element === document.body) return false;
    const { position, clip, overflow } = style(element), box = element.getBoundingClientRect();
    const cut = position === "absolute" && (/^rect\((0|1)(px)?[, ]/.test(clip) || (overflow === "hidden" && box.width <= 1));
    return cut || isCut(element.parentElement);
  });
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const faint = [], seen = new Set(), FIELDS = "input, select, textarea";
  let checked = 0, outputs = 0;
  const check = (element, text, color, enough, veil = 1) => {
    const hidden = !element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    if (!text.trim() || seen.has(element) || hidden || isCut(element)) return;
    seen.add(element);
    checked += 1;
    if (element.closest(".cell_output")) outputs += 1;
    const back = behind(element), ink = [...parse(color)];
    ink[3] *= opacity(element) * veil;
    const [a, b] = [light(over(ink, back)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio >= enough) return;
    const where = element.closest("section[id]")?.id || element.closest("[id]")?.id || "page";
    faint.push(`${ratio.toFixed(2)} ${element.tagName} "${text.trim().slice(0, 40)}" in #${where}`);
  };
  for (const area of document.querySelectorAll(selector)) {
    const walker = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (element.closest("script, style, defs, title, noscript, template, option, mjx-container, textarea")) continue;
      check(element, walker.currentNode.textContent, element instanceof SVGElement ? style(element).fill : style(element).color, 4.5);
    }
    for (const formula of area.querySelectorAll("mjx-container")) check(formula, "formula", style(formula).color, 4.5);
    for (const icon of area.querySelectorAll("i[class*='fa-']")) check(icon, icon.className, style(icon).color, 3);
    for (const field of area.querySelectorAll(FIELDS)) {
      if (field.disabled || ["range", "checkbox", "radio", "hidden", "color"].includes(field.type)) continue;
      const empty = !field.value && field.placeholder;
      const look = getComputedStyle(field, empty ? "::placeholder" : null);
      check(field, empty || field.value, look.color, 4.5, empty ? Number(look.opacity) : 1);
    }
  }
  return { checked, outputs, faint: faint.slice(0, 20) };
}
