"""Batched simulation behind one call.

The planner and the learner see a simulator only as
`simulate(states (B, ns), actions (B, H, du), rng) -> states (B, H + 1, ns)`.
Row b of the batch is one world: its parameters are drawn anew at each call, once per row,
and held along the rollout.
"""

import copy
import logging
import os
import sys
from collections.abc import Callable
from ctypes.util import find_library
from dataclasses import dataclass

import numpy as np


class Simulator:
    """A task's equations of motion under a distribution over their parameters.

    A distribution of width zero at the true values is the true system;
    one with a biased centre is the biased simulator (P-hat of the paper).

    Args:
        step: `step(states (B, ns), actions (B, du), parameters) -> states (B, ns)`,
            one control step; `parameters` maps names to scalars or (B,) arrays.
        distribution: an object with `sample(size, rng) -> parameters`, such as
            `mpqlib.randomization.Uniform`.
    """

    def __init__(self, step, distribution):
        self.step, self.distribution = step, distribution

    def __call__(self, states, actions, rng):
        """Roll out each action sequence from its start state.

        Args:
            states: (B, ns) start states.
            actions: (B, H, du) actions, already within the actuator range.
            rng: numpy Generator for the parameters of each row.

        Returns:
            (B, H + 1, ns) states; index 0 holds the start states.
        """
        B, horizon, _ = actions.shape
        # Time first, and each component of the state contiguous over the batch: twice as fast.
        trajectory = np.empty((horizon + 1, states.shape[1], B)).swapaxes(1, 2)
        trajectory[0] = states
        parameters = self.distribution.sample(B, rng)
        for t, action in enumerate(np.ascontiguousarray(actions.transpose(1, 2, 0)).swapaxes(1, 2)):
            trajectory[t + 1] = self.step(trajectory[t], action, parameters)
        return trajectory.swapaxes(0, 1)


def import_mujoco():
    """The mujoco module; on a Linux machine without a display it renders with EGL or OSMesa, if there is a library for it.

    Raises:
        ImportError: if MuJoCo is not installed, saying how to install it.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        there = [name for name, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if find_library(library)]
        os.environ.setdefault("MUJOCO_GL", (there or ["disable"])[0])
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise ImportError(f"{error.name} is not installed; `pip install 'mpqlib[mujoco]'` brings MuJoCo") from None
    except (ImportError, AttributeError):  # PyOpenGL's answer to a missing library
        os.environ["MUJOCO_GL"] = "disable"
        import mujoco
    if mujoco.get_mju_user_warning() is None:  # or it writes MUJOCO_LOG.TXT into the folder one works in
        mujoco.set_mju_user_warning(logging.getLogger("mujoco").warning)
    return mujoco


@dataclass(frozen=True)
class Physics:
    """One MuJoCo model of a task, and how the task's states and actions enter and leave it.

    The true system and the model planned with may differ in all of this, the time step included.

    Args:
        model: an `mujoco.MjModel`; copied for each world, never changed here.
        substeps: MuJoCo steps per control step.
        enter: `enter(states (B, ns)) -> (B, nq + nv)`, joint positions and velocities.
        leave: `leave(physics (B, H, nq + nv), states (B, ns), actions (B, H, du)) -> (B, H, ns)`,
            the task's states after each control step, from where the joints are then.
        controls: `controls(states, actions, substeps) -> (B, H * substeps, nc)`, what drives the model
            in each MuJoCo step, laid out as `control_spec` says.
        control_spec: bits of `mujoco.mjtState`; None for the actuators alone.
    """

    model: object
    substeps: int
    enter: Callable = lambda states: states
    leave: Callable = lambda physics, states, actions: physics
    controls: Callable = lambda states, actions, substeps: actions.repeat(substeps, axis=1)
    control_spec: int | None = None


class MujocoSimulator:
    """Batched MuJoCo rollouts under a distribution over the model's parameters.

    One pool of `worlds` models is written when it is made, from parameters spread evenly over
    the distribution, and never copied or rewritten; each call draws a world for each row.
    A distribution of width zero needs one world.
    Results do not depend on the number of threads.
    Rows whose physics diverge hold NaN from there on, and are counted.

    Args:
        physics: a `Physics`.
        write: `write(model, parameters)` puts named parameters into a model, in place.
        distribution: an object with `spread(size) -> parameters`, such as
            `mpqlib.randomization.Uniform`.
        worlds: size of the pool.
        threads: MuJoCo threads; 1 runs on the calling one.

    Attributes:
        diverged: rows that diverged, over all calls.

    Raises:
        ValueError: if worlds or threads is below 1.
    """

    CLOCK = 1.0  # s, time at the start of each rollout

    def __init__(self, physics: Physics, write, distribution, worlds: int = 256, threads: int = 1):
        mujoco = import_mujoco()
        from mujoco import rollout

        for name, value in (("worlds", worlds), ("threads", threads)):
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be >= 1")
        parameters = distribution.spread(worlds)
        if all(np.ndim(value) == 0 for value in parameters.values()):
            worlds = 1
        self.physics, self.diverged = physics, 0
        self.models = [copy.copy(physics.model) for _ in range(worlds)]
        for world, model in enumerate(self.models):
            write(model, {name: value if np.ndim(value) == 0 else value[world] for name, value in parameters.items()})
        self._pool = rollout.Rollout(nthread=0 if threads == 1 else threads)
        self._data = [mujoco.MjData(model) for model in self.models[:1] * threads]
        self._control_spec = int(mujoco.mjtState.mjSTATE_CTRL) if physics.control_spec is None else physics.control_spec
        self._size = mujoco.mj_stateSize(physics.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        if self._size != 1 + physics.model.nq + physics.model.nv:
            raise ValueError(f"the model's physics state has {self._size} numbers, not time, {physics.model.nq} positions "
                             f"and {physics.model.nv} velocities; models with activations or plugins are not supported")
        self._arrays = {}

    def __call__(self, states, actions, rng):
        """Roll out each action sequence from its start state, in a world drawn for it.

        Args:
            states: (B, ns) start states.
            actions: (B, H, du) actions, already within the actuator range.
            rng: numpy Generator for the world of each row; not used where there is one world.

        Returns:
            (B, H + 1, ns) states; index 0 holds the start states.
        """
        B, horizon, _ = actions.shape
        physics, substeps = self.physics, self.physics.substeps
        if (B, horizon) not in self._arrays:  # kept: a planner asks for the same shape again and again
            self._arrays[B, horizon] = np.full((B, self._size), self.CLOCK), np.empty((B, horizon * substeps, self._size))
        start, visited = self._arrays[B, horizon]
        start[:, 1:] = physics.enter(states)
        if len(self.models) == 1:
            models = self.models * B
        else:
            models = [self.models[i] for i in rng.integers(len(self.models), size=B).tolist()]
        controls = np.ascontiguousarray(physics.controls(states, actions, substeps), float)
        self._pool.rollout(models, self._data, start, controls, control_spec=self._control_spec,
                           nstep=horizon * substeps, state=visited, skip_checks=True)
        found = np.empty((B, horizon + 1, states.shape[1]))
        found[:, 0] = states
        after = visited[:, substeps - 1::substeps]
        found[:, 1:] = physics.leave(after[..., 1:], states, actions)
        # MuJoCo stops a simulation that it warns of, and may reset it: the clock is late then.
        step = self.models[0].opt.timestep
        if after[:, -1, 0].min() < self.CLOCK + (horizon * substeps - 0.5) * step:
            late = after[..., 0] < self.CLOCK + (substeps * np.arange(1, horizon + 1) - 0.5) * step
            self.diverged += np.count_nonzero(late[:, -1])
            found[:, 1:][late] = np.nan
        return found
