"""FetchPushBlock: push a block across a table to a goal, with a Fetch robot's gripper."""

from functools import cached_property

import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.rollout import Physics, import_mujoco
from mpqlib.tasks.mujoco import MujocoTask, named, package_folder

_TABLE = 0.4  # m, height of the table top
_HALF = 0.025  # m, half the edge of the true block
_ARM = tuple(f"robot0:{name}_joint" for name in ("shoulder_pan", "shoulder_lift", "upperarm_roll", "elbow_flex",
                                                 "forearm_roll", "wrist_flex", "wrist_roll"))
_REST = ("robot0:slide0", "robot0:slide1", "robot0:slide2", "robot0:torso_lift_joint", "robot0:head_pan_joint",
         "robot0:head_tilt_joint", *_ARM)
_FINGERS = ("robot0:r_gripper_finger_joint", "robot0:l_gripper_finger_joint")
_BLOCK = "object0:joint"

# The gripper alone, 28 kg on three slides that stand for the arm; their servos stand for the weld that moves it:
# 45 rad/s and a damping ratio of 1.1, fitted to where it goes in free motion (0.3 mm off, root mean square).
# Nothing weighs on them, since the weld hardly sags (0.2 mm).  The gripper's frame is turned as it hangs, so that the
# slides are x, y and z.  The fingers are the Fetch's, with contacts as soft as steps of 10 ms ask for.
# The solver may take MuJoCo's default of iterations: with at most 5, light blocks that are pushed fly off at metres per
# second and planners exploit it, while nothing is gained, since it seldom needs more.
_GRIPPER = """
<mujoco>
  <option timestep="0.01"/>
  <size memory="200K"/>
  <default>
    <joint type="slide" damping="2810"/>
    <position kp="57900"/>
    <default class="finger">
      <joint armature="100" damping="1000" range="0 0.05" solimplimit="0.99 0.999 0.01" solreflimit="0.02 1"/>
      <geom type="box" size="0.0385 0.007 0.0135" contype="0" friction="1 0.05 0.01"
            solimp="0.99 0.99 0.01" solref="0.02 1"/>
      <position kp="30000"/>
    </default>
  </default>
  <worldbody>
    <body name="table0" pos="1.3 0.75 0.2"><geom type="box" size="0.25 0.35 0.2"/></body>
    <body name="robot0:gripper_link" quat="0.7071068 0 0.7071068 0" gravcomp="1">
      <inertial pos="0 0 0" mass="20" diaginertia="1 1 1"/>
      <joint name="x" axis="0 0 1"/>
      <joint name="y" axis="0 1 0"/>
      <joint name="z" axis="-1 0 0"/>
      <body name="r" pos="0 0.0159 0" childclass="finger" gravcomp="1">
        <inertial pos="-0.01 0 0" mass="4" diaginertia="0.1 0.1 0.1"/>
        <joint name="robot0:r_gripper_finger_joint" axis="0 1 0"/>
        <geom pos="0 -0.008 0"/>
      </body>
      <body name="l" pos="0 -0.0159 0" childclass="finger" gravcomp="1">
        <inertial pos="-0.01 0 0" mass="4" diaginertia="0.1 0.1 0.1"/>
        <joint name="robot0:l_gripper_finger_joint" axis="0 -1 0"/>
        <geom pos="0 0.008 0"/>
      </body>
    </body>
    <body name="object0" pos="1.3 0.75 0.425">
      <joint name="object0:joint" type="free" damping="0.01"/>
      <geom name="object0" type="box" size="0.025 0.025 0.025" mass="2"/>
    </body>
  </worldbody>
  <actuator>
    <position joint="x"/> <position joint="y"/> <position joint="z"/>
    <position class="finger" joint="robot0:r_gripper_finger_joint"/>
    <position class="finger" joint="robot0:l_gripper_finger_joint"/>
  </actuator>
</mujoco>"""


class FetchPushBlock(MujocoTask):
    """A Fetch robot's gripper pushes a block across a table to a goal.

    State (55), in m, rad and s: 0-2 set-point of the gripper, 3 set-point of the fingers' opening, 4-5 goal (x, y),
    6-8 gripper position, 9-10 finger positions (right, left), 11-17 pose of the block (position and unit
    quaternion w, x, y, z), 18-20 gripper velocity, 21-22 finger velocities, 23-28 velocity of the block (linear in the
    world's frame, angular in its own), 29-41 positions and 42-54 velocities of the robot's other joints.
    Action (4): change of the set-points in a control step, |a| <= 1: 2 cm in x and in y, 1 cm in z, 1 cm of each
    finger's opening.  Set-points stay within x 1.05-1.5, y 0.45-1.05, z 0.46-0.5, opening 0-0.04, and move evenly
    within the step.
    Control step 0.04 s, 100 steps (4 s).
    Start: block and goal each within 0.15 m, in x and in y, of the table's middle (1.3, 0.75), more than 0.1 m apart;
    the closed gripper at rest at height 0.46 within 0.2 m of the middle, at least 0.1 m from the block.
    Cost: distance between block and goal in the plane in m, at most 0.5.
    Success: closer than 0.05 m at the end of the episode.
    True: block of 2 kg, half its edge 0.025 m, sliding friction coefficient 1 with all it touches, moment of inertia 1
    times that of a uniform cube of its mass and size.
    The agent is given 0.3-1.2 kg, 0.018-0.030 m, 0.05-0.2 and 0.3-1.
    Of these, friction decides: with it at 0.2-0.6, planning 64 steps ahead succeeds as often as with the true values.

    Size of the block: positions are of its centre, and in each world the table is raised or lowered until a block that
    rests on it has its centre at the true block's 0.425 m; so no block starts inside the table or above it, and the
    gripper, for which this is not done, is as high above the centre in all worlds.

    The true system is the robot of gymnasium-robotics (Plappert et al., 2018; `fetch/pick_and_place.xml` of the
    installed package, from models of Fetch Robotics and OpenAI; package under the MIT licence), 20 steps of 2 ms, its
    hand welded to a moving frame as there.  Only gripper, block, table and floor collide here; there the robot also
    touches the floor and itself, which moves the gripper by less than 0.3 mm.  There the frame is put back to the
    gripper at each control step and jumps; here its place is the state's set-point, and it moves evenly.
    The planning model is the gripper alone, 4 steps of 10 ms; it takes the other joints along unchanged.
    With the true parameters it is 0.3 mm off in free motion and 8 mm, at the median, after 20 steps of pushing; part of
    that is how contact is: of a block that starts 1 mm elsewhere it is 3 mm, also at the median.
    Bias, starts, cost and success rule are this book's choices, since the paper's are not given in it.
    """

    name = "fetch_push_block"
    dt = 0.04
    episode_steps = 100
    state_dim = 55
    observation_dim = 24
    action_low = (-1.0,) * 4
    action_high = (1.0,) * 4
    action_scale = (0.02, 0.02, 0.01, 0.01)  # m per control step
    setpoint_low = (1.05, 0.45, 0.46, 0.0)  # m: x, y, z, opening of each finger
    setpoint_high = (1.5, 1.05, 0.5, 0.04)
    middle = (1.3, 0.75)  # m, of the table
    tolerance = 0.05  # m
    cost_limit = 0.5  # m
    true_parameters = {"mass": 2.0, "half_size": _HALF, "friction": 1.0, "inertia": 1.0}  # kg, m, -, -
    biased = Uniform({"mass": 0.3, "half_size": 0.018, "friction": 0.05, "inertia": 0.3},
                     {"mass": 1.2, "half_size": 0.030, "friction": 0.2, "inertia": 1.0})
    view = {"lookat": (1.27, 0.75, 0.46), "distance": 1.2, "azimuth": 155.0, "elevation": -45.0}

    # Places in the state.
    SETPOINT, GOAL = slice(0, 4), slice(4, 6)
    GRIPPER, FINGERS, BLOCK = slice(6, 9), slice(9, 11), slice(11, 18)
    GRIPPER_VELOCITY, FINGER_VELOCITIES, BLOCK_VELOCITY = slice(18, 21), slice(21, 23), slice(23, 29)
    MODELLED, REST, REST_VELOCITIES = slice(6, 29), slice(29, 42), slice(42, 55)

    @cached_property
    def true_physics(self):
        return self.robot(_robot().compile())

    def robot(self, model) -> Physics:
        """The `Physics` of a model of the whole robot.

        Raises:
            ValueError: naming a joint, body or actuator that the model lacks.
        """
        mujoco = import_mujoco()
        q, v = _addresses(model, (*_REST, *_FINGERS, _BLOCK))
        hand = named(model, "body", "robot0:gripper_link")
        for joint in _FINGERS:
            named(model, "actuator", joint)
        data, jacobian = mujoco.MjData(model), np.zeros((3, model.nv))
        positions = self.REST, self.FINGERS, self.BLOCK
        velocities = self.REST_VELOCITIES, self.FINGER_VELOCITIES, self.BLOCK_VELOCITY

        def enter(states):
            joints = np.empty((len(states), model.nq + model.nv))
            for at, parts in ((q, positions), (model.nq + v, velocities)):
                joints[:, at] = np.concatenate([states[:, part] for part in parts], axis=1)
            return joints

        def leave(physics, states, actions):
            found = np.empty((*physics.shape[:2], self.state_dim))
            found[..., self.SETPOINT] = self.setpoints(states, actions)[:, 1:]
            found[..., self.GOAL] = states[:, None, self.GOAL]
            for at, parts in ((q, positions), (model.nq + v, velocities)):
                for part, values in zip(parts, np.split(physics[..., at], (13, 15), axis=-1)):
                    found[..., part] = values
            for row, joints in zip(found.reshape(-1, self.state_dim), physics.reshape(-1, physics.shape[-1])):
                data.qpos[:] = joints[:model.nq]
                mujoco.mj_kinematics(model, data)
                mujoco.mj_comPos(model, data)
                mujoco.mj_jacBody(model, data, jacobian, None, hand)
                row[self.GRIPPER], row[self.GRIPPER_VELOCITY] = data.xpos[hand], jacobian @ joints[model.nq:]
            return found

        def controls(states, actions, substeps):
            at = self._driven(states, actions, substeps)
            return np.concatenate([at[..., 3:], at[..., 3:], at[..., :3]], axis=-1)

        return Physics(model, 20, enter, leave, controls,
                       int(mujoco.mjtState.mjSTATE_CTRL | mujoco.mjtState.mjSTATE_MOCAP_POS))

    @cached_property
    def planning_physics(self):
        def enter(states):
            return states[:, self.MODELLED]

        def leave(physics, states, actions):
            found = states[:, None].repeat(physics.shape[1], axis=1)
            found[..., self.SETPOINT] = self.setpoints(states, actions)[:, 1:]
            found[..., self.MODELLED] = physics
            return found

        def controls(states, actions, substeps):
            at = self._driven(states, actions, substeps)
            return np.concatenate([at, at[..., 3:]], axis=-1)

        return Physics(import_mujoco().MjModel.from_xml_string(_GRIPPER), 4, enter, leave, controls)

    @cached_property
    def scene(self):
        model = _robot(visual=True).compile()
        self.write(model, self.true_parameters)
        return model

    def write(self, model, parameters):
        half, mass = parameters["half_size"], parameters["mass"]
        block, shape = named(model, "body", "object0"), named(model, "geom", "object0")
        table = named(model, "body", "table0")
        model.body_mass[block] = mass
        model.body_inertia[block] = parameters["inertia"] * mass * (2 * half)**2 / 6
        model.geom_size[shape] = model.geom_aabb[shape, 3:] = model.bvh_aabb[model.body_bvhadr[block], 3:] = half
        model.geom_rbound[shape] = half * 3**0.5
        model.geom_friction[:, 0] = parameters["friction"]  # of two bodies in contact the larger counts
        model.body_pos[table, 2] = _TABLE / 2 + (_HALF - half)  # the block's centre is where it was
        import_mujoco().mj_setConst(model, import_mujoco().MjData(model))

    def setpoints(self, states, actions):
        """(B, H + 1, 4) set-points (x, y, z, opening in m) of states (B, ns) and after each action (B, H, 4)."""
        found = np.empty((actions.shape[1] + 1, len(states), 4))
        found[0] = states[:, self.SETPOINT]
        changes = (actions * self.action_scale).swapaxes(0, 1)
        low, high = np.array(self.setpoint_low), np.array(self.setpoint_high)
        for t, change in enumerate(changes):
            np.minimum(np.maximum(found[t] + change, low), high, out=found[t + 1])
        return found.swapaxes(0, 1)

    def _driven(self, states, actions, substeps):
        """(B, H * substeps, 4) set-points in each MuJoCo step."""
        at = self.setpoints(states, actions)
        share = (np.arange(1, substeps + 1) / substeps)[:, None]
        return (at[:, :-1, None] + share * np.diff(at, axis=1)[:, :, None]).reshape(len(at), -1, 4)

    @cached_property
    def _hanging(self):
        """qpos, qvel, gripper position and quaternion of the robot, hanging still over the table's middle."""
        mujoco, model = import_mujoco(), self.true_physics.model
        data = mujoco.MjData(model)
        for joint, value in (("robot0:slide0", 0.405), ("robot0:slide1", 0.48)):  # as in gymnasium-robotics
            data.joint(joint).qpos[:] = value
        data.joint(_BLOCK).qpos[:] = [1.1, 0.45, _TABLE + _HALF, 1, 0, 0, 0]
        data.mocap_pos[0] = [*self.middle, self.setpoint_low[2]]
        mujoco.mj_step(model, data, nstep=1000)
        hand = data.body("robot0:gripper_link")
        return data.qpos.copy(), data.qvel.copy(), hand.xpos.copy(), hand.xquat.copy()

    def reset(self, size, rng):
        """(size, ns) start states; places are drawn again while they are too close or out of reach."""
        places = np.empty((size, 3, 2))  # block, goal, gripper
        todo = np.arange(size)
        while todo.size:
            reach = np.array([0.15, 0.15, 0.2])[:, None]
            places[todo] = self.middle + reach * rng.uniform(-1, 1, (todo.size, 3, 2))
            block, goal, gripper = places[todo].swapaxes(0, 1)
            bad = np.linalg.norm(block - gripper, axis=-1) < 0.1
            bad |= np.linalg.norm(block - goal, axis=-1) <= 0.1
            bad |= np.linalg.norm(gripper - self.middle, axis=-1) > 0.2  # at the corners the arm is too short
            todo = todo[bad]
        _, _, hangs, _ = self._hanging
        states = np.zeros((size, self.state_dim))
        states[:, self.GOAL] = places[:, 1]
        states[:, 0:2], states[:, 2] = places[:, 2], self.setpoint_low[2]
        states[:, 11:18] = [0, 0, _TABLE + _HALF, 1, 0, 0, 0]
        states[:, 11:13] = places[:, 0]
        states[:, self.GRIPPER] = states[:, :3] + (hangs - [*self.middle, self.setpoint_low[2]])
        for state in states:
            state[self.REST], state[self.REST_VELOCITIES] = self.arm(state[self.GRIPPER])
        return states

    def arm(self, position):
        """Joints of the robot whose gripper hangs still, straight down, at a position (3,) in m.

        Gauss-Newton steps of the arm's seven joints, each as short as possible, from hanging over the table's middle.
        The torso creeps up, 3 mm/s, as it does in gymnasium-robotics; at rest it would start with a jerk.

        Returns:
            (13,) positions, (13,) velocities of the joints other than the fingers'.

        Raises:
            ValueError: if the arm does not reach the position.
        """
        mujoco, model = import_mujoco(), self.true_physics.model
        qpos, qvel, _, orientation = self._hanging
        data, jacobian, turn = mujoco.MjData(model), np.zeros((6, model.nv)), np.zeros(3)
        hand = named(model, "body", "robot0:gripper_link")
        q, v = _addresses(model, _ARM)
        data.qpos[:], data.qvel[:] = qpos, qvel
        for _ in range(20):
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mju_subQuat(turn, orientation, data.xquat[hand])
            mujoco.mj_jacBody(model, data, jacobian[:3], jacobian[3:], hand)
            missing = np.concatenate([position - data.xpos[hand], data.xmat[hand].reshape(3, 3) @ turn])
            inverse = np.linalg.pinv(jacobian[:, v])
            if np.abs(missing).max() < 1e-10:
                break
            data.qpos[q] += inverse @ missing
        else:
            raise ValueError(f"the gripper does not reach {position}")
        data.qvel[v] -= inverse @ jacobian @ data.qvel
        q, v = _addresses(model, _REST)
        return data.qpos[q], data.qvel[v]

    def gripper_position(self, states):
        """(..., 3) in m: the middle between the fingers' pads."""
        return states[..., self.GRIPPER]

    def block_position(self, states):
        """(..., 3) of the block's centre in m."""
        return states[..., 11:14]

    def block_yaw(self, states):
        """(...) angle in rad by which the block is turned about the vertical."""
        w, x, y, z = np.moveaxis(states[..., 14:18], -1, 0)
        return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y**2 + z**2))

    def block_to_goal(self, states):
        """(..., 2) vector from the block to the goal in the plane, in m."""
        return states[..., self.GOAL] - states[..., 11:13]

    def distance(self, states):
        """(...) of the block from the goal in the plane, in m."""
        return np.hypot(*np.moveaxis(self.block_to_goal(states), -1, 0))

    def cost(self, states, actions):
        return np.minimum(self.distance(states), self.cost_limit)

    def success(self, states):
        return self.distance(states[..., -1, :]) < self.tolerance

    def observe(self, states):
        """(..., 24), each clipped to [-3, 3], in a frame whose x axis points from the block to the goal.

        That direction itself (2); distance x 10 and exp(-distance / 0.05 m); gripper relative to the block x 10, in
        the frame (2) and up (1), its direction (2) and exp(-distance / 0.05 m); set-point relative to the gripper x 20
        (3); gripper velocity x 2 (3); block velocity x 4 (2) and turning rate / 4; cosine and sine of four times the
        block's angle in the frame; finger opening x 50 and its set-point; height of the block x 10.
        """
        away = self.block_to_goal(states)
        distance = self.distance(states)[..., None]
        direction = away / np.maximum(distance, 1e-9)

        def turned(vectors):
            x, y = vectors[..., :1], vectors[..., 1:2]
            cosine, sine = direction[..., :1], direction[..., 1:]
            return np.concatenate([cosine * x + sine * y, cosine * y - sine * x, vectors[..., 2:]], axis=-1)

        gripper = turned(self.gripper_position(states) - self.block_position(states))
        apart = np.hypot(gripper[..., :1], gripper[..., 1:2])
        angle = 4 * (self.block_yaw(states) - np.arctan2(direction[..., 1], direction[..., 0]))[..., None]
        features = np.concatenate([
            direction, 10 * distance, np.exp(-distance / 0.05),
            10 * gripper, gripper[..., :2] / np.maximum(apart, 1e-9), np.exp(-apart / 0.05),
            20 * turned(states[..., 0:3] - self.gripper_position(states)),
            2 * turned(states[..., self.GRIPPER_VELOCITY]),
            4 * turned(states[..., 23:25]), states[..., 28:29] / 4,
            np.cos(angle), np.sin(angle),
            25 * states[..., self.FINGERS].sum(axis=-1, keepdims=True), 50 * states[..., 3:4],
            10 * (states[..., 13:14] - (_TABLE + _HALF))], axis=-1)
        return features.clip(-3, 3)

    def pose(self, model, data, state):
        super().pose(model, data, state)
        model.site_pos[named(model, "site", "goal"), :2] = state[self.GOAL]


def _addresses(model, joints):
    """Where named joints are in qpos and in qvel, in their order."""
    mujoco = import_mujoco()
    ids = [named(model, "joint", joint) for joint in joints]
    free = [model.jnt_type[i] == mujoco.mjtJoint.mjJNT_FREE for i in ids]
    return (np.concatenate([model.jnt_qposadr[i] + np.arange(7 if f else 1) for i, f in zip(ids, free)]),
            np.concatenate([model.jnt_dofadr[i] + np.arange(6 if f else 1) for i, f in zip(ids, free)]))


def _robot(visual=False):
    """Specification of gymnasium-robotics' model; without `visual`, only what collides: 0.4 MB instead of 8."""
    mujoco = import_mujoco()
    folder = package_folder("gymnasium_robotics") / "envs" / "assets" / "fetch"
    spec = mujoco.MjSpec.from_file(str(folder / "pick_and_place.xml"))
    collide = {"object0", "floor0", "robot0:gripper_link",
               "robot0:r_gripper_finger_link", "robot0:l_gripper_finger_link"}
    for geom in spec.geoms:
        if geom.name not in collide and geom.parent.name != "table0":
            geom.contype = geom.conaffinity = 0
    frame = spec.body("robot0:mocap")
    frame.quat = [0.5**0.5, 0, 0.5**0.5, 0]  # hangs straight down
    spec.equalities[0].data = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]  # welds the gripper to the frame, without an offset
    if visual:
        for geom in list(frame.geoms):
            spec.delete(geom)
        spec.delete(spec.site("target0"))
        sky = next(texture for texture in spec.textures if texture.type == mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        sky.rgb1, sky.rgb2 = [0.93, 0.95, 0.97], [0.80, 0.84, 0.88]
        for material, colour in (("floor_mat", [0.45, 0.47, 0.5, 1]), ("table_mat", [0.6, 0.59, 0.57, 1]),
                                 ("block_mat", [0.93, 0.7, 0.1, 1])):
            spec.material(material).rgba = colour
        spec.worldbody.add_site(name="goal", type=mujoco.mjtGeom.mjGEOM_CYLINDER, rgba=[0.42, 0.27, 0.55, 1],
                                size=[FetchPushBlock.tolerance, 0.0005, 0], pos=[0, 0, _TABLE + 0.0005])
    else:
        spec.compiler.discardvisual = True
    return spec
