"""Free energy, Boltzmann weights and effective sample size (Eq. 5-7, 11, 15).

Everything here is a pure function of arrays.
Costs enter as S / lam only after their minimum has been subtracted, so every
function is stable for any scale of cost.
"""

from numbers import Real

import numpy as np


def check_temperature(lam: float) -> None:
    """Raise ValueError unless the temperature is a finite positive number."""
    if not (isinstance(lam, Real) and np.isfinite(lam) and lam > 0):
        raise ValueError(f"lam is {lam!r}; it must be a finite number > 0 (it has the unit of cost)")


def _shifted_exponentials(costs, lam, log_ratio):
    """Return (exp(-(S' - S'_min) / lam) - 1, S'_min) for S' = costs + lam * log_ratio.

    The 1 is taken off (expm1) so that nothing is lost when all costs are small against lam.
    """
    check_temperature(lam)
    augmented = np.asarray(costs, float) + lam * np.asarray(log_ratio, float)
    lowest = augmented.min(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):  # a difference / lam beyond 1e308 has weight 0
        return np.expm1((lowest - augmented) / lam), lowest


def boltzmann_weights(costs, lam, log_ratio=0.0):
    """Self-normalised importance weights of action sequences (Eq. 15, with 1/eta estimated).

    w_n = exp(-S_n / lam) r_n / sum_m exp(-S_m / lam) r_m, with r = prior / sampling density.

    Args:
        costs: (..., N) cost S of each of N sampled action sequences, terminal value included.
        lam: temperature, in the unit of cost, > 0.
        log_ratio: (..., N) log(pi_U(A_n) / prior(A_n)); 0 when the samples come from the prior.

    Returns:
        (..., N) weights, non-negative, summing to 1 along the last axis.

    Raises:
        ValueError: if lam is not a finite number > 0.

    Source: Bhardwaj et al. (2020), Eq. 15-16; Williams et al. (2017).
    """
    return weights_and_free_energy(costs, lam, log_ratio)[0]


def free_energy(costs, lam, log_ratio=0.0):
    """Monte-Carlo estimate of the free energy, -lam log E_prior[exp(-S / lam)] (Eq. 7 and 17).

    The expectation over the prior is taken with samples of another density by
    importance sampling: -lam log (1/N) sum_n exp(-S_n / lam - log_ratio_n).
    The estimate is biased upwards for finite N (Jensen's inequality).

    Args:
        costs: (..., N) cost S of each sampled action sequence, terminal value included.
        lam: temperature, in the unit of cost, > 0.
        log_ratio: (..., N) log(pi_U(A_n) / prior(A_n)); 0 when the samples come from the prior.

    Returns:
        (...) free energy, in the unit of cost: the soft value of the state.

    Raises:
        ValueError: if lam is not a finite number > 0.

    Source: Bhardwaj et al. (2020), Eq. 7 and 17; Theodorou and Todorov (2012).
    """
    return weights_and_free_energy(costs, lam, log_ratio)[1]


def weights_and_free_energy(costs, lam, log_ratio=0.0):
    """`boltzmann_weights` and `free_energy` of the same samples, the exponentials taken once."""
    less_one, lowest = _shifted_exponentials(costs, lam, log_ratio)
    eta_less_one = less_one.sum(axis=-1) / less_one.shape[-1]
    exponentials = less_one + 1
    return (exponentials / exponentials.sum(axis=-1, keepdims=True),
            lowest[..., 0] - lam * np.log1p(eta_less_one))


def log_density_ratio(actions, U, sigma, time_precision=None):
    """log(pi_U(A) / prior(A)) of two Gaussians with one covariance, means U and 0 (Eq. 11).

    sum_t u_t' P a_t - u_t' P u_t / 2 with the precision P = Sigma^-1.  Noise correlated in
    time couples the time steps; policy and prior share it, so the normalisers cancel.

    Args:
        actions: (..., N, H, du) sampled action sequences, before any clipping.
        U: (..., H, du) mean of the sampling density.
        sigma: scalar or (du,) standard deviation of each action dimension.
        time_precision: (H, H) inverse of the correlation matrix over time;
            None for noise independent at each step (the paper's case).

    Returns:
        (..., N) log density ratio, dimensionless.

    Source: Bhardwaj et al. (2020), Eq. 11-12.
    """
    precision_U = (U if time_precision is None else time_precision @ U) / np.square(sigma)
    flat = actions.reshape(*actions.shape[:-2], -1)  # (..., N, H * du)
    return (flat @ precision_U.reshape(*U.shape[:-2], -1, 1))[..., 0] - 0.5 * (precision_U * U).sum(axis=(-2, -1))[..., None]


def effective_sample_size(weights):
    """Kish's effective sample size, 1 / sum w^2: between 1 (one sample decides) and N.

    Args:
        weights: (..., N) self-normalised weights.

    Returns:
        (...) effective number of samples.
    """
    return 1.0 / np.square(weights).sum(axis=-1)
