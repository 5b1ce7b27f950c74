"""PendulumSwingup: swing up and balance a pendulum whose mass and length are not known."""

from functools import cache

import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.tasks.base import Task

class PendulumSwingup(Task):
    """A rod of mass m and length l on a motor too weak to lift it at once.

    State (theta, theta_dot): angle from upright in rad (not wrapped), angular velocity in rad/s.
    Action: torque in N m, |u| <= 2.  Control step 0.05 s, 200 steps (10 s), starting
    from hanging down within 0.1 rad and 0.1 rad/s.
    Cost theta^2 + 0.1 theta_dot^2 + 0.001 u^2 with theta wrapped to [-pi, pi].
    Success: |theta| < 0.2 rad in each of the last 20 steps.
    True m = 1 kg and l = 1 m; the agent is given m, l ~ U[0.9, 1.5], 20 % too large on average.

    Source: the equations of Gymnasium's Pendulum-v1 (Towers et al., 2024) with g = 9.8;
    start, success and bias are this book's choices, since the paper's are not given in it.
    """

    name = "pendulum_swingup"
    dt = 0.05
    episode_steps = 200
    state_dim = 2
    observation_dim = 3
    action_low = (-2.0,)  # N m; holding the true pendulum level takes m g l / 2 = 4.9 N m
    action_high = (2.0,)
    gravity = 9.8  # m/s^2
    max_speed = 8.0  # rad/s
    upright = 0.2  # rad, half-width of the success region
    held_steps = 20  # control steps at the end of an episode that must be upright (1 s)
    true_parameters = {"mass": 1.0, "length": 1.0}
    biased = Uniform.around(true_parameters, bias=0.2, width=0.3)

    def reset(self, size, rng):
        return np.array([np.pi, 0.0]) + rng.uniform(-0.1, 0.1, (size, 2))

    def step(self, states, actions, parameters):
        m, l = parameters["mass"], parameters["length"]
        theta, speed = states[..., 0], states[..., 1]
        change = (1.5 * self.gravity * self.dt / l) * np.sin(theta) + (3.0 * self.dt / (m * l * l)) * actions[..., 0]
        speed = (speed + change).clip(-self.max_speed, self.max_speed)
        new = np.empty_like(states)
        new[..., 0], new[..., 1] = theta + speed * self.dt, speed
        return new

    def angle(self, states):
        """(...) angle from upright in rad, wrapped to [-pi, pi]."""
        theta = states[..., 0]
        return theta - 2 * np.pi * np.rint(theta / (2 * np.pi))

    def cost(self, states, actions):
        return np.square(self.angle(states)) + 0.1 * np.square(states[..., 1]) + 0.001 * np.square(actions[..., 0])

    def observe(self, states):
        """(..., 3): cos theta, sin theta, theta_dot / 4."""
        theta = states[..., 0]
        return np.stack([np.cos(theta), np.sin(theta), states[..., 1] / 4.0], axis=-1)

    def success(self, states):
        end = states[..., -self.held_steps:, :]
        return (end.shape[-2] == self.held_steps) & (np.abs(self.angle(end)) < self.upright).all(axis=-1)

    def render(self, state, size=240):
        figure, rod, bob = _stage(size)
        x, y = np.sin(state[0]), np.cos(state[0])
        rod.set_data([0, x], [0, y])
        bob.set_data([x], [y])
        figure.canvas.draw()
        return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


@cache
def _stage(size):
    """An empty scene of size x size pixels, drawn into again for each frame."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size / 100, size / 100), dpi=100, layout="none")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
    axes.axis("off")
    axes.plot([0], [1], marker="o", markersize=size / 10, color="0.9")  # where the bob should be
    (rod,) = axes.plot([], [], linewidth=size / 40, color="0.35", solid_capstyle="round")
    (bob,) = axes.plot([], [], marker="o", markersize=size / 12, color="#0072B2")
    axes.plot([0], [0], marker="o", markersize=size / 40, color="black")
    return figure, rod, bob
