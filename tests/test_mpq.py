import copy
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from mpqlib import tasks
from mpqlib.mpq import MPQ, MPQSettings, evaluate
from mpqlib.settings import SETTINGS

TASK = tasks.make("pendulum_swingup")
FROZEN = SETTINGS[TASK.name]
SHORT = replace(FROZEN.mpq, N=3, T=30, M=4, validate_every=2, validation_episodes=3)


def learner(settings=SHORT, seed=1000, data="real"):
    system = TASK.true_system() if data == "real" else TASK.simulator()
    return MPQ(TASK, settings, TASK.simulator(), system, seed)


@pytest.mark.parametrize("name, value, allowed", [
    ("N", 0, "integer >= 1"), ("T", 1.5, "integer >= 1"), ("N_update", 0, "integer >= 1"), ("K", 0, "integer >= 1"),
    ("M", -1, "integer >= 1"), ("target_iterations", -1, "integer >= 0"), ("validate_every", 0, "integer >= 1"),
    ("target_samples", 0, "integer >= 1"), ("target_network_rate", 0.0, r"\(0, 1\]"), ("average_rate", 1.5, r"\(0, 1\]"),
    ("learning_rate", 0.0, "> 0"), ("output_scale", np.inf, "> 0"), ("final_learning_rate", -1.0, "> 0"),
    ("epochs", 0, "integer >= 1"), ("value_range", (1.0, 1.0), "low < high"), ("exploration", -0.1, ">= 0"),
])
def test_bad_settings_name_value_and_range(name, value, allowed):
    with pytest.raises(ValueError, match=allowed) as error:
        replace(SHORT, **{name: value})
    assert str(value) in str(error.value)


def test_target_of_eq_17_against_quadrature():
    """H = 1 on a known Q: y = c - gamma lam log E_prior[exp(-Q(s', a) / lam)], whatever U was optimised to."""
    planner = replace(SHORT.planner, horizon=1, samples=20_000, lam=0.4, sigma=0.5, gamma=0.9)
    m = learner(replace(SHORT, planner=planner, target_iterations=3))
    m.target_planner.terminal_q = lambda s, a: (a[..., 0] - 0.5) ** 2 + s[..., 1]
    next_states = np.array([[0.0, 0.3], [1.0, -0.7]])
    eta = quad(lambda a: norm.pdf(a, scale=0.5) * np.exp(-((a - 0.5) ** 2) / 0.4), -2, 2)[0]
    expected = np.array([1.0, 2.0]) + 0.9 * (-0.4 * np.log(eta) + next_states[:, 1])
    np.testing.assert_allclose(m.targets(np.array([1.0, 2.0]), next_states), expected, atol=0.01)


def test_targets_in_a_batch_are_those_one_by_one():
    m = learner(replace(SHORT, target_samples=5000))
    next_states = np.array([[0.1, 0.2], [3.0, -1.0]])
    batch = m.targets(np.array([1.0, 2.0]), next_states)
    for k in range(2):
        one = m.targets(np.array([1.0 + k]), next_states[k:k + 1])
        assert batch[k] == pytest.approx(one[0], abs=0.3)


def test_algorithm_1_counts(monkeypatch):
    s = replace(SHORT, N=5, N_update=2, K=16, M=7)
    m, fits = learner(s), []
    monkeypatch.setattr(m.q, "fit", lambda states, actions, y: fits.append((m.episode, len(states), len(y))))
    m.train()
    assert m.buffer.size == 5 * s.T
    assert fits == [(2, 16, 16)] * 7 + [(4, 16, 16)] * 7
    assert [row["episode"] for row in m.curve] == [0, 2, 4, 5]
    # each transition is one step of the true system from the state before
    x, a = m.buffer.states[:m.buffer.size], m.buffer.actions[:m.buffer.size]
    np.testing.assert_allclose(m.buffer.next_states, TASK.step(x, a, TASK.true_parameters), atol=1e-12)
    np.testing.assert_allclose(m.buffer.costs, TASK.cost(x, a))


def test_domain_randomisation_draws_parameters_at_each_step():
    m = learner(replace(SHORT, N=1, validation_episodes=1), data="dr")
    m.train()
    x, a, after = m.buffer.states, m.buffer.actions, m.buffer.next_states
    assert not np.allclose(after, TASK.step(x, a, TASK.true_parameters), atol=1e-4)
    gained = after[:, 1] - x[:, 1]
    low = TASK.step(x, a, {"mass": 1.5, "length": 1.5})[:, 1] - x[:, 1]
    high = TASK.step(x, a, {"mass": 0.9, "length": 0.9})[:, 1] - x[:, 1]
    assert len(np.unique(np.round((gained - low) / (high - low), 3))) > 15  # not one world, but many


def test_best_on_validation_is_returned():
    m = learner(replace(SHORT, N=6, validate_every=1))
    best = m.train()
    rows = [row["cost"] for row in m.curve]
    rng = np.random.default_rng(MPQ.VALIDATION_SEED)
    m.planner.terminal_q = best
    again = evaluate(TASK, m.planner, m.system, TASK.reset(3, rng), rng, m.settings.T)
    assert again["cost"].mean() == pytest.approx(min(rows), rel=1e-12)


@pytest.mark.parametrize("frozen", [FROZEN.mpq, FROZEN.softq])
def test_state_and_restore_continue_bit_for_bit(frozen):
    s = replace(frozen, N=4, T=30, M=4, validate_every=2, validation_episodes=2)
    whole = learner(s)
    whole.train()

    class Stop(Exception):
        pass

    def stop(m):
        if m.episode == 2:
            raise Stop

    half, rest = learner(s), learner(s)
    with pytest.raises(Stop):
        half.train(stop)
    rest.restore(*half.state())
    rest.train()
    assert rest.curve == whole.curve and rest.episode_costs == whole.episode_costs
    for name, value in whole.state()[0].items():
        np.testing.assert_array_equal(value, rest.state()[0][name], err_msg=name)


def test_who_is_simulated_where(monkeypatch):
    """Plans and targets use the biased model, the executed steps alone the system; targets use the target network."""
    calls = []

    def recorded(name, simulator):
        def simulate(states, actions, rng):
            calls.append((name, len(states), actions.shape[1]))
            return simulator(states, actions, rng)

        return simulate

    s = replace(SHORT, N=1, T=5, M=1, K=16, validate_every=9, validation_episodes=1, target_network_rate=0.1)
    m = MPQ(TASK, s, recorded("model", TASK.simulator()), recorded("system", TASK.true_system()), 0)
    m.curve.append({"episode": 0, "cost": np.inf})  # no validation first
    monkeypatch.setattr(m, "validate", lambda: None)
    m.train()
    N, H = s.planner.samples, s.planner.horizon
    acting = [("model", N, H - 1), ("system", 1, 1)] * 5
    assert calls == acting + [("model", 16 * N, H - 1)] * (s.target_iterations + 1)

    def target():
        m.rng = np.random.default_rng(0)
        return m.targets(np.zeros(4), np.tile([3.0, 0.0], (4, 1)))

    before = target()
    m.q.network[-1].bias.data += 1.0  # not the target network: nothing changes
    np.testing.assert_array_equal(target(), before)
    m.target_q.network[-1].bias.data += 1.0  # value + output_scale, discounted H times
    np.testing.assert_allclose(target() - before, s.output_scale * s.planner.gamma**H, rtol=1e-5)


def test_target_network_follows_slowly():
    m = learner(replace(FROZEN.softq, N=1, T=30, M=5, validation_episodes=1))
    start = m.q.tensors()["0.weight"]
    m.train()
    moved, followed = (np.abs(q.tensors()["0.weight"] - start).max() for q in (m.q, m.target_q))
    assert 0 < followed < 0.5 * moved


def test_the_average_acts_and_is_returned():
    """With an average of theta, what acts, is validated, kept as best and saved is the average; targets are of theta."""
    s = replace(SHORT, N=2, T=30, M=5, validation_episodes=1, validate_every=1, average_rate=0.01)
    m = learner(s)
    returned = m.train()
    assert m.target_q is m.q is not m.acting_q and m.planner.terminal_q is m.acting_q
    kept = [name for name, value in m.acting_q.tensors().items() if np.array_equal(value, m.best[name])]
    last = min(m.curve, key=lambda row: row["cost"])["episode"] == 2
    assert (len(kept) == len(m.best)) == last
    np.testing.assert_array_equal(returned.tensors()["0.weight"], m.best["0.weight"])
    assert np.abs(m.q.tensors()["0.weight"] - m.acting_q.tensors()["0.weight"]).max() > 0
    again = learner(s)
    again.restore(*m.state())
    np.testing.assert_array_equal(again.acting_q.tensors()["0.weight"], m.acting_q.tensors()["0.weight"])


def test_mpq_learns_to_swing_up():
    """The real thing, at the frozen settings but 15 episodes; MPPI with the same planner fails."""
    s = replace(FROZEN.mpq, N=15, validate_every=5, validation_episodes=10)
    m = learner(s)
    before = m.planner
    m.train()
    assert m.curve[0]["success"] == 0
    assert min(row["cost"] for row in m.curve) < 450
    assert max(row["success"] for row in m.curve) >= 0.9
    rng = np.random.default_rng(0)
    before.terminal_q = None
    vanilla = evaluate(TASK, before, TASK.true_system(), TASK.reset(10, rng), rng)
    assert vanilla["success"].mean() == 0 and vanilla["cost"].mean() > 900


def test_epochs_take_all_targets_from_theta_before_the_update(monkeypatch):
    m = learner(replace(SHORT, N=2, N_update=2, K=8, M=5, epochs=3))
    targets, fits, before = m.targets, [], m.q.tensors()

    def spy(costs, next_states):
        np.testing.assert_equal(m.q.tensors(), before)
        return targets(costs, next_states)

    fit = m.q.fit
    monkeypatch.setattr(m, "targets", spy)
    monkeypatch.setattr(m.q, "fit", lambda states, actions, y: fits.append((actions, y)) or fit(states, actions, y))
    m.train()
    assert len(fits) == 15 and all(len(y) == 8 for _, y in fits)
    passes = [np.sort(np.concatenate([y for _, y in fits[5 * k:5 * k + 5]])) for k in range(3)]
    np.testing.assert_array_equal(passes[0], passes[1])  # the same targets in each pass
    assert any((fits[0][1] != fits[5][1]))  # in another order


def test_values_are_held_within_their_range():
    planner = replace(SHORT.planner, gamma=0.5)
    m = learner(replace(SHORT, planner=planner, value_range=(0.0, 3.0)))
    states, actions = TASK.reset(50, np.random.default_rng(0)), np.zeros((50, 1))
    with_bounds = m.targets(np.full(50, 10.0), states)
    assert (with_bounds == 3.0).all()
    m.q.set_tensors({name: np.full_like(value, -1.0 if value.shape == (1,) else 0.0) for name, value in m.q.tensors().items()})
    assert (m.q(states, actions) < 0).all() and (m.planner.terminal_q(states, actions) == 0).all()


def test_exploration_is_in_training_only():
    def train(**changes):
        m = learner(replace(SHORT, N=1, N_update=2, **changes))
        m.train()
        return m

    plain, bold = train(), train(exploration=2.0)
    assert plain.curve[0] == bold.curve[0]  # validated before training: no noise
    assert not np.allclose(plain.buffer.actions[:30], bold.buffer.actions[:30])
    noise = np.concatenate([learner(replace(SHORT, T=2000, exploration=1.5), seed=k).exploration_noise() for k in range(20)], axis=1)
    assert noise.shape == (2000, 20, 1) and noise.std(axis=0).max() < 1.8
    correlation = [np.corrcoef(column[1:], column[:-1])[0, 1] for column in noise[..., 0].T]
    assert np.mean(correlation) == pytest.approx(0.9, abs=0.02)


def test_warm_started_targets_use_the_stored_plans():
    m = learner(replace(SHORT, N=1, N_update=2, warm_start_targets=True, target_iterations=0))
    m.train()
    assert m.buffer.plans.shape == (30, SHORT.planner.horizon, 1) and m.buffer.plans.any()
    states, actions, costs, next_states, plans = m.buffer.sample(4, np.random.default_rng(0))
    seen = []
    plan = m.target_planner.plan
    m.target_planner.plan = lambda states, rng, U: seen.append(U) or plan(states, rng, U)
    m.targets(costs, next_states, plans)
    np.testing.assert_array_equal(seen[0], plans)


def test_learning_rate_falls_to_its_final_value():
    m = learner(replace(SHORT, learning_rate=1e-3, final_learning_rate=1e-4))
    rates = []
    m.train(after_episode=lambda m: rates.append(m.q.optimizer.param_groups[0]["lr"]))
    np.testing.assert_allclose(rates, [0.7e-3, 0.4e-3, 0.1e-3])


def test_all_options_resume_exactly():
    settings = replace(SHORT, N=4, epochs=2, value_range=(0.0, 1e3), warm_start_targets=True, exploration=0.5,
                       final_learning_rate=1e-4)
    whole, first, second = learner(settings), learner(settings), learner(settings)
    whole.train()
    saved = []
    first.train(after_episode=lambda m: saved.append(copy.deepcopy(m.state())) if m.episode == 2 else None)
    tensors, header = saved[0]
    second.restore(tensors, header)
    second.train()
    np.testing.assert_equal(second.q.tensors(), whole.q.tensors())
    assert second.curve == whole.curve
