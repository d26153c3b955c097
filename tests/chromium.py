"""Chromium, pages and JupyterLab for tests in a real browser, and what they do there again and again.

`make browser` installs what this needs and keeps the screenshots; without Playwright or a Chromium all its tests are skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
import screenshots

ROOT = Path(__file__).parents[1]
CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@pytest.fixture(scope="module")
def browser():
    reason = "Playwright is not installed; `make browser` installs it"
    sync_api = pytest.importorskip("playwright.sync_api", reason=reason)
    if CHROMIUM is None:
        pytest.skip("no Chromium on the PATH (chromium, chromium-browser or google-chrome): install one to see the player play")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def pictures(tmp_path, request):
    """Where screenshots go, and from there to the folder that `make browser` names; those of which a small picture is kept must look like
    it when the test is over."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    yield folder
    for shot in sorted(folder.glob("*.png")):
        if kept := os.environ.get("SKELMM_SCREENSHOTS"):
            Path(kept).mkdir(parents=True, exist_ok=True)
            shutil.copy(shot, kept)
        if shot.stem in screenshots.COMPARED:
            screenshots.looked_at(shot, anew=request.config.getoption("--new-pictures"))


@pytest.fixture
def open_page(browser):
    """Opens a page; at the end of the test, nothing may have gone wrong in any. offline: and the network is off."""
    contexts, wrong = [], []

    def start(address: str, offline: bool = True, console: bool = True, **options):
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **options})
        contexts.append(context)
        context.set_offline(offline)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        if console:
            page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
            page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url))
        page.goto(address)
        return page

    yield start
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def lab(tmp_path):
    """JupyterLab in a folder of its own, in its dark theme; gives the folder and a function from a path in it to an address."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("JupyterLab is not installed; `make browser` installs it")
    folder, settings = tmp_path / "work", tmp_path / "settings" / "@jupyterlab" / "apputils-extension"
    folder.mkdir()
    settings.mkdir(parents=True)
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": "JupyterLab Dark"}))
    (settings / "notification.jupyterlab-settings").write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    own = {name: str(tmp_path / name) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces")}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"]
    with open(tmp_path / "lab.log", "wb") as log:
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=log)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=1).read()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()
                time.sleep(0.5)
        yield folder, lambda path: f"http://127.0.0.1:{port}/lab/tree/{path}?token={token}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:  # it waits for its kernels
            server.kill()
            server.wait()


def second(page, player: int = 0) -> float:
    return float(page.locator("output").nth(player).text_content().split()[0])


def book(cells) -> nbformat.NotebookNode:
    """A notebook of these cells, which find the package and these tests."""
    found = [f"import sys\nsys.path[:0] = {[str(ROOT), str(ROOT / 'tests')]}", *cells]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in found], metadata={"kernelspec": kernel})


def run_cells(lab, open_page, name: str, cells: list[str], viewport: dict):
    """A page of JupyterLab with a `book` of these cells, all of which are run."""
    folder, address = lab
    nbformat.write(book(cells), folder / f"{name}.ipynb")
    page = open_page(address(f"{name}.ipynb"), offline=False, console=False, viewport=viewport)
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
    page.get_by_text("| Idle").wait_for(timeout=60_000)
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").click()
    page.get_by_text("Run All Cells", exact=True).click()
    return page


def pixels(page) -> bytes:
    return page.locator("canvas").first.screenshot()


def choose(page, label: str, value: str) -> None:
    page.locator(f'select[aria-label="{label}"]').first.select_option(value)


def words_drawn(page) -> None:
    """From now on, `window.words` lists what is written on a canvas: [words, x, width of what begins at x]."""
    page.evaluate(
        "() => { const pen = CanvasRenderingContext2D.prototype, write = pen.fillText; window.words = []; pen.fillText = "
        "function (words, x, ...rest) { window.words.push([words, x, this.textAlign === 'left' ? this.measureText(words).width : 0]);"
        "return write.call(this, words, x, ...rest); } }"
    )
