import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpqlib import tasks
from mpqlib.randomization import Uniform
from mpqlib.tasks.mujoco import MujocoTask

ALL = sorted(tasks.TASKS)


def gymnasium_id(name):
    return f"mpq/{type(tasks.make(name)).__name__}-v0"


@pytest.mark.parametrize("name", ALL)
def test_environment_passes_gymnasiums_checker(name):
    check_env(gymnasium.make(gymnasium_id(name), render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", ALL)
def test_environment_is_the_task(name):
    task, env = tasks.make(name), gymnasium.make(gymnasium_id(name))
    observation, _ = env.reset(seed=3)
    state = task.reset(1, np.random.default_rng(3))[0]
    np.testing.assert_allclose(observation, task.observe(state), atol=1e-6)
    rng, truncated = np.random.default_rng(0), False
    while not truncated:
        action = rng.uniform(task.action_low, task.action_high)
        cost = task.cost(state, action)
        state = task.true_system()(state[None], action[None, None], rng)[0, 1]
        observation, reward, terminated, truncated, info = env.step(action)
        assert not terminated
        np.testing.assert_allclose(observation, task.observe(state), atol=1e-5)
        assert reward == -info["cost"] == pytest.approx(-float(cost))
    assert len(env.unwrapped.states) == task.episode_steps + 1
    assert info["is_success"] == bool(task.success(np.array(env.unwrapped.states)))


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_vectorisation(name):
    task, rng = tasks.make(name), np.random.default_rng(0)
    states = task.reset(4, rng)
    actions = rng.uniform(task.action_low, task.action_high, (4, 6, task.action_dim))
    trajectory = task.simulator()(states, actions, rng)
    assert trajectory.shape == (4, 7, task.state_dim)
    costs = task.cost(trajectory[:, :-1], actions)
    assert costs.shape == (4, 6) and (costs >= 0).all()
    assert task.observe(trajectory).shape == (4, 7, task.observation_dim)
    assert task.success(trajectory).shape == (4,)
    for b in range(4):
        np.testing.assert_allclose(task.cost(trajectory[b, 2], actions[b, 2]), costs[b, 2])
    frame = task.render(trajectory[0, 0])
    assert frame.dtype == np.uint8 and frame.shape[-1] == 3 and frame.std() > 1


@pytest.mark.parametrize("name", ALL)
def test_bad_actions_and_distributions_are_named(name):
    env = gymnasium.make(gymnasium_id(name)).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action has shape"):
        env.step(np.zeros(env.task.action_dim + 1))
    with pytest.raises(ValueError, match="finite"):
        env.step(np.full(env.task.action_dim, np.nan))
    with pytest.raises(ValueError, match="the distribution names"):
        env.task.simulator(Uniform({"weight": 1.0}, {"weight": 2.0}))


MUJOCO = [name for name in ALL if isinstance(tasks.make(name), MujocoTask)]


@pytest.mark.parametrize("name", MUJOCO)
def test_model_and_data_are_as_in_gymnasiums_mujoco_environments(name):
    """What others write into env.unwrapped.model and .data counts."""
    env, rng = gymnasium.make(gymnasium_id(name)).unwrapped, np.random.default_rng(0)
    env.reset(seed=0)
    action = np.abs(rng.uniform(env.action_space.low, env.action_space.high))  # a closed hand can only open
    env.step(action)
    assert env.data.time == pytest.approx(env.dt) and env.data.ctrl.any()
    joints = env.system.physics.enter(env.states[-1][None])[0]
    np.testing.assert_array_equal(np.concatenate([env.data.qpos, env.data.qvel]), joints)

    def after(change):
        env.reset(seed=0)
        env.step(action)
        change()
        return env.step(action)[0]

    plain = after(lambda: None)
    np.testing.assert_array_equal(after(lambda: None), plain)
    free = env.model.dof_damping < 1000  # a robot's base, held in place by damping, is left alone
    moved = after(lambda: env.set_state(env.data.qpos, env.data.qvel + 0.05 * free))
    assert np.abs(moved - plain).max() > 1e-3
    env.model.opt.timestep /= 2  # everything half as far
    assert np.abs(after(lambda: None) - plain).max() > 1e-4


def test_unknown_task_lists_those_there_are():
    with pytest.raises(ValueError, match="unknown task 'pendulum'; the tasks are .*pendulum_swingup"):
        tasks.make("pendulum")


def test_pendulum_is_gymnasiums_pendulum_step_for_step():
    theirs = gymnasium.make("Pendulum-v1", g=9.8).unwrapped
    theirs.reset(seed=0)
    task, rng = tasks.make("pendulum_swingup"), np.random.default_rng(0)
    state = task.reset(1, rng)
    theirs.state = state[0].copy()
    for _ in range(300):  # long enough to meet the speed limit
        action = rng.uniform(-2, 2, (1, 1)) + np.sign(state[0, 1])
        action = action.clip(-2, 2)
        cost = task.cost(state[0], action[0])
        state = task.step(state, action, task.true_parameters)
        _, reward, *_ = theirs.step(action[0])
        np.testing.assert_allclose(state[0], theirs.state, atol=1e-9)
        assert -reward == pytest.approx(cost, rel=1e-7)
    assert np.abs(state).max() > 1


def test_pendulum_parameters_mean_what_they_say():
    task = tasks.make("pendulum_swingup")
    level = np.array([[np.pi / 2, 0.0]])
    for m, l in ((1.0, 1.0), (0.5, 1.3)):
        torque = -m * task.gravity * l / 2  # holds a uniform rod level
        after = task.step(level, np.array([[torque]]), {"mass": m, "length": l})
        np.testing.assert_allclose(after, level, atol=1e-12)


def test_pendulum_success_needs_the_whole_last_second():
    task = tasks.make("pendulum_swingup")
    trajectory = np.zeros((201, 2))
    assert task.success(trajectory)
    trajectory[:, 0] = 2 * np.pi  # upright after a full turn
    assert task.success(trajectory)
    trajectory[-task.held_steps, 0] = 0.21
    assert not task.success(trajectory)
    assert not task.success(np.zeros((5, 2)))  # too short to tell


@pytest.mark.parametrize("name", ALL)
def test_the_truth_moves_along_a_line(name):
    task = tasks.make(name)
    assert task.moved(1).true_parameters == pytest.approx(task.true_parameters)
    middle = {key: (task.biased.low[key] + task.biased.high[key]) / 2 for key in task.true_parameters}
    assert task.moved(0).true_parameters == pytest.approx(middle)
    for key, true in task.true_parameters.items():
        half, beyond = (task.moved(size).true_parameters[key] for size in (0.5, 1.2))
        low, high = sorted([true, middle[key]])
        assert low <= half <= high and beyond >= 0
        assert (beyond - true) * (true - middle[key]) >= 0
    assert task.true_parameters == type(task)().true_parameters and task.moved(0.5).biased == task.biased
    with pytest.raises(ValueError, match="size is -1; it must be a finite number >= 0"):
        task.moved(-1)
