"""The files that say the same thing in several places agree, and the wheel works alone."""
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv

import house
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def pins(root):
    lines = [line for line in (root / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!]+(?: *;.*)?", line) for line in lines), "constraints are exact versions"
    return {canonicalize_name(r.name): Version(next(iter(r.specifier)).version) for r in map(Requirement, lines)}


def requirements(project):
    yield from map(Requirement, project["dependencies"])
    for extra in project["optional-dependencies"].values():
        yield from map(Requirement, extra)


def test_every_requirement_has_a_pin_inside_its_range(project, pins):
    for requirement in requirements(project):
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} does not allow the pinned {pin}"


def test_everything_installed_is_what_the_constraints_say(pins):
    from importlib.metadata import distributions

    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if name != "mpqlib" and not name.startswith(("nvidia-", "cuda-")) and name != "triton":  # torch's own pins
            assert name in pins, f"{name} is installed but not pinned"
            assert Version(distribution.version).public == str(pins[name]), name


def test_core_keeps_the_versions_that_colab_has(project):
    """Read off Colab on 2026-08-19: installing mpqlib there must not replace any of these."""
    colab = {"numpy": "2.1.3", "scipy": "1.16.3", "pandas": "2.2.3", "matplotlib": "3.10.0", "torch": "2.11.0", "gymnasium": "1.3.0",
             "tqdm": "4.67.3", "joblib": "1.5.3", "safetensors": "0.8.0", "threadpoolctl": "3.6.0", "ipywidgets": "7.7.1",
             "anywidget": "0.9.21", "dask": "2026.7.1"}
    for requirement in requirements(project):
        if version := colab.get(canonicalize_name(requirement.name)):
            assert requirement.specifier.contains(version), f"{requirement} would replace Colab's {version}"


def test_environment_yml_is_the_same_set(root, project, pins):
    environment = yaml.safe_load((root / "environment.yml").read_text())
    python = next(d for d in environment["dependencies"] if str(d).startswith("python="))
    assert Requirement(f"x{project['requires-python']}").specifier.contains(python.split("=")[1] + ".0")
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert "--constraint constraints.txt" in pip
    extras = next(line for line in pip if line.startswith("--editable ."))
    assert set(re.search(r"\[(.*)\]", extras)[1].split(",")) == set(project["optional-dependencies"])
    for line in pip:
        if not line.startswith("--"):
            requirement = Requirement(line)
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), line


def test_one_repository_address(root, config):
    url = config["repository"]["url"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert citation["repository-code"] == url
    assert url in (root / "README.md").read_text()
    for path in [root / "README.md", root / "CITATION.cff", *(root / "book").glob("*.md"), *(root / "book").glob("*.ipynb")]:
        for other in re.findall(r"https://github\.com/[\w.-]+/mpq[\w-]*", path.read_text()):
            assert other.removesuffix(".git") == url, f"{path.name}: {other}"


def test_one_version(root, project, config):
    import mpqlib

    version = project["version"]
    assert getattr(mpqlib, "__version__", version) == version
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == version
    for path in (root / "book").glob("*.ipynb"):
        installed = re.findall(re.escape(config["repository"]["url"]) + r"@v([0-9.]+)", path.read_text())
        assert set(installed) == {version}, path.name


def test_no_download_address_in_lock_files(root):
    lock = json.loads((root / "book/_ext/vendor/package-lock.json").read_text())
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
    assert "://" not in (root / "constraints.txt").read_text()


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, root],
                   check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_is_small_enough_for_colab(wheel):
    assert wheel.stat().st_size < 20e6, f"{wheel.stat().st_size / 1e6:.1f} MB"


def environment(root, wheel, extra=""):
    """Python of an environment with the wheel, its core requirements and one extra; the requirements are kept in _build."""
    inputs = (root / "pyproject.toml").read_bytes() + (root / "constraints.txt").read_bytes() + sys.version.encode()
    folder = root / "_build" / "wheel-env" / (hashlib.sha256(inputs).hexdigest()[:12] + extra)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", root / "constraints.txt"]
    if index := os.environ.get("TORCH_INDEX"):
        install += ["--extra-index-url", index]
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([*install, f"{wheel}[{extra}]" if extra else wheel], check=True)
        if extra == "mujoco":
            subprocess.run([*install, "--no-deps", "dm_control"], check=True)  # as the chapters' first cells do
        (folder / "done").touch()
    subprocess.run([*install, "--no-deps", "--force-reinstall", wheel], check=True)
    return python


@pytest.fixture(scope="module")
def alone(root, wheel):
    return environment(root, wheel)


def run_alone(python, folder, *arguments):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))} | {"MPLBACKEND": "agg"}
    return subprocess.run([python, *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=300)


def test_wheel_imports_from_an_empty_folder(root, alone, tmp_path):
    """Every module without the extras, the stored data inside."""
    done = run_alone(alone, tmp_path, "-c", """if True:
        import importlib, pkgutil, sys, mpqlib
        from importlib.metadata import version
        from pathlib import Path
        for module in pkgutil.walk_packages(mpqlib.__path__, "mpqlib."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
        home = Path(mpqlib.__file__).parent
        assert "site-packages" in str(home), home
        print(version("mpqlib"), *sorted(p.relative_to(home / "data").as_posix() for p in (home / "data").rglob("*") if p.is_file()))
    """)
    assert done.returncode == 0, done.stderr
    version, *data = done.stdout.split()
    tracked = subprocess.run(["git", "ls-files", "data"], cwd=root, capture_output=True, text=True).stdout.split()
    assert "README.md" in data and set(data) >= {name.removeprefix("data/") for name in tracked}


def test_wheel_command(alone, tmp_path):
    done = run_alone(alone, tmp_path, "-m", "mpqlib", "--help")
    assert done.returncode == 0, done.stderr
    assert all(command in done.stdout for command in ("run", "sweep", "evaluate", "report"))


COLAB = """
import json, sys, types
for name in ("google", "google.colab", "google.colab.output"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["google.colab"].output = sys.modules["google.colab.output"]
sys.modules["google.colab.output"].enable_custom_widget_manager = lambda: None

from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
"""


@pytest.mark.full
@pytest.mark.parametrize("notebook", sorted((house.ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_runs_with_the_wheel_alone(root, wheel, notebook, tmp_path):
    """As in Colab: the wheel and the extra that its first cell asks for, Colab's widgets, an empty folder, no other file."""
    (extra,) = set(re.findall(r"mpqlib(?:\[([a-z]+)\])? @", notebook.read_text()))
    python = environment(root, wheel, extra)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--constraint", root / "constraints.txt", "anywidget", "ipywidgets"],
                   check=True)
    done = run_alone(python, tmp_path, "-c", COLAB, notebook)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-3000:]


LAYERS = ["boltzmann", "softmdp", "randomization", "rollout", "mppi", "tasks", "qfunction", "mpq", "settings", "plots", "explorers",
          "experiments", "report", "studies", "exercises", "benchmarks", "__main__"]


def test_imports_point_downwards(root):
    """Theory knows nothing of tasks, tasks nothing of learning."""
    for path in (root / "mpqlib").rglob("*.py"):
        module = path.relative_to(root / "mpqlib").parts[0].removesuffix(".py")
        if module == "__init__":
            continue
        imported = re.findall(r"^\s*from mpqlib(?:\.(\w+)\S*)? import (\w+)", path.read_text(), re.M)
        for name in {first or second for first, second in imported} - {"__version__", "data_dir"}:
            assert name == module or LAYERS.index(name) < LAYERS.index(module), f"{module} imports {name}"
    forbidden = {"tasks": ("qfunction", "mpq", "mppi"), "mppi": ("tasks",), "plots": ("experiments",)}
    for module, names in forbidden.items():
        sources = [root / "mpqlib" / f"{module}.py", *(root / "mpqlib" / module).glob("*.py")]
        for path in filter(lambda p: p.exists(), sources):
            assert not re.search(rf"mpqlib\.(?:{'|'.join(names)})\b", path.read_text()), path
