"""The learnt Q function: a small torch network, its replay buffer, and its files.

Gradients are torch's; the planner, which asks for values far more often than it learns,
reads the same weights through numpy.
"""

import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from threadpoolctl import threadpool_limits

# The networks are small: a second thread costs more than it brings, and changes the sums.
torch.set_num_threads(1)
threadpool_limits(1)


class DamagedFile(ValueError):
    """A stored file that can't be read; its path is in the message."""


class QFunction:
    """Q_theta(s, a), the soft cost-to-go of a state and an action: a tanh network.

    Input: the task's observation and the action scaled to [-1, 1].
    Output: the network's times `output_scale`, in the unit of cost.

    Args:
        task: gives `name`, `observe`, `observation_dim`, `action_low`, `action_high`.
        seed: of the initial weights.
        hidden: widths of the hidden layers.
        output_scale: size of a typical value, so that the network's own output is of order one.
        learning_rate: of Adam.
    """

    def __init__(self, task, seed=0, hidden=(100, 100), output_scale=10.0, learning_rate=1e-3):
        self.task, self.output_scale = task, output_scale
        low, high = np.array(task.action_low), np.array(task.action_high)
        self._middle, self._reach = (high + low) / 2, (high - low) / 2
        widths = (task.observation_dim + len(low), *hidden, 1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            linear = [torch.nn.Linear(n, m) for n, m in zip(widths, widths[1:])]
        layers = [layer for one in linear for layer in (one, torch.nn.Tanh())][:-1]
        self.network = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        # Views, not copies: a gradient step changes what numpy sees.
        self._weights = [(one.weight.detach().numpy(), one.bias.detach().numpy()[:, None]) for one in linear]
        self.header = {"task": task.name, "widths": list(widths), "output_scale": output_scale}

    def inputs(self, states, actions):
        """(..., no + du) float32 network input of states (..., ns) and actions (..., du)."""
        return np.concatenate([self.task.observe(states), (actions - self._middle) / self._reach],
                              axis=-1, dtype=np.float32)

    def __call__(self, states, actions):
        """(...) values, in the unit of cost, of states (..., ns) and actions (..., du)."""
        inputs = self.inputs(states, actions)
        x = np.ascontiguousarray(inputs.reshape(-1, inputs.shape[-1]).T)  # a column per state: faster
        for weight, bias in self._weights[:-1]:
            x = weight @ x
            x += bias
            np.tanh(x, out=x)
        weight, bias = self._weights[-1]
        return (self.output_scale * (weight @ x + bias)[0].astype(float)).reshape(inputs.shape[:-1])

    def fit(self, states, actions, targets) -> float:
        """One gradient step on the mean squared error of a minibatch; returns the loss before it.

        Args:
            states: (K, ns); actions: (K, du); targets: (K,) y of Eq. 17, in the unit of cost.

        Raises:
            ValueError: if a target is not finite.
        """
        if not np.isfinite(targets).all():
            raise ValueError(f"{np.count_nonzero(~np.isfinite(targets))} of {len(targets)} targets are not finite")
        prediction = self.network(torch.from_numpy(self.inputs(states, actions)))[:, 0]
        wanted = torch.from_numpy((np.asarray(targets) / self.output_scale).astype(np.float32))
        loss = torch.nn.functional.mse_loss(prediction, wanted)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item() * self.output_scale**2

    def blend(self, source: "QFunction", rate: float) -> None:
        """Move the weights a fraction `rate` of the way to those of `source` (a target network)."""
        with torch.no_grad():
            for mine, theirs in zip(self.network.parameters(), source.network.parameters()):
                mine.lerp_(theirs, rate)

    def tensors(self, optimizer=False) -> dict:
        """Name -> array of all weights, with the optimiser's state where asked for."""
        found = {name: value.numpy().copy() for name, value in self.network.state_dict().items()}
        if optimizer:
            for i, state in self.optimizer.state_dict()["state"].items():
                found |= {f"adam.{i}.{name}": value.numpy().copy() for name, value in state.items()}
        return found

    def set_tensors(self, tensors) -> None:
        """Take over weights, and the optimiser's state if it is there, from `tensors()`."""
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.copy_(torch.from_numpy(np.array(tensors[name])))
        adam = {}
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, i, key = name.split(".")
                adam.setdefault(int(i), {})[key] = torch.from_numpy(np.array(value))
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": adam})

    def save(self, path, **notes) -> None:
        """Write weights and a header (task, shapes, scale, and `notes`) as safetensors, atomically."""
        write_tensors(path, self.tensors(), {**self.header, **notes})

    @classmethod
    def load(cls, path, task) -> "QFunction":
        """Read a Q function written for the same task.

        Raises:
            ValueError: if the file is damaged, or was written for another task or other shapes.
        """
        tensors, header = read_tensors(path)
        found = header.get("task")
        if found != task.name:
            raise ValueError(f"{path} holds a Q function of task {found!r}; it cannot serve {task.name!r}")
        widths = header["widths"]
        if widths[0] != task.observation_dim + len(task.action_low):
            raise ValueError(f"{path} takes {widths[0]} inputs; {task.name} has {task.observation_dim} observations "
                             f"and {len(task.action_low)} actions")
        q = cls(task, hidden=widths[1:-1], output_scale=header["output_scale"])
        q.set_tensors(tensors)
        return q


class ReplayBuffer:
    """Experience (s, a, c, s') in the order it came, at most `capacity` transitions.

    Args:
        capacity: number of transitions.
        state_dim, action_dim: ns and du.
        horizon: H, to keep with each transition the (H, du) plan for s'; 0 to keep none.

    Raises:
        ValueError: if capacity < 1, or a transition does not fit or is not finite.
    """

    def __init__(self, capacity: int, state_dim: int, action_dim: int, horizon: int = 0):
        if capacity < 1:
            raise ValueError(f"capacity is {capacity}; it must be >= 1")
        self.states, self.next_states = np.empty((2, capacity, state_dim))
        self.actions, self.costs = np.empty((capacity, action_dim)), np.empty(capacity)
        self.fields = ("states", "actions", "costs", "next_states")
        if horizon:
            self.plans, self.fields = np.empty((capacity, horizon, action_dim)), (*self.fields, "plans")
        self.size, self.capacity = 0, capacity

    def add(self, *transitions) -> None:
        """Append B transitions: states (B, ns), actions (B, du), costs (B,), next_states (B, ns), plans (B, H, du) if kept."""
        end = self.size + len(transitions[0])
        if end > self.capacity:
            raise ValueError(f"{end} transitions do not fit a buffer of {self.capacity}")
        for name, values in zip(self.fields, transitions, strict=True):
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of a transition are not finite: {values}")
            getattr(self, name)[self.size:end] = values
        self.size = end

    def sample(self, batch: int, rng):
        """A minibatch of the fields, in the order of `add`, drawn uniformly with replacement."""
        rows = rng.integers(self.size, size=batch)
        return tuple(getattr(self, name)[rows] for name in self.fields)


def write_tensors(path, tensors: dict, header: dict) -> None:
    """Write arrays and a JSON header to one safetensors file; a reader sees the old file or the new."""
    path = Path(path)
    unfinished = path.with_name(path.name + ".part")
    with open(unfinished, "wb") as file:
        contiguous = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        file.write(save(contiguous, metadata={"header": json.dumps(header)}))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def read_tensors(path):
    """Read (tensors, header) back.

    Raises:
        ValueError: if the file is missing; DamagedFile, a ValueError, if it is truncated or not one of ours.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})["header"])
            return {name: file.get_tensor(name) for name in file.keys()}, header
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist") from None
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
        raise DamagedFile(f"{path} is damaged or not written by mpqlib ({error})") from None
