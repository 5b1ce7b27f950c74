"""Eq. 1-7 on small MDPs, each against an answer found another way."""

import numpy as np
import pytest
from scipy.optimize import minimize

from mpqlib.softmdp import SoftMDP


def mdp(seed=0, gamma=0.9, lam=0.7, **kwargs):
    return SoftMDP.random(6, 3, lam, gamma, np.random.default_rng(seed), **kwargs)


def random_policy(rng, states=6, actions=3):
    return rng.dirichlet(np.ones(actions), size=states)


def test_policy_value_is_the_discounted_sum_of_costs_and_kl():  # Eq. 2, by 400 explicit steps
    m, rng = mdp(deterministic=False), np.random.default_rng(1)
    policy = random_policy(rng)
    V, Q = m.evaluate(policy)
    chain = np.einsum("sa,sat->st", policy, m.transitions)
    stage = (policy * m.costs).sum(1) + m.lam * (policy * np.log(policy / m.prior)).sum(1)
    explicit, reached = np.zeros(6), np.eye(6)
    for t in range(400):
        explicit += m.gamma**t * reached @ stage
        reached = reached @ chain
    np.testing.assert_allclose(V, explicit, atol=1e-12)
    # "It can be verified that V = E[lam log(pi / prior) + Q]"
    np.testing.assert_allclose(V, (policy * (m.lam * np.log(policy / m.prior) + Q)).sum(1), atol=1e-12)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_h_step_form_has_the_same_value(horizon):  # Eq. 2, right-hand side
    m, policy = mdp(deterministic=False), random_policy(np.random.default_rng(2))
    V, _ = m.evaluate(policy)
    np.testing.assert_allclose(m.h_step_value(policy, V, horizon), V, atol=1e-12)


def test_solution_is_the_minimum_of_eq_1_found_by_a_general_optimiser():
    m = mdp(deterministic=False)
    V, _, policy = m.solve()

    def objective(logits):
        p = np.exp(logits.reshape(6, 3))
        return m.evaluate(p / p.sum(1, keepdims=True))[0].sum()

    found = minimize(objective, np.zeros(18), method="BFGS", options={"gtol": 1e-8})
    assert abs(found.fun - V.sum()) < 1e-7
    np.testing.assert_allclose(m.evaluate(policy)[0], V, atol=1e-11)


def test_temperature_limits():
    cold, hot = mdp(lam=1e-3), mdp(lam=1e3)
    V, Q, policy = cold.solve()
    greedy = np.zeros(6)
    for _ in range(500):
        greedy = (cold.costs + cold.gamma * greedy[cold.next_state]).min(1)
    np.testing.assert_allclose(V, greedy, atol=0.05)
    assert policy.max(1).min() > 0.99
    np.testing.assert_allclose(hot.solve()[2], hot.prior, atol=5e-3)


@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_gibbs_identity_and_optimality(horizon):  # Eq. 5-7
    m, rng = mdp(gamma=1.0), np.random.default_rng(3)
    Q = rng.normal(size=(6, 3))
    optimal, value = m.h_step_boltzmann(0, Q, horizon)
    assert abs(m.open_loop_objective(0, Q, optimal, horizon) - value) < 1e-12
    for _ in range(20):
        other = rng.dirichlet(np.ones(len(optimal)))
        gap = m.open_loop_objective(0, Q, other, horizon) - value
        assert abs(gap - m.lam * other @ np.log(other / optimal)) < 1e-9  # E[S] + lam KL(pi||prior) = F + lam KL(pi||pi*)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5])
def test_free_energy_is_the_nested_soft_backup_without_discount(horizon):  # Eq. 7
    m, Q = mdp(gamma=1.0), np.random.default_rng(4).normal(size=(6, 3))
    nested = m.soft_minimum(Q)
    for _ in range(horizon - 1):
        nested = m.soft_minimum(m.q_from_v(nested))
    joint = [m.h_step_boltzmann(s, Q, horizon)[1] for s in range(6)]
    np.testing.assert_allclose(joint, nested, atol=1e-13)


def test_with_discount_the_joint_free_energy_is_too_large_by_a_growing_gap():
    m = mdp(gamma=0.9)
    V, Q, _ = m.solve()
    gaps = [max(m.h_step_boltzmann(s, Q, H)[1] - V[s] for s in range(6)) for H in (1, 2, 4, 6)]
    assert abs(gaps[0]) < 1e-10
    assert 1e-4 < gaps[1] < gaps[2] < gaps[3]


def test_eq_4_holds_for_deterministic_dynamics():
    m, policy = mdp(), random_policy(np.random.default_rng(5))
    V, Q = m.evaluate(policy)
    np.testing.assert_allclose(Q, m.costs + m.gamma * V[m.next_state], atol=1e-12)


def test_lake_moves_and_costs_as_described():
    calm, windy = SoftMDP.lake(1.0, 0.98), SoftMDP.lake(1.0, 0.98, current=0.25)
    start, jetty = 24, 31
    assert calm.next_state[start].tolist() == [16, 25, start, start]  # north, east, over the weir, into the bank
    assert calm.costs[start].tolist() == [1, 1, 21, 1]
    assert calm.next_state[[3, 15], [0, 1]].tolist() == [3, 15]  # the other banks
    assert set(calm.next_state[jetty]) == {jetty} and not calm.costs[jetty].any()
    assert windy.transitions[17, 1, [18, 26]].tolist() == [0.75, 0.25]
    assert windy.costs[25].tolist() == [1, 6, 21, 6]  # a current from the last row goes over, unless it only stops the stroke north
    with pytest.raises(ValueError, match="current is 1.5"):
        SoftMDP.lake(1.0, 0.98, current=1.5)


def test_lake_without_discount_is_the_linear_problem_of_todorov():  # a second way to the same values
    calm = SoftMDP.lake(2.0, 1.0)
    weights = np.einsum("sa,sat->st", calm.prior * np.exp(-calm.costs / calm.lam), calm.transitions)
    z = np.linalg.solve(np.eye(31) - weights[:-1, :-1], weights[:-1, -1])
    np.testing.assert_allclose(calm.solve()[0][:-1], -calm.lam * np.log(z), atol=1e-9)


def test_bad_arguments_are_named():
    m = mdp()
    good = dict(costs=m.costs, transitions=m.transitions, prior=m.prior, lam=1.0, gamma=0.9)
    for name, value, message in [("lam", 0.0, "lam is 0.0"), ("gamma", 1.5, "gamma is 1.5"),
                                 ("transitions", m.transitions * 2, "distribution"),
                                 ("transitions", m.transitions[:3], "transitions have shape"),
                                 ("prior", np.eye(6, 3), "distribution"), ("prior", m.prior[:2], "prior has shape")]:
        with pytest.raises(ValueError, match=message):
            SoftMDP(**{**good, name: value})
    with pytest.raises(ValueError, match="deterministic"):
        mdp(deterministic=False).next_state
    with pytest.raises(RuntimeError, match="gamma = 1"):
        mdp(gamma=1.0).solve(max_iterations=50)
