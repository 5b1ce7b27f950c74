import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from mpqlib import plots, tasks
from mpqlib.mppi import MPPI
from mpqlib.qfunction import QFunction
from mpqlib.settings import AGENTS, SETTINGS

TASK = tasks.make("pendulum_swingup")


@pytest.fixture(autouse=True)
def style():
    with plt.style.context([]):
        plots.use_style()
        yield
    plt.close("all")


def drawn(figure):
    """The figure as RGBA; drawing it finds errors that making it does not."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())


def tables():
    rng, rows, curves = np.random.default_rng(0), [], []
    for agent, horizon, data in SETTINGS[TASK.name].grid():
        for seed in range(4):
            cost = rng.uniform(300, 1200)
            rows.append({"agent": agent, "horizon": horizon, "data": data, "seed": seed, "cost_mean": cost,
                         "success_mean": rng.uniform(), "control_ms": rng.uniform(0.1, 2)})
            if data != "none":
                curves += [{"agent": agent, "horizon": horizon, "data": data, "seed": seed, "episode": e, "minutes": e / 6,
                            "test_cost": cost + 100 / (e + 1), "test_success": rng.uniform()} for e in range(0, 30, 5)]
    return pd.DataFrame(rows), pd.DataFrame(curves)


def test_every_agent_has_a_colour_a_dash_a_marker_and_a_name():
    looks = {}
    for agent in {*AGENTS, "dr"}:
        looks[agent] = (plots.COLOURS[agent], str(plots.DASHES[agent]), plots.MARKERS[agent])
        assert plots.NAMES[agent]
    assert len(set(looks.values())) == len(looks)  # told apart by more than colour alone
    assert len({look[1:] for look in looks.values()}) == len(looks)


def test_the_stylesheet_of_the_book_has_the_same_colours(root):
    css = (root / "book" / "assets" / "mpq.css").read_text()
    found = dict(re.findall(r"--mpq-([a-z-]+): (#[0-9a-f]{6});", css.split("}")[0]))
    for name, colour in found.items():
        assert plots.COLOURS[name.replace("-", "_")].lower() == colour
    assert len(found) >= 8


@pytest.mark.parametrize("column, x", [("test_cost", "episode"), ("test_success", "minutes")])
def test_learning_curves_show_the_means(column, x):
    results, curves = tables()
    references = results[results.data == "none"]
    figure = plots.learning_curves(curves, column, references, x)
    axes = figure.axes[0]
    for (agent, horizon, data), group in curves.groupby(["agent", "horizon", "data"]):
        mean = group.groupby(x)[column].mean()
        assert any(len(line.get_xdata()) == len(mean) and np.allclose(line.get_ydata(), mean) for line in axes.lines), agent
    names = {text.get_text() for text in axes.texts}
    assert names == {plots.agent_name(*key) for key in SETTINGS[TASK.name].grid()}
    assert drawn(figure)[0, 0, 3] == 0  # transparent


def test_labels_at_the_ends_do_not_overlap():
    _, curves = tables()
    curves["test_cost"] = 400 + curves.seed  # all lines at one height
    figure = plots.learning_curves(curves)
    drawn(figure)
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert all(below.y1 <= above.y0 + 1 for below, above in zip(boxes, boxes[1:]))


def test_final_results_have_a_row_per_agent():
    figure = plots.final_results(tables()[0])
    labels = {text.get_text().strip() for text in figure.axes[0].get_yticklabels()}
    assert {plots.agent_name(*key) for key in SETTINGS[TASK.name].grid()} <= labels
    drawn(figure)


def test_cost_against_time_has_a_label_per_agent_and_names_each_family_once():
    figure = plots.cost_against_time(tables()[0])
    labels, agents = [text.get_text() for text in figure.axes[0].texts], SETTINGS[TASK.name].grid()
    assert len(labels) == len(agents)
    families = {(agent, data): [h for one, h, of in agents if (one, of) == (agent, data)] for agent, _, data in agents}
    for (agent, data), horizons in families.items():
        assert sum(plots.agent_name(agent, h, data) in labels for h in horizons) == 1
    drawn(figure)


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_interval_covers_the_mean_as_often_as_it_says(seeds):
    """Of Gaussian costs; a percentile bootstrap of five covers 84 %."""
    costs = np.random.default_rng(seeds).normal(400, 15, (2000, seeds))
    low, high = np.array([plots.interval(one) for one in costs]).T
    assert np.mean((low <= 400) & (400 <= high)) == pytest.approx(0.95, abs=0.012)


def test_interval_of_the_textbook():
    """Student's own data (1908): extra hours of sleep of ten patients, differences of two drugs."""
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert plots.interval(sleep) == pytest.approx((0.7001142, 2.4598858))  # t.test of R
    assert plots.interval(sleep, level=0.5) == pytest.approx((1.3067, 1.8533), abs=1e-4)  # 1.58 -+ 0.7027 x 0.3890


def test_interval_stays_where_values_can_be():
    rates = [1.0, 1.0, 0.6, 1.0]
    low, high = plots.interval(rates, limits=(0, 1))
    assert high == 1 < plots.interval(rates)[1] and low == plots.interval(rates)[0]
    assert plots.interval([3.0]) == plots.interval([3.0, 3.0]) == (3.0, 3.0)


@pytest.mark.parametrize("figure", [lambda results, curves: plots.learning_curves(curves, "test_success"),
                                    lambda results, curves: plots.final_results(results, ("success_mean",))])
def test_no_interval_of_a_success_rate_leaves_its_range(figure):
    results, curves = tables()
    axes = figure(results, curves).axes[0]
    bands = [path.vertices[:, 1] for band in axes.collections for path in band.get_paths()]
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 5]
    drawn_at = np.concatenate(bands + bars)
    assert drawn_at.min() >= 0 and drawn_at.max() <= 1 and (drawn_at == 0).any() | (drawn_at == 1).any()


def test_pictures_of_the_pendulum():
    rng = np.random.default_rng(0)
    planner = MPPI(SETTINGS[TASK.name].mppi, TASK.simulator(), TASK.cost)
    plan = planner.plan(TASK.reset(1, rng)[0], rng)
    states = TASK.true_system()(TASK.reset(3, rng), rng.uniform(-2, 2, (3, 40, 1)), rng)
    for figure in (plots.plan(TASK, plan, plan.states[0]), plots.angles(TASK, {("mpq", "a"): states, ("mppi", "b"): states}),
                   plots.q_landscape(TASK, {"first": QFunction(TASK), "second": QFunction(TASK, 1)}, {"first": states[0]})):
        assert drawn(figure)[..., 3].max() > 0
    frames = plots.film(TASK, {("mpq", "MPQ"): states[0], ("mppi", "MPPI"): states[1]}, size=120, every=10)
    assert frames.shape[0] == 5 and frames.shape[2] == 240 and frames.dtype == np.uint8
    assert not np.array_equal(frames[0], frames[-1])


def test_video_plays_where_there_is_ffmpeg_and_is_a_still_where_not(monkeypatch):
    import base64
    import re as regex

    import imageio_ffmpeg
    import mediapy

    states = TASK.reset(5, np.random.default_rng(0))
    frames = plots.film(TASK, {("mpq", "MPQ"): states, ("mppi", "MPPI"): states, ("dr", "DR"): states}, size=120, columns=2)
    assert frames.shape[1:3] == (2 * (120 + 120 // 9), 240)
    html = plots.video(frames, TASK.dt, 'one "quoted" text').data
    assert "muted" in html and 'aria-label="one &quot;quoted&quot; text"' in html and "prefers-reduced-motion" in html
    coded = base64.b64decode(regex.search(r"data:video/mp4;base64,([^\"]+)", html)[1])
    assert coded[4:8] == b"ftyp"

    def missing(*_, **__):
        raise RuntimeError("no ffmpeg")

    monkeypatch.setattr(mediapy, "compress_video", missing)
    assert plots.video(frames, TASK.dt, "text").data.startswith('<img alt="text"')
    assert imageio_ffmpeg.get_ffmpeg_exe()
