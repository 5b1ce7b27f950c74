"""The files that say the same thing in several places agree, and the wheel works alone."""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import warnings
from importlib import metadata

import house
import nbformat
import pytest
import yaml
from nbclient import NotebookClient
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


@pytest.fixture(scope="module")
def colab_has(root):
    """Name -> version of what Colab has installed."""
    lines = (root / "tests" / "notebooks" / "colab.txt").read_text().splitlines()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines if not line.startswith("#"))}


def test_core_keeps_the_versions_that_colab_has(project, colab_has):
    """Installing mpqlib there must not replace any of these."""
    names = {canonicalize_name(requirement.name) for requirement in requirements(project)}
    assert {"numpy", "scipy", "pandas", "matplotlib", "torch", "gymnasium", "anywidget", "ipywidgets"} <= names & set(colab_has)
    for requirement in requirements(project):
        if version := colab_has.get(canonicalize_name(requirement.name)):
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
    """Also the release that Colab installs, unless a fork has it install a branch."""
    import mpqlib

    version, tag = project["version"], config["repository"]["branch"]
    assert getattr(mpqlib, "__version__", version) == version
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == version
    assert not re.match(r"v\d", tag) or tag == f"v{version}"
    for path in (root / "book").glob("*.ipynb"):
        assert set(re.findall(r"git\+(\w+:[^\s\"\\]+)", path.read_text())) == {f"{config['repository']['url']}@{tag}"}, path.name


def test_retarget_changes_address_and_tag_everywhere(root, config, tmp_path, monkeypatch, capsys):
    (tmp_path / "book").mkdir()
    for path in [root / "_config.yml", root / "CITATION.cff", *root.glob("*.md"), *(root / "book").glob("*.*")]:
        if path.is_file():
            shutil.copyfile(path, tmp_path / path.relative_to(root))
    monkeypatch.setattr(house, "ROOT", tmp_path)
    old, new = config["repository"], "https://github.com/someone/other-book"
    before = "".join(path.read_text() for path in (tmp_path / "book").glob("*.ipynb"))
    house.retarget(f"{new}/", "main")
    after = yaml.safe_load((tmp_path / "_config.yml").read_text())["repository"]
    assert (after["url"], after["branch"]) == (new, "main")
    everything = "".join(path.read_text() for path in [*tmp_path.glob("*.*"), *(tmp_path / "book").glob("*.*")] if path.is_file())
    assert old["url"] not in everything and f"@{old['branch']}" not in everything and f"blob/{old['branch']}" not in everything
    assert everything.count(f"{new}@main") == before.count(f"{old['url']}@{old['branch']}") == len(NOTEBOOKS)
    assert everything.count("colab.research.google.com/github/someone/other-book/blob/main/book/") == len(NOTEBOOKS)
    house.retarget(tag="v9.9.9")
    assert f"{new}@v9.9.9" in (tmp_path / "book" / "16-playground.ipynb").read_text()
    house.retarget(old["url"], old["branch"])
    for path in [*tmp_path.glob("*.*"), *(tmp_path / "book").glob("*.*")]:
        if path.is_file():
            assert path.read_bytes() == (root / path.relative_to(tmp_path)).read_bytes(), path.name
    for bad in ((), ("not an address",), ("", "a b"), (old["url"], old["branch"])):
        with pytest.raises(SystemExit, match="give a new one"):
            house.retarget(*bad)


def test_workflows_call_what_there_is(root):
    """Every target of make, every file a step names, every job that another one waits for."""
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (root / "Makefile").read_text(), re.M))
    called, workflows = set(), {path.name: yaml.safe_load(path.read_text()) for path in (root / ".github/workflows").glob("*.yml")}
    for name, workflow in workflows.items():
        for job in workflow["jobs"].values():
            assert set([job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", ())) <= set(workflow["jobs"]), name
            if "uses" in job:
                assert (root / job["uses"]).exists(), f"{name}: {job['uses']}"
            for step in job.get("steps", ()):
                for line in re.findall(r"^ *make (.*)$", step.get("run", ""), re.M):
                    called |= {word for word in line.split() if "=" not in word}
                if step.get("uses", "").startswith("actions/setup-python"):
                    assert (root / step["with"]["cache-dependency-path"]).exists()
    assert {"test", "book", "pdf", "wheel", "editions", "retarget"} <= called <= targets, called - targets
    assert True in workflows["publish.yml"] and workflows["publish.yml"][True]["push"]["tags"] == ["v*"]  # YAML reads `on` as true


def test_the_changelog_has_this_version(root, project):
    """As the release reads it: from the heading with the version to the next."""
    done = subprocess.run(["awk", "-v", f"version={project['version']}", '/^## / { wanted = $2 == version } wanted', "CHANGELOG.md"],
                          cwd=root, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) > 3
    assert "wanted = $2 == version" in (root / ".github/workflows/publish.yml").read_text()


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


def environment(root, name, requirements, constraints):
    """(python, pip install) of an environment with `requirements` under `constraints`, kept in _build for the next time."""
    inputs = "\n".join([*requirements, *constraints, sys.version]).encode()
    folder = root / "_build" / "wheel-env" / f"{hashlib.sha256(inputs).hexdigest()[:12]}-{name}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if index := os.environ.get("TORCH_INDEX"):
        install += ["--extra-index-url", index]
    if not (folder / "done").exists():
        venv.create(folder, with_pip=True, clear=True)
        (folder / "constraints.txt").write_text("\n".join(constraints))
        subprocess.run([*install, "--constraint", folder / "constraints.txt", *requirements], check=True)
        (folder / "done").touch()
    return python, install


@pytest.fixture(scope="module")
def alone(root, wheel, project):
    """Python of an environment with the wheel and its core requirements."""
    python, install = environment(root, "core", project["dependencies"], (root / "constraints.txt").read_text().splitlines())
    subprocess.run([*install, "--no-deps", "--force-reinstall", wheel], check=True)
    return python


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


# -- as in Colab ----------------------------------------------------------------------------------

NOTEBOOKS = {path: nbformat.read(path, as_version=4) for path in sorted((house.ROOT / "book").glob("*.ipynb"))}
FIRST = {path: next(cell.source for cell in nb.cells if cell.cell_type == "code") for path, nb in NOTEBOOKS.items()}
OUTPUT = """
import types
_widgets = types.SimpleNamespace(_installed_url=None)
def enable_custom_widget_manager():
    _widgets._installed_url = "https://colab.example/widgets"
"""
SECONDS = {"ten seconds": 10, "half a minute": 30, "less than a minute": 60, "a minute": 60, "one minute": 60, "a minute and a half": 90,
           "two minutes": 120, "half an hour": 1800}


def stated_seconds(nb):
    """What a chapter says that it takes to run."""
    time = re.search(r"\*\*Time:?\*\*(.*)", "\n".join(cell.source for cell in nb.cells))[1]
    (found,) = set(re.findall(r"read, (?:about )?([a-z ]+?) to run", time) or [time.strip(" .")])
    return SECONDS[found]


@pytest.mark.parametrize("nb", NOTEBOOKS.values(), ids=[path.stem for path in NOTEBOOKS])
def test_the_chapter_says_how_long_it_runs(nb):
    assert stated_seconds(nb) > 0


def freeze(python):
    """Name -> version of all that is installed."""
    done = subprocess.run([python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
                          check=True, capture_output=True, text=True)
    return {canonicalize_name(one["name"]): one["version"].split("+")[0] for one in json.loads(done.stdout)}


@pytest.fixture(scope="module")
def colab_base(root, project, colab_has):
    """Python of an environment with those of our requirements that Colab has, in Colab's versions; what differs is a warning."""
    ours = {canonicalize_name(requirement.name) for requirement in requirements(project)} & set(colab_has) - {"dask", "distributed"}
    versions = {name: f"{name}=={version}" for name, version in colab_has.items() if name != "setuptools"}  # torch's affair
    versions["torch"] = f"torch=={metadata.version('torch')}"  # the one that is here: no gigabytes of CUDA
    python, _ = environment(root, "colab", sorted(ours | {"ipython", "ipykernel"}), sorted(versions.values()))
    kept = python.parents[1] / "base.json"  # what an earlier run installed on top is not Colab's
    if not kept.exists():
        kept.write_text(json.dumps(freeze(python)))
    base = json.loads(kept.read_text())
    differs = [f"{name} {version} (Colab: {colab_has[name]})" for name, version in base.items()
               if name in colab_has and version != colab_has[name] and name != "pip"]
    here = ".".join(map(str, sys.version_info[:3]))
    warnings.warn(f"as in Colab, but for Python {here} (Colab: 3.13.15), the stub of google.colab, {', '.join(differs)}")
    return python, base


@pytest.fixture(scope="module")
def repository(root, tmp_path_factory, config):
    """A repository with the present files under the tag that the first cells name; git finds it at the book's address."""
    folder = tmp_path_factory.mktemp("repository")
    names = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (root / name).is_file():  # not one that is deleted but not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / name)
    git = ["git", "-C", folder, "-c", "user.name=test", "-c", "user.email=test@example.org"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"], ["tag", config["repository"]["branch"]]):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{folder.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": config["repository"]["url"]}


@pytest.fixture(scope="module")
def colab(request, root, colab_base, repository, tmp_path_factory):
    """Environment variables with which a kernel named "colab" is a fresh Colab in which one first cell has run."""
    python, before = colab_base
    if new := sorted(set(freeze(python)) - set(before)):
        subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", *new], check=True)
    for left in python.parents[1].glob("lib/python*/site-packages/mpqlib"):  # by a run that was killed: Python would import the folder
        shutil.rmtree(left)
    folder = tmp_path_factory.mktemp("colab")
    module, kernel = folder / "stub" / "google" / "colab", folder / "jupyter" / "kernels" / "colab"
    module.mkdir(parents=True), kernel.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "output.py").write_text(OUTPUT)
    (folder / "stub" / "sitecustomize.py").write_text("import google.colab.output")
    (folder / "torch.txt").write_text(f"torch=={metadata.version('torch')}")  # whatever asks for another one must fail, and not download it
    environment = {"PYTHONPATH": str(folder / "stub"), "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "2",
                   "MPLBACKEND": "module://matplotlib_inline.backend_inline", "PIP_CONSTRAINT": str(folder / "torch.txt"), **repository}
    (kernel / "kernel.json").write_text(json.dumps({
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "colab", "language": "python",
        "env": environment}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(folder / "jupyter"))
        run_in_colab(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (
            "try:\n    import mpqlib\nexcept ModuleNotFoundError:\n    pass\nelse:\n    raise RuntimeError('it is there already')",
            request.param, "import mpqlib\nassert 'site-packages' in mpqlib.__file__")]), folder)
        after = freeze(python)
        changed = {name: (version, after.get(name)) for name, version in before.items() if after.get(name) != version}
        assert not changed, f"the first cell replaces what Colab has: {changed}"
        yield


def run_in_colab(nb, folder):
    """Run a notebook in the kernel "colab", all its cells or an error; seconds of CPU of the kernel, and whether widgets are enabled."""
    nb.cells.append(nbformat.v4.new_code_cell(
        "import json, time, google.colab.output\nprint(json.dumps([time.process_time(), bool(google.colab.output._widgets._installed_url)]))"))
    NotebookClient(nb, kernel_name="colab", timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
    return json.loads(nb.cells.pop().outputs[0].text)


@pytest.mark.full
@pytest.mark.parametrize("colab, notebook", sorted((FIRST[path], path) for path in NOTEBOOKS), indirect=["colab"],
                         ids=lambda value: getattr(value, "stem", ""))
def test_notebook_runs_as_in_colab(colab, notebook, tmp_path):
    """The first cell installs the wheel where it is missing; then everything runs from an empty folder, in the time the chapter states."""
    nb = nbformat.read(notebook, as_version=4)
    seconds, enabled = run_in_colab(nb, tmp_path)
    assert seconds <= stated_seconds(nb) + 20, f"{seconds:.0f} s, {stated_seconds(nb)} are stated"  # 20: first imports of new packages
    outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    shown = any("application/vnd.jupyter.widget-view+json" in output.get("data", ()) for output in outputs)
    assert shown == enabled == any("explorers." in cell.source for cell in nb.cells if cell.cell_type == "code")


LAYERS = ["boltzmann", "softmdp", "randomization", "rollout", "mppi", "tasks", "qfunction", "mpq", "settings", "plots", "explorers",
          "experiments", "report", "studies", "exercises", "grading", "benchmarks", "__main__"]


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
