"""BallInCupSparse: swing a ball on a string into a cup, told only whether it is in."""

import re
from functools import cached_property

import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.rollout import Physics, import_mujoco
from mpqlib.tasks.mujoco import MujocoTask, named, package_folder


_RADIUS = 0.025  # m
_MASS = 1000.0 * 4 / 3 * np.pi * _RADIUS**3  # kg, MuJoCo's default density
_INERTIA = 0.4 * _MASS * _RADIUS**2  # kg m^2


class BallInCupSparse(MujocoTask):
    """A cup on two springs, moved by two motors; a ball hangs from it by a string of 0.3 m.

    State (8): cup x, cup z, ball x, ball z in m from their places at rest, and their velocities in m/s.
    Action (2): signal to the cup's horizontal and vertical motor, |a| <= 1 (5 N each).
    Control step 0.02 s, 150 steps (3 s).  The ball starts at rest, anywhere in an area of
    0.4 m x 0.3 m where it touches nothing.
    Cost 1, or 0 while the ball is in the cup: within 0.025 m, in x and in z, of the target point.
    Success: in the cup for at least 20 of the last 25 steps (0.4 of the last 0.5 s), so that one
    bounce is forgiven.
    True: ball of 0.0654 kg (a sphere of 0.025 m and the density of water), inertia 1.64e-5 kg m^2, and
    a string without a spring, whose limit is soft.  The agent is given a ball 2 to 8 times as heavy, with 2 to 8 times the
    inertia, on a string with a spring of up to 500 N/m beyond its length.

    Source: `ball_in_cup` of the DeepMind Control Suite (Tassa et al., 2018), the model of the
    installed package; it moves the ball on two slides, so that its moment of inertia cannot matter.
    Sparse cost, bias and success rule are this book's choices, since the paper's are not given in it.
    """

    name = "ball_in_cup_sparse"
    dt = 0.02
    episode_steps = 150
    state_dim = 8
    observation_dim = 8
    action_low = (-1.0, -1.0)
    action_high = (1.0, 1.0)
    cup_rest, ball_rest, target_below = 0.6, 0.2, 0.05  # m: heights of cup and ball at zero, depth of the target
    tolerance = 0.025  # m, target half-width minus ball radius
    needed, last_steps = 20, 25
    true_parameters = {"mass": _MASS, "inertia": _INERTIA, "stiffness": 0.0}  # kg, kg m^2, N/m
    biased = Uniform({"mass": 2 * _MASS, "inertia": 2 * _INERTIA, "stiffness": 0.0},
                     {"mass": 8 * _MASS, "inertia": 8 * _INERTIA, "stiffness": 500.0})
    view = {"lookat": (0.0, 0.0, 0.52), "distance": 1.15, "azimuth": 90.0, "elevation": -4.0}

    @cached_property
    def true_physics(self):
        return Physics(_model(), substeps=10)

    @cached_property
    def planning_physics(self):
        model = _model()
        model.opt.timestep = 0.01  # at 0.02 s a shaken ball leaves the cup more often than the true one
        return Physics(model, substeps=2)

    @cached_property
    def scene(self):
        return import_mujoco().MjModel.from_xml_path(str(package_folder("dm_control") / "suite" / "ball_in_cup.xml"))

    def write(self, model, parameters):
        ball = named(model, "body", "ball")
        model.body_mass[ball] = parameters["mass"]
        model.body_inertia[ball] = parameters["inertia"]
        string = named(model, "tendon", "string")
        model.tendon_stiffness[string] = parameters["stiffness"]
        model.tendon_lengthspring[string] = model.tendon_range[string]  # slack up to its full length
        import_mujoco().mj_setConst(model, import_mujoco().MjData(model))

    def reset(self, size, rng):
        """Ball at rest in x in [-0.2, 0.2], z in [0.2, 0.5] m, drawn again while it touches the cup or pulls the string."""
        states = np.zeros((size, 8))
        todo = np.arange(size)
        while todo.size:
            states[todo, 2:4] = rng.uniform((-0.2, 0.2), (0.2, 0.5), (todo.size, 2))
            todo = todo[self.touching(states[todo])]
        return states

    def touching(self, states):
        """(...) whether anything is in contact, as MuJoCo finds it."""
        mujoco, model = import_mujoco(), self.true_physics.model
        data = mujoco.MjData(model)
        contacts = []
        for state in states:
            data.qpos[:] = state[:4]
            mujoco.mj_forward(model, data)
            contacts.append(data.ncon > 0)
        return np.array(contacts)

    def ball_to_target(self, states):
        """(..., 2) vector from the ball to the target point in the cup, x and z, in m."""
        vector = states[..., :2] - states[..., 2:4]
        vector[..., 1] += self.cup_rest - self.target_below - self.ball_rest
        return vector

    def in_target(self, states):
        """(...) whether the ball is in the cup."""
        near = np.abs(self.ball_to_target(states)) < self.tolerance
        return near[..., 0] & near[..., 1]

    def cost(self, states, actions):
        return 1.0 - self.in_target(states)

    def observe(self, states):
        """(..., 8): cup position x 5, ball relative to the target x 10, cup velocity / 2, relative velocity / 2."""
        features = np.empty(states.shape)
        features[..., :2] = 5 * states[..., :2]
        features[..., 2:4] = -10 * self.ball_to_target(states)
        features[..., 4:6] = states[..., 4:6] / 2
        features[..., 6:8] = (states[..., 6:8] - states[..., 4:6]) / 2
        return features

    def success(self, states):
        caught = self.in_target(states[..., -self.last_steps:, :])
        return (caught.shape[-1] == self.last_steps) & (caught.sum(axis=-1) >= self.needed)


def model_xml():
    """dm_control's model as MJCF, without materials and sky: 20 KB instead of 11 MB, the same trajectories."""
    xml = (package_folder("dm_control") / "suite" / "ball_in_cup.xml").read_text()
    xml = re.sub(r"<include[^>]*/>|material=\"[^\"]*\"", "", xml)
    return xml.replace("<worldbody>", '<size memory="200K"/><worldbody>', 1)


def _model():
    return import_mujoco().MjModel.from_xml_string(model_xml())
