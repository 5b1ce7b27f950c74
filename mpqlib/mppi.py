"""Infinite-horizon MPPI: the planner of Eq. 3 and Eq. 8-16.

The planner sees the world as two callables, `simulate` and `cost`, and optionally a
terminal Q function.  It keeps no state: the mean U goes in and comes out, so that
a warm start, a batch of start states and an exact resume need nothing special.
"""

from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real

import numpy as np

from mpqlib.boltzmann import (check_temperature, effective_sample_size, log_density_ratio,
                              weights_and_free_energy)

DIVERGED_COST = 1e9  # of a sample whose simulation or cost is not finite: it gets no weight


@dataclass(frozen=True)
class MPPISettings:
    """Settings of the planner, checked when they are made.

    Args:
        horizon: number of actions H in the plan, >= 1.
        samples: number of sampled action sequences N, >= 1.
        lam: temperature, in the unit of cost, > 0.
        sigma: standard deviation of the sampled actions, > 0; scalar or one per dimension,
            in the unit of the action.
        action_low, action_high: (du,) actuator range; samples are clipped to it on the way
            to the simulator, while their density is taken before clipping.
        beta: correlation of the noise between neighbouring steps (an AR(1) process),
            0 <= beta < 1; the prior has the same covariance.
        iterations: updates of U (Eq. 16) per call, >= 1, each with fresh noise.
        step_size: U moves this fraction of the way to the weighted mean, in (0, 1].
        gamma: discount factor in (0, 1].

    Raises:
        ValueError: naming the setting, its value and what is allowed.
    """

    horizon: int
    samples: int
    lam: float
    sigma: float | tuple[float, ...]
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    beta: float = 0.0
    iterations: int = 1
    step_size: float = 1.0
    gamma: float = 1.0

    def __post_init__(self):
        check_temperature(self.lam)
        for name in ("horizon", "samples", "iterations"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be an integer >= 1")
        for name, allowed, inside in (("beta", "[0, 1)", lambda x: 0 <= x < 1),
                                      ("step_size", "(0, 1]", lambda x: 0 < x <= 1),
                                      ("gamma", "(0, 1]", lambda x: 0 < x <= 1)):
            value = getattr(self, name)
            if not (isinstance(value, Real) and inside(value)):
                raise ValueError(f"{name} is {value!r}; it must lie in {allowed}")
        low, high = np.asarray(self.action_low, float), np.asarray(self.action_high, float)
        if not (low.ndim == 1 and low.size >= 1 and low.shape == high.shape and (low < high).all()):
            raise ValueError(f"action range is {self.action_low} to {self.action_high}; "
                             "both must be (du,) with low < high")
        if np.shape(self.sigma) not in ((), low.shape):
            raise ValueError(f"sigma has {np.size(self.sigma)} values; it must be a scalar or one per action dimension ({low.size})")
        if not (np.isfinite(self.sigma).all() and (np.asarray(self.sigma) > 0).all()):
            raise ValueError(f"sigma is {self.sigma}; it must be finite and > 0, or the covariance is not positive definite")

    @property
    def action_dim(self) -> int:
        return len(self.action_low)

    @cached_property
    def correlation(self):
        """(H, H) correlation over time of AR(1) noise, beta^|i-j|; None when it is the identity."""
        steps = np.arange(self.horizon)
        return self.beta ** np.abs(steps[:, None] - steps) if self.beta else None

    @cached_property
    def _noise_factor(self):
        return None if self.correlation is None else np.linalg.cholesky(self.correlation).T

    @cached_property
    def _time_precision(self):
        return None if self.correlation is None else np.linalg.inv(self.correlation)

    def sample_noise(self, batch: int, rng):
        """(batch, N, H, du) noise of standard deviation sigma, correlated over time if beta > 0."""
        noise = rng.standard_normal((batch, self.samples, self.action_dim, self.horizon))
        if self._noise_factor is not None:  # one matrix product for all samples
            noise = (noise.reshape(-1, self.horizon) @ self._noise_factor).reshape(noise.shape)
        return noise.swapaxes(-1, -2) * self.sigma


@dataclass(frozen=True)
class Plan:
    """What one call of the planner found; a leading (K,) axis for a batch of K start states.

    Attributes:
        U: (H, du) the new mean; U[0] is executed, after clipping.
        actions: (N, H, du) samples of the last iteration, before clipping.
        costs: (N,) their costs S, terminal value included, control cost not.
        log_ratio: (N,) log(pi_U / prior) of each sample under the mean it was drawn from.
        weights: (N,) self-normalised weights w (Eq. 15).
        ess: () effective sample size of the weights, 1 to N.
        free_energy: () estimate of the soft value of the start state (Eq. 7, 17),
            from the samples of the last iteration, in the unit of cost.
        states: (N, H, ns) simulated states of the last iteration, the start state first;
            NaN from where a simulation diverged.
        diverged: () samples of the last iteration without a finite cost.
    """

    U: np.ndarray
    actions: np.ndarray
    costs: np.ndarray
    log_ratio: np.ndarray
    weights: np.ndarray
    ess: np.ndarray
    free_energy: np.ndarray
    states: np.ndarray
    diverged: np.ndarray

    def __getitem__(self, k) -> "Plan":
        """The plan of start state k of a batch."""
        return Plan(**{name: value[k] for name, value in vars(self).items()})


class MPPI:
    """Infinite-horizon MPPI; without a terminal Q function it is vanilla MPPI.

    Args:
        settings: an `MPPISettings`.
        simulate: `simulate(states (B, ns), actions (B, H, du), rng) -> (B, H + 1, ns)`.
        cost: `cost(states (..., ns), actions (..., du)) -> (...)`.
        terminal_q: `terminal_q(states (B, ns), actions (B, du)) -> (B,)`, or None, when the
            cost of the last step stands in its place.
    """

    def __init__(self, settings, simulate, cost, terminal_q=None):
        self.settings, self.simulate, self.cost, self.terminal_q = settings, simulate, cost, terminal_q
        self._low, self._high = np.array(settings.action_low), np.array(settings.action_high)
        self._discount = settings.gamma ** np.arange(settings.horizon)

    def initial_plan(self, batch: int | None = None):
        """The mean of the prior, U = 0: (H, du), or (batch, H, du)."""
        shape = (self.settings.horizon, self.settings.action_dim)
        return np.zeros(shape if batch is None else (batch, *shape))

    def shift(self, U):
        """Warm start for the next step: drop the executed action, append the prior's mean 0."""
        return np.concatenate([U[..., 1:, :], np.zeros_like(U[..., :1, :])], axis=-2)

    def execute(self, U):
        """The action to execute: the mean of the first step, clipped to the actuator range."""
        return U[..., 0, :].clip(self._low, self._high)

    def plan(self, state, rng, U=None, iterations=None) -> Plan:
        """Update the mean U by Eq. 16 from the given state.

        Args:
            state: (ns,) start state, or (K, ns) for K independent plans in one call.
            rng: numpy Generator; each iteration draws fresh noise from it.
            U: (H, du) or (K, H, du) mean to start from; None for the prior's mean.
            iterations: number of updates, instead of settings.iterations.

        Returns:
            A `Plan`, batched as the state is.

        Raises:
            ValueError: if the state is not finite or a shape is wrong, that of the costs among them.
            FloatingPointError: if no sample of a plan has a finite cost; single ones without one,
                of diverged physics, count as `DIVERGED_COST`.
        """
        s = self.settings
        states = np.asarray(state, float)
        single = states.ndim == 1
        states = np.atleast_2d(states)
        if states.ndim != 2 or not np.isfinite(states).all():
            raise ValueError(f"state is {state}; it must be finite, of shape (ns,) or (K, ns)")
        K = len(states)
        U = self.initial_plan(K) if U is None else np.asarray(U, float).reshape(-1, *np.shape(U)[-2:])
        if U.shape != (K, s.horizon, s.action_dim) or not np.isfinite(U).all():
            raise ValueError(f"U has shape {U.shape} or is not finite; {K} state(s) need (K, H, du) = "
                             f"{(K, s.horizon, s.action_dim)}, finite")
        starts = states.repeat(s.samples, axis=0)  # (K * N, ns)
        for _ in range(s.iterations if iterations is None else iterations):
            actions = U[:, None] + s.sample_noise(K, rng)  # (K, N, H, du), A_n ~ pi_U
            costs, visited = self._sequence_costs(starts, actions, rng)  # (K, N)
            log_ratio = log_density_ratio(actions, U, s.sigma, s._time_precision)  # (K, N)
            weights, free_energy = weights_and_free_energy(costs, s.lam, log_ratio)
            mean = weights[:, None] @ actions.reshape(K, s.samples, -1)  # (K, 1, H * du)
            U = U + s.step_size * (mean.reshape(U.shape) - U)  # Eq. 16
        plan = Plan(U, actions, costs, log_ratio, weights, effective_sample_size(weights), free_energy,
                    visited.reshape(K, s.samples, s.horizon, -1), (costs == DIVERGED_COST).sum(axis=1))
        return plan[0] if single else plan

    def _sequence_costs(self, starts, actions, rng):
        """S of each sequence: discounted costs of H - 1 steps, then Q (or the last cost)."""
        s = self.settings
        clipped = np.minimum(actions.reshape(-1, s.horizon, s.action_dim), self._high)
        np.maximum(clipped, self._low, out=clipped)  # np.clip takes three times as long on small arrays
        visited = self.simulate(starts, clipped[:, :-1], rng) if s.horizon > 1 else starts[:, None]
        if self.terminal_q is None:
            costs = self._stage_costs(visited, clipped) @ self._discount
        else:
            costs = self._discount[-1] * self.terminal_q(visited[:, -1], clipped[:, -1])
            if s.horizon > 1:
                costs = costs + self._stage_costs(visited[:, :-1], clipped[:, :-1]) @ self._discount[:-1]
        finite = np.isfinite(costs + visited[:, -1].sum(axis=-1))  # a sparse cost may not see a NaN in its state
        if not finite.all():  # diverged physics
            if not finite.reshape(len(actions), -1).any(axis=1).all():
                raise FloatingPointError(f"none of the {s.samples} sampled costs of a plan is finite; the simulator, the cost "
                                         "or the terminal Q function diverged")
            costs = np.where(finite, costs, DIVERGED_COST)
        return costs.reshape(len(actions), s.samples), visited

    def _stage_costs(self, states, actions):
        costs = self.cost(states, actions)
        if np.shape(costs) != states.shape[:-1]:
            raise ValueError(f"cost returned an array of shape {np.shape(costs)} for states {states.shape} and actions "
                             f"{actions.shape}; it must be {states.shape[:-1]}, vectorised over the leading axes")
        return costs


def receding_horizon(planner, system, starts, steps, rng, noise=None, with_plans=False):
    """Closed-loop control: plan, execute the first action, warm-start the next plan.

    K systems run in lockstep, one batched plan per time step.

    Args:
        planner: an `MPPI`.
        system: `simulate(states, actions, rng)` of the system acted upon.
        starts: (K, ns) start states.
        steps: number of control steps.
        rng: numpy Generator.
        noise: (steps, K, du) or (steps, 1, du) added to the actions before they are clipped and
            executed, to explore; None for none.
        with_plans: yield the warm-started means (K, H, du) for the next states too.

    Yields:
        (states (K, ns), actions (K, du), costs (K,), next_states (K, ns)), once per step.
    """
    states, U = np.asarray(starts, float), planner.initial_plan(len(starts))
    for t in range(steps):
        U = planner.plan(states, rng, U).U
        actions = planner.execute(U if noise is None else U[:, :1] + noise[t, :, None])
        next_states = system(states, actions[:, None], rng)[:, 1]
        costs, U = planner.cost(states, actions), planner.shift(U)
        yield (states, actions, costs, next_states, U) if with_plans else (states, actions, costs, next_states)
        states = next_states
