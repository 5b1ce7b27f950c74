"""Checks of chapter 14, domain randomisation."""

import numpy as np

from mpqlib.exercises import Exercise


def _advantage(gamma, H):
    return (gamma - gamma**H) / (1 - gamma**H)


def _step(a, m1, m2, mean=lambda m1, m2: np.log(m2 / m1) / (m2 - m1), root=np.sqrt):
    first = np.log(m2 / m1) / (m2 - m1)
    return a * mean(m1, m2), abs(a) * root(1 / (m1 * m2) - first**2)


EXERCISES = (
    Exercise(
        name="ex14-ratio",
        reference=_advantage,
        inputs=((0.9, 2), (0.95, 8), (0.99, 1), (0.8, 5)),
        mistakes={
            "That is the limit for gamma to 1.": lambda gamma, H: (H - 1) / H,
            "That is the limit of a long horizon, gamma.": lambda gamma, H: gamma,
            "A factor gamma is missing: the true step comes first, and discounts what the model gets wrong.":
                lambda gamma, H: (1 - gamma ** (H - 1)) / (1 - gamma**H),
            "That is the other way round, randomised data over real data, and infinite at H = 1.":
                lambda gamma, H: (1 - gamma**H) / (gamma - gamma**H) if H > 1 else np.inf,
        },
    ),
    Exercise(
        name="ex14-mean",
        reference=_step,
        inputs=((1.0, 0.5, 2.0), (-2.0, 1.0, 1.5), (0.3, 0.9, 1.2)),
        mistakes={
            "The first is the world of the average mass: E[1/m] is not 1/E[m].":
                lambda a, m1, m2: _step(a, m1, m2, mean=lambda m1, m2: 2 / (m1 + m2)),
            "The second is the variance without its root (and without the square of a).":
                lambda a, m1, m2: _step(a, m1, m2, root=lambda x: x),
            "The first is the middle of the two extreme steps; all masses between count as well.":
                lambda a, m1, m2: _step(a, m1, m2, mean=lambda m1, m2: (1 / m1 + 1 / m2) / 2),
        },
    ),
)
