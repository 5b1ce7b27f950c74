"""Checks of chapter 9, PendulumSwingup."""

import numpy as np

from mpqlib.exercises import Exercise
from mpqlib.tasks import PendulumSwingup

_g = PendulumSwingup.gravity


def _lean(theta, torque=-_g / 2, of_torque=0.001):
    """Torque that holds the true rod at a lean and the cost of a step there, or a way to get them wrong."""
    u = torque * np.sin(theta)
    return u, theta**2 + of_torque * u**2


def _mean_inverse(low, high, power):
    """E[x^-power] of x uniform on (low, high), for power 1 and 2."""
    return np.log(high / low) / (high - low) if power == 1 else 1 / (low * high)


def _ratio(m_low, m_high, l_low, l_high):
    of_the_mean = 1 / ((m_low + m_high) / 2 * ((l_low + l_high) / 2) ** 2)
    return _mean_inverse(m_low, m_high, 1) * _mean_inverse(l_low, l_high, 2) / of_the_mean


EXERCISES = (
    Exercise(
        name="ex-lean",
        reference=_lean,
        inputs=((0.2,), (-0.1,), (0.35,)),
        mistakes={
            "Twice the torque: did you use m g L sin(theta)? Gravity acts at the middle of the rod.":
                lambda theta: _lean(theta, torque=-_g),
            "The size is right: the motor must push against gravity, which pulls a leaning rod further over.":
                lambda theta: _lean(theta, torque=_g / 2),
            "The torque is right. Did you forget the last term of (9.3), 0.001 a^2?":
                lambda theta: _lean(theta, of_torque=0.0),
            "The torque is right. Only its square is weighted by 0.001: the angle is not.":
                lambda theta: (_lean(theta)[0], 0.001 * (theta**2 + _lean(theta)[0] ** 2)),
        },
    ),
    Exercise(
        name="ex-three",
        reference=lambda n: 1 - 0.05 ** (1 / n),
        inputs=((10,), (1000,), (50,)),
        mistakes={
            "That is the rule of three, right for large n. For n = 10 it is too large: solve (1 - p)^n = 0.05.":
                lambda n: 3 / n,
            "At the bound, no failure in n trials must have probability 0.05, not 0.95.":
                lambda n: 1 - 0.95 ** (1 / n),
            "That is the success rate at the bound; the failure rate is asked for.":
                lambda n: 0.05 ** (1 / n),
            "That is the bound at which no failure has probability 0.025: half of it belongs to a two-sided interval.":
                lambda n: 1 - 0.025 ** (1 / n),
        },
    ),
    Exercise(
        name="ex-mean-rod",
        reference=_ratio,
        inputs=((0.9, 1.5, 0.9, 1.5), (0.5, 2.0, 0.8, 1.1), (1.0, 1.2, 0.4, 1.6)),
        mistakes={
            "That is the ratio upside down.": lambda *r: 1 / _ratio(*r),
            "That is the mean effect itself: divide by 1/(m L^2) of the mean mass and length.":
                lambda a, b, c, d: _mean_inverse(a, b, 1) * _mean_inverse(c, d, 2),
            "Did you forget that the length is squared?":
                lambda a, b, c, d: _mean_inverse(a, b, 1) * _mean_inverse(c, d, 1) * (a + b) / 2 * (c + d) / 2,
            "E[1/L^2] is not E[1/L]^2: integrate 1/L^2.":
                lambda a, b, c, d: _mean_inverse(a, b, 1) * (a + b) / 2 * (_mean_inverse(c, d, 1) * (c + d) / 2) ** 2,
            "The mean of 1/x is not 1 over the mean of x; if it were, this exercise would have no point.":
                lambda *r: 1.0,
        },
        points=2,
    ),
)
