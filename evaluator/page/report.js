"use strict";
// The viewer of `python -m evaluator report`. It draws what is asked for and no more: 200 rows, one or two solutions.
const { runs, problems, samples } = JSON.parse(document.getElementById("data").textContent);
const PAGE = 200;
const at = (id) => document.getElementById(id);
const make = (tag, text, kind) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (kind) element.className = kind;
  return element;
};
const verdictOf = (s) => s.failed ? "failed" : s.predicted === null ? "none"
  : s.correct === null ? "undecided" : s.correct ? "right" : "wrong";
const WORDS = { right: "right", wrong: "wrong", none: "no answer", undecided: "could not grade", failed: "failed for our reasons" };
const colour = (s) => s.verdict === "right" ? "right" : s.verdict === "wrong" ? "wrong" : "odd";
const label = (s) => `${s.id}${s.sample ? " #" + s.sample : ""}`;

// Samples of one problem, in whatever run.
for (const problem of problems) problem.samples = [];
for (const s of samples) {
  Object.assign(s, { p: problems[s.problem], id: problems[s.problem].id, verdict: verdictOf(s) });
  s.p.samples.push(s);
}
const othersOf = (s) => s.p.samples.filter((o) => o !== s && (o.run === s.run || o.sample === s.sample));
const textOf = (s) => s.haystack ??= [s.id, s.p.question, s.p.reference, s.predicted, ...s.turns.map((t) => t[1])]
  .join("\n").toLowerCase();

const EVENTS = {
  error: (s) => s.calls.some((c) => c[0] !== "ok"),
  timeout: (s) => s.calls.some((c) => c[0] === "timeout"),
  length: (s) => s.stop === "length",
  left: (s) => s.left !== null,
  program: (s) => s.program === true && s.verdict !== "right",
  disagree: (s) => s.p.samples.some((o) => o.sample === s.sample && (o.verdict === "right") !== (s.verdict === "right")),
};
const natural = new Intl.Collator("en", { numeric: true }).compare;
const ORDERS = {
  id: (a, b) => natural(a.id, b.id) || a.sample - b.sample || a.run - b.run,
  longest: (a, b) => b.tokens - a.tokens, shortest: (a, b) => a.tokens - b.tokens,
  slowest: (a, b) => b.seconds - a.seconds, fastest: (a, b) => a.seconds - b.seconds,
};

function fill(id, values, all) {
  at(id).append(new Option(all, ""), ...values.map(([value, name]) => new Option(name, value)));
  if (values.length < (id === "pair" ? 1 : 2)) at(id).parentElement.hidden = true;
}
const distinct = (field) => [...new Set(problems.map((p) => p[field]))].filter(Boolean).sort(natural).map((v) => [v, v]);
const pairs = [];
runs.forEach((a, i) => runs.forEach((b, j) => {
  if (i < j && a.benchmark === b.benchmark) pairs.push([`${i}-${j}`, `A ${a.name} · B ${b.name}`], [`${j}-${i}`, `A ${b.name} · B ${a.name}`]);
}));
fill("run", runs.map((r, i) => [String(i), r.name]), "all");
fill("pair", pairs, "none");
for (const field of ["language", "level", "subject"]) fill(field, distinct(field), "all");
const FILTERS = ["run", "pair", "outcome", "verdict", "event", "language", "level", "subject", "order", "search"];

// The share right of a problem's samples in one run; null where it has none.
const shareOf = (problem, run) => {
  const mine = problem.samples.filter((s) => s.run === run && !s.failed);
  return mine.length ? mine.filter((s) => s.verdict === "right").length / mine.length : null;
};
function inPair(s, [a, b], outcome) {
  if (s.run !== b) return false;
  const before = shareOf(s.p, a), after = shareOf(s.p, b);
  if (before === null || after === null) return false;
  return !outcome || outcome === (after > before ? "won" : after < before ? "lost" : "same");
}

let matching = [], shown = 0, current = null, beside = null, rows = new Map();
const wish = { formulas: true, differences: true };
const pairOf = () => at("pair").value ? at("pair").value.split("-").map(Number) : null;

function filter() {
  const want = Object.fromEntries(FILTERS.map((id) => [id, at(id).value]));
  const words = want.search.toLowerCase().split(/\s+/).filter(Boolean), pair = pairOf();
  at("outcome").parentElement.hidden = !pair;
  matching = samples.filter((s) => (!want.run || s.run === Number(want.run)) && (!pair || inPair(s, pair, want.outcome))
    && (!want.verdict || s.verdict === want.verdict) && (!want.event || EVENTS[want.event](s))
    && (!want.language || s.p.language === want.language) && (!want.level || s.p.level === want.level)
    && (!want.subject || s.p.subject === want.subject) && words.every((w) => textOf(s).includes(w)));
  if (want.order) matching.sort(ORDERS[want.order]);
  at("count").textContent = `${matching.length} of ${samples.length}`;
  at("list").replaceChildren();
  rows = new Map();
  shown = 0;
  more();
  show(matching[0] ?? null);
}
function more() {
  at("list").querySelector(".more")?.remove();
  for (const s of matching.slice(shown, shown + PAGE)) {
    const row = make("button");
    row.append(make("span", WORDS[s.verdict], colour(s)), ` ${label(s)} `, make("small", s.p.question));
    row.title = `${s.tokens} tokens, ${s.seconds} s`;
    row.onclick = () => show(s);
    rows.set(s, row);
    at("list").append(row);
  }
  shown = Math.min(shown + PAGE, matching.length);
  if (shown < matching.length) {
    const next = make("button", `${matching.length - shown} more`, "more");
    next.onclick = more;
    at("list").append(next);
  }
}

// Formulas. As in Pandoc, a dollar opens one only before what is no space, and closes one after what is no space and
// before what is no digit: "$5 and $10" is money.
const FORMULA = new RegExp([
  /\$\$([\s\S]+?)\$\$/, /\\\[([\s\S]+?)\\\]/, /\\\(([\s\S]+?)\\\)/,
  /(\\begin\{((?:equation|align|gather|multline|cases|array|aligned|[pbvBV]?matrix)\*?)\}[\s\S]*?\\end\{\5\})/,
  /(\\boxed\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})/,
  /(?<![\\$])\$(?!\s)((?:\\.|[^$\\\n]|\n(?!\n))+?)(?<!\s)\$(?!\d)/,
].map((part) => part.source).join("|"), "g");
function rich(element, text, mask) {
  let end = 0;
  const plain = (from, to) => mask ? marked(element, text.slice(from, to), mask.subarray(from, to)) : element.append(text.slice(from, to));
  for (const match of wish.formulas ? text.matchAll(FORMULA) : []) {
    const formula = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[6] ?? match[7];
    const span = make("span");
    try {
      const displayMode = match[1] !== undefined || match[2] !== undefined || match[4] !== undefined;
      katex.render(formula, span, { displayMode, strict: "ignore", trust: false, maxSize: 20, maxExpand: 300 });
    } catch { continue; }  // no formula that can be read: it stays as it is written
    plain(end, match.index);
    end = match.index + match[0].length;
    // A formula of which a part differs is marked whole.
    const differs = mask?.subarray(match.index, end).includes(1), mark = make("mark");
    if (differs) mark.append(span);
    element.append(differs ? mark : span);
  }
  plain(end, text.length);
}

// What of two texts is not in the other: by lines, then by words where lines differ. True: the character is theirs alone.
const LARGEST = 4e6;  // cells of the table; two solutions of 2,000 words each
function common(a, b) {
  const kept = [new Uint8Array(a.length), new Uint8Array(b.length)];
  let from = 0, to = 0;
  while (from < a.length && from < b.length && a[from] === b[from]) { kept[0][from] = kept[1][from] = 1; from++; }
  while (to < a.length - from && to < b.length - from && a[a.length - 1 - to] === b[b.length - 1 - to]) {
    kept[0][a.length - 1 - to] = kept[1][b.length - 1 - to] = 1; to++;
  }
  const n = a.length - from - to, m = b.length - from - to;
  if (!n || !m || n * m > LARGEST) return kept;
  const best = new Uint32Array((n + 1) * (m + 1)), width = m + 1;
  for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--) {
    best[i * width + j] = a[from + i] === b[from + j] ? best[(i + 1) * width + j + 1] + 1
      : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
  }
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[from + i] === b[from + j]) { kept[0][from + i++] = kept[1][from + j++] = 1; }
    else if (best[(i + 1) * width + j] >= best[i * width + j + 1]) i++; else j++;
  }
  return kept;
}
function differences(one, two) {
  const texts = [one, two], lines = texts.map((t) => t.match(/[^\n]*\n|[^\n]+$/g) ?? []);
  const kept = common(...lines), marks = texts.map((t) => new Uint8Array(t.length));
  const place = [0, 0], offset = [0, 0];
  while (place[0] < lines[0].length || place[1] < lines[1].length) {
    const hunk = ["", ""];
    for (const side of [0, 1]) while (place[side] < lines[side].length && !kept[side][place[side]]) hunk[side] += lines[side][place[side]++];
    const words = hunk.map((t) => t.match(/[A-Za-z_]+|\d+|\s+|[^]/gu) ?? []), same = common(...words);
    for (const side of [0, 1]) {
      words[side].forEach((word, i) => {
        if (!same[side][i] && word.trim()) marks[side].fill(1, offset[side], offset[side] + word.length);
        offset[side] += word.length;
      });
      if (place[side] < lines[side].length) offset[side] += lines[side][place[side]++].length;
    }
  }
  return marks;
}
function marked(element, text, mask) {
  for (let i = 0; i < text.length;) {
    let j = i;
    while (j < text.length && mask[j] === mask[i]) j++;
    element.append(mask[i] ? make("mark", text.slice(i, j)) : text.slice(i, j));
    i = j;
  }
}

async function copy(text, button) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = make("textarea", text);
    document.body.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  if (button) { const was = button.textContent; button.textContent = "copied"; setTimeout(() => { button.textContent = was; }, 900); }
}
const press = (text, act, pressed) => {
  const button = make("button", text);
  if (pressed !== undefined) button.setAttribute("aria-pressed", pressed);
  button.onclick = () => act(button);
  return button;
};

const turnsOf = (s) => s.left === null ? s.turns : [...s.turns, ["output", s.left, "output (not read by the model)"]];
const wholeOf = (s) => turnsOf(s).map((t) => t[1] + "\n").join("");
const programsOf = (s) => s.turns.filter((t) => t[0] === "code").map((t) => t[1]);
function solution(s, mask) {
  const view = make("div"), verdict = make("p");
  verdict.append(make("strong", WORDS[s.verdict], colour(s)),
    s.failed ? `: ${s.failed}` : `: answered ${s.predicted ?? "nothing"}, reference ${s.p.reference} (rule: ${s.rule})`);
  const facts = [s.from && `answer from ${s.from}`, s.stop && `stopped: ${s.stop}`,
    `tokens: ${s.tokens} own, ${s.prompt} of the prompt, ${s.shown} of outputs`, `${s.seconds} s`,
    s.program !== null && `program ${s.program ? "right" : "wrong"} (${s.printed})`,
    ...s.calls.map((c, i) => `program ${i + 1}: ${c[0]}${c[1] ? " " + c[1] : ""} in ${c[2]} s`)];
  view.append(verdict, make("p", facts.filter(Boolean).join(" · "), "facts"));
  let offset = 0;
  for (const [kind, text, name] of turnsOf(s)) {
    const turn = make("div", undefined, `turn ${kind}`), body = kind === "text" ? turn : make("pre");
    if (kind !== "text") turn.append(make("b", name ?? kind), body);
    if (kind === "code") { const button = press("copy", (b) => copy(text, b)); button.className = "copy"; turn.append(button); }
    const mine = mask?.subarray(offset, offset + text.length);
    if (kind === "text") rich(body, text, mine); else if (mine) marked(body, text, mine); else body.textContent = text;
    offset += text.length + 1;
    view.append(turn);
  }
  return view;
}
const linkTo = (s, other) => `#s=${s.run}/${s.sample}/${encodeURIComponent(s.id)}${other ? `&b=${other.run}/${other.sample}` : ""}`;

function show(s, other) {
  const pair = pairOf();
  if (s && other === undefined && pair) {
    const theirs = s.p.samples.filter((o) => o.run === pair[0]);
    other = theirs.find((o) => o.sample === s.sample) ?? theirs[0];
  }
  rows.get(current)?.removeAttribute("aria-current");
  [current, beside] = [s, other ?? null];
  const view = at("one");
  view.replaceChildren();
  if (!s) { view.append(make("p", "nothing matches")); return; }
  rows.get(s)?.setAttribute("aria-current", "true");
  view.append(make("h3", `${label(s)} · ${beside ? "side by side" : runs[s.run].name}`));
  const bar = make("div", undefined, "bar");
  bar.append(press("formulas", () => toggle("formulas"), wish.formulas));
  if (beside) bar.append(press("differences", () => toggle("differences"), wish.differences), press("one alone", () => show(s, null)));
  bar.append(press("copy link", copyLink));
  view.append(bar);
  view.append(make("p", [s.p.subject, s.p.level && `level ${s.p.level}`].filter(Boolean).join(" · "), "facts"));
  const question = make("div", undefined, "question");
  question.lang = s.p.language;
  rich(question, s.p.question);
  view.append(question);
  if (beside) {
    const both = [beside, s], masks = wish.differences ? differences(wholeOf(beside), wholeOf(s)) : [];
    const columns = make("div", undefined, "columns");
    both.forEach((one, i) => {
      const column = make("div");
      column.append(make("h4", `${"AB"[i]}: ${runs[one.run].name}${one.sample ? " #" + one.sample : ""}`), ...solution(one, masks[i]).childNodes);
      columns.append(column);
    });
    view.append(columns);
  } else view.append(...solution(s).childNodes);
  const others = othersOf(s);
  if (others.length) {
    view.append(make("p", "The same problem elsewhere:", "facts"));
    const list = make("div", undefined, "others");
    for (const o of others) {
      const name = `${WORDS[o.verdict]}: ${runs[o.run].name}${o.sample ? " #" + o.sample : ""}, answered ${o.predicted ?? "nothing"}`;
      list.append(press(name, () => show(o, null)), press("side by side", () => show(s, o)));
    }
    view.append(list);
  }
  try { history.replaceState(null, "", linkTo(s, beside)); } catch { /* in a frame that forbids it there is no link */ }
}
function toggle(name) { wish[name] = !wish[name]; show(current, beside); }
const copyLink = (button) => copy(location.href.split("#")[0] + linkTo(current, beside), button);
function step(by) {
  const index = matching.indexOf(current) + by;
  if (index < 0 || index >= matching.length) return;
  while (index >= shown) more();
  show(matching[index]);
  rows.get(current)?.scrollIntoView({ block: "nearest" });
}

const exported = () => matching.map((s) => JSON.stringify({
  run: runs[s.run].name, benchmark: runs[s.run].benchmark, id: s.id, sample: s.sample, language: s.p.language, level: s.p.level,
  subject: s.p.subject, question: s.p.question, reference: s.p.reference, turns: s.turns, not_read: s.left, predicted: s.predicted,
  verdict: s.verdict, rule: s.rule, stop: s.stop, new_tokens: s.tokens, prompt_tokens: s.prompt, shown_tokens: s.shown, seconds: s.seconds,
}) + "\n").join("");
at("save").onclick = () => {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([exported()], { type: "application/jsonl" }));
  link.download = "samples.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};

const KEYS = {
  j: () => step(1), k: () => step(-1), f: () => toggle("formulas"), d: () => toggle("differences"), y: () => copyLink(),
  p: () => current && copy(programsOf(current).at(-1) ?? ""), "/": () => at("search").focus(),
  c: () => show(current, beside ? null : current && othersOf(current)[0]),
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.activeElement.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) return;
  if (current && KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

// #s=RUN/SAMPLE/ID opens one sample, &b=RUN/SAMPLE another beside it; the filters can be given by name: #pair=0-1&outcome=won
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B"));
  const given = FILTERS.filter((id) => asked.has(id));
  for (const id of given) at(id).value = asked.get(id);
  if (given.length) filter();
  const [run, sample, ...id] = (asked.get("s") ?? "").split("/");
  const name = id.join("/"), found = samples.find((s) => s.run === Number(run) && s.sample === Number(sample) && s.id === name);
  if (!found) return;
  while (!rows.has(found) && shown < matching.length) more();
  const [otherRun, otherSample] = (asked.get("b") ?? "").split("/").map(Number);
  show(found, found.p.samples.find((o) => o.run === otherRun && o.sample === otherSample) ?? null);
  rows.get(found)?.scrollIntoView({ block: "nearest" });
  at("transcripts").scrollIntoView();  // who follows a link wants the sample, not the tables above
}
for (const id of FILTERS.slice(0, -1)) at(id).onchange = filter;
for (const button of document.querySelectorAll(".jump")) button.onclick = () => {
  at("pair").value = button.dataset.pair; at("outcome").value = button.dataset.outcome;
  filter();
  at("transcripts").scrollIntoView();
};
let waiting;
at("search").oninput = () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); };
const asked = location.hash;
filter();
if (asked) { history.replaceState(null, "", asked); follow(); }
window.addEventListener("hashchange", follow);
