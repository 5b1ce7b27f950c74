import json
import struct

import numpy as np
import pytest
import torch

from mpqlib import tasks
from mpqlib.qfunction import QFunction, ReplayBuffer, read_tensors, write_tensors


@pytest.fixture
def task():
    return tasks.make("pendulum_swingup")


def batch(task, n=64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) * [2, 3], rng.uniform(-2, 2, (n, 1))


def test_numpy_values_are_torchs(task):
    q, (states, actions) = QFunction(task, seed=1), batch(task)
    expected = q.output_scale * q.network(torch.from_numpy(q.inputs(states, actions)))[:, 0].detach().numpy()
    np.testing.assert_allclose(q(states, actions), expected, rtol=1e-5, atol=1e-5)
    assert q(states, actions).dtype == float
    grid = q(states.reshape(8, 8, 2), actions.reshape(8, 8, 1))
    np.testing.assert_allclose(grid.ravel(), q(states, actions), rtol=1e-6, atol=1e-6)


def test_actions_enter_scaled_to_one(task):
    q = QFunction(task)
    np.testing.assert_array_equal(q.inputs(np.zeros((2, 2)), np.array([[-2.0], [2.0]]))[:, -1], [-1, 1])


def test_fit_learns_a_known_function(task):
    q, rng = QFunction(task, seed=0), np.random.default_rng(0)

    def truth(states, actions):
        return 5 * np.cos(states[:, 0]) + states[:, 1] * actions[:, 0]

    losses = []
    for _ in range(1500):
        states, actions = rng.uniform(-1, 1, (64, 2)) * [np.pi, 2], rng.uniform(-2, 2, (64, 1))
        losses.append(q.fit(states, actions, truth(states, actions)))
    assert np.mean(losses[-50:]) < 0.02 * np.mean(losses[:5])


def test_gradient_step_is_adam_on_the_mean_squared_error(task):
    """The first Adam step moves each weight by learning_rate against the gradient's sign."""
    q, (states, actions) = QFunction(task, seed=0, learning_rate=1e-3), batch(task)
    before = q.tensors()
    x = torch.from_numpy(q.inputs(states, actions))
    loss = ((q.network(x)[:, 0] * q.output_scale - 3.0) ** 2).mean()
    gradients = torch.autograd.grad(loss, list(q.network.parameters()))
    assert q.fit(states, actions, np.full(64, 3.0)) == pytest.approx(loss.item(), rel=1e-5)
    for (name, old), gradient in zip(before.items(), gradients):
        large = gradient.abs().numpy() > 1e-3
        np.testing.assert_allclose((q.tensors()[name] - old)[large], -1e-3 * np.sign(gradient.numpy()[large]), rtol=1e-3)


def test_initial_weights_depend_on_the_seed_alone(task):
    torch.manual_seed(0)
    first, state = QFunction(task, seed=5).tensors(), torch.random.get_rng_state()
    torch.manual_seed(1)
    second = QFunction(task, seed=5).tensors()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert not np.array_equal(first["0.weight"], QFunction(task, seed=6).tensors()["0.weight"])
    torch.manual_seed(0)
    assert torch.equal(state, torch.random.get_rng_state())  # no global seed was touched


def test_blend_moves_a_fraction_of_the_way(task):
    q, target = QFunction(task, seed=0), QFunction(task, seed=1)
    before = target.tensors()
    target.blend(q, 0.25)
    for name, value in target.tensors().items():
        np.testing.assert_allclose(value, 0.75 * before[name] + 0.25 * q.tensors()[name], atol=1e-6)


def test_file_round_trip(task, tmp_path):
    q, (states, actions) = QFunction(task, seed=3, hidden=(7, 5), output_scale=2.0), batch(task)
    q.save(tmp_path / "q.safetensors", note="kept")
    again = QFunction.load(tmp_path / "q.safetensors", task)
    np.testing.assert_array_equal(q(states, actions), again(states, actions))
    _, header = read_tensors(tmp_path / "q.safetensors")
    assert header == {"task": task.name, "widths": [4, 7, 5, 1], "output_scale": 2.0, "note": "kept"}


def test_a_file_of_another_task_is_refused_by_name(task, tmp_path):
    q = QFunction(task)
    q.header["task"] = "ball_in_cup_sparse"
    q.save(tmp_path / "q.safetensors")
    with pytest.raises(ValueError, match="task 'ball_in_cup_sparse'; it cannot serve 'pendulum_swingup'"):
        QFunction.load(tmp_path / "q.safetensors", task)


def test_a_file_of_other_shapes_is_refused(task, tmp_path):
    q = QFunction(task)
    q.header["widths"][0] = 9
    q.save(tmp_path / "q.safetensors")
    with pytest.raises(ValueError, match="takes 9 inputs; pendulum_swingup has 3 observations and 1 actions"):
        QFunction.load(tmp_path / "q.safetensors", task)


def test_damaged_files_are_refused_in_one_line(task, tmp_path):
    path = tmp_path / "q.safetensors"
    QFunction(task).save(path)
    whole = path.read_bytes()
    foreign = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    for content in (whole[: len(whole) // 2], whole[:4], b"", b"not a file of ours" * 10,
                    struct.pack("<Q", len(foreign)) + foreign + b"\0" * 4):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged or not written by mpqlib") as error:
            QFunction.load(path, task)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="does not exist"):
        QFunction.load(tmp_path / "none", task)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.safetensors"
    write_tensors(path, {"a": np.ones(3)}, {"n": 1})
    with pytest.raises(TypeError):
        write_tensors(path, {"a": np.zeros(3)}, {"n": object()})
    tensors, header = read_tensors(path)
    np.testing.assert_array_equal(tensors["a"], np.ones(3))
    assert header == {"n": 1}


def test_targets_that_are_not_finite_are_refused(task):
    q, (states, actions) = QFunction(task), batch(task, 3)
    before = q.tensors()
    with pytest.raises(ValueError, match="1 of 3 targets are not finite"):
        q.fit(states, actions, np.array([1.0, np.nan, 2.0]))
    np.testing.assert_array_equal(before["0.weight"], q.tensors()["0.weight"])


def test_buffer_keeps_transitions_together():
    buffer, rng = ReplayBuffer(30, 2, 1), np.random.default_rng(0)
    for i in range(3):
        n = np.arange(10 * i, 10 * i + 10.0)
        buffer.add(np.stack([n, n], 1), n[:, None], n, np.stack([n + 0.5, n], 1))
    states, actions, costs, next_states = buffer.sample(1000, rng)
    np.testing.assert_array_equal(states[:, 0], costs)
    np.testing.assert_array_equal(actions[:, 0], costs)
    np.testing.assert_array_equal(next_states[:, 0], costs + 0.5)
    assert set(costs) == set(range(30))  # every row can be drawn


def test_buffer_errors_are_named():
    with pytest.raises(ValueError, match="capacity is 0"):
        ReplayBuffer(0, 2, 1)
    buffer = ReplayBuffer(1, 2, 1)
    with pytest.raises(ValueError, match="costs of a transition are not finite"):
        buffer.add(np.zeros((1, 2)), np.zeros((1, 1)), np.array([np.nan]), np.zeros((1, 2)))
    assert buffer.size == 0
    with pytest.raises(ValueError, match="2 transitions do not fit a buffer of 1"):
        buffer.add(np.zeros((2, 2)), np.zeros((2, 1)), np.zeros(2), np.zeros((2, 2)))
