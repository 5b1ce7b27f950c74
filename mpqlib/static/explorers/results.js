// The stored results of every task: learning curves, Table 1, horizon, bias, and the grids (chapters 7 to 9).

const RESULT_VIEWS = [["curves", "learning curves"], ["table1", "Table 1"], ["horizon", "against the horizon"], ["bias", "against model error"], ["grid", "grid: λ, H, error"]];
const RESULT_TASKS = [["pendulum_swingup", "PendulumSwingup"], ["ball_in_cup_sparse", "BallInCupSparse"], ["fetch_push_block", "FetchPushBlock"], ["franka_drawer_open", "FrankaDrawerOpen"]];
const MEASURES = { cost: "cost of a test episode", success: "success rate" };

/** Heights for labels that want to stand at `wanted`, moved apart to at least `gap`, inside [top, bottom]. */
export function apart(wanted, gap, [top, bottom]) {
  const order = wanted.map((y, i) => [y, i]).sort((a, b) => a[0] - b[0]), found = [];
  let last = top - gap;
  for (const [y, i] of order) { last = Math.max(y, last + gap); found[i] = last; }
  let limit = bottom;
  for (const [, i] of order.reverse()) { found[i] = Math.min(found[i], limit); limit = found[i] - gap; }
  return found;
}

/** A round logarithmic or linear axis over the values: {range, ticks, log}. */
export function resultAxis(values, measure) {
  if (measure === "success") return { range: [-0.03, 1.03], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1] };
  const low = Math.min(...values), high = Math.max(...values);
  if (low <= 0 || high < 3 * low) return { range: [Math.min(low, 0), high * 1.06 || 1] };
  const marks = [-3, -2, -1, 0, 1, 2, 3, 4].flatMap((p) => [1, 2, 3, 4, 6].map((d) => d * 10 ** p));
  return { log: true, range: [low / 1.12, high * 1.12], ticks: marks.filter((v) => v > low / 1.12 && v < high * 1.12) };
}

explorer("results", (host, store) => {
  const off = new Set();
  let listed = "", agents, details, first = true;
  const colour = (key) => COLOURS[key.replace("_budget", "").replace("_", "-")] ?? "currentColor";
  const DASHES = { mppi: "7 4", mppi_true: "9 3 2 3", dr: "8 3", softq: "5 2 2 2", softq_budget: "2 3", mppi_budget: "2 3" };
  const dash = (key) => (DASHES[key] ? { "stroke-dasharray": DASHES[key] } : {});
  const short = (name, narrow) => (narrow ? name.replace(" dynamics", "").replace("MPQ's updates", "updates") : name).replace(" per step", "");
  const amount = ({ mean: m, low, high }) => (low === high ? show(m) : `${show(m)} (${show(low)} to ${show(high)})`);

  /** One box to tick for each agent of this view. */
  function list(names, api) {
    const wanted = names.map(([name]) => name).join("|");
    if (wanted === listed) return;
    listed = wanted;
    agents.replaceChildren(...names.map(([name, key]) => {
      const box = html("input", { type: "checkbox", checked: !off.has(name) });
      box.addEventListener("change", () => { off[box.checked ? "delete" : "add"](name); api.refresh(); });
      const sample = svg("svg", { viewBox: "0 0 26 10", width: 26, height: 10, "aria-hidden": "true", style: "width: 26px; flex: none" },
        svg("line", { x1: 0, x2: 26, y1: 5, y2: 5, stroke: colour(key), "stroke-width": 3, ...dash(key) }));
      return html("label", {}, box, sample, html("span", { textContent: name }));
    }));
  }

  /** The numbers in words, under the picture. */
  function table(head, rows) {
    const cell = (tag, text) => html(tag, { textContent: text, ...(tag === "th" && { scope: "col" }) });
    const made = html("table", {}, html("thead", {}, html("tr", {}, ...head.map((text) => cell("th", text)))),
      html("tbody", {}, ...rows.map((row) => html("tr", {}, ...row.map((text) => cell("td", text))))));
    const scroll = html("div", { className: "scroll", tabIndex: 0 }, made);
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "The numbers of the picture");
    details.querySelector(".scroll")?.remove(); // and the summary stays, with the focus if it has it
    details.append(scroll);
  }

  /** Lines with names at their right ends; lines: [{name, key, x, mean, low, high, seeds}]. */
  function lines(drawing, api, measure, lines, x) {
    const every = lines.flatMap((l) => [...l.low, ...l.high, ...(l.seeds ?? []).flat()]).filter(Number.isFinite);
    if (!every.length) return null;
    const box = api.narrow ? [44, 26, 206, 350] : [52, 26, 470, 300], right = box[0] + box[2];
    const plot = axes(drawing, box, { x, y: { ...resultAxis(every, measure), label: MEASURES[measure] } });
    for (const l of lines) {
      for (const seed of l.seeds ?? []) plot.line(l.x, seed, colour(l.key), { "stroke-width": 0.8, "stroke-opacity": 0.35 });
    }
    for (const l of lines) {
      if (l.x.length > 1) plot.area([...l.x, ...l.x.toReversed()], [...l.high, ...l.low.toReversed()], colour(l.key), { "fill-opacity": 0.18 });
      else plot.line([l.x[0], l.x[0]], [l.low[0], l.high[0]], colour(l.key), { "stroke-width": 3, "stroke-opacity": 0.5 });
      plot.line(l.x, l.mean, colour(l.key), dash(l.key));
      if (l.dots) l.x.forEach((v, i) => plot.dot(v, l.mean[i], colour(l.key)));
    }
    const tips = lines.map((l) => plot.Y(l.mean.at(-1))), heights = apart(tips, 15, [box[1] + 4, box[1] + box[3]]);
    lines.forEach((l, i) => drawing.append(
      svg("line", { x1: plot.X(l.x.at(-1)), y1: tips[i], x2: right + 16, y2: heights[i], stroke: colour(l.key), "stroke-width": 0.8 }),
      svg("text", { x: right + 20, y: heights[i] + 4 }, short(l.name, api.narrow))));
    return plot;
  }

  const views = {
    curves({ curves = [], levels = [] }, measure, drawing, api) {
      const last = Math.max(1, ...curves.flatMap((c) => c.x));
      const all = [...curves.map((c) => ({ ...c, ...c[measure] })),
        ...levels.map((l) => ({ ...l, x: [0, last], ...Object.fromEntries(["mean", "low", "high"].map((k) => [k, [l[measure][k], l[measure][k]]])) }))];
      return { all, head: ["agent", "seeds", `${MEASURES[measure]} at the end (95 % interval)`],
        row: (l) => [l.name, l.count, amount({ mean: l.mean.at(-1), low: l.low.at(-1), high: l.high.at(-1) })],
        none: "No run is stored for this task yet.", note: curves.length ? "Level lines do not learn. " : "None of these learns. ",
        draw: (shown) => lines(drawing, api, measure, shown, { range: [0, last], label: "training episodes" }) };
    },
    horizon: ({ horizon = [] }, measure, drawing, api) => along(horizon, measure, drawing, api, "horizon H",
      "No agent is stored at several horizons for this task yet.", "A plan of H steps; what learns was trained at each. "),
    bias: ({ bias = [] }, measure, drawing, api) => along(bias, measure, drawing, api, "place of the truth",
      "The study of the model's error is not stored for this task yet.", "At 0 the truth lies in the centre of the model's distribution, at 1 where the task has it. "),
    table1({ table1 = [] }, measure, drawing, api) {
      return { all: table1, head: ["agent", "seeds", "success rate (95 % interval)", "the paper's"], none: "Table 1 has no row for this task yet.",
        row: (r) => [r.name, r.count, amount(r), show(r.paper)], note: "Table 1 holds success rates; circles are the paper's. ",
        draw(shown) {
          const box = api.narrow ? [116, 26, 270, 300] : [130, 26, 540, 290], step = 1 / Math.max(shown.length, 3);
          const plot = axes(drawing, box, { x: { range: [0, 1], ticks: [0, 0.2, 0.4, 0.6, 0.8, 1], label: "success rate" }, y: { range: [1, 0], ticks: [] } });
          shown.forEach((r, i) => {
            const y = (i + 0.5) * step;
            plot.bar(0, r.mean, y - 0.3 * step, y + 0.3 * step, colour(r.key), { "fill-opacity": 0.6 });
            plot.line([r.low, r.high], [y, y], colour(r.key), { "stroke-width": 4 });
            plot.dot(r.paper, y, "none", { r: 8, stroke: "currentColor", "stroke-width": 2.5 });
            drawing.append(svg("text", { x: box[0] - 8, y: plot.Y(y) + 4, "text-anchor": "end" }, r.name));
          });
        } };
    },
    grid({ grid = [] }, measure, drawing, api) {
      const every = grid.flatMap((g) => g.cells.map((c) => c[measure]));
      return { all: grid, head: ["agent", "λ", "H", "place of the truth", MEASURES[measure]], none: "The grid is not stored for this task yet.",
        rows: (shown) => shown.flatMap((g) => g.cells.map((c) => [g.name, show(c.lam), c.horizon, show(c.size), show(c[measure])])),
        note: `Rows are temperatures, columns horizons; one picture for each place of the truth, 0 in the centre of the model's distribution, 1 where the task has it. Values go from ${show(Math.min(...every))} to ${show(Math.max(...every))}, bright is good; the best of a picture, where there is one, is framed. MPQ's Q function was learnt at place 1. `,
        draw(shown) {
          const cells = shown.flatMap((g) => g.cells), values = cells.map((c) => c[measure]), low = Math.min(...values), high = Math.max(...values);
          const sizes = [...new Set(cells.map((c) => c.size))].sort((a, b) => a - b), across = sizes.length;
          const [width, height] = api.narrow ? [400, 424] : [720, 376], w = (width - 66) / across, h = (height - 90) / shown.length - 8, share = (v) => (high > low ? (measure === "cost" ? high - v : v - low) / (high - low) : 1);
          shown.forEach((g, row) => sizes.forEach((size, column) => {
            const here = g.cells.filter((c) => c.size === size), lams = [...new Set(here.map((c) => c.lam))].sort((a, b) => a - b);
            const horizons = [...new Set(here.map((c) => c.horizon))].sort((a, b) => a - b), x0 = 66 + column * w, y0 = 46 + row * (h + 8);
            const cw = (w - 10) / horizons.length, ch = (h - 22) / lams.length;
            const best = here.map((c) => share(c[measure])).sort((a, b) => b - a), alone = best.length > 1 && best[0] > best[1];
            const order = here.toSorted((a, b) => share(a[measure]) - share(b[measure])); // the frame comes last, on top
            for (const c of order) {
              const i = horizons.indexOf(c.horizon), k = lams.length - 1 - lams.indexOf(c.lam);
              drawing.append(svg("rect", { x: x0 + i * cw, y: y0 + k * ch, width: cw, height: ch, fill: `rgb(${shade(share(c[measure]))})`, "shape-rendering": "crispEdges" }));
              if (alone && c === order.at(-1)) {
                for (const [stroke, thick] of [["#000", 4], ["#fff", 2]]) {
                  drawing.append(svg("rect", { x: x0 + i * cw, y: y0 + k * ch, width: cw, height: ch, fill: "none", stroke, "stroke-width": thick }));
                }
              }
            }
            horizons.forEach((v, i) => { if (i % (api.narrow ? 3 : 2) === 0) drawing.append(svg("text", { x: x0 + (i + 0.5) * cw, y: y0 + h - 6, "text-anchor": "middle" }, show(v))); });
            if (column === 0) {
              lams.forEach((v, k) => drawing.append(svg("text", { x: x0 - 6, y: y0 + (lams.length - k - 0.5) * ch + 4, "text-anchor": "end" }, show(v, 2))));
              drawing.append(svg("text", { x: 4, y: y0 - 5 }, `${g.name}, λ`));
            }
            if (row === 0) drawing.append(svg("text", { x: x0 + (w - 10) / 2, y: 16, "text-anchor": "middle" }, api.narrow ? show(size) : `truth at ${show(size)}`));
          }));
          if (api.narrow) drawing.append(svg("text", { x: 4, y: 16 }, "truth at"));
          const y = 46 + shown.length * (h + 8) + 6, [from, to] = measure === "cost" ? [high, low] : [low, high], middle = width - 150;
          drawing.append(svg("text", { x: 66, y }, "horizon H"), svg("text", { x: middle - 66, y: y + 1, "text-anchor": "end" }, show(from)),
            svg("text", { x: middle + 66, y: y + 1 }, show(to)));
          for (let i = 0; i < 60; i++) drawing.append(svg("rect", { x: middle - 60 + 2 * i, y: y - 9, width: 2, height: 11, fill: `rgb(${shade(i / 59)})`, "shape-rendering": "crispEdges" }));
        } };
    },
  };
  function along(all, measure, drawing, api, label, none, note) {
    const at = all.map((l) => ({ ...l, ...l[measure], dots: true })), xs = at.flatMap((l) => l.x), log = label === "horizon H";
    const marks = [...new Set(xs)].sort((a, b) => a - b);
    return { all: at, none, note, head: ["agent", label, "seeds", `${MEASURES[measure]} (95 % interval)`],
      rows: (shown) => shown.flatMap((l) => l.x.map((v, i) => [l.name, show(v), l.counts[i], amount({ mean: l.mean[i], low: l.low[i], high: l.high[i] })])),
      draw: (shown) => lines(drawing, api, measure, shown, {
        range: log ? [Math.min(...xs) / 1.15, Math.max(...xs) * 1.15] : [Math.min(...xs) - 0.1, Math.max(...xs) + 0.1], log, ticks: marks, label }) };
  }

  return panel(host, store, {
    title: "The stored results",
    size: [720, 376], narrow: [400, 424], lines: [3, 6],
    choices: [
      { name: "task", label: "Task", options: RESULT_TASKS, value: "pendulum_swingup" },
      { name: "view", label: "View", options: RESULT_VIEWS, value: "curves" },
      { name: "measure", label: "Measure", options: Object.entries(MEASURES), value: "cost" }],
    async load() {
      const text = new TextDecoder().decode(await store.data("data"));
      try { return JSON.parse(text); } catch { throw new Error("their file is damaged"); }
    },
    patient: true,
    without: "The stored results could not be read",
    start(api) {
      agents = html("div", { className: "agents" });
      agents.setAttribute("role", "group");
      agents.setAttribute("aria-label", "Agents that are shown");
      details = html("details", {}, html("summary", { textContent: "The numbers as a table" }));
      api.controls.after(agents);
      api.root.append(details);
    },
    draw(drawing, { task, view, measure }, api) {
      if (!api.loaded) return api.loaded === null ? "There are no results to show." : "Loading the stored results.";
      if (first) {
        first = false;
        for (const one of Object.values(api.loaded)) for (const l of one.levels ?? []) if (l.key.endsWith("_budget")) off.add(l.name);
      }
      const called = Object.fromEntries(RESULT_TASKS)[task];
      const { all, head, row, rows, note, none, draw } = views[view](api.loaded[task] ?? {}, measure, drawing, api);
      list([...new Map(all.map((l) => [l.name, l.key]))], api);
      const shown = all.filter((l) => !off.has(l.name));
      details.hidden = !shown.length;
      const missing = all.length ? "No agent is chosen." : none;
      if (!shown.length) {
        const [width, height] = api.narrow ? [400, 424] : [720, 376];
        missing.match(api.narrow ? /.{1,36}(\s|$)/g : /.+/g).forEach((line, i) => drawing.append(
          svg("text", { x: width / 2, y: height / 2 + 20 * i, "text-anchor": "middle", "fill-opacity": 0.8, style: "font-size: 15px" }, line.trim())));
        return `${called}: ${missing}`;
      }
      draw(shown);
      table(head, rows ? rows(shown) : shown.map(row));
      const seeds = [...new Set(shown.flatMap((l) => l.counts ?? l.count ?? []))].sort((a, b) => a - b);
      const best = shown.filter((l) => Array.isArray(l.mean)).map((l) => [measure === "cost" ? Math.min(...l.mean) : Math.max(...l.mean), l.name]).sort((a, b) => (measure === "cost" ? a[0] - b[0] : b[0] - a[0]))[0];
      return `${called}, ${MEASURES[view === "table1" ? "success" : measure]}. ${note}`
        + `${best ? `${measure === "cost" ? "Lowest" : "Highest"}: ${best[1]}, ${show(best[0])}. ` : ""}`
        + `${seeds.length ? `Training seeds: ${seeds[0] === seeds.at(-1) ? seeds[0] : `${seeds[0]} to ${seeds.at(-1)}`} per agent; ${seeds[0] === 1 ? "with one there is no interval" : "bands are 95 % intervals over them"}.` : ""}`;
    },
  });
});
