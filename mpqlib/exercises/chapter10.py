"""Checks of chapter 10, BallInCupSparse."""

import numpy as np

from mpqlib.exercises import Exercise


def _steps(value, gamma, of=lambda left, gamma: np.log(left) / np.log(gamma)):
    """Steps until the catch from their discounted cost; `of` gets the share 1 - (1 - gamma) V that is left, gamma^k."""
    return of(1 - (1 - gamma) * value, gamma)


EXERCISES = (
    Exercise(
        name="ex10-blind",
        reference=lambda p, n: (1 - p) ** n + p**n,
        inputs=((0.01, 36), (0.3, 5), (0.5, 2), (0.9, 4)),
        mistakes={
            "That is the plan in which no sample catches. A plan in which all samples do is as blind.":
                lambda p, n: (1 - p) ** n,
            "That is the plan in which all samples catch. The other one, in which none does, is the usual one.":
                lambda p, n: p**n,
            "That is the probability that the plan has something to weigh; the blind plan is asked for.":
                lambda p, n: 1 - (1 - p) ** n - p**n,
            "That holds for one pair of samples: all n must agree.": lambda p, n: (1 - p) ** 2 + p**2,
        },
    ),
    Exercise(
        name="ex10-steps",
        reference=_steps,
        inputs=((10.0, 0.95), (3.5, 0.9), (12.0, 0.99)),
        mistakes={
            "Without the discount it would be that: costs that come later count less, so it takes more steps to add up to V.":
                lambda value, gamma: value,
            "One step too many: the first step, of weight gamma^0 = 1, is paid too.":
                lambda value, gamma: _steps(value, gamma) + 1,
            "That is gamma^k: take the logarithm and solve for k.":
                lambda value, gamma: _steps(value, gamma, lambda left, gamma: left),
            "Upside down: gamma^k = x gives k = log x / log gamma.":
                lambda value, gamma: 1 / _steps(value, gamma),
            "The size is right; the logarithm of a number below 1 is negative, here both are.":
                lambda value, gamma: -_steps(value, gamma),
        },
    ),
    Exercise(
        name="ex10-tug",
        reference=lambda ball, cup, speed: ball / (ball + cup) * speed,
        inputs=((0.065, 0.065, 2.0), (0.26, 0.065, 1.5), (0.52, 0.07, 3.0)),
        mistakes={
            "That is what the ball loses; what the cup gains is asked for.":
                lambda ball, cup, speed: cup / (ball + cup) * speed,
            "That would be the string of a rubber ball, which gives back all energy: here the two go on together.":
                lambda ball, cup, speed: 2 * ball / (ball + cup) * speed,
            "Did you keep the energy? A string that becomes taut loses some; what is kept is the momentum.":
                lambda ball, cup, speed: np.sqrt(ball / (ball + cup)) * speed,
            "The momentum of the ball is shared by both: divide by the sum of the masses.":
                lambda ball, cup, speed: ball / cup * speed,
        },
        points=2,
    ),
)
