import subprocess
import sys
import time

import mujoco
import numpy as np
import pytest

from mpqlib.mpq import evaluate
from mpqlib.mppi import MPPI, MPPISettings
from mpqlib.randomization import Uniform
from mpqlib.rollout import MujocoSimulator
from mpqlib.tasks import franka_drawer
from mpqlib.tasks.franka_drawer import FrankaDrawerOpen
from mpqlib.tasks.mujoco import named


@pytest.fixture(scope="module")
def task():
    return FrankaDrawerOpen()


def planner(task, horizon, simulate):
    settings = MPPISettings(horizon, 32, 0.05, 0.6, task.action_low, task.action_high, beta=0.8, gamma=1.0)
    return MPPI(settings, simulate, task.cost)


def truth(task, physics):
    return MujocoSimulator(physics, task.write, Uniform.around(task.true_parameters))


@pytest.fixture(scope="module")
def episodes(task):
    """Two episodes of MPPI, H = 64, the planning model at the true parameters."""
    rng = np.random.default_rng(1000)
    mppi = planner(task, 64, task.simulator(Uniform.around(task.true_parameters)))
    return evaluate(task, mppi, task.true_system(), task.reset(2, rng), rng)


def replay(task, states, actions):
    """Yields data after each physics step of an episode, in the true system."""
    model = task.true_physics.model
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = states[0, :8], states[0, 8:]
    for action in actions:
        data.ctrl[:] = action
        for _ in range(task.true_physics.substeps):
            mujoco.mj_step(model, data)
            yield model, data
    np.testing.assert_allclose(data.qpos, states[-1, :8], atol=1e-9)


def drawer_contacts(model, data):
    """Names of the robot's geom and the drawer's -> N that this pulls the drawer open with (< 0: pushes it shut)."""
    drawer, found = model.body("drawer").id, {}
    for i, contact in enumerate(data.contact):
        bodies = model.geom_bodyid[contact.geom]
        if drawer in bodies:
            force = np.zeros(6)
            mujoco.mj_contactForce(model, data, i, force)
            on_drawer = contact.frame[0] * force[0] * (1 if bodies[1] == drawer else -1)
            robots, drawers = contact.geom if bodies[1] == drawer else contact.geom[::-1]
            pair = model.geom(robots).name, model.geom(drawers).name
            found[pair] = found.get(pair, 0.0) - on_drawer
    return found


def test_model_is_the_published_robot(task):
    """Franka Emika's Robot and interface specifications, typed in again."""
    model = task.true_physics.model
    low = [-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]
    high = [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]
    np.testing.assert_array_equal(model.jnt_range[:7], np.transpose([low, high]))
    np.testing.assert_array_equal(model.actuator_forcerange[:, 1], [87] * 4 + [12] * 3)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)  # all angles zero: upright, the upper arm straight, the flange 8.8 cm forward
    np.testing.assert_allclose(data.body("link7").xpos, [0.088, 0, 0.333 + 0.316 + 0.384], atol=1e-12)
    np.testing.assert_allclose(data.body("hand").xpos, [0.088, 0, 0.333 + 0.316 + 0.384 - 0.107], atol=1e-12)
    assert 0.7 < model.body_mass[1:8].sum() / 18 < 1.2  # kg, data sheet


def test_kinematics_are_mujocos(task):
    rng, model = np.random.default_rng(0), task.true_physics.model
    states = rng.normal(size=(3, 20, 16))
    tip, target, axis = task.tip(states), task.target_point(states), task.hand_axis(states)
    assert tip.shape == target.shape == axis.shape == (3, 20, 3)
    data = mujoco.MjData(model)
    for k in np.ndindex(3, 20):
        data.qpos[:] = states[k][:8]
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(tip[k], data.site("tip").xpos, atol=1e-9)
        np.testing.assert_allclose(target[k], data.site("target").xpos, atol=1e-9)
        np.testing.assert_allclose(axis[k], data.site("tip").xmat.reshape(3, 3)[:, 2], atol=1e-9)
        np.testing.assert_array_equal(task.drawer_opening(states[k]), data.joint("drawer").qpos[0])
        np.testing.assert_allclose(task.tip(states[k]), tip[k], atol=1e-12)


def test_costs_of_a_plan_take_well_under_a_millisecond(task):
    states = np.random.default_rng(0).normal(size=(64, 10, 16))
    times = []
    for _ in range(50):
        start = time.perf_counter()
        task.cost(states, None)
        times.append(time.perf_counter() - start)
    assert min(times) < 1e-3


def test_starts(task):
    states, model = task.reset(200, np.random.default_rng(0)), task.true_physics.model
    home = np.array([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
    assert (states[:, 7:] == 0).all()
    assert 0.14 < np.abs(states[:, :7] - home).max() <= 0.15
    data = mujoco.MjData(model)
    for state in states:
        data.qpos[:] = state[:8]
        mujoco.mj_forward(model, data)
        assert data.ncon == 0


def test_cost_and_success(task):
    state = np.zeros(16)
    state[:7] = franka_drawer._HOME
    to_target = np.linalg.norm(task.tip(state) - task.target_point(state))
    assert task.cost(state, None) == pytest.approx(to_target + 5 * 0.2)
    state[7] = 0.3  # the target has come 0.3 m nearer and there is no more to open
    tip, target = task.tip(state), [0.62 - 0.03 - 0.3, 0, 0.44 + 0.05 - 0.02]
    assert task.cost(state, None) == pytest.approx(np.linalg.norm(tip - target))
    trajectory = np.zeros((4, 101, 16))
    trajectory[:, -1, 7] = 0.17, 0.18, 0.181, 0.0
    trajectory[3, :-1, 7] = 0.3  # opened and pushed shut
    np.testing.assert_array_equal(task.success(trajectory), [False, False, True, False])


def test_drawer_parameters_mean_what_they_say(task):
    """A drawer let go at 1 m/s: m dv/dt = -b v - f stops after m/b (v - f/b log(1 + b v/f))."""
    physics = task._physics(substeps=50)
    mass = physics.model.body("drawer").mass[0]
    state = np.zeros((1, 16))
    state[0, :7], state[0, 0], state[0, 15] = franka_drawer._HOME, 2.0, 1.0
    for b, f in ((20.0, 10.0), (10.0, 5.0), (20.0, 20.0)):
        parameters = task.true_parameters | {"drawer_damping": b, "drawer_friction": f}
        simulate = MujocoSimulator(physics, task.write, Uniform.around(parameters))
        stop = simulate(state, np.zeros((1, 30, 7)), None)[0, -1, 7]
        assert stop == pytest.approx(mass / b * (1 - f / b * np.log(1 + b / f)), rel=0.02)


def test_joint_parameters_mean_what_they_say(task):
    """The last joint's velocity settles where 15 (a - v) = friction + damping v; below friction / 15 it creeps."""
    state = np.zeros((1, 16))
    state[0, :7] = franka_drawer._HOME
    for damping, friction in ((4.0, 4.0), (0.5, 1.0), (2.0, 0.0)):
        parameters = task.true_parameters | {"joint_damping": damping, "joint_friction": friction}
        simulate = MujocoSimulator(task.true_physics, task.write, Uniform.around(parameters))
        for a in (0.2, 0.7):
            action = np.zeros((1, 10, 7))
            action[..., 6] = a
            velocity = simulate(state, action, None)[0, -1, 14]
            if 15 * a < friction:
                assert 0 <= velocity < 0.03  # MuJoCo's friction is not quite hard
            else:
                assert velocity == pytest.approx((15 * a - friction) / (15 + damping), abs=2e-3)


def test_a_model_without_the_named_joints_is_refused(task):
    text = franka_drawer.mjcf(0.005).replace('joint name="drawer"', 'joint name="door"')
    model = mujoco.MjModel.from_xml_string(text)
    with pytest.raises(ValueError, match="no joint named 'drawer'; it has joint1, .*joint7, door"):
        task.write(model, task.true_parameters)
    with pytest.raises(ValueError, match="no site named 'bar'; it has tip, target"):
        named(model, "site", "bar")


def test_the_drawer_opens_by_the_fingers_behind_the_bar(task, episodes):
    """While it moves open, the fingers pull; whatever else touches the drawer never does."""
    successes = np.flatnonzero(episodes["success"])
    assert successes.size > 0
    for states, actions in zip(episodes["states"][successes], episodes["actions"][successes]):
        before, opened, hooked = 0.0, 0.0, 0.0
        for model, data in replay(task, states, actions):
            contacts = drawer_contacts(model, data)
            pulling = {pair for pair, force in contacts.items() if force > 2}  # N; its friction is 15
            assert pulling <= {("finger_left", "bar"), ("finger_right", "bar")}
            moved, before = data.qpos[7] - before, data.qpos[7]
            if moved > 0:
                opened += moved
                hooked += moved * bool(pulling)
        assert opened > 0.18
        assert hooked > 0.7 * opened  # the rest it slides on by itself


@pytest.mark.parametrize("without", [("bar",), ("finger_left", "finger_right")])
def test_without_bar_or_fingers_nothing_opens_it(task, without):
    """The planner knows the true parameters, and looks for a trick with the hand, the links, the drawer's edges."""
    task = FrankaDrawerOpen()
    for physics in (task.true_physics, task.planning_physics):
        for name in without:
            geom = physics.model.geom(named(physics.model, "geom", name))
            geom.contype = geom.conaffinity = 0
    rng = np.random.default_rng(1001)
    mppi = planner(task, 32, task.simulator(Uniform.around(task.true_parameters)))
    result = evaluate(task, mppi, task.true_system(), task.reset(2, rng), rng)
    assert result["states"][..., 7].max() < 0.01


def test_a_hand_that_knows_the_friction_opens_the_drawer(task):
    """And one that believes in the middle of the biased range does not, in most episodes."""
    rng = np.random.default_rng(1000)
    told = {name: (task.biased.low[name] + high) / 2 for name, high in task.biased.high.items()}
    (right, commands), (wrong, _) = (task.by_hand(task.reset(12, rng), rng, numbers) for numbers in (None, told))
    assert right.shape == (12, 101, 16) and commands.shape == (12, 100, 7) and abs(commands).max() <= 1
    assert task.success(right).all() and task.success(wrong).mean() < 0.8
    few, turned = right[:2, 0], dict(reversed(told.items()))
    np.testing.assert_array_equal(*(task.by_hand(few, rng, numbers)[1] for numbers in (told, turned)))
    with pytest.raises(ValueError, match="the distribution names .'joint_damping'.; franka_drawer_open has"):
        task.by_hand(few, rng, {"joint_damping": 1.0})


def test_jacobian_is_mujocos(task):
    states = task.reset(3, np.random.default_rng(0))
    model = task.true_physics.model
    for state, found in zip(states, task.jacobian(states)):
        data, expected = mujoco.MjData(model), np.zeros((3, 8))
        data.qpos[:] = state[:8]
        mujoco.mj_forward(model, data)
        mujoco.mj_jacSite(model, data, expected, None, model.site("tip").id)
        np.testing.assert_allclose(found[:3], expected[:, :7], atol=1e-9)
        turned = [np.cross(data.xaxis[i], task.hand_axis(state)) for i in range(7)]
        np.testing.assert_allclose(found[3:].T, turned, atol=1e-9)


def departures(task, one, other, states, actions):
    """Median over rollouts of how far tip and drawer are apart after 0.5 s, in mm."""
    one, other = (simulate(states, actions, None)[:, -1] for simulate in (one, other))
    apart = np.linalg.norm(task.tip(one) - task.tip(other), axis=-1), np.abs(one[:, 7] - other[:, 7])
    return [1000 * np.median(a) for a in apart], one[:, 7] - states[:, 7]


def free_motion(task):
    rng = np.random.default_rng(0)
    states = task.reset(100, rng)
    states[:, 0] += 2.0  # turned away from the cabinet
    return states, np.clip(rng.normal(0, 0.6, (100, 2, 7)).repeat(5, axis=1), -1, 1)


def pulls(episodes):
    """Each fifth state of the episodes in which the drawer is being pulled open, and the next 10 actions."""
    opening, speed = episodes["states"][:, :-10, 7], episodes["states"][:, :-10, 15]
    starts = np.argwhere((opening > 0.015) & (opening < 0.15) & (speed > 0.05))[::3]
    return (np.array([episodes["states"][k, t] for k, t in starts]),
            np.array([episodes["actions"][k, t:t + 10] for k, t in starts]))


def test_physics_steps_of_5_ms_are_fine_enough(task, episodes):
    fine, used = truth(task, task._physics(substeps=25)), task.true_system()
    (tip, _), _ = departures(task, used, fine, *free_motion(task))
    assert tip < 0.5
    (tip, drawer), moved = departures(task, used, fine, *pulls(episodes))
    assert np.median(moved) > 0.05
    assert tip < 1.0 and drawer < 0.5


def test_departure_of_the_planning_model(task, episodes):
    """True parameters, 0.5 s ahead: tip off by 2 mm in free motion and 4 mm in pulls, drawer by 2 mm of 9 cm."""
    plan = truth(task, task.planning_physics)
    (tip, _), _ = departures(task, plan, task.true_system(), *free_motion(task))
    assert tip < 3.0
    (tip, drawer), moved = departures(task, plan, task.true_system(), *pulls(episodes))
    assert np.median(moved) > 0.05
    assert tip < 8.0 and drawer < 5.0


def test_observations_are_of_order_one(task, episodes):
    features = task.observe(episodes["states"])
    assert features.shape == (2, 101, task.observation_dim)
    assert np.abs(features).max() < 5
    assert (features.reshape(-1, task.observation_dim).std(axis=0) > 0.01).all()
    np.testing.assert_allclose(features[:, :-1, -1], episodes["costs"])


def test_wild_actions_neither_diverge_nor_fill_the_arena(task):
    rng = np.random.default_rng(0)
    simulate = task.simulator(threads=1)
    states = task.reset(64, rng)
    actions = rng.choice([-1.0, 1.0], (64, 10, 7)).repeat(10, axis=1)
    found = simulate(states, actions, rng)
    assert np.isfinite(found).all() and simulate.diverged == 0
    assert all((data.warning.number == 0).all() for data in simulate._data)
    assert (found[..., 7] > -0.01).all()


def test_memory_of_a_planner_with_256_worlds():
    script = """
import resource, numpy as np
from mpqlib.tasks.franka_drawer import FrankaDrawerOpen
from mpqlib.rollout import import_mujoco
from mujoco import rollout
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
task, rng = FrankaDrawerOpen(), np.random.default_rng(0)
simulate = task.simulator(worlds=256)
simulate(task.reset(32, rng), np.zeros((32, 64, 7)), rng)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    kilobytes = int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)
    assert kilobytes < 300e3


@pytest.mark.gl
def test_pictures_show_the_robots_meshes_or_else_the_capsules(task, monkeypatch):
    closed = task.reset(1, np.random.default_rng(0))[0]
    opened = closed.copy()
    opened[7] = 0.3
    picture = task.render(closed)
    assert picture.std() > 20
    assert np.abs(task.render(opened).astype(int) - picture).mean() > 2
    assert task.scene.nmesh == 10
    plain = FrankaDrawerOpen()

    def missing(package):
        raise ImportError(package)

    monkeypatch.setattr(franka_drawer, "package_folder", missing)
    assert plain.scene.nmesh == 0
    assert 1 < np.abs(plain.render(closed).astype(int) - picture).mean() < 40
    for scene in (task.scene, plain.scene):  # the joints of the true system
        assert [scene.joint(i).name for i in range(scene.njnt)] == [f"joint{i}" for i in range(1, 8)] + ["drawer"]
        data = mujoco.MjData(scene)
        data.qpos[:] = opened[:8]
        mujoco.mj_kinematics(scene, data)
        np.testing.assert_allclose(data.site("tip").xpos, task.tip(opened), atol=1e-9)
