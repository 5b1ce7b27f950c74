// What the explorers compute: pure functions that mirror mpqlib line by line (tests/test_explorers.py compares them).
// No imports: mpqlib.explorers.bundle() puts these files one after the other into one module.

/** Uniform numbers in [0, 1) from a seed (mulberry32), and normal ones. */
export class Random {
  constructor(seed) { this.state = seed >>> 0; }
  uniform() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }
  normals(n) {
    const found = new Float64Array(n);
    for (let i = 0; i < n; i += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - this.uniform())), angle = 2 * Math.PI * this.uniform();
      found[i] = radius * Math.cos(angle);
      if (i + 1 < n) found[i + 1] = radius * Math.sin(angle);
    }
    return found;
  }
  uniforms(n, low, high) { return Float64Array.from({ length: n }, () => low + (high - low) * this.uniform()); }
}

/** mpqlib.boltzmann.weights_and_free_energy and effective_sample_size (Eq. 15-17). */
export function boltzmann(costs, lam, logRatio = null) {
  const n = costs.length, weights = new Float64Array(n);
  let lowest = Infinity, sum = 0, lessOne = 0, squares = 0;
  for (let i = 0; i < n; i++) {
    weights[i] = costs[i] + (logRatio ? lam * logRatio[i] : 0);
    lowest = Math.min(lowest, weights[i]);
  }
  for (let i = 0; i < n; i++) {
    const e = Math.expm1((lowest - weights[i]) / lam);
    lessOne += e;
    weights[i] = e + 1;
    sum += weights[i];
  }
  for (let i = 0; i < n; i++) {
    weights[i] /= sum;
    squares += weights[i] * weights[i];
  }
  return { weights, freeEnergy: lowest - lam * Math.log1p(lessOne / n), ess: 1 / squares };
}

export function mean(values) { let sum = 0; for (const v of values) sum += v; return sum / values.length; }
export function deviation(values) {
  const m = mean(values);
  let sum = 0;
  for (const v of values) sum += (v - m) * (v - m);
  return Math.sqrt(sum / values.length);
}

/** Noise of deviation sigma, correlated beta^|i-j| along each of `rows` rows of length H, from standard normals (in place). */
export function correlate(z, H, sigma, beta) {
  const fresh = Math.sqrt(1 - beta * beta);
  for (let start = 0; start < z.length; start += H) {
    for (let t = 1; t < H; t++) z[start + t] = beta * z[start + t - 1] + fresh * z[start + t];
    for (let t = 0; t < H; t++) z[start + t] *= sigma;
  }
  return z;
}

/** Precision of that noise times U: the inverse of beta^|i-j| has three diagonals. */
export function precisionTimes(U, sigma, beta) {
  const H = U.length, scale = 1 / (sigma * sigma * (1 - beta * beta));
  return Float64Array.from(U, (u, t) => {
    const ends = (t === 0) + (t === H - 1);
    const diagonal = ends === 2 ? 1 - beta * beta : ends === 1 ? 1 : 1 + beta * beta;
    return scale * (diagonal * u - beta * ((t > 0 ? U[t - 1] : 0) + (t < H - 1 ? U[t + 1] : 0)));
  });
}

/** mpqlib.boltzmann.log_density_ratio for one action dimension: log(pi_U / prior) of each row of actions (Eq. 11). */
export function logDensityRatio(actions, U, sigma, beta) {
  const H = U.length, PU = precisionTimes(U, sigma, beta);
  let own = 0;
  for (let t = 0; t < H; t++) own += PU[t] * U[t];
  return Float64Array.from({ length: actions.length / H }, (_, n) => {
    let sum = 0;
    for (let t = 0; t < H; t++) sum += actions[n * H + t] * PU[t];
    return sum - own / 2;
  });
}

/** mpqlib.tasks.PendulumSwingup. */
export const pendulum = {
  dt: 0.05, gravity: 9.8, maxSpeed: 8, low: -2, high: 2, steps: 200, held: 20, upright: 0.2,
  step([theta, speed], u, m, l) {
    const change = (1.5 * this.gravity * this.dt / l) * Math.sin(theta) + (3 * this.dt / (m * l * l)) * u;
    const faster = Math.min(Math.max(speed + change, -this.maxSpeed), this.maxSpeed);
    return [theta + faster * this.dt, faster];
  },
  angle(theta) { return theta - 2 * Math.PI * Math.round(theta / (2 * Math.PI)); },
  cost([theta, speed], u) { const a = this.angle(theta); return a * a + 0.1 * speed * speed + 0.001 * u * u; },
  observe([theta, speed]) { return [Math.cos(theta), Math.sin(theta), speed / 4]; },
};

/** A file of safetensors: {tensors: {name: {shape, values}}, header} of the floats in it. */
export function readSafetensors(buffer) {
  const tensors = {};
  let whole = true, header;
  try {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const { __metadata__: notes, ...entries } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    header = JSON.parse(notes.header);
    for (const [name, { dtype, shape, data_offsets: [from, to] }] of Object.entries(entries)) {
      const values = new Float32Array(buffer.slice(8 + length + from, 8 + length + to));
      whole &&= dtype === "F32" && values.length === shape.reduce((n, one) => n * one, 1) && values.every(Number.isFinite);
      tensors[name] = { shape, values };
    }
  } catch { whole = false; }
  if (!whole) throw new Error("its file is damaged");
  return { tensors, header };
}

/** mpqlib.qfunction.QFunction: a function of the network's input [observation, action scaled to -1..1]. */
export function qFunction({ tensors, header }) {
  const layers = [];
  for (let i = 0; `${i}.weight` in tensors; i += 2) {
    layers.push({ weight: Float64Array.from(tensors[`${i}.weight`].values), bias: Float64Array.from(tensors[`${i}.bias`].values) });
  }
  if (!layers.length || !(header.output_scale > 0)) throw new Error("its file holds no Q function");
  const wide = tensors["0.weight"].shape[1];
  return (inputs) => {
    if (inputs.length !== wide) throw new Error("its file is of another task");
    let x = inputs;
    layers.forEach(({ weight, bias }, i) => {
      const n = x.length, y = new Float64Array(bias.length);
      let r = 0;
      for (; r + 4 <= y.length; r += 4) { // four sums at a time do not wait for each other
        let [at, a, b, c, d] = [r * n, bias[r], bias[r + 1], bias[r + 2], bias[r + 3]];
        for (let k = 0; k < n; k++, at++) {
          const v = x[k];
          a += weight[at] * v;
          b += weight[at + n] * v;
          c += weight[at + 2 * n] * v;
          d += weight[at + 3 * n] * v;
        }
        y[r] = a; y[r + 1] = b; y[r + 2] = c; y[r + 3] = d;
      }
      for (; r < y.length; r++) {
        y[r] = bias[r];
        for (let k = 0, at = r * n; k < n; k++, at++) y[r] += weight[at] * x[k];
      }
      if (i < layers.length - 1) for (let k = 0; k < y.length; k++) y[k] = Math.tanh(y[k]);
      x = y;
    });
    return header.output_scale * x[0];
  };
}

/** The pendulum's Q function of (state, torque). */
export function pendulumQ(network) { return (state, u) => network([...pendulum.observe(state), u / pendulum.high]); }

/**
 * One update of U (Eq. 16) on the pendulum, as mpqlib.mppi.MPPI.plan does it.
 * settings: {lam, sigma, beta, gamma, stepSize, controlCost: false to leave the log ratio out of the weights}; noise: (N * H) as `correlate` makes it; worlds: {mass, length} (N) each;
 * q(state, u) or null, when the cost of the last step stands in its place.
 */
export function planPendulum(state, U, settings, noise, worlds, q = null) {
  const { lam, sigma, beta = 0, gamma = 1, stepSize = 1, controlCost = true } = settings;
  const H = U.length, N = noise.length / H;
  const actions = Float64Array.from(noise, (e, i) => U[i % H] + e), costs = new Float64Array(N), angles = new Float64Array(N * H);
  for (let n = 0; n < N; n++) {
    let s = state, discount = 1;
    for (let t = 0; t < H; t++) {
      const u = Math.min(Math.max(actions[n * H + t], pendulum.low), pendulum.high);
      angles[n * H + t] = s[0];
      costs[n] += discount * (t === H - 1 && q ? q(s, u) : pendulum.cost(s, u));
      discount *= gamma;
      if (t < H - 1) s = pendulum.step(s, u, worlds.mass[n], worlds.length[n]);
    }
  }
  const { weights, freeEnergy, ess } = boltzmann(costs, lam, controlCost ? logDensityRatio(actions, U, sigma, beta) : null);
  const next = Float64Array.from(U, (u, t) => {
    let average = 0;
    for (let n = 0; n < N; n++) average += weights[n] * actions[n * H + t];
    return u + stepSize * (average - u);
  });
  return { U: next, actions, costs, weights, freeEnergy, ess, angles };
}

/** The states (H + 1) and the discounted cost of H steps when U is executed, clipped, on a pendulum of this mass and length. */
export function execute(state, U, { gamma = 1, mass = 1, length = 1 } = {}) {
  const states = [state];
  let cost = 0, discount = 1;
  for (const wanted of U) {
    const u = Math.min(Math.max(wanted, pendulum.low), pendulum.high), s = states.at(-1);
    cost += discount * pendulum.cost(s, u);
    discount *= gamma;
    states.push(pendulum.step(s, u, mass, length));
  }
  return { states, cost };
}

/**
 * An episode in closed loop on the true pendulum (mass = length = 1), step by step: advance() plans, executes the first torque
 * and shifts the plan.  draw(step, iteration) -> {noise, worlds}.
 * Holds the states, torques, costs and effective sample sizes so far, and the mean from which each step's plan started.
 */
export class Episode {
  constructor(start, H, iterations, settings, draw, q = null) {
    Object.assign(this, { iterations, settings, draw, q, states: [start], torques: [], costs: [], sizes: [], means: [new Float64Array(H)], cost: 0 });
  }
  get done() { return this.torques.length; }
  /** The last update of step t, as it was made or as it would be next. */
  plan(t = this.done) {
    let plan = { U: this.means[t] };
    for (let i = 0; i < this.iterations; i++) {
      const { noise, worlds } = this.draw(t, i);
      plan = planPendulum(this.states[t], plan.U, this.settings, noise, worlds, this.q);
    }
    return plan;
  }
  advance() {
    const { U, ess } = this.plan(), state = this.states[this.done], u = Math.min(Math.max(U[0], pendulum.low), pendulum.high);
    this.costs.push(pendulum.cost(state, u));
    this.cost += this.costs.at(-1);
    this.sizes.push(ess);
    this.states.push(pendulum.step(state, u, 1, 1));
    this.means.push(Float64Array.from(U, (_, l) => (l < U.length - 1 ? U[l + 1] : 0)));
    this.torques.push(u);
  }
  get success() {
    return this.done >= pendulum.held && this.states.slice(-pendulum.held).every(([theta]) => Math.abs(pendulum.angle(theta)) < pendulum.upright);
  }
}

/** A whole episode: its states, torques, costs, sample sizes, success, and cost. */
export function closedLoop(start, steps, H, iterations, settings, draw, q = null) {
  const episode = new Episode(start, H, iterations, settings, draw, q);
  for (let t = 0; t < steps; t++) episode.advance();
  const { states, torques, costs, sizes, success, cost } = episode;
  return { states, torques, costs, sizes, success, cost };
}
