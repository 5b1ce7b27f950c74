"""Checks of chapter 6, free-energy targets."""

import numpy as np

from mpqlib.boltzmann import boltzmann_weights, free_energy
from mpqlib.exercises import Exercise


def _reused(a, S, lam, U=None, sign=1.0, scale=1.0):
    """(6.6) with the samples that moved U, or with one of the ways to get it wrong."""
    U = boltzmann_weights(S(a), lam) @ a if U is None else U
    return free_energy(S(a), lam, sign * (U * a - 0.5 * U**2)) - lam * np.log(scale)


def _near(a):
    return (a - 1.5) ** 2


def _steep(a):
    return 2.0 * np.abs(a + 0.5)


def reused(a, S, lam):
    return _reused(a, S, lam)


def _target(c, S, log_ratio, lam, gamma):
    return c + gamma * free_energy(S, lam, log_ratio)


_rng = np.random.default_rng(6)

EXERCISES = (
    Exercise(
        name="ex6-target",
        reference=_target,
        inputs=tuple((c, 5.0 + 3.0 * _rng.standard_normal(24), _rng.standard_normal(24), lam, gamma)
                     for c, lam, gamma in ((9.9, 0.5, 0.95), (0.0, 2.0, 0.8), (4.0, 10.0, 0.99))),
        mistakes={
            "Did you forget the log density ratio? The samples do not come from the prior.":
                lambda c, S, log_ratio, lam, gamma: _target(c, S, 0.0, lam, gamma),
            "Check the sign of the log ratio: a sample pays lam log(pi_U / prior).":
                lambda c, S, log_ratio, lam, gamma: _target(c, S, -log_ratio, lam, gamma),
            "The log ratio is dimensionless: did you forget that it enters the cost times lam?":
                lambda c, S, log_ratio, lam, gamma: _target(c, S, log_ratio / lam, lam, gamma),
            "Did you forget the discount? The free energy is one step away.":
                lambda c, S, log_ratio, lam, gamma: _target(c, S, log_ratio, lam, 1.0),
            "The discount belongs to the free energy alone: the cost of the real step is paid now.":
                lambda c, S, log_ratio, lam, gamma: gamma * _target(c, S, log_ratio, lam, 1.0),
            "Is there a sum where the sample mean belongs? That misses lam log N.":
                lambda c, S, log_ratio, lam, gamma: _target(c, S, log_ratio, lam, gamma) - gamma * lam * np.log(len(S)),
            "Did you forget lam in front of the logarithm?":
                lambda c, S, log_ratio, lam, gamma: c + gamma * free_energy(S, lam, log_ratio) / lam,
            "Minus is missing: the free energy is -lam log mean exp(...).":
                lambda c, S, log_ratio, lam, gamma: c - gamma * free_energy(S, lam, log_ratio),
            "That is the weighted mean of the costs: the free energy also has the price of straying.":
                lambda c, S, log_ratio, lam, gamma: c + gamma * boltzmann_weights(S, lam, log_ratio) @ S,
            "That is the best sample: lam > 0 asks for the soft minimum.":
                lambda c, S, log_ratio, lam, gamma: c + gamma * S.min(),
        },
    ),
    Exercise(
        name="ex6-constant",
        reference=lambda constant, gamma: (0.0, gamma * constant),
        inputs=((100.0, 0.95), (-3.0, 0.5), (100.0, 1.0)),
        mistakes={
            "The target is c + gamma F(s'): did you forget the discount of F?":
                lambda constant, gamma: (0.0, constant),
            "The weights are right, but the constant does not cancel in -lam log mean exp(-S / lam).":
                lambda constant, gamma: (0.0, 0.0),
            "A constant multiplies every exp(-S / lam) by the same factor: what does the normalisation do with it?":
                lambda constant, gamma: (constant, gamma * constant),
        },
    ),
    Exercise(
        name="ex6-half",
        reference=lambda U, lam, sigma: -lam * U**2 / (2 * sigma**2),
        inputs=((1.3, 0.3, 1.0), (-0.7, 2.0, 0.5), (0.4, 0.1, 3.0)),
        mistakes={
            "The size is right: which way does the estimate move when the log ratio becomes smaller?":
                lambda U, lam, sigma: lam * U**2 / (2 * sigma**2),
            "Only half of U^2 is in excess: did you forget the factor 1/2?":
                lambda U, lam, sigma: -lam * U**2 / sigma**2,
            "That is by how much the log ratio is wrong: did you forget that it enters the cost times lam?":
                lambda U, lam, sigma: -(U**2) / (2 * sigma**2),
            "Did you forget to divide by sigma^2? It is 1 in the example, and need not be.":
                lambda U, lam, sigma: -lam * U**2 / 2,
        },
    ),
    Exercise(
        name="ex6-reuse",
        reference=reused,
        inputs=tuple((_rng.standard_normal(8), S, lam) for S in (_near, _steep) for lam in (0.3, 1.0)),
        mistakes={
            "Did you forget the log density ratio? The new U is no longer the prior's mean.":
                lambda a, S, lam: free_energy(S(a), lam),
            "Check the sign of the log ratio: a sample pays lam log(pi_U / prior).":
                lambda a, S, lam: _reused(a, S, lam, sign=-1.0),
            "Is there a sum where the sample mean belongs? That misses lam log N.":
                lambda a, S, lam: _reused(a, S, lam, scale=len(a)),
            "Did you take the plain mean of the samples for U? Eq. 16 weights them by exp(-S / lam).":
                lambda a, S, lam: _reused(a, S, lam, U=a.mean()),
        },
        points=2,
    ),
)
