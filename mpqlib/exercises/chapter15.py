"""Checks of chapter 15, the claims ledger."""

import numpy as np
from scipy.stats import nct, norm, sem, t

from mpqlib.exercises import Exercise
from mpqlib.plots import interval


def _seeds_needed(d, power=0.8, level=0.975):
    for seeds in range(3, 1000):
        if nct.sf(t.ppf(level, seeds - 1), seeds - 1, np.sqrt(seeds) * d) >= power:
            return seeds


def _normal_seeds(d):
    return max(3, int(np.ceil(((norm.ppf(0.975) + norm.ppf(0.8)) / d) ** 2)))


_values = (np.array([1.02, 1.05, 1.11]), np.array([0.7, 0.9, 0.8, 1.1, 0.95]), np.array([3.0, 2.0, 4.0, 2.5, 3.5, 3.1]))

EXERCISES = (
    Exercise(
        name="ex15-limit",
        reference=lambda x: interval(x)[1],
        inputs=tuple((x,) for x in _values),
        mistakes={
            "That is the lower end: above it the claim is no longer called not reproduced, but partly.":
                lambda x: interval(x)[0],
            "That is the mean. The whole interval must lie below the limit.": np.mean,
            "That is the largest of the values. The rule looks at the interval of their mean.": np.max,
            "Nearly: with few seeds the factor is Student's, not the normal distribution's 1.96.":
                lambda x: np.mean(x) + norm.ppf(0.975) * sem(x),
        },
    ),
    Exercise(
        name="ex15-seeds",
        reference=_seeds_needed,
        inputs=((1.0,), (0.5,), (0.8,), (0.3,)),
        mistakes={
            "That is the formula with the normal distribution; it forgets that sigma is estimated from the same seeds.":
                _normal_seeds,
            "With so many seeds the probability is 0.5, not 0.8.": lambda d: _seeds_needed(d, power=0.5),
            "That is the number for a limit at the 95 % point; a two-sided 95 % interval ends at the 97.5 % point.":
                lambda d: _seeds_needed(d, level=0.95),
        },
    ),
    Exercise(
        name="ex15-ledger",
        reference=lambda m, k: m * (1 - 0.975**k),
        inputs=((40, 5), (10, 2), (100, 20)),
        mistakes={
            "That is the probability of at least one in the whole ledger; the expected number is asked for.":
                lambda m, k: 1 - 0.975 ** (m * k),
            "A claim with two good measures would count twice: count claims with at least one.": lambda m, k: m * 0.025 * k,
            "Only one side of the interval leads to the word reproduced: 2.5 %, not 5 %.": lambda m, k: m * (1 - 0.95**k),
            "That is the number of claims that never come out reproduced.": lambda m, k: m * 0.975**k,
        },
    ),
)
