"""Tasks simulated by MuJoCo, and their Gymnasium environments.

A task of this kind gives a model of the true system and one to plan with, and says how named
parameters are written into them; the rest is as for any other task.
"""

import atexit
import os
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.rollout import MujocoSimulator, Physics, import_mujoco
from mpqlib.tasks.base import Task, TaskEnv


class MujocoTask(Task):
    """A task on a MuJoCo model; its state is (qpos, qvel) unless its `Physics` say otherwise.

    Subclasses give `true_physics` and `planning_physics` as cached properties, and `scene` and `view`
    where the true system's own model, seen from MuJoCo's own camera, will not do.

    Attributes:
        true_physics: the `Physics` of the true system.
        planning_physics: the `Physics` planned with, without textures and meshes.
        scene: model that `render` shows, with the true system's joints.
        view: lookat (m), distance (m), azimuth and elevation (degrees) of the camera.
    """

    true_physics: Physics
    planning_physics: Physics
    view: Mapping[str, object] = {}

    @cached_property
    def scene(self):
        return self.true_physics.model

    @abstractmethod
    def write(self, model, parameters) -> None:
        """Put parameters (name -> float) into a model, in place."""

    def fits(self, physics: Physics) -> Physics:
        """The `Physics`, if its steps make up the task's dt and its model takes the task's states and actions.

        Raises:
            ValueError: saying what does not fit.
        """
        model, step = physics.model, physics.model.opt.timestep
        if abs(physics.substeps * step - self.dt) > 1e-9:
            raise ValueError(f"{physics.substeps} substeps of {step:g} s make {physics.substeps * step:g} s; a control step of "
                             f"{self.name} is dt = {self.dt:g} s")
        states, actions = np.zeros((1, self.state_dim)), np.zeros((1, 1, self.action_dim))
        joints = np.shape(physics.enter(states))
        if joints != (1, model.nq + model.nv):
            raise ValueError(f"a state of {self.name} (state_dim = {self.state_dim}) enters its model as {joints[-1]} numbers; the model "
                             f"has {model.nq} positions and {model.nv} velocities")
        found = physics.controls(states, actions, physics.substeps).shape
        if physics.control_spec is None and found[-1] != model.nu:
            raise ValueError(f"an action of {self.name} ({self.action_dim} numbers) drives its model by {found[-1]}; the model has "
                             f"{model.nu} actuators")
        return physics

    def true_system(self, threads=1) -> MujocoSimulator:
        return MujocoSimulator(self.fits(self.true_physics), self.write, Uniform.around(self.true_parameters), threads=threads)

    def simulator(self, distribution=None, worlds=256, threads=1) -> MujocoSimulator:
        return MujocoSimulator(self.fits(self.planning_physics), self.write, self.checked(distribution), worlds, threads)

    def pose(self, model, data, state) -> None:
        """Put the scene into a state (ns,)."""
        both = self.true_physics.enter(state[None])[0]
        data.qpos[:], data.qvel[:] = both[:model.nq], both[model.nq:]

    def render(self, state, size=240):
        """(size, size, 3) uint8 picture of one state (ns,).

        Raises:
            RuntimeError: if there is no GL library to draw with.
        """
        mujoco = import_mujoco()
        if size not in (renderers := self.__dict__.setdefault("_renderers", {})):
            model = self.scene
            model.vis.global_.offwidth = max(model.vis.global_.offwidth, size)
            model.vis.global_.offheight = max(model.vis.global_.offheight, size)
            try:
                renderers[size] = mujoco.Renderer(model, size, size), mujoco.MjData(model), mujoco.MjvCamera()
            except Exception as error:  # each GL platform fails in its own way
                raise RuntimeError(f"there is no GL to render with (MUJOCO_GL is {os.environ.get('MUJOCO_GL')!r}: {error}); install "
                                   "libegl1 or libosmesa6 and set MUJOCO_GL to egl or osmesa, or look at the stored "
                                   "videos in data/videos") from error
            atexit.register(renderers[size][0].close)  # while GL is still there
            camera = renderers[size][2]
            mujoco.mjv_defaultFreeCamera(model, camera)
            for key, value in self.view.items():
                setattr(camera, key, value)
        renderer, data, camera = renderers[size]
        self.pose(self.scene, data, np.asarray(state, float))
        mujoco.mj_forward(self.scene, data)
        renderer.update_scene(data, camera)
        return renderer.render()

    def environment(self, **kwargs) -> "MujocoTaskEnv":
        return MujocoTaskEnv(self, **kwargs)


class MujocoTaskEnv(TaskEnv):
    """A MuJoCo task as a Gymnasium environment; see `TaskEnv`.

    `model` and `data` are as those of Gymnasium's MujocoEnv: what is written into them
    (a friction, a joint position) counts in the next step; of a biased environment, whose worlds
    are drawn anew, `model` is the first of them alone.  After a mass or a size call
    `mujoco.mj_setConst(model, mujoco.MjData(model))`, as MuJoCo asks for.
    """

    def __init__(self, task, biased=False, render_mode=None):
        super().__init__(task, biased, render_mode)
        self.model = self.system.models[0]
        self.data = import_mujoco().MjData(self.model)

    @property
    def dt(self) -> float:
        return self.task.dt

    def set_state(self, qpos, qvel) -> None:
        """Move the joints: qpos (nq,), qvel (nv,)."""
        self.data.qpos[:], self.data.qvel[:] = qpos, qvel
        import_mujoco().mj_forward(self.model, self.data)

    def _write(self, controls=None):
        mujoco, physics = import_mujoco(), self.system.physics
        self._written = physics.enter(self.states[-1][None])[0]
        if controls is not None:
            spec = mujoco.mjtState.mjSTATE_CTRL if physics.control_spec is None else physics.control_spec
            mujoco.mj_setState(self.model, self.data, controls, int(spec))
        self.set_state(self._written[:self.model.nq], self._written[self.model.nq:])

    def reset(self, *, seed=None, options=None):
        found = super().reset(seed=seed)
        import_mujoco().mj_resetData(self.model, self.data)
        self._write()
        return found

    def step(self, action):
        physics, state, joints = self.system.physics, self.states[-1], np.concatenate([self.data.qpos, self.data.qvel])
        if not np.array_equal(joints, self._written):
            stay = np.zeros((1, 1, self.task.action_dim))
            self.states[-1] = state = physics.leave(joints[None, None], state[None], stay)[0, 0]
        result = super().step(action)
        clipped = np.clip(action, self.task.action_low, self.task.action_high)
        self.data.time += self.task.dt
        self._write(physics.controls(state[None], clipped[None, None], physics.substeps)[0, -1])
        return result


def package_folder(package: str) -> Path:
    """Where an installed package is, without importing it.

    Raises:
        ImportError: if it is not installed, saying how to install it.
    """
    found = find_spec(package)
    if found is None:
        how = "pip install --no-deps dm_control==1.0.43" if package == "dm_control" else "pip install 'mpqlib[mujoco]'"
        raise ImportError(f"{package} is not installed; `{how}` brings it")
    return Path(found.origin).parent


def named(model, kind: str, name: str) -> int:
    """Id of a named element (kind: body, joint, geom, site, actuator, tendon, sensor) of a model.

    Raises:
        ValueError: naming the element if the model has no such one, and those it has.
    """
    mujoco = import_mujoco()
    found = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}"), name)
    if found < 0:
        count = {"joint": "njnt", "actuator": "nu"}.get(kind, f"n{kind}")
        there = [getattr(model, kind)(i).name for i in range(getattr(model, count))]
        raise ValueError(f"the model has no {kind} named {name!r}; it has {', '.join(filter(None, there)) or 'none'}")
    return found
