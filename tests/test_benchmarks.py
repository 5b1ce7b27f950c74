import itertools
import json
import sys
from dataclasses import replace

import numpy as np
import pandas as pd

from mpqlib import benchmarks, data_dir, tasks
from mpqlib.__main__ import main
from mpqlib.experiments import label
from mpqlib.report import StoredRuns
from mpqlib.settings import SETTINGS


def test_bench_writes_its_rows(tmp_path, monkeypatch):
    """Making pytorch_mppi's step asserts that both find the same costs of the same actions."""
    monkeypatch.setattr(benchmarks, "PENDULUM_SIZES", ((24, 32),))
    monkeypatch.setattr(benchmarks, "MUJOCO_TASKS", ("ball_in_cup_sparse",))
    monkeypatch.setattr(benchmarks, "SIZES", ((24, 4),))
    monkeypatch.setattr(benchmarks, "SCALING", ((32, 4, 2),))
    settings = SETTINGS["ball_in_cup_sparse"]
    monkeypatch.setitem(SETTINGS, "ball_in_cup_sparse", replace(settings, mpq=replace(settings.mpq, M=2, T=20, epochs=1)))
    result = benchmarks.bench(tmp_path / "planner.json", rounds=3, judo=False)
    rows = json.loads((tmp_path / "planner.json").read_text())["rows"]
    assert rows == result["rows"]
    assert [row["peer"] for row in rows] == ["pytorch_mppi", "raw rollout", "raw rollout", "raw rollout", "one model", "naive port"]
    for row in rows:
        assert set(row) == {"name", "task", "N", "H", "threads", "ours_ms", "peer", "peer_ms", "ratio"}
        assert row["ours_ms"] > 0 and row["peer_ms"] > 0
    faster = {row["peer"]: row["ratio"] for row in rows}
    assert faster["pytorch_mppi"] > 1 and faster["naive port"] > 1
    (memory,) = result["memory"]
    assert memory["worlds"] == 256 and 0 < memory["worlds_mb"] < memory["planner_mb"] < 300


def test_raw_rollouts_are_those_of_the_plan():
    """The benchmark replays what the planner asked for: the same arrays give the same states."""
    task = tasks.make("ball_in_cup_sparse")
    planner = benchmarks._planner(task, 24, 4)
    loop = benchmarks._control_loop(planner, task)
    calls = benchmarks._recorded(loop, planner.simulate)
    assert len(calls) == benchmarks.STEPS
    pool, (models, data, start, controls), keywords = calls[3]
    assert pool is planner.simulate._pool
    assert len(models) == 24 and len(set(map(id, models))) > 12 and controls.shape == (24, 3 * 2, 2)
    first = planner.simulate._pool.rollout(models, data, start, controls, **keywords)[0].copy()
    again = benchmarks._recorded(loop, planner.simulate)[3]
    np.testing.assert_array_equal(again[1][3], controls)
    np.testing.assert_array_equal(pool.rollout(*again[1], **again[2])[0], first)
    assert "_pool" not in again[2] and "_rollout" not in again[2]


def test_bench_without_the_peer_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pytorch_mppi", None)
    assert main(["bench", "--out", str(tmp_path / "planner.json")]) == 2
    assert "pytorch_mppi is not installed" in capsys.readouterr().err


def test_control_steps_of_stored_agents_are_timed_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "MUJOCO_TASKS", ("ball_in_cup_sparse",))
    table = benchmarks.control_steps(tmp_path / "steps.csv", rounds=1)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "steps.csv"), table, check_dtype=False)
    agents = table.set_index(["agent", "horizon", "data"]).control_ms
    assert agents.index.is_unique and (agents > 0).all() and table.commit.notna().all() and table.processor.notna().all()
    assert agents["mppi", 32, "none"] > 2 * agents["mppi", 4, "none"] and agents["mpq", 4, "real"] > 2 * agents["mpq", 1, "real"]
    assert main(["control-steps", "--rounds", "0"]) == 2


def test_neither_a_change_of_speed_nor_one_hiccup_changes_the_ratios_of_times(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks, "MUJOCO_TASKS", ("ball_in_cup_sparse",))
    agents, calls = StoredRuns("ball_in_cup_sparse", studies=True).results.label.nunique(), itertools.count()

    def staged(task, planner, steps):
        turn, agent = divmod(next(calls), agents)
        hiccup = 3 if (turn, agent) == (1, 0) else 1
        return (1 + agent) * 2.0**turn * hiccup  # each turn on a machine half as fast

    monkeypatch.setattr(StoredRuns, "planner", lambda runs, one: None)  # nothing is planned
    monkeypatch.setattr(benchmarks, "control_ms", staged)
    times = benchmarks.control_steps(tmp_path / "steps.csv", rounds=3).control_ms
    np.testing.assert_allclose(times / times[1] * 2, 1 + np.arange(agents), rtol=1e-3)


def test_the_book_has_the_time_of_each_stored_agent():
    timed = pd.read_csv(data_dir() / "benchmarks" / "control_steps.csv")
    assert timed.processor.nunique() == timed.commit.nunique() == 1
    for task in benchmarks.MUJOCO_TASKS:
        runs, there = StoredRuns(task, studies=True), timed[timed.task == task]
        assert len(there) == runs.results.label.nunique() == len(runs.control_ms), "make bench"
        for row in there.itertuples():
            assert runs.control_ms[label(row.agent, row.horizon, row.data)] == row.control_ms
    pendulum = StoredRuns("pendulum_swingup")  # all from one machine
    assert pendulum.control_ms["mpq-h8-real"] == pendulum.seeds("mpq-h8-real", "control_ms").median()
