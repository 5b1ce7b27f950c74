"""Many control steps in one process: no growth of memory, no NaN, no crash, diverged physics survived."""
import gc
import os

import numpy as np
import pytest

from mpqlib import tasks
from mpqlib.mppi import MPPI, MPPISettings
from mpqlib.rollout import MujocoSimulator

STEPS = 50_000  # per task, 200 000 over the four


def resident():
    """Memory of this process in MB (Linux)."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(name, steps, break_every=50):
    """Closed loop on the true system; every so often a sample starts from an absurd state."""
    task, rng = tasks.make(name), np.random.default_rng(0)
    simulate, broken = task.simulator(), 0

    def sabotaged(states, actions, rng):
        nonlocal broken
        calls[0] += 1
        if calls[0] % break_every == 0 and isinstance(simulate, MujocoSimulator):
            states = states.copy()
            states[3] += 1e12  # as a simulation that has run away
            broken += 1
        return simulate(states, actions, rng)

    calls = [0]
    settings = MPPISettings(horizon=3, samples=8, lam=0.1, sigma=0.5, beta=0.5, gamma=0.99,
                            action_low=task.action_low, action_high=task.action_high)
    planner, system = MPPI(settings, sabotaged, task.cost), task.true_system()
    marks, diverged = [], 0
    for step in range(steps):
        if step % task.episode_steps == 0:
            state, U = task.reset(1, rng)[0], planner.initial_plan()
        plan = planner.plan(state, rng, U)
        assert np.isfinite(plan.U).all() and np.isfinite(plan.free_energy) and np.isfinite(plan.weights).all()
        diverged += int(plan.diverged)
        state = system(state[None], planner.execute(plan.U)[None, None], rng)[0, 1]
        assert np.isfinite(state).all() and np.isfinite(task.cost(state, plan.U[0])) and np.isfinite(task.observe(state)).all()
        U = planner.shift(plan.U)
        if step in (steps // 5, steps - 1):
            gc.collect()
            marks.append(resident())
    return marks, broken, diverged, simulate


@pytest.mark.parametrize("name", sorted(tasks.TASKS))
def test_a_short_soak(name):
    _, broken, diverged, simulate = soak(name, 200)
    if isinstance(simulate, MujocoSimulator):
        assert broken == 4 and simulate.diverged >= diverged >= 1


@pytest.mark.full
@pytest.mark.parametrize("name", sorted(tasks.TASKS))
def test_a_long_soak(name):
    (early, late), broken, diverged, _ = soak(name, STEPS)
    print(f"{name}: {STEPS} steps, memory {early:.1f} MB, then {late:.1f} MB; {broken} sabotaged plans, {diverged} samples diverged")
    assert late - early < 10, f"memory grew from {early:.1f} to {late:.1f} MB"
