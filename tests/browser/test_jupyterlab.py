"""An explorer in JupyterLab, started here on a folder and a token of its own: Python sees the slider, and the page sees Python."""
import os
import re
import secrets
import socket
import subprocess
import sys
import time
import urllib.request

import nbformat
import pytest
from playwright.sync_api import TimeoutError as Late

CELLS = ["from mpqlib import explorers\nboltzmann = explorers.Boltzmann(lam=1.0, samples=24)\nboltzmann",
         "print(f'Python: lam {boltzmann.lam:g}, effective sample size {boltzmann.ess:.1f}')",
         "boltzmann.lam = 100\nprint('set')"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a notebook of CELLS in a JupyterLab that nothing else of this machine's Jupyter reaches."""
    folder, token = tmp_path_factory.mktemp("lab"), secrets.token_hex(16)
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS],
                                            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}),
                   folder / "explorer.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {**os.environ, **{f"JUPYTER_{name}_DIR": str(folder / f".{name}") for name in ("CONFIG", "DATA", "RUNTIME")},
           "IPYTHONDIR": str(folder / ".ipython"), "JUPYTERLAB_SETTINGS_DIR": str(folder / ".settings"), "JUPYTERLAB_WORKSPACES_DIR": str(folder / ".workspaces")}
    with open(folder / "log.txt", "w") as log:
        server = subprocess.Popen([sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}",
                                   "--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}",
                                   "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None"], cwd=folder, env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log.txt").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/doc/tree/explorer.ipynb?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


@pytest.mark.browser
def test_python_and_page_see_each_other(browser, lab):
    context = browser.new_context(viewport={"width": 1280, "height": 1400}, reduced_motion="reduce")
    try:
        page = context.new_page()
        page.set_default_timeout(90_000)
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(lab)
        cell = page.locator(".jp-CodeCell")
        cell.nth(2).wait_for()
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")

        def run(number):
            """Run a cell; keys that come while the page is still settling are lost, so they are sent until they are heeded."""
            prompt = cell.nth(number).locator(".jp-InputPrompt")
            for _ in range(9):
                cell.nth(number).locator(".cm-content").click()
                page.keyboard.press("Control+Enter")
                try:
                    prompt.get_by_text("[*]").or_(prompt.get_by_text(re.compile(r"\[\d+\]"))).wait_for(timeout=10_000)
                    break
                except Late:
                    pass
            prompt.get_by_text(re.compile(r"\[\d+\]")).wait_for()

        run(0)
        slider = page.locator(".mpq-x input[data-name=lam]")
        slider.wait_for()
        seen = page.locator(".mpq-x output").first
        assert seen.inner_text() == "1"
        slider.focus()
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
        page.wait_for_function("document.querySelector('.mpq-x output').textContent === '1.58'")
        size = re.search(r"Effective sample size ([\d.]+) of 24", page.locator(".mpq-x .readout").inner_text())[1]
        run(1)
        printed = cell.nth(1).locator(".jp-OutputArea-output").inner_text()
        assert printed.strip() == f"Python: lam 1.58, effective sample size {float(size):.1f}"

        run(2)
        page.wait_for_function("document.querySelector('.mpq-x output').textContent === '100'")
        page.wait_for_function("document.querySelector('.mpq-x .readout').textContent.includes('Effective sample size 24 of 24')")
        assert float(slider.input_value()) == 2.0 and page.locator(".mpq-x .note").inner_text() == ""
    except BaseException:
        print("The page says:", page.locator("body").inner_text(), "and to the console:", *said, sep="\n")  # pytest shows it
        raise
    finally:
        context.close()
