// Ball in cup (chapter 8): MuJoCo itself in the page, in a worker that runs this same module; MPPI and MPQ around it.

/** mpqlib.tasks.BallInCupSparse: state = cup x, cup z, ball x, ball z from their places at rest (m), and their velocities. */
export const ballInCup = {
  dt: 0.02, steps: 150, low: -1, high: 1, cupRest: 0.6, ballRest: 0.2, targetBelow: 0.05, tolerance: 0.025, needed: 20, last: 25,
  toTarget(s) { return [s[0] - s[2], s[1] - s[3] + this.cupRest - this.targetBelow - this.ballRest]; },
  inTarget(s) { return this.toTarget(s).every((d) => Math.abs(d) < this.tolerance); },
  cost(s) { return this.inTarget(s) ? 0 : 1; },
  observe(s) {
    const [x, z] = this.toTarget(s);
    return [5 * s[0], 5 * s[1], -10 * x, -10 * z, s[4] / 2, s[5] / 2, (s[6] - s[4]) / 2, (s[7] - s[5]) / 2];
  },
  /** Of the states' caught, true or false each: the rule on the last half second. */
  success(caught) { return caught.length >= this.last && caught.slice(-this.last).filter(Boolean).length >= this.needed; },
  clip(u) { return Math.min(Math.max(u, this.low), this.high); },
};

/** The learnt Q of (state, action), clipped to the range that true values lie in. */
export function ballQ(network, [low, high] = [-Infinity, Infinity]) {
  return (state, action) => Math.min(Math.max(network([...ballInCup.observe(state), ...action]), low), high);
}

/**
 * One update of U (Eq. 16), as mpqlib.mppi.MPPI.plan does it for two motors.
 * U: (2 H) and noise, actions: (N 2 H), each motor's H numbers side by side; settings: {lam, sigma, beta, gamma, step_size};
 * simulate(state, actions) -> (N H 8) states, the start state first, NaN where a simulation diverged; q(state, action) or null.
 */
export function planBall(state, U, settings, noise, simulate, q = null) {
  const { lam, sigma, beta, gamma, step_size: stepSize } = settings;
  const both = U.length, H = both / 2, N = noise.length / both;
  const actions = noise.map((e, i) => U[i % both] + e), clipped = actions.map((u) => ballInCup.clip(u));
  const visited = simulate(state, clipped), costs = new Float64Array(N);
  let diverged = 0;
  for (let n = 0; n < N; n++) {
    let discount = 1;
    for (let t = 0; t < H; t++) {
      const s = visited.subarray((n * H + t) * 8, (n * H + t + 1) * 8);
      costs[n] += discount * (t === H - 1 && q ? q(s, [clipped[n * both + t], clipped[n * both + H + t]]) : ballInCup.cost(s));
      discount *= gamma;
      if (t === H - 1 && !Number.isFinite(costs[n] + s.reduce((sum, v) => sum + v, 0))) { costs[n] = 1e9; diverged++; }
    }
  }
  if (diverged === N) throw new Error("none of the sampled costs is finite: the simulation diverged");
  const PU = [U.subarray(0, H), U.subarray(H)].flatMap((one) => [...precisionTimes(one, sigma, beta)]);
  const own = PU.reduce((sum, p, i) => sum + p * U[i], 0);
  const ratio = costs.map((_, n) => PU.reduce((sum, p, i) => sum + p * actions[n * both + i], 0) - own / 2);
  const { weights, freeEnergy, ess } = boltzmann(costs, lam, ratio);
  const next = U.map((u, i) => {
    let average = 0;
    for (let n = 0; n < N; n++) average += weights[n] * actions[n * both + i];
    return u + stepSize * (average - u);
  });
  return { U: next, actions, costs, weights, freeEnergy, ess, visited, diverged };
}

/** Warm start: each motor's plan without its first action, and the prior's mean 0 at the end. */
export function shiftBall(U) {
  const H = U.length / 2;
  return U.map((_, i) => (i % H === H - 1 ? 0 : U[i + 1]));
}

/** MuJoCo's side: mpqlib.rollout.MujocoSimulator for the true system and for the pool of worlds planned with. */
export class BallPhysics {
  /** setup: {xml, true: {mass, inertia, stiffness, timestep, substeps}, plan: {timestep, substeps}, worlds: {mass, inertia, stiffness}, centre}. */
  constructor(mujoco, setup) {
    Object.assign(this, { mujoco, setup, views: {}, model: mujoco.MjModel.from_xml_string(setup.xml), count: 0 });
    this.data = new mujoco.MjData(this.model);
    this.ball = mujoco.mj_name2id(this.model, mujoco.mjtObj.mjOBJ_BODY.value, "ball");
    this.string = mujoco.mj_name2id(this.model, mujoco.mjtObj.mjOBJ_TENDON.value, "string");
    this.truth = this.build(setup.true, setup.true.timestep);
    const { mass, inertia, stiffness } = setup.worlds;
    this.pool = mass.map((m, i) => this.build({ mass: m, inertia: inertia[i], stiffness: stiffness[i] }, setup.plan.timestep));
    this.times = setup.centre;
  }

  build(parameters, timestep) {
    const model = new this.mujoco.MjModel(this.model);
    model.opt.timestep = timestep;
    this.write(model, parameters);
    return model;
  }

  /** BallInCupSparse.write. */
  write(model, { mass, inertia, stiffness }) {
    model.body_mass[this.ball] = mass;
    model.body_inertia.fill(inertia, 3 * this.ball, 3 * this.ball + 3);
    model.tendon_stiffness[this.string] = stiffness;
    model.tendon_lengthspring.set(model.tendon_range.subarray(2 * this.string, 2 * this.string + 2), 2 * this.string);
    this.mujoco.mj_setConst(model, this.data);
  }

  /** Scale the worlds' balls, so that in the middle they weigh so many times the true one. */
  weigh(times) {
    if (times === this.times) return;
    this.times = times;
    const { mass, inertia, stiffness } = this.setup.worlds, factor = times / this.setup.centre;
    this.pool.forEach((model, i) => this.write(model, { mass: factor * mass[i], inertia: factor * inertia[i], stiffness: stiffness[i] }));
  }

  /** Arrays in MuJoCo's memory; taken anew when that has grown. */
  arrays() {
    if (!this.views.qpos?.length) {
      const { qpos, qvel, ctrl, qacc_warmstart: warm } = this.data;
      this.views = { qpos, qvel, ctrl, warm };
    }
    return this.views;
  }

  /** One rollout: actions[at + t], actions[at + reach + t] held for `substeps` steps, t < count; states into out from `to`. */
  rollout(model, state, actions, at, reach, count, substeps, out, to) {
    const { qpos, qvel, ctrl, warm } = this.arrays(), { data, mujoco } = this;
    for (let i = 0; i < 4; i++) {
      qpos[i] = state[i];
      qvel[i] = state[4 + i];
      warm[i] = 0;
    }
    data.time = 1;
    for (let t = 0; t < count; t++) {
      ctrl[0] = actions[at + t];
      ctrl[1] = actions[at + reach + t];
      for (let k = 0; k < substeps; k++) mujoco.mj_step(model, data);
      for (let i = 0; i < 4; i++) {
        out[to + 8 * t + i] = qpos[i];
        out[to + 8 * t + 4 + i] = qvel[i];
      }
    }
    this.count += count * substeps;
    // MuJoCo resets a simulation that diverged: its clock is late then.
    if (count && data.time < 1 + (count * substeps - 0.5) * model.opt.timestep) out.fill(NaN, to, to + 8 * count);
  }

  /** (N H 8) states of N sampled plans, each in the world `worlds[n]` of the pool. */
  simulate(state, actions, H, worlds) {
    const N = actions.length / (2 * H), visited = new Float64Array(N * H * 8);
    for (let n = 0; n < N; n++) {
      visited.set(state, n * H * 8);
      this.rollout(this.pool[worlds[n]], state, actions, n * 2 * H, H, H - 1, this.setup.plan.substeps, visited, (n * H + 1) * 8);
    }
    return visited;
  }

  /** The true system, one control step later. */
  step(state, action) {
    const next = new Float64Array(8);
    this.rollout(this.truth, state, action, 0, 1, 1, this.setup.true.substeps, next, 0);
    return next;
  }

  /** BallInCupSparse.reset: at rest, anywhere in an area where the ball touches nothing and does not pull. */
  start(random) {
    for (;;) {
      const state = new Float64Array([0, 0, -0.2 + 0.4 * random.uniform(), 0.2 + 0.3 * random.uniform(), 0, 0, 0, 0]);
      const { qpos } = this.arrays();
      for (let i = 0; i < 4; i++) qpos[i] = state[i];
      this.mujoco.mj_forward(this.model, this.data);
      if (!this.data.ncon) return state;
    }
  }
}

/** A closed loop on the true system that goes on until it is told otherwise. values: {lam, horizon, samples, mass, method}. */
export class BallLoop {
  constructor(physics, setup, q, values, seed = 1) {
    Object.assign(this, { physics, setup, q, values, seed });
    this.restart();
  }

  restart(seed = this.seed) {
    this.seed = seed;
    this.random = new Random(seed);
    this.state = this.physics.start(this.random);
    this.U = new Float64Array(2 * this.values.horizon);
    this.taken = 0;
  }

  settings() { return { ...this.setup[this.values.method], lam: this.values.lam }; }

  /** The plan for another horizon: cut, or filled with the prior's mean. */
  fit(H) {
    const old = this.U, had = old.length / 2;
    if (had !== H) this.U = Float64Array.from({ length: 2 * H }, (_, i) => (i % H < had ? old[Math.floor(i / H) * had + (i % H)] : 0));
  }

  /** The plan for the state reached, with fresh noise and worlds. */
  think() {
    const { horizon: H, samples: N, mass, method } = this.values, settings = this.settings();
    this.physics.weigh(mass);
    this.fit(H);
    let plan = { U: this.U };
    for (let i = 0; i < settings.iterations; i++) {
      const noise = correlate(this.random.normals(2 * N * H), H, settings.sigma, settings.beta);
      const worlds = Array.from({ length: N }, () => Math.floor(this.physics.pool.length * this.random.uniform()));
      plan = planBall(this.state, plan.U, settings, noise, (s, actions) => this.physics.simulate(s, actions, H, worlds),
        method === "mpq" ? this.q : null);
    }
    const paths = Float32Array.from({ length: 2 * N * H }, (_, i) => plan.visited[(i >> 1) * 8 + 2 + (i & 1)]);
    return { U: plan.U, seen: { ess: plan.ess, spread: deviation(plan.costs), N, H, paths, weights: [...plan.weights] } };
  }

  /** What the next step will plan, without taking it. */
  preview() {
    const { state } = this.random, { seen } = this.think();
    this.random.state = state;
    return seen;
  }

  step() {
    const started = performance.now(), { U, seen } = this.think(), H = U.length / 2;
    const from = this.state, action = [ballInCup.clip(U[0]), ballInCup.clip(U[H])];
    this.state = this.physics.step(from, action);
    this.U = shiftBall(U);
    this.taken += 1;
    return { taken: this.taken, state: [...this.state], action, cost: ballInCup.cost(from), seen, milliseconds: performance.now() - started };
  }
}

/** Steps at N = 32, H = 10 until the compiler has done its work: the first some 20 000 physics steps are slow. */
export function warmUp(loop, wanted = 40000) {
  const { values, physics } = loop, before = physics.count;
  loop.values = { ...values, horizon: 10, samples: 32 };
  while (physics.count - before < wanted) loop.step();
  loop.values = values;
  loop.restart();
}

// The worker: this module once more, under the name below.
export const BALL_WORKER = "mpq-ball";
if (globalThis.name === BALL_WORKER && typeof WorkerGlobalScope !== "undefined") {
  let loop, playing = false, due = 0;
  const tick = () => {
    if (!playing) return;
    const began = performance.now();
    if (due < began - 100) due = began; // slower than life: no catching up
    while (playing && due <= performance.now() && performance.now() < began + 40) {
      due += 1000 * ballInCup.dt;
      postMessage({ step: loop.step() });
    }
    setTimeout(tick, Math.max(0, due - performance.now()));
  };
  const answer = {
    async load({ url, setup, q, values }) {
      const mujoco = await (await import(url)).default({ print() {}, printErr() {} });
      const physics = new BallPhysics(mujoco, setup);
      loop = new BallLoop(physics, setup, q && ballQ(qFunction(readSafetensors(q)), setup.value_range), values);
      warmUp(loop);
      postMessage({ ready: [...loop.state], seen: loop.preview() });
    },
    set({ values }) { loop.values = values; postMessage(playing ? { set: true } : { set: true, seen: loop.preview() }); },
    restart({ seed }) { loop.restart(seed); postMessage({ ready: [...loop.state], seen: loop.preview() }); },
    step({ count }) { for (let i = 0; i < count; i++) postMessage({ step: loop.step() }); },
    play() { if (!playing) { playing = true; due = performance.now(); tick(); } },
    pause() { playing = false; },
  };
  globalThis.onmessage = async ({ data }) => {
    try {
      await answer[data.do](data);
    } catch (error) {
      playing = false;
      postMessage({ failed: error.message });
    }
  };
}

/** Address of a file beside this module; on a page that is made without a browser, relative to the book's pages. */
function besideBall(name) { return import.meta.url.startsWith("file:") ? `_static/explorers/${name}` : new URL(name, import.meta.url).href; }

/** What is drawn: the scene with its trail and the plans, the distance to the target and the signals over the last three seconds. */
function drawBall(drawing, run, values, narrow) {
  const scale = 420, X = (x) => 200 + scale * x, Z = (z) => 394 - scale * z; // pixels per metre
  const clip = `mpq-ball-${++drawBall.count}`, scene = svg("g", { "clip-path": `url(#${clip})` });
  drawing.append(svg("clipPath", { id: clip }, svg("rect", { x: 0, y: 0, width: 400, height: 400 })), scene);
  const add = (tag, attributes, ...inside) => scene.append(svg(tag, attributes, ...inside));
  add("rect", { x: 0, y: Z(0), width: 400, height: 10, fill: "currentColor", "fill-opacity": 0.35 });

  const { seen, state: s } = run, point = (x, z) => `${X(x).toFixed(1)} ${Z(ballInCup.ballRest + z).toFixed(1)}`;
  if (seen && seen.H > 1) { // where the model's ball would go, the heavier a sample's weight the stronger
    const path = (n) => `M${Array.from({ length: seen.H }, (_, t) => point(...seen.paths.subarray(2 * (n * seen.H + t)))).join("L")}`;
    const order = Array.from(seen.weights, (w, n) => [w, n]).sort((a, b) => b[0] - a[0]), highest = order[0][0];
    const line = { fill: "none", stroke: COLOURS.biased, "stroke-linejoin": "round" }, strong = order.filter(([w]) => w > highest / 4);
    add("path", { d: order.slice(strong.length).map(([, n]) => path(n)).join("") || "M0 0", ...line, "stroke-opacity": 0.3 });
    for (const [w, n] of strong) add("path", { d: path(n), ...line, "stroke-width": 1.5, "stroke-opacity": (0.2 + 0.8 * w / highest).toFixed(2) });
  }
  const trail = run.history.slice(-51).map((h) => point(h.state[2], h.state[3]));
  for (let end = trail.length, opacity = 1; end > 1; end -= 10, opacity -= 0.2) {
    add("polyline", { points: trail.slice(Math.max(0, end - 11), end).join(" "), fill: "none", stroke: COLOURS.true,
      "stroke-width": 2.5, "stroke-linecap": "round", "stroke-opacity": Math.max(opacity, 0.1).toFixed(1) });
  }
  const cupX = s[0], cupZ = ballInCup.cupRest + s[1], caught = ballInCup.inTarget(s);
  add("rect", { x: X(cupX - 0.05), y: Z(cupZ), width: 0.1 * scale, height: 0.1 * scale, fill: COLOURS.true, "fill-opacity": caught ? 0.45 : 0.12,
    stroke: COLOURS.true, "stroke-dasharray": "4 3" });
  const from = [X(cupX), Z(cupZ - 0.108)], to = [X(s[2]), Z(ballInCup.ballRest + s[3])];
  const apart = Math.hypot(to[0] - from[0], to[1] - from[1]) / scale, slack = 0.9 * scale * Math.sqrt(Math.max(0, 0.09 - apart * apart));
  add("path", { d: `M${from.join(" ")}Q${(from[0] + to[0]) / 2} ${(from[1] + to[1]) / 2 + slack} ${to.join(" ")}`, fill: "none",
    stroke: "currentColor", "stroke-width": 1.5, "stroke-opacity": 0.75 });
  const corners = [[-0.05, 0], [-0.05, -0.075], [-0.025, -0.1], [0.025, -0.1], [0.05, -0.075], [0.05, 0]];
  add("polyline", { points: corners.map(([x, z]) => `${X(cupX + x).toFixed(1)},${Z(cupZ + z).toFixed(1)}`).join(" "), fill: "none",
    stroke: "currentColor", "stroke-width": 0.016 * scale, "stroke-linejoin": "round", "stroke-linecap": "round" });
  add("circle", { cx: to[0].toFixed(1), cy: to[1].toFixed(1), r: 0.025 * scale, fill: COLOURS.true, stroke: "currentColor" });
  add("circle", { cx: to[0].toFixed(1), cy: to[1].toFixed(1), r: (0.025 * scale * Math.cbrt(values.mass)).toFixed(1), fill: "none", stroke: COLOURS.biased, "stroke-dasharray": "3 3" });
  add("text", { x: 6, y: 18 }, svg("tspan", { fill: COLOURS.true }, "●"), " ball, its last second, target");
  add("text", { x: 6, y: 36 }, svg("tspan", { fill: COLOURS.biased }, "●"), " planned paths; ring: the model's ball");
  add("path", { d: `M${394 - 0.2 * scale} 14v8m0-4H394m0-4v8`, stroke: "currentColor", fill: "none" });
  add("text", { x: 394 - 0.1 * scale, y: 36, "text-anchor": "middle" }, "20 cm");

  const start = Math.max(0, run.taken * ballInCup.dt - 3), range = [start, start + 3];
  const time = { range, ticks: [0, 1, 2, 3].map((i) => Math.ceil(start - 1e-9) + i).filter((v) => v <= start + 3 + 1e-9) };
  const boxes = narrow ? [[44, 436, 340, 80], [44, 556, 340, 64]] : [[460, 34, 250, 150], [460, 240, 250, 104]];
  const times = run.history.map((h) => h.time);
  const above = axes(drawing, boxes[0], { x: time, y: { range: [0, 60], ticks: [0, 20, 40, 60], label: "ball to target, cm; green: in the cup" } });
  run.history.forEach((h, i) => {
    const until = run.history[i + 1]?.time;
    if (h.caught && until) above.bar(h.time, until, 0, 60, COLOURS.true, { "fill-opacity": 0.25, "shape-rendering": "crispEdges" });
  });
  above.line(times, run.history.map((h) => 100 * Math.hypot(...ballInCup.toTarget(h.state))), "currentColor");
  const below = axes(drawing, boxes[1], { x: { ...time, label: "time, s" }, y: { range: [-1, 1], ticks: [-1, 0, 1], label: "motors: sideways (line), up (dashes)" } });
  const acted = run.history.filter((h) => h.action), colour = COLOURS[values.method];
  below.line(acted.map((h) => h.time), acted.map((h) => h.action[1]), colour, { "stroke-dasharray": "5 3", "stroke-width": 1.5 });
  below.line(acted.map((h) => h.time), acted.map((h) => h.action[0]), colour);
}
drawBall.count = 0;

explorer("ball", (host, store) => {
  const title = "Ball in cup with MuJoCo in the page: MPPI and MPQ with a ball that the model thinks is too heavy";
  const inBook = host.tagName.toLowerCase() === "mpq-ball";
  const recorded = "The recording shows an episode of MPPI with H = 32, three seconds slowed down to five, with the true model on the left and the biased one on the right.";
  const video = html("video", { src: inBook ? besideBall("ball_in_cup_sparse.mp4") : "", poster: inBook ? besideBall("ball_in_cup_sparse.png") : "" });
  for (const [name, value] of Object.entries({ controls: "", muted: "", playsinline: "", preload: "none", width: 540, height: 300, "aria-label": recorded })) {
    video.setAttribute(name, value);
  }
  Object.assign(video.style, { display: "block", width: "100%", height: "auto", maxWidth: "540px", margin: "0 auto" });
  const showVideo = (api) => { api.drawing.before(video); api.drawing.style.display = "none"; };

  if (!inBook) { // Jupyter serves no files: the recording comes with the widget
    return panel(host, store, {
      title, size: [540, 300],
      start(api) {
        let address;
        showVideo(api);
        store.data("video").then((bytes) => { video.src = address = URL.createObjectURL(new Blob([bytes], { type: "video/mp4" })); })
          .catch(() => { api.say("The recording is not in this installation."); api.refresh(); });
        return () => URL.revokeObjectURL(address);
      },
      draw: () => `${recorded} MuJoCo inside the page is for the book; here Python runs MuJoCo itself, as chapter 8 does.`,
    });
  }

  const run = { phase: "video", history: [], state: null, seen: null, taken: 0, caught: 0, cost: 0, solved: null, milliseconds: [] };
  let worker, seed = 1, saidAt = 0, sent = "", waiting = false;
  const parts = {};
  const tell = (message, transfer = []) => worker?.postMessage(message, transfer);
  const playing = () => run.phase === "playing";

  function begin(state) { // of an episode
    Object.assign(run, { history: [{ time: 0, state, caught: ballInCup.inTarget(state) }], state, taken: 0, caught: 0, cost: 0, solved: null });
  }
  function take(step) {
    run.taken = step.taken;
    run.state = step.state;
    run.seen = step.seen;
    run.cost += step.cost;
    run.caught += (1 - step.cost) * ballInCup.dt;
    run.history.at(-1).action = step.action;
    run.history.push({ time: step.taken * ballInCup.dt, state: step.state, caught: ballInCup.inTarget(step.state) });
    run.history.splice(0, run.history.length - 151);
    run.milliseconds.push(step.milliseconds);
    run.milliseconds.splice(0, run.milliseconds.length - 50);
    if (step.taken === ballInCup.steps) run.solved = [ballInCup.success(run.history.map((h) => h.caught)), run.cost];
  }
  function phase(name, api) {
    run.phase = name;
    saidAt = 0;
    const ready = name === "playing" || name === "paused", offer = (button, on) => { button.hidden = button.disabled = !on; };
    offer(parts.load, name === "video");
    for (const key of ["play", "step", "same", "fresh"]) offer(parts[key], ready);
    if (name === "playing") parts.step.disabled = true;
    api.controls.hidden = !ready;
    api.controls.style.display = ready ? "" : "none";
    parts.play.textContent = api.reduced ? "Run 1 s" : name === "playing" ? "Pause" : "Play";
    api.root.dataset.phase = name;
    api.refresh();
  }
  function fail(api, why) {
    worker?.terminate();
    worker = null;
    video.hidden = false;
    showVideo(api);
    api.say(`MuJoCo could not run in this page (${why}); the recording remains.`);
    phase("failed", api);
  }

  async function load(api) {
    if (run.phase !== "video") return;
    phase("loading", api);
    try {
      if (typeof WebAssembly !== "object" || typeof Worker !== "function") throw new Error("this browser has no WebAssembly");
      const { setup, module } = api.loaded;
      let q = null, lack = "is not stored";
      if (setup.q) {
        const answer = await fetch(besideBall(setup.q));
        try {
          if (answer.ok) ballQ(qFunction(readSafetensors(q = await answer.arrayBuffer())))(new Float64Array(8), [0, 0]);
        } catch (error) { [q, lack] = [null, `cannot be used (${error.message})`]; }
      }
      if (!q) {
        api.say(`The learnt Q function of this task ${lack}, so there is MPPI alone.`);
        parts.method.querySelector("option[value=mpq]").disabled = true;
        api.set("method", "mppi");
        api.values.method = "mppi";
      }
      worker = new Worker(new URL(import.meta.url), { type: "module", name: BALL_WORKER });
      worker.onerror = (event) => { event.preventDefault?.(); fail(api, event.message || "the worker did not start"); };
      worker.onmessage = ({ data }) => {
        if (data.failed) return fail(api, data.failed);
        if (data.seen) run.seen = data.seen;
        if (data.set) waiting = false;
        if (data.ready) {
          begin(data.ready);
          if (run.phase === "loading") {
            video.remove();
            api.drawing.style.display = "";
            phase("paused", api);
            parts.play.focus({ preventScroll: true });
          }
        }
        if (!playing()) saidAt = 0;
        if (data.step) take(data.step);
        api.refresh();
      };
      tell({ do: "load", url: besideBall(module.url), setup, q, values: { ...api.values } }, q ? [q] : []);
    } catch (error) {
      fail(api, error.message);
    }
  }
  const restart = (api) => { run.milliseconds = []; tell({ do: "restart", seed }); api.refresh(); };

  return panel(host, store, {
    title, size: [720, 400], narrow: [400, 664], lines: [4, 8],
    controls: [
      { name: "lam", label: "Temperature λ", min: 0.01, max: 10, log: true, value: 0.15 },
      { name: "horizon", label: "Horizon H", min: 1, max: 32, step: 1, value: 4 },
      { name: "samples", label: "Samples N", min: 8, max: 64, step: 1, value: 36 },
      { name: "mass", label: "Model's ball, in true masses", min: 0.5, max: 10, step: 0.1, value: 5 }],
    choices: [{ name: "method", label: "Planner", options: [["mpq", "MPQ, learnt Q"], ["mppi", "MPPI, no Q"]], value: "mpq" }],
    buttons: [
      { label: "Run MuJoCo here", press: load },
      { label: "Play", press(api) {
        if (api.reduced) return tell({ do: "step", count: 50 });
        tell({ do: playing() ? "pause" : "play" });
        phase(playing() ? "paused" : "playing", api);
      } },
      { label: "Step", press() { tell({ do: "step", count: 1 }); } },
      { label: "Same start", press: restart },
      { label: "New start", press(api) { seed += 1; restart(api); } }],
    without: "MuJoCo cannot run here, so there is the recording alone",
    async load() {
      const [setup, module] = await Promise.all(["ball.json", "mujoco.json"].map(async (name) => {
        const answer = await fetch(new URL(name, import.meta.url));
        if (!answer.ok) throw new Error(`${name} is missing`);
        return answer.json().catch(() => { throw new Error(`${name} is damaged`); });
      }));
      if (!module.url) throw new Error("npm was out of reach");
      return { setup, module };
    },
    start(api) {
      const [loadButton, play, step, same, fresh] = api.buttons.querySelectorAll("button");
      loadButton.dataset.loads = "";
      Object.assign(parts, { load: loadButton, play, step, same, fresh, method: api.controls.querySelector("select") });
      api.drawing.after(api.buttons); // near the picture, also on a phone
      showVideo(api);
      phase("video", api);
      const rest = () => { if (document.hidden && playing()) { tell({ do: "pause" }); phase("paused", api); } };
      document.addEventListener("visibilitychange", rest);
      return () => { document.removeEventListener("visibilitychange", rest); worker?.terminate(); worker = null; };
    },
    draw(drawing, values, api) {
      if (!run.state) {
        parts.load.disabled = !api.loaded || run.phase !== "video";
        if (api.loaded === null) parts.load.hidden = true;
        if (api.loaded) parts.load.textContent = `Run MuJoCo here (loads ${show(api.loaded.module.bytes / 1e6)} MB)`;
        return run.phase === "loading" ? "MuJoCo is loading, then it runs for a second or two until it is as fast as it will be." : recorded;
      }
      const given = JSON.stringify(values);
      if (given !== sent && !waiting) { // one at a time: the worker plans anew for each
        tell({ do: "set", values: { ...values } });
        [sent, waiting] = [given, true];
      }
      drawBall(drawing, run, values, api.narrow);
      const now = performance.now();
      if (playing() && now - saidAt < 1000) return undefined;
      saidAt = now;
      const middle = [...run.milliseconds].sort((a, b) => a - b)[run.milliseconds.length >> 1];
      const solved = run.solved ? ` The task's 3 s ended ${run.solved[0] ? "solved" : "not solved"}, with cost ${run.solved[1]}.` : "";
      const speed = middle ? ` A control step takes ${show(middle, 2)} ms in this page: ${show(1000 * ballInCup.dt / middle, 2)} times real time.` : "";
      const { ess, N, spread } = run.seen;
      const sizes = ` Effective sample size ${show(ess, 2)} of ${N}${spread > 1e-9 ? `, λ / std(S) ${show(values.lam / spread, 2)}` : "; all samples cost the same"}.`;
      if (middle) api.root.dataset.stepMilliseconds = middle.toFixed(2);
      const { setup } = api.loaded, [light, heavy] = [Math.min, Math.max].map((f) => f(...setup.worlds.mass) * values.mass / setup.centre);
      const balls = ` The model's balls weigh ${show(1000 * light)} to ${show(1000 * heavy)} g, the true one ${show(1000 * setup.true.mass)} g.`;
      return `After ${(run.taken * ballInCup.dt).toFixed(2)} s: caught for ${run.caught.toFixed(2)} s, cost ${run.cost}.${solved}${balls}${sizes}${speed}`;
    },
  });
});
