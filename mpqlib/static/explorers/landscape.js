// What the Q function says of every state of the pendulum, along its training, and where MPQ goes with it (chapters 6 and 9).

const LANDSCAPE_EPISODES = [0, 2, 5, 10, 20, 40, 60], LANDSCAPE_GAMMA = 0.95;
const CIVIDIS = [[0, 32, 76], [0, 49, 111], [57, 70, 109], [87, 92, 109], [112, 113, 115], [138, 135, 121], [165, 158, 118], [195, 183, 107], [225, 208, 86], [255, 234, 69]];

/** Red, green and blue of a share in 0..1, dark to bright. */
export function shade(share) {
  const at = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1), i = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return CIVIDIS[i].map((low, k) => Math.round(low + (at - i) * (CIVIDIS[i + 1][k] - low)));
}

/** A bitmap (BMP) of values, row after row from below, each value a pixel with the colour shade((value - low) / (high - low)). */
export function heatImage(values, columns, [low, high]) {
  const rows = values.length / columns, stride = Math.ceil(3 * columns / 4) * 4, size = 54 + stride * rows;
  const bytes = new Uint8Array(size), view = new DataView(bytes.buffer);
  bytes.set([66, 77]);
  for (const [at, value] of [[2, size], [10, 54], [14, 40], [18, columns], [22, rows], [34, stride * rows]]) view.setUint32(at, value, true);
  view.setUint16(26, 1, true);
  view.setUint16(28, 24, true);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) bytes.set(shade((values[r * columns + c] - low) / (high - low)).reverse(), 54 + r * stride + 3 * c);
  }
  return `data:image/bmp;base64,${btoa(Array.from(bytes, (b) => String.fromCharCode(b)).join(""))}`;
}

/** The smallest of Q(state, u) over no, full left and full right torque. */
export function lowestQ(q, state) { return Math.min(q(state, -2), q(state, 0), q(state, 2)); }

/** lowestQ on the grid theta (-pi..pi) x speed (-8..8), row after row of one speed, the lowest first: each next() is a row. */
export function* landscapeRows(q, columns, rows) {
  for (let r = 0; r < rows; r++) {
    const speed = pendulum.maxSpeed * (2 * r / (rows - 1) - 1);
    yield Float64Array.from({ length: columns }, (_, c) => lowestQ(q, [-Math.PI + 2 * Math.PI * c / (columns - 1), speed]));
  }
}

/** Pieces of a path in (angle, speed) that do not cross the seam at +-pi. */
export function pieces(states) {
  const found = [[]];
  states.forEach(([theta, speed], t) => {
    const a = pendulum.angle(theta);
    if (t && Math.abs(a - found.at(-1).at(-1)[0]) > Math.PI) found.push([]);
    found.at(-1).push([a, speed]);
  });
  return found;
}

/** An episode of MPQ with the frozen settings: H = 8, N = 24, worlds drawn from the biased model. */
export function landscapeRun(q, start, seed) {
  const H = 8, N = 24, random = new Random(seed), worlds = () => random.uniforms(N, 0.9, 1.5);
  const draw = () => ({ worlds: { mass: worlds(), length: worlds() }, noise: correlate(random.normals(N * H), H, 2, 0) });
  return new Episode(start, H, 1, { lam: 0.15, sigma: 2, gamma: LANDSCAPE_GAMMA }, draw, q);
}

explorer("landscape", (host, store) => {
  const COLUMNS = 61, ROWS = 41, RANGE = [0, 145], SLICE = 14; // ms of computing per frame
  const learnt = {}; // training episodes -> {q, rows, values, image}, or {} while it is loading
  let key = "", episode = null, seed = 1;
  const paid = (costs) => costs.reduceRight((sum, c) => c + LANDSCAPE_GAMMA * sum, 0);

  function load(number, api) {
    if (number in learnt) return;
    learnt[number] = {};
    store.data(`q${number}`).then((bytes) => {
      const q = pendulumQ(qFunction(readSafetensors(bytes)));
      lowestQ(q, [Math.PI, 0]); // fails here, if it must
      learnt[number] = { q, rows: landscapeRows(q, COLUMNS, ROWS), values: new Float64Array(COLUMNS * ROWS).fill(RANGE[1]), row: 0 };
    }).catch((error) => {
      learnt[number] = { missing: true };
      api.say(`The Q function after ${number} episodes cannot be shown: ${error.message}.`);
    }).then(api.refresh);
  }

  /** Some rows of the picture, then some steps of the run; true while there are more. */
  function compute(shown) {
    const until = performance.now() + SLICE;
    for (; shown.row < ROWS && performance.now() < until; shown.row++) shown.values.set(shown.rows.next().value, shown.row * COLUMNS);
    if (shown.row === ROWS) shown.image ??= heatImage(shown.values, COLUMNS, RANGE);
    while (shown.row === ROWS && episode.done < pendulum.steps && performance.now() < until) episode.advance();
    return shown.row < ROWS || episode.done < pendulum.steps;
  }

  return panel(host, store, {
    title: "The learnt cost-to-go over the pendulum's states, along training",
    size: [720, 400], narrow: [400, 520], lines: [3, 6],
    controls: [
      { name: "episodes", label: "Episodes", among: LANDSCAPE_EPISODES, value: 60 },
      { name: "theta", label: "Start: angle", min: 0, max: 180, step: 5, value: 180, unit: "°" },
      { name: "speed", label: "Start: speed", min: -8, max: 8, step: 0.5, value: 0, unit: "rad/s" }],
    buttons: [{ label: "New noise", press: () => { seed += 1; } }],
    draw(drawing, { episodes, theta, speed }, api) {
      load(episodes, api);
      const shown = learnt[episodes], { q, missing } = shown, start = [theta * Math.PI / 180, speed];
      const boxes = api.narrow ? { map: [46, 26, 300, 270], bar: [356, 26, 10, 270], time: [46, 372, 320, 90] } : { map: [46, 26, 366, 310], bar: [424, 26, 12, 310], time: [512, 26, 198, 310] };
      const map = axes(drawing, boxes.map, {
        x: { range: [-Math.PI, Math.PI], ticks: [-Math.PI, -Math.PI / 2, 0, Math.PI / 2, Math.PI], format: (v) => `${Math.round(v * 180 / Math.PI)}°`, label: "angle from upright" },
        y: { range: [-pendulum.maxSpeed, pendulum.maxSpeed], label: "speed (rad/s)" } });
      const bar = axes(drawing, boxes.bar, { x: { range: [0, 1], ticks: [] }, y: { range: RANGE, ticks: [] } });
      const strip = heatImage(Float64Array.from({ length: 64 }, (_, i) => i), 1, [0, 63]);
      const picture = (plot, [left, top, width, height], href) => plot.inner.append(svg("image", { href, x: left, y: top, width, height, preserveAspectRatio: "none" }));
      picture(bar, boxes.bar, strip);
      for (const v of [0, 50, 100]) drawing.append(svg("text", { x: boxes.bar[0] + boxes.bar[2] + 5, y: bar.Y(v) + 4 }, show(v)));
      drawing.append(svg("text", { x: boxes.bar[0] + boxes.bar[2] + 5, y: boxes.bar[1] - 9, "text-anchor": "end" }, "cost-to-go"));
      const time = axes(drawing, boxes.time, api.narrow
        ? { x: { range: [0, 10], label: "seconds" }, y: { range: [180, 0], ticks: [0, 90, 180], format: (v) => `${v}°`, label: "angle from upright" } }
        : { x: { range: [0, 10], ticks: [0, 2, 4, 6, 8, 10], label: "seconds" }, y: { range: [180, 0], ticks: [0, 45, 90, 135, 180], format: (v) => `${v}°`, label: "angle from upright" } });
      time.area([0, 10, 10, 0], [0, 0, 11.5, 11.5], COLOURS.true);
      if (!q) return missing ? "There is no Q function to show here." : `Loading the Q function after ${episodes} training episodes.`;

      const wanted = `${episodes} ${theta} ${speed} ${seed}`;
      if (wanted !== key) { key = wanted; episode = landscapeRun(q, start, seed); }
      const more = compute(shown);
      if (more) api.refresh();
      picture(map, boxes.map, shown.image ?? heatImage(shown.values, COLUMNS, RANGE));
      for (const piece of pieces(episode.states)) {
        const [xs, ys] = [0, 1].map((k) => piece.map((s) => s[k]));
        map.line(xs, ys, "#000", { "stroke-width": 4.5 });
        map.line(xs, ys, "#fff", { "stroke-width": 2 });
      }
      const [[x0, y0], [x1, y1]] = [episode.states[0], episode.states.at(-1)].map(([angle, rate]) => [pendulum.angle(angle), rate]);
      map.dot(x0, y0, "#fff", { r: 7, stroke: "#000", "stroke-width": 2 });
      if (!more) map.dot(x1, y1, episode.success ? COLOURS.true : COLOURS.biased, { r: 7, stroke: "#fff", "stroke-width": 2 });
      const degrees = episode.states.map(([angle]) => Math.abs(pendulum.angle(angle)) * 180 / Math.PI);
      time.line(degrees.map((_, t) => t * pendulum.dt), degrees, COLOURS.mpq);

      if (more) return undefined;
      const value = lowestQ(q, start), truth = paid(episode.costs);
      api.give({ value, paid: truth, cost: episode.cost, success: episode.success });
      return `After ${episodes} training episodes Q says that this start (white) will cost ${show(value)}, discounted; the run cost ${show(truth)}. `
        + `Undiscounted it cost ${show(episode.cost, 4)}: ${episode.success ? "the rod stands at the end (green), a success" : `no success, it ends (orange) ${degrees.at(-1).toFixed(0)}° from upright`}. `
        + "MPQ looks 0.4 s ahead in a biased model, H = 8, and Q says the rest.";
    },
  });
});
