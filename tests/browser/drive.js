// What the tests of the widgets do inside a page: one call does what would take a hundred from
// outside. Keys and the mouse stay real: they come from the browser, and are only noted here.
window.lmTest = (() => {
  const all = (root, selector) => [...root.querySelectorAll(selector)];
  const widgets = () => all(document, ".lm-widget");
  const isExercise = (widget) => widget.classList.contains("lm-exercise");
  const kinds = { slider: "input[type=range]", choice: "select", text: "input[type=text]" };
  const control = (number, kind, index) => widgets()[number].querySelectorAll(kinds[kind])[index];

  /** Everything that a widget draws. Names differ from drawing to drawing and are not seen. */
  const picture = (widget) => all(widget, ".lm-figure").map((figure) => figure.outerHTML
    .replace(/<(title|desc)\b[^>]*>[^]*?<\/\1>/g, "")
    .replace(/ (?:id|aria-[\w-]+)="[^"]*"/g, "")
    .replace(/ [\w:-]+="[^"]*#lm-[^"]*"/g, "")).join("");

  const send = (input, type) => input.dispatchEvent(new Event(type, { bubbles: true }));
  const set = (input, value) => {
    input.value = value;
    send(input, "input");
    send(input, "change");
  };

  /** How many controls of each kind a widget has, and what a reader would call it. */
  const describe = (widget, number) => ({
    number, kind: widget.dataset.kind, section: widget.closest("section[id]")?.id || "page",
    ready: widget.dataset.ready || "", error: widget.dataset.error || "", isExercise: isExercise(widget),
    ...Object.fromEntries(Object.entries(kinds).map(([kind, selector]) => [kind, all(widget, selector).length])),
  });

  // The widget at which the test looks, what it drew last, and what each key and click did to it.
  let watched = null, by = "", drawn = "", log = [];
  const note = ({ target }) => {
    const now = picture(watched), still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    log.push({ by, value: target.value, changed: now !== drawn, moving: still ? document.getAnimations().length : 0 });
    drawn = now;
  };
  document.addEventListener("keydown", (event) => { by = event.key; }, true);
  document.addEventListener("pointerdown", () => { by = "click"; }, true);
  document.addEventListener("input", (event) => { if (watched?.contains(event.target)) note(event); });

  /** Focuses one control, puts it to a value, and notes from now on what each key and click does. */
  const attend = (number, kind, index, value) => {
    const input = control(number, kind, index);
    watched = null;
    if (value !== undefined) set(input, value);
    input.focus();
    if (kind === "text") input.select();
    [watched, by, log] = [widgets()[number], "", []];
    drawn = picture(watched);
  };
  /** What was noted; nothing more is. */
  const noted = () => {
    watched = null;
    return log;
  };

  /** Puts an element into the middle of the window; returns the place at a share of its width. */
  const place = (element, share) => {
    element.scrollIntoView({ block: "center", behavior: "instant" });
    const { x, y, width, height } = element.getBoundingClientRect();
    return [x + width * share, y + height / 2];
  };

  /** Moves a slider through its stops, at most so many; returns the first thing wrong and the count. */
  const walk = (number, index, most) => {
    const widget = widgets()[number], slider = control(number, "slider", index);
    const [low, high, step] = ["min", "max", "step"].map((name) => Number(slider[name]) || (name === "step" ? 1 : 0));
    set(slider, low);
    let drawn = picture(widget), stops = 0;
    for (let stop = low + step; stop <= high && stops < most; stop += step, stops += 1) {
      set(slider, stop);
      if (Number(slider.value) !== stop) return { fault: `does not stay at stop ${stop}`, stops };
      const now = picture(widget);
      if (now === drawn) return { fault: `the picture stands still at stop ${stop}`, stops };
      drawn = now;
    }
    return { fault: null, stops };
  };

  /** How many options a select has, and how many pictures they draw. */
  const options = (number, index) => {
    const widget = widgets()[number], select = control(number, "choice", index);
    const pictures = [...select.options].map(({ value }) => {
      set(select, value);
      return picture(widget);
    });
    return [pictures.length, new Set(pictures).size];
  };

  /** One step of every slider; returns those during which anything moved by itself. */
  const restless = () => widgets().flatMap((widget, number) => all(widget, kinds.slider).filter((slider) => {
    slider.focus();
    set(slider, slider.value === slider.max ? slider.min : Number(slider.value) + (Number(slider.step) || 1));
    return document.getAnimations().length > 0;
  }).map(() => describe(widget, number)));

  const cards = () => all(document, ".lm-exercise");
  const verdict = (card) => {
    const said = card.querySelector(".lm-verdict");
    return `${said.className} ${said.textContent}`;
  };
  /** What an exercise's card says to each answer: a text, or the number of an option. */
  const grade = (number, answers) => answers.map((answer) => {
    const card = cards()[number];
    if (typeof answer === "string") set(card.querySelector(kinds.text), answer);
    else card.querySelectorAll("input[type=radio]")[answer].click();
    card.querySelector("button[type=submit]").click();
    return verdict(card);
  });

  return { widgets: () => widgets().map(describe), control, attend, noted, walk, options, restless, grade, place,
    placeOf: (number, index, share) => place(control(number, "slider", index), share),
    card: (number) => cards()[number], verdict: (number) => verdict(cards()[number]),
    cards: () => cards().map((card) => ({ answer: card.dataset.answer, options: all(card, "input[type=radio]").length,
      folds: all(card, "details > summary").length })) };
})();
