// Returns the links inside a text that look like it but for their color.
() => {
  const LOOKS = ["fontWeight", "fontStyle", "fontSize", "fontFamily", "backgroundColor"];
  const isMarked = (style) => style.textDecorationLine.includes("underline")
    || (style.borderBottomStyle !== "none" && parseFloat(style.borderBottomWidth) > 0);
  return [...document.querySelectorAll(":is(p, li, dd, td, figcaption, .admonition) a[href]")].filter((link) => {
    const block = link.closest("p, li, dd, td, figcaption, .admonition"), copy = block.cloneNode(true);
    copy.querySelectorAll("a, ul, ol, p").forEach((element) => element.remove());
    const around = copy.textContent.trim();
    if (!around || !link.textContent.trim() || !link.checkVisibility()) return false;
    const text = getComputedStyle(block);
    return ![link, ...link.querySelectorAll("*")].some((element) => {
      const style = getComputedStyle(element);
      return isMarked(style) || LOOKS.some((name) => style[name] !== text[name]);
    });
  }).map((link) => `"${link.textContent.trim().slice(0, 40)}" in #${link.closest("section[id]")?.id || "page"}`);
}
