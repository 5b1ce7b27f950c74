"""FrankaDrawerOpen: a seven-joint arm hooks its fingers behind a bar handle and pulls a drawer open."""

from functools import cached_property

import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.rollout import Physics, import_mujoco
from mpqlib.tasks.mujoco import MujocoTask, named, package_folder


# Per joint: a (m), d (m), alpha (quarter turns) of the modified Denavit-Hartenberg convention;
# range (rad); torque limit (N m); gain (N m s/rad); mass (kg); capsule: its two ends (m), radius (m).
# The frame of joint i is Rot_x(alpha) Trans_x(a) Rot_z(q_i) Trans_z(d) in that of joint i - 1.
_JOINTS = (
    (0.0, 0.333, 0, (-2.8973, 2.8973), 87, 40, 4.971, "0 0 -0.14 0 0 0", 0.06),
    (0.0, 0.0, -1, (-1.7628, 1.7628), 87, 40, 0.647, "0 -0.17 0 0 0 0", 0.06),
    (0.0, 0.316, 1, (-2.8973, 2.8973), 87, 40, 3.229, "0 0 -0.10 0.08 0 0", 0.06),
    (0.0825, 0.0, 1, (-3.0718, -0.0698), 87, 40, 3.588, "0 0 0 -0.08 0.10 0", 0.055),
    (-0.0825, 0.384, -1, (-2.8973, 2.8973), 12, 15, 1.226, "0 0.05 -0.22 0 0.03 0", 0.05),
    (0.0, 0.0, 1, (-0.0175, 3.7525), 12, 15, 1.667, "0 0 0 0.08 0 0", 0.05),
    (0.088, 0.0, 1, (-2.8973, 2.8973), 12, 15, 0.736, "0 0 0.02 0 0 0.08", 0.045),
)
_COLLIDING = (5, 6, 7)  # links that touch the cabinet, as hand and fingers do; the others do not reach it
_MESHES = (*(f"link{i}" for i in range(8)), "hand", "finger")
_FLANGE = 0.107  # m along the axis of joint 7
_TIP = 0.1034  # m from the flange to the centre of the fingertips
_TIP_HEIGHTS = _FLANGE + _TIP - np.array([0.0, 1.0])  # m along the axis of joint 7: the tip, and 1 m behind it
_HOME = np.array([0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4])  # rad

_FRONT = (0.62, 0.0, 0.44)  # m, centre of the closed drawer's front
_HALF_WIDTH, _HALF_HEIGHT, _DEPTH = 0.225, 0.09, 0.42  # m
_GAP, _BAR_HEIGHT = 0.06, 0.05  # m between bar and front, m from the front's centre up to the bar
_BAR_RADIUS, _BAR_HALF_LENGTH = 0.008, 0.08  # m
_BELOW = 0.02  # m, depth of the target below the bar
_TARGET = np.array([_FRONT[0] - _GAP / 2, _FRONT[1], _FRONT[2] + _BAR_HEIGHT - _BELOW])  # m, with the drawer closed
_OUT = np.array([1.0, 0.0, 0.0])  # the drawer opens against it


class FrankaDrawerOpen(MujocoTask):
    """A Franka Emika Panda with closed fingers before a cabinet; one drawer with a bar handle.

    State (16): angles of joints 1 to 7 in rad, opening of the drawer in m, and their velocities.
    Action (7): velocities that the joints are driven to, in rad/s, |a| <= 1 (the robot's own limits are
    2.175 and, for the last three joints, 2.61).  Torque = gain (a - velocity), gain 40 N m s/rad for
    joints 1 to 4 and 15 for 5 to 7, at most 87 and 12 N m; joint damping and friction act against it,
    so that the arm follows late, and the wrist hardly heeds small commands.  Gravity is compensated.
    Control step 0.05 s, 100 steps (5 s).  Start: at rest, each joint within 0.15 rad of the robot's home
    pose, drawer closed.
    Cost |tip - target| + 5 max(0, 0.2 - opening), in m: the tip is between the fingertips, the target in
    the middle of the 6 cm gap between bar and drawer front, 2 cm below the bar, and moves with the drawer.
    Success: the drawer is more than 0.18 m open at the end of the episode.
    Contact is without friction, the drawer is full to its rim and the handle is a solid block for all but
    the fingers, so that only fingers that pull from behind the bar open it.  Links 5 to 7, hand and fingers
    collide with cabinet, drawer and handle, the robot not with itself or the floor.
    True: joint damping 6 N m s/rad, joint friction 6 N m, drawer damping 30 N s/m, drawer friction 15 N.
    The agent is given an arm and a drawer that move too easily: damping 0.2 to 1 and friction 0 to 1 in the
    joints, 1 to 5 and 0 to 2 at the drawer.

    Source: the paper's task by name; model, cost and bias are this book's.  Kinematics, joint ranges and
    torque limits are those that the maker publishes (Franka Emika, 2023), masses as identified by Gaz et
    al. (2019), spread over a capsule per link.  The pictures show the visual meshes that gymnasium-robotics
    ships; its XML files beside them are "Modified from the original source code at
    https://github.com/vikashplus/franka which was originally written by Vikash Kumar and licensed under the
    Apache License".  Without that package the pictures show the capsules.
    """

    name = "franka_drawer_open"
    dt = 0.05
    episode_steps = 100
    state_dim = 16
    observation_dim = 27
    action_low = (-1.0,) * 7
    action_high = (1.0,) * 7
    start_noise = 0.15  # rad
    goal, needed, opening_weight = 0.2, 0.18, 5.0  # m, m, m of cost per m
    true_parameters = {"joint_damping": 6.0, "joint_friction": 6.0,  # N m s/rad, N m
                       "drawer_damping": 30.0, "drawer_friction": 15.0}  # N s/m, N
    biased = Uniform({"joint_damping": 0.2, "joint_friction": 0.0, "drawer_damping": 1.0, "drawer_friction": 0.0},
                     {"joint_damping": 1.0, "joint_friction": 1.0, "drawer_damping": 5.0, "drawer_friction": 2.0})
    view = {"lookat": (0.34, 0.02, 0.34), "distance": 1.7, "azimuth": 48.0, "elevation": -24.0}

    @cached_property
    def true_physics(self):
        return self._physics(substeps=10)  # of 5 ms

    @cached_property
    def planning_physics(self):
        return self._physics(substeps=3)

    def _physics(self, substeps):
        model = import_mujoco().MjModel.from_xml_string(mjcf(self.dt / substeps))
        self.write(model, self.true_parameters)
        return Physics(model, substeps)

    @cached_property
    def scene(self):
        meshes = {}
        try:
            folder = package_folder("gymnasium_robotics") / "envs/assets/kitchen_franka/franka_assets/meshes/visual"
            meshes = {f"{name}.stl": (folder / f"{name}.stl").read_bytes() for name in _MESHES}
        except (ImportError, OSError):
            pass  # the capsules will do
        text = mjcf(self.true_physics.model.opt.timestep, scenery=True, meshes=bool(meshes))
        return import_mujoco().MjModel.from_xml_string(text, meshes)

    def write(self, model, parameters):
        arm = [model.jnt_dofadr[named(model, "joint", f"joint{i}")] for i in range(1, 8)]
        drawer = model.jnt_dofadr[named(model, "joint", "drawer")]
        model.dof_damping[arm], model.dof_damping[drawer] = parameters["joint_damping"], parameters["drawer_damping"]
        model.dof_frictionloss[arm] = parameters["joint_friction"]
        model.dof_frictionloss[drawer] = parameters["drawer_friction"]

    def reset(self, size, rng):
        states = np.zeros((size, 16))
        states[:, :7] = _HOME + rng.uniform(-self.start_noise, self.start_noise, (size, 7))
        return states

    def tip(self, states):
        """(..., 3) point between the fingertips, in m."""
        return _forward(states, _TIP_HEIGHTS[:1])[0]

    def hand_axis(self, states):
        """(..., 3) unit vector in which the fingers point."""
        return self._tip_and_axis(states)[1]

    def _tip_and_axis(self, states):
        tip, behind = _forward(states, _TIP_HEIGHTS)
        return tip, tip - behind

    def drawer_opening(self, states):
        """(...) opening of the drawer in m."""
        return states[..., 7]

    def target_point(self, states):
        """(..., 3) point in the gap behind the bar, in m; moves with the drawer."""
        return _TARGET - self.drawer_opening(states)[..., None] * _OUT

    def cost(self, states, actions):
        return self._cost(states, self.tip(states))

    def _cost(self, states, tip):
        distance = _length(tip - self.target_point(states))
        return distance + self.opening_weight * np.maximum(0.0, self.goal - self.drawer_opening(states))

    def observe(self, states):
        """(..., 27): angles, velocities / 2, tip - target as tanh(10 .) and as 3 ., 5 times its length,
        hand axis, 5 times the opening, the drawer's velocity, the stage cost."""
        tip, axis = self._tip_and_axis(states)
        offset = tip - self.target_point(states)
        distance = _length(offset)[..., None]
        return np.concatenate([
            states[..., :7], states[..., 8:15] / 2, np.tanh(10 * offset), 3 * offset, 5 * distance, axis,
            5 * states[..., 7:8], states[..., 15:16], self._cost(states, tip)[..., None]], axis=-1)

    def success(self, states):
        return self.drawer_opening(states[..., -1, :]) > self.needed

    def by_hand(self, starts, rng, told=None):
        """Episodes of a handwritten policy on the true system: fingers above the gap, into it, and pull; a yardstick.

        The tip is led by velocities of at most 0.25 m/s, brought to the joints by the pseudo-inverse of their
        Jacobian; the commands make up for damping and friction in the joints and at the drawer.

        Args:
            starts: (n, 16) start states; rng: as for a simulator.
            told: name -> value, the parameters that it believes in; None for the true ones.

        Returns:
            states (n, T + 1, 16) and commands (n, T, 7).

        Raises:
            ValueError: if `told` does not name exactly the task's parameters.
        """
        gain = np.array([joint[5] for joint in _JOINTS], float)
        told = self.checked(Uniform.around(self.true_parameters if told is None else told)).low
        damping, friction = told["joint_damping"], told["joint_friction"]
        force = 0.25 * told["drawer_damping"] + told["drawer_friction"]  # N, at 0.25 m/s
        system, stage, states, actions = self.true_system(), np.zeros(len(starts), int), [starts], []
        for _ in range(self.episode_steps):
            now, gap = states[-1], self.target_point(states[-1]) - [0, 0, 0.01]
            above = gap + [-0.02, 0, 0.1]
            tip, axis = self._tip_and_axis(now)
            stage += (stage == 0) & (_length(tip - above) < 0.02)
            stage += (stage == 1) & (_length(tip - gap) < 0.012)
            goal = np.choose(stage[:, None], [above, gap, gap - [0.06, 0, 0.01]])
            way = (goal - tip) / 0.15  # m/s, at most 0.25
            way *= np.minimum(1, 0.25 / np.maximum(_length(way)[:, None], 1e-9))
            lean = 3 * (np.array([0.1, 0, -0.995]) - axis)  # fingers down
            jacobian = self.jacobian(now)
            speeds = (np.linalg.pinv(jacobian, rcond=0.05) @ np.concatenate([way, lean], axis=-1)[..., None])[..., 0]
            command = (gain + damping) / gain * speeds + friction / gain * np.tanh(speeds / 0.02)
            command -= (stage == 2)[:, None] * jacobian[:, 0] * force / gain  # what the drawer asks for
            actions.append(command.clip(-1, 1))
            states.append(system(now, actions[-1][:, None], rng)[:, 1])
        return np.stack(states, axis=1), np.stack(actions, axis=1)

    def jacobian(self, states):
        """(..., 6, 7) of tip and hand axis with respect to the joint angles, by central differences; m/rad and 1/rad."""
        nudges = 1e-5 * np.eye(7, 16).reshape(7, *(1,) * (states.ndim - 1), 16)
        ahead, behind = (np.concatenate(self._tip_and_axis(states + sign * nudges), axis=-1) for sign in (1, -1))
        return np.moveaxis(ahead - behind, 0, -1) / 2e-5


def _length(vectors):
    return np.sqrt(np.einsum("...i,...i", vectors, vectors))  # np.linalg.norm takes twice as long


def _forward(states, heights):
    """(n, ..., 3) points at heights (n,) on the axis of joint 7, from its frame, in the world, with the arm as in states (..., 16).

    That joint turns about the axis and moves none of them.
    """
    angles = np.ascontiguousarray(np.moveaxis(states[..., :6], -1, 0))  # each joint's contiguous: twice as fast
    cos, sin = np.cos(angles), np.sin(angles)
    x, y, z = 0.0, 0.0, heights.reshape(-1, *(1,) * (states.ndim - 1))
    for i, (a, d, turn, *_) in reversed(list(enumerate(_JOINTS))):
        if i < 6:
            x, y = cos[i] * x - sin[i] * y, sin[i] * x + cos[i] * y
        if a:
            x = x + a
        if d:
            z = z + d
        if turn:  # by a right angle, exactly
            y, z = (-z, y) if turn > 0 else (z, -y)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


def mjcf(timestep, scenery=False, meshes=False) -> str:
    """The MJCF text of robot and cabinet.

    Args:
        timestep: in s.
        scenery: whether to add what is only looked at: floor, lights, the cabinet's details.
        meshes: whether files link0.stl to link7.stl, hand.stl and finger.stl are shown in place of the capsules.
    """
    looks, books = (_looks(meshes), _books()) if scenery else ("", "")
    arm, actuators = "", ""
    for i, (a, d, turn, (low, high), torque, gain, mass, ends, radius) in enumerate(_JOINTS, start=1):
        kind = "bulky" if i in _COLLIDING else "inside"
        arm += f"""
    <body name="link{i}" pos="{a} {-turn * d} {0 if turn else d}" quat="1 {turn} 0 0">
      <joint name="joint{i}" axis="0 0 1" range="{low} {high}" armature="0.1"/>
      <geom name="link{i}" class="{kind}" type="capsule" fromto="{ends}" size="{radius}" mass="{mass}"/>
      {_mesh(f"link{i}", meshes)}"""
        actuators += f"""
    <velocity name="joint{i}" joint="joint{i}" kv="{gain}" ctrlrange="-1 1" forcerange="-{torque} {torque}"/>"""
    x, y, z = _FRONT
    bar, top = -_GAP - _BAR_RADIUS, z + _HALF_HEIGHT + 0.025
    left, right = f"{_BAR_HALF_LENGTH} {_BAR_HEIGHT}", f"-{_BAR_HALF_LENGTH} {_BAR_HEIGHT}"
    return f"""
<mujoco model="franka_drawer_open">
  <compiler angle="radian"/>
  <option timestep="{timestep}" integrator="implicitfast" iterations="10" ls_iterations="20" gravity="0 0 0"/>
  <size memory="200K"/>
  <default>
    <geom contype="0" conaffinity="0" condim="1" group="{3 if meshes else 0}" rgba=".93 .94 .95 1"/>
    <default class="inside"/>
    <default class="bulky"><geom contype="2"/></default>
    <default class="finger"><geom contype="1" type="capsule" size="0.0105" mass="0.1"/></default>
    <default class="shown"><geom type="mesh" group="0" mass="0"/></default>
    <default class="wood"><geom type="box" group="0" mass="0" rgba=".80 .63 .44 1"/></default>
    <default class="solid"><geom type="box" conaffinity="3" group="0" rgba=".25 .33 .42 1"/></default>
    <default class="handle">
      <geom type="capsule" size="{_BAR_RADIUS}" mass="0.05" conaffinity="1" group="0" rgba=".75 .76 .78 1"/>
    </default>
  </default>
  {looks}
  <worldbody>
    {_mesh("link0", meshes)}{arm}
    <body name="hand" pos="0 0 {_FLANGE}" quat="{np.cos(np.pi / 8)} 0 0 {-np.sin(np.pi / 8)}">
      <geom name="hand" class="bulky" type="box" pos="0 0 0.02" size="0.0315 0.102 0.046" mass="0.73"/>
      <geom name="finger_left" class="finger" fromto="0 0.009 0.06 0 0.009 0.1018"/>
      <geom name="finger_right" class="finger" fromto="0 -0.009 0.06 0 -0.009 0.1018"/>
      <site name="tip" pos="0 0 {_TIP}" group="4"/>
      {_mesh("hand", meshes)}
      {_mesh("finger", meshes, 'pos="0 0 0.0584"')}
      {_mesh("finger", meshes, 'pos="0 0 0.0584" quat="0 0 0 1"')}
    </body>
    {"</body>" * 7}
    <geom name="cabinet" class="solid" pos="{x + 0.228} {y} {top / 2}" size="0.225 {_HALF_WIDTH + 0.025} {top / 2}"/>
    <body name="drawer" pos="{x} {y} {z}">
      <joint name="drawer" type="slide" axis="-1 0 0" range="0 0.35"/>
      <geom name="drawer" class="solid" pos="{_DEPTH / 2} 0 0" size="{_DEPTH / 2} {_HALF_WIDTH} {_HALF_HEIGHT}"
        mass="3" group="{3 if scenery else 0}"/>
      <geom name="bar" class="handle" fromto="{bar} {left} {bar} {right}"/>
      <geom name="post_left" class="handle" fromto="0 {left} {bar} {left}"/>
      <geom name="post_right" class="handle" fromto="0 {right} {bar} {right}"/>
      <geom name="block" type="box" conaffinity="2" group="3" mass="0" pos="{(bar - _BAR_RADIUS) / 2} 0 {_BAR_HEIGHT}"
        size="{(_BAR_RADIUS - bar) / 2} {_BAR_HALF_LENGTH + _BAR_RADIUS} {_BAR_RADIUS}"/>
      <site name="target" pos="{-_GAP / 2} 0 {_BAR_HEIGHT - _BELOW}" group="4"/>
      {books}
    </body>
  </worldbody>
  <actuator>{actuators}
  </actuator>
</mujoco>"""


def _mesh(name, there, place=""):
    return f'<geom class="shown" mesh="{name}" {place}/>' if there else ""


def _looks(meshes):
    """Floor, sky, light, the doors under the drawer, and the meshes' files."""
    files = "".join(f'<mesh name="{name}" file="{name}.stl"/>' for name in _MESHES) if meshes else ""
    x, y, z = _FRONT
    half = (z - _HALF_HEIGHT) / 2
    doors = "".join(f'<geom class="wood" pos="{x + 0.002} {y + side} {half + 0.02}" size="0.002 0.111 {half - 0.03}"/>'
                    for side in (-0.114, 0.114))
    return f"""
  <visual>
    <quality shadowsize="4096" offsamples="8"/>
    <headlight ambient=".32 .32 .32" diffuse=".15 .15 .15" specular="0 0 0"/>
  </visual>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1=".97 .98 1" rgb2=".70 .79 .87" width="64" height="384"/>
    <texture name="floor" type="2d" builtin="checker" rgb1=".87 .88 .89" rgb2=".82 .84 .86" width="256" height="256"/>
    <material name="floor" texture="floor" texrepeat="12 12" specular=".1"/>
    {files}
  </asset>
  <worldbody>
    <light directional="true" pos="-1 -1.5 3" dir="0.35 0.55 -1" diffuse=".55 .55 .53" specular=".15 .15 .15"/>
    <light directional="true" pos="-1 1 2" dir="0.6 -0.5 -0.6" diffuse=".2 .2 .22" castshadow="false"/>
    <geom type="plane" size="6 6 .1" material="floor" group="0"/>
    {doors}
  </worldbody>"""


def _books():
    """The drawer as it looks: front, bottom, sides, and books up to its rim."""
    w, h, half = _HALF_WIDTH, _HALF_HEIGHT, _DEPTH / 2 - 0.01
    parts = [((0.01, 0, 0), (0.01, w - 0.003, h - 0.003), ""),
             ((half + 0.02, 0, 0.01 - h), (half, w - 0.01, 0.005), "")]
    parts += [((half + 0.02, side, 0), (half, 0.008, h - 0.006), "") for side in (0.012 - w, w - 0.012)]
    colours = ("0 .45 .70", ".84 .37 0", "0 .62 .45", ".90 .62 0", ".34 .71 .91", ".80 .47 .65")
    rng, front = np.random.default_rng(3), 0.022
    while front < 2 * half - 0.02:
        thick, wide, tall = rng.uniform((0.007, 0.15, h - 0.018), (0.016, 0.2, h - 0.008))
        parts.append(((front + thick, 0, tall - h), (thick, wide, tall), f'rgba="{rng.choice(colours)} 1"'))
        front += 2 * thick + 0.001
    return "\n      ".join('<geom class="wood" pos="{} {} {}" size="{} {} {}" {}/>'.format(*place, *size, colour)
                           for place, size, colour in parts)
