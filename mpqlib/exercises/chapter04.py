"""Checks of chapter 4, the optimal H-step Boltzmann distribution."""

import numpy as np
from scipy.special import logsumexp, softmax

from mpqlib.exercises import Exercise

_PRIOR, _OPTIMUM = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
_COSTS = np.array([2.0, 3.7, 2.4, 5.0])


def _kl(p, q):
    return np.sum(p * np.log(p / q))


def _shifted(costs, by, lam):
    e = np.exp(-(costs - by) / lam)
    return e / e.sum()


EXERCISES = (
    Exercise(
        name="ex4-excess",
        reference=lambda prior, p_star, lam: lam * _kl(prior, p_star),
        inputs=((_PRIOR, _OPTIMUM, 0.4), (_OPTIMUM, _PRIOR, 2.0)),
        mistakes={
            "That is the divergence of the optimum from the prior; put the prior in place of pi in (4.7).":
                lambda prior, p_star, lam: lam * _kl(p_star, prior),
            "Did you forget the factor lam? The excess is a cost, a KL divergence is a number of nats.":
                lambda prior, p_star, lam: _kl(prior, p_star),
            "Is the ratio upside down? The prior does not do better than the optimum.":
                lambda prior, p_star, lam: -lam * _kl(prior, p_star),
            "Did you forget to weight the log ratios by the prior's probabilities?":
                lambda prior, p_star, lam: lam * np.sum(np.log(prior / p_star)),
        },
    ),
    Exercise(
        name="ex4-weights",
        reference=lambda costs, lam: softmax(-costs / lam),
        inputs=((_COSTS, 0.4), (np.array([1e5, 1e5 + 1]), 1.0), (np.array([0.0, 1.0, 1e5]), 1.0), (_COSTS, 3.0)),
        mistakes={
            "Right on paper, but large costs give 0 / 0: take the smallest cost out before the exponential.":
                lambda costs, lam: np.exp(-costs / lam) / np.exp(-costs / lam).sum(),
            "Right for similar costs, but an exponential overflows where they differ much: take out the smallest cost.":
                lambda costs, lam: _shifted(costs, costs.max(), lam),
            "Two things are missing: the weights must sum to one, and large costs need the smallest one taken out.":
                lambda costs, lam: np.exp(-costs / lam),
            "The dearest sequence has the largest weight: did you forget the minus sign?":
                lambda costs, lam: softmax(costs / lam),
            "Did you forget to divide the costs by lam?":
                lambda costs, lam: softmax(-costs),
            "lam divides the costs, and you multiplied by it.":
                lambda costs, lam: softmax(-costs * lam),
            "Did you forget to normalise? The weights must sum to one.":
                lambda costs, lam: np.exp(-(costs - costs.min()) / lam),
            "You divided by the mean of the exponentials: the weights then sum to N, and must sum to one.":
                lambda costs, lam: len(costs) * softmax(-costs / lam),
        },
    ),
    Exercise(
        name="ex4-free-energy",
        reference=lambda costs, prior, lam: -lam * logsumexp(-costs / lam, b=prior),
        inputs=((_COSTS, np.array([0.1, 0.2, 0.3, 0.4]), 0.4), (_COSTS, np.array([0.4, 0.3, 0.2, 0.1]), 3.0)),
        mistakes={
            "Did you take a plain mean? Weight each by its prior.":
                lambda costs, prior, lam: -lam * (logsumexp(-costs / lam) - np.log(len(costs))),
            "The prior's probabilities already make it a mean: sum the products, do not average them.":
                lambda costs, prior, lam: -lam * (logsumexp(-costs / lam, b=prior) - np.log(len(costs))),
            "That is the prior's mean cost, the limit of a hot free energy.":
                lambda costs, prior, lam: prior @ costs,
            "lam stands in front of the logarithm, and you divided by it.":
                lambda costs, prior, lam: -logsumexp(-costs / lam, b=prior) / lam,
            "Did you sum the exponentials without the prior? Eq. 7 has an expectation.":
                lambda costs, prior, lam: -lam * logsumexp(-costs / lam),
            "Did you forget the factor lam in front of the logarithm? The result has the unit of cost.":
                lambda costs, prior, lam: -logsumexp(-costs / lam, b=prior),
            "Did you forget the minus sign in front?":
                lambda costs, prior, lam: lam * logsumexp(-costs / lam, b=prior),
            "Did you forget the minus sign in the exponent? Your result favours dear sequences.":
                lambda costs, prior, lam: -lam * logsumexp(costs / lam, b=prior),
            "That is the expected cost under the optimum; the free energy also pays for the KL divergence.":
                lambda costs, prior, lam: softmax(np.log(prior) - costs / lam) @ costs,
        },
        points=2,
    ),
    Exercise(
        name="ex4-crossing",
        reference=lambda S1, S2, n: (S2 - S1) / np.log(n),
        inputs=((2.0, 3.7, 294), (0.0, 1.0, 10)),
        mistakes={
            "The natural logarithm belongs here, not the decimal one.":
                lambda S1, S2, n: (S2 - S1) / np.log10(n),
            "Did you forget the logarithm? n multiplies an exponential.":
                lambda S1, S2, n: (S2 - S1) / n,
            "lam log n equals the difference of the costs: divide by log n.":
                lambda S1, S2, n: (S2 - S1) * np.log(n),
            "That is 1 / lam: solve for the temperature itself.":
                lambda S1, S2, n: np.log(n) / (S2 - S1),
            "The sign is wrong: S2 is the larger cost, and a temperature is positive.":
                lambda S1, S2, n: (S1 - S2) / np.log(n),
        },
    ),
)
