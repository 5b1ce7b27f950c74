// Costs of sampled sequences, and what the temperature makes of them (Eq. 5-7, 15-17; chapter 4).

/** Costs of N sampled actions under the prior N(0, 1): (a - 1.5)^2, as in chapter 4. */
export function sampledCosts(n, random) { return random.normals(n).map((a) => (a - 1.5) ** 2); }

/** Free energy of that example in closed form: a Gaussian integral. */
export function exactFreeEnergy(lam) { return 1.5 ** 2 / (1 + 2 / lam) + 0.5 * lam * Math.log(1 + 2 / lam); }

explorer("boltzmann", (host, store) => {
  let seed = 1;
  return panel(host, store, {
    title: "Boltzmann weights of sampled action sequences",
    size: [720, 330], narrow: [400, 570], lines: [2, 4],
    controls: [
      { name: "lam", label: "Temperature λ", min: 0.01, max: 100, log: true, value: 0.3 },
      { name: "samples", label: "Samples N", min: 2, max: 256, step: 1, value: 24 }],
    buttons: [{ label: "New samples", press: () => { seed += 1; } }],
    draw(drawing, { lam, samples }, api) {
      const costs = sampledCosts(samples, new Random(seed)).sort();
      const { weights, freeEnergy, ess } = boltzmann(costs, lam);
      const exact = exactFreeEnergy(lam), spread = deviation(costs), highest = Math.max(...costs);
      const boxes = api.narrow ? [[44, 30, 346, 200], [44, 310, 346, 200]] : [[44, 30, 300, 245], [400, 30, 300, 245]];
      const left = axes(drawing, boxes[0], {
        x: { range: [0, samples], label: "samples, cheapest first" }, y: { range: [0, highest * 1.05], label: "cost S, and its free energy" } });
      costs.forEach((s, i) => left.bar(i + 0.12, i + 0.88, 0, s, COLOURS.prior, { "fill-opacity": 0.55 }));
      left.line([0, samples], [freeEnergy, freeEnergy], COLOURS.mpq);
      left.line([0, samples], [exact, exact], COLOURS.true, { "stroke-width": 4, "stroke-dasharray": "8 12" });
      const right = axes(drawing, boxes[1], {
        x: { range: [0, samples], label: "the same samples" }, y: { range: [0, Math.max(1.05 * weights[0], 0.02)], label: "weight w" } });
      weights.forEach((w, i) => right.bar(i + 0.12, i + 0.88, 0, w, COLOURS.mpq));
      api.give({ ess, free_energy: freeEnergy });
      return `λ / std(S) is ${show(lam / spread, 2)}. Effective sample size ${show(ess)} of ${samples}. `
        + `Free energy: estimate ${show(freeEnergy)} (blue), exact ${show(exact)} (green, dashed); mean cost ${show(mean(costs))}, lowest ${show(costs[0])}.`;
    },
  });
});
