"""Checks of chapter 5, the MPPI update."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from mpqlib.exercises import Exercise
from mpqlib.tasks import PendulumSwingup

_rng = np.random.default_rng(55)
_U, _A = _rng.normal(size=(3, 2)), _rng.normal(size=(6, 3, 2))
_COSTS, _RATIO = _rng.uniform(0, 3, 6), _rng.normal(size=6)


def _mean(weights, A):
    return np.einsum("n,nhd->hd", weights, A)


def _temperature(costs, wanted, size=lambda w: 1 / np.sum(w**2)):
    spread = np.log(np.std(costs))
    return np.exp(brentq(lambda x: size(softmax(-costs / np.exp(x))) - wanted, spread - 12, spread + 12, xtol=1e-13))


def _sorted(both, weights):
    """Letter -> (weights right?, free energy right?), for the letters in `both`, in `weights`, and the rest."""
    return lambda letter: (letter in both + weights, letter in both)


def _perplexity(w):
    w = w[w > 0]
    return np.exp(-np.sum(w * np.log(w)))


H = 32  # of the planner that swings up


def _swing_up(improve, starts=20, wanted=14, steps=120):
    """None if `improve` makes a planner that swings the pendulum up, else what it does instead."""
    if said := _probe(improve):
        return said
    task, rng = PendulumSwingup(), np.random.default_rng(57)
    system = task.true_system()
    up = down = 0
    for state in task.reset(starts, rng):
        U, held = np.zeros((H, 1)), 0
        for _ in range(steps):
            def S(A):
                A = _sequences(A)
                torque = A.clip(*task.action_low, *task.action_high)
                visited = system(np.tile(state, (len(A), 1)), torque, None)
                return task.cost(visited[:, :-1], torque).sum(axis=1)

            U = np.asarray(improve(U, S, rng), float)
            if U.shape != (H, 1) or not np.isfinite(U).all():
                return f"after some steps your new mean is not a finite array of shape ({H}, 1) any more"
            torque = U[:1].clip(task.action_low, task.action_high)
            state = system(state[None], torque[None], None)[0, -1]
            U = np.concatenate([U[1:], np.zeros((1, 1))])
            held = held + 1 if abs(task.angle(state)) < task.upright else 0
            if held == task.held_steps:
                break
        up, down = up + (held == task.held_steps), down + (held < task.held_steps)
        if down > starts - wanted:
            return (f"after {steps * task.dt:.0f} s the rod stood in {up} of {up + down} starts, and {wanted} of "
                    f"{starts} are asked for: try another number of samples, temperature or noise")


def _sequences(A):
    A = np.asarray(A, float)
    if A.ndim != 3 or A.shape[1:] != (H, 1):
        raise ValueError(f"S takes action sequences of shape (N, {H}, 1), and got {A.shape}")
    return A


def _probe(improve):
    """What a straight slope tells about one update: None, or what is wrong."""
    rng = np.random.default_rng(56)
    U, slope = 0.7 * np.sign(rng.normal(size=(H, 1))), 10 * rng.normal(size=(H, 1)) / np.sqrt(H)
    slope -= U * np.sum(U * slope) / np.sum(U * U)  # so that a pull towards zero, by the control cost, changes no cost
    asked = []

    def S(A):
        asked.append(_sequences(A).copy())
        return np.sum(asked[-1] * slope, axis=(1, 2))

    new = np.asarray(improve(U.copy(), S, rng), float)
    if not asked:
        return "S was never called: what the samples cost must decide."
    A, costs = asked[0], np.sum(asked[-1] * slope, axis=(1, 2))
    if np.ptp(A, axis=0).max() == 0:
        return "All your samples are the same: add noise from rng to the mean."
    if np.linalg.norm(A.mean(axis=0)) < np.linalg.norm(A.mean(axis=0) - U):
        return "Your samples lie around zero, not around U: what was learnt in the step before is lost."
    if np.allclose(new, U):
        return "The mean comes back as it was."
    seen = np.concatenate([*asked, U[None]])
    if (new < seen.min(axis=0) - 1e-9).any() or (new > seen.max(axis=0) + 1e-9).any():
        return "The new mean lies outside of its samples: do the weights sum to one?"
    if np.allclose(new, asked[-1].mean(axis=0)):
        return "That is the plain average of the samples: weight them by what they cost."
    if np.sum(new * slope) > costs.mean() + costs.std():
        return "The new mean is dearer than its samples: check the sign of the costs."


def _improved(weigh, around=1.0, N=100, sigma=2.0, lam=1.0):
    """One update with weights `weigh(costs / lam, log ratio)` of samples around `around` times U."""
    def improve(U, S, rng):
        A = around * U + sigma * rng.standard_normal((N, *U.shape))
        return _mean(weigh(S(A) / lam, np.sum(U * A - 0.5 * U**2, axis=(1, 2)) / sigma**2), A)
    return improve


EXERCISES = (
    Exercise(
        name="ex5-ratio",
        reference=lambda a, u, sigma, lam: lam * np.sum(u * a - 0.5 * u**2) / sigma**2,
        inputs=((np.array([1.0, -0.4, 2.0]), np.array([0.5, 0.3, 1.1]), 2.0, 0.3),
                (np.array([0.2, 0.7]), np.array([-1.0, 0.4]), 0.5, 1.5)),
        mistakes={
            "Did you forget -u^2 / 2? The weights would not notice, the free energy does.":
                lambda a, u, sigma, lam: lam * np.sum(u * a) / sigma**2,
            "That is u a - u^2. Did you forget the factor 1/2, or, if you wrote u (a - u), the term + u^2 / 2?":
                lambda a, u, sigma, lam: lam * np.sum(u * a - u**2) / sigma**2,
            "With the action a the half has a minus sign; the plus sign goes with the noise a - u.":
                lambda a, u, sigma, lam: lam * np.sum(u * a + 0.5 * u**2) / sigma**2,
            "With the noise a - u the half has a plus sign; the minus sign goes with the action a.":
                lambda a, u, sigma, lam: lam * np.sum(u * (a - u) - 0.5 * u**2) / sigma**2,
            "Did you divide by sigma? Sigma^-1 is 1 / sigma^2.":
                lambda a, u, sigma, lam: lam * np.sum(u * a - 0.5 * u**2) / sigma,
            "Did you forget to divide by sigma^2?":
                lambda a, u, sigma, lam: lam * np.sum(u * a - 0.5 * u**2),
            "Did you forget lam? The log ratio is a number, the control cost a cost.":
                lambda a, u, sigma, lam: np.sum(u * a - 0.5 * u**2) / sigma**2,
            "The ratio is upside down: a sample pays for leaning the way the mean does.":
                lambda a, u, sigma, lam: -lam * np.sum(u * a - 0.5 * u**2) / sigma**2,
            "Is there a mean over the steps where the sum belongs?":
                lambda a, u, sigma, lam: lam * np.mean(u * a - 0.5 * u**2) / sigma**2,
        },
    ),
    Exercise(
        name="ex5-update",
        reference=lambda A, costs, log_ratio, lam: _mean(softmax(-costs / lam - log_ratio), A),
        inputs=((_A, _COSTS, _RATIO, 0.5), (_A + _U, 3 * _COSTS, -_RATIO, 2.0)),
        mistakes={
            "N times too large: eta is a mean and the update a sum, as printed.":
                lambda A, costs, log_ratio, lam: len(A) * _mean(softmax(-costs / lam - log_ratio), A),
            "Did you forget the log ratio? That is right only for samples of the prior.":
                lambda A, costs, log_ratio, lam: _mean(softmax(-costs / lam), A),
            "Check the sign of the log ratio: what pi_U proposes too often must count less.":
                lambda A, costs, log_ratio, lam: _mean(softmax(-costs / lam + log_ratio), A),
            "Is the log ratio divided by lam? It is a pure number, only the costs are divided.":
                lambda A, costs, log_ratio, lam: _mean(softmax(-(costs + log_ratio) / lam), A),
            "Check the sign of the costs: dear samples have the largest weights.":
                lambda A, costs, log_ratio, lam: _mean(softmax(costs / lam - log_ratio), A),
            "Did you forget to normalise the weights?":
                lambda A, costs, log_ratio, lam: _mean(np.exp(-costs / lam - log_ratio), A),
            "Did you forget lam? It divides the costs.":
                lambda A, costs, log_ratio, lam: _mean(softmax(-costs - log_ratio), A),
            "That is the plain average: weight the samples.":
                lambda A, costs, log_ratio, lam: A.mean(axis=0),
            "That is the best sample: Eq. 16 averages.":
                lambda A, costs, log_ratio, lam: A[np.argmin(costs)],
        },
        points=2,
    ),
    Exercise(
        name="ex5-control-cost",
        reference=_sorted("c", "abf"),
        inputs=tuple((letter,) for letter in "abcdef"),
        mistakes={
            "(c) is right. A multiple of u^2 does not matter for the weights: which others differ only by that?":
                _sorted("c", ""),
            "Compare (f) with (a): they differ by a multiple of u^2 as well.":
                _sorted("c", "ab"),
            "(d) has the wrong sign: a sample that leans the way the mean does must pay, not gain.":
                _sorted("c", "abdf"),
            "(e) lacks lam: it is right for lam = 1 only.":
                _sorted("c", "abef"),
            "The weights are right. (a) lacks - u^2 / 2, which the free energy notices.":
                _sorted("ac", "bf"),
            "The weights are right. The half counts for the free energy: (a) lacks it, and (c) does not.":
                _sorted("a", "bcf"),
            "The weights are right. (b) lacks + u^2 / 2, which the free energy notices.":
                _sorted("bc", "af"),
            "The weights are right. The half counts for the free energy: (b) lacks it, and (c) does not.":
                _sorted("b", "acf"),
            "The weights are right. (f) has the sign of the half that belongs to the noise, with the action.":
                _sorted("cf", "ab"),
            "The weights are right. With the action the half has a minus sign: it is (c), not (f), that has it right.":
                _sorted("f", "abc"),
            "The weights are right. One term is lam log(pi_U / prior) in full: put a = u + epsilon into (5.4).":
                _sorted("", "abcf"),
            "The weights are right, but the free energy is not immune to constants.":
                _sorted("abcf", ""),
        },
    ),
    Exercise(
        name="ex5-temperature",
        reference=_temperature,
        inputs=((_rng.uniform(0, 10, 50), 10.0), (100 + _rng.exponential(3.0, 200), 20.0)),
        mistakes={
            "That is 1 / lam, the inverse temperature.":
                lambda costs, wanted: 1 / _temperature(costs, wanted),
            "That is the perplexity exp(entropy); the effective sample size is 1 / sum of w^2.":
                lambda costs, wanted: _temperature(costs, wanted, _perplexity),
            "Did you forget the square? 1 / max(w) is another count, the effective sample size is 1 / sum of w^2.":
                lambda costs, wanted: _temperature(costs, wanted, lambda w: 1 / w.max()),
            "That is the temperature in units of std(S): multiply by it.":
                lambda costs, wanted: _temperature(costs, wanted) / np.std(costs),
        },
        points=2,
        rtol=1e-3,
    ),    Exercise(
        name="ex5-swing-up",
        reference=_improved(lambda x, ratio: softmax(-x - ratio)),
        inputs=((np.ones((H, 1)), lambda A: np.sum(_sequences(A)**2, axis=(1, 2)), np.random.default_rng(5)),),
        trial=_swing_up,
        mistakes={
            "S was never called: what the samples cost must decide.":
                lambda U, S, rng: U + rng.standard_normal(U.shape),
            "All your samples are the same: add noise from rng to the mean.":
                lambda U, S, rng: (S(np.array([U] * 9)), 0.9 * U)[1],
            "Your samples lie around zero, not around U: what was learnt in the step before is lost.":
                _improved(lambda x, ratio: softmax(-x), around=0.0),
            "The mean comes back as it was.":
                lambda U, S, rng: (S(U + rng.standard_normal((9, *U.shape))), U)[1],
            "The new mean lies outside of its samples: do the weights sum to one?":
                _improved(lambda x, ratio: 100 * softmax(-x - ratio)),
            "That is the plain average of the samples: weight them by what they cost.":
                _improved(lambda x, ratio: np.full(len(x), 1 / len(x))),
            "The new mean is dearer than its samples: check the sign of the costs.":
                _improved(lambda x, ratio: softmax(x - ratio)),
        },
        points=3,
    ),
)
