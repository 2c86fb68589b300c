// Returns the texts below `selector` whose contrast with what is behind them is under 4.5.
(selector) => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((k) => top[k] * top[3] + below[k] * (1 - top[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    const page = document.documentElement.dataset.theme === "dark" ? [0, 0, 0, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((below, layer) => over(layer, below), page);
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const faint = [], seen = new Set();
  let checked = 0;
  for (const area of document.querySelectorAll(selector)) {
    const walker = document.createTreeWalker(area, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const hidden = !element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || element.closest("script, style, defs, title");
      if (!walker.currentNode.textContent.trim() || seen.has(element) || hidden) continue;
      seen.add(element);
      checked += 1;
      const style = getComputedStyle(element), back = behind(element);
      const ink = parse(element instanceof SVGElement ? style.fill : style.color);
      for (let e = element; e; e = e.parentElement) ink[3] *= Number(getComputedStyle(e).opacity);
      const [a, b] = [light(over(ink, back)), light(back)];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.tagName} "${element.textContent.trim().slice(0, 40)}"`);
    }
  }
  return { checked, faint: faint.slice(0, 20) };
}
