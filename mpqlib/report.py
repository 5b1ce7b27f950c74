"""The report: the numbers of every table and figure, and a verdict on every claim of the paper, from the stored runs.

The rules of the verdicts stand here as code.  They were written before MPQ's runs on the three MuJoCo tasks, and after
the pendulum's, which chapter 9 had judged by rules of its own (chapter 15).
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from mpqlib import data_dir
from mpqlib.experiments import label, load_planner, read_record, same_settings, task_settings, vanilla_planner
from mpqlib.mpq import evaluate
from mpqlib.plots import agent_name, interval
from mpqlib.settings import SETTINGS
from mpqlib.tasks import make

KEYS = ["task", "agent", "horizon", "data"]
RESULT_COLUMNS = [*KEYS, "seed", "train_episodes", "test_episodes", "success_mean", "cost_mean", "control_ms", "cpu_s",
                  "commit", "success_last", "cost_last", "samples", "iterations", "train_cpu_s"]

# Success rates of the paper's Table 1: (task, horizon, data) -> rate, over 100 test episodes.
PAPER_TABLE1 = {("ball_in_cup_sparse", 4, "real"): 0.85, ("ball_in_cup_sparse", 4, "dr"): 0.41,
                ("ball_in_cup_sparse", 1, "real"): 0.09, ("ball_in_cup_sparse", 1, "dr"): 0.06,
                ("franka_drawer_open", 10, "real"): 0.53, ("franka_drawer_open", 10, "dr"): 0.17,
                ("franka_drawer_open", 1, "real"): 0.0, ("franka_drawer_open", 1, "dr"): 0.0}


def report(runs: Path = Path("data/runs"), out: Path = Path("data/report")) -> pd.DataFrame:
    """Collect all finished runs of the frozen settings into the tables of the book.

    Args:
        runs: folder of all runs.
        out: folder of the tables: results.csv (a row per run), curves.csv (a row per run that learns and validation),
            results_study.csv and curves_study.csv (the same of what only the study of the horizon has),
            figure1.csv, table1.csv, horizon.csv, bias_curve.csv and claims.json.

    Returns:
        The tables written to results.csv and results_study.csv: one row per task, agent, horizon, data and seed.
        success_mean and cost_mean are of the best parameters on validation, *_last of the last.

    Raises:
        ValueError: if there is no finished run, or a run's record can't be read.
    """
    everything, curves = collect(Path(runs))
    results = everything[everything.truth == 1].drop(columns="truth").reset_index(drop=True)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    of_the_book = {}
    for name, table in (("results", results), ("curves", curves)):
        there = reported(table)
        of_the_book[name] = table[there]
        table[there].to_csv(out / f"{name}.csv", index=False)
        table[~there].to_csv(out / f"{name}_study.csv", index=False)
    figure1(**of_the_book).to_csv(out / "figure1.csv", index=False)
    table1(results).to_csv(out / "table1.csv", index=False)
    horizon(results).to_csv(out / "horizon.csv", index=False)
    bias_curve(everything).to_csv(out / "bias_curve.csv", index=False)
    (out / "claims.json").write_text(json.dumps([asdict(verdict) for verdict in claims(results, curves)], indent=1) + "\n")
    return results


def collect(runs: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables results, with a column `truth`, and curves, of truth 1, of all finished runs; see `report`."""
    rows, curves = [], []
    for path in sorted(runs.glob("*/*/seed-*/run.json")):
        found = read_record(path)
        if not same_settings(found, task_settings(found["task"]).agent(found["agent"], found["horizon"])):
            raise ValueError(f"{path} was run with other settings than the frozen ones; remove it and run again")
        planner = found["settings"].get("planner", found["settings"])
        best, last, cpu = found["best"], found["last"], found["cpu_s"]
        rows.append([found["task"], found["agent"], found["horizon"], found["data"], found["seed"],
                     found["train_episodes"], len(best["cost"]), np.mean(best["success"]), np.mean(best["cost"]),
                     found["control_ms"], sum(cpu.values()), found["commit"], np.mean(last["success"]),
                     np.mean(last["cost"]), planner["samples"], planner["iterations"], cpu.get("train", 0.0), found.get("truth", 1.0)])
        if rows[-1][-1] == 1 and (path.parent / "curve.csv").exists():
            curve = pd.read_csv(path.parent / "curve.csv")
            curves.append(curve.assign(**{key: found[key] for key in (*KEYS, "seed")}))
    if not rows:
        raise ValueError(f"no finished run under {runs}; `python -m mpqlib sweep` makes them")
    results = pd.DataFrame(rows, columns=[*RESULT_COLUMNS, "truth"]).sort_values([*KEYS, "truth", "seed"], ignore_index=True).round(4)
    if not curves:
        return results, pd.DataFrame(columns=[*KEYS, "seed", "episode", "minutes", "test_cost", "test_success"])
    table = pd.concat(curves)[[*KEYS, "seed", *curves[0].columns[:7]]]
    return results, table.sort_values([*KEYS, "seed", "episode"], ignore_index=True)


def reported(table) -> np.ndarray:
    """Which rows are of agents that the book reports; the others only the study of the horizon has."""
    grid = {(task, *one) for task, settings in SETTINGS.items() for one in settings.grid()}
    return np.array([key in grid for key in zip(*(table[column] for column in KEYS))], bool)


class StoredRuns:
    """The stored runs and results of one task, as the chapters read them.

    Args:
        task: such as ball_in_cup_sparse.
        data: folder with runs/ and report/; None for the book's own.
        studies: with the runs of the study of the horizon.

    Attributes:
        task, settings: the task and its frozen settings.
        results, curves: its rows of results.csv and curves.csv, with the agent's label, such as mpq-h4-real.
        control_ms: label -> CPU milliseconds of a control step, from control_steps.csv, where all agents of a task
            with MuJoCo were timed side by side; where that has none, the median of the runs.
        names: label -> name in figures, of all agents that the book reports on the task, or that the study has.
    """

    def __init__(self, task: str, data: Path | None = None, studies: bool = False):
        self.folder = Path(data or data_dir())
        self.task, self.settings = make(task), task_settings(task)
        parts = ("", "_study") if studies else ("",)
        self.results, self.curves = (
            pd.concat([pd.read_csv(self.folder / "report" / f"{name}{part}.csv") for part in parts]).query(f"task == {task!r}")
            .reset_index(drop=True) for name in ("results", "curves"))
        timed = self.folder / "benchmarks" / "control_steps.csv"
        timed = pd.read_csv(timed).query(f"task == {task!r}") if timed.exists() else self.results[:0].copy()
        for table in (self.results, self.curves, timed):
            table["label"] = [label(*row) for row in zip(table.agent, table.horizon, table.data)]
        self.control_ms = timed.set_index("label").control_ms.combine_first(self.results.groupby("label").control_ms.median())
        keys = [*self.settings.grid(), *(one[:3] for one in self.settings.studies() if studies and one[3] == 1)]
        self.names = {label(*key): agent_name(*key) for key in keys}

    def seeds(self, name: str, column: str) -> pd.Series:
        """A column of results.csv, one value per seed of an agent."""
        return self.results[self.results.label == name].set_index("seed")[column].sort_index()

    def along(self, name: str, column: str) -> pd.DataFrame:
        """A column of curves.csv of an agent: a row per validation (its episode), a column per seed."""
        return self.curves[self.curves.label == name].pivot(index="episode", columns="seed", values=column)

    def reached(self, name: str, success: float) -> pd.Series:
        """Episode of each seed's first test with at least that success rate; NaN where there is none."""
        good = self.along(name, "test_success") >= success
        return good.idxmax().where(good.any())

    def records(self, name: str) -> list[dict]:
        """The content of run.json of each seed of an agent, in the order of seeds."""
        found = map(read_record, (self.folder / "runs" / self.task.name / name).glob("seed-*/run.json"))
        return sorted(found, key=lambda record: record["seed"])

    def planner(self, name: str, seed: int = 0, which: str = "best"):
        """The planner of an agent; of one that learnt with a run's Q function, the best on validation or the last."""
        agent, horizon, data = self.results[self.results.label == name][["agent", "horizon", "data"]].iloc[0]
        if data == "none":
            return vanilla_planner(self.task, agent, self.settings.agent(agent, int(horizon)))
        file = {"best": "q.safetensors", "last": "q-last.safetensors"}[which]
        return load_planner(self.task, self.folder / "runs" / self.task.name / name / f"seed-{seed}" / file)

    def test(self, planner, episodes: int, seed: int = 0, system=None) -> dict:
        """`mpqlib.mpq.evaluate` on the first of the stored runs' test episodes of a seed, on the true system or another."""
        rng = np.random.default_rng([seed, 1])
        return evaluate(self.task, planner, system or self.task.true_system(), self.task.reset(100, rng)[:episodes], rng)

    def table(self, which: str = "best", names=None) -> pd.DataFrame:
        """Final success and cost, mean over seeds and 95 % interval, in the order of cost.

        Args:
            which: best or last parameters.
            names: labels; None for all that were run.
        """
        success, cost = {"best": ("success_mean", "cost_mean"), "last": ("success_last", "cost_last")}[which]
        there = list(self.results.label.unique()) if names is None else names
        rows = {self.names.get(name, name): {
            "success, %": estimate(100 * self.seeds(name, success), 1, (0, 100)), "cost": estimate(self.seeds(name, cost), 1),
            "ms per step": f"{self.control_ms[name]:.2f}", "seeds": len(self.seeds(name, cost))}
            for name in sorted(there, key=lambda name: self.seeds(name, cost).mean())}
        return pd.DataFrame(rows).T.rename_axis(columns=f"{which} parameters")


def estimate(values, digits: int = 0, limits=(-np.inf, np.inf)) -> str:
    """'mean (low to high)' of one value per seed, with the 95 % interval; the mean alone for one seed."""
    shown = [f"{round(float(x), digits) + 0.0:.{digits}f}" for x in (np.mean(values), *interval(values, limits=limits))]  # no -0.0
    return shown[0] if len(values) < 2 else "{} ({} to {})".format(*shown)


def figure1(results, curves) -> pd.DataFrame:
    """Figure 1: cost and success in tests on the true system along training; planners, which do not learn, at episode 0."""
    learning = curves[curves.data == "real"].rename(columns={"test_cost": "cost", "test_success": "success"})
    level = results[results.data == "none"].rename(columns={"cost_mean": "cost", "success_mean": "success"})
    columns = [*KEYS, "seed", "episode", "minutes", "cost", "success"]
    both = pd.concat([learning.reindex(columns=columns), level.assign(episode=0, minutes=0.0).reindex(columns=columns)])
    return both.sort_values([*KEYS, "seed", "episode"], ignore_index=True)


def table1(results) -> pd.DataFrame:
    """Table 1: mean success of the best parameters over seeds, its 95 % interval (none for one seed), and the paper's."""
    rows = []
    for (task, horizon, data), paper in PAPER_TABLE1.items():
        found = results[(results.task == task) & (results.agent == "mpq") & (results.horizon == horizon) & (results.data == data)]
        if len(found):
            low, high = interval(found.success_mean, limits=(0, 1)) if len(found) > 1 else (np.nan, np.nan)
            rows.append([task, "mpq", horizon, data, len(found), int(found.test_episodes.iloc[0]),
                         found.success_mean.mean(), low, high, paper])
    return pd.DataFrame(rows, columns=[*KEYS, "seeds", "test_episodes", "success_mean", "ci_low", "ci_high", "paper"]).round(4)


def horizon(results) -> pd.DataFrame:
    """What a longer horizon brings and costs: MPQ on real data and MPPI, each at all horizons that were run.

    Learning is measured by the episodes and minutes of interaction that training took.
    """
    found = results[results.data != "dr"]
    found = found[found.agent.isin(["mpq", "mppi", "mppi_true"])].rename(
        columns={"success_mean": "success", "cost_mean": "cost", "train_episodes": "episodes"})
    lengths = {task: make(task).episode_steps * make(task).dt / 60 for task in set(found.task)}
    found = found.assign(minutes=found.episodes * found.task.map(lengths))
    return found[["task", "agent", "horizon", "seed", "episodes", "minutes", "success", "cost", "control_ms"]].round(4)


def bias_curve(everything) -> pd.DataFrame:
    """Where the truth lies, from the centre of the agent's distribution (0) to the task's own place (1) and beyond.

    Rows of truth 1 are given where there are others of the same task, agent, horizon and data.
    """
    found = everything.rename(columns={"truth": "size", "success_mean": "success", "cost_mean": "cost"})
    several = found.groupby(KEYS)["size"].transform("nunique") > 1
    return found[several].sort_values([*KEYS, "size", "seed"])[
        ["task", "size", "agent", "horizon", "data", "seed", "success", "cost", "success_last", "cost_last"]]


@dataclass(frozen=True)
class Verdict:
    """One line of the ledger.

    Attributes:
        id: short name.
        claim: what the paper says, in the book's words.
        paper: its number or comparison.
        ours: the number measured; None for a claim with several parts.
        interval: (low, high), 95 %, over training seeds; None for a claim with several parts.
        verdict: reproduced, partly (also where the interval decides nothing) or not reproduced.
        evidence: the rule, and what was compared.
    """

    id: str
    claim: str
    paper: str
    ours: float | None
    interval: tuple[float, float] | None
    verdict: str
    evidence: str


VERDICTS = ("reproduced", "partly", "not reproduced")


class Evidence:
    """The runs, by seed."""

    def __init__(self, results, curves):
        self.results, self.curves = results.set_index([*KEYS, "seed"]).sort_index(), curves

    def of(self, task, agent, horizon, data, column):
        """A column of results.csv as a series over seeds; KeyError if there are no such runs."""
        return self.results.loc[(task, agent, horizon, data), column]

    def at(self, task, agent, horizon, data, column, episode):
        """A column of curves.csv over seeds, at the last validation not after an episode."""
        c = self.curves
        found = c[(c.task == task) & (c.agent == agent) & (c.horizon == horizon) & (c.data == data) & (c.episode <= episode)]
        if found.empty:
            raise KeyError((task, agent))
        return found.sort_values("episode").groupby("seed").last()[column]

    def along(self, task, agent, horizon, data, column):
        """The mean of a column of curves.csv along training, over seeds."""
        c = self.curves
        found = c[(c.task == task) & (c.agent == agent) & (c.horizon == horizon) & (c.data == data)]
        if found.empty:
            raise KeyError((task, agent))
        return found.groupby("seed")[column].mean()


def judge(values, limit, above=True, limits=(-np.inf, np.inf)) -> tuple[float, tuple[float, float], str]:
    """Mean over seeds, its interval (cut to the `limits` of a value), and whether it lies on the claimed side of the limit.

    Reproduced if the whole interval does, not reproduced if none of it does, partly if it holds the limit.
    """
    values = np.asarray(values, float)
    low, high = interval(values, limits=limits)
    if not above:
        good, bad = high <= limit, low > limit
    else:
        good, bad = low >= limit, high < limit
    return float(values.mean()), (float(low), float(high)), VERDICTS[0 if good else 2 if bad else 1]


def together(verdicts) -> str:
    """The verdict on a claim with several parts: that of all where they agree, else partly."""
    verdicts = set(verdicts)
    return verdicts.pop() if len(verdicts) == 1 else "partly"


@dataclass(frozen=True)
class Rule:
    """How a claim with one number is judged.

    Attributes:
        id, claim, paper: as of the `Verdict`.
        rule: what is measured, and the side of the limit that is claimed, in words.
        measure: Evidence -> one value per training seed; KeyError where there are no such runs.
        limit, above: the limit, and whether the claimed side is above it.
        limits: of a value; a rate lies between 0 and 1.
    """

    id: str
    claim: str
    paper: str
    rule: str
    measure: Callable  # Evidence -> values over seeds
    limit: float = 0.0
    above: bool = True
    limits: tuple[float, float] = (-np.inf, np.inf)


FEW = 0.1  # "a few training episodes": this share of the training
MINUTES = 5.0  # "a few minutes" of interaction
CLOSE = 1.1  # "close to": at most this ratio of costs
HOURS = 5.0  # "a few hours" of training
SEEDS = 3  # training seeds that a verdict needs
OBSERVED = {"O1": ("fetch-30", "franka-5x", "franka-minutes")}  # lines on one task that the paper has in an observation's paragraph


def rules() -> list[Rule]:
    """The claims with one number each, whether there are runs to judge them by or not."""
    rules = []
    for task, s in SETTINGS.items():
        if s.mpq is None:
            continue
        h, far, true = s.mpq.planner.horizon, max(s.horizons), max(s.true_horizons)
        mpq, soft = (task, "mpq", h, "real"), (task, "softq", 1, "real")
        same, longer, upper = (task, "mppi", h, "none"), (task, "mppi", far, "none"), (task, "mppi_true", true, "none")
        few, soon = FEW * s.mpq.N, 60 * MINUTES / (s.mpq.T * make(task).dt)
        rules += [
            Rule(f"O1-same-{task}", f"MPQ does better than MPPI with the same horizon (H={h}) after a few training episodes.",
                  "lower", f"ratio of test costs, MPQ after at most {few:g} episodes to MPPI; below 1",
                  lambda e, mpq=mpq, same=same, few=few: e.at(*mpq, "test_cost", few) / e.of(*same, "cost_mean"), 1.0, False),
            Rule(f"O1-long-{task}", f"MPQ (H={h}) ultimately does better than MPPI with a much longer horizon (H={far}).",
                  "lower", "ratio of test costs, MPQ's best parameters on validation to MPPI; below 1",
                  lambda e, mpq=mpq, longer=longer: e.of(*mpq, "cost_mean") / e.of(*longer, "cost_mean"), 1.0, False),
            Rule(f"O1-time-{task}", f"A control step of MPQ (H={h}) takes less computing time than one of MPPI with H={far}.",
                  "less", "ratio of milliseconds per control step; below 1",
                  lambda e, mpq=mpq, longer=longer: e.of(*mpq, "control_ms") / e.of(*longer, "control_ms"), 1.0, False),
            Rule(f"O2-{task}", f"MPQ (H={h}) does about as well as MPPI with the true dynamics and H={true}, or better.",
                  "close or lower", f"ratio of test costs, MPQ's best parameters on validation to MPPI; at most {CLOSE}",
                  lambda e, mpq=mpq, upper=upper: e.of(*mpq, "cost_mean") / e.of(*upper, "cost_mean"), CLOSE, False),
            Rule(f"O3-sooner-{task}", "MPQ needs less data than SoftQLearning.", "less",
                  "ratio of test costs averaged along training, MPQ to SoftQLearning; below 1",
                  lambda e, mpq=mpq, soft=soft: e.along(*mpq, "test_cost") / e.along(*soft, "test_cost"), 1.0, False),
            Rule(f"hours-{task}", "Training takes only a few hours.", "a few hours",
                  f"CPU hours of one training run of MPQ on one core; below {HOURS:g}",
                  lambda e, mpq=mpq: e.of(*mpq, "train_cpu_s") / 3600, HOURS, False)]
        if task == "pendulum_swingup":
            continue
        rules += [
            Rule(f"O3-fails-{task}", "SoftQLearning does not converge to a consistent policy.", "does not",
                  "success of SoftQLearning's last parameters minus half of that of MPQ's last; below 0",
                  lambda e, mpq=mpq, soft=soft: e.of(*soft, "success_last") - e.of(*mpq, "success_last") / 2, 0.0, False),
            Rule(f"O3-minutes-{task}", "MPQ does well within a few minutes of interaction with the true system.", "well",
                  f"test success after at most {MINUTES:g} minutes; at least 0.5",
                  lambda e, mpq=mpq, soon=soon: e.at(*mpq, "test_success", soon), 0.5, limits=(0, 1))]

    fetch, franka = "fetch_push_block", "franka_drawer_open"
    rules += [
        Rule("fetch-30", "On FetchPushBlock, MPQ with H=10 does better than MPPI with H=64 within 30 training episodes.", "> 0",
              "difference of success rates; above 0",
              lambda e: e.at(fetch, "mpq", 10, "real", "test_success", 30) - e.of(fetch, "mppi", 64, "none", "success_mean")),
        Rule("fetch-2-minutes", "On FetchPushBlock, 30 training episodes are about 2 minutes of interaction.", "2",
              "minutes of interaction after at most 30 episodes; at most 2.5",
              lambda e: e.at(fetch, "mpq", 10, "real", "minutes", 30), 2.5, False),
        Rule("franka-5x", "On FrankaDrawerOpen, MPQ with H=10 succeeds more than 5 times as often as MPPI with H=10.", "> 5",
              "success of MPQ's best parameters minus 5 times that of MPPI; above 0",
              lambda e: e.of(franka, "mpq", 10, "real", "success_mean") - 5 * e.of(franka, "mppi", 10, "none", "success_mean")),
        Rule("franka-minutes", "On FrankaDrawerOpen, MPQ with H=10 does better than MPPI with H=64 within a few minutes.", "> 0",
              f"difference of success rates after at most {MINUTES:g} minutes of interaction; above 0",
              lambda e: e.at(franka, "mpq", 10, "real", "test_success", 12 * MINUTES) - e.of(franka, "mppi", 64, "none", "success_mean"))]
    for task, h, times in (("ball_in_cup_sparse", 4, 2), (franka, 10, 3)):
        rules.append(Rule(
            f"Q1-{task}", f"A Q function learnt on the true system succeeds over {times} times as often as one learnt with domain randomisation.",
            f"> {times}", f"success on the true system, REAL minus {times} times DR; above 0",
            lambda e, task=task, h=h, times=times:
                e.of(task, "mpq", h, "real", "success_mean") - times * e.of(task, "mpq", h, "dr", "success_mean")))
    return rules


def claims(results, curves) -> list[Verdict]:
    """The ledger: a verdict on each claim of the paper for which there are runs of at least SEEDS seeds."""
    evidence = Evidence(results, curves)
    ledger = []
    for rule in rules():
        try:
            values = rule.measure(evidence).dropna()
        except KeyError:
            continue
        if len(values) < SEEDS:
            continue
        ours, (low, high), verdict = judge(values, rule.limit, rule.above, rule.limits)
        ledger.append(Verdict(rule.id, rule.claim, rule.paper, round(ours, 4), (round(low, 4), round(high, 4)), verdict,
                              f"{rule.rule}; {len(values)} training seeds"))
    return [*ledger, *_table_rows(results), *_panels(ledger)]


def _table_rows(results):
    """Each row of Table 1: reproduced if the paper's number, from 100 episodes, may have come from the same rate."""
    for row in table1(results).itertuples():
        if row.seeds < SEEDS:
            continue
        wilson = binomtest(round(100 * row.paper), 100).proportion_ci(method="wilson")
        overlap = row.ci_low <= wilson.high and wilson.low <= row.ci_high
        near = abs(row.success_mean - row.paper) <= 0.2
        yield Verdict(f"table1-{row.task}-h{row.horizon}-{row.data}",
                      f"Success of MPQ with H={row.horizon} and {row.data.upper()} data on {row.task}.", f"{row.paper:g}",
                      row.success_mean, (row.ci_low, row.ci_high), VERDICTS[0 if overlap else 1 if near else 2],
                      "reproduced if our interval meets the 95 % interval of the paper's rate over 100 episodes, "
                      f"partly if the rates differ by at most 0.2; {row.seeds} training seeds")


def _panels(ledger):
    """Claims with several parts: each panel of Figure 1, and O1, O2, O3 and Q1 over all tasks."""
    found = {line.id: line.verdict for line in ledger}
    parts = {f"figure1-{task}": (f"The panel of Figure 1 for {task}: the order of its curves as O1, O2 and O3 have it.",
                                 [name for name in found if name.endswith(task) and name.startswith(("O1", "O2", "O3"))
                                  and not name.startswith("O1-time")])  # the figure has no computing time
             for task in SETTINGS}
    for name, text in (("O1", "MPQ can truncate the planning horizon, which saves computing time over MPPI."),
                       ("O2", "MPQ mitigates the effects of model bias: it does about as well as MPPI with the true dynamics."),
                       ("O3", "Planning gives stable targets, and so sample efficiency over SoftQLearning."),
                       ("Q1", "A Q function learnt on a real system overcomes model bias and does better than domain randomisation, "
                              "by the factors that the paper gives.")):
        parts[name] = (text, [one for one in found if one.startswith((name, *OBSERVED.get(name, ())))])
    for name, (text, ids) in parts.items():
        if ids:
            yield Verdict(name, text, "see parts", None, None, together(found[one] for one in ids),
                          f"the verdict of the parts where all agree, else partly: {', '.join(ids)}")
