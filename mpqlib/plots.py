"""One function per figure, one colour and dash per meaning (Okabe and Ito's palette).

Each function returns a matplotlib Figure with a transparent background.
"""

from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import Normal, Stroke
from scipy.stats import binomtest, sem, t

from mpqlib import data_dir

# Meaning -> colour; the stylesheet of the book and the explorers use the same.
COLOURS = {"true": "#009E73", "biased": "#D55E00", "mpq": "#0072B2", "mppi": "#E69F00", "mppi_true": "#56B4E9",
           "softq": "#CC79A7", "softq_budget": "#CC79A7", "dr": "#B5A800", "mppi_budget": "#E69F00", "prior": "#808080"}
DASHES = {"mpq": "-", "dr": (0, (6, 2)), "softq": (0, (4, 1, 1, 1)), "softq_budget": ":", "mppi": "--",
          "mppi_true": (0, (8, 2, 2, 2)), "mppi_budget": ":"}
MARKERS = {"mpq": "o", "dr": "s", "softq": "D", "softq_budget": "d", "mppi": "^", "mppi_true": "v", "mppi_budget": "<"}
NAMES = {"mpq": "MPQ", "softq": "SoftQ", "softq_budget": "SoftQ, MPQ's updates", "mppi": "MPPI",
         "mppi_true": "MPPI, true dynamics", "mppi_budget": "MPPI, MPQ's time per step", "dr": "MPQ-DR"}


def use_style() -> None:
    """Make the book's matplotlib style the current one."""
    plt.style.use(str(files("mpqlib") / "static" / "mpq.mplstyle"))


def meaning(agent: str, data: str = "none") -> str:
    """Key of COLOURS, DASHES, MARKERS and NAMES for an agent: `dr` for one trained in randomised simulation."""
    return "dr" if data == "dr" else agent


def agent_name(agent: str, horizon: int, data: str = "none") -> str:
    """Name of an agent in a figure, such as 'MPPI H=32'."""
    name = NAMES[meaning(agent, data)]
    return name if agent.startswith("softq") else f"{name} H={horizon}"


def interval(values, level=0.95, limits=(-np.inf, np.inf)):
    """Student's confidence interval (low, high) of the mean of one value per seed, cut to the `limits` of a value.

    Without width where there is one value, or all are equal: then it says nothing.
    Of the usual intervals it covers best with few seeds (chapter 7).
    """
    values = np.asarray(values, float)
    if len(values) < 2 or np.ptp(values) == 0:
        return values.mean(), values.mean()
    return tuple(np.clip(t.interval(level, len(values) - 1, values.mean(), sem(values)), *limits))


def _limits(column):
    """Of the values in a column of data/report: a success rate lies between 0 and 1."""
    return (0, 1) if "success" in column else (-np.inf, np.inf)


def learning_curves(curves, column="test_cost", references=None, x="episode"):
    """Learning curves: mean over seeds, 95 % interval as a band, seeds as thin lines.

    Args:
        curves: table with agent, horizon, data, seed, episode, minutes and `column`
            (data/report/curves.csv).
        column: test_cost or test_success.
        references: rows of data/report/results.csv of agents that do not learn; drawn level.
        x: episode or minutes.
    """
    figure, axes = plt.subplots()
    ends = []
    for (agent, horizon, data), group in curves.groupby(["agent", "horizon", "data"], sort=False):
        key = meaning(agent, data)
        table = group.pivot(index=x, columns="seed", values=column)
        low, high = np.array([interval(row, limits=_limits(column)) for row in table.to_numpy()]).T
        axes.plot(table.index, table, color=COLOURS[key], linewidth=0.6, alpha=0.35)
        axes.fill_between(table.index, low, high, color=COLOURS[key], alpha=0.2, linewidth=0)
        axes.plot(table.index, table.mean(axis=1), color=COLOURS[key], linestyle=DASHES[key],
                  marker=MARKERS[key], markersize=4, markevery=2)
        ends.append((table.mean(axis=1).iloc[-1], agent_name(agent, horizon, data), COLOURS[key]))
    if references is not None:
        value = "cost_mean" if column == "test_cost" else "success_mean"
        for (agent, horizon, data), group in references.groupby(["agent", "horizon", "data"], sort=False):
            key = meaning(agent, data)
            axes.axhline(group[value].mean(), color=COLOURS[key], linestyle=DASHES[key], linewidth=1)
            ends.append((group[value].mean(), agent_name(agent, horizon, data), COLOURS[key]))
    axes.set(xlabel={"episode": "training episodes", "minutes": "minutes on the system that gives the data"}[x],
             ylabel={"test_cost": "cost of a test episode", "test_success": "success rate"}[column])
    if column == "test_cost":
        logarithmic(axes, "y")
    _label_lines(axes, ends)
    return figure


def logarithmic(axes, which):
    """Make the "x" or "y" axis logarithmic, with plain numbers."""
    from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

    axis = getattr(axes, f"{which}axis")
    getattr(axes, f"set_{which}scale")("log")
    axis.set_major_locator(FixedLocator([digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 3, 4, 6)]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _label_lines(axes, ends):
    """Write each line's name at its right end, moved apart where they would overlap."""
    to_fraction = axes.transData + axes.transAxes.inverted()
    ends = sorted(ends, key=lambda end: end[0])
    tips = np.array([to_fraction.transform((1.0, value))[1] for value, _, _ in ends])
    heights, gap = tips.copy(), 0.068
    for _ in range(500):
        for i in range(len(heights) - 1):
            if (overlap := gap - (heights[i + 1] - heights[i])) > 1e-9:
                heights[i] -= overlap / 2
                heights[i + 1] += overlap / 2
        if len(heights):
            heights[0] = max(heights[0], 0.0)
    for (_, name, colour), tip, height in zip(ends, tips, heights):
        axes.annotate(name, (1.0, tip), (1.06, height), xycoords="axes fraction", textcoords="axes fraction",
                      va="center", color=colour, annotation_clip=False,
                      arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "relpos": (0, 0.5),
                                  "shrinkA": 1, "shrinkB": 0})


def final_results(results, columns=("cost_mean", "success_mean")):
    """Final results per agent: each seed a dot, the mean and its 95 % interval; a panel per column.

    Args:
        results: rows of data/report/results.csv of one task.
        columns: of results; agents are in the order of the first one.
    """
    first = columns[0]
    groups = list(results.groupby(["agent", "horizon", "data"]))
    groups.sort(key=lambda item: item[1][first].mean(), reverse=first.startswith("cost"))
    figure, panels = plt.subplots(1, len(columns), figsize=(6.8, 0.6 + 0.3 * len(groups)), sharey=True, squeeze=False)
    for axes, column in zip(panels[0], columns):
        for height, ((agent, horizon, data), group) in enumerate(groups):
            key = meaning(agent, data)
            low, high = interval(group[column], limits=_limits(column))
            axes.plot(group[column], np.full(len(group), height), MARKERS[key], color=COLOURS[key], alpha=0.35, markersize=4)
            axes.plot([low, high], [height, height], color=COLOURS[key], linewidth=5, alpha=0.6, solid_capstyle="butt")
            axes.plot(group[column].mean(), height, "|", color=COLOURS[key], markersize=14, markeredgewidth=2)
        name, _, which = column.partition("_")
        axes.set_xlabel({"cost": "cost of a test episode", "success": "success rate"}[name]
                        + (", last parameters" if which == "last" else ""))
        if name == "cost":
            logarithmic(axes, "x")
        axes.grid(axis="x")
    panels[0, 0].set_yticks(range(len(groups)), [agent_name(*key) for key, _ in groups])
    return figure


def cost_against_time(results):
    """Test cost against CPU milliseconds per control step, one point per agent with its interval.

    The horizons of one kind of MPPI are joined by a line, and named where it costs most.
    """
    figure, axes = plt.subplots(figsize=(6.8, 4.2))
    labels = []
    for (agent, data), family in results.groupby(["agent", "data"]):
        key, points = meaning(agent, data), []
        dearest = family.groupby("horizon")["cost_mean"].mean().idxmax()
        for horizon, group in family.groupby("horizon"):
            low, high = interval(group["cost_mean"])
            x, y = group["control_ms"].median(), group["cost_mean"].mean()
            axes.errorbar(x, y, [[y - low], [high - y]], fmt=MARKERS[key], color=COLOURS[key], capsize=2)
            points.append((x, y))
            labels.append((x, y, agent_name(agent, horizon, data) if horizon == dearest else f"H={horizon}", COLOURS[key]))
        axes.plot(*zip(*points), color=COLOURS[key], linestyle=DASHES[key], linewidth=0.8)
    axes.set(xlabel="CPU milliseconds per control step", ylabel="cost of a test episode")
    logarithmic(axes, "x")
    logarithmic(axes, "y")
    axes.margins(x=0.06, y=0.08)
    figure.canvas.draw()
    placed, right = [], axes.get_window_extent().x1
    for x, y, name, colour in sorted(labels, key=lambda label: label[1]):  # from below, moved up where they would overlap
        at = axes.transData.transform((x, y))
        for left in ({"xytext": (7, 0), "ha": "left"}, {"xytext": (-7, 0), "ha": "right"}):
            text = axes.annotate(name, (x, y), textcoords="offset points", va="center", color=colour, fontsize=8, **left)
            if text.get_window_extent().x1 <= right + 90 or left["ha"] == "right":
                break
            text.remove()
        while any(text.get_window_extent().padded(-0.5).overlaps(other) for other in placed):
            dx, dy = text.get_position()
            text.set_position((dx, dy + 2))
        placed.append(text.get_window_extent())
    return figure


def angles(task, episodes):
    """Angle from upright over time, one panel per controller, several episodes each.

    Args:
        task: the pendulum.
        episodes: {(meaning, title): states (n, T + 1, 2)}.
    """
    figure, panels = plt.subplots(1, len(episodes), figsize=(min(1.5 + 1.75 * len(episodes), 7.6), 2.6), sharey=True)
    for axes, ((key, title), states) in zip(np.atleast_1d(panels), episodes.items()):
        seconds = task.dt * np.arange(states.shape[1])
        axes.axhspan(-task.upright, task.upright, color=COLOURS["prior"], alpha=0.35, linewidth=0)
        for episode in task.angle(states):
            jumps = np.abs(np.diff(episode, append=episode[-1])) > np.pi  # wrapped: do not draw a line across
            axes.plot(seconds, np.where(jumps, np.nan, episode), color=COLOURS[key], linewidth=1.1, alpha=0.8)
        axes.set(title=title, xlabel="seconds", yticks=[-np.pi, 0, np.pi], ylim=(-np.pi, np.pi))
        axes.set_yticklabels(["−π hanging", "0 upright", "π hanging"])
    return figure


def plan(task, plan, truth=None):
    """MPPI thinking: sampled angles over the horizon, opacity = weight; beside them costs and weights.

    Args:
        task: the pendulum.
        plan: an `mpqlib.mppi.Plan` of one state.
        truth: (H + 1, 2) states of the true system under the new plan, drawn if given.
    """
    figure, (left, right) = plt.subplots(1, 2, width_ratios=(2, 1), figsize=(6.8, 2.9))
    seconds = task.dt * np.arange(plan.states.shape[1])
    for states, weight in zip(plan.states, plan.weights):
        left.plot(seconds, states[:, 0], color=COLOURS["biased"], alpha=float(0.12 + 0.88 * weight / plan.weights.max()),
                  linewidth=1.0)
    if truth is not None:
        left.plot(task.dt * np.arange(len(truth)), truth[:, 0], color=COLOURS["true"], linestyle="--")
    left.set(xlabel="seconds ahead", ylabel="angle (rad)")
    right.plot(plan.costs, plan.weights, "o", color=COLOURS["biased"], markersize=4)
    right.set(xlabel="cost S of the sample", ylabel="weight w",
              title=f"effective samples: {float(plan.ess):.1f} of {len(plan.weights)}")
    return figure


def q_landscape(task, qs, states=None, resolution=81):
    """The learnt value min_a Q(s, a) over the pendulum's state space, one panel per Q function.

    Args:
        task: the pendulum.
        qs: {title: Q function}.
        states: {title: (T + 1, 2)} trajectories drawn on the panels, or None.
    """
    theta = np.linspace(-np.pi, np.pi, resolution)
    speed = np.linspace(-task.max_speed, task.max_speed, resolution)
    grid = np.stack(np.meshgrid(theta, speed), axis=-1)
    torques = np.linspace(task.action_low[0], task.action_high[0], 9)
    values = {title: np.min([q(grid, np.full((*grid.shape[:2], 1), u)) for u in torques], axis=0) for title, q in qs.items()}
    low, high = np.min(list(values.values())), np.max(list(values.values()))
    figure, panels = plt.subplots(1, len(qs), figsize=(min(1.2 + 2.1 * len(qs), 7.6), 2.7), sharey=True)
    for axes, (title, value) in zip(np.atleast_1d(panels), values.items()):
        image = axes.pcolormesh(theta, speed, value, cmap="cividis", vmin=low, vmax=high, rasterized=True)
        if states is not None and title in states:
            angle, speed_then = task.angle(states[title]), states[title][:, 1]
            angle = np.where(np.abs(np.diff(angle, append=angle[-1])) > np.pi, np.nan, angle)  # no line across the wrap
            axes.plot(angle, speed_then, color="white", linewidth=1.2,
                      path_effects=[Stroke(linewidth=2.4, foreground="black"), Normal()])
        axes.set(title=title, xlabel="angle (rad)", xticks=[-np.pi, 0, np.pi])
        axes.set_xticklabels(["−π", "0", "π"])
    np.atleast_1d(panels)[0].set_ylabel("angular velocity (rad/s)")
    figure.colorbar(image, ax=panels, label="cost-to-go")
    return figure


def film(task, episodes, size=240, every=1, columns=None):
    """Frames of several episodes side by side, each under its caption.

    Args:
        task: any task.
        episodes: {(meaning, caption): states (T + 1, ns)}, all of one length.
        size: pixels of one picture's side.
        every: keep one frame in so many.
        columns: pictures per row; None for a single row.

    Returns:
        (frames, height, width, 3) uint8, for `mediapy.write_video`.
    """
    from PIL import Image, ImageDraw, ImageFont

    font, bar = ImageFont.load_default(size=size // 14), size // 9
    tiles = []
    for (key, caption), states in episodes.items():
        strip = Image.new("RGB", (size, bar), COLOURS[key])
        draw = ImageDraw.Draw(strip)
        r, g, b = strip.getpixel((0, 0))
        ink = "white" if 0.299 * r + 0.587 * g + 0.114 * b < 120 else "black"  # readable on every colour
        draw.text((size / 2, bar / 2), caption, fill=ink, font=font, anchor="mm")
        tiles.append([np.concatenate([np.asarray(strip), task.render(state, size)]) for state in states[::every]])
    columns = columns or len(tiles)
    rows = [tiles[i:i + columns] for i in range(0, len(tiles), columns)]
    rows[-1] += [[np.full_like(tile, 255) for tile in tiles[0]]] * (columns - len(rows[-1]))
    return np.stack([np.concatenate([np.concatenate([tile[i] for tile in row], axis=1) for row in rows])
                     for i in range(min(map(len, tiles)))])


def success_by_horizon(results):
    """Success rate of vanilla MPPI against its horizon, with the true and with the biased model; a panel per task.

    Intervals: 95 %, Wilson's for the episodes of one seed.

    Args:
        results: rows of data/report/results.csv of the agents mppi and mppi_true.
    """
    tasks = list(results["task"].unique())
    figure, panels = plt.subplots(1, len(tasks), figsize=(min(1.0 + 2.0 * len(tasks), 7.6), 2.6), sharey=True, squeeze=False)
    for axes, task in zip(panels[0], tasks):
        rows = results[results["task"] == task]
        horizons, ends = sorted(rows["horizon"].unique()), {}
        for shift, (agent, key) in zip((-0.08, 0.08), (("mppi", "biased"), ("mppi_true", "true"))):
            for place, horizon in enumerate(horizons):
                group = rows[(rows["agent"] == agent) & (rows["horizon"] == horizon)]
                if group.empty:
                    continue
                episodes = int(group["test_episodes"].sum())
                caught = round(float((group["success_mean"] * group["test_episodes"]).sum()))
                low, high = binomtest(caught, episodes).proportion_ci(method="wilson")
                axes.plot([place + shift] * 2, [low, high], color=COLOURS[key], linewidth=2, alpha=0.6)
                axes.plot(place + shift, caught / episodes, MARKERS[agent], color=COLOURS[key])
                ends[key] = caught / episodes
        axes.set(title=task.replace("_", " "), xlabel="horizon H", xlim=(-0.5, len(horizons) - 0.5), ylim=(-0.03, 1.03))
        axes.set_xticks(range(len(horizons)), horizons)
    panels[0, 0].set_ylabel("success rate")
    for step, (key, rate) in enumerate(sorted(ends.items(), key=lambda end: end[1])):  # named beside the last panel
        low = min(ends.values())
        axes.text(len(horizons) - 0.45, max(rate, low + 0.09 * step), f"{key} model", color=COLOURS[key], va="center")
    return figure


def stored_video(name, text):
    """One of the videos in data/videos, inside the page; made by `python book/assets/tasks.py`.

    Args:
        name: of the file, without .mp4.
        text: what there is to see, in words.

    Raises:
        ValueError: if there is no such video, naming those there are.
    """
    folder = data_dir() / "videos"
    if not (folder / f"{name}.mp4").exists():
        there = ", ".join(sorted(path.stem for path in folder.glob("*.mp4")))
        raise ValueError(f"there is no stored video {name!r}; there are {there or 'none'}")
    return _player((folder / f"{name}.mp4").read_bytes(), (folder / f"{name}.png").read_bytes(), text)


def _player(film, still, text):
    import base64
    import html

    from IPython.display import HTML

    picture, text = base64.b64encode(still).decode(), html.escape(text)
    if film is None:
        return HTML(f'<img alt="{text}" src="data:image/png;base64,{picture}">')
    return HTML(f'<video controls loop muted playsinline aria-label="{text}" poster="data:image/png;base64,{picture}" '
                "onloadeddata=\"matchMedia('(prefers-reduced-motion: reduce)').matches || this.play()\" "
                f'src="data:video/mp4;base64,{base64.b64encode(film).decode()}"></video>')


def video(frames, seconds, text, qp=30):
    """A looped h264 video inside the page; it waits to be started where the reader asked for less motion.

    Args:
        frames: (n, height, width, 3) uint8, such as `film` gives; height and width even.
        seconds: time between frames.
        text: what there is to see, in words.
        qp: quantisation, 0 (largest file) to 51.

    Returns:
        IPython HTML: the video with its last frame as still, or the still alone where ffmpeg is missing.
    """
    import io

    import mediapy
    from PIL import Image

    still = io.BytesIO()
    Image.fromarray(frames[-1]).quantize(32).save(still, "PNG", optimize=True)
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        mediapy.set_ffmpeg(get_ffmpeg_exe())
    except ImportError:
        pass  # the system's own
    try:
        film = mediapy.compress_video(frames, fps=1 / seconds, qp=qp)
    except RuntimeError:
        film = None
    return _player(film, still.getvalue(), text)
