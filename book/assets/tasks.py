"""Makes the stored videos of the four tasks in data/videos: planners, and what was learnt where runs are stored.

Usage: python book/assets/tasks.py [task ...]
"""
import sys

import imageio_ffmpeg
import mediapy
import numpy as np
from PIL import Image

from mpqlib import data_dir, plots, tasks
from mpqlib.experiments import label
from mpqlib.mppi import MPPI
from mpqlib.mpq import evaluate
from mpqlib.report import StoredRuns
from mpqlib.settings import SETTINGS

STARTS = {"ball_in_cup_sparse": 3, "franka_drawer_open": 1}  # seed of the start state, where the biased plan succeeds from 0

mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
folder = data_dir() / "videos"
folder.mkdir(parents=True, exist_ok=True)


def write(name, task, episodes):
    frames = plots.film(task, episodes, size=270)
    mediapy.write_video(folder / f"{name}.mp4", frames, fps=len(frames) / 5, qp=28)  # five seconds
    Image.fromarray(frames[len(frames) // 2]).quantize(64).save(folder / f"{name}.png", optimize=True)


def planners(name):
    """Vanilla MPPI with the true and with the biased model, from one start."""
    task, settings = tasks.make(name), SETTINGS[name]
    start = task.reset(1, np.random.default_rng([STARTS.get(name, 0), 1]))
    models = {("true", "true model"): (settings.agent("mppi_true"), task.true_model()),
              ("biased", "biased model"): (settings.agent("mppi", settings.mppi_true.horizon), task.simulator())}
    episodes = {}
    for key, (agent, model) in models.items():
        found = evaluate(task, MPPI(agent, model, task.cost), task.true_system(), start, np.random.default_rng(2))
        episodes[key[0], f"MPPI H={agent.horizon}, {key[1]}"] = found["states"][0]
        print(name, key[1], "cost", found["cost"].round(1), "success", found["success"])
    write(name, task, episodes)


def learnt(name, seed=0):
    """MPQ trained on the true system and in randomised simulation, from the first test start at which only the second fails, if there is one."""
    runs = StoredRuns(name)
    agents = [label("mpq", runs.settings.mpq.planner.horizon, data) for data in ("real", "dr")]
    tested = [runs.test(runs.planner(agent, seed), 100, seed) for agent in agents]
    apart = tested[0]["success"] & ~tested[1]["success"]
    if not apart.any():
        print(name, "the second never fails alone")
        return
    episode = int(apart.argmax())
    print(name, dict(zip(agents, (found["success"].mean() for found in tested))), "episode", episode)
    write(f"{name}_mpq", runs.task, {(which, runs.names[agent]): found["states"][episode]
                                     for which, agent, found in zip(("mpq", "dr"), agents, tested)})


for name in sys.argv[1:] or SETTINGS:
    planners(name)
    if (data_dir() / "runs" / name / label("mpq", SETTINGS[name].mpq.planner.horizon, "dr") / "seed-0").exists():
        learnt(name)
