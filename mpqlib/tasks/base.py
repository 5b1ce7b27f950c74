"""What a task is: named physical quantities, and the same as a Gymnasium environment."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import gymnasium
import numpy as np

from mpqlib.randomization import Uniform
from mpqlib.rollout import Simulator


class Task(ABC):
    """A control task on a true system, with a biased distribution over its parameters.

    The true system and the biased simulator are the same equations with other parameters.
    All methods are vectorised over leading axes.

    Attributes:
        name: lower-case name, as in file names and on the command line.
        dt: length of a control step in seconds.
        episode_steps: number of control steps of an episode.
        state_dim, observation_dim: sizes ns and no.
        action_low, action_high: (du,) actuator range.
        true_parameters: name -> value on the true system.
        biased: the distribution the agent is given instead.
    """

    name: str
    dt: float
    episode_steps: int
    state_dim: int
    observation_dim: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    true_parameters: Mapping[str, float]
    biased: Uniform

    def check(self) -> None:
        """Raise ValueError, naming what is wrong, unless the attributes fit each other."""
        if np.shape(self.action_high) != (self.action_dim,) or not np.less(self.action_low, self.action_high).all():
            raise ValueError(f"action range of {self.name} is {self.action_low} to {self.action_high}; both must have one number "
                             "per action dimension, low < high")
        if not 0 < self.dt < np.inf:
            raise ValueError(f"dt of {self.name} is {self.dt!r}; it must be a finite number > 0, in seconds")
        self.checked(self.biased)
        states = self.reset(1, np.random.default_rng(0))
        if np.shape(states) != (1, self.state_dim):
            raise ValueError(f"reset(1, rng) of {self.name} gives an array of shape {np.shape(states)}; with state_dim = "
                             f"{self.state_dim} it must be {(1, self.state_dim)}")
        features = self.observe(states)
        if np.shape(features) != (1, self.observation_dim):
            raise ValueError(f"observe of {self.name} gives an array of shape {np.shape(features)} for one state; with "
                             f"observation_dim = {self.observation_dim} it must be {(1, self.observation_dim)}")

    @abstractmethod
    def reset(self, size: int, rng) -> np.ndarray:
        """(size, ns) start states."""

    def step(self, states, actions, parameters) -> np.ndarray:
        """(B, ns) states one control step later, for actions (B, du) within the actuator range.

        For tasks given by equations; those given by a MuJoCo model derive from `MujocoTask`.
        """
        raise NotImplementedError(f"{self.name} has no equations of motion; its simulators are those of its MuJoCo model")

    @abstractmethod
    def cost(self, states, actions) -> np.ndarray:
        """(...) cost c(s, a) >= 0 of states (..., ns) and actions (..., du)."""

    @abstractmethod
    def observe(self, states) -> np.ndarray:
        """(..., no) features of order one, the input of the Q function."""

    @abstractmethod
    def success(self, states) -> np.ndarray:
        """(...) whether trajectories (..., T + 1, ns) solve the task."""

    def render(self, state, size: int = 240) -> np.ndarray:
        """(size, size, 3) uint8 picture of one state (ns,)."""
        raise NotImplementedError(f"{self.name} has no picture; give the task a render(state, size)")

    @property
    def action_dim(self) -> int:
        if np.ndim(self.action_low) != 1:
            raise ValueError(f"action_low of {self.name} is {self.action_low!r}; it must be a tuple, one number per action dimension")
        return len(self.action_low)

    def moved(self, size: float) -> "Task":
        """This task with its truth moved along the line from the centre of `biased`, at size 0, to where it is, at 1, and beyond.

        Each parameter changes by equal factors, or, where it or the centre is 0, by equal steps, and then not beyond 1.

        Raises:
            ValueError: if the size is below 0 or not finite.
        """
        if not 0 <= size < np.inf:
            raise ValueError(f"size is {size}; it must be a finite number >= 0")
        task, found = type(self)(), {}
        for name, true in self.true_parameters.items():
            centre = (self.biased.low[name] + self.biased.high[name]) / 2
            found[name] = centre * (true / centre)**size if true * centre > 0 else centre + (true - centre) * min(size, 1)
        task.true_parameters = found
        return task

    def true_system(self) -> Simulator:
        """The system acted upon: the true parameters."""
        return Simulator(self.step, Uniform.around(self.true_parameters))

    def true_model(self) -> Simulator:
        """The simulator planned with, at the true parameters: what MPPI with true dynamics is given."""
        return self.simulator(Uniform.around(self.true_parameters))

    def simulator(self, distribution: Uniform | None = None) -> Simulator:
        """The simulator planned with: parameters from `distribution`, by default `biased`.

        Raises:
            ValueError: if the distribution does not name exactly the task's parameters.
        """
        return Simulator(self.step, self.checked(distribution))

    def checked(self, distribution: Uniform | None) -> Uniform:
        """The distribution, or `biased` for None; ValueError unless it names the task's parameters."""
        distribution = self.biased if distribution is None else distribution
        if distribution.low.keys() != self.true_parameters.keys():
            raise ValueError(f"the distribution names {sorted(distribution.low)}; "
                             f"{self.name} has {sorted(self.true_parameters)}")
        return distribution

    def environment(self, **kwargs) -> "TaskEnv":
        """This task as a Gymnasium environment; arguments as of `TaskEnv`."""
        return TaskEnv(self, **kwargs)


class TaskEnv(gymnasium.Env):
    """A task as a Gymnasium environment; reward = -cost.

    Args:
        task: the task.
        biased: act on the biased simulator (parameters drawn anew at each step) instead of
            the true system.
        render_mode: None or "rgb_array".

    `info` holds `cost` and `is_success` (of the episode so far).
    """

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, task: Task, biased: bool = False, render_mode: str | None = None):
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode is {render_mode!r}; it must be None or 'rgb_array'")
        task.check()
        self.task, self.render_mode = task, render_mode
        self.metadata = {**self.metadata, "render_fps": round(1 / task.dt)}
        self.system = task.simulator() if biased else task.true_system()
        low, high = (np.array(bound, np.float32) for bound in (task.action_low, task.action_high))
        self.action_space = gymnasium.spaces.Box(low, high)
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (task.observation_dim,))

    def _observation(self):
        return self.task.observe(self.states[-1]).astype(np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.states = [self.task.reset(1, self.np_random)[0]]
        return self._observation(), {}

    def step(self, action):
        action = np.asarray(action, float)
        if action.shape != self.action_space.shape:
            raise ValueError(f"action has shape {action.shape}; {self.task.name} needs {self.action_space.shape}")
        if not np.isfinite(action).all():
            raise ValueError(f"action is {action}; it must be finite")
        action = action.clip(self.task.action_low, self.task.action_high)
        cost = float(self.task.cost(self.states[-1], action))
        self.states.append(self.system(self.states[-1][None], action[None, None], self.np_random)[0, 1])
        success = bool(self.task.success(np.array(self.states)))
        return self._observation(), -cost, False, False, {"cost": cost, "is_success": success}

    def render(self):
        return self.task.render(self.states[-1]) if self.render_mode == "rgb_array" else None
