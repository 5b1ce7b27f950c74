import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.special import logsumexp, softmax
from scipy.stats import multivariate_normal, norm

from mpqlib.boltzmann import (boltzmann_weights, effective_sample_size, free_energy, log_density_ratio,
                              weights_and_free_energy)

costs_arrays = arrays(float, st.integers(1, 40), elements=st.floats(-1e3, 1e3))
temperatures = st.floats(1e-2, 1e2)


@given(costs_arrays, temperatures)
def test_against_scipy(costs, lam):
    np.testing.assert_allclose(boltzmann_weights(costs, lam), softmax(-costs / lam), atol=1e-12)
    expected = -lam * (logsumexp(-costs / lam) - np.log(len(costs)))
    np.testing.assert_allclose(free_energy(costs, lam), expected, rtol=1e-9, atol=1e-9)


@given(costs_arrays, temperatures, st.floats(-1e4, 1e4))
def test_a_constant_moves_the_free_energy_but_not_the_weights(costs, lam, constant):
    np.testing.assert_allclose(boltzmann_weights(costs + constant, lam), boltzmann_weights(costs, lam), atol=1e-8)
    np.testing.assert_allclose(free_energy(costs + constant, lam), free_energy(costs, lam) + constant, rtol=1e-9, atol=1e-7)


@given(costs_arrays, temperatures)
def test_free_energy_lies_between_minimum_and_mean(costs, lam):
    value = free_energy(costs, lam)
    slack = 1e-9 * (1 + np.abs(costs).max())
    assert costs.min() - slack <= value <= costs.mean() + slack


@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1.0, 1e12, 1e300])
def test_stable_for_any_scale_of_cost(scale):
    costs = scale * np.array([3.0, 1.0, 2.0])
    for lam in (1e-3, 1.0, 1e3):
        weights, value = weights_and_free_energy(costs, lam)
        assert np.isfinite(weights).all() and abs(weights.sum() - 1) < 1e-12
        assert scale * (1 - 1e-12) <= value <= scale * (2 + 1e-12)


def test_free_energy_of_gaussian_prior_and_quadratic_cost_matches_quadrature():
    lam = 0.3
    exact = -lam * np.log(quad(lambda a: norm.pdf(a) * np.exp(-((a - 1.5) ** 2) / lam), -8, 8)[0])
    # importance sampling from another Gaussian of the same width gives the same expectation
    rng, U = np.random.default_rng(0), np.array([[1.1]])
    actions = U + rng.standard_normal((200_000, 1, 1))
    ratio = log_density_ratio(actions, U, 1.0)
    estimate = free_energy((actions[:, 0, 0] - 1.5) ** 2, lam, ratio)
    assert abs(estimate - exact) < 3e-3
    assert abs(free_energy((actions[:, 0, 0] - 1.5) ** 2, lam) - exact) > 0.1  # the ratio left out: wrong


def test_samples_from_the_optimal_distribution_have_no_variance():
    # For S = (a - 1.5)^2 and prior N(0, 1), pi* is N(1.5 k, 1 - k) with k = 2 / (2 + lam).
    lam, rng = 0.3, np.random.default_rng(1)
    k = 2 / (2 + lam)
    optimal, prior = norm(1.5 * k, np.sqrt(1 - k)), norm(0, 1)
    a = optimal.rvs(8, random_state=rng)
    each = [free_energy(np.array([(x - 1.5) ** 2]), lam, np.array([optimal.logpdf(x) - prior.logpdf(x)])) for x in a]
    assert np.ptp(each) < 1e-12


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_log_density_ratio_against_scipy_densities(seed):
    rng = np.random.default_rng(seed)
    N, H, du = 5, rng.integers(1, 6), rng.integers(1, 4)
    U, actions, sigma = rng.normal(size=(H, du)), rng.normal(size=(N, H, du)), rng.uniform(0.3, 2, du)
    correlation = rng.uniform(0, 0.9) ** np.abs(np.subtract.outer(np.arange(H), np.arange(H)))
    expected = sum(multivariate_normal.logpdf(actions[..., d], U[:, d], sigma[d] ** 2 * correlation)
                   - multivariate_normal.logpdf(actions[..., d], np.zeros(H), sigma[d] ** 2 * correlation)
                   for d in range(du))
    found = log_density_ratio(actions, U, sigma, np.linalg.inv(correlation))
    np.testing.assert_allclose(found, np.reshape(expected, N), atol=1e-8)
    np.testing.assert_allclose(log_density_ratio(actions, U, sigma), log_density_ratio(actions, U, sigma, np.eye(H)))


def test_log_density_ratio_keeps_a_batch_apart():
    rng = np.random.default_rng(0)
    U, actions = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 5, 4, 2))
    batched = log_density_ratio(actions, U, (0.5, 2.0))
    for k in range(3):
        np.testing.assert_allclose(batched[k], log_density_ratio(actions[k], U[k], (0.5, 2.0)))


def test_effective_sample_size_from_one_to_all():
    assert effective_sample_size(np.array([1.0, 0, 0, 0])) == 1
    assert effective_sample_size(np.full(4, 0.25)) == 4


@pytest.mark.parametrize("lam", [0, -1.0, np.nan, np.inf])
def test_bad_temperature_is_named(lam):
    for function in (boltzmann_weights, free_energy):
        with pytest.raises(ValueError, match=r"lam is .*; it must be a finite number > 0"):
            function(np.zeros(3), lam)
