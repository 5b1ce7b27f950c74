"""Leaves out the tests of system parts the user goes on without (MPQ_WITHOUT), and says so."""
import os
import sys

import house
import pytest
import yaml

if sys.platform == "linux":  # before mujoco is imported; the Makefile sets it too
    os.environ.setdefault("MUJOCO_GL", "egl")

LEFT_OUT = []


@pytest.fixture(scope="session")
def root():
    return house.ROOT


@pytest.fixture(scope="session")
def config(root):
    return yaml.safe_load((root / "_config.yml").read_text())


def toc_pages(root):
    """Names of the pages that _toc.yml lists, root page first."""
    def files(node):
        for key in ("root", "file"):
            if key in node:
                yield node[key]
        for key in ("parts", "chapters", "sections"):
            for child in node.get(key, ()):
                yield from files(child)

    return list(files(yaml.safe_load((root / "_toc.yml").read_text())))


@pytest.fixture(scope="session")
def pages(root):
    return toc_pages(root)


@pytest.fixture(scope="session")
def html(root):
    """The built book; missing is a failure, not a reason to skip."""
    folder = root / "_build" / "html"
    assert (folder / "index.html").exists(), "the book is not built: run `make book` first"
    return folder


def pytest_configure(config):
    try:
        house.without()
    except SystemExit as error:
        raise pytest.UsageError(str(error)) from None


def pytest_collection_modifyitems(config, items):
    parts = house.without()
    LEFT_OUT.extend(item for item in items if any(item.get_closest_marker(part) for part in parts))
    items[:] = [item for item in items if item not in LEFT_OUT]
    config.hook.pytest_deselected(items=LEFT_OUT)


def pytest_terminal_summary(terminalreporter):
    if LEFT_OUT:
        terminalreporter.write_line(f"LEFT OUT because of MPQ_WITHOUT={' '.join(house.without())}: {len(LEFT_OUT)} tests", yellow=True)
