import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mpqlib import experiments
from mpqlib.__main__ import main
from mpqlib.settings import AGENTS, SETTINGS, TRIED, TaskSettings

TASK = "pendulum_swingup"
TINY = ["--task", TASK, "--agent", "mpq", "--seed", "1000", "--episodes", "6", "--test-episodes", "3"]


def command(*arguments, **kwargs):
    return subprocess.Popen([sys.executable, "-m", "mpqlib", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, **kwargs)


def files(out):
    folder = next(Path(out).glob("*/*/seed-*"))
    return {name: (folder / name).read_bytes() for name in ("curve.csv", "q.safetensors", "q-last.safetensors")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert main(["run", *TINY, "--out", str(out), "--checkpoint-every", "1"]) == 0
    return out


def kill_and_resume(out, rng, kills):
    """Start the run, kill it with SIGKILL at a random moment, `kills` times, then let it finish."""
    arguments = ["run", *TINY, "--out", str(out), "--checkpoint-every", "1"]
    killed = 0
    while killed < kills:
        process = command(*arguments)
        checkpoint = out / TASK / "mpq-h8-real" / "seed-1000" / "checkpoint.safetensors"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            time.sleep(0.01)  # let it get further than the last time
        time.sleep(rng.uniform(0, 0.4))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed += 1
    process = command(*arguments)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return killed


def test_killed_and_resumed_is_the_same_byte_for_byte(finished, tmp_path):
    assert kill_and_resume(tmp_path, np.random.default_rng(), kills=2) >= 1
    assert files(tmp_path) == files(finished)


@pytest.mark.full
def test_killed_and_resumed_many_times(finished, tmp_path):
    rng = np.random.default_rng()
    for i in range(10):
        kill_and_resume(tmp_path / str(i), rng, kills=4)
        assert files(tmp_path / str(i)) == files(finished)


def test_results_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch):
    s = SETTINGS[TASK]
    tiny = replace(s, mpq=replace(s.mpq, N=2, T=30, M=2, validation_episodes=2), horizons=(8,), budget={})
    monkeypatch.setitem(SETTINGS, TASK, tiny)
    agents = ("mppi-h8",)
    experiments.sweep(TASK, (0, 1, 2), agents, jobs=1, out=tmp_path / "one")
    experiments.sweep(TASK, (0, 1, 2), agents, jobs=2, out=tmp_path / "two")
    for seed in range(3):
        one, two = (json.loads((tmp_path / n / TASK / "mppi-h8" / f"seed-{seed}" / "run.json").read_text())
                    for n in ("one", "two"))
        assert one["best"] == two["best"]
    assert one["best"]["cost"] != json.loads((tmp_path / "one" / TASK / "mppi-h8/seed-0/run.json").read_text())["best"]["cost"]


def test_run_json_tells_where_a_number_comes_from(finished):
    found = json.loads(next(finished.glob("*/*/seed-*/run.json")).read_text())
    assert {"settings", "seed", "versions", "commit", "machine", "cpu_s", "control_ms"} <= found.keys()
    assert found["settings"]["N"] == 6 and found["settings"]["planner"]["lam"] == SETTINGS[TASK].mpq.planner.lam
    assert len(found["best"]["cost"]) == len(found["last"]["success"]) == 3
    assert {"python", "numpy", "torch"} <= found["versions"].keys()
    assert not list(finished.rglob("checkpoint*")) and not list(finished.rglob("*.part"))
    curve = pd.read_csv(next(finished.glob("*/*/seed-*/curve.csv")))
    assert list(curve.episode) == [0, 5, 6]
    assert curve.minutes.iloc[-1] == pytest.approx(6 * 10 / 60)


def test_a_finished_run_is_not_repeated_and_not_overwritten(finished, capsys):
    path = next(finished.glob("*/*/seed-*/run.json"))
    before = path.stat().st_mtime_ns
    main(["run", *TINY, "--out", str(finished)])
    assert "over 3 test episodes" in capsys.readouterr().out
    assert main(["run", *TINY[:-1], "4", "--out", str(finished)]) == 2
    assert "finished run of other settings" in capsys.readouterr().err
    assert path.stat().st_mtime_ns == before


def test_evaluate_reproduces_the_test_of_a_run(finished, capsys):
    q = next(finished.glob("*/*/seed-*/q.safetensors"))
    stored = json.loads((q.parent / "run.json").read_text())["best"]
    again = experiments.evaluate_file(TASK, q, episodes=3, seed=1000)["best"]
    assert again == stored


@pytest.mark.parametrize("arguments, message", [
    (["run", "--task", "pendulum", "--agent", "mpq", "--seed", "0"], "unknown task 'pendulum'; the tasks are pendulum_swingup"),
    (["run", "--task", TASK, "--agent", "ppo", "--seed", "0"], "unknown agent 'ppo'; the agents are mpq"),
    (["run", "--task", TASK, "--agent", "mpq", "--seed", "-1"], "seed is -1"),
    (["run", "--task", TASK, "--agent", "mppi", "--seed", "0", "--data", "real"], "data is 'real'; mppi takes none"),
    (["run", "--task", TASK, "--agent", "mpq", "--seed", "0", "--data", "sim"], "data is 'sim'"),
    (["run", "--task", TASK, "--agent", "mppi", "--seed", "0", "--horizon", "0"], "horizon is 0; it must be"),
    (["run", "--task", TASK, "--agent", "softq", "--seed", "0", "--horizon", "4"], "softq has horizon 1"),
    (["run", "--task", TASK, "--agent", "mppi_budget", "--seed", "0", "--horizon", "3"], "mppi_budget is given for"),
    (["run", "--task", TASK, "--agent", "mpq", "--seed", "0", "--episodes", "0"], "N is 0"),
    (["run", "--task", TASK, "--agent", "mppi", "--seed", "0", "--test-episodes", "0"], "test_episodes is 0"),
    (["sweep", "--task", "x"], "unknown task 'x'"),
    (["sweep", "--agents", "mpq-h99"], "unknown agents ['mpq-h99']"),
    (["develop", "--seeds", "3"], "development seeds are >= 1000"),
    (["report", "--runs", "nowhere"], "no finished run under nowhere"),
    (["evaluate", "--task", TASK, "--q", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
])
def test_bad_input_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["run", "--task", TASK, "--agent", "mppi", "--seed", "0", "--out", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1


def test_exit_code_of_the_process(tmp_path):
    process = command("run", "--task", "x", "--agent", "mpq", "--seed", "0", "--out", str(tmp_path))
    _, errors = process.communicate()
    assert process.returncode == 2 and "Traceback" not in errors


def test_a_truncated_checkpoint_is_refused_and_left_alone(tmp_path, capsys):
    folder = tmp_path / TASK / "mpq-h8-real" / "seed-1000"
    folder.mkdir(parents=True)
    checkpoint = folder / "checkpoint.safetensors"
    checkpoint.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    other = tmp_path / TASK / "mpq-h8-real" / "seed-0"
    other.mkdir()
    (other / "run.json").write_text("{}")
    assert main(["run", *TINY, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "checkpoint.safetensors is damaged" in error and error.count("\n") == 1
    assert checkpoint.read_bytes() == b"\x10\x00\x00\x00\x00\x00\x00\x00{" and (other / "run.json").read_text() == "{}"


def test_a_damaged_record_is_named_and_left_alone(tmp_path, capsys):
    path = tmp_path / TASK / "mppi-h8" / "seed-1000" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"task": ')
    for arguments in (["run", "--task", TASK, "--agent", "mppi", "--seed", "1000", "--out", str(tmp_path)],
                      ["report", "--runs", str(tmp_path), "--out", str(tmp_path / "report")]):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert f"{path} is damaged" in error and error.count("\n") == 1
    assert path.read_text() == '{"task": '


def test_a_sweep_names_a_damaged_run_and_does_it_again(tmp_path, monkeypatch, capfd):
    """Each kind of damage: the record, a Q function cut short or lost, a checkpoint; the runs beside it are kept."""
    s = SETTINGS[TASK]
    monkeypatch.setitem(SETTINGS, TASK, replace(s, mpq=replace(s.mpq, N=2, validate_every=1)))

    def sweep():
        return experiments.sweep(TASK, (0, 1), ("mpq-h8-real",), test_episodes=2, out=tmp_path)

    def made(folder):
        return {file.name: (file.read_bytes() if file.suffix != ".json" else None) for file in folder.iterdir()}

    whole = sweep()
    damaged, kept = (tmp_path / TASK / "mpq-h8-real" / f"seed-{k}" for k in (0, 1))
    first, time_kept = made(damaged), (kept / "run.json").stat().st_mtime_ns
    capfd.readouterr()
    for file in ("run.json", "q.safetensors", "q-last.safetensors", "checkpoint.safetensors"):
        if file == "checkpoint.safetensors":
            (damaged / "run.json").unlink()
            (damaged / file).write_bytes(b"{")
        else:
            (damaged / file).write_bytes((damaged / file).read_bytes()[:40])
        again = sweep()
        assert f"{damaged / file} is damaged" in capfd.readouterr().err
        assert made(damaged) == first and (kept / "run.json").stat().st_mtime_ns == time_kept
        assert sorted(one["best"]["cost"] for one in again) == sorted(one["best"]["cost"] for one in whole)
    (damaged / "q-last.safetensors").unlink()
    sweep()
    assert "q-last.safetensors is missing" in capfd.readouterr().err and made(damaged) == first


def test_a_sweep_over_all_tasks_takes_the_seeds_that_are_reported(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(experiments, "run", lambda task, agent, seed, horizon, data, **more:
                        done.append((task, experiments.label(agent, horizon, data, more["truth"]), seed)))
    experiments.sweep("all", out=tmp_path)
    for name, settings in SETTINGS.items():
        assert {(a, s) for t, a, s in done if t == name} == {
            (experiments.label(*one), seed) for one in settings.grid() for seed in settings.seeds}
    assert len(done) == len(set(done))
    before = len(done)
    experiments.sweep("ball_in_cup_sparse", agents=("mpq-h8-real",), study=True, out=tmp_path)
    assert done[before:] == [("ball_in_cup_sparse", "mpq-h8-real", seed) for seed in SETTINGS["ball_in_cup_sparse"].study_seeds]


def test_provenance_without_git_is_the_version(monkeypatch):
    here = experiments.provenance.__wrapped__()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True).stdout
    assert here["commit"].removesuffix("-dirty") == head.strip() or (not head and here["commit"].startswith("mpqlib "))
    monkeypatch.setenv("PATH", "")
    assert experiments.provenance.__wrapped__()["commit"].startswith("mpqlib ")


def test_a_checkpoint_of_other_settings_is_refused(tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "_finish", stop)
    with pytest.raises(KeyboardInterrupt):
        experiments.run(TASK, "mpq", 1000, episodes=1, test_episodes=1, out=tmp_path, progress=False)
    monkeypatch.undo()
    assert main(["run", "--task", TASK, "--agent", "mpq", "--seed", "1000", "--episodes", "2", "--out", str(tmp_path)]) == 2
    assert "belongs to a run of other settings" in capsys.readouterr().err


def test_every_agent_has_settings_and_a_place_in_the_grid():
    for name, settings in SETTINGS.items():
        assert isinstance(settings, TaskSettings)
        grid = settings.grid()
        assert {"mppi", "mppi_true"} <= {agent for agent, _, _ in grid} <= set(AGENTS)
        assert len(set(grid)) == len(grid)
        for agent, horizon, _ in grid:
            settings.agent(agent, horizon)


def test_agents_without_settings_and_tasks_without_trials_are_named(monkeypatch):
    with pytest.raises(ValueError, match="mpq has no settings on this task yet; there are mppi, mppi_true"):
        replace(SETTINGS[TASK], mpq=None, softq=None, softq_budget=None).agent("mpq")
    with pytest.raises(ValueError, match="unknown agent 'sac'"):
        SETTINGS[TASK].agent("sac")
    with pytest.raises(ValueError, match="there are no trials for ball_in_cup_sparse; there are for pendulum_swingup"):
        monkeypatch.delitem(TRIED, "ball_in_cup_sparse", raising=False)
        experiments.develop("ball_in_cup_sparse")
    with pytest.raises(ValueError, match="there are no trials of mppi_budget on pendulum_swingup; there are of mppi"):
        experiments.develop(agents=("mppi_budget",))


def test_trials_are_kept_and_a_damaged_table_is_named(tmp_path, monkeypatch):
    tried = {TASK: {"mppi": {"horizon": (2, 3)}, "mpq": [{"N": 2, "validate_every": 1, "lam": 0.3}]}}
    monkeypatch.setattr(experiments, "TRIED", tried)
    monkeypatch.setattr(experiments, "DEVELOPMENT_SEEDS", {TASK: (1000,)})
    out = tmp_path / "development.csv"
    whole = experiments.develop(TASK, out=out)
    assert len(whole) == 3 and set(whole.agent) == {"mppi", "mpq"} and whole.cost.notna().all()
    whole.iloc[1:].to_csv(out, index=False)
    before = whole.iloc[1:].cpu_s.tolist()
    again = experiments.develop(TASK, out=out)
    assert again.cost.tolist() == whole.cost.tolist() and again.iloc[1:].cpu_s.tolist() == before
    out.write_bytes(b"")
    with pytest.raises(ValueError, match="development.csv is damaged"):
        experiments.develop(TASK, out=out)


def test_a_horizon_may_have_settings_of_its_own():
    settings = replace(SETTINGS[TASK], tuned={("mppi", 16): {"sigma": 3.0}})
    assert settings.agent("mppi", 16) == replace(SETTINGS[TASK].agent("mppi", 16), sigma=3.0)
    assert settings.agent("mppi", 32) == SETTINGS[TASK].agent("mppi", 32)


def test_changes_reach_the_planner():
    frozen = SETTINGS[TASK].mpq
    changed = experiments.changed(frozen, {"lam": 0.3, "M": 7})
    assert changed.planner.lam == 0.3 and changed.M == 7 and changed.planner.horizon == frozen.planner.horizon


def test_frozen_settings_are_the_best_of_what_was_tried():
    """By the rule in mpqlib.settings: lowest mean cost over the development seeds, within 1 %."""
    table = pd.read_csv(experiments.data_dir() / "report" / "development.csv")
    assert table.seed.min() >= 1000
    for task in TRIED:
        settings = SETTINGS[task]
        for agent, tried in TRIED[task].items():
            means = table[(table.task == task) & (table.agent == agent)].groupby("changes").cost.mean()
            assert set(means.index) == {json.dumps(changes) for changes in experiments.trials(tried)}, (task, agent)
            if not isinstance(tried, dict):  # a list decides nothing
                continue
            horizons = {json.loads(changes).get("horizon") for changes in means.index}
            if agent == "mppi" and task == TASK:  # reported at each horizon, with the settings that are best at its best one
                horizons = {json.loads(means.idxmin())["horizon"]}
            elif task == TASK:
                horizons = {None}
            for horizon in horizons:
                frozen = settings.agent(agent, horizon)
                here = {changes: mean for changes, mean in means.items() if horizon in (None, json.loads(changes).get("horizon"))}
                chosen = [changes for changes in here if experiments.changed(frozen, json.loads(changes)) == frozen]
                assert here[chosen[0]] <= 1.01 * min(here.values()), (task, agent, horizon, chosen, min(here, key=here.get))
    settings, softq = SETTINGS[TASK], table[(table.agent == "softq") & (table.task == TASK)]
    budget = softq[softq.M == settings.mpq.M].groupby("target_network_rate").cost.mean()
    assert budget.idxmin() == settings.softq_budget.target_network_rate
    assert settings.softq_budget.M == settings.mpq.M


def test_the_truth_can_be_moved(tmp_path):
    """A planner's run at another truth is another run; what is learnt in simulation is learnt once."""
    there = experiments.run(TASK, "mppi", 1000, 16, test_episodes=4, out=tmp_path, truth=2.0)
    here = experiments.run(TASK, "mppi", 1000, 16, test_episodes=4, out=tmp_path)
    assert there["truth"] == 2.0 and there["best"]["cost"] != here["best"]["cost"]
    moved = experiments.run(TASK, "mpq", 1000, data="dr", episodes=2, test_episodes=2, out=tmp_path, truth=2.0, progress=False)
    trained = tmp_path / TASK / "mpq-h8-dr" / "seed-1000"
    assert (trained / "q.safetensors").exists() and not (trained.parent.parent / "mpq-h8-dr-truth2" / "seed-1000" / "q.safetensors").exists()
    task = experiments.tasks.make(TASK).moved(2.0)
    again = experiments._test(task, experiments.load_planner(task, trained / "q.safetensors"), 1000, 2)
    assert moved["best"] == again and moved["cpu_s"]["train"] == 0
    assert experiments.run(TASK, "mppi", 1000, 16, test_episodes=4, out=tmp_path, truth=2.0) == there
    assert experiments.label("mppi", 16, "none", 0.5) == "mppi-h16-truth0.5"


def test_studies_are_runs_that_are_not_in_the_grid():
    for settings in SETTINGS.values():
        studies = settings.studies()
        assert len(set(studies)) == len(studies)
        assert not {one[:3] for one in studies if one[3] == 1} & set(settings.grid())


@pytest.mark.parametrize("options, said", [
    (["--backend", "slurm"], "backend is 'slurm'; it must be loky or dask"),
    (["--backend", "dask"], "address is ''; with the backend dask it must be that of a scheduler")])
def test_a_backend_that_cannot_work_is_refused(options, said, tmp_path, capsys):
    assert main(["sweep", "--agents", "mppi-h16", "--out", str(tmp_path), *options]) == 2
    assert said in capsys.readouterr().err


def test_a_sweep_on_a_cluster_loses_nothing_when_a_worker_dies(tmp_path):
    """dask's scheduler and two workers in processes of their own; the one that works is killed."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "0"}

    def start(*arguments):
        return subprocess.Popen([sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]], env=environment,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)

    file = tmp_path / "scheduler.json"
    scheduler = start("dask_scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
    workers = [start("dask_worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(2)]
    sweeps = None
    try:
        deadline = time.time() + 300
        while not file.exists() or not file.read_text().strip():
            assert time.time() < deadline
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        agents = ["mppi-h16", "mppi-h24"]
        out = tmp_path / "runs"
        sweeps = command("sweep", "--agents", *agents, "--seeds", "1000", "1001", "1002", "--test-episodes", "60", "--out", str(out),
                         "--backend", "dask", "--address", address)
        while not list(out.glob("*/*/*/run.json")):
            assert sweeps.poll() is None and time.time() < deadline, sweeps.communicate()
            time.sleep(0.02)
        workers[0].kill()
        _, errors = sweeps.communicate(timeout=300)
        assert sweeps.returncode == 0, errors
        finished = sorted(out.glob("*/*/*/run.json"))
        assert len(finished) == 6 and not list(out.rglob("*.part"))
        alone = experiments.run(TASK, "mppi", 1001, 24, test_episodes=60, out=tmp_path / "alone")
        assert json.loads((out / TASK / "mppi-h24" / "seed-1001" / "run.json").read_text())["best"] == alone["best"]
    finally:
        for process in (scheduler, *workers, *filter(None, [sweeps])):
            process.kill()
