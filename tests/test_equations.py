"""The paper's Eq. 1-17: each against an independent answer, and each check against wrong variants.

`check_07(implementation)` asserts that an implementation of Eq. 7 gives the answer found another way.
It must pass for the library (`right`) and fail for every variant with a sign, a factor, an index or a
term wrong (`wrong`): a check that cannot fail proves nothing.

`python tests/test_equations.py` writes data/equations.json from EQUATIONS, the list at the end.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
from pytorch_mppi import MPPI as Peer
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from scipy.stats import norm, qmc
from torch.distributions import MultivariateNormal, kl_divergence

from mpqlib import mppi
from mpqlib.boltzmann import boltzmann_weights, free_energy, log_density_ratio, weights_and_free_energy
from mpqlib.mppi import MPPI, MPPISettings
from mpqlib.mpq import MPQ, MPQSettings
from mpqlib.softmdp import SoftMDP

ROOT = Path(__file__).resolve().parents[1]


def replaced(owner, name, wrong, implementation):
    """The implementation, run while the library's `owner.name` is the wrong function."""
    def run(*arguments, **options):
        with patch.object(owner, name, wrong):
            return implementation(*arguments, **options)
    return run


def close(found, expected, atol=1e-9):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


# -- small MDPs (Eq. 1, 2, 4-7) -----------------------------------------------------------------

def small_mdp(seed=0, gamma=0.8, deterministic=False, lam=0.4):
    """Three states, two actions: small enough to enumerate everything."""
    return SoftMDP.random(3, 2, lam, gamma, np.random.default_rng(seed), deterministic=deterministic)


def shortest_paths(lam=0.7):
    """Six states, gamma = 1; action 1 leads on to an absorbing goal that costs nothing, actions 0 and 2 anywhere."""
    rng, S = np.random.default_rng(5), 6
    following = rng.integers(S, size=(S, 3))
    following[:, 1] = np.minimum(np.arange(S) + 1, S - 1)
    following[-1] = S - 1
    costs = rng.uniform(0.1, 1, (S, 3))
    costs[-1] = 0
    return SoftMDP(costs, np.eye(S)[following], rng.dirichlet(np.full(3, 5.0), S), lam, 1.0)


def one_step_operator(m):
    """G[s, s'] = sum_a prior(a|s) exp(-c(s, a) / lam) P(s'|s, a): the linear soft backup of exp(-V / lam)."""
    return np.einsum("sa,sat->st", m.prior * np.exp(-m.costs / m.lam), m.transitions)


def random_policy(seed, m):
    return np.random.default_rng(seed).dirichlet(np.ones(m.costs.shape[1]), size=len(m.costs))


def discounted_sum(m, policy, steps=150):
    """The objective of Eq. 1 from each state, as a sum over explicit time steps."""
    stage = [sum(p * (c + m.lam * np.log(p / q)) for p, q, c in zip(*rows)) for rows in zip(policy, m.prior, m.costs)]
    chain = sum(policy[:, a, None] * m.transitions[:, a] for a in range(policy.shape[1]))
    total, reached = np.zeros(len(stage)), np.eye(len(stage))
    for t in range(steps):
        total += m.gamma**t * reached @ stage
        reached = reached @ chain
    return total


# Eq. 1

def check_01(solve):
    """A general optimiser on the explicit discounted sum; for gamma = 1 the principal eigenvector of a matrix."""
    m = small_mdp()

    def objective(logit):
        p = 1 / (1 + np.exp(-logit))
        return discounted_sum(m, np.stack([p, 1 - p], axis=1)).mean()  # mu uniform

    best = minimize(objective, np.zeros(3), method="BFGS", options={"gtol": 1e-9})
    close(solve(m)[:, 0], 1 / (1 + np.exp(-best.x)), 1e-4)

    m = shortest_paths()
    values, vectors = np.linalg.eig(one_step_operator(m))
    principal = np.argmax(values.real)
    close(values[principal], 1)
    z = np.abs(vectors[:, principal].real) / np.abs(vectors[-1, principal].real)  # exp(-V / lam), 1 at the goal
    close(solve(m), m.prior * np.exp(-m.costs / m.lam) * z[m.next_state] / z[:, None])


def right_01(m):
    return m.solve()[2]


def without_kl_later(m):
    V = np.zeros(len(m.costs))
    for _ in range(300):
        policy = m.boltzmann_policy(m.q_from_v(V))
        V = (policy * m.q_from_v(V)).sum(1)
    return policy


WRONG_01 = {
    "costs maximised, as if they were rewards": lambda m: right_01(replace(m, costs=-m.costs)),
    "the temperature left out (λ = 1)": lambda m: right_01(replace(m, lam=1.0)),
    "the discount squared": lambda m: right_01(replace(m, gamma=m.gamma**2)),
    "the prior left out, entropy alone":
        lambda m: right_01(replace(m, prior=np.full_like(m.prior, 1 / m.prior.shape[1]))),
    "KL counted at the first step only": without_kl_later,
}


# Eq. 2

def check_02(values):
    """The infinite sum step by step; the H-step forms of V and Q by enumerating every trajectory."""
    m, H = small_mdp(), 3
    policy, Q_end = random_policy(1, m), np.random.default_rng(0).normal(size=(3, 2))  # any Q at the end
    V, Q, V_H, Q_H = values(m, policy, H, Q_end)
    explicit = discounted_sum(m, policy)
    close(V, explicit)
    close(Q, [[m.costs[s, a] + m.gamma * m.transitions[s, a] @ explicit for a in range(2)] for s in range(3)])

    kl = [sum(p * np.log(p / q) for p, q in zip(*rows)) for rows in zip(policy, m.prior)]
    expected = np.zeros((3, 2))
    for start, *path in product(range(3), *[range(2), range(3)] * H, range(2)):  # s_0, a_0, s_1, ..., s_3, a_3
        s, probability, total = start, 1.0, -m.lam * kl[start]  # Q has no KL at its own step
        for l, (a, following) in enumerate(zip(path[:-1:2], path[1::2])):
            total += m.gamma**l * (m.costs[s, a] + m.lam * kl[s])
            probability *= (policy[s, a] if l else 1) * m.transitions[s, a, following]
            s = following
        total += m.gamma**H * (m.lam * kl[s] + Q_end[s, path[-1]])
        expected[start, path[0]] += probability * policy[s, path[-1]] * total
    close(Q_H, expected)
    close(V_H, m.lam * np.array(kl) + (policy * expected).sum(1))


def right_02(m, policy, horizon, Q_end):
    end = (policy * Q_end).sum(1) + m.lam * m.kl(policy)
    return (*m.evaluate(policy), m.h_step_value(policy, end, horizon),
            m.q_from_v(m.h_step_value(policy, end, horizon - 1)))


def kl_in_q(m, policy, horizon, Q_end):
    V, Q, V_H, Q_H = right_02(m, policy, horizon, Q_end)
    own = m.lam * m.kl(policy)[:, None]
    return V, Q + own, V_H, Q_H + own


def wrong_end(change):
    """The last value changed by a factor, in the forms of H steps alone."""
    def values(m, policy, horizon, Q_end):
        end = change(m) * ((policy * Q_end).sum(1) + m.lam * m.kl(policy))
        return (*m.evaluate(policy), m.h_step_value(policy, end, horizon),
                m.q_from_v(m.h_step_value(policy, end, horizon - 1)))
    return values


def swapped_kl(self, policy):
    return (self.prior * np.log(self.prior / policy)).sum(-1)


WRONG_02 = {
    "KL left out": replaced(SoftMDP, "kl", lambda self, policy: np.zeros(len(policy)), right_02),
    "KL with its arguments exchanged": replaced(SoftMDP, "kl", swapped_kl, right_02),
    "the temperature left out (λ = 1)": lambda m, *rest: right_02(replace(m, lam=1.0), *rest),
    "Q without the discount of V":
        replaced(SoftMDP, "q_from_v", lambda self, V: self.costs + self.transitions @ V, right_02),
    "KL of its own step counted in Q": kl_in_q,
    "the last value discounted by one step too little": wrong_end(lambda m: 1 / m.gamma),
    "the last value not discounted": wrong_end(lambda m: m.gamma**-3),
    "one step too many in the H-step form": lambda m, p, H, Q_end: right_02(m, p, H + 1, Q_end),
}


# Eq. 4

def check_04(values):
    """Every action sequence of 14 steps on deterministic dynamics, with a discount that makes the rest negligible."""
    m, H = small_mdp(seed=3, gamma=0.25, deterministic=True), 14
    policy = random_policy(2, m)
    actions = np.array(list(product(range(2), repeat=H)))
    expected = np.empty(3)
    for start in range(3):
        s, probability, total = np.full(len(actions), start), np.ones(len(actions)), np.zeros(len(actions))
        for l, a in enumerate(actions.T):
            total += m.gamma**l * (m.costs[s, a] + m.lam * np.log(policy[s, a] / m.prior[s, a]))
            probability *= policy[s, a]
            s = m.transitions[s, a].argmax(-1)
        expected[start] = probability @ total
    V, Q = values(m, policy)
    close(V, expected, 1e-7)
    for s, a in product(range(3), range(2)):
        close(Q[s, a], m.costs[s, a] + m.gamma * expected[m.transitions[s, a].argmax()], 1e-7)


def right_04(m, policy):
    return m.evaluate(policy)


def recursion_04(v=lambda m, p, Q: (p * (m.lam * np.log(p / m.prior) + Q)).sum(1),
                 q=lambda m, V: m.costs + m.gamma * V[m.next_state]):
    """Eq. 4 as a fixed point, with one of its halves exchanged."""
    def values(m, policy):
        V = np.zeros(3)
        for _ in range(40):
            Q = q(m, V)
            V = v(m, policy, Q)
        return V, q(m, V)
    return values


WRONG_04 = {
    "Q inside the logarithm, as printed":
        recursion_04(v=lambda m, p, Q: (p * m.lam * np.log(p / m.prior + Q)).sum(1)),
    "the log ratio subtracted": recursion_04(v=lambda m, p, Q: (p * (Q - m.lam * np.log(p / m.prior))).sum(1)),
    "the temperature left out": recursion_04(v=lambda m, p, Q: (p * (np.log(p / m.prior) + Q)).sum(1)),
    "the discount left out": recursion_04(q=lambda m, V: m.costs + V[m.next_state]),
    "the value of the same state in place of the next one's":
        recursion_04(q=lambda m, V: m.costs + m.gamma * V[:, None]),
}


# Eq. 5

def check_05(objective):
    """The recursion of Eq. 4 over every prefix of actions, H = 3, γ = 1, for an arbitrary joint distribution."""
    m, H = small_mdp(seed=4, gamma=1.0, deterministic=True), 3
    Q = np.random.default_rng(0).normal(size=(3, 2))
    joint = np.random.default_rng(1).dirichlet(np.ones(2**H))
    tree = joint.reshape((2,) * H)

    def value(prefix, s):
        total = 0.0
        for a in range(2):
            conditional = tree[*prefix, a].sum() / tree[prefix].sum()
            after = Q[s, a] if len(prefix) == H - 1 else m.costs[s, a] + value((*prefix, a), m.next_state[s, a])
            total += conditional * (m.lam * np.log(conditional / m.prior[s, a]) + after)
        return total

    for s in range(3):
        close(objective(m, s, Q, joint, H), value((), s))


def right_05(m, state, Q, joint, horizon):
    return m.open_loop_objective(state, Q, joint, horizon)


def path(m, state, horizon):
    """(states, actions), each (A^H, H), of every action sequence."""
    actions = m.sequences(horizon)
    states = [np.full(len(actions), state)]
    for a in actions.T[:-1]:
        states.append(m.next_state[states[-1], a])
    return np.stack(states, axis=1), actions


def last_cost_too(m, state, horizon):
    """c(s_{H-1}, a_{H-1}) of every action sequence."""
    s, a = path(m, state, horizon)
    return m.costs[s[:, -1], a[:, -1]]


def first_cost_repeated(m, state, Q, joint, horizon):
    s, a = path(m, state, horizon)
    difference = (horizon - 1) * m.costs[s[:, 0], a[:, 0]] - m.costs[s, a][:, :-1].sum(1)
    return right_05(m, state, Q, joint, horizon) + joint @ difference


def marginals_only(m, state, Q, joint, horizon):
    tree = joint.reshape((2,) * horizon)
    independent = 1.0
    for l in range(horizon):
        marginal = tree.sum(axis=tuple(k for k in range(horizon) if k != l))
        independent = np.multiply.outer(independent, marginal)
    return right_05(m, state, Q, joint, horizon) + m.lam * joint @ np.log(independent.ravel() / joint)


def kl_times(factor):
    def objective(m, state, Q, joint, horizon):
        costs, log_prior = m.sequence_costs(state, Q, horizon)
        return joint @ costs + factor(m) * joint @ (np.log(joint) - log_prior)
    return objective


WRONG_05 = {
    "the sum of costs to H-1, the last step counted twice":
        lambda m, s, Q, joint, H: right_05(m, s, Q, joint, H) + joint @ last_cost_too(m, s, H),
    "the first cost in place of all (its time index lost), as printed after Eq. 6": first_cost_repeated,
    "the log ratio subtracted": kl_times(lambda m: -m.lam),
    "the temperature left out": kl_times(lambda m: 1.0),
    "marginals in place of conditionals in the log ratio": marginals_only,
}


# Eq. 6

def check_06(distribution):
    """A general optimiser on Eq. 5 over all distributions of eight sequences, with the discount in S."""
    m, H, start = small_mdp(seed=6, gamma=0.9, deterministic=True), 3, 1
    Q = np.random.default_rng(2).normal(size=(3, 2))
    s, a = path(m, start, H)
    S = m.costs[s, a][:, :-1] @ [1, 0.9] + 0.9**2 * Q[s[:, -1], a[:, -1]]
    prior = m.prior[s, a].prod(1)

    def objective(logits):
        p = softmax(logits)
        return p @ S + m.lam * p @ np.log(p / prior)

    best = minimize(objective, np.zeros(8), method="BFGS", options={"gtol": 1e-9})
    close(distribution(m, start, Q, H), softmax(best.x), 1e-5)


def right_06(m, state, Q, horizon):
    return m.h_step_boltzmann(state, Q, horizon)[0]


def exponent_06(exponent):
    def distribution(m, state, Q, horizon):
        return softmax(exponent(m, *m.sequence_costs(state, Q, horizon)))
    return distribution


WRONG_06 = {
    "the sign of the exponent": exponent_06(lambda m, S, log_prior: log_prior + S / m.lam),
    "the prior left out": exponent_06(lambda m, S, log_prior: -S / m.lam),
    "the temperature left out": exponent_06(lambda m, S, log_prior: log_prior - S),
    "the normaliser as a plain mean over sequences, without the prior":
        lambda m, *rest: (lambda S, lp: np.exp(lp - S / m.lam) / np.exp(-S / m.lam).mean())(*m.sequence_costs(*rest)),
    "the terminal Q left out": lambda m, s, Q, H: right_06(m, s, 0 * Q, H),
    "the discount of Q left out": lambda m, s, Q, H: right_06(m, s, Q / m.gamma ** (H - 1), H),
}


# Eq. 7

def check_07(free_energy_of):
    """The power H-1 of a matrix, γ = 1, as exp(-V/λ) is linear; with the optimal Q, its principal eigenvector."""
    m = shortest_paths()
    G, Q = one_step_operator(m), np.random.default_rng(3).normal(size=(6, 3))
    z = (m.prior * np.exp(-Q / m.lam)).sum(1)
    for H in (1, 2, 4):
        expected = -m.lam * np.log(np.linalg.matrix_power(G, H - 1) @ z)
        close([free_energy_of(m, s, Q, H) for s in range(6)], expected)
    values, vectors = np.linalg.eig(G)
    z = np.abs(vectors[:, np.argmax(values.real)].real)
    V = -m.lam * np.log(z / z[-1])
    close([free_energy_of(m, s, m.costs + V[m.next_state], 4) for s in range(6)], V)


def right_07(m, state, Q, horizon):
    """The library's two versions: over a table, and `free_energy` of samples, here every sequence once."""
    costs, log_prior = m.sequence_costs(state, Q, horizon)
    sampled = free_energy(costs, m.lam, -np.log(len(costs)) - log_prior)
    close(sampled, m.h_step_boltzmann(state, Q, horizon)[1])
    return sampled


def from_costs_07(formula):
    def free_energy_of(m, state, Q, horizon):
        costs, log_prior = m.sequence_costs(state, Q, horizon)
        return formula(costs, np.exp(log_prior), m.lam)
    return free_energy_of


WRONG_07 = {
    "the sign in front of the logarithm": lambda *args: -right_07(*args),
    "the sign of the exponent": from_costs_07(lambda S, prior, lam: -lam * np.log(prior @ np.exp(S / lam))),
    "λ in front of the logarithm left out": from_costs_07(lambda S, prior, lam: -np.log(prior @ np.exp(-S / lam))),
    "the expected cost under the prior, no logarithm": from_costs_07(lambda S, prior, lam: prior @ S),
    "a sum over sequences in place of the expectation":
        from_costs_07(lambda S, prior, lam: -lam * np.log(np.exp(-S / lam).sum())),
    "the cost of the last step beside Q": lambda m, s, Q, H: right_07(m, s, Q + m.costs, H),
}


# -- one linear-quadratic problem (Eq. 3, 9-17) -------------------------------------------------

LAM, SIGMA, START = 0.6, 0.8, 1.5


def step(x, a):
    return x + 0.5 * a


def cost(states, actions):
    return states[..., 0] ** 2 + 0.1 * actions[..., 0] ** 2


def q(states, actions):
    return cost(states, actions) + 2.0 * step(states, actions)[..., 0] ** 2


def simulate(states, actions, rng):
    return np.concatenate([states[:, None], states[:, None] + 0.5 * np.cumsum(actions, axis=1)], axis=1)


def sequence_cost(A, x, gamma):
    """S of one sequence A (H,), in torch and without the library."""
    total = 0.0
    for l, a in enumerate(A[:-1]):
        total = total + gamma**l * (x**2 + 0.1 * a**2)
        x = x + 0.5 * a
    return total + gamma ** (len(A) - 1) * (x**2 + 0.1 * A[-1] ** 2 + 2 * (x + 0.5 * A[-1]) ** 2)


@cache
def exact(horizon, gamma=0.9, start=START):
    """(mean (H,), covariance (H, H), F) of pi*, which is Gaussian: S is quadratic, by automatic differentiation."""
    zero = torch.zeros(horizon, dtype=torch.float64)

    def S(A):
        return sequence_cost(A, start, gamma)

    M = torch.autograd.functional.hessian(S, zero).numpy()
    b = torch.autograd.functional.jacobian(S, zero).numpy()
    covariance = np.linalg.inv(M / LAM + np.eye(horizon) / SIGMA**2)
    log_determinant = np.linalg.slogdet(np.eye(horizon) + SIGMA**2 * M / LAM)[1]
    F = float(S(zero)) + LAM / 2 * log_determinant - b @ covariance @ b / (2 * LAM)
    return -covariance @ b / LAM, covariance, F


def gaussian(mean, covariance):
    return MultivariateNormal(torch.as_tensor(mean), torch.as_tensor(covariance))


def optimum(horizon=2):
    return gaussian(*exact(horizon)[:2])


def policy(U):
    """pi_U in torch; U = 0 is the prior."""
    return gaussian(U, SIGMA**2 * torch.eye(len(U), dtype=torch.float64))


def settings(horizon, **changes):
    return MPPISettings(**{**dict(horizon=horizon, samples=1, lam=LAM, sigma=SIGMA, gamma=0.9,
                                  action_low=(-99.0,), action_high=(99.0,)), **changes})


def planned(U, noise, terminal=q, iterations=1, **changes):
    """The library's plan from mean U (H,), with the given noise (N, H)."""
    planner = MPPI(settings(len(U), samples=len(noise), **changes), simulate, cost, terminal)
    with patch.object(MPPISettings, "sample_noise", lambda self, batch, rng: noise[None, :, :, None]):
        return planner.plan([START], np.random.default_rng(0), np.reshape(U, (-1, 1)), iterations)


@cache
def even_noise(horizon, samples=2**14):
    """(N, H) low-discrepancy Gaussian noise: averages are good to three digits."""
    return SIGMA * qmc.MultivariateNormalQMC(np.zeros(horizon), seed=0).random(samples)


def no_ratio(actions, U, sigma, time_precision=None):
    return np.zeros(actions.shape[:-2])


def ratio_times(factor):
    return lambda *args: factor * log_density_ratio(*args)


# Eq. 3

def riccati(horizon, gamma, control):
    """Minimising sequence and value of S + control * sum a^2 from START, by dynamic programming over x^2."""
    gains, p = [], None
    for l in reversed(range(horizon)):
        # weight * (x^2 + 0.1 a^2) + control a^2 + following * (x + 0.5 a)^2
        weight = gamma**l
        following = 2.0 * weight if p is None else p
        gain = 0.5 * following / (0.1 * weight + control + 0.25 * following)
        p = weight + following * (1 - 0.5 * gain)
        gains.insert(0, gain)
    x, sequence = START, []
    for gain in gains:
        sequence.append(-gain * x)
        x = x + 0.5 * sequence[-1]
    return np.array(sequence), p * START**2


def check_03(plan):
    """Riccati's recursion: the optimal mean with λKL as a control cost (γ = 1), and S of the best sequence (γ < 1)."""
    H = 3
    found = plan(np.zeros(H), even_noise(H), iterations=12, gamma=1.0)
    close(found.U[:, 0], riccati(H, 1.0, LAM / (2 * SIGMA**2))[0], 5e-3)
    best, value = riccati(H, 0.9, 0.0)
    close(plan(np.zeros(H), best[None], gamma=0.9).costs[0], value)


def later_terminal(states, actions):
    return q(step(states, actions), 0 * actions)


WRONG_03 = {
    "the terminal cost left out": lambda *args, **options: planned(*args, terminal=None, **options),
    "the terminal cost of the state after the last action":
        lambda *args, **options: planned(*args, terminal=later_terminal, **options),
    "KL left out": replaced(mppi, "log_density_ratio", no_ratio, planned),
    "the sign of KL": replaced(mppi, "log_density_ratio", ratio_times(-1), planned),
    "the terminal cost discounted by one step too much": lambda *args, gamma, **options: planned(
        *args, terminal=lambda s, a: gamma * q(s, a), gamma=gamma, **options),
    "the discount left out": lambda *args, gamma, **options: planned(*args, gamma=1.0, **options),
}


# Eq. 8: one action, a cost with two valleys, so that pi* is far from Gaussian

def valleys(a):
    return (a**2 - 1) ** 2 + 0.4 * a


LINE = np.linspace(-6, 6, 4001)


def check_08(best_mean):
    """One Newton step by automatic differentiation on KL(π* || π_u), quadratic in u and integrated on a fine grid."""
    a = torch.from_numpy(LINE)
    log_star = -valleys(a) / LAM - a**2 / (2 * SIGMA**2)
    star = torch.softmax(log_star, 0)

    def kl(u):
        log_policy = -((a - u) ** 2) / (2 * SIGMA**2)
        return (star * (torch.log_softmax(log_star, 0) - log_policy)).sum()

    u = torch.zeros((), dtype=torch.float64)
    newton = u - torch.autograd.functional.jacobian(kl, u) / torch.autograd.functional.hessian(kl, u)
    close(best_mean(), newton, 5e-3)


def right_08():
    planner = MPPI(settings(1, samples=2**14), simulate, cost, lambda s, a: valleys(a[..., 0]))
    with patch.object(MPPISettings, "sample_noise", lambda self, batch, rng: even_noise(1)[None, :, :, None]):
        return planner.plan([START], np.random.default_rng(0), iterations=5).U[0, 0]


def other_direction():
    """argmin over u of KL(π_u || π*)."""
    u = np.linspace(-2, 2, 801)
    expected = valleys(u[:, None] + even_noise(1, 2**10)[:, 0]).mean(1)
    return u[np.argmin(expected / LAM + u**2 / (2 * SIGMA**2))]


WRONG_08 = {
    "KL the other way round": other_direction,
    "the most probable action of π* in place of its mean":
        lambda: LINE[np.argmin(valleys(LINE) / LAM + LINE**2 / (2 * SIGMA**2))],
    "π* without the prior": lambda: softmax(-valleys(LINE) / LAM) @ LINE,
    "the samples' own density left out": replaced(mppi, "log_density_ratio", no_ratio, right_08),
}


# Eq. 9, 10, 12, 13: integrals over H = 2 actions on a grid

EDGE = np.linspace(-6, 6, 241)
GRID = np.stack(np.meshgrid(EDGE, EDGE, indexing="ij"), axis=-1).reshape(-1, 2, 1)  # (N, H, du)
AREA = (EDGE[1] - EDGE[0]) ** 2
MEANS = np.array([[0.0, 0.0], [0.7, -0.4], [-1.5, -1.0]])


@cache
def on_grid():
    """(S, prior probability, probability under π* by the library, F by the library) of every cell."""
    states = np.concatenate([np.full_like(GRID[:, :1], START), step(START, GRID[:, :1])], axis=1)
    S = cost(states[:, 0], GRID[:, 0]) + 0.9 * q(states[:, 1], GRID[:, 1])
    prior = norm.pdf(GRID[..., 0], scale=SIGMA).prod(1) * AREA
    return S, prior, *weights_and_free_energy(S, LAM, -np.log(len(S) * prior))  # each cell is one sample


def ratio(U):
    return log_density_ratio(GRID, U[:, None], SIGMA)


def policy_on_grid(U):
    return norm.pdf(GRID[..., 0], U, SIGMA).prod(1) * AREA


def check_09(kl):
    """The closed form of the KL divergence between two Gaussians (torch)."""
    for U in MEANS:
        close(kl(U), kl_divergence(optimum(), policy(U)), 1e-8)


def right_09(U):
    S, _, star, F = on_grid()
    return star @ ((F - S) / LAM - ratio(U))  # log(π*/prior) = (F - S) / λ


def by_terms_09(formula):
    def kl(U):
        S, prior, star, F = on_grid()
        return formula(star, (F - S) / LAM, ratio(U), U)
    return kl


WRONG_09 = {
    "the second term added": by_terms_09(lambda star, first, second, U: star @ (first + second)),
    "the expectation under the policy":
        by_terms_09(lambda star, first, second, U: policy_on_grid(U) @ (first - second)),
    "the first term left out": by_terms_09(lambda star, first, second, U: -star @ second),
    "the normaliser left out of π*":
        by_terms_09(lambda star, first, second, U: star @ (first - on_grid()[3] / LAM - second)),
}


def check_10(objective):
    """Differences of the closed-form KL (torch), of which it is minus one up to a constant; its maximum, π*'s mean."""
    values = [objective(U) for U in MEANS]
    kl = [float(kl_divergence(optimum(), policy(U))) for U in MEANS]
    close(np.diff(values), -np.diff(kl), 1e-8)
    mean = exact(2)[0]
    assert all(objective(mean) > objective(mean + d) for d in 0.1 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]))


def log_ratio_of_densities(U):
    """log π_U/π̄ from two densities with their normalisers."""
    return (norm.logpdf(GRID[..., 0], U, SIGMA) - norm.logpdf(GRID[..., 0], 0, SIGMA)).sum(1)


def right_10(U):
    return on_grid()[2] @ log_ratio_of_densities(U)


WRONG_10 = {
    "argmin in place of argmax (the sign)": lambda U: -right_10(U),
    "the expectation under the prior": lambda U: on_grid()[1] @ log_ratio_of_densities(U),
    "the expectation under the policy": lambda U: policy_on_grid(U) @ log_ratio_of_densities(U),
    "the density of the policy without its logarithm": lambda U: on_grid()[2] @ (policy_on_grid(U) / AREA),
}


# Eq. 11

def check_11(ratio_and_samples):
    """torch's Gaussian densities, normalisers included; mean and covariance of the drawn sequences."""
    rng, H, sigma = np.random.default_rng(0), 3, np.array([0.5, 2.0])
    U, actions = rng.normal(size=(H, 2)), rng.normal(size=(7, H, 2))
    found, drawn = ratio_and_samples(actions, U, sigma, rng)
    covariance = torch.diag(torch.from_numpy(np.tile(sigma**2, H)))
    flat = torch.from_numpy(actions.reshape(7, -1))
    expected = gaussian(U.ravel(), covariance).log_prob(flat) - gaussian(0 * U.ravel(), covariance).log_prob(flat)
    close(found, expected)
    standard = (drawn - U).reshape(len(drawn), -1) / np.tile(sigma, H)
    close(standard.mean(0), np.zeros(2 * H), 0.05)
    close(np.cov(standard.T), np.eye(2 * H), 0.05)


def right_11(actions, U, sigma, rng):
    s = settings(len(U), samples=20_000, sigma=tuple(sigma), action_low=(-9.0,) * 2, action_high=(9.0,) * 2)
    return log_density_ratio(actions, U, sigma), U + s.sample_noise(1, rng)[0]


def ratio_11(ratio):
    return lambda actions, U, sigma, rng: (ratio(actions, U, sigma), right_11(actions, U, sigma, rng)[1])


WRONG_11 = {
    "the factor 1/2 left out": ratio_11(lambda A, U, s: log_density_ratio(A, U, s / np.sqrt(2))),
    "the sign of the ratio": ratio_11(lambda A, U, s: -log_density_ratio(A, U, s)),
    "the covariance in place of its inverse": ratio_11(lambda A, U, s: log_density_ratio(A, U, 1 / s)),
    "the standard deviation in place of the variance": ratio_11(lambda A, U, s: log_density_ratio(A, U, np.sqrt(s))),
    "the first time step only": ratio_11(lambda A, U, s: log_density_ratio(A[:, :1], U[:1], s)),
    "samples with the variance as their standard deviation":
        lambda A, U, s, rng: (log_density_ratio(A, U, s), right_11(A, U, s**2, rng)[1]),
}


# Eq. 12 and 13

def minus_kl_up_to_a_constant(U):
    return kl_divergence(optimum(), policy(torch.zeros(2, dtype=torch.float64))) - kl_divergence(optimum(), policy(U))


def check_12(objective):
    """The closed-form KL divergence and its gradient by automatic differentiation (torch)."""
    for U in MEANS:
        close(objective(U), minus_kl_up_to_a_constant(torch.from_numpy(U)), 1e-8)
        gradient = [(objective(U + h) - objective(U - h)) / 0.02 for h in 0.01 * np.eye(2)]
        close(gradient, torch.autograd.functional.jacobian(minus_kl_up_to_a_constant, torch.from_numpy(U)), 1e-6)


def right_12(U):
    return on_grid()[2] @ ratio(U)


def by_terms_12(quadratic=lambda U, A: -0.5 * U @ U / SIGMA**2, cross=lambda U, A: A @ U / SIGMA**2):
    return lambda U: on_grid()[2] @ (quadratic(U, GRID[..., 0]) + cross(U, GRID[..., 0]))


WRONG_12 = {
    "the factor 1/2 left out": by_terms_12(quadratic=lambda U, A: -U @ U / SIGMA**2),
    "the sign of the quadratic term": by_terms_12(quadratic=lambda U, A: 0.5 * U @ U / SIGMA**2),
    "the sign of the cross term": by_terms_12(cross=lambda U, A: -A @ U / SIGMA**2),
    "the covariance left out of the cross term": by_terms_12(cross=lambda U, A: A @ U),
    "the action in place of the mean in the quadratic term":
        by_terms_12(quadratic=lambda U, A: -0.5 * (A**2).sum(1) / SIGMA**2),
    "the integral over the prior": lambda U: on_grid()[1] @ ratio(U),
}


def check_13(objective):
    """Value, gradient and Hessian of minus the KL divergence, by automatic differentiation (torch): concave in U."""
    mean = exact(2)[0]
    for U in MEANS:
        at = torch.from_numpy(U)
        close(objective(U, mean), minus_kl_up_to_a_constant(at), 1e-8)
        pairs = [[(objective(U + g + h, mean) - objective(U + g - h, mean) - objective(U - g + h, mean)
                   + objective(U - g - h, mean)) / 4 for h in np.eye(2)] for g in np.eye(2)]
        close(pairs, torch.autograd.functional.hessian(minus_kl_up_to_a_constant, at), 1e-8)
    assert np.linalg.eigvalsh(pairs).max() < 0


def right_13(U, mean):
    return log_density_ratio(mean[None, :, None], U[:, None], SIGMA)[0]  # linear in A: its mean is enough


WRONG_13 = {
    "the factor 1/2 left out": lambda U, mean: (mean @ U - U @ U) / SIGMA**2,
    "the sign of the quadratic term": lambda U, mean: (mean @ U + 0.5 * U @ U) / SIGMA**2,
    "the mean of the prior in place of that of π*": lambda U, mean: right_13(U, 0 * mean),
    "the quadratic term H times too large": lambda U, mean: (mean @ U - 0.5 * len(U) * U @ U) / SIGMA**2,
    "the covariance left out of the second term": lambda U, mean: mean @ U - 0.5 * U @ U / SIGMA**2,
}


# Eq. 14

def check_14(mean_of_optimum):
    """The mean of π*, which is Gaussian here, by completing the square; samples drawn elsewhere, around two means."""
    for U in (np.array([-0.4, 0.3]), np.array([-1.2, -1.0])):
        close(mean_of_optimum(U, even_noise(2)), exact(2)[0], 0.01)


def right_14(U, noise):
    plan = planned(U, noise)
    return boltzmann_weights(plan.costs, LAM, log_density_ratio(plan.actions, U[:, None], SIGMA)) @ plan.actions[..., 0]


def weighted_14(log_ratio):
    def mean(U, noise):
        plan = planned(U, noise)
        return boltzmann_weights(plan.costs, LAM, log_ratio(plan)) @ plan.actions[..., 0]
    return mean


WRONG_14 = {
    "the density ratio left out": weighted_14(lambda plan: 0.0),
    "the ratio upside down": weighted_14(lambda plan: -plan.log_ratio),
    "the ratio counted twice": weighted_14(lambda plan: 2 * plan.log_ratio),
    "the noise in place of the action": lambda U, noise: right_14(U, noise) - U,
    "the plain mean of the samples": lambda U, noise: U + noise.mean(0),
}


# Eq. 15 and 16: against densities and against another implementation of MPPI

@cache
def peer(samples=40):
    """pytorch_mppi after one command: (U before, its noise, its weights, its U), on the same problem."""
    U = torch.tensor([[-0.8], [0.4], [-0.3]], dtype=torch.float64)

    def total(states, actions):  # (1, N, H, 1) -> (1, N)
        return torch.stack([sequence_cost(A, START, 0.9) for A in actions[0, :, :, 0]])[None]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        other = Peer(lambda x, a: step(x, a), lambda x, a: torch.zeros(len(x), dtype=torch.float64), 1,
                     torch.tensor([[SIGMA**2]], dtype=torch.float64), num_samples=samples, horizon=3, lambda_=LAM,
                     terminal_state_cost=total, U_init=U.clone())
        other.command(torch.tensor([START], dtype=torch.float64), shift_nominal_trajectory=False)
    return U[:, 0].numpy(), other.noise[..., 0].numpy(), other.omega.numpy(), other.U[:, 0].numpy()


def check_15(weights):
    """torch's densities, w ∝ π*/π_U; and the weights of pytorch_mppi on the same noise."""
    U, noise, theirs, _ = peer()
    A = torch.from_numpy(U + noise)
    found = weights(U, noise)
    close(found, torch.softmax(optimum(3).log_prob(A) - policy(U).log_prob(A), 0))
    close(found, theirs)


def right_15(U, noise):
    return planned(U, noise).weights


def logits_15(logits):
    return lambda U, noise: softmax(logits(planned(U, noise)))


WRONG_15 = {
    "the sign of the exponent": logits_15(lambda plan: plan.costs / LAM - plan.log_ratio),
    "the temperature left out": logits_15(lambda plan: -plan.costs - plan.log_ratio),
    "the density ratio left out": replaced(mppi, "log_density_ratio", no_ratio, right_15),
    "the ratio upside down": replaced(mppi, "log_density_ratio", ratio_times(-1), right_15),
    "the terminal Q left out": lambda U, noise: planned(U, noise, terminal=lambda s, a: 0 * a[..., 0]).weights,
    "the cost of the last step beside Q":
        lambda U, noise: planned(U, noise, terminal=lambda s, a: q(s, a) + cost(s, a)).weights,
    "Q of the first state in place of the last": lambda U, noise: planned(
        U, noise, terminal=lambda s, a: q(np.full_like(s, START), a)).weights,
}


def check_16(update):
    """pytorch_mppi's next U on the same noise; and the mean of π*, reached from U = 0 with many samples."""
    U, noise, _, theirs = peer()
    close(update(U, noise), theirs)
    close(update(np.zeros(3), even_noise(3)), exact(3)[0], 0.02)


def right_16(U, noise):
    return planned(U, noise).U[:, 0]


def from_plan_16(update):
    def next_mean(U, noise):
        plan = planned(U, noise)
        return update(plan.weights, plan.actions[..., 0], U)
    return next_mean


WRONG_16 = {
    "1/N left out, as printed": from_plan_16(lambda w, A, U: len(w) * w @ A),
    "divided by N once more": from_plan_16(lambda w, A, U: w @ A / len(w)),
    "the weighted noise without U": from_plan_16(lambda w, A, U: w @ (A - U)),
    "the weighted mean added to U": from_plan_16(lambda w, A, U: U + w @ A),
    "the weight of the next sample": from_plan_16(lambda w, A, U: np.roll(w, 1) @ A),
    "the action of the next time step": from_plan_16(lambda w, A, U: np.roll(w @ A, -1)),
}


# Eq. 17

def learner(horizon, terminal, limit=99.0):
    """An MPQ whose terminal Q function is known."""
    task = SimpleNamespace(name="line", state_dim=1, action_dim=1, observation_dim=1,
                           action_low=(-limit,), action_high=(limit,), observe=lambda states: states, cost=cost)
    planner = settings(horizon, samples=2**14, action_low=(-limit,), action_high=(limit,))
    made = MPQ(task, MPQSettings(planner, N=1, T=1), simulate, simulate, seed=0)
    made.target_planner.terminal_q = terminal
    return made


def check_17(targets):
    """The Gaussian integral in closed form, H = 3 and H = 1; quadrature where the actuator clips."""
    states, costs, following = np.array([[0.3], [-0.8]]), np.array([2.0, 5.0]), np.array([[1.0], [-2.0]])
    for H in (3, 1):
        F = [exact(H, 0.9, float(x))[2] for x in following[:, 0]]
        close(targets(learner(H, q), states, costs, following), costs + 0.9 * np.array(F), 0.02)
    limit, terminal = 0.5, lambda s, a: 2 * (a[..., 0] - 1.0) ** 2

    def integrand(a):
        return norm.pdf(a, scale=SIGMA) * np.exp(-2 * (np.clip(a, -limit, limit) - 1) ** 2 / LAM)

    eta = quad(integrand, -8, 8, points=(-limit, limit))[0]
    close(targets(learner(1, terminal, limit), states, costs, following), costs - 0.9 * LAM * np.log(eta), 0.02)


def right_17(mpq, states, costs, following):
    return mpq.targets(costs, following)


def without_the_square(actions, U, sigma, time_precision=None):
    return log_density_ratio(actions, U, sigma) + 0.5 * (U**2).sum(axis=(-2, -1))[..., None] / sigma**2


def at_the_clipped_action(actions, U, sigma, time_precision=None):
    return log_density_ratio(actions.clip(-0.5, 0.5), U, sigma)


def expected_cost(mpq, states, costs, following):
    plan = mpq.target_planner.plan(following, mpq.rng)
    return costs + 0.9 * (plan.costs + LAM * plan.log_ratio).mean(1)


WRONG_17 = {
    "the sign in front of the logarithm": lambda mpq, s, c, following: 2 * c - right_17(mpq, s, c, following),
    "the discount left out": lambda mpq, s, c, following: c + (right_17(mpq, s, c, following) - c) / 0.9,
    "λ in front of the logarithm left out": lambda mpq, s, c, following: c + (right_17(mpq, s, c, following) - c) / LAM,
    "the cost of the step left out": lambda mpq, s, c, following: right_17(mpq, s, 0 * c, following),
    "the free energy of the state before the step": lambda mpq, s, c, following: right_17(mpq, s, c, s),
    "the log density ratio left out": replaced(mppi, "log_density_ratio", no_ratio, right_17),
    "the square of the mean left out of it (no weight changes)":
        replaced(mppi, "log_density_ratio", without_the_square, right_17),
    "the expected cost in place of the free energy": expected_cost,
    "the density taken at the clipped action": replaced(mppi, "log_density_ratio", at_the_clipped_action, right_17),
}


# -- all of them --------------------------------------------------------------------------------

@dataclass(frozen=True)
class Equation:
    """An equation of the paper, where the book has it, its check, the library's version and wrong ones."""

    number: int
    chapter: str
    check: Callable
    right: Callable
    wrong: dict[str, Callable]

    @property
    def anchor(self):
        return f"eq-{self.number:02d}"


EQUATIONS = [
    Equation(1, "02-entropy-regularised-rl", check_01, right_01, WRONG_01),
    Equation(2, "02-entropy-regularised-rl", check_02, right_02, WRONG_02),
    Equation(3, "03-information-theoretic-mpc", check_03, planned, WRONG_03),
    Equation(4, "04-h-step-boltzmann", check_04, right_04, WRONG_04),
    Equation(5, "04-h-step-boltzmann", check_05, right_05, WRONG_05),
    Equation(6, "04-h-step-boltzmann", check_06, right_06, WRONG_06),
    Equation(7, "04-h-step-boltzmann", check_07, right_07, WRONG_07),
    Equation(8, "05-mppi-update", check_08, right_08, WRONG_08),
    Equation(9, "05-mppi-update", check_09, right_09, WRONG_09),
    Equation(10, "05-mppi-update", check_10, right_10, WRONG_10),
    Equation(11, "05-mppi-update", check_11, right_11, WRONG_11),
    Equation(12, "05-mppi-update", check_12, right_12, WRONG_12),
    Equation(13, "05-mppi-update", check_13, right_13, WRONG_13),
    Equation(14, "05-mppi-update", check_14, right_14, WRONG_14),
    Equation(15, "05-mppi-update", check_15, right_15, WRONG_15),
    Equation(16, "05-mppi-update", check_16, right_16, WRONG_16),
    Equation(17, "06-free-energy-targets", check_17, right_17, WRONG_17),
]


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.anchor)
def test_equation(equation):
    equation.check(equation.right)


@pytest.mark.parametrize("equation, variant", [(e, text) for e in EQUATIONS for text in e.wrong],
                         ids=[f"{e.anchor}-{k}" for e in EQUATIONS for k in range(len(e.wrong))])
def test_wrong_variant_is_caught(equation, variant):
    try:
        equation.check(equation.wrong[variant])
    except AssertionError as error:
        assert "Mismatched elements" in str(error), "it fails for its shape or for NaN, and not for its values"
    else:
        pytest.fail(f"the check of Eq. {equation.number} passes with: {variant}")


def rows():
    return [{"eq": e.number, "chapter": e.chapter, "anchor": e.anchor,
             "check": f"tests/test_equations.py::test_equation[{e.anchor}]",
             "wrong_variants": list(e.wrong)} for e in EQUATIONS]


def test_all_seventeen_with_at_least_two_wrong_variants():
    assert [e.number for e in EQUATIONS] == list(range(1, 18))
    assert all(len(e.wrong) >= 2 for e in EQUATIONS)


def test_the_stored_list_is_this_one():
    stored = json.loads((ROOT / "data/equations.json").read_text())
    assert stored == rows(), "run: python tests/test_equations.py"


if __name__ == "__main__":
    (ROOT / "data/equations.json").write_text(json.dumps(rows(), indent=1, ensure_ascii=False) + "\n")
