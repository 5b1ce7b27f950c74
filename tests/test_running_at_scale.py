"""The how-to page "Running at scale": its commands exist, and do what it says with a worker killed on the way."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from mpqlib import experiments


@pytest.fixture(scope="module")
def blocks(root):
    return re.findall(r"```bash\n(.*?)```", (root / "book/running-at-scale.md").read_text(), re.S)


def shell(command, folder, **more):
    """As the reader types it, in the environment of the tests, in a process group of its own."""
    environment = {**os.environ, "PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, shell=True, cwd=folder, env=environment, start_new_session=True, text=True, **more)


def test_every_option_on_the_page_exists(blocks, tmp_path):
    options = {}
    for command in re.findall(r"^(python -m mpqlib \w+|dask \w+) (.*)$", "".join(blocks).replace("\\\n", ""), re.M):
        options.setdefault(command[0], set()).update(re.findall(r"(--[\w-]+)", command[1]))
    assert set(options) == {"python -m mpqlib sweep", "python -m mpqlib report", "dask scheduler", "dask worker"}
    for command, wanted in options.items():
        words, _ = shell(f"{command} --help", tmp_path, stdout=subprocess.PIPE).communicate(timeout=120)
        assert wanted <= set(re.findall(r"--[\w-]+", words)), command


@pytest.mark.full
def test_the_commands_of_the_page_as_they_stand(blocks, tmp_path):
    scheduler, worker = (next(block for block in blocks if block.startswith(f"dask {name}")) for name in ("scheduler", "worker"))
    sweep = next(block for block in blocks if "--backend dask" in block)
    out = tmp_path / "try/pendulum_swingup"
    started = []
    try:
        started += [shell(command, tmp_path, stderr=subprocess.DEVNULL) for command in (scheduler, worker, worker)]
        work = shell(sweep, tmp_path, stderr=subprocess.PIPE)
        started.append(work)
        deadline = time.time() + 1200
        while not list(out.glob("mpq-h8-real/*/checkpoint.safetensors")):
            assert work.poll() is None and time.time() < deadline, work.communicate()
            time.sleep(0.1)
        os.killpg(started[1].pid, signal.SIGKILL)
        _, errors = work.communicate(timeout=1200)
        assert work.returncode == 0, errors
    finally:
        for process in started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    found = {path.parent.relative_to(out).as_posix(): json.loads(path.read_text()) for path in out.glob("*/*/run.json")}
    assert set(found) == {f"{agent}/seed-{seed}" for agent in ("mppi-h8", "mpq-h8-real") for seed in (3000, 3001)}
    for seed in (3000, 3001):
        alone = experiments.run("pendulum_swingup", "mpq", seed, test_episodes=5, out=tmp_path / "alone", progress=False)
        assert found[f"mpq-h8-real/seed-{seed}"]["best"] == alone["best"], "the killed worker left its mark"
    report = next(block for block in blocks if " report " in block)
    assert shell(report, tmp_path).wait(timeout=300) == 0 and (tmp_path / "report/results.csv").exists()
