"""Checks of chapter 14, domain randomisation."""

import numpy as np

from mpqlib.exercises import Exercise


def _advantage(gamma, H):
    return (gamma - gamma**H) / (1 - gamma**H)


def _wrong(c_bar, P_bar, c, P, V, gamma, size=np.abs, discount=1, steps=lambda gamma: 1 / (1 - gamma)):
    delta = size(c_bar - c + gamma**discount * (P_bar - P) @ V).max()
    return delta, delta * steps(gamma)


def _worlds(states, actions, gamma, seed):
    rng = np.random.default_rng(seed)
    (c_bar, P_bar), (c, P) = ((rng.uniform(0, 1, (states, actions)), rng.dirichlet(np.ones(states), (states, actions))) for _ in range(2))
    return c_bar, P_bar, c, P, rng.uniform(0, 10, states), gamma


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
        name="ex14-delta",
        reference=_wrong,
        inputs=(_worlds(3, 2, 0.9, seed=0), _worlds(5, 3, 0.95, seed=1), _worlds(4, 2, 0.5, seed=2)),
        mistakes={
            "The absolute value is missing: the average world may also be too cheap.":
                lambda *of: _wrong(*of, size=lambda x: x),
            "The next states' values count with a factor gamma.": lambda *of: _wrong(*of, discount=0),
            "The second is the error of one step discounted once; it is made at every step, a geometric series.":
                lambda *of: _wrong(*of, steps=lambda gamma: gamma),
            "The costs differ, too: their difference belongs inside the absolute value.":
                lambda c_bar, P_bar, c, P, V, gamma: _wrong(c, P_bar, c, P, V, gamma),
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
