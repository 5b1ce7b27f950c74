"""What the Makefile needs beyond pip: system parts, MathJax and MuJoCo for the pages, executed notebooks. Usage: python book/_ext/house.py COMMAND [ARGS]"""
import ctypes.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "_build" / "vendor"
PARTS = {  # name: (what it is for, Debian packages)
    "gl": ("rendering MuJoCo without a display", ["libegl1", "libosmesa6"]),
    "browser": ("the tests of the built pages", ["chromium"]),
}


def without():
    """The parts the user chose to go on without."""
    chosen = os.environ.get("MPQ_WITHOUT", "").replace(",", " ").split()
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"MPQ_WITHOUT={' '.join(chosen)}: unknown part {', '.join(sorted(unknown))}; allowed: {' '.join(PARTS)}")
    return chosen


def chromium():
    """Path of a Chromium: $MPQ_CHROMIUM, the system's, else playwright's own; None if there is none."""
    if given := os.environ.get("MPQ_CHROMIUM"):
        return given
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        path = p.chromium.executable_path
    return path if Path(path).exists() else None


def have(part):
    if part == "browser":
        return chromium() is not None
    return not sys.platform.startswith("linux") or any(map(ctypes.util.find_library, ("EGL", "OSMesa")))


def system(*parts):
    """Set up system parts where that is allowed; name what is missing."""
    for part in parts:
        purpose, packages = PARTS[part]
        if part in without() or have(part):
            continue
        print(f"setting up {part} ({purpose})", flush=True)
        if shutil.which("apt-get") and os.geteuid() == 0:
            quiet = {"env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, "stdout": subprocess.DEVNULL}
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], **quiet)
        if part == "browser" and not have(part):
            subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], capture_output=True)
        if not have(part):
            print(f"MISSING: {part}, needed for {purpose} (Debian: sudo apt-get install {' '.join(packages)}). "
                  f"Its tests will fail; to leave them out: make test MPQ_WITHOUT={part}")


def vendor():
    """Fetch MathJax and MuJoCo's WebAssembly, for the pages, and axe-core, for their tests, pinned by vendor/package-lock.json; what pages need into _build/vendor/static."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(ROOT / "book/_ext/vendor" / name, VENDOR)
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=silent", "--fetch-retries=1"]
    if subprocess.run(command, cwd=VENDOR, env=env).returncode:
        print("MathJax and axe-core could not be fetched from npm: the pages will load MathJax from a CDN and need the network, and show a recording in place of MuJoCo.")
        return
    (VENDOR / "static/mujoco").mkdir(parents=True, exist_ok=True)
    for name in ("mujoco.js", "mujoco.wasm"):
        shutil.copyfile(VENDOR / "node_modules/@mujoco/mujoco" / name, VENDOR / "static/mujoco" / name)
    es5, static = VENDOR / "node_modules/mathjax/es5", VENDOR / "static/mathjax"
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(es5 / fonts, static / fonts, dirs_exist_ok=True)
    shutil.copyfile(es5 / "tex-chtml-full.js", static / "tex-chtml-full.js")  # last: the Makefile looks for it


def normalise(nb):
    """Keep what readers and tests need, drop what changes from run to run."""
    from nbstripout import strip_output

    nb = strip_output(nb, keep_output=True, keep_count=True, keep_id=True, extra_keys=[
        "metadata.widgets", "metadata.language_info", "metadata.signature", "cell.metadata.execution",
        "cell.metadata.collapsed", "cell.metadata.scrolled", "cell.metadata.ExecuteTime"])
    for cell in nb.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)  # names an object of that kernel
    nb.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nb


def notebooks(*paths):
    """Execute notebooks in place and normalise them (all of book/ without arguments)."""
    import nbformat
    from nbclient import NotebookClient

    for path in map(Path, paths or sorted((ROOT / "book").glob("*.ipynb"))):
        print(path, flush=True)
        nb = nbformat.read(path, as_version=4)
        client = NotebookClient(nb, timeout=600, kernel_name="python3", record_timing=False, coalesce_streams=True,
                                store_widget_state=False, resources={"metadata": {"path": str(path.parent)}})
        client.execute()
        nbformat.write(normalise(nb), path)


def retarget(url="", tag=""):
    """Give the book another repository address, another tag that Colab opens and installs, or both, everywhere they stand."""
    config = (ROOT / "_config.yml").read_text()
    old_url, old_tag = (re.search(rf"^  {key}: (\S+)", config, re.M)[1] for key in ("url", "branch"))
    url, tag = url.rstrip("/") or old_url, tag or old_tag
    if not re.fullmatch(r"https://[\w.-]+/[\w./-]+", url) or not re.fullmatch(r"\w[\w./-]*", tag) or (url, tag) == (old_url, old_tag):
        sys.exit(f"URL is {url!r}, TAG {tag!r}; give a new one: make retarget URL=https://github.com/you/your-book TAG=v0.1.0")
    changes = {f"  branch: {old_tag}": f"  branch: {tag}", f"{old_url}@{old_tag}": f"{url}@{tag}", colab(old_url, old_tag): colab(url, tag),
               old_url: url}
    for path in [ROOT / "_config.yml", *ROOT.glob("*.md"), ROOT / "CITATION.cff", *(ROOT / "book").glob("*.*")]:
        if path.is_file():
            new = old = path.read_text()
            for one, other in changes.items():
                new = new.replace(one, other)
            if new != old:
                path.write_text(new)
                print(path.relative_to(ROOT))


def colab(url, tag):
    """Where Colab opens the notebooks of a repository on GitHub; the notebook's name follows."""
    return f"https://colab.research.google.com/github/{url.split('/', 3)[3]}/blob/{tag}/book/"


if __name__ == "__main__":
    commands = {f.__name__: f for f in (system, vendor, notebooks, retarget)}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: python book/_ext/house.py {'|'.join(commands)} [ARGS]")
    commands[sys.argv[1]](*sys.argv[2:])
