"""Checks of chapter 7, baselines and fair comparison."""

import numpy as np

from mpqlib.exercises import Exercise


def _rates(rates, n, ddof=1, lost=1.0):
    """Variance of the true success rates, or with one of the ways to get it wrong."""
    return np.var(rates, ddof=ddof) - lost * np.mean(rates * (1 - rates)) / (n - 1)


def _wrong(x, y, tie=0.5):
    return np.mean(x[:, None] > y) + tie * np.mean(x[:, None] == y)


def _soft(values, lam):
    return -lam * np.log(np.mean(np.exp(-values / lam), axis=1))


_rng = np.random.default_rng(7)
_C, _VALUES = _rng.uniform(0, 3, 4), _rng.uniform(0, 5, (4, 6))

EXERCISES = (
    Exercise(
        name="ex7-target",
        reference=lambda c, values, lam, gamma: c + gamma * _soft(values, lam),
        inputs=((_C, _VALUES, 0.7, 0.9), (2 * _C, _VALUES[:, :5], 2.0, 0.5)),
        mistakes={
            "Did you forget the discount of the soft value?":
                lambda c, values, lam, gamma: c + _soft(values, lam),
            "The cost of the real step is not discounted: is gamma outside the whole sum?":
                lambda c, values, lam, gamma: gamma * (c + _soft(values, lam)),
            "Is there a sum where the mean belongs? The actions were drawn from the prior.":
                lambda c, values, lam, gamma: c + gamma * (_soft(values, lam) - lam * np.log(values.shape[1])),
            "Did you forget lam in front of the logarithm? A target has the unit of cost.":
                lambda c, values, lam, gamma: c + gamma * _soft(values, lam) / lam,
            "Check the signs: that is a soft maximum.":
                lambda c, values, lam, gamma: c - gamma * _soft(-values, lam),
            "The sign of the soft value is wrong: what the rest of the episode costs is added.":
                lambda c, values, lam, gamma: c - gamma * _soft(values, lam),
            "Did you forget axis=1? Each transition has its own N actions.":
                lambda c, values, lam, gamma: c - gamma * lam * np.log(np.mean(np.exp(-values / lam))),
            "Did you forget the cost of the real step?":
                lambda c, values, lam, gamma: gamma * _soft(values, lam),
            "The discount belongs in front of the soft value, not inside the exponent.":
                lambda c, values, lam, gamma: c + _soft(gamma * values, lam),
            "That is the hard minimum, the target of plain Q-learning: the limit of small lam.":
                lambda c, values, lam, gamma: c + gamma * values.min(axis=1),
            "That is the mean over the prior, the limit of large lam.":
                lambda c, values, lam, gamma: c + gamma * values.mean(axis=1),
        },
    ),
    Exercise(
        name="ex7-components",
        reference=_rates,
        inputs=((np.array([0.1, 0.5, 0.9, 1.0]), 20), (np.array([0.3, 0.35, 0.4, 0.3, 0.32]), 100)),
        mistakes={
            "That is the variance of the estimated rates: did you forget to take off what the episodes add?":
                lambda rates, n: _rates(rates, n, lost=0.0),
            "Did you forget ddof=1? With few seeds, dividing by R instead of R - 1 matters.":
                lambda rates, n: _rates(rates, n, ddof=0),
            "Did you forget to divide by the number of episodes? It is the mean of n episodes that varies.":
                lambda rates, n: _rates(rates, n, lost=n),
            "p(1 - p) / n comes out too small with an estimated p: its unbiased version divides by n - 1.":
                lambda rates, n: _rates(rates, n, lost=(n - 1) / n),
            "Did you take p(1 - p) at the mean rate? That counts the variance between trainings twice.":
                lambda rates, n: np.var(rates, ddof=1) - np.mean(rates) * (1 - np.mean(rates)) / (n - 1),
            "Did you forget ddof=1, and that p(1 - p) with an estimated p needs n - 1?":
                lambda rates, n: _rates(rates, n, ddof=0, lost=(n - 1) / n),
            "Did you cut it off at zero? A negative estimate is to stay negative, or its mean would be too large.":
                lambda rates, n: max(0.0, _rates(rates, n)),
            "That is a standard deviation: a variance is asked for.":
                lambda rates, n: np.sqrt(_rates(rates, n)),
        },
        points=2,
    ),
    Exercise(
        name="ex7-wrong",
        reference=_wrong,
        inputs=((np.array([1.0, 2.0, 6.0, 3.0]), np.array([4.0, 2.0, 7.0, 5.0])),
                (np.array([0.0, 5.0, 0.0]), np.array([1.0, 5.0, 9.0]))),
        mistakes={
            "Those are the pairs that share a seed: the study draws the two seeds independently.":
                lambda x, y: np.mean(x > y) + 0.5 * np.mean(x == y),
            "Those are the pairs that share a seed, without ties: draw the two seeds independently.":
                lambda x, y: np.mean(x > y),
            "Did you forget the ties? A coin decides them.":
                lambda x, y: _wrong(x, y, tie=0.0),
            "A tie counts half, not whole.":
                lambda x, y: _wrong(x, y, tie=1.0),
            "That is the probability of the right ranking, without ties: which of the two costs must be larger?":
                lambda x, y: np.mean(x[:, None] < y),
            "That is the probability of the right ranking: costs are better when they are smaller.":
                lambda x, y: 1 - _wrong(x, y),
        },
    ),
    Exercise(
        name="ex7-split",
        reference=lambda sigma_b, sigma_w, train, test: sigma_w / sigma_b * np.sqrt(train / test),
        inputs=((14.0, 61.0, 15.0, 0.004), (2.0, 1.0, 600.0, 10.0)),
        mistakes={
            "Upside down: noisy episodes call for more of them, and cheap ones too.":
                lambda sigma_b, sigma_w, train, test: sigma_b / sigma_w * np.sqrt(test / train),
            "Are sigma_b and sigma_w exchanged? A large spread between seeds calls for seeds.":
                lambda sigma_b, sigma_w, train, test: sigma_b / sigma_w * np.sqrt(train / test),
            "Are the two times exchanged? Expensive training calls for more tests of each network.":
                lambda sigma_b, sigma_w, train, test: sigma_w / sigma_b * np.sqrt(test / train),
            "Did you forget the square root of the times?":
                lambda sigma_b, sigma_w, train, test: sigma_w / sigma_b * train / test,
            "Did you forget the two standard deviations?":
                lambda sigma_b, sigma_w, train, test: np.sqrt(train / test),
            "A real number is asked for: do not round it.":
                lambda sigma_b, sigma_w, train, test: round(sigma_w / sigma_b * np.sqrt(train / test)),
            "A real number is asked for: do not cut it to an integer.":
                lambda sigma_b, sigma_w, train, test: int(sigma_w / sigma_b * np.sqrt(train / test)),
            "That is n squared: did you forget the square root?":
                lambda sigma_b, sigma_w, train, test: (sigma_w / sigma_b) ** 2 * train / test,
            "Did you forget the times? That is where the two parts of the variance are equal, up to a square.":
                lambda sigma_b, sigma_w, train, test: sigma_w / sigma_b,
        },
        points=2,
    ),
)
