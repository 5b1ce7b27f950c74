"""Checks of chapter 12, FrankaDrawerOpen."""

import numpy as np

from mpqlib.exercises import Exercise


def _command(speed, gain, damping, friction, sign=np.sign):
    return ((gain + damping) * speed + friction * sign(speed)) / gain


def _price(U, lam, sigma, beta, inverse=np.linalg.inv):
    i = np.arange(len(U))
    return lam * np.sqrt(np.einsum("id,ij,jd->", U, inverse(sigma**2 * float(beta) ** abs(i[:, None] - i)), U))


def _steps(noise, rng):
    """What was done and what was promised, (20, 3) each: 0.7 of it, and noise."""
    promised = rng.normal(size=(20, 3))
    return 0.7 * promised + noise * rng.normal(size=(20, 3)), promised


EXERCISES = (
    Exercise(
        name="ex12-delivered",
        reference=lambda done, promised: (done * promised).sum() / (promised**2).sum(),
        inputs=tuple(_steps(noise, np.random.default_rng(12)) for noise in (0.2, 0.06)),
        mistakes={
            "A ratio of lengths counts motion in a wrong direction as delivered: take the part along what was promised.":
                lambda done, promised: np.sqrt((done**2).sum() / (promised**2).sum()),
            "That is a correlation: it is 1 for any fixed share. Divide by what was promised alone, squared.":
                lambda done, promised: (done * promised).sum() / np.sqrt((done**2).sum() * (promised**2).sum()),
            "That is the mean of each step's own share, where a step in which little was promised counts as much as any.":
                lambda done, promised: np.mean((done * promised).sum(axis=1) / (promised**2).sum(axis=1)),
            "The mean of a share per number blows up where little was promised: sum above and below before you divide.":
                lambda done, promised: np.mean(done / promised),
            "Upside down: that predicts the promise from what was done.":
                lambda done, promised: (done * promised).sum() / (done**2).sum(),
            "One slope for all of it: sum over the steps and over the numbers of each.":
                lambda done, promised: (done * promised).sum(axis=0) / (promised**2).sum(axis=0),
        },
    ),
    Exercise(
        name="ex12-command",
        reference=_command,
        inputs=((0.3, 40.0, 6.0, 6.0), (-0.2, 15.0, 6.0, 6.0), (0.0, 15.0, 6.0, 6.0), (-0.4, 40.0, 0.6, 0.5)),
        mistakes={
            "Friction is to be made up for in the direction of the motion: it has the sign of the speed.":
                lambda speed, gain, damping, friction: _command(speed, gain, damping, friction, lambda v: 1.0),
            "Did you forget the friction?": lambda speed, gain, damping, friction: _command(speed, gain, damping, 0.0),
            "That is the command minus the speed: the servo takes the speed off by itself, so ask for it on top.":
                lambda speed, gain, damping, friction: _command(speed, gain, damping, friction) - speed,
            "That is a torque: the servo multiplies the command with its gain.":
                lambda speed, gain, damping, friction: gain * _command(speed, gain, damping, friction),
        },
    ),
    Exercise(
        name="ex12-price",
        reference=_price,
        inputs=tuple((np.random.default_rng(seed).normal(size=size), *rest) for seed, size, rest in (
            (0, (10, 7), (0.1, 0.6, 0.8)), (1, (4, 2), (0.02, 2.5, 0.5)), (2, (1, 3), (0.3, 1.0, 0.9)))),
        mistakes={
            "That holds for independent noise: with correlated noise a plan that changes its sign costs more.":
                lambda U, lam, sigma, beta: _price(U, lam, sigma, 0.0),
            "That is the variance of the log-ratio: take the root before you multiply by the temperature.":
                lambda U, lam, sigma, beta: lam * (_price(U, 1.0, sigma, beta))**2,
            "The temperature is missing: a log-ratio has no unit, a control cost has that of a cost.":
                lambda U, lam, sigma, beta: _price(U, 1.0, sigma, beta),
            "That multiplies with the covariance: its inverse is needed, so that more noise makes moving cheaper.":
                lambda U, lam, sigma, beta: _price(U, lam, sigma, beta, inverse=lambda S: S),
            "Half of U' inv(Sigma) U is the constant that all samples share; their spread is the root of the whole.":
                lambda U, lam, sigma, beta: _price(U, lam, sigma, beta) / np.sqrt(2),
        },
        points=2,
    ),
)
