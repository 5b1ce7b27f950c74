"""Checks of chapter 3, information-theoretic MPC."""

import numpy as np

from mpqlib.exercises import Exercise


def _objective(costs, cost_weights, U, kl_weights, lam, sigma):
    return cost_weights @ costs + lam * kl_weights @ (0.5 * np.square(U / sigma))


def objective(c, c_f, U, lam, sigma, gamma):
    discount = gamma ** np.arange(len(U))
    return _objective(np.append(c, c_f), discount, U, discount, lam, sigma)


def _objective_with(c, c_f, U, lam, sigma, gamma, last=0, kl_decay=True, kl_steps=None, sigma_power=1, half=1.0):
    """The objective with one of the ways to get it wrong."""
    steps = np.arange(len(U))
    weights = gamma ** (steps + last * (steps == len(U) - 1))
    kl_weights = (gamma**steps if kl_decay else np.ones(len(U))) * (steps < (len(U) if kl_steps is None else kl_steps)) * half
    return _objective(np.append(c, c_f), weights, U, kl_weights, lam, sigma**sigma_power)


def rollout(step, s, actions):
    states = [s]
    for a in actions:
        states.append(step(states[-1], a))
    return np.array(states)


def _late(step, s, actions):
    """Each action one step too late: the last one first."""
    return rollout(step, s, np.roll(actions, 1, axis=0))


def spring(s, a):
    """A damped spring, the step function the answers are compared on."""
    speed = 0.9 * s[1] - 0.2 * s[0] + a[0]
    return np.array([s[0] + 0.1 * speed, speed])


def _blind(p):
    return 10 + min(5 * p + 45 * (1 - p), 45 * p + 5 * (1 - p))


def best_two(p):
    return 15.0, min(_blind(p), 25.0)


_rng = np.random.default_rng(3)
_plans = tuple((_rng.uniform(0, 3, H - 1), 7.0 + H, _rng.normal(size=H), 0.4, 1.5, 0.8) for H in (2, 5))

EXERCISES = (
    Exercise(
        name="ex3-sigma",
        reference=lambda: 0.6,
        inputs=((),),
        mistakes={
            "The control cost is lam u^2 / (2 sigma^2): sigma enters squared.": lambda: 0.3,
            "A larger sigma makes the same mean torque cheaper in nats, so a nat must become dearer, not cheaper.":
                lambda: 0.15 / 4,
            "lam alone does not set the price of a torque: it is lam / sigma^2 that counts.": lambda: 0.15,
        },
    ),
    Exercise(
        name="ex3-objective",
        reference=objective,
        inputs=_plans,
        mistakes={
            "The terminal cost stands at step H - 1, so its weight is gamma^(H-1), not gamma^H.":
                lambda *a: _objective_with(*a, last=1),
            "Did you forget to discount the terminal cost? Its weight is gamma^(H-1).":
                lambda *a: _objective_with(*a, last=1 - len(a[2])),
            "Did you forget the discount? Step l has the weight gamma^l.":
                lambda c, c_f, U, lam, sigma, gamma: objective(c, c_f, U, lam, sigma, 1.0),
            "The first step is step 0, with the weight gamma^0 = 1; yours are all discounted by one step too much.":
                lambda c, c_f, U, lam, sigma, gamma: gamma * objective(c, c_f, U, lam, sigma, gamma),
            "Did you forget to discount the KL divergence? In Eq. 3 it stands inside the bracket with the cost.":
                lambda *a: _objective_with(*a, kl_decay=False),
            "Did you forget the KL divergence of the last step? c_f does not contain it.":
                lambda *a: _objective_with(*a, kl_steps=len(a[2]) - 1),
            "Did you forget the factor 1/2 of the KL divergence?": lambda *a: _objective_with(*a, half=2.0),
            "Did you forget the factor lam of the KL divergence?":
                lambda c, c_f, U, lam, sigma, gamma: objective(c, c_f, U, 1.0, sigma, gamma),
            "Sigma enters the KL divergence squared: (u / sigma)^2 / 2.": lambda *a: _objective_with(*a, sigma_power=0.5),
            "Did you forget the KL divergence?": lambda *a: _objective_with(*a, half=0.0),
            "Did you forget the terminal cost?": lambda c, c_f, *a: objective(c, 0.0, *a),
        },
    ),
    Exercise(
        name="ex3-rollout",
        reference=rollout,
        inputs=tuple((spring, _rng.normal(size=2), _rng.normal(size=(H, 1))) for H in (6, 1)),
        mistakes={
            "Did you forget the start state? H actions make H + 1 states.":
                lambda step, s, actions: rollout(step, s, actions)[1:],
            "Row 0 is the start state: did you leave it at zero?": lambda step, s, actions: rollout(step, 0 * s, actions),
            "The state after the last action is missing: H actions make H + 1 states.":
                lambda step, s, actions: rollout(step, s, actions)[:-1],
            "Each action is applied to the start state: did you forget to go on from the state before?":
                lambda step, s, actions: np.array([s, *(step(s, a) for a in actions)]),
            "The actions are shifted by one step: action l leads from state l to state l + 1.": _late,
        },
    ),
    Exercise(
        name="ex3-fork",
        reference=best_two,
        inputs=((0.5,), (0.0,), (0.9,), (0.3,), (1.0,)),
        mistakes={
            "Did you forget the long arm? A blind plan takes it when the short one is dearer.":
                lambda p: (15.0, _blind(p)),
            "Did you forget the 10 minutes to the island?": lambda p: (5.0, min(_blind(p) - 10, 25.0)),
            "Blind, the short arm can still be the cheaper one, when one channel is nearly sure to be open.":
                lambda p: (15.0, 25.0),
            "An open-loop plan names the channel beforehand: it cannot always take the open one.":
                lambda p: (15.0, 15.0),
            "The blind plan may choose its channel by p: did you fix it to the left one?":
                lambda p: (15.0, min(10 + 5 * p + 45 * (1 - p), 25.0)),
            "Who looks on arrival always takes the open channel: the closed loop does not depend on p.":
                lambda p: (min(_blind(p), 25.0), min(_blind(p), 25.0)),
            "The two are exchanged: closed loop first.": lambda p: best_two(p)[::-1],
        },
        points=2,
    ),
)
