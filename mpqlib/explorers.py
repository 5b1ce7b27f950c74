"""Live explorers: the same JavaScript in the rendered book, where it needs no Python, and in Jupyter, where Python sees its sliders.

In the book an explorer is a custom element, such as `<mpq-boltzmann lam="0.3">`; here it is a widget with a trait
for every slider and every number it reads out.
"""

import json
from dataclasses import asdict
from html import escape
from importlib.resources import files
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets

from mpqlib import data_dir
from mpqlib.plots import NAMES, agent_name, interval, meaning

PARTS = ("core", "panel", "boltzmann", "update", "pendulum", "ball", "landscape", "results")


def bundle() -> str:
    """The JavaScript of all explorers as one ES module without imports."""
    folder = files("mpqlib") / "static" / "explorers"
    return "\n".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in PARTS)


def data_files() -> dict[str, Path]:
    """Files that explorers in the book read, by the name they have beside the module."""
    found = {PENDULUM_Q: data_dir() / "runs" / "pendulum_swingup" / "mpq-h8-real" / "seed-0" / "q.safetensors"}
    found |= {f"{BALL}{end}": data_dir() / "videos" / f"{BALL}{end}" for end in (".mp4", ".png")}
    found |= {name: data_dir() / "explorers" / name for name in LANDSCAPE.values()}
    learnt = data_dir() / "runs" / BALL / "mpq-h4-real" / "seed-0" / "q.safetensors"
    return found | {BALL_Q: learnt} if learnt.exists() else found


def made_files() -> dict[str, bytes]:
    """The same for files that are made when the book is built; without MuJoCo and dm_control none for the ball, and the page says so."""
    found = {RESULTS: json.dumps(stored_results(), separators=(",", ":")).encode()}
    try:
        return found | {"ball.json": json.dumps(ball_setup(BALL_Q if BALL_Q in data_files() else None)).encode()}
    except ImportError:
        return found


RESULTS = "results.json"
PENDULUM_Q = "pendulum-q.safetensors"
LANDSCAPE = {f"q{episode}": f"landscape-{episode}.safetensors" for episode in (0, 2, 5, 10, 20, 40, 60)}
BALL, BALL_Q = "ball_in_cup_sparse", "ball_in_cup_sparse-q.safetensors"


def ball_setup(q: str | None = None) -> dict:
    """What the page needs to run BallInCupSparse: the model, true and biased parameters, both planners' settings.

    Args:
        q: name of the Q function's file beside the module, or None.
    """
    from mpqlib import tasks
    from mpqlib.settings import SETTINGS
    from mpqlib.tasks.ball_in_cup import model_xml

    task, settings = tasks.make(BALL), SETTINGS[BALL]
    true, plan = ({"timestep": physics.model.opt.timestep, "substeps": physics.substeps}
                  for physics in (task.true_physics, task.planning_physics))
    mass = [bound["mass"] / task.true_parameters["mass"] for bound in (task.biased.low, task.biased.high)]
    return {"xml": model_xml(), "true": {**task.true_parameters, **true}, "plan": plan, "centre": sum(mass) / 2,
            "worlds": {name: value.tolist() for name, value in task.biased.spread(256).items()},
            "mpq": asdict(settings.mpq.planner), "mppi": asdict(settings.mppi), "value_range": settings.mpq.value_range, "q": q}


def stored_results(folder: Path | None = None) -> dict:
    """What the explorer of results shows, from the tables in data/report that are there: task -> view -> one entry per agent.

    Means and Student's intervals over training seeds, as `mpqlib.plots.interval`.
    """
    folder = folder or data_dir() / "report"
    found = {}

    def entry(task, view, agent, horizon, data, name=None):
        one = {"name": name or agent_name(agent, horizon, data), "key": meaning(agent, data)}
        found.setdefault(task, {}).setdefault(view, []).append(one)
        return one

    def over_seeds(values, measure):
        values = np.asarray(values, float)
        ends = interval(values, limits=(0, 1) if measure == "success" else (-np.inf, np.inf))
        return [float(f"{number:.5g}") for number in (values.mean(), *ends)]

    def along(group, x):
        """Of rows with a column `x`, seed, cost and success: {x, counts, cost, success}."""
        groups = list(group.groupby(x))
        one = {"x": [float(place) for place, _ in groups], "counts": [len(rows) for _, rows in groups]}
        for measure in ("cost", "success"):
            one[measure] = dict(zip(("mean", "low", "high"), zip(*(over_seeds(rows[measure], measure) for _, rows in groups))))
        return one

    for (task, agent, h, data), group in _table(folder, "curves").groupby(["task", "agent", "horizon", "data"], sort=False):
        group = group.rename(columns={"test_cost": "cost", "test_success": "success"})
        one = entry(task, "curves", agent, h, data)
        one.update(along(group, "episode"), count=group.seed.nunique())
        for measure in ("cost", "success"):
            one[measure]["seeds"] = [list(rows.sort_values("episode")[measure].round(3)) for _, rows in group.groupby("seed")]
    results = _table(folder, "results")
    for (task, agent, h, data), group in results[results.data == "none"].groupby(["task", "agent", "horizon", "data"], sort=False):
        entry(task, "levels", agent, h, data).update({
            measure: dict(zip(("mean", "low", "high"), over_seeds(group[f"{measure}_mean"], measure))) for measure in ("cost", "success")},
            count=len(group))
    for row in _table(folder, "table1").itertuples():
        entry(row.task, "table1", row.agent, row.horizon, row.data).update(
            mean=row.success_mean, paper=row.paper, count=row.seeds,
            **{end: row.success_mean if row.seeds == 1 else getattr(row, f"ci_{end}") for end in ("low", "high")})  # as `interval`
    for (task, agent), group in _table(folder, "horizon").groupby(["task", "agent"], sort=False):
        if group.horizon.nunique() > 1:
            entry(task, "horizon", agent, None, "none", NAMES[agent]).update(along(group, "horizon"))
    for (task, agent, h, data), group in _table(folder, "bias_curve").groupby(["task", "agent", "horizon", "data"], sort=False):
        entry(task, "bias", agent, h, data).update(along(group, "size"))
    for path in sorted(folder.glob("grid_*.csv")):
        for (task, agent), group in _table(folder, path.stem).groupby(["task", "agent"], sort=False):
            cells = group[["lam", "horizon", "size", "cost", "success"]]
            entry(task, "grid", agent, None, "none", NAMES[agent]).update(cells=cells.round({"cost": 3, "success": 3}).to_dict("records"))
    return found


def _table(folder, name):
    """A table of data/report; an empty one with the columns asked for where it is not there."""
    path = folder / f"{name}.csv"
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["task", "agent", "horizon", "data", "seed"])


class Explorer(anywidget.AnyWidget):
    """A widget; its HTML is the book's element, its traits are sliders (read and write) and readouts (read)."""

    _esm = bundle()
    kind = traitlets.Unicode().tag(sync=True)
    sliders: tuple[str, ...] = ()
    book_files: dict[str, str] = {}  # attribute of the book's element -> name of a file beside the module

    def _repr_mimebundle_(self, **kwargs):
        values = {name: getattr(self, name) for name in self.sliders} | self.book_files
        attributes = "".join(f" {name}" if value is True else f' {name}="{escape(str(value))}"'
                             for name, value in values.items() if value is not False)
        found = super()._repr_mimebundle_(**kwargs)
        data, metadata = found if isinstance(found, tuple) else (found or {}, {})
        called = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.sliders)
        data |= {"text/plain": f"{type(self).__name__}({called})", "text/html": f"<mpq-{self.kind}{attributes}></mpq-{self.kind}>"}
        return data, metadata


class Boltzmann(Explorer):
    """Costs of N sampled actions and their weights at temperature `lam` (chapter 4).

    Traits: lam (unit of cost, 0.01 to 100) and samples (2 to 256) are sliders; ess and free_energy are read out.
    """

    kind = traitlets.Unicode("boltzmann").tag(sync=True)
    sliders = ("lam", "samples")
    lam = traitlets.Float(0.3, min=0.01, max=100.0).tag(sync=True)
    samples = traitlets.Int(24, min=2, max=256).tag(sync=True)
    ess = traitlets.Float(0.0).tag(sync=True)
    free_energy = traitlets.Float(0.0).tag(sync=True)


class Update(Explorer):
    """The MPPI update (Eq. 16) on the pendulum with its true mass and length, one iteration at a time (chapter 5).

    Traits: start ("hanging", "half", "upright") and control_cost ("yes", "no": the log ratio in the weights or not) are
    choices; lam (unit of cost, 0.01 to 100), sigma (N m, 0.25 to 4), samples (4 to 256), horizon (2 to 64), step_size
    (0.05 to 1) and beta (0 to 0.95) are sliders; ess, free_energy, cost_before and cost_after (of executing the old and
    the new mean) and iterations are read out.
    """

    kind = traitlets.Unicode("update").tag(sync=True)
    sliders = ("start", "control_cost", "lam", "sigma", "samples", "horizon", "step_size", "beta")
    start = traitlets.Enum(["hanging", "half", "upright"], "hanging").tag(sync=True)
    control_cost = traitlets.Enum(["yes", "no"], "yes").tag(sync=True)
    lam = traitlets.Float(1.0, min=0.01, max=100.0).tag(sync=True)
    sigma = traitlets.Float(2.0, min=0.25, max=4.0).tag(sync=True)
    samples = traitlets.Int(100, min=4, max=256).tag(sync=True)
    horizon = traitlets.Int(50, min=2, max=64).tag(sync=True)
    step_size = traitlets.Float(0.5, min=0.05, max=1.0).tag(sync=True)
    beta = traitlets.Float(0.8, min=0.0, max=0.95).tag(sync=True)
    ess = traitlets.Float(0.0).tag(sync=True)
    free_energy = traitlets.Float(0.0).tag(sync=True)
    cost_before = traitlets.Float(0.0).tag(sync=True)
    cost_after = traitlets.Float(0.0).tag(sync=True)
    iterations = traitlets.Int(0).tag(sync=True)


class Pendulum(Explorer):
    """PendulumSwingup in closed loop under MPPI and MPQ, with the same settings, noise and biased worlds (chapters 1 and 9).

    Traits: horizon (1 to 64), lam (unit of cost, 0.01 to 10), samples (4 to 128), beta (0 to 0.95), and mean (0.6 to 1.6)
    and spread (0 to 0.5) of the mass and length in the planner's simulator, relative to the true ones, are sliders;
    autoplay starts the animation; cost_mppi, cost_mpq, success_mppi and success_mpq are read out.
    """

    kind = traitlets.Unicode("pendulum").tag(sync=True)
    sliders = ("horizon", "lam", "samples", "beta", "mean", "spread", "autoplay")
    book_files = {"q": PENDULUM_Q}
    horizon = traitlets.Int(8, min=1, max=64).tag(sync=True)
    lam = traitlets.Float(0.15, min=0.01, max=10.0).tag(sync=True)
    samples = traitlets.Int(24, min=4, max=128).tag(sync=True)
    beta = traitlets.Float(0.0, min=0.0, max=0.95).tag(sync=True)
    mean = traitlets.Float(1.2, min=0.6, max=1.6).tag(sync=True)
    spread = traitlets.Float(0.3, min=0.0, max=0.5).tag(sync=True)
    autoplay = traitlets.Bool(False).tag(sync=True)
    q = traitlets.Bytes().tag(sync=True)
    cost_mppi = traitlets.Float(0.0).tag(sync=True)
    cost_mpq = traitlets.Float(0.0).tag(sync=True)
    success_mppi = traitlets.Bool(False).tag(sync=True)
    success_mpq = traitlets.Bool(False).tag(sync=True)

    @traitlets.default("q")
    def _learnt(self):
        path = data_files()[PENDULUM_Q]
        return path.read_bytes() if path.exists() else b""


class Ball(Explorer):
    """MPPI and MPQ on BallInCupSparse with MuJoCo in the page (chapter 8); in Jupyter, which serves no MuJoCo, the recording.

    Traits: lam (unit of cost, 0.01 to 10), horizon (1 to 32), samples (8 to 64), mass (the model's ball, times the true
    one, 0.5 to 10) and method ("mpq" or "mppi") are what the book's element starts from.
    """

    kind = traitlets.Unicode("ball").tag(sync=True)
    sliders = ("lam", "horizon", "samples", "mass", "method")
    lam = traitlets.Float(0.15, min=0.01, max=10.0).tag(sync=True)
    horizon = traitlets.Int(4, min=1, max=32).tag(sync=True)
    samples = traitlets.Int(36, min=8, max=64).tag(sync=True)
    mass = traitlets.Float(5.0, min=0.5, max=10.0).tag(sync=True)
    method = traitlets.Enum(("mpq", "mppi"), "mpq").tag(sync=True)
    video = traitlets.Bytes().tag(sync=True)

    @traitlets.default("video")
    def _recording(self):
        path = data_dir() / "videos" / f"{BALL}.mp4"
        return path.read_bytes() if path.exists() else b""


class Landscape(Explorer):
    """The learnt cost-to-go over the pendulum's states along one training, and MPQ's path with it (chapters 6 and 9).

    Traits: episodes (of training: 0, 2, 5, 10, 20, 40 or 60), theta (degrees from upright, 0 to 180) and speed (rad/s, -8 to 8)
    of the start are sliders; value (what Q says of the start), paid (discounted) and cost (undiscounted) and success of the
    run are read out; q0 to q60 are the files of the Q functions.
    """

    kind = traitlets.Unicode("landscape").tag(sync=True)
    sliders = ("episodes", "theta", "speed")
    book_files = LANDSCAPE
    episodes = traitlets.Int(60, min=0, max=60).tag(sync=True)
    theta = traitlets.Float(180.0, min=0.0, max=180.0).tag(sync=True)
    speed = traitlets.Float(0.0, min=-8.0, max=8.0).tag(sync=True)
    value = traitlets.Float(0.0).tag(sync=True)
    paid = traitlets.Float(0.0).tag(sync=True)
    cost = traitlets.Float(0.0).tag(sync=True)
    success = traitlets.Bool(False).tag(sync=True)

    def __init__(self, **traits):
        self.add_traits(**{key: traitlets.Bytes(_stored(name)).tag(sync=True) for key, name in LANDSCAPE.items()})
        super().__init__(**traits)


def _stored(name):
    path = data_files()[name]
    return path.read_bytes() if path.exists() else b""


class Results(Explorer):
    """The stored results of every task: learning curves, Table 1, cost against horizon and bias, grids (chapters 9 and on).

    Traits: task, view ("curves", "table1", "horizon", "bias" or "grid") and measure ("cost" or "success") are choices;
    data holds what `stored_results` found.
    """

    kind = traitlets.Unicode("results").tag(sync=True)
    sliders = ("task", "view", "measure")
    book_files = {"data": RESULTS}
    task = traitlets.Enum(("pendulum_swingup", "ball_in_cup_sparse", "fetch_push_block", "franka_drawer_open"), "pendulum_swingup").tag(sync=True)
    view = traitlets.Enum(("curves", "table1", "horizon", "bias", "grid"), "curves").tag(sync=True)
    measure = traitlets.Enum(("cost", "success"), "cost").tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)

    @traitlets.default("data")
    def _stored(self):
        return json.dumps(stored_results()).encode()
