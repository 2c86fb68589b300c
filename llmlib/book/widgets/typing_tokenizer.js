// Byte-level BPE in the page: a text is cut by a pattern, each piece spelled in bytes, and of all
// pairs that a merge joins the one that was learned first is joined, until none is left.
const SHOWN = 240; // chips; a long text has thousands
const wholeText = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The merges of a vocabulary, as the page carries them, ready to be looked up. */
function unpack(packed) {
  const raw = Uint8Array.from(atob(packed.merges), (sign) => sign.charCodeAt(0));
  const ids = new DataView(raw.buffer), ranks = new Map(), pairs = [];
  for (let rank = 0; rank < raw.length / 4; rank++) {
    const pair = [ids.getUint16(4 * rank, true), ids.getUint16(4 * rank + 2, true)];
    ranks.set(pair[0] * 65536 + pair[1], rank);
    pairs.push(pair);
  }
  const byteOf = new Map(packed.bytes.map((id, byte) => [id, byte]));
  return { ...packed, ranks, pairs, byteOf, pieces: new RegExp(packed.pattern, "gu"), known: new Map() };
}

/** The bytes of a token: its own, or those of the two that were joined. */
function bytesOf(vocabulary, id) {
  const pair = vocabulary.pairs[id - vocabulary.first];
  return pair ? pair.flatMap((part) => bytesOf(vocabulary, part)) : [vocabulary.byteOf.get(id)];
}

/** The ids of one piece. */
function encodePiece(vocabulary, piece) {
  const ids = [...new TextEncoder().encode(piece)].map((byte) => {
    if (vocabulary.bytes[byte] >= 0) return vocabulary.bytes[byte];
    throw new RangeError(`the byte 0x${byte.toString(16).padStart(2, "0").toUpperCase()} has no token in this vocabulary`);
  });
  const rankAt = (i) => vocabulary.ranks.get(ids[i] * 65536 + ids[i + 1]) ?? Infinity;
  const ranks = ids.slice(1).map((_, i) => rankAt(i));
  for (;;) {
    let best = 0;
    for (let i = 1; i < ranks.length; i++) if (ranks[i] < ranks[best]) best = i;
    if (!(ranks[best] < Infinity)) return ids; // also where no pair is left
    ids.splice(best, 2, vocabulary.first + ranks[best]);
    ranks.splice(best, 1);
    if (best > 0) ranks[best - 1] = rankAt(best - 1);
    if (best < ranks.length) ranks[best] = rankAt(best);
  }
}

/** The ids of a text. Half a surrogate pair is no character: it counts as U+FFFD. */
function encode(vocabulary, text) {
  const pieces = text.replace(/\p{Surrogate}/gu, "\uFFFD").match(vocabulary.pieces) || [];
  if (vocabulary.known.size > 5000) vocabulary.known.clear();
  return pieces.flatMap((piece) => {
    if (!vocabulary.known.has(piece)) vocabulary.known.set(piece, encodePiece(vocabulary, piece));
    return vocabulary.known.get(piece);
  });
}

/** A token as a reader can tell it from others: text with its spaces marked, or bytes. */
function chipText(vocabulary, id) {
  const bytes = bytesOf(vocabulary, id);
  try {
    const text = wholeText.decode(Uint8Array.from(bytes));
    return text.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥").replace(/^\p{M}/u, "◌$&")
      .replace(/[\p{Cc}\p{Cf}\p{Zs}\p{Zl}\p{Zp}]/gu, (sign) => `U+${sign.codePointAt(0).toString(16).toUpperCase()}`);
  } catch {
    return bytes.map((byte) => byte.toString(16).padStart(2, "0").toUpperCase()).join(" ");
  }
}

function drawRow(figure, vocabulary, ids, message) {
  const box = html("div", { class: "lm-chip-row" }, figure);
  html("span", { class: "lm-chip-label" }, box, vocabulary.name);
  if (message) return html("span", {}, box, `Cannot be written: ${message}.`);
  const list = html("ol", { class: "lm-chips", "aria-label": `tokens, ${vocabulary.name}` }, box);
  ids.slice(0, SHOWN).forEach((id, k) => {
    const chip = html("li", { class: `lm-chip lm-tint-${k % 2}`, dir: "auto" }, list, chipText(vocabulary, id));
    const number = html("span", {}, chip, `${id}`);
    Object.assign(number.style, { display: "block", fontSize: "0.72em", lineHeight: "1.1", fontVariantNumeric: "tabular-nums" });
  });
  if (ids.length > SHOWN) html("li", { class: "lm-chip" }, list, `… ${(ids.length - SHOWN).toLocaleString("en")} more`);
  return list;
}

/** A select with its label; `pick` is told the index of what was chosen. */
function picker(parent, label, options, chosen, pick) {
  const row = html("label", { class: "lm-control" }, parent);
  html("span", { class: "lm-name" }, row, label);
  const select = html("select", {}, row);
  options.forEach((option, k) => html("option", { value: k }, select, option));
  select.value = chosen;
  select.dataset.lmSuppressShortcuts = "true";
  select.addEventListener("input", () => pick(Number(select.value)));
  return select;
}

const count = (number, name) => `${number.toLocaleString("en")} ${name}${number === 1 ? "" : "s"}`;

/** What was typed and what it costs, in a sentence. */
function sentence(text, rows) {
  const lone = (text.match(/\p{Surrogate}/gu) || []).length;
  const typed = `${count([...text].length, "character")}, ${count(new TextEncoder().encode(text).length, "byte")}`;
  const prices = rows.map(({ name, ids, message }) => (message ? `${name} cannot write it` : `${count(ids.length, "token")} in ${name}`));
  const halves = lone ? ` ${count(lone, "half surrogate pair")} stood in the text and count as U+FFFD.` : "";
  return `${typed}: ${prices.join(", ")}.${halves}`;
}

function render({ model, el }) {
  const spec = model.get("spec"), vocabularies = spec.vocabularies.map(unpack);
  const names = vocabularies.map(({ name }) => name), kept = model.get("state") || {};
  const shown = kept.shown?.every((which) => which in vocabularies) ? [...kept.shown] : [0, 1];
  el.classList.add("lm-explorer", "lm-typing");
  const label = html("label", { class: "lm-name" }, el, "Type or paste any text");
  const field = html("textarea", { rows: 3, dir: "auto", spellcheck: "false", autocomplete: "off", autocapitalize: "off", id: uniqueId("lm-typed") }, el);
  label.htmlFor = field.id;
  Object.assign(field.style, { width: "100%", boxSizing: "border-box", font: "inherit", padding: "0.4rem 0.6rem", borderRadius: "4px",
    border: "1px solid var(--series-6)", background: "transparent", color: "inherit", resize: "vertical" });
  field.dataset.lmSuppressShortcuts = "true";
  field.value = kept.text ?? spec.examples[0][1];
  const controls = html("div", { class: "lm-controls" }, el);
  const figure = html("div", { class: "lm-figure lm-token-steps", role: "group", "aria-label": model.get("alt") }, el);
  const note = html("p", { class: "lm-note", "aria-live": "polite" }, el);
  const about = html("p", { class: "lm-note" }, el);
  const redraw = () => {
    figure.replaceChildren();
    const rows = shown.map((which) => {
      const vocabulary = vocabularies[which];
      let ids = [], message = "";
      try { ids = encode(vocabulary, field.value); } catch (error) { message = error.message; }
      drawRow(figure, vocabulary, ids, message);
      return { name: vocabulary.name, ids, message };
    });
    note.textContent = sentence(field.value, rows);
    about.textContent = [...new Set(shown)].map((which) => `${names[which]}: ${vocabularies[which].about}`).join(" ");
    model.set("state", { text: field.value, shown: [...shown] }); // a static page keeps it over a reload
    el.dataset.ids = JSON.stringify(rows.map(({ ids }) => ids));
  };
  picker(controls, "example", spec.examples.map(([name]) => name), 0, (k) => { field.value = spec.examples[k][1]; redraw(); });
  ["first row", "second row"].forEach((row, k) => picker(controls, row, names, shown[k], (which) => { shown[k] = which; redraw(); }));
  field.addEventListener("input", redraw);
  redraw();
}

export default { render };
