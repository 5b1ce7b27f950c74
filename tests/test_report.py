import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mpqlib import data_dir, experiments
from mpqlib import report as reports
from mpqlib.report import RESULT_COLUMNS, SEEDS, claims, collect, figure1, judge, report, table1, together
from mpqlib.settings import SETTINGS

BALL = "ball_in_cup_sparse"
RNG = np.random.default_rng(7)


@pytest.fixture
def runs(tmp_path):
    """One short finished run of MPQ on the pendulum."""
    experiments.run("pendulum_swingup", "mpq", 1000, episodes=2, test_episodes=3, out=tmp_path / "runs", progress=False)
    return tmp_path / "runs"


def test_report_collects_frozen_runs_only(runs, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="other settings than the frozen ones"):
        report(runs, tmp_path / "report")
    assert not (tmp_path / "report").exists()
    s = SETTINGS["pendulum_swingup"]
    monkeypatch.setitem(SETTINGS, "pendulum_swingup", replace(s, mpq=replace(s.mpq, N=2)))
    results = report(runs, tmp_path / "report")
    assert list(results.columns) == RESULT_COLUMNS
    stored = pd.read_csv(tmp_path / "report" / "results.csv").iloc[0]
    run = json.loads(next(runs.glob("*/*/seed-*/run.json")).read_text())
    assert stored.cost_mean == pytest.approx(np.mean(run["best"]["cost"]), abs=1e-3)
    assert stored.train_cpu_s == pytest.approx(run["cpu_s"]["train"], abs=1e-3)
    assert (stored.agent, stored.horizon, stored.data, stored.seed) == ("mpq", 8, "real", 1000)
    assert json.loads((tmp_path / "report" / "claims.json").read_text()) == []  # of one seed nothing is said


def test_stored_results_are_the_report_of_the_stored_runs(tmp_path):
    """data/report is regenerated from data/runs, number by number."""
    report(data_dir() / "runs", tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_text() == (data_dir() / "report" / path.name).read_text(), path.name


@pytest.mark.parametrize("values, limit, above, verdict", [
    ([0.9, 0.92, 0.91], 0.5, True, "reproduced"), ([0.9, 0.92, 0.91], 0.5, False, "not reproduced"),
    ([0.2, 0.8, 0.5], 0.5, True, "partly"), ([0.2, 0.8, 0.5], 0.5, False, "partly"),
    ([1.0, 1.0, 1.0], 1.0, True, "reproduced"), ([1.0, 1.0, 1.0], 1.0, False, "reproduced")])
def test_judge(values, limit, above, verdict):
    ours, (low, high), found = judge(values, limit, above)
    assert low <= ours <= high and found == verdict


def test_parts_must_agree():
    assert together(["reproduced"] * 2) == "reproduced" and together(["not reproduced"]) == "not reproduced"
    assert together(["reproduced", "not reproduced"]) == together(["partly", "reproduced"]) == "partly"


def row(agent, horizon, data, seed, success, cost, ms=1.0, last=None):
    values = {"task": BALL, "agent": agent, "horizon": horizon, "data": data, "seed": seed, "test_episodes": 100,
              "success_mean": success, "cost_mean": cost, "control_ms": ms, "train_cpu_s": 600.0,
              "success_last": success if last is None else last, "cost_last": cost}
    return {column: values.get(column, 0) for column in RESULT_COLUMNS}


def world(real=0.9, dr=0.25, soft=0.1, seeds=4):
    """Results and curves of the ball in which the paper is right, up to the rates given."""
    rows, curves = [], []
    for seed in range(seeds):
        noise = 0.02 * RNG.uniform(-1, 1)
        rows += [row("mpq", 4, "real", seed, real + noise, 30, 2.0), row("mpq", 4, "dr", seed, dr + noise, 80),
                 row("mpq", 1, "real", seed, 0.1, 140), row("mpq", 1, "dr", seed, 0.9, 140),
                 row("softq", 1, "real", seed, soft + noise, 130), row("mppi", 4, "none", seed, 0.05, 140),
                 row("mppi", 32, "none", seed, 0.4, 95, 8.0), row("mppi_true", 32, "none", seed, 0.6, 60, 8.0)]
        for agent, horizon, costs in (("mpq", 4, [140, 60, 30]), ("softq", 1, [145, 140, 130])):
            for episode, cost in zip((0, 25, 350), costs):
                curves.append({"task": BALL, "agent": agent, "horizon": horizon, "data": "real", "seed": seed, "episode": episode,
                               "minutes": episode * 0.05, "test_cost": cost + noise, "test_success": 1 - cost / 150})
    return pd.DataFrame(rows), pd.DataFrame(curves)


def verdicts(*tables):
    return {line.id: line.verdict for line in claims(*tables)}


def test_where_the_paper_is_right_its_claims_are_reproduced():
    found = verdicts(*world())
    assert found.pop(f"table1-{BALL}-h1-dr") == "not reproduced"  # 0.9 against 0.06
    assert found.pop(f"table1-{BALL}-h4-dr") == "partly"  # 0.25 against 0.41: not one rate, but near
    assert len(found) > 12 and set(found.values()) == {"reproduced"}


@pytest.mark.parametrize("changes, lost", [
    (dict(dr=0.5), {f"Q1-{BALL}", "Q1"}), (dict(soft=0.8), {f"O3-fails-{BALL}"}), (dict(real=0.4), {f"Q1-{BALL}", "Q1"})])
def test_where_a_claim_is_wrong_it_is_not_reproduced(changes, lost):
    found = verdicts(*world(**changes))
    assert {name for name in found if found[name] == "not reproduced"} - {f"table1-{BALL}-h1-dr"} >= lost
    assert found.get("O1") == "reproduced"


def test_a_cost_in_the_wrong_order_turns_its_claims():
    results, curves = world()
    results.loc[results.agent == "mpq", "cost_mean"] = 120.0
    curves.loc[curves.agent == "mpq", "test_cost"] = 149.0
    found = verdicts(results, curves)
    assert {name for name, verdict in found.items() if verdict == "not reproduced"} >= {
        f"O1-same-{BALL}", f"O1-long-{BALL}", f"O2-{BALL}", "O2", f"O3-sooner-{BALL}"}
    assert found["O1"] == "partly"  # a step still takes less time
    assert found[f"figure1-{BALL}"] == "partly"  # SoftQLearning still fails


def test_too_few_seeds_say_nothing():
    assert claims(*world(seeds=SEEDS - 1)) == []


def test_table1_has_the_papers_numbers_beside_ours():
    table = table1(world()[0])
    assert list(table.columns) == ["task", "agent", "horizon", "data", "seeds", "test_episodes", "success_mean", "ci_low", "ci_high", "paper"]
    first = table.iloc[0]
    assert (first.horizon, first.data, first.seeds, first.paper) == (4, "real", 4, 0.85)
    assert first.ci_low < first.success_mean < first.ci_high <= 1
    assert table1(world(seeds=1)[0]).ci_low.isna().all()


def test_figure1_has_the_level_of_planners_at_episode_0():
    table = figure1(*world())
    assert set(table[table.agent.str.startswith("mppi")].episode) == {0}
    assert set(table[table.agent == "mpq"].episode) == {0, 25, 350} and "dr" not in set(table.data)
    assert table.cost.notna().all()


def test_the_studies_have_their_tables(tmp_path):
    """From real runs: a planner at two horizons and two places of the truth."""
    for truth in (1.0, 2.0):
        experiments.run("pendulum_swingup", "mppi", 1000, 16, test_episodes=2, out=tmp_path / "runs", truth=truth)
    experiments.run("pendulum_swingup", "mppi", 1000, 24, test_episodes=2, out=tmp_path / "runs")
    report(tmp_path / "runs", tmp_path / "report")
    bias = pd.read_csv(tmp_path / "report" / "bias_curve.csv")
    assert list(bias.columns) == ["task", "size", "agent", "horizon", "data", "seed", "success", "cost", "success_last", "cost_last"]
    assert list(bias["size"]) == [1, 2] and set(bias.horizon) == {16} and bias.cost.nunique() == 2
    assert (bias.cost_last == bias.cost).all()  # of a planner
    table = pd.read_csv(tmp_path / "report" / "horizon.csv")
    assert list(table.horizon) == [16, 24] and (table.minutes == 0).all() and (table.control_ms > 0).all()
    assert len(pd.read_csv(tmp_path / "report" / "results.csv")) == 2  # at the task's own truth


def test_what_only_the_study_has_is_not_reported(tmp_path):
    for horizon in (16, 4):
        experiments.run("pendulum_swingup", "mppi", 1000, horizon, test_episodes=2, out=tmp_path / "runs")
    report(tmp_path / "runs", tmp_path / "report")
    for name, horizons in (("figure1", {16}), ("results", {16}), ("results_study", {4}), ("horizon", {4, 16})):
        assert set(pd.read_csv(tmp_path / "report" / f"{name}.csv").horizon) == horizons, name
    assert set(reports.StoredRuns("pendulum_swingup", tmp_path).results.label) == {"mppi-h16"}
    runs = reports.StoredRuns("pendulum_swingup", tmp_path, studies=True)
    assert set(runs.results.label) == {"mppi-h16", "mppi-h4"} <= set(runs.names)


def test_each_claim_has_one_id_and_a_known_verdict():
    stored = json.loads((data_dir() / "report" / "claims.json").read_text())
    whole = next(one for one in stored if one["id"] == "O1")
    assert set(reports.OBSERVED["O1"]) <= set(whole["evidence"].replace(",", "").split()) & {one["id"] for one in stored}
    ids = [line["id"] for line in stored]
    assert len(set(ids)) == len(ids) and {line["verdict"] for line in stored} <= set(reports.VERDICTS)
    everything, curves = collect(data_dir() / "runs")
    assert len(claims(everything[everything.truth == 1], curves)) == len(stored)


def test_stored_runs_read_what_the_tables_hold():
    runs = reports.StoredRuns("pendulum_swingup")
    name = "mpq-h8-real"
    records = runs.records(name)
    assert [record["seed"] for record in records] == list(runs.seeds(name, "cost_mean").index)
    assert np.allclose([np.mean(record["best"]["cost"]) for record in records], runs.seeds(name, "cost_mean"), atol=1e-3)
    assert np.allclose(runs.along(name, "test_success").iloc[-1], runs.seeds(name, "success_last"))
    tested = runs.test(runs.planner(name, 1), 3, seed=1)
    starts = runs.task.reset(100, np.random.default_rng([1, 1]))[:3]
    assert np.array_equal(tested["states"][:, 0], starts) and tested["cost"].shape == (3,)
    curve, reached = runs.along(name, "test_success"), runs.reached(name, 0.95)
    for seed, episode in reached.items():
        assert curve.loc[episode, seed] >= 0.95 and (curve.loc[:episode - 1, seed] < 0.95).all()
    assert runs.reached(name, 1.01).isna().all()
    table = runs.table("last", [name, "mpq-h8-dr"])
    assert len(table) == 2 and table.cost[runs.names[name]].startswith(f"{runs.seeds(name, 'cost_last').mean():.1f} (")
    assert reports.estimate([1.0, 1.0]) == "1 (1 to 1)" and reports.estimate([-0.5], 1) == "-0.5"
    assert runs.planner(name, 1, "last").terminal_q is not None


def test_stored_runs_of_an_unknown_task():
    with pytest.raises(ValueError, match="unknown task 'x'"):
        reports.StoredRuns("x")
