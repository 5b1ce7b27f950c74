"""Speed of the planner against others, side by side in one process, as ratios."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from mpqlib import tasks
from mpqlib.experiments import provenance
from mpqlib.mppi import MPPI
from mpqlib.settings import SETTINGS

SIZES = ((24, 32), (1000, 32))  # (samples N, horizon H)


def bench(out: Path = Path("data/benchmarks/planner.json"), rounds: int = 15) -> dict:
    """Time one control step of our planner and of pytorch_mppi 0.9.1 on the pendulum, in turns.

    Both plan with the true dynamics and the same settings, on one thread; before they are timed,
    pytorch_mppi's costs are compared with ours for its own samples.

    Args:
        out: file to write.
        rounds: turns; the medians over them are kept.

    Returns:
        {"rows": [{name, task, N, H, threads, ours_ms, peer, peer_ms, ratio}], ...provenance}, where
        ratio is how many times faster our planner is.

    Raises:
        ValueError: if pytorch_mppi is not installed.
    """
    rows = []
    for N, H in SIZES:
        task = tasks.make("pendulum_swingup")
        settings = replace(SETTINGS[task.name].mppi, samples=N, horizon=H, gamma=1.0, beta=0.0)  # what the peer can do
        ours, peer = _our_step(task, settings), _pytorch_mppi_step(task, settings)
        ours_ms, peer_ms = np.median([[_milliseconds(ours), _milliseconds(peer)] for _ in range(rounds)], axis=0)
        rows.append({"name": f"pendulum N={N} H={H}", "task": task.name, "N": N, "H": H, "threads": 1,
                     "ours_ms": round(ours_ms, 4), "peer": "pytorch_mppi", "peer_ms": round(peer_ms, 4),
                     "ratio": round(peer_ms / ours_ms, 2)})
    result = {"rows": rows, **provenance()}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(json.dumps(result, indent=1) + "\n")
    return result


def _milliseconds(step, steps=20) -> float:
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return 1e3 * (time.perf_counter() - started) / steps


def _our_step(task, settings):
    planner, rng = MPPI(settings, task.true_system(), task.cost), np.random.default_rng(0)
    state, U = task.reset(1, rng)[0], planner.initial_plan()

    def step():
        nonlocal U
        U = planner.shift(planner.plan(state, rng, U).U)

    return step


def _pytorch_mppi_step(task, settings):
    try:
        import torch
        from pytorch_mppi import MPPI as Peer
    except ImportError:
        raise ValueError("pytorch_mppi is not installed; `pip install pytorch-mppi==0.9.1` brings it") from None
    m, l = task.true_parameters["mass"], task.true_parameters["length"]
    acceleration_of_gravity, max_speed = task.gravity, task.max_speed

    def dynamics(state, action):
        theta, speed = state[:, 0], state[:, 1]
        acceleration = 1.5 * acceleration_of_gravity / l * torch.sin(theta) + 3.0 / (m * l * l) * action[:, 0]
        speed = (speed + acceleration * task.dt).clamp(-max_speed, max_speed)
        return torch.stack([theta + speed * task.dt, speed], dim=1)

    def cost(state, action):
        theta = state[:, 0] - 2 * np.pi * torch.round(state[:, 0] / (2 * np.pi))
        return theta**2 + 0.1 * state[:, 1] ** 2 + 0.001 * action[:, 0] ** 2

    double = torch.float64
    peer = Peer(dynamics, cost, nx=2, noise_sigma=torch.tensor([[settings.sigma**2]], dtype=double),
                num_samples=settings.samples, horizon=settings.horizon, lambda_=settings.lam,
                u_min=torch.tensor(settings.action_low, dtype=double),
                u_max=torch.tensor(settings.action_high, dtype=double),
                U_init=torch.zeros(settings.horizon, 1, dtype=double))
    state = torch.tensor(task.reset(1, np.random.default_rng(0))[0])
    with torch.inference_mode():
        peer.command(state)
    # Its costs are of the state after each step, ours of the state before: shift ours by one.
    actions = peer.perturbed_action.numpy()
    visited = task.true_system()(state.numpy()[None].repeat(len(actions), 0), actions, np.random.default_rng(0))
    ours = task.cost(visited[:, 1:], actions).sum(axis=1)
    np.testing.assert_allclose(peer.cost_total.numpy(), ours, rtol=1e-9)  # U was 0: no control cost

    def step():
        with torch.inference_mode():
            peer.command(state)

    return step
