// Runs the widgets of a static page: gives each the model that anywidget would, without a kernel.
// KINDS holds a function for each kind of picture; it gives the module's default export. All of it
// runs at once, before the browser scrolls to where a link leads, so that the place stands.

/** Storage that a browser may refuse, as it does for pages from disk in private windows. */
const stored = (storage, key) => { try { return JSON.parse(storage.getItem(key)); } catch { return null; } };
const store = (storage, key, value) => { try { storage.setItem(key, JSON.stringify(value)); } catch { /* not kept */ } };
const PAGE = location.pathname.split("/").pop() || "index.html";

// How a reader set a figure lasts as long as the tab; an answer stays.
const KEPT = { at: () => sessionStorage, state: () => sessionStorage, answer: () => localStorage };

function staticModel(state, id) {
  const listeners = {};
  return {
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
      if (KEPT[name]) store(KEPT[name](), `${PAGE}#${id}.${name}`, value);
      (listeners["change:" + name] || []).forEach((listener) => listener());
    },
    on: (event, listener) => (listeners[event] ||= []).push(listener),
    save_changes() {},
  };
}

/** The setting that an address asks for, #figure-2=1,0, or that was left before a reload. */
function restore(state, id) {
  const [target, setting] = decodeURIComponent(location.hash.slice(1)).split("=");
  for (const name of Object.keys(KEPT)) {
    const wanted = name === "at" && target === id && setting ? setting.split(",").map(Number)
      : stored(KEPT[name](), `${PAGE}#${id}.${name}`);
    const controls = state.spec?.controls || [];
    if (name !== "at") { if (wanted !== null) state[name] = wanted; continue; }
    const fits = Array.isArray(wanted) && wanted.length === controls.length
      && wanted.every((stop, k) => Number.isInteger(stop) && stop >= 0 && stop < controls[k].labels.length);
    if (state.at && fits) state.at = wanted;
  }
}

/** A link to the figure as it is set now. */
function linkTo(el, model, id) {
  const link = document.createElement("a");
  link.className = "lm-link";
  link.textContent = "link";
  link.title = "the address of this figure as it is set";
  const update = () => { link.href = `#${id}${model.get("at")?.length ? `=${model.get("at").join(",")}` : ""}`; };
  model.on("change:at", update);
  update();
  el.append(link);
}

function start(el, number) {
  const sentence = [...el.childNodes];
  try {
    const state = JSON.parse(el.querySelector("script").textContent);
    const isExercise = el.dataset.kind === "answer_card";
    const id = isExercise ? `exercise-${state.spec.id.split(".").pop()}` : `figure-${number}`;
    el.id ||= id;
    el.setAttribute("role", "group");
    el.setAttribute("aria-label", isExercise ? `Exercise ${state.spec.id.split(".").pop().replaceAll("_", " ")}` : state.alt);
    restore(state, id);
    const model = staticModel(state, id);
    el.replaceChildren();
    KINDS[el.dataset.kind]().render({ model, el });
    if (!isExercise) linkTo(el, model, id);
    el.dataset.ready = "1";
  } catch (error) {
    el.replaceChildren(...sentence);
    const why = document.createElement("p");
    why.textContent = `This figure could not start: ${error}`;
    el.append(why);
    el.dataset.error = String(error);
    console.error(error);
  }
}

let figures = 0;
document.querySelectorAll(".lm-widget[data-kind]").forEach((el) =>
  start(el, el.dataset.kind === "answer_card" ? 0 : ++figures));

// --- the reader's place: formulas are set after the browser has scrolled, and push it away ---------

let isMoved = false;
for (const event of ["wheel", "touchmove", "keydown", "pointerdown"]) {
  addEventListener(event, () => { isMoved = true; }, { passive: true, once: true });
}
const aim = () => document.getElementById(decodeURIComponent(location.hash.slice(1)).split("=")[0]);

function showTarget() {
  const target = aim();
  if (!target) return;
  for (let fold = target.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  target.scrollIntoView({ behavior: "instant" });
}

// Not what a picture names: those names are new with each drawing, and Firefox calls them visible.
const places = () => [...document.querySelectorAll(".bd-article [id]:not(svg *)")].filter((element) => element.checkVisibility());
const KEY = `${PAGE}.place`;

/** The last thing with a name above the middle of the window, and where it stands. */
function savePlace() {
  const above = places().filter((element) => element.getBoundingClientRect().top < innerHeight / 2).pop();
  store(sessionStorage, KEY, above && scrollY > 0 ? [above.id, above.getBoundingClientRect().top] : null);
}

function returnToPlace() {
  const [id, top] = stored(sessionStorage, KEY) || [], element = id && document.getElementById(id);
  if (element) scrollBy({ top: element.getBoundingClientRect().top - top, behavior: "instant" });
}

async function settle() {
  const kind = performance.getEntriesByType("navigation")[0]?.type;
  const isReturn = kind === "reload" || kind === "back_forward";
  const place = () => { if (!isMoved) (isReturn && stored(sessionStorage, KEY) ? returnToPlace : showTarget)(); };
  place();
  await globalThis.MathJax?.startup?.promise;
  await document.fonts?.ready;
  place();
}
addEventListener("hashchange", showTarget);
addEventListener("pagehide", savePlace);
if (document.readyState === "complete") settle();
else addEventListener("load", settle);
