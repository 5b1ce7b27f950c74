// What all explorers share on the page: sliders, buttons, a picture in SVG, a readout; the same in the book and in Jupyter.

const STYLE = `
.mpq-x { font: 0.95rem/1.45 system-ui, sans-serif; color: inherit; border: 1px solid color-mix(in srgb, currentColor 25%, transparent);
  border-radius: 0.4rem; padding: 0.75rem; max-width: 46rem; margin: 0 auto 1rem; box-sizing: border-box; }
.mpq-x svg, .mpq-x canvas { display: block; width: 100%; height: auto; touch-action: manipulation; }
.mpq-x svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
.mpq-x .controls { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 0.15rem 1.5rem; margin-top: 0.5rem; }
.mpq-x label { display: grid; grid-template-columns: minmax(7.5rem, 1.2fr) 2fr 4.2rem; gap: 0.6rem; align-items: center; min-height: 2rem; margin: 0; }
.mpq-x input[type=range] { width: 100%; height: 24px; margin: 0; accent-color: var(--mpq-mpq, #0072b2); cursor: pointer; }
.mpq-x output { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.mpq-x .buttons { display: flex; flex-wrap: wrap; gap: 0.5rem; margin-top: 0.5rem; }
.mpq-x button, .mpq-x select { font: inherit; color: inherit; background: color-mix(in srgb, currentColor 8%, transparent); min-height: 2rem;
  border: 1px solid color-mix(in srgb, currentColor 40%, transparent); border-radius: 0.3rem; padding: 0.15rem 0.8rem; cursor: pointer; }
.mpq-x label:has(> select) { grid-template-columns: 6rem 1fr; }
.mpq-x label > select { min-width: 0; width: 100%; padding: 0.15rem 0.4rem; }
.mpq-x select option { color: #111; background: #fff; }
.mpq-x :is(button, select, input, a, summary, .scroll):focus-visible { outline: 3px solid var(--mpq-mpq, #0072b2); outline-offset: 2px; }
.mpq-x :is(button, input):disabled { opacity: 0.5; cursor: default; }
.mpq-x .agents { display: flex; flex-wrap: wrap; gap: 0 1.2rem; margin-top: 0.4rem; }
.mpq-x .agents label { display: flex; gap: 0.4rem; }
.mpq-x input[type=checkbox] { width: 24px; height: 24px; margin: 0; accent-color: var(--mpq-mpq, #0072b2); }
.mpq-x summary { cursor: pointer; margin-top: 0.5rem; }
.mpq-x .scroll { --page: var(--pst-color-background, var(--jp-layout-color0, Canvas)); overflow: auto; max-height: 22rem; background:
  linear-gradient(transparent, var(--page) 1.5rem) 0 100% / 100% 2rem no-repeat local,
  linear-gradient(transparent, color-mix(in srgb, currentColor 40%, transparent)) 0 100% / 100% 0.7rem no-repeat scroll; }
.mpq-x table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.3rem 0; }
.mpq-x :is(th, td) { text-align: left; padding: 0.1rem 1rem 0.1rem 0; background: none; color: inherit; }
.mpq-x p { margin: 0.5rem 0 0; }
.mpq-x .readout { min-height: 2.9em; font-variant-numeric: tabular-nums; }
.mpq-x:is([data-phase=video], [data-phase=loading], [data-phase=failed]) .readout { min-height: 2.9em !important; }
.mpq-x .note { border-left: 0.25rem solid var(--mpq-biased, #d55e00); padding-left: 0.6rem; }
.mpq-x .note:empty { display: none; }
@media print { .mpq-x .controls, .mpq-x .buttons { display: none; } }
`;

export const COLOURS = Object.fromEntries(Object.entries({
  true: "#009e73", biased: "#d55e00", mpq: "#0072b2", mppi: "#e69f00", "mppi-true": "#56b4e9", softq: "#cc79a7", dr: "#b5a800", prior: "#808080",
}).map(([name, value]) => [name, `var(--mpq-${name}, ${value})`]));

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An HTML element with properties and children. */
export function html(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  // JupyterLab takes arrows and Enter for commands of the notebook, except where this is on what has the focus.
  if (["input", "select", "button", "summary"].includes(tag)) element.setAttribute("data-lm-suppress-shortcuts", "");
  element.append(...children);
  return element;
}

/** About n round numbers that cover [low, high]. */
export function ticks(low, high, n = 5) {
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(+(i * step).toPrecision(12));
  return found;
}

/** A short number for a label: so many digits, and never fewer than a whole number has. */
export function show(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  const minus = (text) => text.replace("-", "−");
  if (value === 0 || (Math.abs(value) >= 1e-4 && Math.abs(value) < 1e5)) return minus(String(Math.abs(value) >= 100 ? Math.round(value) : +value.toPrecision(digits)));
  const [number, power] = value.toExponential(1).split("e");
  return `${minus(number)} · 10${Array.from(String(+power), (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("")}`;
}

/**
 * Axes in a rectangle of an SVG drawing.
 * box: [left, top, width, height]; x, y: {range: [low, high], label, ticks: [values], format: (value) => text, log: false}.
 * Returns {X, Y, line, area, dot, bar, text}; what it draws is clipped to the rectangle.
 */
export function axes(root, [left, top, width, height], { x, y, title = "" }) {
  const scale = ({ range: [low, high], log }, from, length) => {
    const f = log ? Math.log10 : (v) => v;
    return (v) => from + length * (f(v) - f(low)) / (f(high) - f(low));
  };
  const X = scale(x, left, width), Y = scale(y, top + height, -height);
  const faint = { stroke: "currentColor", "stroke-opacity": 0.18 };
  const marks = (axis) => axis.ticks ?? (axis.log
    ? Array.from({ length: 40 }, (_, i) => 10 ** (i - 20)).filter((v) => v >= axis.range[0] * 0.999 && v <= axis.range[1] * 1.001)
    : ticks(...axis.range));
  for (const v of marks(x)) {
    root.append(svg("line", { x1: X(v), x2: X(v), y1: top, y2: top + height, ...faint }),
      svg("text", { x: X(v), y: top + height + 17, "text-anchor": "middle" }, (x.format ?? show)(v)));
  }
  for (const v of marks(y)) {
    root.append(svg("line", { x1: left, x2: left + width, y1: Y(v), y2: Y(v), ...faint }),
      svg("text", { x: left - 6, y: Y(v) + 4, "text-anchor": "end" }, (y.format ?? show)(v)));
  }
  if (x.label) root.append(svg("text", { x: left + width / 2, y: top + height + 36, "text-anchor": "middle" }, x.label));
  if (y.label) root.append(svg("text", { x: left, y: top - 9, "text-anchor": "start" }, y.label));
  if (title) root.append(svg("text", { x: left + width, y: top - 9, "text-anchor": "end", "font-weight": 600 }, title));
  const id = `mpq-clip-${++axes.count}`;
  const inner = svg("g", { "clip-path": `url(#${id})` });
  root.append(svg("clipPath", { id }, svg("rect", { x: left, y: top, width, height })), inner);
  const points = (xs, ys) => Array.from(xs, (v, i) => `${X(v).toFixed(1)},${Y(ys[i]).toFixed(1)}`).join(" ");
  const add = (element) => { inner.append(element); return element; };
  return {
    X, Y, inner,
    line: (xs, ys, colour, options = {}) => add(svg("polyline", { points: points(xs, ys), fill: "none", stroke: colour, "stroke-width": 2, "stroke-linejoin": "round", ...options })),
    area: (xs, ys, colour, options = {}) => add(svg("polygon", { points: points(xs, ys), fill: colour, "fill-opacity": 0.2, ...options })),
    dot: (x, y, colour, options = {}) => add(svg("circle", { cx: X(x).toFixed(1), cy: Y(y).toFixed(1), r: 4, fill: colour, ...options })),
    bar: (x0, x1, y0, y1, colour, options = {}) => add(svg("rect", { x: Math.min(X(x0), X(x1)), width: Math.abs(X(x1) - X(x0)), y: Math.min(Y(y0), Y(y1)), height: Math.abs(Y(y1) - Y(y0)), fill: colour, ...options })),
    text: (x, y, text, options = {}) => add(svg("text", { x: X(x), y: Y(y), ...options }, text)),
  };
}
axes.count = 0;

/** Lines in their colours, each with its name, one below the other from (x, y); entries: [name, colour, options of the line]. */
export function legend(root, x, y, entries) {
  entries.forEach(([name, colour, options = {}], i) => root.append(
    svg("line", { x1: x, x2: x + 26, y1: y + 18 * i, y2: y + 18 * i, stroke: colour, "stroke-width": 2.5, ...options }),
    svg("text", { x: x + 32, y: y + 18 * i + 4 }, name)));
}

const REDUCED = () => globalThis.matchMedia?.("(prefers-reduced-motion: reduce)").matches ?? false;

/**
 * One explorer on the page.
 *
 * spec: {name, title, size: [width, height] of the drawing, narrow: the same for phones (api.narrow is then true), controls: [{name, label, min, max, step, log, unit, value, digits}, or with among: [values] in place of min, max and step],
 *        choices: [{name, label, options: [[value, text]], value}], buttons: [{label, press(api)}],
 *        draw(drawing, values, api) -> text of the readout, or undefined to leave it; start(api), outputs: [names],
 *        lines: [wide, narrow], of the readout, to keep room for, load(store) -> promise of what becomes api.loaded, patient: true to leave the page's still picture until then, without: the words before the reason if it fails}.
 * store: {get(name), set(name, value), save(), onChange(callback) -> stop}: a page's attributes, or the traits of a widget.
 * Returns a function that takes it off the page.
 */
export function panel(host, store, spec) {
  const id = `mpq-x${++panel.count}`;
  const note = html("p", { className: "note" }), readout = html("p", { className: "readout" });
  note.setAttribute("role", "status");
  readout.setAttribute("aria-live", "polite");
  const drawing = svg("svg", { viewBox: `0 0 ${spec.size[0]} ${spec.size[1]}`, role: "img", "aria-label": spec.title });
  const controls = html("div", { className: "controls" }), buttons = html("div", { className: "buttons" });
  const root = html("div", { className: "mpq-x" }, html("style", { textContent: STYLE }), drawing, controls, buttons, readout, note);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", spec.title);

  const values = {}, inputs = {};
  const nearest = (c, v) => c.among.reduce((best, one) => (Math.abs(one - v) < Math.abs(best - v) ? one : best));
  const place = (c, v) => (c.among ? c.among.indexOf(nearest(c, v)) : c.log ? Math.log10(v) : v);
  const value = (c, p) => (c.among ? c.among[+p] : c.log ? +(10 ** p).toPrecision(3) : +p);
  const complaints = new Map();
  function accept(c, given) {
    let v = given === undefined || given === null || given === "" ? c.value : Number(given);
    complaints.delete(c.name);
    if (!Number.isFinite(v) || v < c.min || v > c.max) {
      const used = Number.isFinite(v) ? Math.min(Math.max(v, c.min), c.max) : c.value;
      complaints.set(c.name, `${c.label} is ${given}; it must lie in ${show(c.min)} to ${show(c.max)}, and ${show(used)} is used.`);
      v = used;
    }
    return values[c.name] = c.among ? nearest(c, v) : c.log ? v : +(Math.round((v - c.min) / c.step) * c.step + c.min).toPrecision(12);
  }
  for (const given of spec.controls ?? []) {
    const c = given.among ? { ...given, min: given.among[0], max: given.among.at(-1), step: 1 } : given;
    const input = html("input", { type: "range", id: `${id}-${c.name}`, min: place(c, c.min), max: place(c, c.max), step: c.log ? 0.01 : c.step });
    const output = html("output", { htmlFor: input.id });
    input.dataset.name = c.name;
    inputs[c.name] = { input, output, c };
    controls.append(html("label", { htmlFor: input.id }, html("span", { textContent: c.label }), input, output));
    input.addEventListener("input", () => {
      accept(c, value(c, input.value));
      store.set(c.name, values[c.name]);
      store.save();
      refresh();
    });
  }
  for (const c of spec.choices ?? []) {
    const select = html("select", { id: `${id}-${c.name}` }, ...c.options.map(([v, text]) => html("option", { value: v, textContent: text })));
    select.dataset.name = c.name;
    inputs[c.name] = { select, c };
    controls.append(html("label", { htmlFor: select.id }, html("span", { textContent: c.label }), select));
    select.addEventListener("change", () => {
      values[c.name] = select.value;
      store.set(c.name, select.value);
      store.save();
      refresh();
    });
  }
  function read() {
    for (const { c, input, output, select } of Object.values(inputs)) {
      const given = store.get(c.name);
      if (select) {
        const allowed = c.options.map(([v]) => v);
        complaints.delete(c.name);
        if (given && !allowed.includes(given)) complaints.set(c.name, `${c.label} is ${given}; it must be one of ${allowed.join(", ")}.`);
        select.value = values[c.name] = allowed.includes(given) ? given : c.value;
        continue;
      }
      const v = accept(c, given), text = show(v, c.digits ?? 3) + (c.unit ? ` ${c.unit}` : "");
      input.value = place(c, v);
      input.setAttribute("aria-valuetext", text);
      output.textContent = text;
    }
  }
  let queued = 0;
  const api = {
    values, root, drawing, buttons, controls, reduced: REDUCED(),
    say: (text) => complaints.set("", text),
    set(name, v) { store.set(name, v); store.save(); refresh(); },
    give(outputs) { for (const [name, v] of Object.entries(outputs)) store.set(name, v); store.save(); },
    refresh: () => refresh(),
    narrow: false, seen: true, loaded: undefined,
    /** Calls frame(seconds since the last call) at each animation frame on screen, from start() until stop() or until it returns false. */
    loop(frame) {
      let running = false, handle = 0, last;
      const tick = (now) => {
        const gone = Math.min((now - (last ?? now)) / 1000, 0.1);
        last = now;
        if (api.seen && frame(gone) === false) running = false;
        if (running) handle = requestAnimationFrame(tick);
      };
      const loop = {
        start() { if (!running) { running = true; last = undefined; handle = requestAnimationFrame(tick); } },
        stop() { running = false; cancelAnimationFrame(handle); },
        get running() { return running; },
      };
      loops.push(loop);
      return loop;
    },
  };
  const loops = [];
  function fit() {
    const narrow = Boolean(spec.narrow) && root.clientWidth > 0 && root.clientWidth < 560;
    drawing.setAttribute("viewBox", `0 0 ${(narrow ? spec.narrow : spec.size).join(" ")}`);
    if (spec.lines) readout.style.minHeight = `${1.45 * spec.lines[+narrow]}em`;
    if (narrow !== api.narrow) { api.narrow = narrow; refresh(); }
  }
  const sized = globalThis.ResizeObserver && new ResizeObserver(fit);
  const seen = globalThis.IntersectionObserver && new IntersectionObserver((entries) => { api.seen = entries.at(-1).isIntersecting; });
  function draw() {
    queued = 0;
    read();
    const started = performance.now();
    drawing.replaceChildren();
    try {
      const said = spec.draw(drawing, values, api);
      if (said !== undefined) {
        readout.textContent = said;
        drawing.setAttribute("aria-label", `${spec.title}. ${said}`);
      }
    } catch (error) {
      complaints.set("", `This explorer stopped: ${error.message}`);
    }
    note.textContent = [...complaints.values()].join(" ");
    root.dataset.milliseconds = (performance.now() - started).toFixed(1);
    root.dataset.draws = +(root.dataset.draws ?? 0) + 1;
  }
  function refresh() { queued ||= requestAnimationFrame(draw); }
  for (const b of spec.buttons ?? []) {
    const button = html("button", { type: "button", textContent: b.label });
    button.addEventListener("click", () => { b.press(api, button); refresh(); });
    buttons.append(button);
  }
  if (!spec.buttons?.length) buttons.remove();
  let gone = false;
  const appear = () => { if (root.parentNode !== host) host.replaceChildren(root); fit(); };
  if (!spec.patient || !host.firstChild) appear();
  sized?.observe(root);
  seen?.observe(root);
  const off = store.onChange?.(refresh), stop = spec.start?.(api);
  draw();
  spec.load?.(store).then((found) => { api.loaded = found; }, (error) => {
    api.loaded = null;
    complaints.set("load", `${spec.without}: ${error.message}.`);
  }).then(() => { if (!gone) { appear(); draw(); } });
  return () => {
    gone = true;
    off?.(); stop?.(); sized?.disconnect(); seen?.disconnect();
    for (const loop of loops) loop.stop();
    cancelAnimationFrame(queued);
    root.remove();
  };
}
panel.count = 0;

export const EXPLORERS = {}; // name -> (host, store) -> stop

/** Make an explorer known: in the book as <mpq-NAME attributes>, in Jupyter by the trait `kind`; ?NAME-slider=value in a page's address goes before the attribute. */
export function explorer(name, mount, names) {
  EXPLORERS[name] = mount;
  if (!globalThis.customElements || customElements.get(`mpq-${name}`)) return;
  customElements.define(`mpq-${name}`, class extends HTMLElement {
    connectedCallback() {
      if (this.stop) return;
      const held = {}, asked = new URLSearchParams(globalThis.location?.search);
      this.stop = mount(this, {
        get: (key) => held[key] ?? asked.get(`${name}-${key}`) ?? this.getAttribute(key) ?? undefined,
        set: (key, value) => { held[key] = value; }, save: () => {}, data: (key) => fetchData(this, key),
      });
    }
  });
}

/** Bytes of the file that an element's attribute names; in the book it lies beside this module. */
export async function fetchData(element, key) {
  const name = element.getAttribute(key);
  if (!name) throw new Error(`${key} is not given`);
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name} could not be loaded (${answer.status})`);
  return answer.arrayBuffer();
}

/** The front end of mpqlib.explorers' widgets (anywidget). */
export default {
  render({ model, el }) {
    return EXPLORERS[model.get("kind")](el, {
      get: (name) => model.get(name), set: (name, value) => model.set(name, value), save: () => model.save_changes(),
      data: async (name) => { const view = model.get(name); return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength); },
      onChange(callback) { model.on("change", callback); return () => model.off("change", callback); },
    });
  },
};
