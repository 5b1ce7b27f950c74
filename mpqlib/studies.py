"""What the explorers show and no run keeps: grids of cost over temperature, horizon and bias; a Q function along its training."""

import json
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from mpqlib import tasks
from mpqlib.experiments import label, load_planner, provenance, task_settings
from mpqlib.mppi import MPPI
from mpqlib.mpq import MPQ, evaluate

TEMPERATURES = (0.1, 0.3, 1.0, 3.0, 10.0)  # times the task's own
COLUMNS = ["task", "agent", "lam", "horizon", "size", "seed", "episodes", "success", "cost", "cpu_s", "commit"]


def grid(task: str = "pendulum_swingup", seed: int = 0, episodes: int = 10, jobs: int = 1,
         runs: Path = Path("data/runs"), out: Path = Path("data/report")) -> pd.DataFrame:
    """Test MPPI and MPQ at each temperature, horizon and place of the truth; cells that are there are kept.

    MPQ plans with the Q function that was learnt at the task's own horizon, temperature and truth.

    Args:
        task: such as pendulum_swingup.
        seed: of the stored Q function, the starts and the noise.
        episodes: test episodes of a cell.
        jobs: processes at a time.
        runs: folder of all runs.
        out: folder of the table grid_<task>.csv.

    Returns:
        The table: task, agent, lam (in the unit of cost), horizon, size (see `Task.moved`), seed, episodes,
        mean success and cost, CPU seconds of the cell, commit.

    Raises:
        ValueError: if the Q function of that seed is not stored, or episodes is below 1.
    """
    settings = task_settings(task)
    if episodes < 1:
        raise ValueError(f"episodes is {episodes}; it must be >= 1")
    if settings.mpq is None:
        raise ValueError(f"{task} has no settings for mpq yet")
    stored = Path(runs) / task / label("mpq", settings.mpq.planner.horizon, "real") / f"seed-{seed}" / "q.safetensors"
    if not stored.exists():
        raise ValueError(f"{stored} does not exist; `python -m mpqlib sweep --task {task}` makes it")
    horizons = sorted({*settings.horizons, *settings.study_horizons, *settings.mppi_study_horizons, settings.mpq.planner.horizon})
    wanted = [(agent, float(f"{factor * lam:.6g}"), horizon, size)
              for agent, lam in (("mpq", settings.mpq.planner.lam), ("mppi", settings.mppi.lam))
              for factor, horizon, size in product(TEMPERATURES, horizons, sorted({1.0, *settings.truths}))]
    path = Path(out) / f"grid_{task}.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    there = table[(table.seed == seed) & (table.episodes == episodes)]
    done = set(zip(there.agent, there.lam, there.horizon, there["size"]))
    missing = [one for one in wanted if one not in done]
    rows = joblib.Parallel(n_jobs=jobs, return_as="generator")(
        joblib.delayed(_cell)(task, stored, seed, episodes, *one) for one in missing)
    path.parent.mkdir(parents=True, exist_ok=True)
    for row in tqdm(rows, total=len(missing), unit="cell", desc=task):
        table.loc[len(table)] = row
        table.sort_values(COLUMNS[1:5]).to_csv(path, index=False)
    return table


def _cell(name, stored, seed, episodes, agent, lam, horizon, size):
    started = time.process_time()
    task = tasks.make(name).moved(size)
    planner = load_planner(task, stored) if agent == "mpq" else MPPI(task_settings(name).mppi, task.simulator(), task.cost)
    planner = MPPI(replace(planner.settings, lam=lam, horizon=horizon), planner.simulate, task.cost, planner.terminal_q)
    rng = np.random.default_rng([seed, 2])
    tested = evaluate(task, planner, task.true_system(), task.reset(episodes, rng), rng)
    return [name, agent, lam, horizon, size, seed, episodes, tested["success"].mean(), round(tested["cost"].mean(), 4),
            round(time.process_time() - started, 3), provenance()["commit"]]


def landscape(seed: int = 1000, episodes: tuple[int, ...] = (0, 2, 5, 10, 20, 40, 60), out: Path = Path("data/explorers")) -> pd.DataFrame:
    """Train MPQ once on the pendulum, with the frozen settings, and keep its Q function after some episodes.

    Args:
        seed: a development seed, so that nothing the book reports depends on this run.
        episodes: training episodes after which the Q function is kept.
        out: folder of the files landscape-<episode>.safetensors; the header holds settings, seed, episode and provenance.

    Returns:
        A row per file: episode, file.

    Raises:
        ValueError: if an episode lies outside the training.
    """
    task, settings = tasks.make("pendulum_swingup"), task_settings("pendulum_swingup").mpq
    if not episodes or not set(episodes) <= set(range(settings.N + 1)):
        raise ValueError(f"episodes are {list(episodes)}; they must lie in 0 to {settings.N}, the length of the training")
    out, kept = Path(out), []
    out.mkdir(parents=True, exist_ok=True)
    notes = {"agent": "mpq", "data": "real", "seed": seed, "settings": json.loads(json.dumps(asdict(settings))), **provenance()}

    def keep(learner):
        if learner.episode in episodes:
            path = out / f"landscape-{learner.episode}.safetensors"
            learner.acting_q.save(path, episode=learner.episode, **notes)
            kept.append({"episode": learner.episode, "file": str(path)})

    learner = MPQ(task, replace(settings, N=max(max(episodes), 1)), task.simulator(), task.true_system(), seed)
    keep(learner)
    if max(episodes):
        learner.train(keep)
    return pd.DataFrame(kept)
