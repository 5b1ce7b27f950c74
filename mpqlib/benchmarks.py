"""Speed of the planner against others, side by side in one run, as ratios.

Each comparison alternates between ours and the peer; the medians over the rounds are kept.
"""

import copy
import json
import os
import subprocess
import sys
import time
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mpqlib import tasks
from mpqlib.experiments import control_ms, provenance
from mpqlib.mppi import MPPI
from mpqlib.mpq import MPQ
from mpqlib.qfunction import QFunction
from mpqlib.randomization import Uniform
from mpqlib.report import StoredRuns
from mpqlib.rollout import MujocoSimulator, import_mujoco
from mpqlib.settings import SETTINGS

PENDULUM_SIZES = ((24, 32), (1000, 32))  # (samples N, horizon H)
SIZES = ((24, 4), (64, 4), (64, 10), (64, 64))
SCALING = ((256, 10, 1), (64, 10, 2), (256, 10, 2))  # (N, H, threads)
MUJOCO_TASKS = tuple(name for name in SETTINGS if name != "pendulum_swingup")
STEPS = 20  # control steps per timing
JUDO = "judo-rai==0.1.0"  # needs an older MuJoCo: an environment of its own


def bench(out: Path = Path("data/benchmarks/planner.json"), rounds: int = 15, judo: bool = True) -> dict:
    """Time control steps of our planner and of others in turns, and measure its memory.

    Peers: the bare `mujoco.rollout` calls of the same control steps (`raw rollout`), for single plans and for
    MPQ's training; those of single plans with one model in place of 64 random ones (`one model`); a port that
    makes its thread pool and copies its models at every control step (`naive port`); `pytorch_mppi` 0.9.1 on
    the pendulum; and `judo` (judo-rai 0.1.0) on the ball in the cup.

    Args:
        out: file to write.
        rounds: turns; the medians over them are kept.
        judo: compare with judo too; the first time its environment is made in _build, 800 MB.

    Returns:
        {"rows": [{name, task, N, H, threads, ours_ms, peer, peer_ms, ratio}], "memory": [{task, worlds,
        worlds_mb, planner_mb}], ...provenance}. ratio is our share of the raw throughput for `raw rollout`,
        our time over its time for `one model`, and how many times faster we are for the others.

    Raises:
        ValueError: if pytorch_mppi is not installed, or judo can't be.
    """
    rows = [_against_pytorch_mppi(N, H, rounds) for N, H in PENDULUM_SIZES]
    for name in MUJOCO_TASKS:
        task = tasks.make(name)
        for N, H, threads in ((*size, 1) for size in SIZES):
            rows.append(_against_raw(task, N, H, threads, rounds))
        for N, H, threads in SCALING:
            rows.append(_against_raw(task, N, H, threads, rounds))
        rows.append(_training_against_raw(task, max(3, rounds // 3)))
        rows.append(_against_one_model(task, 64, 10, rounds))
        rows.append(_against_naive_port(task, 64, 4, rounds))
    if judo:
        rows += [_against_judo(64, 4, threads, rounds) for threads in sorted({1, os.cpu_count()})]
    result = {"rows": rows, "memory": [_memory(name) for name in MUJOCO_TASKS], **provenance()}
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    Path(out).write_text(json.dumps(result, indent=1) + "\n")
    return result


def control_steps(out: Path = Path("data/benchmarks/control_steps.csv"), data: Path | None = None, rounds: int = 9) -> pd.DataFrame:
    """Time a control step of every agent that has stored runs, all agents of a task in turns.

    Only of the tasks with MuJoCo, whose runs come from machines of different speed; the pendulum's are from one.

    Args:
        out: file to write.
        data: folder with runs/ and report/; none for the book's own.
        rounds: turns of each agent; the machine's speed in each turn is divided out, and the medians over them kept.

    Returns:
        One row per task, agent, horizon and data: control_ms, the CPU milliseconds of a control step (a plan from
        one state; of those that learnt with the Q function of seed 0), processor, commit.

    Raises:
        ValueError: if rounds is below 1.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; it must be >= 1")
    rows = []
    for name in MUJOCO_TASKS:
        runs = StoredRuns(name, data, studies=True)
        agents = runs.results.drop_duplicates("label").set_index("label")[["agent", "horizon", "data"]]
        planners = {one: runs.planner(one) for one in agents.index}
        times = pd.DataFrame([{one: control_ms(runs.task, planner, STEPS) for one, planner in planners.items()}
                              for _ in range(rounds)])
        speed = np.exp(np.log(times).mean(axis=1))  # of the machine, which may change from turn to turn
        rows.append(agents.assign(task=name, control_ms=(times.div(speed, axis=0).median() * speed.median()).round(4)))
    found = provenance()
    table = pd.concat(rows, ignore_index=True)[["task", "agent", "horizon", "data", "control_ms"]].assign(
        processor=found["machine"]["processor"], commit=found["commit"])
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    return table


def _row(task, N, H, threads, peer, ours, theirs, rounds, ratio=lambda ours, theirs: theirs / ours, steps=STEPS) -> dict:
    """Time two callables in turns, each doing so many control steps."""
    def milliseconds(work):
        started = time.perf_counter()
        reported = work()  # a peer in another process times itself
        return (1e3 * (time.perf_counter() - started) if reported is None else reported) / steps

    ours(), theirs()
    ours_ms, peer_ms = np.median([[milliseconds(ours), milliseconds(theirs)] for _ in range(rounds)], axis=0)
    return {"name": f"{task.name} N={N} H={H} threads={threads}: {peer}", "task": task.name, "N": N, "H": H,
            "threads": threads, "ours_ms": round(ours_ms, 4), "peer": peer, "peer_ms": round(peer_ms, 4),
            "ratio": round(ratio(ours_ms, peer_ms), 3)}


def _control_loop(planner, task):
    """A callable that makes the same STEPS control steps each time it is called, on the planner's own model."""
    start = task.reset(1, np.random.default_rng(1000))[0]

    def steps():
        rng, state, U = np.random.default_rng(1), start, planner.initial_plan()
        for _ in range(STEPS):
            plan = planner.plan(state, rng, U)
            U = planner.shift(plan.U)
            if plan.states.shape[-2] > 1:
                state = plan.states[0, 1]  # a sample's next state: moving on costs nothing

    return steps


def _recorded(work, *simulators):
    """The `mujoco.rollout` calls that `work()` makes on the simulators: [(pool, arguments, keywords)], their arrays kept."""
    calls, real = [], [simulator._pool.rollout for simulator in simulators]
    for simulator, rollout in zip(simulators, real):
        def record(models, data, start, controls, *, _pool=simulator._pool, _rollout=rollout, **keywords):
            calls.append((_pool, (models, data, start.copy(), controls.copy()), keywords))
            return _rollout(models, data, start, controls, **keywords)

        simulator._pool.rollout = record
    work()
    for simulator, rollout in zip(simulators, real):
        simulator._pool.rollout = rollout
    return calls


def _replay(calls):
    """A callable that makes recorded calls again."""
    def again():
        for pool, arguments, keywords in calls:
            pool.rollout(*arguments, **keywords)

    return again


def _planner(task, N, H, threads=1, distribution=None):
    """MPQ's planner with a Q function of random weights: what it has learnt does not change its speed."""
    settings = replace(SETTINGS[task.name].mppi, samples=N, horizon=H, iterations=1)
    return MPPI(settings, task.simulator(distribution, threads=threads), task.cost, QFunction(task))


def _against_raw(task, N, H, threads, rounds):
    planner = _planner(task, N, H, threads)
    ours = _control_loop(planner, task)
    return _row(task, N, H, threads, "raw rollout", ours, _replay(_recorded(ours, planner.simulate)), rounds)


def _training_against_raw(task, rounds):
    """The first episodes of MPQ's training and their update of theta, without validation."""
    settings = SETTINGS[task.name].mpq
    settings = replace(settings, N=settings.N_update)
    simulate, system = task.simulator(), task.true_system()

    def ours():
        learner = MPQ(task, settings, simulate, system, 1000)
        learner.validate = lambda: None
        learner.train()

    row = _row(task, settings.planner.samples, settings.planner.horizon, 1, "raw rollout", ours,
               _replay(_recorded(ours, simulate, system)), rounds, steps=settings.N * settings.T)
    return {**row, "name": f"{task.name} training: raw rollout"}


def _against_one_model(task, N, H, rounds):
    planner = _planner(task, N, H)
    calls = _recorded(_control_loop(planner, task), planner.simulate)

    def replay(choose):
        return _replay([(pool, (choose(models), *rest), keywords) for pool, (models, *rest), keywords in calls])

    worlds = planner.simulate.models[:N]
    middle = MujocoSimulator(task.planning_physics, task.write, Uniform.around(
        {name: (task.biased.low[name] + task.biased.high[name]) / 2 for name in task.true_parameters})).models
    return _row(task, N, H, 1, "one model", replay(lambda models: worlds), replay(lambda models: middle * N), rounds,
                ratio=lambda ours, theirs: ours / theirs)


def _against_naive_port(task, N, H, rounds):
    """The port makes its thread pool anew and copies its models at every control step."""
    from mujoco import rollout

    planner, naive = _planner(task, N, H), _planner(task, N, H)
    simulator = naive.simulate

    def simulate(states, actions, rng):
        fresh = copy.copy(simulator)
        fresh.models, fresh._arrays = [copy.copy(model) for model in simulator.models[:N]], {}
        fresh._pool, fresh._data = rollout.Rollout(nthread=0), [import_mujoco().MjData(simulator.models[0])]
        return fresh(states, actions, rng)

    naive.simulate = simulate
    return _row(task, N, H, 1, "naive port", _control_loop(planner, task), _control_loop(naive, task), max(3, rounds // 3))


_MEMORY = """
import sys
from mpqlib import benchmarks, tasks
def megabytes(which):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(which)) / 1e3
task = tasks.make(sys.argv[1])
task.planning_physics
before = megabytes("VmRSS")
simulator = task.simulator()
pool = megabytes("VmRSS") - before
planner = benchmarks._planner(task, 64, 64)  # with a pool of its own
benchmarks._control_loop(planner, task)()
print(len(simulator.models), round(pool, 1), round(megabytes("VmHWM") - before - pool, 1))
"""


def _memory(name) -> dict:
    """Of a planner with N = H = 64 in a process of its own, over what the interpreter and the task take (Linux)."""
    done = subprocess.run([sys.executable, "-c", _MEMORY, name], capture_output=True, text=True, check=True)
    worlds, pool, planner = map(float, done.stdout.split())
    return {"task": name, "worlds": int(worlds), "worlds_mb": pool, "planner_mb": planner}


_JUDO = """
import sys, time
import judo.tasks.base as base
base.download_and_extract_meshes = lambda **_: None  # needs none of judo's own models
import numpy as np
from judo.controller.controller import Controller, ControllerConfig
from judo.optimizers.mppi import MPPI, MPPIConfig
model, N, H, dt, tolerance, steps = sys.argv[1], *map(int, sys.argv[2:4]), *map(float, sys.argv[4:6]), int(sys.argv[6])
class Ball(base.Task):
    config_t = base.TaskConfig
    def reward(self, states, sensors, controls, system_metadata=None):
        x = states[..., 0] - states[..., 2]
        z = 0.35 + states[..., 1] - states[..., 3]
        return -(1.0 - ((np.abs(x) < tolerance) & (np.abs(z) < tolerance))).sum(axis=-1)
task = Ball(model)
optimizer = MPPI(MPPIConfig(num_rollouts=N, num_nodes=H, sigma=1.0, temperature=0.15, use_noise_ramp=False), task.nu)
controller = Controller(ControllerConfig(horizon=H * dt, spline_order="zero", control_freq=1 / dt, max_num_traces=0),
                        task, optimizer)
controller.current_state = np.array([0, 0, 0.1, 0.3, 0, 0, 0, 0.0])
print("ready", controller.num_timesteps, flush=True)
for _ in sys.stdin:
    started = time.perf_counter()
    for _ in range(steps):
        controller.update_action()
    print(1e3 * (time.perf_counter() - started), flush=True)
"""


def _judo_python(folder=Path("_build/bench-judo")):
    """The interpreter of an environment with judo in it, made if it is not there."""
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        done = subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", JUDO],
                              capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"{JUDO} can't be installed ({done.stderr.strip().splitlines()[-1]}); `--no-judo` leaves it out")
        (folder / "done").touch()
    return python


def _against_judo(N, H, threads, rounds):
    """MPPI on the ball in the cup: the same model, simulated steps and cost; judo uses a thread per rollout.

    Judo rolls all of its samples through every step, so ours plans one step longer, whose last action is not simulated.
    """
    task = tasks.make("ball_in_cup_sparse")
    settings = replace(SETTINGS[task.name].mppi, samples=N, horizon=H + 1, iterations=1, beta=0.0)
    ours = _control_loop(MPPI(settings, task.simulator(Uniform.around(task.true_parameters), threads=threads), task.cost), task)
    python = _judo_python()
    model = python.parents[1] / "ball_in_cup.xml"
    import_mujoco().mj_saveLastXML(str(model), task.planning_physics.model)
    with subprocess.Popen([python, "-c", _JUDO, model, str(N), str(H), str(task.dt), str(task.tolerance), str(STEPS)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as judo:
        ready = judo.stdout.readline().split()
        if ready[:1] != ["ready"] or int(ready[1]) != H * task.planning_physics.substeps:
            raise ValueError(f"judo did not start as it should: {ready}")

        def peer():
            judo.stdin.write("\n")
            judo.stdin.flush()
            return float(judo.stdout.readline())

        row = _row(task, N, H, threads, "judo", ours, peer, rounds)
        judo.stdin.close()
    return row


def _against_pytorch_mppi(N, H, rounds):
    """Both plan with the true dynamics and the same settings, on one thread.

    Before they are timed, pytorch_mppi's costs are compared with ours for its own samples.
    """
    task = tasks.make("pendulum_swingup")
    settings = replace(SETTINGS[task.name].mppi, samples=N, horizon=H, gamma=1.0, beta=0.0)  # what the peer can do
    one = {"ours": _our_step(task, settings), "peer": _pytorch_mppi_step(task, settings)}
    ours, peer = ((lambda step=step: [step() for _ in range(STEPS)] and None) for step in one.values())
    return _row(task, N, H, 1, "pytorch_mppi", ours, peer, rounds)


def _our_step(task, settings):
    planner, rng = MPPI(settings, task.true_system(), task.cost), np.random.default_rng(0)
    state, U = task.reset(1, rng)[0], planner.initial_plan()

    def step():
        nonlocal U
        U = planner.shift(planner.plan(state, rng, U).U)

    return step


def _pytorch_mppi_step(task, settings):
    try:
        import torch
        from pytorch_mppi import MPPI as Peer
    except ImportError:
        raise ValueError("pytorch_mppi is not installed; `pip install pytorch-mppi==0.9.1` brings it") from None
    m, l = task.true_parameters["mass"], task.true_parameters["length"]
    acceleration_of_gravity, max_speed = task.gravity, task.max_speed

    def dynamics(state, action):
        theta, speed = state[:, 0], state[:, 1]
        acceleration = 1.5 * acceleration_of_gravity / l * torch.sin(theta) + 3.0 / (m * l * l) * action[:, 0]
        speed = (speed + acceleration * task.dt).clamp(-max_speed, max_speed)
        return torch.stack([theta + speed * task.dt, speed], dim=1)

    def cost(state, action):
        theta = state[:, 0] - 2 * np.pi * torch.round(state[:, 0] / (2 * np.pi))
        return theta**2 + 0.1 * state[:, 1] ** 2 + 0.001 * action[:, 0] ** 2

    double = torch.float64
    peer = Peer(dynamics, cost, nx=2, noise_sigma=torch.tensor([[settings.sigma**2]], dtype=double),
                num_samples=settings.samples, horizon=settings.horizon, lambda_=settings.lam,
                u_min=torch.tensor(settings.action_low, dtype=double),
                u_max=torch.tensor(settings.action_high, dtype=double),
                U_init=torch.zeros(settings.horizon, 1, dtype=double))
    state = torch.tensor(task.reset(1, np.random.default_rng(0))[0])
    with torch.inference_mode():
        peer.command(state)
    # Its costs are of the state after each step, ours of the state before: shift ours by one.
    actions = peer.perturbed_action.numpy()
    visited = task.true_system()(state.numpy()[None].repeat(len(actions), 0), actions, np.random.default_rng(0))
    ours = task.cost(visited[:, 1:], actions).sum(axis=1)
    np.testing.assert_allclose(peer.cost_total.numpy(), ours, rtol=1e-9)  # U was 0: no control cost

    def step():
        with torch.inference_mode():
            peer.command(state)

    return step
