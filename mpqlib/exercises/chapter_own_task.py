"""Checks of the appendix, bring your own task."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import entr

from mpqlib.exercises import Exercise

_B, _REST = 0.5, 0.7  # m, of the switch: post beside the rail, rest length of the spring
_PLACE = np.sqrt(_REST**2 - _B**2)  # m, where the spring is slack


def sparse_cost(states, closed):
    return 1.0 - (np.abs(states[..., 0] - closed) < 0.15)


def period_steps(mass, stiffness, dt):
    return np.ceil(2 * np.pi * _REST / _PLACE * np.sqrt(mass / stiffness) / dt)


def _weights(costs, lam):
    w = np.exp(-(costs - costs.min()) / lam)
    return w / w.sum()


def _solve(count, costs, wanted):
    """The temperature at which `count(weights)` is `wanted`."""
    low, high = 1e-3 * np.ptp(costs), 1e3 * np.ptp(costs)
    return np.exp(brentq(lambda x: count(_weights(costs, np.exp(x))) - wanted, np.log(low), np.log(high), xtol=1e-10))


def temperature(costs, wanted):
    return _solve(lambda w: 1 / (w**2).sum(), costs, wanted)


_rng = np.random.default_rng(20)
_costs = [scale * _rng.gamma(4.0, size=64) for scale in (1.0, 30.0)]
_states = np.stack([_rng.uniform(-0.9, 0.9, (3, 8)), _rng.uniform(-4.0, 4.0, (3, 8))], axis=-1)

EXERCISES = (
    Exercise(
        name="ex-own-sparse",
        reference=sparse_cost,
        inputs=((_states, 0.49), (_states[0], -0.49), (np.array([0.4, 1.0]), 0.49)),
        mistakes={
            "That is the first state of the batch, not the place in each: did you write states[0] for states[..., 0]?":
                lambda states, closed: 1.0 - (np.abs(states[0] - closed) < 0.15),
            "The other way round: 1 away from the closed place, 0 near it.":
                lambda states, closed: 1.0 * (np.abs(states[..., 0] - closed) < 0.15),
            "Everything to the left of the closed place costs nothing: did you forget the absolute value?":
                lambda states, closed: 1.0 - (states[..., 0] - closed < 0.15),
            "That looks at the speed: the place is the first number of a state.":
                lambda states, closed: 1.0 - (np.abs(states[..., 1] - closed) < 0.15),
            "One number for all states: the planner needs one for each.":
                lambda states, closed: 1.0 - (np.abs(states[..., 0] - closed) < 0.15).all(),
        },
    ),
    Exercise(
        name="ex-own-period",
        reference=period_steps,
        inputs=((1.0, 100.0, 0.05), (0.8, 180.0, 0.05), (1.6, 50.0, 0.05), (1.2, 120.0, 0.02)),
        mistakes={
            "A horizon that is too short by a part of a step does not hold a period: round up.":
                lambda mass, stiffness, dt: np.floor(2 * np.pi * _REST / _PLACE * np.sqrt(mass / stiffness) / dt),
            "A stiff spring makes the motion quick: is the mass over the stiffness?":
                lambda mass, stiffness, dt: np.ceil(2 * np.pi * _REST / _PLACE * np.sqrt(stiffness / mass) / dt),
            "The spring pulls at an angle to the rail: did you forget the factor of r0 over x0?":
                lambda mass, stiffness, dt: np.ceil(2 * np.pi * np.sqrt(mass / stiffness) / dt),
            "That is for one radian of the motion: a period has two pi of them.":
                lambda mass, stiffness, dt: np.ceil(_REST / _PLACE * np.sqrt(mass / stiffness) / dt),
            "That is the period in seconds: how many control steps are that?":
                lambda mass, stiffness, dt: 2 * np.pi * _REST / _PLACE * np.sqrt(mass / stiffness),
            "A horizon is a whole number of steps: round up.":
                lambda mass, stiffness, dt: 2 * np.pi * _REST / _PLACE * np.sqrt(mass / stiffness) / dt,
        },
        rtol=1e-4,
    ),
    Exercise(
        name="ex-own-lambda",
        reference=temperature,
        inputs=((_costs[0], 4.0), (_costs[1], 4.0), (_costs[0], 16.0)),
        mistakes={
            "The standard deviation says how large the temperature might be; solve for the one that is asked for.":
                lambda costs, wanted: np.std(costs),
            "That is the number of samples to which the entropy of the weights belongs: "
            "the effective sample size is one over the sum of their squares.":
                lambda costs, wanted: _solve(lambda w: np.exp(entr(w).sum()), costs, wanted),
            "That is for one over the largest weight: the effective sample size is one over the sum of their squares.":
                lambda costs, wanted: _solve(lambda w: 1 / w.max(), costs, wanted),
            "You read the number wanted as a percentage of the samples; it is a number of samples.":
                lambda costs, wanted: _solve(lambda w: 1 / (w**2).sum(), costs, 0.01 * wanted * len(costs)),
            "That is one over the temperature.": lambda costs, wanted: 1 / temperature(costs, wanted),
        },
        points=2,
        rtol=1e-2,
    ),
)
