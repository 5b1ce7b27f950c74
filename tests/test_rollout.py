import copy
import os
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from mpqlib.randomization import Uniform
from mpqlib.rollout import MujocoSimulator, Physics, Simulator


def drift(states, actions, parameters):
    return states + parameters["rate"] * actions


def test_matches_a_loop_over_rows_and_steps():
    rng = np.random.default_rng(0)
    starts, actions = rng.normal(size=(4, 2)), rng.normal(size=(4, 7, 2))
    states = Simulator(drift, Uniform.around({"rate": 0.5}))(starts, actions, rng)
    assert states.shape == (4, 8, 2)
    for b in range(4):
        x = starts[b]
        np.testing.assert_array_equal(states[b, 0], x)
        for t in range(7):
            x = x + 0.5 * actions[b, t]
            np.testing.assert_array_equal(states[b, t + 1], x)


def test_parameters_are_drawn_once_per_row_and_anew_at_each_call():
    rng = np.random.default_rng(0)
    simulate = Simulator(lambda s, a, p: s + p["rate"][:, None], Uniform({"rate": 1.0}, {"rate": 2.0}))
    starts, actions = np.zeros((50, 1)), np.zeros((50, 3, 1))
    increments = np.diff(simulate(starts, actions, rng), axis=1)[..., 0]
    np.testing.assert_allclose(increments, increments[:, :1].repeat(3, axis=1))  # held along the rollout
    assert len(np.unique(increments[:, 0].round(9))) == 50  # one world per row
    again = np.diff(simulate(starts, actions, rng), axis=1)[..., 0]
    assert not np.allclose(again, increments)


def test_rows_do_not_influence_each_other():
    rng = np.random.default_rng(0)
    simulate = Simulator(drift, Uniform.around({"rate": 0.5}))
    starts, actions = rng.normal(size=(6, 2)), rng.normal(size=(6, 5, 2))
    together = simulate(starts, actions, rng)
    np.testing.assert_array_equal(together[2:4], simulate(starts[2:4], actions[2:4], rng))


CART = """<mujoco><option timestep="0.01" integrator="implicitfast"/><worldbody><body name="cart">
<joint name="x" type="slide" axis="1 0 0" damping="1"/><geom size=".1" mass="1"/>
<body pos="0 0 -.5"><joint axis="0 1 0"/><geom size=".05" mass=".2" contype="0" conaffinity="0"/></body></body></worldbody>
<actuator><motor name="push" joint="x"/></actuator></mujoco>"""
MASSES = Uniform({"mass": 0.5}, {"mass": 4.0})


def write(model, parameters):
    model.body_mass[1] = parameters["mass"]
    mujoco.mj_setConst(model, mujoco.MjData(model))


def cart(distribution=MASSES, **kwargs):
    return MujocoSimulator(Physics(mujoco.MjModel.from_xml_string(CART), substeps=5), write, distribution, **kwargs)


@pytest.fixture
def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(37, 4)), rng.uniform(-20, 20, (37, 12, 1))


def test_mujoco_rows_are_mujoco_stepped_alone(batch):
    """Against mj_step in a plain loop, each row in the world that was drawn for it."""
    states, actions = batch
    simulate = cart(worlds=16)
    found = simulate(states, actions, np.random.default_rng(5))
    worlds = np.random.default_rng(5).integers(16, size=len(states))
    assert len(set(worlds)) > 8
    for b, world in enumerate(worlds):
        model = simulate.models[world]
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = states[b, :2], states[b, 2:]
        for t, action in enumerate(actions[b]):
            np.testing.assert_allclose(found[b, t], [*data.qpos, *data.qvel], rtol=1e-12)
            data.ctrl[:] = action
            mujoco.mj_step(model, data, nstep=5)


def test_mujoco_results_do_not_depend_on_threads(batch):
    expected = cart()(*batch, np.random.default_rng(1))
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(cart(threads=threads)(*batch, np.random.default_rng(1)), expected)


def test_mujoco_worlds_are_written_once_spread_evenly_and_drawn_per_row(batch):
    simulate = cart(worlds=64)
    masses = np.array([model.body_mass[1] for model in simulate.models])
    assert masses.min() > 0.5 and masses.max() < 4.0
    np.testing.assert_allclose(np.sort(masses), np.linspace(0.5, 4.0, 65)[:-1] + 3.5 / 128)  # even
    pool, rng = list(simulate.models), np.random.default_rng(2)
    first, second = simulate(*batch, rng), simulate(*batch, rng)
    assert not np.allclose(first, second)  # other worlds for the same rows
    assert all(one is other for one, other in zip(simulate.models, pool))
    np.testing.assert_array_equal([model.body_mass[1] for model in simulate.models], masses)
    assert len(cart(Uniform.around({"mass": 1.0})).models) == 1


def test_mujoco_answers_are_not_overwritten_by_the_next_call(batch):
    simulate = cart(Uniform.around({"mass": 1.0}))
    first = simulate(*batch, None)
    kept = first.copy()
    simulate(batch[0] + 1, -batch[1], None)
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("threads", [1, 2])
def test_mujoco_survives_diverged_rows_and_counts_them(batch, threads):
    states, actions = copy.deepcopy(batch)
    simulate = cart(threads=threads)
    expected = simulate(states, actions, np.random.default_rng(1))
    states[3] = 1e12  # too large from the start
    actions[20, 6] = 1e14  # the force that breaks it comes in step 6
    found = simulate(states, actions, np.random.default_rng(1))
    fine = np.setdiff1d(np.arange(37), (3, 20))
    np.testing.assert_array_equal(found[fine], expected[fine])
    assert np.isnan(found[3, 1:]).all() and np.isnan(found[20, 7:]).all()
    np.testing.assert_array_equal(found[20, :7], expected[20, :7])
    assert simulate.diverged == 2
    again = simulate(*batch, np.random.default_rng(1))
    np.testing.assert_array_equal(again, expected)  # nothing is left behind
    assert simulate.diverged == 2


def test_mujoco_bad_arguments_are_named():
    for name in ("worlds", "threads"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            cart(**{name: 0})
    model = mujoco.MjModel.from_xml_string(CART.replace('<motor name="push" joint="x"/>',
                                                        '<general joint="x" dyntype="integrator"/>'))
    with pytest.raises(ValueError, match="activations or plugins"):
        MujocoSimulator(Physics(model, substeps=5), write, MASSES)


@pytest.mark.gl
def test_without_a_display_it_renders_without_being_told_how():
    """In a fresh process that knows neither a display nor MUJOCO_GL."""
    code = ("from mpqlib import tasks; import numpy as np; task = tasks.make('franka_drawer_open');"
            "print(task.render(task.reset(1, np.random.default_rng(0))[0]).std())")
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 10
