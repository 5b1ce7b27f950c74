"""Checks of chapter 17, what the derivation leaves out."""

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm

from mpqlib.exercises import Exercise

_COIN, _EVEN = np.array([0.0, 2.0]), np.array([0.5, 0.5])
_OUTCOMES, _PROBABILITIES = np.array([1.0, 2.5, 7.0]), np.array([0.2, 0.5, 0.3])
_CLIPPED = np.array([-1.5, -0.7, 0.2, 1.1, 1.5])
_COSTS = np.array([2.0, 3.1, 2.4, 4.0, 2.9])


def _free_energy(costs, lam):
    return -lam * (logsumexp(-costs / lam) - np.log(len(costs)))


def _believed(outcomes, probabilities, temperature):
    return -temperature * logsumexp(-outcomes / temperature, b=probabilities)


def _log_ratio(a, u, sigma, b, inside=None, above=None, below=None):
    """(17.14), or with one of its three cases wrong."""
    inside = (u * a - u**2 / 2) / sigma**2 if inside is None else inside
    above = norm.logcdf((u - b) / sigma) - norm.logcdf(-b / sigma) if above is None else above
    below = norm.logcdf((-u - b) / sigma) - norm.logcdf(-b / sigma) if below is None else below
    return np.select([a >= b, a <= -b], [above, below], inside)


def _leave_one_out(costs, lam):
    return np.mean([_free_energy(np.delete(costs, n), lam) for n in range(len(costs))])


EXERCISES = (
    Exercise(
        name="ex17-signs",
        reference=lambda: ("+", "-", "-", "0", "-"),
        inputs=((),),
        mistakes={
            "(a): -log is convex, so the logarithm of a noisy mean gives a free energy that is too high, not too low.":
                lambda: ("-", "-", "-", "0", "-"),
            "(b): with fewer worlds per sequence one of them is lucky more often: (17.8) with a larger rho.":
                lambda: ("+", "+", "-", "0", "-"),
            "(c): F lies between the smallest cost (cold) and the mean cost (hot).":
                lambda: ("+", "-", "+", "0", "-"),
            "(d): with infinitely many samples, any density that covers the prior gives the same free energy.":
                lambda: ("+", "-", "-", "+", "-"),
            "(e): the mean of the errors is zero, but the soft minimum seeks the low ones.":
                lambda: ("+", "-", "-", "0", "0"),
            "(e): F is concave in the costs: which way does Jensen's inequality go?":
                lambda: ("+", "-", "-", "0", "+"),
        },
    ),
    Exercise(
        name="ex17-worlds",
        reference=lambda outcomes, probabilities, lam, M: _believed(outcomes, probabilities, M * lam),
        inputs=((_COIN, _EVEN, 0.3, 4), (_OUTCOMES, _PROBABILITIES, 0.5, 3)),
        mistakes={
            "That is one world per sequence: did you forget M?":
                lambda outcomes, probabilities, lam, M: _believed(outcomes, probabilities, lam),
            "The temperature of the worlds is M lam, not lam / M: more worlds leave less luck.":
                lambda outcomes, probabilities, lam, M: _believed(outcomes, probabilities, lam / M),
            "That is the expected cost, which is the limit of many worlds.":
                lambda outcomes, probabilities, lam, M: outcomes @ probabilities,
            "M stands in the exponent but not in front of the logarithm: the result has the unit of cost.":
                lambda outcomes, probabilities, lam, M: _believed(outcomes, probabilities, M * lam) / M,
            "Check the signs: that is the cautious planner, with rho = -1 / (M lam).":
                lambda outcomes, probabilities, lam, M: _believed(outcomes, probabilities, -M * lam),
            "Did you forget the probabilities?":
                lambda outcomes, probabilities, lam, M:
                    -M * lam * logsumexp(-outcomes / (M * lam)),
            "Did you take a plain mean? Weight each outcome by its probability.":
                lambda outcomes, probabilities, lam, M:
                    _believed(outcomes, np.full(len(outcomes), 1 / len(outcomes)), M * lam),
            "M sequences of one world each are not one sequence of M worlds: the M belongs under the exponential too.":
                lambda outcomes, probabilities, lam, M: M * _believed(outcomes, probabilities, lam),
        },
    ),
    Exercise(
        name="ex17-atoms",
        reference=_log_ratio,
        inputs=((_CLIPPED, 0.8, 1.0, 1.5), (_CLIPPED, -0.4, 2.0, 1.5)),
        mistakes={
            "That is a Gaussian density at the clipped action: a limit has the probability of a tail.":
                lambda a, u, sigma, b: (u * a - u**2 / 2) / sigma**2,
            "Right at the limits; between them the usual ratio belongs, with -u^2 / 2.":
                lambda a, u, sigma, b: _log_ratio(a, u, sigma, b, inside=u * a / sigma**2),
            "The tails are exchanged: at the upper limit lie the samples above b.":
                lambda a, u, sigma, b: -_log_ratio(-a, u, sigma, b, inside=-(u * a - u**2 / 2) / sigma**2,
                                                   above=-_log_ratio(np.array(b), u, sigma, b),
                                                   below=-_log_ratio(np.array(-b), u, sigma, b)),
            "At the limits that is the probability under pi_U alone: divide by that of the prior.":
                lambda a, u, sigma, b: _log_ratio(a, u, sigma, b, above=norm.logcdf((u - b) / sigma),
                                                  below=norm.logcdf((-u - b) / sigma)),
            "At the limits the logarithm is missing.":
                lambda a, u, sigma, b: _log_ratio(a, u, sigma, b,
                                                  above=norm.cdf((u - b) / sigma) / norm.cdf(-b / sigma),
                                                  below=norm.cdf((-u - b) / sigma) / norm.cdf(-b / sigma)),
            "The ratio is upside down: pi_U over the prior.":
                lambda a, u, sigma, b: -_log_ratio(a, u, sigma, b),
            "The lower limit has a tail of its own, below -b.":
                lambda a, u, sigma, b: _log_ratio(a, u, sigma, b, below=_log_ratio(np.array(b), u, sigma, b)),
            "That is the probability of the samples that are not clipped: the limits hold the tails.":
                lambda a, u, sigma, b: _log_ratio(
                    a, u, sigma, b, above=norm.logcdf((b - u) / sigma) - norm.logcdf(b / sigma),
                    below=norm.logcdf((b + u) / sigma) - norm.logcdf(b / sigma)),
            "Right at the limits; between them, did you forget to divide by sigma squared?":
                lambda a, u, sigma, b: _log_ratio(a, u, sigma, b, inside=u * a - u**2 / 2),
            "At the limits, did you forget to divide by sigma inside Phi?":
                lambda a, u, sigma, b: _log_ratio(a, u, sigma, b, above=norm.logcdf(u - b) - norm.logcdf(-b),
                                                  below=norm.logcdf(-u - b) - norm.logcdf(-b)),
        },
        points=2,
    ),
    Exercise(
        name="ex17-jackknife",
        reference=lambda costs, lam: len(costs) * _free_energy(costs, lam) - (len(costs) - 1) * _leave_one_out(costs, lam),
        inputs=((_COSTS, 0.5), (3 * _COSTS, 2.0)),
        mistakes={
            "That is the plain estimate.": _free_energy,
            "That is the mean of the estimates that leave one out: combine it with the plain one.": _leave_one_out,
            "The two factors are exchanged: N goes with all samples, N - 1 with one left out.":
                lambda costs, lam: len(costs) * _leave_one_out(costs, lam) - (len(costs) - 1) * _free_energy(costs, lam),
            "Check the sign: the difference is subtracted, because fewer samples give the larger bias.":
                lambda costs, lam: len(costs) * _free_energy(costs, lam) + (len(costs) - 1) * _leave_one_out(costs, lam),
            "Did you sum over the left-out samples and forget to divide by N?":
                lambda costs, lam: len(costs) * _free_energy(costs, lam) - (len(costs) - 1) * len(costs) * _leave_one_out(costs, lam),
            "With one left out the mean is over N - 1 exponentials, not over N.":
                lambda costs, lam: (len(costs) * _free_energy(costs, lam) - (len(costs) - 1)
                                    * (_leave_one_out(costs, lam) - lam * np.log((len(costs) - 1) / len(costs)))),
        },
        points=2,
    ),
)
