"""Full runs: one agent, task and seed at a time, resumable, with provenance; sweeps; the report.

A run lives in <out>/<task>/<label>/seed-<k>/ as run.json (settings, results, provenance),
curve.csv and, for agents that learn, q.safetensors (best on validation) and
q-last.safetensors. While it trains it keeps checkpoint.safetensors there.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

import mpqlib
from mpqlib import data_dir, tasks
from mpqlib.mppi import MPPI, MPPISettings
from mpqlib.mpq import MPQ, MPQSettings, bounded, evaluate
from mpqlib.qfunction import DamagedFile, QFunction, read_tensors, write_tensors
from mpqlib.settings import DATA, DEVELOPMENT_SEEDS, SETTINGS, TRIED

VERSIONS = ("numpy", "scipy", "torch", "gymnasium", "mujoco", "dm_control", "gymnasium-robotics")


def label(agent: str, horizon: int, data: str, truth: float = 1.0) -> str:
    """Folder name of an agent's runs, such as mpq-h8-real, mppi-h32 or mpq-h4-real-truth0.5."""
    return f"{agent}-h{horizon}" + ("" if data == "none" else f"-{data}") + ("" if truth == 1 else f"-truth{truth:g}")


def task_settings(task: str):
    """The frozen settings of a task; ValueError for an unknown name or a task without settings."""
    tasks.make(task)
    if task not in SETTINGS:
        raise ValueError(f"{task} has no settings; the tasks with settings are {', '.join(SETTINGS)}")
    return SETTINGS[task]


def run(task: str, agent: str, seed: int, horizon: int | None = None, data: str | None = None,
        episodes: int | None = None, test_episodes: int = 100, out: Path = Path("runs"),
        checkpoint_every: int = 5, progress: bool = True, truth: float = 1.0) -> dict:
    """Train one agent with one seed (if it learns), test it on the true system, and write the results.

    Killed at any moment, the same call continues from the last checkpoint and writes the same
    curve and weights, byte for byte. A finished run is returned, not repeated.

    Args:
        task: such as pendulum_swingup.
        agent: mpq, softq, softq_budget, mppi, mppi_true or mppi_budget.
        seed: of training and testing; the book reports 0 to 9, settings were chosen on 1000 and up.
        horizon: planning horizon H; None for the agent's own.
        data: real (train on the true system), dr (on the randomised simulator) or none; None for
            real where the agent learns.
        episodes: training episodes, instead of the frozen number.
        test_episodes: test episodes on the true system.
        out: folder of all runs; data/runs holds those the book reports.
        checkpoint_every: training episodes between checkpoints.
        progress: show a progress bar.
        truth: where the true parameters lie: 0 in the centre of the agent's distribution, 1 where the
            task has them (see `Task.moved`). What an agent learns from simulated data does not depend
            on it: its Q function of truth 1 is tested.

    Returns:
        The content of run.json.

    Raises:
        ValueError: for unknown names or bad settings, a damaged checkpoint, or a folder that
            holds a run of other settings. Nothing already saved is touched.
    """
    frozen = task_settings(task).agent(agent, horizon)
    learns = isinstance(frozen, MPQSettings)
    data = data or ("real" if learns else "none")
    if data not in DATA or (data == "none") == learns:
        raise ValueError(f"data is {data!r}; {agent} takes {'real or dr' if learns else 'none'}")
    if test_episodes < 1 or checkpoint_every < 1:
        raise ValueError(f"test_episodes is {test_episodes} and checkpoint_every {checkpoint_every}; both must be >= 1")
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must be >= 0")
    settings = replace(frozen, N=episodes) if learns and episodes is not None else frozen
    horizon = (settings.planner if learns else settings).horizon
    what = {"task": task, "agent": agent, "horizon": horizon, "data": data, "seed": seed,
            "test_episodes": test_episodes, "truth": truth, "settings": json.loads(json.dumps(asdict(settings)))}
    made = tasks.make(task).moved(truth)
    folder = Path(out) / task / label(agent, horizon, data, truth) / f"seed-{seed}"
    if (folder / "run.json").exists():
        found = read_record(folder / "run.json")
        found = {"truth": 1.0, **found}
        if any(found.get(key) != value for key, value in what.items() if key != "settings") or not same_settings(found, settings):
            raise ValueError(f"{folder} holds a finished run of other settings; remove it or choose another --out")
        if learns and not (data == "dr" and truth != 1):
            _read_learnt(folder)
        return found
    if data == "dr" and truth != 1:
        run(task, agent, seed, horizon, data, episodes, test_episodes, out, checkpoint_every, progress)
        return _run_tested(what, made, settings, folder, Path(out) / task / label(agent, horizon, data) / folder.name)
    folder.mkdir(parents=True, exist_ok=True)
    if learns:
        return _run_learner(what, made, settings, folder, checkpoint_every, progress)
    return _run_planner(what, made, settings, folder)


def _read_learnt(folder):
    """Check that what a finished run learnt can be read."""
    for file in ("q.safetensors", "q-last.safetensors", "curve.csv"):
        path = folder / file
        if not path.exists():
            raise DamagedFile(f"{path} is missing; remove {folder} and run again")
        if path.suffix == ".safetensors":
            read_tensors(path)


def same_settings(record, settings) -> bool:
    """Whether a run was made with these settings; those that did not exist then had their default values."""
    wanted, found = json.loads(json.dumps(asdict(settings))), record["settings"]
    added = {field.name: json.loads(json.dumps(field.default)) for field in fields(settings) if field.name not in found}
    return {**added, **found} == wanted


def read_record(path) -> dict:
    """What a finished run wrote to run.json."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DamagedFile(f"{path} is damaged ({error}); remove it and run again") from None


def _test(task, planner, seed, episodes) -> dict:
    """Cost and success of each test episode; starts depend on the seed alone, not on the agent."""
    rng = np.random.default_rng([seed, 1])
    starts = task.reset(episodes, rng)
    batches = np.array_split(starts, min(episodes, -(-episodes * planner.settings.samples // 20_000)))  # fits the cache
    results = [evaluate(task, planner, task.true_system(), batch, rng) for batch in batches]
    cost, success = (np.concatenate([result[key] for result in results]) for key in ("cost", "success"))
    return {"cost": cost.round(6).tolist(), "success": success.tolist()}


def _run_planner(what, task, settings: MPPISettings, folder) -> dict:
    planner = vanilla_planner(task, what["agent"], settings)
    started = time.process_time()
    tested = _test(task, planner, what["seed"], what["test_episodes"])
    return _finish(folder, what, {"train_episodes": 0, "best": tested, "last": tested,
                                  "cpu_s": {"train": 0.0, "test": time.process_time() - started}},
                   task, planner)


def vanilla_planner(task, agent: str, settings: MPPISettings) -> MPPI:
    """MPPI without a Q function, on the biased simulator (mppi, mppi_budget) or the true dynamics (mppi_true)."""
    return MPPI(settings, task.true_model() if agent == "mppi_true" else task.simulator(), task.cost)


def _run_tested(what, task, settings: MPQSettings, folder, trained) -> dict:
    """Test what was learnt in another run."""
    started, tested = time.process_time(), {}
    for which, file in (("best", "q.safetensors"), ("last", "q-last.safetensors")):
        planner = load_planner(task, trained / file)
        tested[which] = _test(task, planner, what["seed"], what["test_episodes"])
    folder.mkdir(parents=True, exist_ok=True)
    return _finish(folder, what, {"train_episodes": settings.N, **tested,
                                  "cpu_s": {"train": 0.0, "test": time.process_time() - started}}, task, planner)


def _run_learner(what, task, settings: MPQSettings, folder, checkpoint_every, progress) -> dict:
    system = task.true_system() if what["data"] == "real" else task.simulator()
    learner = MPQ(task, settings, task.simulator(), system, what["seed"])
    curve_episodes = min(settings.curve_episodes, what["test_episodes"])
    tests, cpu = [], {"train": 0.0, "test": 0.0}  # of what the loop below has done so far
    checkpoint = folder / "checkpoint.safetensors"
    if checkpoint.exists():
        tensors, header = read_tensors(checkpoint)
        if header["what"] != what:
            raise ValueError(f"{checkpoint} belongs to a run of other settings; remove it or choose another --out")
        learner.restore(tensors, header["learner"])
        tests, cpu = header["tests"], header["cpu_s"]
    mark = time.process_time()

    def clock(name):
        nonlocal mark
        cpu[name] += time.process_time() - mark
        mark = time.process_time()

    def test_if_validated():
        clock("train")
        if len(tests) < len(learner.curve):
            tests.append(_test(task, learner.planner, what["seed"], curve_episodes))
        clock("test")

    def after_episode(learner):
        test_if_validated()
        if learner.episode % checkpoint_every == 0 or learner.episode == settings.N:
            tensors, state = learner.state()
            write_tensors(checkpoint, tensors, {"what": what, "learner": state, "tests": tests, "cpu_s": cpu})
        bar.update()

    with tqdm(total=settings.N, initial=learner.episode, disable=not progress, unit="episode",
              desc=f"{what['agent']} H={what['horizon']} {what['data']} seed {what['seed']}") as bar:
        if not learner.curve:
            learner.validate()
            test_if_validated()
        best = learner.train(after_episode)
    notes = {"settings": what["settings"], "agent": what["agent"], "data": what["data"], "seed": what["seed"]}
    best.save(folder / "q.safetensors", **notes)
    learner.acting_q.save(folder / "q-last.safetensors", **notes)
    pd.DataFrame([{"episode": row["episode"], "minutes": row["episode"] * settings.T * task.dt / 60,
                   "train_cost": row["train_cost"], "validation_cost": row["cost"], "validation_success": row["success"],
                   "test_cost": np.mean(test["cost"]), "test_success": np.mean(test["success"])}
                  for row, test in zip(learner.curve, tests, strict=True)]
                 ).round(6).to_csv(folder / "curve.csv", index=False)
    planner = MPPI(settings.planner, task.simulator(), task.cost, bounded(best, settings.value_range))
    tested = _test(task, planner, what["seed"], what["test_episodes"])
    last = tests[-1]
    if curve_episodes < what["test_episodes"]:
        last = _test(task, learner.planner, what["seed"], what["test_episodes"])
    clock("test")
    result = _finish(folder, what, {"train_episodes": learner.episode, "best": tested, "last": last, "cpu_s": cpu},
                     task, planner)
    checkpoint.unlink(missing_ok=True)
    return result


def _finish(folder, what, outcome, task, planner) -> dict:
    result = {**what, **outcome, "control_ms": control_ms(task, planner), **provenance()}
    unfinished = folder / "run.json.part"
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(unfinished, folder / "run.json")
    return result


def control_ms(task, planner, steps=200) -> float:
    """CPU milliseconds of one control step (one plan from one state), the median over `steps`."""
    rng = np.random.default_rng(0)
    state, U, times = task.reset(1, rng)[0], None, []
    for _ in range(steps):
        started = time.process_time()
        U = planner.plan(state, rng, U).U
        times.append(time.process_time() - started)
    return round(1e3 * float(np.median(times)), 4)


@cache
def provenance() -> dict:
    """Versions, commit and machine of this process, for a run's record."""
    def git(*arguments):
        try:
            done = subprocess.run(["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True)
        except FileNotFoundError:  # no git on this machine
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = f"mpqlib {mpqlib.__version__}"
    if git("ls-files", Path(__file__).name):  # this file is in a repository, and it is ours
        commit = git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    return {"commit": commit,
            "versions": {"python": platform.python_version(),
                         **{name: found for name in VERSIONS if (found := _version(name))}},
            "machine": {"system": platform.system(), "processor": _processor(), "cores": os.cpu_count()}}


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # MuJoCo and its company are an extra
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def sweep(task: str = "pendulum_swingup", seeds: tuple[int, ...] = (), agents: tuple[str, ...] = (),
          jobs: int = 1, test_episodes: int = 100, out: Path = Path("data/runs"), study: bool = False,
          backend: str = "loky", address: str = "") -> list[dict]:
    """Run all agents that the book reports on a task, or those named, with all seeds.

    Results do not depend on the number of jobs or the backend. Finished runs are not repeated, unfinished ones
    go on from their last checkpoint, and a run with a damaged file is named and done again.

    Args:
        task: such as pendulum_swingup, or all.
        seeds: seeds to run; none for those that the book reports.
        agents: labels such as mpq-h8-real; none for all.
        jobs: processes at a time, one per core at most; -1 for all cores.
        test_episodes: test episodes per run.
        out: folder of all runs; with dask one that all workers share.
        study: run what the studies of horizon and bias need besides, instead.
        backend: loky, processes on this machine, or dask, the workers of a cluster.
        address: of dask's scheduler, such as tcp://10.0.0.1:8786.
    """
    grids = {}
    for name in SETTINGS if task == "all" else [task]:
        settings = task_settings(name)
        grids[name] = {label(*one): one for one in (settings.studies() if study else settings.grid())}
    known = {name for grid in grids.values() for name in grid}
    if unknown := set(agents) - known:
        raise ValueError(f"unknown agents {sorted(unknown)}; on {task} there are {', '.join(sorted(known))}")
    work = [(name, seed, one) for name, grid in grids.items() for agent, one in grid.items() if not agents or agent in agents
            for seed in seeds or (SETTINGS[name].study_seeds if study else SETTINGS[name].seeds)]
    with _workers(backend, address, jobs) as options:
        results = joblib.Parallel(return_as="generator_unordered", **options)(
            joblib.delayed(_run_one)(name, seed, test_episodes, Path(out).absolute(), *one) for name, seed, one in work)
        return list(tqdm(results, total=len(work), unit="run", desc=task))


def _run_one(task, seed, test_episodes, out, agent, horizon, data, truth=1.0):
    def once():
        return run(task, agent, seed, horizon, data, test_episodes=test_episodes, out=out, progress=False, truth=truth)

    try:
        return once()
    except DamagedFile as error:
        print(f"{error}\nThat run is done again.", file=sys.stderr)
        shutil.rmtree(out / task / label(agent, horizon, data, truth) / f"seed-{seed}")
        return once()


@contextmanager
def _workers(backend, address, jobs):
    """Options of `joblib.Parallel` for processes here or for a cluster."""
    if backend == "loky":
        yield {"n_jobs": jobs}
    elif backend == "dask":
        try:
            from distributed import Client
        except ModuleNotFoundError:
            raise ValueError("dask.distributed is not installed; `pip install '.[dask]'` in a clone of the book brings it") from None
        if not address:
            raise ValueError("address is ''; with the backend dask it must be that of a scheduler, such as tcp://10.0.0.1:8786")
        with Client(address, timeout="10s"), joblib.parallel_config(backend="dask", scheduler_host=address):
            yield {}
    else:
        raise ValueError(f"backend is {backend!r}; it must be loky or dask")


def develop(task: str = "pendulum_swingup", seeds: tuple[int, ...] = (), agents: tuple[str, ...] = (), jobs: int = 1,
            out: Path = Path("data/report/development.csv")) -> pd.DataFrame:
    """Try the settings listed in `mpqlib.settings.TRIED` on development seeds, which the book never reports.

    Trials that the table holds are not repeated.

    Args:
        task: such as pendulum_swingup.
        seeds: development seeds, >= 1000; none for those that the settings were chosen on.
        agents: such as mppi; none for all that something was tried for.
        jobs: processes at a time.
        out: table to write, after each trial.

    Returns:
        One row per agent of this task, combination of settings (`changes`, as JSON) and seed, with success and
        cost: of 30 test episodes for MPPI, averaged over all validations for agents that learn; success_end and
        cost_end are averages over the last third of these.

    Raises:
        ValueError: if a seed is below 1000, nothing was tried for the task or an agent, or the table is damaged.
    """
    if seeds and min(seeds) < 1000:
        raise ValueError(f"seeds are {seeds}; development seeds are >= 1000")
    task_settings(task)
    if task not in TRIED:
        raise ValueError(f"there are no trials for {task}; there are for {', '.join(TRIED)}")
    if unknown := set(agents) - set(TRIED[task]):
        raise ValueError(f"there are no trials of {', '.join(sorted(unknown))} on {task}; there are of {', '.join(TRIED[task])}")
    out, table = Path(out), pd.DataFrame(columns=["task", "agent", "seed", "changes"])
    if out.exists():
        try:
            table = pd.read_csv(out)
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ValueError(f"{out} is damaged ({error}); remove it and run again") from None
    done = set(zip(table.task, table.agent, table.seed, table.changes))
    work = [(agent, changes, seed) for agent, tried in TRIED[task].items() if not agents or agent in agents
            for changes in trials(tried) for seed in seeds or DEVELOPMENT_SEEDS[task]]
    missing = [one for one in work if (task, one[0], one[2], json.dumps(one[1])) not in done]
    out.parent.mkdir(parents=True, exist_ok=True)
    results = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(joblib.delayed(_try)(task, *one) for one in missing)
    for row in tqdm(results, total=len(missing), unit="trial", desc=task):
        table = pd.concat([table, pd.DataFrame([row])]).sort_values(["task", "agent", "changes", "seed"], ignore_index=True)
        unfinished = out.with_name(out.name + ".part")
        table.round(4).to_csv(unfinished, index=False)
        os.replace(unfinished, out)
    return table[table.task == task]


def trials(tried) -> list[dict]:
    """The changes of settings in one entry of `TRIED`: all combinations of a grid, or those of a list."""
    if isinstance(tried, Mapping):
        return [dict(zip(tried, values)) for values in product(*tried.values())]
    return list(tried)


def changed(settings, changes):
    """Settings with some of them changed; those that only the planner of an MPQSettings has are changed there."""
    own = {field.name for field in fields(settings)}
    there = {name: value for name, value in changes.items() if name not in own}
    if there:
        settings = replace(settings, planner=replace(settings.planner, **there))
    return replace(settings, **{name: value for name, value in changes.items() if name in own})


def _try(task, agent, changes, seed) -> dict:
    task, settings = tasks.make(task), changed(SETTINGS[task].agent(agent), changes)
    row = {"task": task.name, "agent": agent, "seed": seed, "changes": json.dumps(changes), **changes}
    started = time.process_time()
    if isinstance(settings, MPQSettings):
        learner = MPQ(task, settings, task.simulator(), task.true_system(), seed)
        learner.train()
        curve = pd.DataFrame(learner.curve)[["success", "cost"]]
        row |= {**curve.mean(), **curve.iloc[-(len(curve) // 3 or 1):].mean().add_suffix("_end")}
    else:
        tested = _test(task, vanilla_planner(task, agent, settings), seed, 30)
        row |= {key: np.mean(tested[key]) for key in ("success", "cost")}
    return {**row, "cpu_s": round(time.process_time() - started, 1), "commit": provenance()["commit"]}


def load_planner(task, path) -> MPPI:
    """The planner of a stored Q function: its settings from the file's header, the biased simulator.

    Raises:
        ValueError: if the file is damaged or was written for another task.
    """
    q = QFunction.load(path, task)
    settings = read_tensors(path)[1]["settings"]
    planner = {name: tuple(value) if isinstance(value, list) else value for name, value in settings["planner"].items()}
    return MPPI(MPPISettings(**planner), task.simulator(), task.cost, bounded(q, settings.get("value_range")))


def evaluate_file(task: str, q: Path, episodes: int = 100, seed: int = 0) -> dict:
    """Test a stored Q function on the true system, with the planner it was trained with.

    Args:
        task: such as pendulum_swingup.
        q: a q.safetensors.
        episodes: test episodes.
        seed: of the starts and the planner's noise.
    """
    if episodes < 1 or seed < 0:
        raise ValueError(f"episodes is {episodes} and seed {seed}; they must be >= 1 and >= 0")
    chosen = tasks.make(task)
    return {"agent": str(q), "best": _test(chosen, load_planner(chosen, q), seed, episodes)}


def summary(result) -> str:
    """What a command prints at its end: a line for a run, a table for a report or benchmark."""
    if isinstance(result, pd.DataFrame) and "success_mean" not in result:
        return f"{len(result)} rows"
    if isinstance(result, pd.DataFrame):
        columns = ["success_mean", "cost_mean", "success_last", "cost_last", "control_ms", "cpu_s"]
        return result.groupby(["task", "agent", "horizon", "data"])[columns].mean().round(3).to_string()
    if isinstance(result, list):
        return f"{len(result)} runs finished"
    if "rows" in result:
        return pd.DataFrame(result["rows"]).to_string(index=False)
    cost, success = result["best"]["cost"], result["best"]["success"]
    return f"{result['agent']}: success {np.mean(success):.2f}, cost {np.mean(cost):.1f} over {len(cost)} test episodes"
