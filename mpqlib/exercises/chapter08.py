"""Checks of chapter 8, four tasks and their biased simulators."""

import numpy as np

from mpqlib.exercises import Exercise


def slide(speed, friction, mass, gravity=9.81):
    return speed**2 / (2 * friction * gravity)


def _servo(command, gain, damping, friction):
    return gain * np.abs(command) - friction


def steady_speed(command, gain, damping, friction):
    return np.sign(command) * np.maximum(_servo(command, gain, damping, friction), 0) / (gain + damping)


def weights(costs, lam):
    S = np.where(np.isfinite(costs), costs, np.inf)
    w = np.exp(-(S - S.min()) / lam)
    return w / w.sum()


def _softmax(S, lam):
    w = np.exp(-(S - S.min()) / lam)
    return w / w.sum()


_commands = np.array([-1.0, -0.5, -0.2, 0.0, 0.1, 0.35, 0.8])
_costs = np.array([3.0, np.nan, 2.5, 4.0, np.inf, 2.7])

EXERCISES = (
    Exercise(
        name="ex8-slide",
        reference=slide,
        inputs=((0.5, 1.0, 2.0), (0.5, 0.1, 0.7), (0.3, 0.4, 1.5)),
        mistakes={
            "The mass is in the kinetic energy and in the friction force, and cancels.":
                lambda speed, friction, mass: mass * slide(speed, friction, mass),
            "You divided by the mass: the friction force is friction x mass x g, and the energy has the mass too.":
                lambda speed, friction, mass: slide(speed, friction, mass) / mass,
            "Twice too far: while it brakes, the mean speed is half the first.":
                lambda speed, friction, mass: 2 * slide(speed, friction, mass),
            "That is the time until it stops, in seconds; how far does it get meanwhile?":
                lambda speed, friction, mass: speed / (friction * 9.81),
            "More friction must mean a shorter way: is it in the numerator?":
                lambda speed, friction, mass: speed**2 * friction / (2 * 9.81),
        },
        rtol=5e-3,  # g of 9.8 or 9.81
    ),
    Exercise(
        name="ex8-deadband",
        reference=steady_speed,
        inputs=((_commands, 40.0, 6.0, 6.0), (_commands, 15.0, 0.6, 0.5), (_commands, 15.0, 4.0, 4.0)),
        mistakes={
            "Did you forget dry friction? It takes its share of the torque before anything moves.":
                lambda command, gain, damping, friction: gain * command / (gain + damping),
            "Dry friction cannot push: where the command is too small to move the joint, its speed is 0.":
                lambda command, gain, damping, friction:
                    np.sign(command) * _servo(command, gain, damping, friction) / (gain + damping),
            "Right for positive commands: dry friction points against the motion, whichever way that is.":
                lambda command, gain, damping, friction:
                    np.maximum(gain * command - friction, 0) / (gain + damping),
            "The servo compares the command with the speed, gain (a - v): the gain belongs to the damping.":
                lambda command, gain, damping, friction:
                    np.sign(command) * np.maximum(_servo(command, gain, damping, friction), 0) / damping,
            "Did you forget the damping? It brakes as the servo's own gain does.":
                lambda command, gain, damping, friction:
                    np.sign(command) * np.maximum(_servo(command, gain, damping, friction), 0) / gain,
            "The sign is lost: a negative command moves the joint backwards.":
                lambda command, gain, damping, friction:
                    np.maximum(_servo(command, gain, damping, friction), 0) / (gain + damping),
        },
        points=2,
    ),
    Exercise(
        name="ex8-diverged",
        reference=weights,
        inputs=((_costs, 0.5), (1e5 + _costs, 0.2), (np.array([1.0, 2.0, np.nan]), 1.0)),
        mistakes={
            "One NaN has spoiled all weights: it must be taken out before the minimum and the sum.":
                lambda costs, lam: _softmax(costs, lam),
            "A diverged sample now counts as free of cost, and gets the largest weight of all.":
                lambda costs, lam: _softmax(np.nan_to_num(costs, posinf=0.0), lam),
            "You left the diverged samples out, so the weights no longer belong to the samples: give them 0.":
                lambda costs, lam: _softmax(costs[np.isfinite(costs)], lam),
            "A diverged sample still gets a weight: the largest finite cost is not large enough.":
                lambda costs, lam: _softmax(np.where(np.isfinite(costs), costs, costs[np.isfinite(costs)].max()), lam),
            "Right for small costs, but exp(-1e5) is 0: take the smallest finite cost out before the exponential.":
                lambda costs, lam: (lambda w: w / w.sum())(np.where(np.isfinite(costs), np.exp(-costs / lam), 0.0)),
            "The weights do not add up to 1: did you forget to divide by their sum?":
                lambda costs, lam: (lambda S: np.exp(-(S - S.min()) / lam))(np.where(np.isfinite(costs), costs, np.inf)),
        },
    ),
)
