// What a calculator computes and prints: numbers as text, what stands in the boxes, formulas.

// --- numbers as text ---------------------------------------------------------------------------

const EXACT = 2 ** 53;
// Made once: toLocaleString would make one at each call, and a redraw has a hundred numbers.
const WHOLE = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const FEW = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
const group = (value) => WHOLE.format(value), few = (value) => FEW.format(value);
const percent = (share) => (share > 0 && share < 0.001 ? "<0.1%" : `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`);
const PREFIXES = [[1e18, "E"], [1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];

function scientific(value) {
  const [digits, power] = value.toExponential(3).split("e+");
  const raised = [...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("");
  return `${digits} × 10${raised}`;
}

/** 124,439,808 to the last digit, as long as a double holds it. */
const exact = (value) => (value < EXACT ? group(value) : scientific(value));

function prefixed(value, unit) {
  if (value >= 1e21) return `${scientific(value)} ${unit}`;
  const [size, prefix] = PREFIXES.find(([least]) => value >= least * 0.99995) || [1, ""];
  return `${few(value / size)} ${prefix}${unit}`;
}

function duration(seconds) {
  if (seconds >= 1e6) return `${scientific(seconds)} s`;
  const [size, unit] = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]].find(([least]) => seconds >= least) || [1e-12, "ps"];
  return `${few(seconds / size)} ${unit}`;
}

const UNITS = {
  count: exact,
  sequences: exact,
  bytes: (value) => prefixed(value, "B"),
  flops: (value) => prefixed(value, "FLOPs"),
  seconds: duration,
  rate: (value) => (value >= 1e12 ? scientific(value) : few(value)),
  share: percent,
  intensity: (value) => (value >= 1e12 ? scientific(value) : few(value)),
};
const hasDigits = (unit) => unit === "bytes" || unit === "flops";

// --- what stands in the boxes ------------------------------------------------------------------

/** A number as people type it, 50,257 or 5e4; NaN for anything else. The boxes take whole ones. */
function parse(text) {
  const found = readings(text);
  return found.find(Number.isInteger) ?? found[0] ?? NaN;
}

function judge(field, text, most) {
  const value = parse(text), found = text.trim() === "" ? "empty" : `“${text.trim()}”`;
  const expected = `expected a whole number, at least ${field.least}`;
  if (!Number.isInteger(value) || value < field.least) return { fault: `is ${found}: ${expected}` };
  if (value > most) return { fault: `is ${found}: expected at most ${group(most)}` };
  return { value };
}

const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, letter) => group(values[letter]));

/** The number of every letter, and what is wrong: { values, faults: [{ letter, text }] }. */
function read(spec, run, state) {
  const values = { ...state.on }, faults = [];
  spec.picks.forEach((pick, k) => Object.assign(values, pick.options[state.pick[k]].numbers));
  for (const field of spec.fields.filter((field) => !state.follow[field.letter])) {
    const { value, fault } = judge(field, state.text[field.letter], spec.most);
    if (fault) faults.push({ letter: field.letter, text: `${fault}.` });
    else values[field.letter] = value;
  }
  const inOrder = () => spec.letters.map((letter) => values[letter]);
  const found = run.follows(inOrder());
  for (const { letter, follows, least } of spec.fields.filter((field) => state.follow[field.letter])) {
    if (Object.keys(follows.product[1]).some((source) => values[source] === undefined)) continue;
    if (Number.isInteger(found[letter]) && found[letter] >= least) values[letter] = found[letter];
    else faults.push({ letter, text: `cannot follow: ${fill(follows.message, values)}.` });
  }
  if (!faults.length) {
    const holds = run.conditions(inOrder());
    spec.checks.forEach((check, k) => {
      if (!holds[k]) faults.push({ letter: check.letter, text: `${fill(check.message, values)}.` });
    });
  }
  if (faults.length) return { values, faults, results: null };
  const largest = spec.largest ? [positionOfLargest(Object.values(run.sizes(inOrder())))] : [];
  return { values, faults, largest: largest[0], results: run.values([...inOrder(), ...largest]) };
}

const positionOfLargest = (sizes) => sizes.indexOf(Math.max(...sizes));

// --- formulas ----------------------------------------------------------------------------------

/** Products with the numbers of choices and with followers put in; like ones are added up. */
function simplify(spec, state, values, terms) {
  const isReplaced = ({ letter, follows }) => state.follow[letter] && !follows.keeps_letter;
  const followers = Object.fromEntries(spec.fields.filter(isReplaced)
    .map((field) => [field.letter, field.follows.product]));
  const switches = new Set(spec.toggles.map((toggle) => toggle.letter));
  spec.picks.forEach((pick) => Object.keys(pick.options[0].numbers).forEach((letter) => switches.add(letter)));
  const sums = new Map();
  for (const [coefficient, powers] of terms) {
    const product = { factor: coefficient, powers: {}, switches: [] };
    for (const [letter, power] of Object.entries(powers)) put(product, letter, power, followers, switches, values);
    const key = spec.letters.map((letter) => product.powers[letter] || 0).join(" ");
    const sum = sums.get(key) || { factor: 0, powers: product.powers, switches: [] };
    sums.set(key, { ...sum, factor: sum.factor + product.factor, switches: [...sum.switches, ...product.switches] });
  }
  const degree = ({ powers }) => Object.values(powers).reduce((sum, power) => sum + Math.max(0, power), 0);
  return [...sums.values()].filter(({ factor }) => Math.abs(factor) > 1e-12)
    .sort((a, b) => degree(b) - degree(a));
}

function put(product, letter, power, followers, switches, values) {
  if (switches.has(letter)) {
    product.factor *= values[letter] ** power;
    product.switches.push(letter);
  } else if (followers[letter]) {
    const [factor, inner] = followers[letter];
    product.factor *= factor ** power;
    for (const [source, times] of Object.entries(inner)) put(product, source, times * power, {}, switches, values);
  } else product.powers[letter] = (product.powers[letter] || 0) + power;
}

// Letters of a product in the order in which the book writes them.
const ORDER = ["w", "b", "s", "p", "L", "V", "n_ctx", "H", "G", "d_head", "d_ff", "d"];
const rank = (letter) => (ORDER.indexOf(letter) + ORDER.length + 1) % (ORDER.length + 1);

function letterHtml(parent, letter) {
  const [stem, below] = letter.split("_");
  html("i", {}, parent, stem);
  if (below) html("sub", {}, parent, below);
}

function productHtml(parent, { factor, powers }) {
  const letters = Object.keys(powers).filter((letter) => powers[letter] > 0).sort((a, b) => rank(a) - rank(b));
  if (factor !== 1 || !letters.length) parent.append(few(factor), letters.length ? " " : "");
  letters.forEach((letter, k) => {
    if (k) parent.append("\u200a·\u200a");
    letterHtml(parent, letter);
    if (powers[letter] > 1) html("sup", {}, parent, powers[letter]);
  });
  const under = Object.keys(powers).filter((letter) => powers[letter] < 0);
  under.forEach((letter) => { parent.append("\u200a/\u200a"); letterHtml(parent, letter); });
}

/** A sum of products; those that hold the letter that moved are lit. */
function formulaHtml(parent, products, changed) {
  const box = html("span", { class: "lm-formula" }, parent);
  products.forEach((product, k) => {
    if (k) box.append(product.factor < 0 ? " − " : " + ");
    const moves = product.powers[changed] || product.switches.includes(changed);
    const term = html("span", { class: moves ? "lm-term lm-lit" : "lm-term" }, box);
    productHtml(term, k ? { ...product, factor: Math.abs(product.factor) } : product);
  });
  if (!products.length) box.append("0");
  return box;
}

const moved = (products, changed) => products.some((p) => p.powers[changed] || p.switches.includes(changed));
