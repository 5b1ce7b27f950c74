"""Checks of chapter 2, entropy-regularised reinforcement learning."""

import numpy as np

from mpqlib.exercises import Exercise
from mpqlib.softmdp import SoftMDP


def _plain_soft_minimum(Q, prior, lam):
    """-lam log sum prior exp(-Q / lam) as it is written, which underflows for large Q / lam."""
    return -lam * np.log((prior * np.exp(-Q / lam)).sum(-1))


def soft_minimum(Q, prior, lam):
    return _shifted_soft_minimum(Q, prior, lam, Q.min(-1))


def _shifted_soft_minimum(Q, prior, lam, shift):
    return shift + _plain_soft_minimum(Q - shift[:, None], prior, lam)


def _evaluate(costs, transitions, prior, policy, lam, gamma, kl=None, P_pi=None):
    """Soft values of a policy, or with one of the ways to get them wrong."""
    P_pi = np.einsum("sa,sat->st", policy, transitions) if P_pi is None else P_pi
    kl = (policy * np.log(policy / prior)).sum(-1) if kl is None else kl
    return np.linalg.solve(np.eye(len(costs)) - gamma * P_pi, (policy * costs).sum(-1) + lam * kl)


def evaluate(costs, transitions, prior, policy, lam, gamma):
    return _evaluate(costs, transitions, prior, policy, lam, gamma)


def _regret(transitions, policy, gap, lam, gamma):
    P_pi = np.einsum("sa,sat->st", policy, transitions)
    return lam * np.linalg.solve(np.eye(len(policy)) - gamma * P_pi, gap)


def regret(transitions, policy, pi_star, lam, gamma):
    return _regret(transitions, policy, (policy * np.log(policy / pi_star)).sum(-1), lam, gamma)


_rng = np.random.default_rng(2)
_mdps = [SoftMDP.random(4, 3, lam, gamma, _rng, deterministic=False) for lam, gamma in ((0.7, 0.9), (2.0, 0.6))]
_policies = [_rng.dirichlet(np.ones(3), size=4) for _ in _mdps]
_spread = _rng.uniform(0, 5, (3, 4)), _rng.dirichlet(np.full(4, 3.0), size=3)
_blocked = _spread[0] + 1e6 * np.eye(3, 4)  # one stroke in each state costs a million more

EXERCISES = (
    Exercise(
        name="ex2-units",
        reference=lambda: 120.0,
        inputs=((),),
        mistakes={
            "The costs have become 60 times as large and Q / lam must not change: lam has the unit of cost.": lambda: 2.0,
            "A minute is 60 seconds, so the number of seconds is the larger one: did you divide?": lambda: 2 / 60,
        },
    ),
    Exercise(
        name="ex2-soft-minimum",
        reference=soft_minimum,
        inputs=((*_spread, 0.7), (1e6 + _spread[0], _spread[1], 1.0), (_blocked, _spread[1], 1.0)),
        mistakes={
            "Did you forget the prior? Each exp(-Q / lam) is weighted by prior(a|s).":
                lambda Q, prior, lam: soft_minimum(Q, np.ones_like(prior), lam),
            "Right for small costs, but exp(-1e6) is 0: take the smallest Q out before the exponential.":
                _plain_soft_minimum,
            "Right while costs are close together, but exp(+1e6) is infinite: take out the smallest Q, not the largest.":
                lambda Q, prior, lam: _shifted_soft_minimum(Q, prior, lam, Q.max(-1)),
            "Check the signs: -lam log E exp(-Q / lam). Yours is a soft maximum.":
                lambda Q, prior, lam: -soft_minimum(-Q, prior, lam),
            "Did you forget the minus sign in front of the logarithm?":
                lambda Q, prior, lam: -soft_minimum(Q, prior, lam),
            "Did you forget the factor lam in front of the logarithm? V is in the unit of cost.":
                lambda Q, prior, lam: soft_minimum(Q / lam, prior, 1.0),
            "Did you forget to divide Q by lam in the exponent?":
                lambda Q, prior, lam: lam * soft_minimum(Q, prior, 1.0),
            "That is the mean of Q over the prior, which is the limit of large lam.":
                lambda Q, prior, lam: (prior * Q).sum(-1),
            "That is the smallest Q, which is the limit of small lam.":
                lambda Q, prior, lam: Q.min(-1),
        },
    ),
    Exercise(
        name="ex2-evaluate",
        reference=evaluate,
        inputs=tuple((m.costs, m.transitions, m.prior, policy, m.lam, m.gamma) for m, policy in zip(_mdps, _policies)),
        mistakes={
            "Did you forget lam KL? Those are the expected costs alone.":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, 0.0, gamma),
            "Did you forget the factor lam of the KL divergence?":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, 1.0, gamma),
            "The KL divergence is the wrong way round: the policy stands in front, KL(policy || prior).":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, lam, gamma, (prior * np.log(prior / policy)).sum(-1)),
            "Did you forget to weight the log ratio by the policy? KL is an expectation under it.":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, lam, gamma, np.log(policy / prior).sum(-1)),
            "The sign of KL: straying from the prior is charged, so lam KL is added.":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, -lam, gamma),
            "Where is the prior? KL compares the policy with it; yours is minus the entropy alone.":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, lam, gamma, (policy * np.log(policy)).sum(-1)),
            "P_pi averages over the strokes of the policy, and yours over those of the prior.":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, lam, gamma,
                              P_pi=np.einsum("sa,sat->st", prior, transitions)),
            "P_pi looks transposed: its row s holds the probabilities of the next states, and sums to 1.":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, lam, gamma,
                              P_pi=np.einsum("sa,sat->ts", policy, transitions)),
            "That is one step only: did you forget gamma P_pi V?":
                lambda costs, transitions, prior, policy, lam, gamma:
                    _evaluate(costs, transitions, prior, policy, lam, 0.0),
        },
        points=2,
    ),
    Exercise(
        name="ex2-regret",
        reference=regret,
        inputs=tuple((m.transitions, policy, m.solve()[2], m.lam, m.gamma) for m, policy in zip(_mdps, _policies)),
        mistakes={
            "The states are those that `policy` visits, not those of pi_star: which P belongs into the solve?":
                lambda transitions, policy, pi_star, lam, gamma:
                    _regret(transitions, pi_star, (policy * np.log(policy / pi_star)).sum(-1), lam, gamma),
            "The KL divergence is the wrong way round: KL(policy || pi_star).":
                lambda transitions, policy, pi_star, lam, gamma:
                    _regret(transitions, policy, (pi_star * np.log(pi_star / policy)).sum(-1), lam, gamma),
            "The sign: no policy is better than pi_star, so V of the policy minus V* is not negative.":
                lambda *arguments: -regret(*arguments),
            "Did you forget the factor lam? A difference of values has the unit of cost.":
                lambda transitions, policy, pi_star, lam, gamma: regret(transitions, policy, pi_star, 1.0, gamma),
            "That is what the first step costs: did you forget the later ones?":
                lambda transitions, policy, pi_star, lam, gamma: regret(transitions, policy, pi_star, lam, 0.0),
        },
        points=2,
    ),
)
