"""Small tabular MDPs on which Eq. 1-7 can be computed exactly.

States and actions are integers, costs a table, and every expectation a finite sum:
the independent answers against which the sampled and continuous versions are held.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from scipy.special import logsumexp

from mpqlib.boltzmann import check_temperature


@dataclass(frozen=True)
class SoftMDP:
    """A finite MDP with costs, a prior policy and a temperature.

    Args:
        costs: (S, A) cost c(s, a).
        transitions: (S, A, S) probabilities P(s' | s, a).
        prior: (S, A) prior policy, each row > 0 and summing to 1.
        lam: temperature, in the unit of cost, > 0.
        gamma: discount factor, 0 < gamma <= 1.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """

    costs: np.ndarray
    transitions: np.ndarray
    prior: np.ndarray
    lam: float
    gamma: float

    def __post_init__(self):
        check_temperature(self.lam)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma}; it must lie in (0, 1]")
        S, A = np.shape(self.costs)
        if np.shape(self.transitions) != (S, A, S):
            raise ValueError(f"transitions have shape {np.shape(self.transitions)}; costs (S, A) = {(S, A)} need {(S, A, S)}")
        if np.shape(self.prior) != (S, A):
            raise ValueError(f"prior has shape {np.shape(self.prior)}; it must be (S, A) = {(S, A)}")
        if not (np.allclose(np.sum(self.transitions, -1), 1) and np.min(self.transitions) >= 0):
            raise ValueError("each transitions[s, a] must be a distribution: non-negative, summing to 1")
        if not (np.allclose(np.sum(self.prior, -1), 1) and np.min(self.prior) > 0):
            raise ValueError("each prior[s] must be a distribution with all probabilities > 0, summing to 1")

    @classmethod
    def random(cls, states: int, actions: int, lam: float, gamma: float, rng, deterministic=True):
        """An MDP with costs U(0, 1), a random prior and random (deterministic) transitions."""
        if deterministic:
            transitions = np.eye(states)[rng.integers(states, size=(states, actions))]
        else:
            transitions = rng.dirichlet(np.ones(states), size=(states, actions))
        return cls(rng.uniform(size=(states, actions)), transitions,
                   rng.dirichlet(np.full(actions, 5.0), size=states), lam, gamma)

    @classmethod
    def lake(cls, lam: float, gamma: float, current: float = 0.0, rows: int = 4, columns: int = 8, weir: float = 20.0):
        """A boat on a lake above a weir: the grid world of chapters 2 and 3, costs in minutes.

        State row * columns + column, row 0 in the north.  Actions north, east, south, west, a minute
        each, with a uniform prior; a move into a bank leaves the boat where it is.  South of the last
        row lies the weir: `weir` minutes more, and back to the start, the last row's west end.
        The last state, its east end, is the jetty: free of cost, and never left.

        Args:
            current: probability that a move ends one row further south, 0 <= current <= 1.
            weir: minutes lost by going over the weir.
        """
        if not 0 <= current <= 1:
            raise ValueError(f"current is {current}; it is a probability and must lie in [0, 1]")
        S = rows * columns
        start, jetty = S - columns, S - 1
        costs, transitions = np.ones((S, 4)), np.zeros((S, 4, S))
        costs[jetty], transitions[jetty, :, jetty] = 0.0, 1.0
        for s in range(jetty):
            for a, (down, right) in enumerate([(-1, 0), (0, 1), (1, 0), (0, -1)]):
                for push, probability in ((0, 1 - current), (1, current)):
                    row = max(s // columns + down + push, 0)
                    column = min(max(s % columns + right, 0), columns - 1)
                    over = row >= rows
                    transitions[s, a, start if over else row * columns + column] += probability
                    costs[s, a] += probability * weir * over
        return cls(costs, transitions, np.full((S, 4), 0.25), lam, gamma)

    @cached_property
    def next_state(self):
        """(S, A) integer table of next states; ValueError if the dynamics are not deterministic."""
        if not np.all(np.max(self.transitions, -1) == 1):
            raise ValueError("the transitions are stochastic; Eq. 4-7 assume deterministic dynamics")
        return np.argmax(self.transitions, -1)

    # -- Eq. 1-2: closed-loop policies --------------------------------------------------------

    def kl(self, policy):
        """(S,) KL(policy(.|s) || prior(.|s)) in nats, for policy (S, A)."""
        log_ratio = np.log(policy, where=policy > 0, out=np.zeros_like(policy)) - np.log(self.prior)
        return (policy * log_ratio).sum(-1)

    def evaluate(self, policy):
        """Soft values (V (S,), Q (S, A)) of a policy (S, A), by one linear solve (Eq. 2).

        V = sum_a pi(a|s) c(s, a) + lam KL + gamma P_pi V; for gamma < 1.
        """
        P_pi = np.einsum("sa,sat->st", policy, self.transitions)
        stage = (policy * self.costs).sum(-1) + self.lam * self.kl(policy)
        V = np.linalg.solve(np.eye(len(stage)) - self.gamma * P_pi, stage)
        return V, self.q_from_v(V)

    def q_from_v(self, V):
        """(S, A) Q(s, a) = c(s, a) + gamma E[V(s')] (Eq. 2)."""
        return self.costs + self.gamma * self.transitions @ V

    def h_step_value(self, policy, V, horizon):
        """(S,) H-step form of Eq. 2: H steps of cost and KL, then gamma^H V."""
        P_pi = np.einsum("sa,sat->st", policy, self.transitions)
        stage = (policy * self.costs).sum(-1) + self.lam * self.kl(policy)
        for _ in range(horizon):
            V = stage + self.gamma * P_pi @ V
        return V

    def soft_minimum(self, Q):
        """(S,) V(s) = -lam log sum_a prior(a|s) exp(-Q(s, a) / lam): Eq. 7 for H = 1."""
        return -self.lam * logsumexp(-Q / self.lam, b=self.prior, axis=-1)

    def boltzmann_policy(self, Q):
        """(S, A) pi(a|s) proportional to prior(a|s) exp(-Q(s, a) / lam): Eq. 6 for H = 1."""
        return self.prior * np.exp((self.soft_minimum(Q)[:, None] - Q) / self.lam)

    def solve(self, tolerance=1e-12, max_iterations=100_000):
        """Optimal soft values and policy (V (S,), Q (S, A), pi (S, A)) of Eq. 1, by value iteration.

        Raises:
            RuntimeError: if the values have not settled after max_iterations (gamma = 1, say).
        """
        V = np.zeros(len(self.costs))
        for _ in range(max_iterations):
            Q = self.q_from_v(V)
            V, previous = self.soft_minimum(Q), V
            if np.abs(V - previous).max() <= tolerance * (1 + np.abs(V).max()):
                return V, Q, self.boltzmann_policy(Q)
        raise RuntimeError(f"soft value iteration did not settle within {max_iterations} iterations (gamma = {self.gamma})")

    # -- Eq. 4-7: open-loop action sequences, deterministic dynamics --------------------------

    def sequences(self, horizon):
        """(A^H, H) every action sequence of the given length."""
        return np.array(list(product(range(self.costs.shape[1]), repeat=horizon)))

    def sequence_costs(self, state, Q, horizon):
        """Cost and log prior of every H-step action sequence from one state.

        S(A) = sum_{l<H-1} gamma^l c(s_l, a_l) + gamma^(H-1) Q(s_{H-1}, a_{H-1}).

        Args:
            state: start state.
            Q: (S, A) terminal Q function, held fixed.
            horizon: H >= 1.

        Returns:
            (costs (A^H,), log_prior (A^H,)) in the order of `sequences`.
        """
        actions = self.sequences(horizon)
        s = np.full(len(actions), state)
        costs, log_prior = np.zeros(len(actions)), np.zeros(len(actions))
        for l in range(horizon):
            a = actions[:, l]
            log_prior += np.log(self.prior[s, a])
            costs += self.gamma**l * (self.costs[s, a] if l < horizon - 1 else Q[s, a])
            s = self.next_state[s, a]
        return costs, log_prior

    def h_step_boltzmann(self, state, Q, horizon):
        """The optimal H-step distribution (Eq. 6) and its free energy (Eq. 7), by enumeration.

        Returns:
            (probabilities (A^H,), free_energy scalar).
        """
        costs, log_prior = self.sequence_costs(state, Q, horizon)
        log_eta = logsumexp(log_prior - costs / self.lam)
        return np.exp(log_prior - costs / self.lam - log_eta), -self.lam * log_eta

    def open_loop_objective(self, state, Q, probabilities, horizon):
        """Eq. 5 for any distribution over action sequences: E[S] + lam KL(pi || prior).

        Args:
            probabilities: (A^H,) distribution over `sequences(horizon)`.
        """
        costs, log_prior = self.sequence_costs(state, Q, horizon)
        p = probabilities[probabilities > 0]
        support = probabilities > 0
        return p @ costs[support] + self.lam * p @ (np.log(p) - log_prior[support])
