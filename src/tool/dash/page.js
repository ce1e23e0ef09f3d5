// SPDX-License-Identifier: BSD-2-Clause
// Draws /stats.json. Data becomes text only: textContent and attributes, never markup. What stands
// in the page at the start stays, so focus, selection and what was unfolded stay, too.
"use strict";
(() => {
const SVG = "http://www.w3.org/2000/svg";
const id = (name) => document.getElementById(name);
const make = (name, props = {}, ...children) => {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(props))
    if (k === "role" || k.startsWith("aria-")) e.setAttribute(k, v); else e[k] = v;
  e.append(...children);
  return e;
};
const draw = (name, attributes, text) => {
  const e = document.createElementNS(SVG, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
};
const set = (e, text) => { if (e.textContent !== text) e.textContent = text; };

// ---- Numbers ------------------------------------------------------------------------------------
const count = (v) => v === null ? "\u2013" : v < 1000 && v % 1 ? v.toFixed(1)
  : Math.round(v).toLocaleString("en");
const percent = (v) => v === null ? "\u2013" : (v < 100 && v > 99.99 ? 99.99 : v).toFixed(2) + " %";
const rate = (v) => v === null ? "\u2013" : v < 100 ? v.toFixed(1) : count(v);
const scaled = (v, step, units) => {
  let i = 0;
  while (v >= step && i + 1 < units.length) { v /= step; i++; }
  return (i === 0 || v >= 100 ? Math.round(v) : v.toFixed(v < 10 ? 2 : 1)) + " " + units[i];
};
const bytes = (v) => scaled(v, 1024, ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]);
const decimal = (v) => scaled(v, 1000, ["bytes", "kB", "MB", "GB", "TB", "PB"]);
const time = (ns) => scaled(ns, 1000, ["ns", "\u00b5s", "ms", "s"]);

// ---- Figures of a pool --------------------------------------------------------------------------
// A series by the second, and the share of hits; null where nothing is known.
const perSecond = (h, name, by = 1) =>
  h.seconds.map((s, i) => s > 0 ? h[name][i] / s / by : null);
const hitRate = (h) => h.seconds.map((s, i) => {
  const all = h.hits[i] + h.misses[i];
  return s > 0 && all > 0 ? 100 * h.hits[i] / all : null;
});
const last = (values) => values.length ? values[values.length - 1] : null;

const CARDS = [
  ["Hit rate", (p) => percent(last(hitRate(p.history))), (p) => {
    const all = p.counters.hit_blocks + p.counters.miss_blocks;
    return (all ? percent(100 * p.counters.hit_blocks / all) : "\u2013") + " since open";
  }],
  ["From the pool", (p) => rate(last(perSecond(p.history, "hit_bytes", 1e6))) + " MB/s",
    (p) => rate(last(perSecond(p.history, "hits"))) + " blocks/s"],
  ["From the origin", (p) => rate(last(perSecond(p.history, "origin_bytes", 1e6))) + " MB/s",
    (p) => rate(last(perSecond(p.history, "origin_reads"))) + " reads/s"],
  ["Fills", (p) => rate(last(perSecond(p.history, "fills"))) + " /s",
    (p) => count(p.counters.fill_blocks) + " since open"],
  ["Evictions", (p) => rate(last(perSecond(p.history, "evictions"))) + " /s",
    (p) => count(p.counters.evicted + p.counters.displaced) + " since open"],
  ["Written to the pool", (p) => rate(last(perSecond(p.history, "pool_bytes", 1e6))) + " MB/s",
    (p) => decimal(p.counters.pool_bytes) + " since open"],
];

// ---- Charts -------------------------------------------------------------------------------------
// A figure: title, legend, drawing, and the same as a table, folded.
const figure = (parent, title, names, head) => {
  const legend = make("span", { className: "legend" });
  if (names.length > 1)
    names.forEach((n, i) => legend.append(make("span",
      { className: i ? "key two" : "key", "aria-hidden": "true" }), n));
  const svg = draw("svg", { role: "img" });
  const body = make("tbody");
  const row = make("tr");
  head.forEach((h, i) => row.append(make("th", { scope: "col", className: i ? "n" : "" }, h)));
  const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region",
    "aria-label": title + ", as a table" });
  scroll.append(make("table", {}, make("thead", {}, row), body));
  const details = make("details", {}, make("summary", {}, "Table: " + title), scroll);
  const f = make("figure", {}, make("figcaption", {}, make("h3", {}, title), legend), svg, details);
  parent.append(f);
  return { f, svg, body, details };
};
// Rows of text, the first cell a header; numbers of rows change seldom.
const fill = (body, rows) => {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((cells, r) => {
    const row = body.rows[r] || body.insertRow();
    cells.forEach((c, i) => {
      const cell = row.cells[i] || row.insertCell();
      if (i > 0) cell.className = "n";
      set(cell, c);
    });
  });
};
const frame = (svg, label) => {
  const box = svg.getBoundingClientRect();
  const width = Math.max(box.width, 200), height = Math.max(box.height, 100);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("aria-label", label);
  svg.replaceChildren();
  return { left: 52, right: width - 8, top: 10, bottom: height - 20 };
};
// The next larger 1, 2 or 5 times a power of ten.
const round = (v) => {
  if (!(v > 0)) return 1;
  const p = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 5, 10].find((m) => m * p >= v) * p;
};
const axis = (svg, a, most, unit) => {
  for (const share of [0, 0.5, 1]) {
    const y = a.bottom - share * (a.bottom - a.top);
    svg.append(draw("line", { class: "grid", x1: a.left, x2: a.right, y1: y, y2: y }));
    const v = most * share;
    svg.append(draw("text", { x: a.left - 6, y: y + 4, "text-anchor": "end" },
      (v >= 10000 ? v / 1000 + "k" : +v.toPrecision(3)) + unit));
  }
};
// Lines; a null breaks one. `xs` from 0 to 1.
const lines = (svg, a, xs, series, most, area) => {
  series.forEach((values, k) => {
    let path = "", open = false, shape = "", from = 0;
    values.forEach((v, i) => {
      const x = (a.left + xs[i] * (a.right - a.left)).toFixed(1);
      const y = v === null ? 0 : (a.bottom - Math.min(v / most, 1) * (a.bottom - a.top)).toFixed(1);
      if (v === null) { if (open) shape += `V${a.bottom}H${from}Z`; open = false; return; }
      if (!open) { from = x; shape += `M${x} ${a.bottom}V${y}`; }
      path += (open ? "L" : "M") + x + " " + y + (open ? "" : "h.1");
      if (open) shape += `L${x} ${y}`;
      open = true;
    });
    if (open) shape += `V${a.bottom}H${from}Z`;
    if (k === 0 && area && shape) svg.append(draw("path", { class: "area", d: shape }));
    if (path) svg.append(draw("path", { class: k ? "line two" : "line", d: path }));
  });
};
const known = (values) => values.filter((v) => v !== null);
const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

const TIMED = [
  { title: "Hit rate", unit: "%", names: ["hit rate"], most: 100,
    of: (h) => [hitRate(h)], text: percent },
  { title: "Throughput, MB/s", unit: "", names: ["pool", "origin"],
    of: (h) => [perSecond(h, "hit_bytes", 1e6), perSecond(h, "origin_bytes", 1e6)], text: rate },
  { title: "Reads by the second", unit: "", names: ["blocks, pool", "reads, origin"],
    of: (h) => [perSecond(h, "hits"), perSecond(h, "origin_reads")], text: rate },
  { title: "Blocks stored and evicted by the second", unit: "", names: ["fills", "evictions"],
    of: (h) => [perSecond(h, "fills"), perSecond(h, "evictions")], text: rate },
];
const SPAN = 300; // seconds
const drawTimed = (c, h) => {
  const series = c.of(h);
  const ages = new Array(h.seconds.length);
  let age = 0;
  for (let i = ages.length - 1; i >= 0; i--) { ages[i] = age; age += h.seconds[i] || interval; }
  const most = c.most || round(Math.max(0, ...series.flatMap(known)));
  const told = series.map((s, i) => known(s).length
    ? `${c.names[i]}: now ${c.text(last(s))}, average ${c.text(average(known(s)))}`
    : `${c.names[i]}: nothing known`).join("; ");
  const a = frame(c.svg, `${c.title}, last five minutes. ${told}`);
  axis(c.svg, a, most, c.unit);
  for (const [share, text] of [[0, "5 min ago"], [1, "now"]])
    c.svg.append(draw("text", { x: share ? a.right : a.left, y: a.bottom + 15,
      "text-anchor": share ? "end" : "start" }, text));
  lines(c.svg, a, ages.map((s) => Math.max(0, 1 - s / SPAN)), series, most, true);
  if (!c.details.open) return;
  const rows = [];
  for (let from = 0; from < SPAN; from += 30) {
    const part = series.map((s) => known(s.filter((v, i) => ages[i] >= from &&
      ages[i] < from + 30)));
    if (part.some((v) => v.length))
      rows.push([`${from} to ${from + 30} s ago`,
        ...part.map((v) => v.length ? c.text(average(v)) : "\u2013")]);
  }
  fill(c.body, rows);
};

const FACTORS = ["1/8", "1/4", "1/2", "1", "2", "4", "8"];
const drawCurve = (c, p) => {
  const values = p.curve.map((q) => q.hit_ratio === null ? null : 100 * q.hit_ratio);
  const size = (i) => bytes(p.size * 2 ** (i - 3));
  c.f.hidden = !known(values).length;
  set(id("curve-text"), values[3] === null
    ? `No estimate yet: ${p.curve_observed}.`
    : "Estimated from a sample of the blocks that are read.");
  if (c.f.hidden) return;
  const told = values.map((v, i) => v === null ? "" : `${FACTORS[i]} times: ${percent(v)}`)
    .filter(Boolean).join("; ");
  const a = frame(c.svg, `Estimated hit rate by size of the pool. ${told}`);
  const x = (i) => 0.04 + 0.92 * i / 6;
  axis(c.svg, a, 100, "%");
  lines(c.svg, a, values.map((_, i) => x(i)), [values], 100, false);
  values.forEach((v, i) => {
    const at = a.left + x(i) * (a.right - a.left);
    c.svg.append(draw("text", { x: at, y: a.bottom + 15, "text-anchor": "middle" },
      "\u00d7" + FACTORS[i]));
    if (v !== null)
      c.svg.append(draw("circle", { class: "dot", cx: at, r: i === 3 ? 6 : 3.5,
        cy: a.bottom - v / 100 * (a.bottom - a.top) }));
  });
  fill(c.body, values.map((v, i) => [`${FACTORS[i]} times (${size(i)})`, percent(v)]));
};

const drawLatency = (c, buckets, what) => {
  const all = buckets.reduce((x, y) => x + y, 0);
  const first = buckets.findIndex((b) => b > 0);
  c.f.hidden = all === 0;
  if (all === 0) return "";
  const end = buckets.length - [...buckets].reverse().findIndex((b) => b > 0);
  const from = Math.max(0, Math.min(first, end - 6)), n = end - from;
  const below = (share) => {
    let sum = 0;
    const i = buckets.findIndex((b) => (sum += b) >= share * all);
    return time(2 ** (i + 1));
  };
  const told = `${what}: half below ${below(0.5)}, 99 % below ${below(0.99)}, ` +
    `all below ${below(1)}`;
  const a = frame(c.svg, told + ".");
  const most = round(100 * Math.max(...buckets) / all);
  axis(c.svg, a, most, "%");
  const step = (a.right - a.left) / n;
  for (let i = 0; i < n; i++) {
    const share = 100 * buckets[from + i] / all;
    const height = share / most * (a.bottom - a.top);
    c.svg.append(draw("rect", { class: c.two ? "bar two" : "bar", width: Math.max(step - 3, 1),
      x: a.left + i * step + 1.5, y: a.bottom - height, height }));
    if (i % Math.ceil(n * 62 / (a.right - a.left)) === 0)
      c.svg.append(draw("text", { x: a.left + i * step, y: a.bottom + 15 },
        time(2 ** (from + i))));
  }
  fill(c.body, buckets.slice(from, end).map((b, i) =>
    [`${time(2 ** (from + i))} to ${time(2 ** (from + i + 1))}`, count(b),
      percent(100 * b / all)]));
  return told + ". ";
};

// ---- The page -----------------------------------------------------------------------------------
let interval = 2, paused = false, chosen = 0, seen = null, before = null;

const cards = CARDS.map(([title]) => {
  const now = make("dd", { className: "now" }), all = make("dd", { className: "all" });
  id("cards").append(make("div", {}, make("dt", {}, title), now, all));
  return [now, all];
});
const timed = TIMED.map((c) => ({ ...c,
  ...figure(id("charts"), c.title, c.names, ["When", ...c.names]) }));
const hits = figure(id("latency"), "Hits", ["hits"], ["Duration", "Calls", "Share"]);
const origin = { two: true, ...figure(id("latency"), "Reads of the origin", ["reads"],
  ["Duration", "Reads", "Share"]) };
const curve = figure(id("curve"), "Hit rate by size", ["hit rate"], ["Size", "Hit rate"]);

const showWhy = (p, texts) => {
  const body = id("why").tBodies[0];
  const names = Object.keys(p.counters).filter((n) => n.startsWith("miss_") && texts[n] &&
    texts[n].startsWith("misses: "));
  const all = names.reduce((sum, n) => sum + p.counters[n], 0);
  const span = before && before.pool === p.pool && before.opened_at_ns === p.opened_at_ns
    ? (p.at - before.at) / 1000 : 0;
  fill(body, names.map((n) => [texts[n].slice(8),
    rate(span > 0 ? Math.max(0, p.counters[n] - before.counters[n]) / span : null),
    count(p.counters[n])]));
  names.forEach((n, r) => {
    const cell = body.rows[r].cells[3] || body.rows[r].insertCell();
    const share = all ? 100 * p.counters[n] / all : 0;
    const meter = cell.firstChild || cell.appendChild(make("meter", { min: 0, max: 100 }));
    meter.value = share;
    meter.setAttribute("aria-label", `${share.toFixed(1)} %`);
  });
};
const showFiles = (p) => {
  set(id("files-text"), !p.files_known ? "Not counted yet."
    : !p.files.length ? "Nothing is cached."
    : (p.files_estimated ? "Estimated from a sample. " : "") +
      `${percent(100 * p.blocks_in_use / p.slots)} of the pool's blocks are in use. Hits are ` +
      "those that were noted when a file was closed last.");
  id("files").hidden = !p.files.length;
  fill(id("files").tBodies[0], p.files.map((f) => [f.name ?? f.id ??
      (f.searched ? "(no record yet)" : "(its record is not found yet)"),
    bytes(f.cached_bytes),
    f.size ? percent(Math.min(100, 100 * f.cached_bytes / f.size)) : "\u2013",
    f.hits_noted ? count(f.hits_noted) : "\u2013"]));
};
const stateOf = (p) => p.error ? `cannot be read: ${p.error}`
  : `${p.owned ? p.owner_pid ? `open in process ${p.owner_pid}` : "open"
    : "not open; figures of the last session"}; ` +
    `${bytes(p.size)}, room for ${count(p.max_files)} files or more`;
const show = () => {
  const p = seen && seen.pools[chosen];
  if (!p) return;
  set(id("path"), p.pool);
  set(id("state"), stateOf(p) + (paused ? "; paused" : ""));
  id("main").hidden = !!p.error;
  if (p.error) return;
  cards.forEach(([now, all], i) => { set(now, CARDS[i][1](p)); set(all, CARDS[i][2](p)); });
  timed.forEach((c) => drawTimed(c, p.history));
  showWhy(p, seen.texts);
  const told = drawLatency(hits, p.hit_latency, "Hits") +
    drawLatency(origin, p.origin_latency, "Reads of the origin");
  set(id("latency-text"), told || "No call was timed yet.");
  drawCurve(curve, p);
  set(id("wear-life"), p.wear.text + ".");
  set(id("wear-session"), p.wear.session_text && `This session: ${p.wear.session_text}.`);
  showFiles(p);
  fill(id("all").tBodies[0], Object.entries(p.counters).map(([n, v]) =>
    [seen.texts[n], n.endsWith("_bytes") ? decimal(v) : count(v)]));
};
const choosePools = (pools) => {
  const list = id("pools");
  if (list.options.length === pools.length) return;
  list.replaceChildren(...pools.map((p, i) => make("option", { value: String(i) }, p.pool)));
  id("choose").hidden = pools.length < 2;
  id("path").hidden = pools.length > 1;
};
const ask = async () => {
  if (!paused && !document.hidden) {
    try {
      const reply = await fetch("/stats.json", { cache: "no-store" });
      if (!reply.ok) throw new Error(`status ${reply.status}`);
      const data = await reply.json();
      data.pools.forEach((p) => { p.at = performance.now(); });
      before = seen && seen.pools[chosen];
      seen = data;
      interval = data.interval_seconds;
      choosePools(data.pools);
      show();
    } catch (e) {
      set(id("state"), "No answer from the server; trying again.");
    }
  }
  setTimeout(ask, interval * 1000);
};
id("pools").addEventListener("change", (e) => {
  chosen = Number(e.target.value);
  before = null;
  show();
});
id("pause").addEventListener("click", () => {
  paused = !paused;
  id("pause").setAttribute("aria-pressed", String(paused));
  show();
});
addEventListener("resize", show);
for (const c of timed) c.details.addEventListener("toggle", show);
ask();
})();
