"""Checks of chapter 1, the problem."""

import numpy as np

from mpqlib.exercises import Exercise
from mpqlib.tasks import PendulumSwingup

_task = PendulumSwingup()
_m, _L, _g, _torque = *(_task.true_parameters[name] for name in ("mass", "length")), _task.gravity, _task.action_high[0]


def _geometric(constant, gamma, terms):
    """constant (1 + gamma + ... + gamma^(terms - 1))."""
    return constant * (1 - gamma**terms) / (1 - gamma)


def _missing(theta, speed, g, L):
    """Energy of the rod minus that at rest upright, divided by its moment of inertia m L^2 / 3."""
    return speed**2 / 2 + 1.5 * g / L * (np.cos(theta) - 1)


EXERCISES = (
    Exercise(
        name="ex-01-lift",
        reference=lambda: np.degrees(np.arcsin(_torque / (_m * _g * _L / 2))),
        inputs=((),),
        mistakes={
            "Right, but in radians: did you forget np.degrees?": lambda: np.arcsin(_torque / (_m * _g * _L / 2)),
            "That rod has all its mass at the tip: gravity pulls at the middle.":
                lambda: np.degrees(np.arcsin(_torque / (_m * _g * _L))),
            "That is the angle from upright: measure from hanging.":
                lambda: 180 - np.degrees(np.arcsin(_torque / (_m * _g * _L / 2))),
        },
        rtol=0.004,  # a tenth of a degree
    ),
    Exercise(
        name="ex-01-constant",
        reference=lambda constant, gamma, H: (_geometric(constant, gamma, H), constant / (1 - gamma)),
        inputs=((5.0, 0.95, 8), (-2.0, 0.5, 3), (1.0, 0.99, 64)),
        mistakes={
            "The Q part is right. Did you forget the discount in S? A cost l steps ahead counts gamma^l.":
                lambda constant, gamma, H: (constant * H, constant / (1 - gamma)),
            "The Q part is right. A plan of vanilla MPPI has H costs, l = 0 to H - 1.":
                lambda constant, gamma, H: (_geometric(constant, gamma, H - 1), constant / (1 - gamma)),
            "The S part is right. Did you forget that Q contains the cost of its own step?":
                lambda constant, gamma, H: (_geometric(constant, gamma, H), gamma * constant / (1 - gamma)),
            "The S part is right. Q is the cost of everything to come, not of one step.":
                lambda constant, gamma, H: (_geometric(constant, gamma, H), constant),
            "The S part is right. Q does not stop after H steps: it sums to the end of time.":
                lambda constant, gamma, H: (_geometric(constant, gamma, H),) * 2,
        },
    ),
    Exercise(
        name="ex-01-energy",
        reference=_missing,
        inputs=((np.array([np.pi, 0.3, -2.0]), np.array([0.0, 6.0, -7.5]), 9.8, 1.2),
                (np.array([0.0, 1.0]), np.array([1.0, 0.0]), 3.7, 0.8)),
        mistakes={
            "That is with a moment of inertia of m L^2: a uniform rod has a third of it.":
                lambda theta, speed, g, L: _missing(theta, speed, g / 3, L),
            "Gravity acts at the middle of the rod: did you lift all its mass by L?":
                lambda theta, speed, g, L: _missing(theta, speed, 2 * g, L),
            "Did you forget to subtract the energy at rest upright?":
                lambda theta, speed, g, L: speed**2 / 2 + 1.5 * g / L * np.cos(theta),
            "Potential energy is highest upright, at theta = 0: check the sign of the cosine's term.":
                lambda theta, speed, g, L: speed**2 / 2 - 1.5 * g / L * (np.cos(theta) - 1),
            "Turned round: the energy minus that upright is asked for, so that too little is negative.":
                lambda theta, speed, g, L: -_missing(theta, speed, g, L),
            "Keep the sign here; the absolute value is taken where the terminal value is built.":
                lambda theta, speed, g, L: np.abs(_missing(theta, speed, g, L)),
        },
        points=2,
    ),
)
