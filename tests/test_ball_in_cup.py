import re

import mujoco
import numpy as np
import pytest

from mpqlib import tasks
from mpqlib.randomization import Uniform
from mpqlib.tasks.mujoco import named


@pytest.fixture(scope="module")
def task():
    return tasks.make("ball_in_cup_sparse")


@pytest.fixture(scope="module")
def suite():
    from dm_control import suite

    return suite.load("ball_in_cup", "catch", task_kwargs={"random": 1})


def at(task, **joints):
    """A state at rest: cup and ball positions by name."""
    state = np.zeros(8)
    for i, name in enumerate(("cup_x", "cup_z", "ball_x", "ball_z")):
        state[i] = joints.get(name, 0.0)
    return state


@pytest.mark.parametrize("ball", [(0.0, 0.5), (0.1, 0.35), (-0.15, 0.25)], ids=["falls into the cup", "beside", "below"])
def test_true_system_is_the_suites_step_for_step(task, suite, ball):
    """500 random control steps; the reward is one minus our cost."""
    rng = np.random.default_rng(0)
    suite.reset()
    physics = suite.physics
    physics.data.qpos[:], physics.data.qvel[:] = (0, 0, *ball), 0
    physics.data.qacc_warmstart[:] = 0
    physics.forward()
    state = at(task, ball_x=ball[0], ball_z=ball[1])
    actions = rng.uniform(-0.6, 0.6, (500, 2))
    theirs, rewards = [], []
    for action in actions:
        rewards.append(suite.step(action).reward)
        theirs.append([*physics.data.qpos, *physics.data.qvel])
    ours = task.true_system()(state[None], actions[None], rng)[0, 1:]
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_array_equal(1 - task.cost(ours, actions), rewards)
    if ball == (0.0, 0.5):
        assert 0 < sum(rewards) < 500  # the ball went in, and out
    for t in range(50):  # and one step at a time
        state = task.true_system()(state[None], actions[None, t:t + 1], rng)[0, 1]
        np.testing.assert_allclose(state, theirs[t], atol=1e-9)


def test_texts_numbers_are_the_models(task):
    model = task.true_physics.model
    ball = model.body("ball")
    assert task.true_parameters["mass"] == pytest.approx(ball.mass[0], rel=1e-12)
    assert task.true_parameters["inertia"] == pytest.approx(ball.inertia[0], rel=1e-12)
    assert task.true_parameters["stiffness"] == model.tendon_stiffness[0] == 0
    assert model.tendon_range[0].tolist() == [0, 0.3]
    assert task.tolerance == pytest.approx(model.site("target").size[0] - model.geom("ball").size[0])
    assert model.opt.timestep * task.true_physics.substeps == pytest.approx(task.dt)
    planning = task.planning_physics
    assert planning.model.opt.timestep * planning.substeps == pytest.approx(task.dt)
    assert planning.model.nbuffer < 50_000  # bytes: no textures


def test_starts_are_the_suites(task, suite):
    """Uniform in the same area, drawn again while the ball touches something."""
    ours = task.reset(2000, np.random.default_rng(0))[:, 2:4]
    assert not task.touching(task.reset(100, np.random.default_rng(1))).any()
    theirs = []
    for _ in range(300):
        suite.task.initialize_episode(suite.physics)
        theirs.append(suite.physics.data.qpos[2:].copy())
    assert (np.abs(ours[:, 0]) <= 0.2).all() and (ours[:, 1] >= 0.2).all() and (ours[:, 1] <= 0.5).all()
    np.testing.assert_allclose(ours.mean(axis=0), np.mean(theirs, axis=0), atol=0.03)
    np.testing.assert_allclose(ours.std(axis=0), np.std(theirs, axis=0), atol=0.02)
    np.testing.assert_array_equal(task.reset(5, np.random.default_rng(7)), task.reset(5, np.random.default_rng(7)))


def swing(task, **changes):
    true = task.true_parameters
    simulate = task.simulator(Uniform.around({**true, **changes}))
    rng = np.random.default_rng(3)
    return simulate(task.reset(20, rng), rng.uniform(-1, 1, (20, 100, 2)), rng)


def test_what_matters_and_what_cannot(task):
    """The ball has two slides and no hinge, so its moment of inertia is in no equation of motion."""
    true = task.true_parameters
    np.testing.assert_array_equal(swing(task, inertia=100 * true["inertia"]), swing(task))
    for change in ({"mass": 4 * true["mass"]}, {"stiffness": 500.0}):
        apart = np.linalg.norm((swing(task, **change) - swing(task))[..., 2:4], axis=-1)
        assert np.median(apart[:, 50]) > 0.002, change  # m


def test_planning_model_follows_the_true_one(task):
    """Its time step is five times as long."""
    rng = np.random.default_rng(4)
    states, actions = task.reset(100, rng), rng.uniform(-1, 1, (100, 10, 2))
    true = task.true_system()(states, actions, rng)
    planned = task.simulator(Uniform.around(task.true_parameters))(states, actions, rng)
    apart = np.linalg.norm((true - planned)[..., 2:4], axis=-1)
    assert np.median(apart[:, 4]) < 0.004 and np.median(apart[:, 10]) < 0.009  # m


def test_success_forgives_one_bounce(task):
    inside, outside = at(task, ball_z=0.35), at(task)
    assert task.in_target(np.stack([inside, outside])).tolist() == [True, False]
    trajectory = np.tile(inside, (151, 1))
    trajectory[:100] = outside
    assert task.success(trajectory)
    trajectory[-12:-7] = outside
    assert task.success(trajectory)
    trajectory[-1] = outside
    assert not task.success(trajectory)
    assert not task.success(trajectory[:20])


def test_a_model_without_the_named_parts_is_refused(task):
    from mpqlib.tasks.ball_in_cup import package_folder

    xml = (package_folder("dm_control") / "suite/ball_in_cup.xml").read_text()
    xml = re.sub(r"<include[^>]*/>|material=\"[^\"]*\"", "", xml)
    renamed = mujoco.MjModel.from_xml_string(xml.replace('body name="ball"', 'body name="bell"'))
    with pytest.raises(ValueError, match="no body named 'ball'; it has world, cup, bell"):
        task.write(renamed, task.true_parameters)
    with pytest.raises(ValueError, match="no actuator named 'y'; it has x, z"):
        named(renamed, "actuator", "y")
