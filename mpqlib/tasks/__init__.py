"""The tasks, by name, registered with Gymnasium as mpq/<Name>-v0 on import."""

from functools import partial

import gymnasium

from mpqlib.tasks.base import Task, TaskEnv
from mpqlib.tasks.ball_in_cup import BallInCupSparse
from mpqlib.tasks.fetch_push import FetchPushBlock
from mpqlib.tasks.franka_drawer import FrankaDrawerOpen
from mpqlib.tasks.pendulum import PendulumSwingup

TASKS = {task.name: task for task in (PendulumSwingup, BallInCupSparse, FetchPushBlock, FrankaDrawerOpen)}


def make(name: str) -> Task:
    """The task of the given name.

    Raises:
        ValueError: if there is no such task, listing those there are.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}; the tasks are {', '.join(TASKS)}")
    return TASKS[name]()


def _environment(task_class, **kwargs):
    return task_class().environment(**kwargs)


for _task in TASKS.values():
    gymnasium.register(f"mpq/{_task.__name__}-v0", entry_point=partial(_environment, _task),
                       max_episode_steps=_task.episode_steps)

__all__ = ["TASKS", "BallInCupSparse", "FetchPushBlock", "FrankaDrawerOpen", "PendulumSwingup", "Task", "TaskEnv", "make"]
