"""FetchPushBlock: its two models, what goes in and out of them, and how far apart they are."""
import re

import mujoco
import numpy as np
import pytest

from mpqlib import tasks
from mpqlib.randomization import Uniform
from mpqlib.rollout import MujocoSimulator
from mpqlib.tasks import fetch_push

MM = 1e3
OTHER = {"mass": 0.7, "half_size": 0.03, "friction": 0.4, "inertia": 0.5}


@pytest.fixture(scope="module")
def task():
    return tasks.make("fetch_push_block")


@pytest.fixture(scope="module")
def models(task):
    """The true system and the planning model with the true parameters."""
    return task.true_system(), task.simulator(Uniform.around(task.true_parameters))


def rng():
    return np.random.default_rng(0)


def placed(task, block, gripper, opening=0.0, yaw=0.0, goal=(1.3, 0.75)):
    """Start states with block and gripper where they are wanted, all (n, 2)."""
    states = task.reset(len(block), rng())
    states[:, 11:13], states[:, 0:2], states[:, task.GOAL] = block, gripper, goal
    states[:, 3] = states[:, 9] = states[:, 10] = opening
    states[:, 14], states[:, 17] = np.cos(yaw / 2), np.sin(yaw / 2)
    states[:, 6:8] = gripper
    for state in states:
        state[task.REST], state[task.REST_VELOCITIES] = task.arm(state[task.GRIPPER])
    return states


def pushes(task, size=60, steps=20):
    """The closed gripper runs into a block, from all sides and at most 15 mm off its middle."""
    draw = np.random.default_rng(5)
    angle = draw.uniform(-np.pi, np.pi, size)
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    across = along[:, ::-1] * (-1, 1)
    block = np.array(task.middle) + draw.uniform(-0.08, 0.08, (size, 2))
    gripper = block - 0.085 * along + across * draw.uniform(-0.015, 0.015, (size, 1))
    actions = np.zeros((size, steps, 4))
    actions[..., :2] = along[:, None] * draw.uniform(0.3, 0.6, (size, 1, 1))
    return placed(task, block, gripper, yaw=draw.uniform(-0.7, 0.7, size)), actions


def grasps(task, size=12, steps=20):
    """The open gripper closes on a block between its fingers and drags it along."""
    draw = np.random.default_rng(6)
    angle = draw.uniform(-np.pi, np.pi, size)
    block = np.array(task.middle) + draw.uniform(-0.05, 0.05, (size, 2))
    actions = np.zeros((size, steps, 4))
    actions[:, :4, 3] = -1
    actions[:, 4:, :2] = 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[:, None]
    return placed(task, block, block, opening=0.04), actions


def wanders(size, steps, seed=0):
    """Random actions, alike from one step to the next."""
    actions = np.random.default_rng(seed).normal(size=(size, steps, 4))
    for t in range(1, steps):
        actions[:, t] = 0.8 * actions[:, t - 1] + 0.6 * actions[:, t]
    return (0.6 * actions).clip(-1, 1)


def apart(one, other, quantity):
    """(B, H + 1) distance in mm of a named quantity in two rollouts."""
    return MM * np.linalg.norm(quantity(one) - quantity(other), axis=-1)


def moved(task, trajectory):
    way = task.block_position(trajectory[:, -1]) - task.block_position(trajectory[:, 0])
    return MM * np.linalg.norm(way[:, :2], axis=-1)


# Start states

def test_starts_are_as_described_and_the_same_again(task):
    states = task.reset(100, rng())
    np.testing.assert_array_equal(states, tasks.make("fetch_push_block").reset(100, rng()))
    block, gripper = task.block_position(states), task.gripper_position(states)
    assert (np.abs(block[:, :2] - task.middle) <= 0.15).all()
    assert (np.abs(states[:, task.GOAL] - task.middle) <= 0.15).all()
    assert np.abs(block[:, :2] - task.middle).max() > 0.14
    assert (task.distance(states) > 0.1).all()
    assert (np.linalg.norm(block[:, :2] - states[:, :2], axis=-1) >= 0.1).all()
    assert (np.linalg.norm(states[:, :2] - task.middle, axis=-1) <= 0.2).all()
    np.testing.assert_allclose(gripper, states[:, :3], atol=3e-4)  # it hangs 0.2 mm low
    assert not states[:, task.GRIPPER_VELOCITY].any() and not task.success(states[:, None]).any()


def test_at_rest_nothing_moves(task, models):
    states = task.reset(20, rng())
    for system in models:
        found = system(states, np.zeros((20, 10, 4)), rng())
        assert apart(found, found[:, :1], task.gripper_position).max() < 0.6
        assert apart(found, found[:, :1], task.block_position).max() < 0.6  # sinks in until the contact carries it
    assert np.abs(found[..., task.GRIPPER_VELOCITY]).max() < 0.01


def test_a_gripper_out_of_reach_is_refused(task):
    with pytest.raises(ValueError, match="does not reach"):
        task.arm(np.array([1.7, 0.75, 0.46]))


# What goes into the models and comes out

def test_states_survive_the_way_through_either_model(task):
    states = np.concatenate([task.true_system()(*pushes(task, 4, 15), rng())[:, -1], task.reset(4, rng())])
    for physics in (task.true_physics, task.planning_physics):
        back = physics.leave(physics.enter(states)[:, None], states, np.zeros((8, 1, 4)))[:, 0]
        np.testing.assert_allclose(back, states, atol=1e-9)


def test_planning_takes_the_arm_along_unchanged(task, models):
    states, actions = pushes(task, 4, 10)
    found = models[1](states, actions, rng())
    for part in (task.REST, task.REST_VELOCITIES, task.GOAL):
        np.testing.assert_array_equal(found[..., part], states[:, None, part].repeat(11, axis=1))


def test_controls_are_laid_out_as_mujoco_does(task):
    states = task.reset(1, rng())
    actions = np.array([[[0.5, -1.0, 1.0, 0.4]]])
    physics = task.true_physics
    controls = physics.controls(states, actions, physics.substeps)
    data = mujoco.MjData(physics.model)
    mujoco.mj_setState(physics.model, data, controls[0, -1], physics.control_spec)
    np.testing.assert_allclose(data.mocap_pos[0], states[0, :3] + [0.01, -0.02, 0.01])
    np.testing.assert_allclose(data.ctrl, 0.004)
    evenly = np.tile([0.0002, 0.0002, 0.0005, -0.001, 0.0005], (19, 1))
    np.testing.assert_allclose(np.diff(controls[0], axis=0), evenly, atol=1e-12)


def test_setpoints_stay_in_their_box(task):
    states = task.reset(8, rng())
    actions = np.sign(np.random.default_rng(1).normal(size=(8, 1, 4))).repeat(80, axis=1)
    found = task.setpoints(states, actions)
    corners = np.where(actions[:, 0] > 0, task.setpoint_high, task.setpoint_low)
    np.testing.assert_array_equal(found[:, -1], corners)
    np.testing.assert_array_equal(task.simulator()(states, actions, rng())[..., task.SETPOINT], found)


def test_one_step_at_a_time_is_the_same_as_all_at_once(task, models):
    states, actions = pushes(task, 6, 100)
    actions[:, 20:] = wanders(6, 80)
    whole = models[0](states, actions, rng())
    assert (moved(task, whole) > 30).all()
    for t in range(100):
        states = models[0](states, actions[:, t:t + 1], rng())[:, 1]
        np.testing.assert_allclose(states, whole[:, t + 1], atol=1e-9)


# Parameters

@pytest.fixture(params=["true", "planning"])
def physics(task, request):
    return getattr(task, f"{request.param}_physics")


def specification(physics):
    return mujoco.MjSpec.from_string(fetch_push._GRIPPER) if physics.substeps == 4 else fetch_push._robot()


def numbers(model):
    return {name: np.array(value) for name in dir(model) if isinstance(value := getattr(model, name, None), np.ndarray)}


def test_writing_the_true_parameters_changes_nothing(task, physics):
    before = numbers(physics.model)
    model = specification(physics).compile()
    task.write(model, OTHER)
    changed = {name for name, value in numbers(model).items() if not np.array_equal(value, before[name])}
    written = {"geom_size", "geom_aabb", "geom_rbound", "bvh_aabb", "geom_friction",
               "body_mass", "body_inertia", "body_pos"}
    derived = {"body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0", "dof_length"}
    assert changed - {"light_poscom0"} == written | derived
    task.write(model, task.true_parameters)
    for name, value in numbers(model).items():
        np.testing.assert_allclose(value, before[name], rtol=1e-12, atol=1e-15, err_msg=name)


def test_a_written_model_is_the_compiled_one(task, physics):
    """MuJoCo's own compiler is given the parameters."""
    spec = specification(physics)
    written = spec.compile()
    task.write(written, OTHER)
    block = spec.body("object0")
    block.geoms[0].size, block.geoms[0].mass = [OTHER["half_size"]] * 3, 0
    block.explicitinertial, block.ipos, block.mass = True, [0, 0, 0], OTHER["mass"]
    block.inertia = [OTHER["inertia"] * OTHER["mass"] * (2 * OTHER["half_size"])**2 / 6] * 3
    for geom in spec.geoms:
        geom.friction[0] = OTHER["friction"]
    spec.body("table0").pos[2] = 0.2 - 0.005
    compiled = numbers(spec.compile())
    for name, value in numbers(written).items():
        if name == "body_margin":  # the first compilation takes it from all geoms, a second from those kept
            continue
        np.testing.assert_allclose(value, compiled[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("friction", [0.3, 1.0])
def test_a_sliding_block_stops_where_friction_says(task, physics, friction):
    states = placed(task, [[1.25, 0.7]], [[1.2, 0.9]])
    states[:, 23] = speed = 0.8
    simulate = MujocoSimulator(physics, task.write, Uniform.around(task.true_parameters | {"friction": friction}))
    found = simulate(states, np.zeros((1, 20, 4)), rng())[0]
    way = found[-1, 11] - 1.25
    assert way == pytest.approx(speed**2 / (2 * friction * 9.81), rel=0.12 if physics.substeps == 20 else 0.2)


@pytest.mark.parametrize("half", [0.018, 0.025, 0.030])
def test_blocks_of_all_sizes_rest_where_they_start(task, physics, half):
    states = task.reset(4, rng())
    simulate = MujocoSimulator(physics, task.write, Uniform.around(task.true_parameters | {"half_size": half}))
    found = simulate(states, np.zeros((4, 5, 4)), rng())
    assert apart(found, found[:, :1], task.block_position).max() < 0.6


def test_a_larger_block_is_met_earlier(task, physics):
    found = []
    for half in (0.018, 0.030):
        simulate = MujocoSimulator(physics, task.write, Uniform.around(task.true_parameters | {"half_size": half}))
        states = placed(task, [[1.3, 0.75]], [[1.215, 0.75]])
        found.append(simulate(states, np.tile([0.3, 0, 0, 0], (1, 30, 1)), rng())[0, -1, 11])
    assert found[1] - found[0] == pytest.approx(0.012, abs=0.003)


def test_a_planner_is_small(task):
    assert 256 * mujoco.mj_sizeModel(task.planning_physics.model) < 20e6
    assert mujoco.mj_sizeModel(task.true_physics.model) < 1e6


def test_what_a_model_lacks_is_named(task):
    lacking = fetch_push._GRIPPER.replace('name="object0"', 'name="brick"')
    with pytest.raises(ValueError, match="no body named 'object0'; it has .*brick"):
        task.write(mujoco.MjModel.from_xml_string(lacking), task.true_parameters)
    for kind, name in (("joint", "robot0:wrist_flex_joint"), ("actuator", "robot0:l_gripper_finger_joint"),
                       ("body", "robot0:gripper_link")):
        spec = fetch_push._robot()
        getattr(spec, kind)(name).name = "other"
        if kind == "body":
            spec.equalities[0].name2 = "other"
        with pytest.raises(ValueError, match=re.escape(f"no {kind} named '{name}'")):
            task.robot(spec.compile())


# How far the planning model is off, with the true parameters

def test_departure_in_free_motion(task, models):
    actions = wanders(24, 40)
    states = task.reset(24, rng())
    states[:, 11:13] = 1.5, 1.05  # the block is out of the way
    true, planned = (system(states, actions, rng()) for system in models)
    reach = np.linalg.norm(true[..., :2] - [0.7245, 0.744], axis=-1)  # from the shoulder's axis
    inside = ((reach > 0.4) & (reach < 0.765)).all(axis=1)
    assert inside.sum() > 10
    off = apart(true, planned, task.gripper_position)
    assert np.sqrt((off[inside]**2).mean()) < 0.4 and off[inside].max() < 1.0
    assert off.max() < 12  # where the arm is too short
    fingers = MM * np.abs(true - planned)[..., task.FINGERS]
    assert fingers.max() < 3.5


def test_departure_while_pushing(task, models):
    states, actions = pushes(task)
    true, planned = (system(states, actions, rng()) for system in models)
    assert (moved(task, true) > 60).all()
    gripper, block = (apart(true, planned, quantity) for quantity in (task.gripper_position, task.block_position))
    assert gripper.max() < 4
    assert np.median(block[:, 10]) < 4 and np.median(block[:, 20]) < 14 and np.quantile(block[:, 20], 0.9) < 40
    # Not all of it is the model's: a millimetre at the start decides a good part.
    near = states.copy()
    near[:, 11:13] += np.random.default_rng(2).normal(scale=1e-3, size=(len(states), 2))
    chaos = apart(true, models[0](near, actions, rng()), task.block_position)
    assert np.median(block[:, 20]) < 4 * np.median(chaos[:, 20])


def test_departure_in_a_grasp(task, models):
    states, actions = grasps(task)
    true, planned = (system(states, actions, rng()) for system in models)
    assert (moved(task, true) > 100).all()
    assert apart(true, planned, task.block_position).max() < 4
    assert apart(true, planned, task.gripper_position).max() < 2


# The true system is gymnasium-robotics' robot

@pytest.fixture(scope="module")
def fetch():
    import gymnasium
    import gymnasium_robotics

    gymnasium.register_envs(gymnasium_robotics)
    env = gymnasium.make("FetchPickAndPlace-v4").unwrapped
    env.reset(seed=0)
    env.n_substeps = 1  # so that the set-points can move within a control step, as here
    return env


def in_gymnasium(task, env, state, controls):
    """Block and gripper positions (T + 1, 6) of the package's own environment, with the same start and set-points."""
    model, data = env.model, env.data
    mujoco.mj_resetData(model, data)
    joints = task.true_physics.enter(state[None])[0]
    data.qpos[:], data.qvel[:] = joints[:model.nq], joints[model.nq:]
    data.mocap_pos[0], data.mocap_quat[0] = state[:3], [1, 0, 1, 0]
    mujoco.mj_forward(model, data)
    found = [np.concatenate([data.body("object0").xpos, env._get_gripper_xpos()])]
    for step, control in enumerate(controls, start=1):
        data.ctrl[:], data.mocap_pos[0] = control[:2], control[2:]
        env._mujoco_step(None)
        if step % 20 == 0:
            mujoco.mj_kinematics(model, data)
            found.append(np.concatenate([data.body("object0").xpos, env._get_gripper_xpos()]))
    return np.array(found)


def test_the_true_system_is_gymnasium_robotics_fetch(task, fetch, models):
    np.testing.assert_allclose(fetch.model.opt.timestep * 20, task.dt)
    angle = np.array([0.5, 2.5, -1.3])
    along = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    block = np.array([[1.25, 0.70], [1.35, 0.80], [1.30, 0.75]])
    states = placed(task, block, block - 0.085 * along)
    actions = wanders(3, 100)
    actions[:, :60, :2] = 0.15 * along[:, None] + 0.1 * actions[:, :60, :2]
    actions[:, :60, 2] = 0
    ours = models[0](states, actions, rng())
    assert (moved(task, ours) > 70).all()
    ours = np.concatenate([task.block_position(ours), task.gripper_position(ours)], axis=-1)
    controls = task.true_physics.controls(states, actions, 20)
    theirs = np.array([in_gymnasium(task, fetch, state, control) for state, control in zip(states, controls)])
    off = MM * np.abs(ours - theirs)
    assert off[:, 0].max() < 1e-6
    # There the arm's parts and the floor touch: first a nudge of the gripper, then what contact makes of it.
    assert 1e-3 < off[..., 3:].max() < 0.3
    assert off[:, :31, :3].max() < 2 and off[..., :3].max() < 12
    collide = {"object0", "floor0", "robot0:gripper_link",
               "robot0:r_gripper_finger_link", "robot0:l_gripper_finger_link"}
    model = fetch.model
    for geom in map(model.geom, range(model.ngeom)):
        if geom.name not in collide and model.body(geom.bodyid[0]).name != "table0":
            geom.contype[:] = geom.conaffinity[:] = 0
    theirs = np.array([in_gymnasium(task, fetch, state, control) for state, control in zip(states, controls)])
    assert MM * np.abs(ours - theirs).max() < 1e-6  # nothing else differs


# What the learner sees

def turned(task, states, angle):
    """The same scene turned about the vertical axis through the table's middle."""
    found = states.copy()
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    for at in (0, 4, 6, 11):
        found[:, at:at + 2] = (states[:, at:at + 2] - task.middle) @ turn + task.middle
    for at in (18, 23):
        found[:, at:at + 2] = states[:, at:at + 2] @ turn
    w, z = states[:, 14].copy(), states[:, 17].copy()
    cosine, sine = np.cos(angle / 2), np.sin(angle / 2)
    found[:, 14], found[:, 17] = cosine * w - sine * z, sine * w + cosine * z
    return found


def test_features_do_not_depend_on_where_the_table_is_seen_from(task, models):
    states = models[0](*pushes(task, 8, 12), rng())[:, -1]
    states[:, 15:17] = 0  # flat on the table
    states[:, 14:18] /= np.linalg.norm(states[:, 14:18], axis=-1, keepdims=True)
    features = task.observe(states)
    assert features.shape == (8, task.observation_dim)
    np.testing.assert_allclose(task.observe(turned(task, states, 0.7))[:, 2:], features[:, 2:], atol=1e-9)
    quarter = states.copy()
    quarter[:, 14:18] = turned(task, states, np.pi / 2)[:, 14:18]  # a cube looks the same
    np.testing.assert_allclose(task.observe(quarter), features, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(features[:, :2], axis=-1), 1)


def test_every_feature_carries_something(task):
    states = task.reset(1, rng()) + rng().normal(size=(2000, 55)) * np.where(np.arange(55) < 18, 0.05, 0.5)
    states[:, 14:18] /= np.linalg.norm(states[:, 14:18], axis=-1, keepdims=True)
    features = task.observe(states)
    assert features.std(axis=0).min() > 0.05 and np.abs(features).max() <= 3


def test_odd_states_have_finite_features_and_costs(task, models):
    states = task.reset(2, rng())
    states[0, 11:13] = states[0, 4:6]  # on the goal
    states[0, 6:8] = states[0, 11:13]  # right above it
    states[1, 11:14] = 1.9, 0.3, -30  # fallen off the table
    states[1, 23:29] = 40
    assert np.isfinite(task.observe(states)).all() and np.abs(task.observe(states)).max() <= 3
    np.testing.assert_allclose(task.cost(states, np.zeros((2, 4))), [0, 0.5])
    assert task.success(states[:, None]).tolist() == [True, False]


def test_a_block_pushed_off_the_table_does_no_harm(task, models):
    states = placed(task, [[1.1, 0.75]], [[1.19, 0.75]])
    actions = np.tile([-0.4, 0.0, 0.0, 0.0], (1, 60, 1))
    for system in models:
        found = system(states, actions, rng())
        assert found[0, -1, 13] < 0.3 and np.isfinite(found).all() and system.diverged == 0
        assert np.isfinite(task.observe(found)).all() and (task.cost(found, np.zeros(4)) <= 0.5).all()


def test_success_is_being_near_the_goal_at_the_end(task):
    trajectory = task.reset(1, rng())[0][None].repeat(101, axis=0)
    trajectory[:, 11:13] = trajectory[:, 4:6] + [0.049, 0]
    assert task.success(trajectory)
    trajectory[-1, 11] += 0.002
    assert not task.success(trajectory)
    np.testing.assert_allclose(task.cost(trajectory[-1], np.zeros(4)), 0.051)
    np.testing.assert_allclose(task.block_to_goal(trajectory[-1]), [-0.051, 0], atol=1e-12)


def test_yaw_is_the_turn_about_the_vertical(task):
    states = np.zeros((3, 55))
    for state, yaw in zip(states, (-2.0, 0.3, 3.0)):
        mujoco.mju_axisAngle2Quat(state[14:18], [0, 0, 1], yaw)
    np.testing.assert_allclose(task.block_yaw(states), [-2.0, 0.3, 3.0])


@pytest.mark.gl
def test_the_picture_shows_block_and_goal(task):
    state = task.reset(1, rng())[0]
    picture = task.render(state, 240).astype(int)
    red, green, blue = np.moveaxis(picture, -1, 0)
    yellow, purple = (red > 150) & (blue < 80), (blue > green + 40) & (red > green + 20)
    assert yellow.sum() > 30 and purple.sum() > 60
    state[task.GOAL] += 0.1
    again = task.render(state, 240).astype(int)
    changed = np.abs(again - picture).sum(axis=-1) > 30
    assert 60 < changed.sum() < 3000 and changed[yellow].mean() < 0.1


def test_no_world_diverges_or_throws_the_block(task):
    """The lightest blocks tumble fastest, and fly off where the solver stops too early."""
    simulate, draw = task.simulator(), np.random.default_rng(3)
    states, actions = pushes(task, 300)
    found = simulate(states, actions, draw)
    assert np.linalg.norm(found[..., 23:26], axis=-1).max() < 0.8  # m/s; the gripper's set-point moves with 0.3 at most
    assert found[..., 13].max() < 0.435
    for seed in range(2):
        assert np.isfinite(simulate(states, wanders(300, 64, seed), draw)).all()
    assert simulate.diverged == 0
