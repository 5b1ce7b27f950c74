// The MPPI update (Eq. 16, chapter 5) on the pendulum, one iteration at a time, with the true mass and length in the simulator.

const UPDATE_STARTS = {
  hanging: { state: [Math.PI, 0], range: [-0.3, 2 * Math.PI + 0.3], ticks: [0, Math.PI, 2 * Math.PI] },
  half: { state: [1.5, -4], range: [-Math.PI - 0.3, Math.PI + 0.3], ticks: [-Math.PI, 0, Math.PI] },
  upright: { state: [0.3, 0], range: [-Math.PI - 0.3, Math.PI + 0.3], ticks: [-Math.PI, 0, Math.PI] },
};
const LONGEST = 64; // each sample's noise is drawn for this many steps, so that a change of H or N keeps the rest

/** Means of earlier iterations at another horizon: cut short, or continued by the prior's mean 0. */
export function resized(U, H) { return Float64Array.from({ length: H }, (_, l) => U[l] ?? 0); }

/** Noise of N samples of H steps that does not change where N, H, sigma and beta do not ask for it. */
export function steadyNoise(seed, N, H, sigma, beta) {
  const z = new Random(seed).normals(N * LONGEST);
  return correlate(Float64Array.from({ length: N * H }, (_, i) => z[Math.floor(i / H) * LONGEST + (i % H)]), H, sigma, beta);
}

/** What one iteration does: the plan of planPendulum, and the cost of executing the old and the new mean on the same pendulum. */
export function updateOnce(state, U, noise, settings) {
  const ones = new Float64Array(noise.length / U.length).fill(1);
  const plan = planPendulum(state, U, settings, noise, { mass: ones, length: ones });
  return { ...plan, before: execute(state, U, settings), after: execute(state, plan.U, settings) };
}

explorer("update", (host, store) => {
  let seed = 1, means = [new Float64Array(0)], place = null, plan = null;
  return panel(host, store, {
    title: "One update of MPPI on the pendulum",
    size: [720, 440], narrow: [400, 640], lines: [3, 6],
    choices: [
      { name: "start", label: "Start", options: [["hanging", "hanging"], ["half", "half way, rising fast"], ["upright", "near upright"]], value: "hanging" },
      { name: "control_cost", label: "Control cost", options: [["yes", "counted (Eq. 16)"], ["no", "left out"]], value: "yes" }],
    controls: [
      { name: "lam", label: "Temperature λ", min: 0.01, max: 100, log: true, value: 1 },
      { name: "sigma", label: "Noise σ", min: 0.25, max: 4, step: 0.25, value: 2, unit: "N m" },
      { name: "samples", label: "Samples N", min: 4, max: 256, step: 4, value: 100 },
      { name: "horizon", label: "Horizon H", min: 2, max: 64, step: 1, value: 50 },
      { name: "step_size", label: "Step size α", min: 0.05, max: 1, step: 0.05, value: 0.5 },
      { name: "beta", label: "Noise correlation β", min: 0, max: 0.95, step: 0.05, value: 0.8 }],
    buttons: [
      { label: "One iteration", press: () => { means.push(plan.U); seed += 1; } },
      { label: "Start again", press: () => { means = [new Float64Array(0)]; } },
      { label: "New noise", press: () => { seed += 1; } }],
    draw(drawing, values, api) {
      const { lam, sigma, samples: N, horizon: H, step_size: stepSize, beta } = values;
      const start = UPDATE_STARTS[values.start], dt = pendulum.dt;
      if (place !== values.start) { place = values.start; means = [new Float64Array(0)]; }
      const U = resized(means.at(-1), H);
      plan = updateOnce(start.state, U, steadyNoise(seed, N, H, sigma, beta), { lam, sigma, beta, stepSize, controlCost: values.control_cost === "yes" });
      const boxes = api.narrow
        ? { motion: [66, 26, 324, 250], torque: [66, 346, 324, 90], weights: [66, 508, 130, 90], history: [250, 508, 140, 90] }
        : { motion: [66, 26, 370, 360], torque: [494, 26, 216, 96], weights: [494, 190, 216, 66], history: [494, 322, 216, 64] };
      const seconds = Float64Array.from({ length: H + 1 }, (_, l) => l * dt), angles = (states) => states.map(([theta]) => theta);
      const largest = Math.max(...plan.weights), order = Array.from(plan.weights, (w, n) => n).sort((a, b) => plan.weights[b] - plan.weights[a]);

      const motion = axes(drawing, boxes.motion, {
        x: { range: [0, H * dt], label: "seconds ahead" }, title: "each sample as strong as its weight",
        y: { range: start.range, ticks: start.ticks, format: (v) => (Math.abs(Math.cos(v) - 1) < 1e-9 ? "upright" : "hanging"), label: "angle" } });
      for (const n of order.toReversed()) {
        const share = plan.weights[n] / largest;
        motion.line(seconds.subarray(0, H), plan.angles.subarray(n * H, n * H + H), COLOURS.mppi, { "stroke-opacity": (0.1 + 0.9 * share).toFixed(3), "stroke-width": (0.8 + share).toFixed(2) });
      }
      motion.line(seconds, angles(plan.before.states), COLOURS.prior, { "stroke-width": 3, "stroke-dasharray": "3 4" });
      motion.line(seconds, angles(plan.after.states), COLOURS.true, { "stroke-width": 3, "stroke-dasharray": "9 4" });

      legend(drawing, boxes.motion[0] + 10, boxes.motion[1] + (values.start === "hanging" ? 26 : 14), [
        ["samples", COLOURS.mppi], ["old mean", COLOURS.prior, { "stroke-dasharray": "3 4" }], ["new mean", COLOURS.true, { "stroke-dasharray": "9 4" }]]);

      const steps = (values) => [Float64Array.from({ length: 2 * H }, (_, i) => Math.ceil(i / 2) * dt), Float64Array.from({ length: 2 * H }, (_, i) => values[Math.floor(i / 2)])];
      const tallest = Math.max(2.2, ...plan.U.map(Math.abs), ...U.map(Math.abs)) * 1.05;
      const torque = axes(drawing, boxes.torque, {
        x: { range: [0, H * dt], label: "seconds ahead" }, y: { range: [-tallest, tallest], ticks: ticks(-tallest, tallest, 4), label: "mean torque U (N m)" }, title: "motor ±2" });
      torque.area([0, H * dt, H * dt, 0], [-2, -2, 2, 2], COLOURS.prior);
      torque.line(...steps(U), COLOURS.prior, { "stroke-dasharray": "3 4" });
      torque.line(...steps(plan.U), COLOURS.true);

      const shown = Math.min(N, 30);
      const weights = axes(drawing, boxes.weights, {
        x: { range: [0, shown], label: "heaviest samples" }, y: { range: [0, Math.max(1.05 * largest, 0.01)], ticks: ticks(0, largest, 2), label: "weight w" } });
      for (let i = 0; i < shown; i++) weights.bar(i + 0.12, i + 0.88, 0, plan.weights[order[i]], COLOURS.mppi);

      const costs = [...means.slice(-100).map((mean) => execute(start.state, resized(mean, H)).cost), plan.after.cost];
      const done = means.length - 1, first = done + 2 - costs.length, high = 1.08 * Math.max(...costs);
      const history = axes(drawing, boxes.history, {
        x: { range: [first - 0.3, Math.max(done + 1, first + 5) + 0.3], ticks: ticks(first, Math.max(done + 1, first + 5), 5).filter(Number.isInteger), label: "iterations" },
        y: { range: [0, high], ticks: ticks(0, high, 2), label: "cost of executing U" } });
      history.line(costs.map((_, i) => first + i), costs, COLOURS.true);
      history.dot(done, costs.at(-2), COLOURS.prior);
      history.dot(done + 1, costs.at(-1), COLOURS.true);

      const before = plan.before.cost, after = plan.after.cost;
      api.give({ ess: plan.ess, free_energy: plan.freeEnergy, cost_before: before, cost_after: after, iterations: done });
      return `After ${done} iteration${done === 1 ? "" : "s"}, the next one drawn: executing the old mean (grey, dotted) for ${show(H * dt)} s costs ${show(before)}, `
        + `the new one (green, dashed) ${show(after)}. λ / std(S) is ${show(lam / deviation(plan.costs), 2)}; `
        + `effective sample size ${plan.ess.toFixed(1)} of ${N}; free energy ${show(plan.freeEnergy)}${values.control_cost === "yes" ? "" : ", of a prior around the old mean"}.`;
    },
  });
});
