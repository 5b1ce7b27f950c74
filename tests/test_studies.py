from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mpqlib import data_dir, studies, tasks
from mpqlib.__main__ import main
from mpqlib.experiments import load_planner
from mpqlib.mpq import MPQ, evaluate
from mpqlib.qfunction import read_tensors

TASK = "pendulum_swingup"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(studies, "TEMPERATURES", (1.0,))


def test_a_grid_has_each_cell_once_and_continues(small, tmp_path):
    options = dict(task=TASK, episodes=2, runs=data_dir() / "runs", out=tmp_path)
    whole = studies.grid(**options)
    path = tmp_path / f"grid_{TASK}.csv"
    written = pd.read_csv(path)
    assert list(written.columns) == studies.COLUMNS and len(written) == len(whole)
    assert not written.duplicated(["agent", "lam", "horizon", "size"]).any() and (written.cpu_s > 0).all()
    assert {"mpq", "mppi"} == set(written.agent) and {0.0, 1.0} < set(written["size"])

    stored = data_dir() / "runs" / TASK / "mpq-h8-real" / "seed-0" / "q.safetensors"
    task, rng = tasks.make(TASK).moved(2.0), np.random.default_rng([0, 2])
    planner = load_planner(task, stored)
    tested = evaluate(task, planner, task.true_system(), task.reset(2, rng), rng)
    cell = written[(written.agent == "mpq") & (written.horizon == planner.settings.horizon) & (written["size"] == 2.0)]
    assert cell.cost.item() == pytest.approx(tested["cost"].mean(), abs=1e-3)

    written.iloc[:-3].to_csv(path, index=False)
    studies.grid(**options)
    pd.testing.assert_frame_equal(pd.read_csv(path).drop(columns="cpu_s"), written.drop(columns="cpu_s"))


def test_what_is_missing_is_named(tmp_path, capsys):
    assert main(["grid", "--runs", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "q.safetensors does not exist; `python -m mpqlib sweep --task pendulum_swingup` makes it" in capsys.readouterr().err
    assert main(["grid", "--episodes", "0"]) == 2
    assert "episodes is 0; it must be >= 1" in capsys.readouterr().err


def test_the_landscape_keeps_q_along_one_training(tmp_path, monkeypatch):
    frozen = studies.task_settings(TASK)
    short = replace(frozen, mpq=replace(frozen.mpq, T=20, M=2, validation_episodes=1))
    monkeypatch.setattr(studies, "task_settings", lambda task: short)
    kept = studies.landscape(episodes=(0, 1, 2), out=tmp_path)
    assert list(kept.episode) == [0, 1, 2]
    task = tasks.make(TASK)
    weights = []
    for episode in (0, 1, 2):
        tensors, header = read_tensors(tmp_path / f"landscape-{episode}.safetensors")
        assert header["episode"] == episode and header["seed"] == 1000 and header["commit"] and header["settings"]["T"] == 20
        weights.append(tensors["0.weight"])
    learner = MPQ(task, replace(short.mpq, N=2), task.simulator(), task.true_system(), 1000)
    np.testing.assert_array_equal(weights[0], learner.q.tensors()["0.weight"])
    learner.train()
    np.testing.assert_array_equal(weights[2], learner.q.tensors()["0.weight"])
    assert not np.array_equal(weights[0], weights[1])
    with pytest.raises(ValueError, match="61.*0 to 60"):
        studies.landscape(episodes=(0, 61), out=tmp_path)
