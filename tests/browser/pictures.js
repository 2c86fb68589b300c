// Returns the pictures of the page that have no accessible name.
() => {
  const byId = (ids) => (ids || "").split(/\s+/).map((id) => document.getElementById(id)?.textContent || "").join("");
  const named = (element) => [
    element.getAttribute("aria-label"), byId(element.getAttribute("aria-labelledby")), element.getAttribute("alt"),
    element.querySelector(":scope > title")?.textContent,
  ].some((name) => name && name.trim());
  return [...document.querySelectorAll(".bd-article svg, img, [role=img]")]
    .filter((element) => !element.closest("[aria-hidden=true], button, mjx-container") && !named(element))
    .map((element) => element.outerHTML.slice(0, 120));
}
