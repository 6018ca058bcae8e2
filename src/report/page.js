"use strict";
// Everything that is shown comes from the JSON in the page, and becomes text nodes and attributes, never HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const find = (selector) => document.querySelector(selector);

function put(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
  for (const child of children || []) element.append(child);
  return element;
}
const make = (tag, attributes, ...children) => put(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) => put(document.createElementNS(SVG, tag), attributes, children);

const whole = (value) => Math.round(value).toLocaleString("en");
function figure(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) return value.toExponential(1);
  return value.toLocaleString("en", size >= 1000 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 });
}
const percent = (value) => value.toFixed(2) + " %";
function time(seconds) {
  const minutes = Math.round(seconds / 60);
  if (seconds < 90) return Math.round(seconds) + " s";
  return minutes < 90 ? minutes + " min" : Math.floor(minutes / 60) + " h " + (minutes % 60) + " min";
}

// Words for the names that scores have in the run's files; others are shown as they are.
const SCORES = {
  exact_match: ["exact match", "%"], accuracy: ["accuracy", "%"], f1: ["F1", "%"], macro_f1: ["macro F1", "%"], per: ["token error rate", "%"], sentence_error_rate: ["sentence error rate", "%"],
  bleu: ["BLEU", ""], chrf: ["chrF2", ""], perplexity: ["perplexity", ""], bits_per_token: ["bits per token", ""],
};

function tile(parent, value, name, kind) {
  parent.append(make("div", { class: kind ? "tile " + kind : "tile" }, make("b", {}, value), make("span", {}, name)));
}

function table(title, heads, rows) {
  const card = make("div", { class: "card" });
  if (title) card.append(make("h3", {}, title));
  const element = make("table");
  const cell = (tag, content) => {
    if (content instanceof Node) return content;
    const number = typeof content === "object" && content !== null;
    return make(tag, number ? { class: "number" } : {}, number ? content.number : content);
  };
  if (heads) element.append(make("thead", {}, make("tr", {}, ...heads.map((head) => cell("th", head)))));
  element.append(make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((content) => cell("td", content))))));
  card.append(element);
  return card;
}
const number = (text) => ({ number: text });
const token = (text) => make("td", { class: "token" }, text);
function bar(share) {
  const fill = make("i");
  fill.style.width = 100 * share + "%";
  return make("td", { class: "bar" }, fill);
}

function head() {
  document.title = data.name + " – softalign";
  find("#name").textContent = data.name;
  const written = "as of " + new Date(data.written * 1000).toLocaleString();
  find("#summary").textContent = data.reload ? written + "; the page follows the run" : written;
  const tiles = find("#figures");
  const { progress, session } = data;
  if (progress) {
    const { step, seconds, total, epoch } = progress;
    tile(tiles, whole(step) + (total ? " of " + whole(total) : ""), "steps");
    tile(tiles, whole(epoch + 1), "epoch under way");
    tile(tiles, time(seconds), "of training");
    if (total && step < total && data.reload) tile(tiles, "about " + time((seconds / step) * (total - step)), "left");
    if (progress.tokens_per_second) tile(tiles, whole(progress.tokens_per_second), "target tokens per second");
    if (total) {
      const box = make("div", { class: "tile" }, make("b", {}, Math.floor((100 * step) / total) + " %"));
      tiles.append(put(box, {}, [make("progress", { max: total, value: Math.min(step, total), "aria-label": "progress" })]));
    }
  }
  if (session) {
    tile(tiles, whole(session.parameters), "parameters");
    tile(tiles, whole(session.train_pairs), "pairs to learn from");
    tile(tiles, session.adapter, "adapter", "text");
    tile(tiles, session.driver + " (" + session.backend + ")", "driver", "text");
  }
}

// Curves ---------------------------------------------------------------------------------------------------------------

function scale(least, most, from, to, logarithmic) {
  const map = logarithmic ? Math.log : (value) => value;
  const [low, high] = [map(least), map(most)];
  return (value) => from + ((map(value) - low) / (high - low || 1)) * (to - from);
}

function ticks(least, most, logarithmic) {
  const found = [];
  if (logarithmic) {
    const decades = Math.ceil(Math.log10(most / least));
    const factors = decades > 3 ? [1] : decades > 1 ? [1, 3] : [1, 2, 3, 5];
    for (let power = Math.floor(Math.log10(least)); power <= Math.log10(most); power += Math.max(1, Math.floor(decades / 5)))
      for (const factor of factors) found.push(factor * 10 ** power);
    return found.filter((value) => value >= least && value <= most);
  }
  const rough = (most - least) / 4;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= rough * 0.999);
  for (let at = Math.ceil(least / step - 1e-9); at * step <= most * (1 + 1e-9); at++) found.push(at * step + 0);
  return found;
}

function bounds(panel) {
  const values = panel.lines.flatMap((line) => [...line.points, ...line.raw].map((point) => point[1]));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (panel.logarithmic) return [least / 1.1, most * 1.1];
  const room = most > least ? (most - least) * 0.06 : Math.abs(most) * 0.1 || 1;
  return [panel.from_zero || (least >= 0 && least < room) ? Math.min(0, least) : least - room, most + room];
}

function nearest(points, step) {
  let [low, high] = [0, points.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < step) low = middle + 1; else high = middle;
  }
  return low > 0 && step - points[low - 1][0] < points[low][0] - step ? points[low - 1] : points[low];
}

function curves() {
  if (!data.panels.length) return;
  find("#curves").hidden = false;
  const last = Math.max(1, ...data.panels.flatMap((panel) => panel.lines.map((line) => line.points.at(-1)[0])));
  for (const panel of data.panels) {
    const legend = make("div", { class: "legend" });
    const svg = draw("svg", { role: "img", "aria-label": panel.title });
    find(".panels").append(make("div", { class: "panel" }, make("h3", {}, panel.title), legend, svg));

    const tell = (at) => {
      const parts = panel.lines.map((line, index) => {
        const point = at === undefined ? line.points.at(-1) : nearest(line.points, at);
        const swatch = make("i");
        swatch.style.background = `var(--line-${index % 3})`;
        return make("span", {}, swatch, (line.name ? line.name + " " : "") + figure(point[1]));
      });
      const step = at === undefined ? last : nearest(panel.lines[0].points, at)[0];
      legend.replaceChildren(...parts, make("span", { class: "faint" }, "at step " + whole(step)));
    };

    const paint = () => {
      const width = svg.clientWidth || 330, height = 210;
      svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
      svg.setAttribute("height", height);
      const [left, right, top, bottom] = [54, width - 12, 10, height - 36];
      const [least, most] = bounds(panel);
      const x = scale(0, last, left, right, false);
      const y = scale(least, most, bottom, top, panel.logarithmic);
      const parts = [];
      for (const value of ticks(0, last, false)) {
        const label = draw("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, whole(value));
        parts.push(draw("line", { class: "rule", x1: x(value), x2: x(value), y1: top, y2: bottom }), label);
      }
      for (const value of ticks(least, most, panel.logarithmic)) {
        const label = draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, figure(value));
        parts.push(draw("line", { class: "rule", x1: left, x2: right, y1: y(value), y2: y(value) }), label);
      }
      const unit = panel.unit + (panel.logarithmic ? ", log scale" : "");
      parts.push(draw("text", { x: right, y: bottom + 32, "text-anchor": "end" }, "step"));
      parts.push(draw("text", { x: left, y: bottom + 32 }, unit));
      const path = (points) => points.map(([step, value], at) => (at ? "L" : "M") + x(step).toFixed(1) + " " + y(value).toFixed(1)).join("");
      panel.lines.forEach((line, index) => {
        const color = `stroke: var(--line-${index % 3})`;
        if (line.raw.length) parts.push(draw("path", { class: "raw", d: path(line.raw), style: color }));
        parts.push(draw("path", { class: "smooth", d: path(line.points), style: color }));
        const dots = panel.of_validations ? line.points.filter(([step]) => line.points.length <= 30 || step === data.best) : [];
        for (const [step, value] of dots) {
          const best = step === data.best;
          const fill = `fill: var(${best ? "--card" : "--line-" + (index % 3)}); ${color}; stroke-width: 2`;
          parts.push(draw("circle", { cx: x(step), cy: y(value), r: best ? 5 : 2.5, style: fill }));
        }
      });
      const cursor = draw("line", { class: "cursor", y1: top, y2: bottom, visibility: "hidden" });
      svg.replaceChildren(...parts, cursor);
      svg.onpointermove = (event) => {
        const at = ((event.clientX - svg.getBoundingClientRect().left - left) / (right - left)) * last;
        const [step] = nearest(panel.lines[0].points, at);
        put(cursor, { x1: x(step), x2: x(step), visibility: "visible" });
        tell(at);
      };
      svg.onpointerleave = () => { cursor.setAttribute("visibility", "hidden"); tell(); };
    };
    tell();
    paint();
    let painted = svg.clientWidth;
    new ResizeObserver(() => {
      if (svg.clientWidth !== painted) { painted = svg.clientWidth; paint(); }
    }).observe(svg);
  }
}

// Scores ---------------------------------------------------------------------------------------------------------------

// The scores that say something of the model's answers: of parts of sources, and of classes, those that are made for them.
function telling(scores) {
  const { answer_scores: answers, confusion, exact_match, perplexity, intervals } = scores;
  if (answers) {
    const [exact, f1] = answers.intervals || [];
    const { exact_match, f1: mean } = answers;
    return { exact_match, f1: mean, intervals: exact && { exact_match: exact, f1 } };
  }
  if (!confusion) return scores;
  const shown = { accuracy: exact_match, macro_f1: confusion.macro_f1, perplexity };
  return { ...shown, intervals: intervals && { accuracy: intervals.exact_match, perplexity: intervals.perplexity } };
}

// How often texts of each class were given each name.
function confused({ names, classes, counts }) {
  const shown = names.map((name) => name || "(none)");
  const heads = ["", ...["texts", "precision", "recall", "F1", ...shown].map(number)];
  const rows = classes.map(({ count, precision, recall, f1 }, row) => {
    const shares = [precision, recall, f1].map(percent);
    return [token(shown[row]), ...[whole(count), ...shares, ...counts[row].map(whole)].map(number)];
  });
  return table("Texts of each class in a row, under the names that they were given", heads, rows);
}

function scores() {
  const { examined } = data;
  // A run that is watched is examined on few sources: its own validation says more.
  const own = Object.fromEntries(data.validated);
  const partial = !examined || examined.sources < examined.of;
  const shown = partial && data.validated.length ? own : examined ? telling(examined.scores) : {};
  if (!Object.keys(shown).length) return;
  find("#scores").hidden = false;
  const search = examined && (examined.beam > 1 ? "beam of " + examined.beam : "greedy search");
  find("#scores > p").textContent = shown === own
    ? "Of the last validation in training, by greedy search."
    : `On ${whole(examined.sources)} sources of ${examined.data}, by ${search}.`;
  const words = (value, unit) => (unit === "%" ? percent(value) : value.toFixed(2));
  const known = Object.keys(SCORES);
  const names = [...known.filter((name) => name in shown), ...Object.keys(shown).filter((name) => !known.includes(name))];
  for (const name of names) {
    if (typeof shown[name] !== "number" || name === "count") continue;
    const [label, unit] = SCORES[name] || [name.replaceAll("_", " "), ""];
    const interval = shown.intervals && shown.intervals[name];
    const range = interval ? `, ${interval.low.toFixed(2)} to ${interval.high.toFixed(2)}` : "";
    tile(find("#scores .tiles"), words(shown[name], unit), label + range);
  }
  if (shown.intervals) find("#scores > p").textContent += " Behind each score, where 95 % of resamples of the sources lie.";
  if (examined && examined.scores.confusion) find("#scores").append(confused(examined.scores.confusion));
  if (shown.bleu_signature) {
    const signatures = make("p", { class: "faint small" }, `BLEU ${shown.bleu_signature}, chrF2 ${shown.chrf_signature}`);
    find("#scores").append(signatures);
  }
}

// Examples -------------------------------------------------------------------------------------------------------------

function shade(element, weight) {
  const share = Math.round(100 * Math.min(1, Math.max(0, weight)));
  element.style.background = share ? `color-mix(in oklab, var(--hot) ${share}%, var(--card))` : "";
  element.style.color = share > 50 ? "var(--on-hot)" : "";
}

function example(chosen) {
  const { source, target, weights } = chosen;
  const heads = source.map((text) => {
    const parts = { label: make("span", { class: "token" }, text), value: make("small") };
    return { ...parts, cell: make("th", { scope: "col" }, parts.value, parts.label) };
  });
  const read = source.map((text) => make("span", { class: "chip token" }, text));
  const written = target.map((text, row) => {
    const chip = make("span", { class: "chip token" }, text);
    if (weights.length) chip.onpointerenter = chip.onclick = () => light(row);
    return chip;
  });
  const text = make("dl", {}, make("dt", {}, "source"), make("dd", {}, ...read),
    make("dt", {}, "written"), make("dd", { class: chosen.wanted === null ? "good" : "bad" }, ...written));
  if (chosen.wanted !== null) put(text, {}, [make("dt", {}, "wanted"), make("dd", { class: "plain" }, chosen.wanted)]);
  if (!weights.length) return make("div", { class: "card" }, text);
  const said = make("p", { class: "number-of faint", "aria-live": "polite" });
  const rows = [];
  let pointed = null;
  const light = (row, column) => {
    rows.forEach(({ line }, index) => line.classList.toggle("on", index === row));
    written.forEach((chip, index) => chip.classList.toggle("on", index === row));
    read.forEach((chip, index) => shade(chip, row === undefined ? 0 : weights[row][index]));
    heads.forEach(({ label, value }, index) => {
      shade(label, row === undefined ? 0 : weights[row][index]);
      value.textContent = row === undefined || weights[row][index] < 0.005 ? "" : weights[row][index].toFixed(2);
    });
    if (pointed) { pointed.classList.remove("on"); pointed.textContent = ""; }
    pointed = row !== undefined && column !== undefined ? rows[row].cells[column] : null;
    if (pointed) { pointed.classList.add("on"); pointed.textContent = weights[row][column].toFixed(2); }
    if (row === undefined) {
      said.textContent = "Rows are what was written, columns are what was read.";
    } else if (pointed) {
      said.textContent = `${target[row]} ← ${source[column]}: ${weights[row][column].toFixed(4)}`;
    } else {
      const order = [...weights[row].keys()].sort((a, b) => weights[row][b] - weights[row][a]).slice(0, 3);
      said.textContent = target[row] + " ← " + order.map((at) => `${source[at]} ${weights[row][at].toFixed(2)}`).join(", ");
    }
  };
  const body = make("tbody");
  target.forEach((text, row) => {
    const label = make("th", { scope: "row", tabindex: 0 }, make("span", { class: "token" }, text));
    const cells = weights[row].map((weight, column) => {
      const cell = make("td", { "aria-label": weight.toFixed(2) });
      shade(cell, weight);
      cell.onpointerenter = cell.onclick = () => light(row, column);
      return cell;
    });
    label.onpointerenter = label.onclick = label.onfocus = () => light(row);
    const line = make("tr", {}, label, ...cells);
    body.append(line);
    rows.push({ line, cells });
  });
  const map = make("table", { class: "map" },
    make("thead", {}, make("tr", {}, make("td"), ...heads.map((head) => head.cell))), body);
  const card = make("div", { class: "card" }, text, said, make("div", { class: "scroll" }, map));
  // A finger that is lifted leaves too, and what it has tapped is to stay.
  card.onpointerleave = (event) => { if (event.pointerType === "mouse") light(); };
  light();
  return card;
}

// Which example is looked at outlives the page's loading itself again, where the browser keeps such things for files.
const memory = {
  get(name) { try { return sessionStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { sessionStorage.setItem(name, value); } catch { /* nothing is lost but the place */ } },
};

function examples() {
  const shown = data.examined ? data.examined.examples : [];
  if (!shown.length) return;
  find("#examples").hidden = false;
  const buttons = shown.map((item, index) => {
    const right = item.wanted === null;
    const mark = make("span", { class: "mark " + (right ? "good" : "bad"), title: right ? "right" : "wrong" }, right ? "✓" : "✗");
    const button = make("button", { type: "button" }, mark, item.source_text + " → " + item.text);
    button.onclick = () => show(index);
    find("#examples .list").append(make("li", {}, button));
    return button;
  });
  const show = (index) => {
    buttons.forEach((button, at) => button.setAttribute("aria-current", String(at === index)));
    find("#examples .example").replaceChildren(example(shown[index]));
    memory.set("example", shown[index].source_text);
  };
  const before = memory.get("example");
  show(Math.max(0, shown.findIndex((item) => item.source_text === before)));
}

// Errors ---------------------------------------------------------------------------------------------------------------

function errors() {
  if (!data.examined) return;
  const { errors, sources, of } = data.examined;
  find("#errors").hidden = false;
  const [substituted, inserted, deleted] = errors.totals;
  const all = substituted + inserted + deleted;
  const within = sources < of ? `${whole(sources)} of ${whole(of)} sources` : `all ${whole(sources)} sources`;
  find("#errors > p").textContent = `On ${within}, ${whole(all)} edits to the nearest references of ${whole(errors.wanted)} tokens: `
    + `${whole(substituted)} substituted, ${whole(inserted)} inserted, ${whole(deleted)} deleted.`;
  const columns = find("#errors .columns");
  const list = (title, heads, entries, tokens) => {
    if (!entries.length) return;
    const most = entries[0][1];
    const rows = entries.map(([what, count]) => [...tokens(what).map(token), number(whole(count)), bar(count / most)]);
    columns.append(table(title, [...heads, number("times"), ""], rows));
  };
  list("Written instead of what was wanted", ["wanted", "written"], errors.substitutions, (pair) => pair);
  list("Written, and not wanted", ["token"], errors.insertions, (text) => [text]);
  list("Wanted, and not written", ["token"], errors.deletions, (text) => [text]);
  const most = Math.max(1e-9, ...errors.by_length.map((entry) => entry.per));
  const rows = errors.by_length.map(({ tokens: [least, largest], sources, per, sentence_error_rate: whole }) => [
    number(least === largest ? String(least) : least + " to " + largest), number(whole(sources)),
    number(percent(whole)), number(percent(per)), bar(per / most),
  ]);
  const heads = ["tokens", "sources", "texts wrong", "token errors"].map(number);
  columns.append(put(table("By length of the source", [...heads, ""], rows), { class: "card wide" }));
}

function settings() {
  const columns = find("#settings .columns");
  if (data.run.length) columns.append(table("Run", null, data.run));
  if (data.model.length) columns.append(table("Model", null, data.model));
}

for (const part of [head, curves, scores, examples, errors, settings]) part();

if (data.reload) {
  // Not under the hands of someone who is looking at something.
  let touched = -Infinity;
  for (const event of ["pointermove", "pointerdown", "keydown", "wheel"])
    addEventListener(event, () => { touched = performance.now(); }, { passive: true });
  setInterval(() => { if (performance.now() - touched > 1000 * data.reload) location.reload(); }, 1000 * data.reload);
}
