"use strict";
// Line charts in SVG. A chart is drawn anew for the width it has; it is read with the
// pointer or the arrow keys, and its values stand in the legend.

const SVG = "http://www.w3.org/2000/svg";
const DATA = JSON.parse(document.getElementById("report-data").textContent);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

function draw(parent, tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

// Numbers with so many significant digits, and no exponent where people expect none.
function shown(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e7) {
    return value.toExponential(digits - 1).replace("e-", "e−").replace("e+", "e");
  }
  return Number(value.toPrecision(digits)).toLocaleString("en", {
    maximumSignificantDigits: digits,
  });
}

function linearTicks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high, count) {
  const decades = Math.log10(high / low);
  const parts = decades > count / 2 ? [1] : decades > count / 4 ? [1, 3] : [1, 2, 5];
  const every = parts.length > 1 ? 1 : Math.max(1, Math.ceil(decades / count));
  const ticks = [];
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p += every) {
    for (const part of parts) {
      const tick = Number((part * 10 ** p).toPrecision(6));
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  }
  return ticks;
}

function scaleOf(axis, values, from, to) {
  let [low, high] = axis.domain || [Math.min(...values), Math.max(...values)];
  if (axis.log) {
    if (low === high) [low, high] = [low / 2, high * 2];
    const pad = axis.pad ?? 0.03;
    const ratio = (high / low) ** pad;
    if (!axis.domain) [low, high] = [low / ratio, high * ratio];
    const span = Math.log(high / low);
    return { low, high, at: (v) => from + ((to - from) * Math.log(v / low)) / span };
  }
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  if (!axis.domain) {
    const pad = (high - low) * (axis.pad ?? 0.04);
    [low, high] = [axis.zero ? Math.min(low, 0) : low - pad, high + pad];
  }
  return { low, high, at: (v) => from + ((to - from) * (v - low)) / (high - low) };
}

/* spec: {label, x, y, series}, an axis {label, log, format, ticks, domain, unit}, a
   series {name, colour, points: [{x, y, low, high}], line, dots, band, weak, dashed, big}. */
class Chart {
  constructor(holder, { height = 340, toggles = true, legend = true } = {}) {
    this.holder = holder;
    this.height = height;
    this.toggles = toggles;
    this.hidden = new Set();
    this.cursor = null;
    this.legend = make("ul", { class: "legend", hidden: !legend });
    this.frame = make("div", { class: "frame", tabindex: "0", role: "group" });
    this.reading = make("p", { class: "hidden-label", "aria-live": "polite" });
    holder.append(this.legend, this.frame, this.reading);
    this.frame.addEventListener("pointermove", (event) => this.point(event));
    this.frame.addEventListener("pointerdown", (event) => this.point(event));
    this.frame.addEventListener("pointerleave", () => this.move(null));
    this.frame.addEventListener("blur", () => this.move(null));
    this.frame.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => {
      if (this.spec && Math.round(this.frame.clientWidth) !== this.width) this.render();
    }).observe(this.frame);
  }

  show(spec) {
    this.spec = spec;
    this.cursor = null;
    this.listed = spec.series.filter((one) => !one.unlisted);
    this.fillLegend();
    this.render();
  }

  fillLegend() {
    this.values = new Map();
    const names = [...new Set(this.listed.map((one) => one.name))];
    this.legend.replaceChildren(
      ...names.map((name) => {
        const one = this.listed.find((series) => series.name === name);
        const value = make("span", { class: "value" });
        this.values.set(name, value);
        const mark = `swatch c${one.colour}${one.dashed ? " dashed" : ""}`;
        const parts = [make("span", { class: mark, "aria-hidden": "true" }), make("span", {}, name), value];
        if (!this.toggles) return make("li", {}, make("span", { class: "entry" }, ...parts));
        const button = make("button", {
          type: "button",
          "aria-pressed": String(!this.hidden.has(name)),
        }, ...parts);
        button.addEventListener("click", () => {
          if (!this.hidden.delete(name)) this.hidden.add(name);
          button.setAttribute("aria-pressed", String(!this.hidden.has(name)));
          this.render();
        });
        return make("li", {}, button);
      }),
    );
  }

  visible() {
    return this.spec.series
      .filter((one) => !this.hidden.has(one.name))
      .map((one) => ({ ...one, points: one.points.filter((p) => this.drawable(p)) }))
      .filter((one) => one.points.length);
  }

  drawable(p) {
    const { x, y } = this.spec;
    return Number.isFinite(p.x) && Number.isFinite(p.y) && !(x.log && p.x <= 0) && !(y.log && p.y <= 0);
  }

  render() {
    const { x, y, label } = this.spec;
    this.width = Math.round(this.frame.clientWidth) || 640;
    const height = this.width < 480 ? Math.round(this.height * 0.85) : this.height;
    const box = { left: 52, right: this.width - 14, top: y.label ? 30 : 12, bottom: height - 42 };
    const shownSeries = this.visible();
    const xs = shownSeries.flatMap((one) => one.points.map((p) => p.x));
    const ys = shownSeries.flatMap((one) => one.points.flatMap((p) => [p.low ?? p.y, p.high ?? p.y]));
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", `0 0 ${this.width} ${height}`);
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", label);
    this.frame.setAttribute("aria-label", `${label}. Arrow keys read values.`);
    this.frame.replaceChildren(svg);
    this.drawn = shownSeries;
    this.places = [];
    this.dots = null;
    if (!xs.length) {
      draw(svg, "text", { x: this.width / 2, y: height / 2, class: "empty" }, "Nothing to show");
      return;
    }
    const sx = (this.sx = scaleOf(x, xs, box.left, box.right));
    const sy = (this.sy = scaleOf(y, ys, box.bottom, box.top));
    this.axes(svg, box, sx, sy);
    for (const one of [...shownSeries].sort((a, b) => (a.level || 0) - (b.level || 0))) {
      this.series(svg, one, sx, sy);
    }
    if (this.width > 600) this.labels(svg, shownSeries.filter((one) => one.tag), box);
    this.guide = draw(svg, "line", { class: "guide", y1: box.top, y2: box.bottom, visibility: "hidden" });
    this.dots = draw(svg, "g", { class: "reading" });
    const read = shownSeries.filter((one) => !one.unlisted);
    this.places = [...new Set(read.flatMap((one) => one.points.map((p) => p.x)))].sort((a, b) => a - b);
  }

  axes(svg, box, sx, sy) {
    const { x, y } = this.spec;
    const grid = draw(svg, "g", { class: "grid" });
    const texts = draw(svg, "g", { class: "ticks" });
    // [value, text] of each; an axis with `unit` has round numbers of that unit.
    const ticksOf = (axis, scale, count) => {
      const unit = axis.unit ? axis.unit(scale.high) : 1;
      const round = () => (axis.log ? logTicks : linearTicks)(scale.low / unit, scale.high / unit, count);
      const format = axis.format || ((v) => shown(v));
      return (axis.ticks || round().map((v) => v * unit)).map((v) => [v, format(v, unit)]);
    };
    for (const [tick, text] of ticksOf(y, sy, 5)) {
      const at = sy.at(tick);
      draw(grid, "line", { x1: box.left, x2: box.right, y1: at, y2: at });
      draw(texts, "text", { x: box.left - 8, y: at + 4, class: "end" }, text);
    }
    draw(grid, "line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, class: "base" });
    for (const [tick, text] of ticksOf(x, sx, this.width / 90)) {
      const at = sx.at(tick);
      draw(grid, "line", { x1: at, x2: at, y1: box.bottom, y2: box.bottom + 4, class: "base" });
      draw(texts, "text", { x: at, y: box.bottom + 19, class: "middle" }, text);
    }
    draw(texts, "text", { x: box.right, y: box.bottom + 37, class: "end title" }, x.label);
    if (y.label) draw(texts, "text", { x: 0, y: 13, class: "title" }, y.label);
  }

  series(svg, one, sx, sy) {
    const classes = ["series", `c${one.colour}`];
    for (const name of ["weak", "dashed", "target", "band-only"]) if (one[name]) classes.push(name);
    const group = draw(svg, "g", { class: classes.join(" ") });
    const at = (p, value) => `${sx.at(p.x).toFixed(1)},${sy.at(value).toFixed(1)}`;
    const banded = one.points.filter((p) => p.low !== undefined);
    if (one.band && banded.length > 1) {
      const up = banded.map((p) => at(p, p.high));
      const down = banded.map((p) => at(p, p.low)).reverse();
      draw(group, "path", { class: "band", d: `M${up.join("L")}L${down.join("L")}Z` });
    }
    if (one.line !== false && one.points.length > 1) {
      draw(group, "path", { class: "line", d: `M${one.points.map((p) => at(p, p.y)).join("L")}` });
    }
    for (const p of one.points) {
      if (one.bars && p.low !== undefined) {
        const px = sx.at(p.x).toFixed(1);
        const [low, high] = [sy.at(p.low).toFixed(1), sy.at(p.high).toFixed(1)];
        draw(group, "path", { class: "bar", d: `M${px},${low}V${high}m-4,0h8M${px - 4},${low}h8` });
      }
      if (one.dots || one.points.length === 1) {
        draw(group, "circle", { cx: sx.at(p.x), cy: sy.at(p.y), r: one.dots || 3, class: one.ring ? "ring" : "dot" });
      }
    }
  }

  // Names beside the points that end a curve, none over another.
  labels(svg, named, box) {
    let floor = box.top - 20;
    const ends = named.map((one) => ({ one, p: one.points.at(-1) }));
    for (const { one, p } of ends.sort((a, b) => this.sy.at(a.p.y) - this.sy.at(b.p.y))) {
      const px = this.sx.at(p.x);
      const name = one.name.length > 24 ? `${one.name.slice(0, 22)}…` : one.name;
      const left = px + 12 + 7.2 * name.length > this.width;
      // On the left the curve comes up to the point: the name stands over it.
      floor = Math.max(floor + 16, this.sy.at(p.y) + (left ? -10 : 4));
      const group = draw(svg, "g", { class: `series c${one.colour}` });
      draw(group, "text", { x: left ? px - 11 : px + 11, y: floor, class: left ? "end" : "start" }, name);
    }
  }

  point(event) {
    if (!this.places?.length) return;
    const bounds = this.frame.getBoundingClientRect();
    const at = ((event.clientX - bounds.left) * this.width) / bounds.width;
    this.move(this.places.reduce((a, b) => (Math.abs(this.sx.at(b) - at) < Math.abs(this.sx.at(a) - at) ? b : a)));
  }

  key(event) {
    const count = this.places?.length;
    if (!count) return;
    const now = this.cursor === null ? -1 : this.places.indexOf(this.cursor);
    const moves = { ArrowRight: Math.min(now + 1, count - 1), ArrowLeft: Math.max(now - 1, 0), Home: 0, End: count - 1 };
    if (event.key === "Escape") this.move(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.move(this.places[moves[event.key]], true);
  }

  move(cursor, aloud = false) {
    this.cursor = cursor;
    if (!this.dots) return;
    this.dots.replaceChildren();
    for (const value of this.values.values()) value.textContent = "";
    this.guide.setAttribute("visibility", cursor === null ? "hidden" : "visible");
    if (cursor === null) return;
    const at = this.sx.at(cursor);
    this.guide.setAttribute("x1", at);
    this.guide.setAttribute("x2", at);
    const format = this.spec.y.read || this.spec.y.format || shown;
    const spoken = [];
    for (const one of this.drawn) {
      if (one.unlisted) continue;
      const near = one.points.reduce((a, b) =>
        Math.abs(this.sx.at(b.x) - at) < Math.abs(this.sx.at(a.x) - at) ? b : a);
      if (Math.abs(this.sx.at(near.x) - at) > Math.max(12, this.width / 40)) continue;
      draw(this.dots, "circle", { cx: this.sx.at(near.x), cy: this.sy.at(near.y), r: 4, class: `c${one.colour}` });
      const half = near.low === undefined ? "" : ` ± ${format(near.high - near.y)}`;
      const value = this.values.get(one.name);
      if (value.textContent) continue;
      value.textContent = `${format(near.y)}${half}`;
      spoken.push(`${one.name} ${value.textContent}`);
    }
    if (!aloud) return;
    const place = (this.spec.x.read || this.spec.x.format || shown)(cursor);
    this.reading.textContent = `${this.spec.x.label} ${place}: ${spoken.join(", ")}`;
  }
}

// Buttons of which one is pressed.
function segments(label, choices, chosen, change) {
  const buttons = choices.map(([value, text]) => {
    const button = make("button", { type: "button", "aria-pressed": String(value === chosen) }, text);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      change(value);
    });
    return button;
  });
  return make("div", { class: "segments", role: "group", "aria-label": label }, ...buttons);
}

document.documentElement.classList.add("scripts");
