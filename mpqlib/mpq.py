"""Model Predictive Q-Learning: Algorithm 1 and its free-energy targets (Eq. 17).

SoftQLearning is the same code with H = 1 and a target network.
"""

from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

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
        hidden, output_scale, learning_rate: of the Q function.
        validate_every: episodes between validations, the first before any training.
        validation_episodes: episodes of a validation, always the same starts.

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
    hidden: tuple[int, ...] = (100, 100)
    output_scale: float = 10.0
    learning_rate: float = 1e-3
    validate_every: int = 5
    validation_episodes: int = 20

    def __post_init__(self):
        for name, least in dict(N=1, T=1, N_update=1, K=1, M=1, target_iterations=0,
                                validate_every=1, validation_episodes=1).items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
                raise ValueError(f"{name} is {value!r}; it must be an integer >= {least}")
        rate = self.target_network_rate
        if rate is not None and not 0 < rate <= 1:
            raise ValueError(f"target_network_rate is {rate}; it must be None or lie in (0, 1]")
        for name in ("output_scale", "learning_rate"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a finite number > 0")
        self.target_planner  # noqa: B018  target_samples is checked where it is used

    @property
    def target_planner(self) -> MPPISettings:
        """Settings of the planner that computes targets: full steps, target_iterations and one more."""
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
        best: the tensors of q with the lowest validation cost so far.
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
        self.target_q = self.q
        if settings.target_network_rate is not None:
            self.target_q = QFunction(task, seed, **network)  # same seed: starts equal
        self.planner = MPPI(settings.planner, simulate, task.cost, self.q)
        self.target_planner = MPPI(settings.target_planner, simulate, task.cost, self.target_q)
        self.buffer = ReplayBuffer(settings.N * settings.T, task.state_dim, task.action_dim)
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
            for s_t, a_t, c_t, s_next in receding_horizon(self.planner, self.system, start, s.T, self.rng):  # 2-4
                self.buffer.add(s_t, a_t, c_t, s_next)  # line 5
                self.episode_costs[-1] += float(c_t[0])
            if self.episode % s.N_update == 0:  # line 6
                for _ in range(s.M):  # line 7
                    states, actions, costs, next_states = self.buffer.sample(s.K, self.rng)
                    self.q.fit(states, actions, self.targets(costs, next_states))  # line 8
                    if s.target_network_rate is not None:
                        self.target_q.blend(self.q, s.target_network_rate)
            if self.episode % s.validate_every == 0 or self.episode == s.N:
                self.validate()
            if after_episode is not None:
                after_episode(self)
        best = QFunction(self.task, hidden=s.hidden, output_scale=s.output_scale)  # line 9
        best.set_tensors(self.best)
        return best

    def targets(self, costs, next_states):
        """y = c(s, a) + gamma * free energy at s' (Eq. 17), all rows in one batched plan.

        The planner improves U from s' for `target_iterations` updates, then takes fresh samples,
        so that U does not depend on the noise it is judged by.

        Args:
            costs: (K,); next_states: (K, ns).

        Returns:
            (K,) targets, in the unit of cost.
        """
        return costs + self.settings.planner.gamma * self.target_planner.plan(next_states, self.rng).free_energy

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
            self.best = self.q.tensors()

    def state(self):
        """(tensors, header) from which `restore` continues bit for bit."""
        tensors = {f"q.{name}": value for name, value in self.q.tensors(optimizer=True).items()}
        tensors |= {f"target.{name}": value for name, value in self.target_q.tensors().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        tensors |= {f"buffer.{name}": getattr(self.buffer, name)[:self.buffer.size] for name in ReplayBuffer.FIELDS}
        header = {"episode": self.episode, "curve": self.curve, "episode_costs": self.episode_costs,
                  "rng": self.rng.bit_generator.state}
        return tensors, header

    def restore(self, tensors, header) -> None:
        """Take over what `state` returned, from a learner with the same settings."""
        def part(prefix):
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        self.q.set_tensors(part("q."))
        if self.target_q is not self.q:
            self.target_q.set_tensors(part("target."))
        self.best = part("best.")
        self.buffer.size = 0
        self.buffer.add(*(tensors[f"buffer.{name}"] for name in ReplayBuffer.FIELDS))
        self.episode, self.curve, self.episode_costs = header["episode"], header["curve"], header["episode_costs"]
        self.rng.bit_generator.state = header["rng"]


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
