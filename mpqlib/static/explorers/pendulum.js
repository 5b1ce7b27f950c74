// The pendulum in closed loop: MPPI and MPQ, one planner without and with the learnt Q at its end (chapters 1 and 9).

/**
 * An episode of each, MPPI and MPQ (null without q), from one start, with the same noise and the same worlds in their simulators.
 * settings: {lam, horizon, samples, beta, mean, spread}: the simulator's masses and lengths are uniform in mean ± spread.
 */
export function pendulumPair({ lam, horizon, samples: N, beta, mean, spread }, seed, q) {
  const first = new Random(seed), start = [Math.PI + first.uniforms(1, -0.1, 0.1)[0], first.uniforms(1, -0.1, 0.1)[0]];
  const settings = { lam, beta, sigma: 2, gamma: 0.95 };
  const draw = (t) => {
    const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(t + 1, 0x85ebca6b));
    const world = () => random.uniforms(N, mean - spread, mean + spread);
    return { worlds: { mass: world(), length: world() }, noise: correlate(random.normals(N * horizon), horizon, settings.sigma, beta) };
  };
  const episode = (terminal) => new Episode(start, horizon, 1, settings, draw, terminal);
  return { mppi: episode(null), mpq: q && episode(q) };
}

/** Energy above hanging at rest of the true pendulum, J; standing at rest needs 9.8. */
export function pendulumEnergy([theta, speed]) { return speed * speed / 6 + pendulum.gravity / 2 * (1 + Math.cos(theta)); }

/** Time in s from which on the rod stays within the success region, Infinity where it does not. */
export function uprightFrom(states) {
  const last = states.findLastIndex(([theta]) => Math.abs(pendulum.angle(theta)) >= pendulum.upright);
  return last === states.length - 1 ? Infinity : (last + 1) * pendulum.dt;
}

explorer("pendulum", (host, store) => {
  const STEPS = pendulum.steps, SLICE = 9; // ms of computing per frame
  const LOOKS = {
    mppi: { name: "MPPI", what: "no Q", colour: COLOURS.mppi, dash: { "stroke-dasharray": "7 4" } },
    mpq: { name: "MPQ", what: "learnt Q at the end", colour: COLOURS.mpq, dash: {} } };
  const degrees = ([theta]) => Math.abs(pendulum.angle(theta)) * 180 / Math.PI;
  const auto = store.get("autoplay");
  let seed = 1, key = "", pair = null, computed = 0, head = 0, playing = false, again = auto !== undefined && auto !== false, rest = 0, quarter = -1;
  let parts = null, fanAt = "", api = null, loop = null;
  const runs = () => Object.entries(pair).filter(([, episode]) => episode);

  function begin() {
    pair = pendulumPair(api.values, seed, api.loaded ?? null);
    [computed, head, rest, quarter, fanAt] = [0, 0, 0, -1, ""];
    loop.start();
  }

  /** Some steps of both episodes; true while there are more. */
  function compute() {
    const until = performance.now() + SLICE;
    while (computed < STEPS && performance.now() < until) {
      for (const [, episode] of runs()) episode.advance();
      computed += 1;
    }
    return computed < STEPS;
  }

  function frame(seconds) {
    if (api.loaded === undefined) return true;
    const before = computed, more = compute();
    if (playing) head = Math.min(head + seconds / pendulum.dt, computed);
    else if (before < STEPS) head = computed;
    if (!more && before < STEPS) {
      const { mppi, mpq } = pair;
      api.give({ cost_mppi: mppi.cost, success_mppi: mppi.success, ...(mpq && { cost_mpq: mpq.cost, success_mpq: mpq.success }) });
      if (!playing) { head = STEPS; api.refresh(); }
    }
    if (playing && Math.floor(4 * head * pendulum.dt) !== quarter) api.refresh(); // the readout, every quarter of a second
    if (playing && head >= STEPS) {
      rest += seconds;
      if (!again) { playing = false; api.refresh(); }
      else if (rest > 2) { seed += 1; begin(); }
    }
    paint();
    return playing || more;
  }

  function paint() {
    if (!parts) return;
    const t = Math.min(Math.floor(head), STEPS), part = head - t, x = Array.from({ length: t + 1 }, (_, k) => k * pendulum.dt);
    const play = api.buttons.firstChild;
    const called = api.reduced ? "To the end" : playing ? "Pause" : "Play";
    if (play.textContent !== called) play.textContent = called;
    play.disabled = api.reduced && head >= STEPS;
    for (const [name, episode] of runs()) {
      if (episode.states.length <= t) continue;
      const { rod, bob, push, cost, verdict, centre: [cx, cy], r, angle, energy, fan, ends } = parts[name];
      const now = episode.states[t], next = episode.states[t + 1] ?? now, at = now.map((v, i) => v + part * (next[i] - v));
      const place = (theta, radius) => [cx + radius * Math.sin(theta), cy - radius * Math.cos(theta)].map((v) => v.toFixed(1));
      if (!api.reduced || computed === STEPS) { // else the curves alone grow
        const [bx, by] = place(at[0], r), turn = 0.8 * (episode.torques[Math.min(t, episode.done - 1)] ?? 0), tip = at[0] + turn, inner = 0.42 * r;
        for (const [element, names] of [[rod, ["x2", "y2"]], [bob, ["cx", "cy"]]]) { element.setAttribute(names[0], bx); element.setAttribute(names[1], by); }
        push.setAttribute("d", Math.abs(turn) < 0.02 ? "" : `M${place(at[0], inner)} A${inner} ${inner} 0 0 ${+(turn > 0)} ${place(tip, inner)}`
          + ` M${place(tip - 0.16 * Math.sign(turn), inner - 5)} L${place(tip, inner)} L${place(tip - 0.16 * Math.sign(turn), inner + 5)}`);
      }
      const spent = episode.costs.slice(0, t).reduce((sum, c) => sum + c, 0);
      const ended = t < STEPS ? "" : episode.success ? "success" : "no success";
      cost.textContent = `cost ${spent.toFixed(0)}${api.narrow && ended ? `, ${ended}` : ""}`;
      verdict.textContent = api.narrow ? "" : ended;
      const times = [...x, head * pendulum.dt], states = [...episode.states.slice(0, t + 1), at];
      angle.to(times, states.map(degrees));
      energy.to(times, states.map(pendulumEnergy));
      if (`${t}` === fanAt.split(" ")[0] && fanAt.includes(name)) continue;
      if (!fanAt.startsWith(`${t} `)) fanAt = `${t} `;
      fanAt += name;
      fan.replaceChildren();
      ends.replaceChildren();
      if (t >= STEPS || (!playing && computed < STEPS)) continue; // none at the end, and none while curves only grow
      const plan = episode.plan(t), H = plan.U.length, largest = Math.max(...plan.weights);
      const order = Array.from(plan.weights, (_, n) => n).sort((a, b) => plan.weights[a] - plan.weights[b]).slice(-40);
      const ahead = Array.from({ length: H }, (_, l) => (t + l) * pendulum.dt);
      for (const n of order) {
        const share = plan.weights[n] / largest, angles = Array.from(plan.angles.subarray(n * H, n * H + H)), [ex, ey] = place(angles.at(-1), 1.2 * r);
        fan.append(angle.like(ahead, angles.map((theta) => degrees([theta])), { "stroke-width": 1, "stroke-opacity": (0.15 + 0.85 * share).toFixed(2), "stroke-dasharray": "none" }));
        ends.append(svg("circle", { cx: ex, cy: ey, r: (1.5 + 2 * share).toFixed(1), fill: LOOKS[name].colour, "fill-opacity": (0.2 + 0.8 * share).toFixed(2) }));
      }
    }
  }

  /** A polyline in a plot, and how to move it. */
  function curve(plot, colour, options) {
    const element = plot.line([], [], colour, options);
    const points = (xs, ys) => xs.map((v, i) => `${plot.X(v).toFixed(1)},${plot.Y(ys[i]).toFixed(1)}`).join(" ");
    return {
      to: (xs, ys) => element.setAttribute("points", points(xs, ys)),
      like: (xs, ys, more) => svg("polyline", { points: points(xs, ys), fill: "none", stroke: colour, ...more }),
    };
  }

  function say() {
    const { horizon } = api.values, sees = `A plan looks ${show(horizon * pendulum.dt)} s ahead; a swing of the rod from side to side takes 0.8 s or more.`;
    const missing = pair.mpq ? "" : " MPQ needs the learnt Q.";
    if (api.loaded === undefined || (computed < STEPS && !playing)) return `Computing both episodes. ${sees}`;
    const t = Math.min(Math.floor(head), computed);
    if (t < STEPS) {
      const each = runs().map(([name, e]) => `${LOOKS[name].name} is ${degrees(e.states[t]).toFixed(0)}° from upright`);
      return `After ${show(t * pendulum.dt)} s: ${each.join(", ")}.${missing} ${sees}`;
    }
    const each = runs().map(([name, e]) => {
      const from = uprightFrom(e.states), closest = Math.min(...e.states.map(degrees));
      const how = e.success ? `upright from ${from.toFixed(1)} s on, a success` : closest < 12 ? "reaches the top but strays by more than 11° in the last second, no success" : `never nearer to upright than ${closest.toFixed(0)}°, no success`;
      return `${LOOKS[name].name}: cost ${e.cost.toFixed(0)}, ${how}.`;
    });
    return `${each.join(" ")}${missing} ${sees}`;
  }

  const stop = panel(host, store, {
    title: "A pendulum swung up by MPPI, and by MPQ, which adds a learnt Q at the end of each plan",
    size: [720, 400], narrow: [400, 486], lines: [3, 7],
    controls: [
      { name: "horizon", label: "Horizon H", min: 1, max: 64, step: 1, value: 8 },
      { name: "lam", label: "Temperature λ", min: 0.01, max: 10, log: true, value: 0.15 },
      { name: "samples", label: "Samples N", min: 4, max: 128, step: 4, value: 24 },
      { name: "beta", label: "Noise correlation β", min: 0, max: 0.95, step: 0.05, value: 0 },
      { name: "mean", label: "Model's mass, length", min: 0.6, max: 1.6, step: 0.05, value: 1.2, unit: "×" },
      { name: "spread", label: "Their spread ±", min: 0, max: 0.5, step: 0.05, value: 0.3 }],
    buttons: [
      { label: "Play", press() {
        playing = !playing && !api.reduced;
        again &&= playing;
        if (api.reduced) head = computed;
        else if (playing && head >= computed) [head, rest, quarter] = [0, 0, -1];
        loop.start();
      } },
      { label: "Step", press() { playing = again = false; head = Math.min(head >= STEPS ? 1 : Math.floor(head) + 1, computed); } },
      { label: "New start", press() { seed += 1; } }],
    load: async () => {
      const bytes = await store.data("q");
      if (!bytes.byteLength) throw new Error("its file is empty");
      const q = pendulumQ(qFunction(readSafetensors(bytes)));
      q([Math.PI, 0], 0); // fails here, if it must
      return q;
    },
    without: "MPPI runs alone, without the learnt Q",
    start(given) {
      api = given;
      loop = api.loop(frame);
      api.buttons.firstChild.style.minWidth = "5.5em";
      playing = again &&= !api.reduced;
    },
    draw(drawing, values) {
      const wanted = JSON.stringify([values, seed, Boolean(api.loaded)]);
      if (wanted !== key) { key = wanted; begin(); }
      if (playing) quarter = Math.floor(4 * head * pendulum.dt);
      api.root.querySelector(".readout").setAttribute("aria-live", playing ? "off" : "polite");
      const wide = !api.narrow, r = wide ? 74 : 54;
      const boxes = wide ? [[352, 26, 356, 168], [352, 242, 356, 110]] : [[44, 206, 346, 112], [44, 366, 346, 80]];
      const seconds = { range: [0, STEPS * pendulum.dt] };
      const angle = axes(drawing, boxes[0], { x: seconds, y: { range: [180, 0], ticks: [0, 90, 180], format: (v) => `${v}°`, label: "angle from upright" } });
      const energy = axes(drawing, boxes[1], { x: { ...seconds, label: "seconds" }, y: { range: [0, 15], ticks: [0, 5, 10, 15], label: "energy (J)" } });
      angle.area([0, 10, 10, 0], [0, 0, 11.5, 11.5], COLOURS.true);
      energy.line([0, 10], [9.8, 9.8], COLOURS.true, { "stroke-dasharray": "2 3" });
      energy.text(0.1, 11.3, "enough to stand upright");
      parts = {};
      Object.entries(LOOKS).forEach(([name, { name: called, what, colour, dash }], i) => {
        const centre = wide ? [98, 102 + 198 * i] : [120 + 194 * i, 70], [cx, cy] = centre;
        const [tx, ty, anchor] = wide ? [200, cy - 24, "start"] : [cx, cy + r + 30, "middle"];
        const text = (row, words, options = {}) => { const element = svg("text", { x: tx, y: ty + 20 * row, "text-anchor": anchor, ...options }, words); drawing.append(element); return element; };
        text(0, called, { style: "font-size: 16px; font-weight: 700" });
        if (wide) what.split(" at ").forEach((words, k) => text(1 + k, k ? `at ${words}` : words));
        const lines = wide ? 1 + what.split(" at ").length : 1;
        const cost = text(lines, ""), verdict = text(lines + 1, "", { style: "font-weight: 600" });
        const push = svg("path", { fill: "none", stroke: "currentColor", "stroke-width": 2 }), ends = svg("g");
        const rod = svg("line", { x1: cx, y1: cy, x2: cx, y2: cy + r, stroke: "currentColor", "stroke-width": 6, "stroke-linecap": "round", "stroke-opacity": 0.6 });
        const bob = svg("circle", { cx, cy: cy + r, r: 10, fill: colour });
        drawing.append(svg("circle", { cx, cy, r: 1.2 * r, fill: "none", stroke: "currentColor", "stroke-opacity": 0.15 }),
          svg("circle", { cx, cy: cy - r, r: 14, fill: "none", stroke: COLOURS.true, "stroke-width": 3 }), rod, ends, bob, svg("circle", { cx, cy, r: 4, fill: "currentColor" }), push);
        const fan = svg("g");
        angle.inner.append(fan);
        parts[name] = { rod, bob, push, cost, verdict, centre, r, ends, fan, angle: curve(angle, colour, dash), energy: curve(energy, colour, dash) };
        if (!pair[name]) cost.textContent = api.loaded === null ? "no Q loaded" : "";
      });
      fanAt = "";
      paint();
      return say();
    },
  });
  return stop;
});
