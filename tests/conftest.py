"""The built book, served and opened in Chromium; leaves out the tests of system parts the user goes on without (MPQ_WITHOUT)."""
import http.server
import os
import sys
import threading
from functools import partial

import house
import pytest
import yaml
from bs4 import BeautifulSoup

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


@pytest.fixture(scope="session")
def soups(html):
    return {path.relative_to(html).as_posix(): BeautifulSoup(path.read_bytes(), "lxml")
            for path in html.rglob("*.html") if "_static" not in path.parts}


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site(html):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=html))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    path = house.chromium()
    assert path, "no Chromium: Debian's package chromium, or `playwright install chromium`, or MPQ_WITHOUT=browser"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[
            "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, site):
    """visit(page, **context options) -> the page, loaded; complaints and foreign requests collect in .complaints.

    before(page) is called on the empty page.
    """
    contexts = []

    def visit(name, before=None, query="", **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: page.complaints.append(str(e)))
        page.on("response", lambda r: page.complaints.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        page.on("request", lambda r: page.complaints.append(f"request to another origin: {r.url}")
                if not r.url.startswith((site, "data:", "blob:")) else None)
        if before:
            before(page)
        page.goto(f"{site}/{name}.html{query}", wait_until="load")
        page.wait_for_function("!window.MathJax || !MathJax.startup || MathJax.startup.promise.then(() => true)")
        page.wait_for_load_state("networkidle")
        return page

    yield visit
    for context in contexts:
        context.close()


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
