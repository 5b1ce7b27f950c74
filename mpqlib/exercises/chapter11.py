"""Checks of chapter 11, FetchPushBlock."""

import numpy as np

from mpqlib.exercises import Exercise


def _reach(horizon, sigma, beta, scale, power=0.5):
    """Standard deviation of the sum of `horizon` actions; a power of 1 gives the variance without its square root."""
    i = np.arange(horizon)
    return scale * sigma * (beta ** abs(i[:, None] - i)).sum()**power


def _frame(place, block, goal, unit=True, side=1.0):
    """Place (2,) ahead of and to the left of the block; without `unit` both times the distance to the goal."""
    ahead = goal - block
    ahead = ahead / (np.linalg.norm(ahead) if unit else 1.0)
    away = place - block
    return np.array([away @ ahead, side * (away @ [-ahead[1], ahead[0]])])


_SCENES = ((np.array([1.2, 0.7]), np.array([1.3, 0.8]), np.array([1.4, 0.75])),
           (np.array([1.35, 0.6]), np.array([1.25, 0.7]), np.array([1.2, 0.9])))

EXERCISES = (
    Exercise(
        name="ex11-reach",
        reference=_reach,
        inputs=((10, 0.6, 0.8, 0.02), (3, 1.0, 0.5, 0.02), (64, 0.6, 0.8, 0.01)),
        mistakes={
            "That holds for independent noise: here neighbouring steps agree, and go further together.":
                lambda horizon, sigma, beta, scale: scale * sigma * np.sqrt(horizon),
            "That would be one draw kept for all steps, as far as noise can go: the correlation falls with the distance in time.":
                lambda horizon, sigma, beta, scale: scale * sigma * horizon,
            "Variances add up, standard deviations do not: take the square root of the sum.":
                lambda horizon, sigma, beta, scale: _reach(horizon, sigma, beta, scale, 1.0),
            "An action of one moves the set-point by `scale`: the answer is in metres.":
                lambda horizon, sigma, beta, scale: _reach(horizon, sigma, beta, 1.0),
        },
        points=2,
    ),
    Exercise(
        name="ex11-shove",
        reference=lambda distance, told, true, shoves: (1 - told / true)**shoves * distance,
        inputs=((0.2, 0.125, 1.0, 3), (0.15, 0.3, 0.5, 2), (0.1, 0.8, 0.5, 5)),
        mistakes={
            "Upside down: the more friction there is, the less far the shove goes.":
                lambda distance, told, true, shoves: (1 - true / told)**shoves * distance,
            "That is how far one such chain of shoves would go if each went the share of the last; the way that is left is asked for.":
                lambda distance, told, true, shoves: (told / true)**shoves * distance,
            "Each shove is planned anew, for the way that is left: it does not go as far as the first.":
                lambda distance, told, true, shoves: (1 - shoves * told / true) * distance,
            "The speed goes with the square root of the friction, and the way with the square of the speed: no root is left.":
                lambda distance, told, true, shoves: (1 - np.sqrt(told / true))**shoves * distance,
        },
    ),
    Exercise(
        name="ex11-frame",
        reference=_frame,
        inputs=_SCENES,
        mistakes={
            "Ahead is right; the second number is how far it is to the right. Turn the direction by +90 degrees.":
                lambda place, block, goal: _frame(place, block, goal, side=-1.0),
            "Did you forget to divide by the distance? The direction to the goal must have length one.":
                lambda place, block, goal: _frame(place, block, goal, unit=False),
            "The place is to be seen from the block: take its position off first.":
                lambda place, block, goal: _frame(place + block, block, goal),
            "That looks from the goal back to the block: ahead is towards the goal.":
                lambda place, block, goal: -_frame(place, block, goal),
            "The two are in the wrong order: first ahead, then to the left.":
                lambda place, block, goal: _frame(place, block, goal)[::-1],
        },
    ),
)
