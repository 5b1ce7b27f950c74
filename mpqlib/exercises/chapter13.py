"""Checks of chapter 13, horizon and compute."""

import numpy as np

from mpqlib.exercises import Exercise


def _floor(delta, gamma, H, power=1):
    return gamma**power * delta / (1 - gamma) * (1 - gamma ** (H - 1)) / (1 - gamma**H)


def _sweeps(epsilon, gamma, H, rounding=np.ceil):
    return int(rounding(np.log(epsilon) / (H * np.log(gamma))))


def _best(start, delta, gamma, k, largest=16, floor=_floor, decay=lambda gamma, H, k: gamma ** (H * k)):
    return min(range(1, largest + 1), key=lambda H: decay(gamma, H, k) * start + floor(delta, gamma, H))


EXERCISES = (
    Exercise(
        name="ex13-floor",
        reference=_floor,
        inputs=((0.1, 0.95, 2), (1.0, 0.9, 8), (0.3, 0.99, 1)),
        mistakes={
            "A factor gamma is missing: the true step before the model's backups discounts their error once.":
                lambda delta, gamma, H: _floor(delta, gamma, H, power=0),
            "That is the floor for H to infinity. With H = 1 it must be 0: H - 1 backups are made in the model, not H.":
                lambda delta, gamma, H: gamma * delta / (1 - gamma),
            "That is what one sweep adds, gamma times the error of H - 1 backups. At rest it has been carried on by gamma^H again and again.":
                lambda delta, gamma, H: gamma * delta / (1 - gamma) * (1 - gamma ** (H - 1)),
        },
    ),
    Exercise(
        name="ex13-sweeps",
        reference=_sweeps,
        inputs=((0.01, 0.95, 8), (0.1, 0.9, 3), (0.5, 0.99, 1)),
        mistakes={
            "One sweep too few: at most a fraction epsilon means rounding up.":
                lambda epsilon, gamma, H: _sweeps(epsilon, gamma, H, rounding=np.floor),
            "That is the number of backups. A sweep makes H of them.": lambda epsilon, gamma, H: _sweeps(epsilon, gamma, 1),
            "With horizon H a sweep shrinks the error by gamma^H, not by gamma^(H-1): the true step counts, too.":
                lambda epsilon, gamma, H: _sweeps(epsilon, gamma, H - 1) if H > 1 else 10**9,
        },
    ),
    Exercise(
        name="ex13-best",
        reference=_best,
        inputs=((10.0, 0.2, 0.9, 5), (10.0, 0.3, 0.95, 10), (10.0, 0.3, 0.8, 5)),
        mistakes={
            "That minimises the first term alone, which a long horizon always wins.":
                lambda start, delta, gamma, k: _best(start, delta, gamma, k, floor=lambda *_: 0.0),
            "That minimises the floor alone, which H = 1 always wins.":
                lambda start, delta, gamma, k: _best(0.0, delta, gamma, k),
            "After k sweeps the start has shrunk by gamma^(H k), not by gamma^H.":
                lambda start, delta, gamma, k: _best(start, delta, gamma, k, decay=lambda gamma, H, k: gamma**H),
        },
    ),
)
