"""Checks of chapter 1, the problem."""

import numpy as np

from mpqlib.exercises import Exercise
from mpqlib.tasks import PendulumSwingup

_task = PendulumSwingup()
_m, _L, _g, _torque = *(_task.true_parameters[name] for name in ("mass", "length")), _task.gravity, _task.action_high[0]

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
)
