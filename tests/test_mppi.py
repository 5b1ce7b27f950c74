import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from mpqlib import tasks
from mpqlib.benchmarks import _pytorch_mppi_step
from mpqlib.mppi import MPPI, MPPISettings, receding_horizon

GOOD = dict(horizon=4, samples=16, lam=0.5, sigma=1.0, action_low=(-2.0,), action_high=(2.0,))


def integrator(states, actions, rng):
    """x' = x + 0.1 a, exactly."""
    return np.concatenate([states[:, None], states[:, None] + 0.1 * np.cumsum(actions, axis=1)], axis=1)


def quadratic(states, actions):
    return np.square(states).sum(-1)


def planner(terminal_q=None, cost=quadratic, **changes):
    return MPPI(MPPISettings(**{**GOOD, **changes}), integrator, cost, terminal_q)


@pytest.mark.parametrize("name, value, allowed", [
    ("lam", "0.1", "finite number > 0"), ("horizon", True, "integer >= 1"), ("beta", None, r"\[0, 1\)"),
    ("lam", 0, "finite number > 0"), ("lam", -1.0, "finite number > 0"), ("lam", np.nan, "finite number > 0"),
    ("horizon", 0, "integer >= 1"), ("horizon", 2.5, "integer >= 1"), ("samples", 0, "integer >= 1"),
    ("iterations", 0, "integer >= 1"), ("beta", 1.0, r"\[0, 1\)"), ("beta", -0.1, r"\[0, 1\)"),
    ("step_size", 0.0, r"\(0, 1\]"), ("gamma", 1.1, r"\(0, 1\]"), ("gamma", np.nan, r"\(0, 1\]"),
    ("sigma", 0.0, "positive definite"), ("sigma", np.inf, "positive definite"), ("sigma", (1.0, 1.0), "one per action dimension"),
])
def test_bad_settings_name_value_and_range(name, value, allowed):
    with pytest.raises(ValueError, match=allowed) as error:
        MPPISettings(**{**GOOD, name: value})
    assert name in str(error.value)


def test_bad_action_range():
    with pytest.raises(ValueError, match="low < high"):
        MPPISettings(**{**GOOD, "action_low": (2.0,)})


@pytest.mark.parametrize("state, U, message", [
    ([np.nan], None, "state is"), ([np.inf], None, "state is"), (np.zeros((2, 2, 1)), None, "state is"),
    ([0.0], np.zeros((3, 1)), "U has shape"), ([0.0], np.full((4, 1), np.nan), "U has shape"),
    ([[0.0], [1.0]], np.zeros((4, 1)), "U has shape"),
])
def test_bad_states_and_plans_are_named(state, U, message):
    with pytest.raises(ValueError, match=message):
        planner().plan(state, np.random.default_rng(0), U)


def test_a_cost_that_is_not_vectorised_is_named():
    with pytest.raises(ValueError, match=r"cost returned an array of shape \(\) for states \(16, 4, 1\)"):
        planner(cost=lambda s, a: np.square(s).sum()).plan([1.0], np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"it must be \(16, 3\)"):
        planner(terminal_q=lambda s, a: s[..., 0], cost=lambda s, a: np.square(s)).plan([1.0], np.random.default_rng(0))


def test_a_plan_without_a_finite_cost_is_an_error_not_a_nan():
    with pytest.raises(FloatingPointError, match="none of the 16 sampled costs"):
        planner(cost=lambda s, a: s[..., 0] * np.nan).plan([1.0], np.random.default_rng(0))
    with pytest.raises(FloatingPointError, match="none of the 16"):  # one plan of two
        planner(cost=lambda s, a: np.where(s[..., :1, 0] > 1.5, np.nan, s[..., 0])).plan([[1.0], [2.0]], np.random.default_rng(0))


def test_a_diverged_state_counts_even_where_the_cost_does_not_see_it():
    def lost(states, actions, rng):
        found = integrator(states, actions, rng)
        found[2, 2:] = np.nan
        return found

    sparse = MPPI(MPPISettings(**GOOD), lost, lambda states, actions: 1.0 - (states[..., 0] > 0.5))
    plan = sparse.plan([1.0], np.random.default_rng(0))
    assert plan.diverged == 1 and plan.weights[2] == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged_samples_get_no_weight_and_are_counted(bad):
    """The same as if the sample had been infinitely expensive; everything stays finite."""
    def cost(states, actions):
        return np.where(actions[..., :1, 0] > 0.3, bad, np.square(states[..., 0]))

    plan = planner(cost=cost, gamma=1.0).plan([1.0], np.random.default_rng(0))
    lost = plan.actions[:, 0, 0] > 0.3
    assert 0 < plan.diverged == lost.sum() < 16
    assert (plan.weights[lost] == 0).all() and plan.weights.sum() == pytest.approx(1)
    assert np.isfinite(plan.U).all() and np.isfinite(plan.free_energy)
    kept = np.exp(-plan.costs[~lost] / planner().settings.lam - plan.log_ratio[~lost])
    assert plan.free_energy == pytest.approx(-planner().settings.lam * np.log(kept.sum() / 16))


def test_one_plan_spelled_out():
    """Eq. 15-16 and the target's free energy with loops, from the plan's own samples."""
    p = planner(terminal_q=lambda s, a: 3 * s[..., 0] ** 2 + a[..., 0], gamma=0.9, beta=0.5, step_size=0.7, sigma=1.5)
    rng, U = np.random.default_rng(0), np.array([[0.3], [-0.2], [0.1], [0.8]])
    plan = p.plan([1.2], rng, U)
    covariance = 1.5**2 * 0.5 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    precision, total = np.linalg.inv(covariance), []
    for n in range(16):
        x, cost = 1.2, 0.0
        for l in range(3):
            cost += 0.9**l * x**2
            x = x + 0.1 * np.clip(plan.actions[n, l, 0], -2, 2)
        cost += 0.9**3 * (3 * x**2 + np.clip(plan.actions[n, 3, 0], -2, 2))
        assert plan.costs[n] == pytest.approx(cost)
        a, u = plan.actions[n, :, 0], U[:, 0]
        ratio = 0.5 * (a @ precision @ a) - 0.5 * ((a - u) @ precision @ (a - u))  # log pi_U - log prior
        assert plan.log_ratio[n] == pytest.approx(ratio)
        total.append(cost + 0.5 * ratio)  # S + lam log(pi_U / prior), lam = 0.5
    w = np.exp(-np.array(total) / 0.5)
    assert plan.free_energy == pytest.approx(-0.5 * np.log(w.mean()))
    w /= w.sum()
    np.testing.assert_allclose(plan.weights, w)
    assert plan.ess == pytest.approx(1 / (w**2).sum())
    np.testing.assert_allclose(plan.U, 0.3 * U + 0.7 * np.einsum("n,nhd->hd", w, plan.actions))


def test_weights_are_pytorch_mppis_on_the_same_samples():
    task = tasks.make("pendulum_swingup")
    settings = MPPISettings(24, 64, 0.3, 1.0, task.action_low, task.action_high)
    _pytorch_mppi_step(task, settings)  # asserts that both find the same costs of the same actions
    from mpqlib.boltzmann import boltzmann_weights
    import torch
    from pytorch_mppi import MPPI as Peer

    costs = np.random.default_rng(0).uniform(0, 5, 64)
    peer = Peer(lambda s, a: s, lambda s, a: s[:, 0], 2, torch.eye(1), num_samples=64, lambda_=0.3)
    np.testing.assert_allclose(boltzmann_weights(costs, 0.3), peer._compute_weighting(torch.tensor(costs)).numpy())


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 3), st.integers(0, 1000))
def test_noise_has_the_covariance_it_claims(horizon, du, seed):
    beta = seed / 1001
    sigma = tuple(0.5 + d for d in range(du))
    s = MPPISettings(horizon, 20_000, 1.0, sigma, (-1.0,) * du, (1.0,) * du, beta=beta)
    noise = s.sample_noise(1, np.random.default_rng(seed))[0]
    expected = beta ** np.abs(np.subtract.outer(np.arange(horizon), np.arange(horizon)))
    for d in range(du):
        np.testing.assert_allclose(np.cov(noise[..., d].T) / sigma[d] ** 2, expected if horizon > 1 else 1.0, atol=0.06)
    if du > 1:
        assert abs(np.corrcoef(noise[:, 0, 0], noise[:, 0, 1])[0, 1]) < 0.05


def test_a_batch_plans_each_state_as_well_as_one():
    p = planner(samples=4000)
    starts = np.array([[-2.0], [0.0], [3.0]])
    batch = p.plan(starts, np.random.default_rng(0), iterations=3)
    assert batch.U.shape == (3, 4, 1) and batch.costs.shape == (3, 4000) and batch.states.shape == (3, 4000, 4, 1)
    for k in range(3):
        single = p.plan(starts[k], np.random.default_rng(k + 1), iterations=3)
        np.testing.assert_allclose(batch[k].U, single.U, atol=0.25)
        assert batch[k].free_energy == pytest.approx(single.free_energy, abs=0.05)


def test_the_same_seed_gives_the_same_plan():
    a, b = (planner(beta=0.5).plan([1.0], np.random.default_rng(3)) for _ in range(2))
    for name, value in vars(a).items():
        np.testing.assert_array_equal(value, getattr(b, name))


def test_every_iteration_draws_fresh_noise(monkeypatch):
    drawn, sample = [], MPPISettings.sample_noise
    monkeypatch.setattr(MPPISettings, "sample_noise", lambda *args: drawn.append(sample(*args)) or drawn[-1])
    plan = planner(samples=8).plan([1.0], np.random.default_rng(0), iterations=3)
    assert len(drawn) == 3
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert not np.isclose(drawn[first], drawn[second]).any()
    assert not np.allclose(plan.actions, drawn[-1][0])  # the last samples lie around the U found before them


def test_horizon_one_is_soft_q_learning():
    """H = 1 uses no simulation: the free energy is the soft minimum of Q over actions."""
    def never(*_):
        raise AssertionError("H = 1 must not simulate")

    q = lambda s, a: (a[..., 0] - 1.0) ** 2  # noqa: E731
    p = MPPI(MPPISettings(**{**GOOD, "horizon": 1, "samples": 200_000, "lam": 0.3, "action_low": (-9.0,), "action_high": (9.0,)}),
             never, quadratic, q)
    found = p.plan([0.0], np.random.default_rng(0)).free_energy
    # prior N(0, 1) and Q = (a - 1)^2, by completing the square
    k = 2 / 0.3
    exact = 0.15 * np.log(1 + k) + 1 / (1 + k)
    assert found == pytest.approx(exact, abs=5e-3)


def test_shift_and_execute():
    p = planner()
    U = np.array([[5.0], [1.0], [2.0], [3.0]])
    np.testing.assert_array_equal(p.shift(U), [[1.0], [2.0], [3.0], [0.0]])
    np.testing.assert_array_equal(p.execute(U), [2.0])  # clipped


def test_converges_to_the_optimal_gaussian_plan():
    """Linear dynamics, quadratic costs: pi* is Gaussian and its mean minimises S + lam u'u / (2 sigma^2)."""
    lam, sigma, R, P = 0.05, 0.5, 0.01, 12.0

    def cost(states, actions):
        return states[..., 0] ** 2 + R * actions[..., 0] ** 2

    def q(states, actions):
        return cost(states, actions) + P * (states[..., 0] + 0.1 * actions[..., 0]) ** 2

    def objective(u):
        x = 1.0 + 0.1 * np.concatenate([[0.0], np.cumsum(u)])
        return (x[:4] ** 2).sum() + P * x[4] ** 2 + R * u @ u + lam * u @ u / (2 * sigma**2)

    exact = minimize(objective, np.zeros(4)).x
    p = planner(terminal_q=q, cost=cost, lam=lam, samples=20_000, iterations=40, step_size=0.5, sigma=sigma,
                action_low=(-50.0,), action_high=(50.0,))
    U = p.plan([1.0], np.random.default_rng(0)).U
    np.testing.assert_allclose(U[:, 0], exact, rtol=0.02)


def test_receding_horizon_brings_the_integrator_home():
    p = planner(samples=64, horizon=8, lam=0.05)
    system = lambda s, a, rng: integrator(s, a, rng)  # noqa: E731
    steps = list(receding_horizon(p, system, np.array([[1.0], [-1.5]]), 40, np.random.default_rng(0)))
    assert np.abs(steps[-1][3]).max() < 0.2 < np.abs(steps[0][0]).max()
    for before, after in zip(steps, steps[1:]):
        np.testing.assert_array_equal(before[3], after[0])


def test_mppi_with_true_dynamics_swings_the_pendulum_up():
    task, rng = tasks.make("pendulum_swingup"), np.random.default_rng(0)
    settings = MPPISettings(32, 100, 0.15, 2.0, task.action_low, task.action_high)
    p = MPPI(settings, task.true_system(), task.cost)
    steps = list(receding_horizon(p, task.true_system(), task.reset(96, rng), task.episode_steps, rng))
    states = np.stack([s[3] for s in steps], axis=1)
    assert task.success(states).mean() >= 0.9  # 0.95 to 0.99; of a few episodes another processor's rounding may lose one too many
