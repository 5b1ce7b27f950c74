import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.rollout import Simulator


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
