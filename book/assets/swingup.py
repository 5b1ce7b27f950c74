"""Makes swingup.mp4 and swingup.png of the landing page, and card.png, which stands for the book where a link to it is shown. Usage: python book/assets/swingup.py"""
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import matplotlib.pyplot as plt
import mediapy
import numpy as np
from PIL import Image

from mpqlib import plots, tasks
from mpqlib.experiments import data_dir, load_planner
from mpqlib.mppi import MPPI
from mpqlib.mpq import evaluate
from mpqlib.settings import SETTINGS

task = tasks.make("pendulum_swingup")
planners = {
    ("biased", "MPPI"): MPPI(replace(SETTINGS[task.name].mppi, horizon=8), task.simulator(), task.cost),
    ("mpq", "MPQ"): load_planner(task, data_dir() / "runs" / task.name / "mpq-h8-real/seed-0/q.safetensors"),
}
start = task.reset(1, np.random.default_rng(1))
states = {key: evaluate(task, planner, task.true_system(), start, np.random.default_rng(2), steps=160)["states"][0]
          for key, planner in planners.items()}
frames = plots.film(task, states, size=270)

folder = Path(__file__).parent
mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
mediapy.write_video(folder / "swingup.mp4", frames, fps=1 / task.dt, qp=30)
Image.fromarray(frames[-1]).quantize(32).save(folder / "swingup.png", optimize=True)

(large,) = plots.film(task, {key: one[-1:] for key, one in states.items()}, size=528)
figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="white")
figure.text(0.06, 0.86, "Model Predictive Q-Learning", fontsize=44, weight="bold", va="center")
figure.text(0.06, 0.74, "step by step: a book of executable notebooks", fontsize=25, color="0.3", va="center")
figure.figimage(large[:430], xo=72, yo=0)
plt.close(figure)
figure.savefig(folder / "card.png")
Image.open(folder / "card.png").convert("RGB").quantize(64).save(folder / "card.png", optimize=True)
