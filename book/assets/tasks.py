"""Makes the stored videos of the four tasks in data/videos. Usage: python book/assets/tasks.py [task ...]"""
import sys

import imageio_ffmpeg
import mediapy
import numpy as np
from PIL import Image

from mpqlib import data_dir, plots, tasks
from mpqlib.mppi import MPPI
from mpqlib.mpq import evaluate
from mpqlib.settings import SETTINGS

STARTS = {}  # seed of the start state, where 0 shows little

mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
folder = data_dir() / "videos"
folder.mkdir(parents=True, exist_ok=True)
for name in sys.argv[1:] or SETTINGS:
    task, settings = tasks.make(name), SETTINGS[name]
    start = task.reset(1, np.random.default_rng([STARTS.get(name, 0), 1]))
    models = {("true", "true model"): (settings.agent("mppi_true"), task.true_model()),
              ("biased", "biased model"): (settings.agent("mppi", settings.mppi_true.horizon), task.simulator())}
    episodes = {}
    for key, (agent, model) in models.items():
        found = evaluate(task, MPPI(agent, model, task.cost), task.true_system(), start, np.random.default_rng(2))
        episodes[key[0], f"MPPI H={agent.horizon}, {key[1]}"] = found["states"][0]
        print(name, key[1], "cost", found["cost"].round(1), "success", found["success"])
    frames = plots.film(task, episodes, size=270)
    mediapy.write_video(folder / f"{name}.mp4", frames, fps=len(frames) / 5, qp=28)  # five seconds
    Image.fromarray(frames[len(frames) // 2]).quantize(64).save(folder / f"{name}.png", optimize=True)
