"""Model Predictive Q-Learning: Algorithm 1 and its free-energy targets (Eq. 17).

SoftQLearning is the same code with H = 1 and a target network.
"""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from scipy.signal import lfilter

from mpqlib.mppi import MPPI, MPPISettings, receding_horizon
from mpqlib.qfunction import QFunction, ReplayBuffer


@dataclass(frozen=True)
class MPQSettings:
    """The parameters of Algorithm 1, by the paper's names, and what the paper leaves open.

    Args:
        planner: settings of the infinite-horizon MPPI, the planning horizon H among them.
        N: number of training episodes.
        T: control steps of an episode.
        N_update: episodes between updates of theta.
        K: minibatch size.
        M: minibatches per update.
        target_iterations: updates of U (Eq. 16) from s' before fresh samples give the target.
        target_samples: action sequences per iteration for targets; None for planner.samples.
        target_network_rate: fraction by which a target network follows theta at each gradient
            step, in (0, 1]; None, as in the paper's MPQ, for no target network.
        average_rate: fraction by which the parameters that act, and are validated and returned, follow
            theta at each gradient step, in (0, 1]; None to act with theta itself.
        epochs: None to compute the targets of each minibatch with the newest theta, just before its
            gradient step; a number to compute those of all M minibatches with the theta before the
            update, as Algorithm 1 says, and to pass over them so often.
        value_range: (low, high) that every true value lies in, in the unit of cost; targets and the
            planner's terminal values are clipped to it. None for no bounds.
        warm_start_targets: start a target's U from the plan made when the transition was recorded,
            instead of from 0.
        exploration: in training episodes AR(1) noise (coefficient 0.9) is added to the executed
            actions, of a standard deviation drawn per episode from U(0, exploration), in the unit
            of the action; 0 for none.
        hidden, output_scale, learning_rate: of the Q function.
        final_learning_rate: reached linearly over the N episodes; None to keep learning_rate.
        validate_every: episodes between validations, the first before any training.
        validation_episodes: episodes of a validation, always the same starts.
        curve_episodes: episodes of a test on the true system at each validation, for the learning curve.

    Raises:
        ValueError: naming the setting, its value and what is allowed.
    """

    planner: MPPISettings
    N: int
    T: int
    N_update: int = 1
    K: int = 64
    M: int = 30
    target_iterations: int = 3
    target_samples: int | None = None
    target_network_rate: float | None = None
    average_rate: float | None = None
    epochs: int | None = None
    value_range: tuple[float, float] | None = None
    warm_start_targets: bool = False
    exploration: float = 0.0
    hidden: tuple[int, ...] = (100, 100)
    output_scale: float = 10.0
    learning_rate: float = 1e-3
    final_learning_rate: float | None = None
    validate_every: int = 5
    validation_episodes: int = 20
    curve_episodes: int = 100

    def __post_init__(self):
        for name, least in dict(N=1, T=1, N_update=1, K=1, M=1, target_iterations=0,
                                validate_every=1, validation_episodes=1, curve_episodes=1).items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} is {value!r}; it must be an integer >= {least}")
        if self.epochs is not None and (isinstance(self.epochs, bool) or not isinstance(self.epochs, Integral) or self.epochs < 1):
            raise ValueError(f"epochs is {self.epochs!r}; it must be None or an integer >= 1")
        if self.value_range is not None and not (len(self.value_range) == 2 and self.value_range[0] < self.value_range[1]
                                                 and np.isfinite(self.value_range).all()):
            raise ValueError(f"value_range is {self.value_range}; it must be None or (low, high), finite, with low < high")
        if not 0 <= self.exploration < np.inf:
            raise ValueError(f"exploration is {self.exploration}; it must be a finite number >= 0")
        if self.final_learning_rate is not None and not 0 < self.final_learning_rate < np.inf:
            raise ValueError(f"final_learning_rate is {self.final_learning_rate}; it must be None or a finite number > 0")
        for name in ("target_network_rate", "average_rate"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate <= 1:
                raise ValueError(f"{name} is {rate}; it must be None or lie in (0, 1]")
        for name in ("output_scale", "learning_rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a finite number > 0")
        self.target_planner  # noqa: B018  target_samples is checked where it is used

    @property
    def target_planner(self) -> MPPISettings:
        """Settings of the planner that computes targets: target_iterations updates and one more batch of samples."""
        samples = self.planner.samples if self.target_samples is None else self.target_samples
        return replace(self.planner, samples=samples, iterations=self.target_iterations + 1)


class MPQ:
    """Everything that Algorithm 1 changes, so that training can stop and resume exactly.

    Args:
        task: a task (its cost, observation and start states).
        settings: an `MPQSettings`.
        simulate: the planner's model P-hat, biased.
        system: where training data comes from: the true system, or with domain
            randomisation a simulator that draws its parameters anew at each step.
        seed: of the initial weights and all random numbers.

    Attributes:
        q: the Q function, theta.
        acting_q: the one that acts: q, or its average along training.
        best: the tensors of acting_q with the lowest validation cost so far.
        episode: training episodes done.
        curve: one dict per validation: episode, cost, success (means over validation episodes),
            train_cost (mean cost of the training episodes since the validation before).
    """

    VALIDATION_SEED = 20_200_731  # of the validation starts, the same for each run

    def __init__(self, task, settings: MPQSettings, simulate, system, seed: int):
        self.task, self.settings, self.system = task, settings, system
        self.seed, self.rng = seed, np.random.default_rng([seed, 0])
        network = dict(hidden=settings.hidden, output_scale=settings.output_scale, learning_rate=settings.learning_rate)
        self.q = QFunction(task, seed, **network)
        rates = {"target": settings.target_network_rate, "acting": settings.average_rate}
        self._followers = {name: (QFunction(task, seed, **network), rate)  # same seed: start equal
                           for name, rate in rates.items() if rate is not None}
        self.target_q, self.acting_q = (self._followers.get(name, (self.q,))[0] for name in rates)
        self.planner = MPPI(settings.planner, simulate, task.cost, bounded(self.acting_q, settings.value_range))
        self.target_planner = MPPI(settings.target_planner, simulate, task.cost, bounded(self.target_q, settings.value_range))
        self.buffer = ReplayBuffer(settings.N * settings.T, task.state_dim, task.action_dim,
                                   settings.planner.horizon if settings.warm_start_targets else 0)
        self.episode, self.curve, self.episode_costs, self.best = 0, [], [], self.q.tensors()

    def train(self, after_episode=None) -> QFunction:
        """Algorithm 1, from the episode reached so far; returns the best Q function on validation.

        Args:
            after_episode: called with self after each episode: progress, checkpoints.
        """
        s = self.settings
        if not self.curve:
            self.validate()
        while self.episode < s.N:  # line 1
            start = self.task.reset(1, self.rng)
            self.episode += 1
            self.episode_costs.append(0.0)
            for transition in receding_horizon(self.planner, self.system, start, s.T, self.rng, self.exploration_noise(),
                                               s.warm_start_targets):  # lines 2-4
                self.buffer.add(*transition)  # line 5
                self.episode_costs[-1] += float(transition[2][0])
            if self.episode % s.N_update == 0:  # line 6
                self.update()  # lines 7-8
            if self.episode % s.validate_every == 0 or self.episode == s.N:
                self.validate()
            if after_episode is not None:
                after_episode(self)
        best = QFunction(self.task, hidden=s.hidden, output_scale=s.output_scale)  # line 9
        best.set_tensors(self.best)
        return best

    def update(self) -> None:
        """Lines 7 and 8 of Algorithm 1: M minibatches, their targets, gradient steps."""
        s = self.settings
        if s.final_learning_rate is not None:
            done = self.episode / s.N
            self.q.optimizer.param_groups[0]["lr"] = (1 - done) * s.learning_rate + done * s.final_learning_rate
        if s.epochs is None:
            for _ in range(s.M):
                states, actions, costs, next_states, *plans = self.buffer.sample(s.K, self.rng)
                self._step(states, actions, self.targets(costs, next_states, *plans))
            return
        minibatches = [self.buffer.sample(s.K, self.rng) for _ in range(s.M)]
        targets = np.concatenate([self.targets(*minibatch[2:]) for minibatch in minibatches])
        states, actions = (np.concatenate(column) for column in list(zip(*minibatches))[:2])
        for _ in range(s.epochs):
            for rows in self.rng.permutation(len(targets)).reshape(s.M, s.K):
                self._step(states[rows], actions[rows], targets[rows])

    def _step(self, states, actions, targets):
        self.q.fit(states, actions, targets)
        for network, rate in self._followers.values():
            network.blend(self.q, rate)

    def exploration_noise(self):
        """(T, 1, du) noise of one training episode, or None."""
        s = self.settings
        if not s.exploration:
            return None
        white = self.rng.standard_normal((s.T, 1, self.task.action_dim))
        size = s.exploration * self.rng.uniform()
        return size * lfilter([np.sqrt(1 - 0.9**2)], [1, -0.9], white, axis=0)

    def targets(self, costs, next_states, plans=None):
        """y = c(s, a) + gamma * free energy at s' (Eq. 17), all rows in one batched plan.

        The planner improves U from s' for `target_iterations` updates, then takes fresh samples,
        so that U does not depend on the noise it is judged by.

        Args:
            costs: (K,); next_states: (K, ns); plans: (K, H, du) means to start from, None for 0.

        Returns:
            (K,) targets, in the unit of cost.
        """
        free_energy = self.target_planner.plan(next_states, self.rng, plans).free_energy
        targets = costs + self.settings.planner.gamma * free_energy
        return targets if self.settings.value_range is None else np.clip(targets, *self.settings.value_range)

    def validate(self) -> None:
        """Append to the curve, and keep the weights if they are the best so far.

        Validation runs on the system that training data comes from: the true system, or the
        randomised simulator, which is all that an agent with domain randomisation has.
        """
        rng = np.random.default_rng(self.VALIDATION_SEED)
        starts = self.task.reset(self.settings.validation_episodes, rng)
        result = evaluate(self.task, self.planner, self.system, starts, rng, self.settings.T)
        since = self.episode_costs[self.curve[-1]["episode"]:] if self.curve else []
        self.curve.append({"episode": self.episode, "cost": float(result["cost"].mean()),
                           "success": float(result["success"].mean()),
                           "train_cost": float(np.mean(since)) if since else None})
        if self.curve[-1]["cost"] <= min(row["cost"] for row in self.curve):
            self.best = self.acting_q.tensors()

    def state(self):
        """(tensors, header) from which `restore` continues bit for bit."""
        tensors = {f"q.{name}": value for name, value in self.q.tensors(optimizer=True).items()}
        for follower, (network, _) in self._followers.items():
            tensors |= {f"{follower}.{name}": value for name, value in network.tensors().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"buffer.{name}": getattr(self.buffer, name)[:self.buffer.size] for name in self.buffer.fields}
        header = {"episode": self.episode, "curve": self.curve, "episode_costs": self.episode_costs,
                  "rng": self.rng.bit_generator.state}
        return tensors, header

    def restore(self, tensors, header) -> None:
        """Take over what `state` returned, from a learner with the same settings."""
        def part(prefix):
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.q.set_tensors(part("q."))
        for follower, (network, _) in self._followers.items():
            network.set_tensors(part(f"{follower}."))
        self.best = part("best.")
        self.buffer.size = 0
        self.buffer.add(*(tensors[f"buffer.{name}"] for name in self.buffer.fields))
        self.episode, self.curve, self.episode_costs = header["episode"], header["curve"], header["episode_costs"]
        self.rng.bit_generator.state = header["rng"]


def bounded(q, value_range):
    """The Q function with its values clipped to (low, high); itself for None."""
    if value_range is None:
        return q
    return lambda states, actions: q(states, actions).clip(*value_range)


def evaluate(task, planner, system, starts, rng, steps=None) -> dict:
    """Run the planner in closed loop from each start.

    Args:
        starts: (n, ns) start states.
        steps: control steps; None for the task's own.

    Returns:
        dict with `states` (n, T + 1, ns), `actions` (n, T, du), `costs` (n, T), and per episode
        `cost` (n,) their sum and `success` (n,) bool.
    """
    history = list(receding_horizon(planner, system, starts, steps or task.episode_steps, rng))
    states, actions, costs, next_states = (np.stack(column, axis=1) for column in zip(*history))
    states = np.concatenate([states, next_states[:, -1:]], axis=1)
    return {"states": states, "actions": actions, "costs": costs,
            "cost": costs.sum(axis=1), "success": task.success(states)}
