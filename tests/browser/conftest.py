"""A real JupyterLab, and a page on a fresh notebook in a real browser.

Tests take the fixture ``notebook``: ``notebook("import lmkit as lk\\nlk.configure()")`` opens a notebook with these
cells and returns it, with its page (of Playwright) as ``.page``.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest

from lmkit.run import Run
from lmkit.runfolder import run_folders

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 60.0
"""How long a page is waited for."""


class Lab(NamedTuple):
    """A running JupyterLab."""

    url: str
    token: str
    root: Path
    runs: Path


class Notebook:
    """A notebook that is open in JupyterLab.

    Attributes:
        page: the page of the browser.
        path: the notebook's file.
        runs: where its kernel keeps runs.
    """

    def __init__(self, page: Any, lab: Lab, path: Path) -> None:
        self.page, self.lab, self.path, self.runs = page, lab, path, lab.runs

    def open(self) -> Notebook:
        """Opens, or reloads, the page and waits until its kernel answers."""
        self.page.goto(f"{self.lab.url}/lab/tree/{self.path.name}?token={self.lab.token}&reset")
        self.page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=SECONDS * 1000)
        self.page.wait_for_function("() => window.jupyterapp", timeout=SECONDS * 1000)
        self.idle()
        return self

    def command(self, name: str, wait: bool = True, **arguments: Any) -> None:
        """Runs one of JupyterLab's own commands, such as ``notebook:run-all-cells``, and waits until it is done."""
        then = "done.then(() => null)" if wait else "null"
        script = f"([name, args]) => {{ const done = window.jupyterapp.commands.execute(name, args); return {then} }}"
        self.page.evaluate(script, [name, arguments])

    def cell(self, index: int) -> Any:
        """The cell at ``index``."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Any:
        """The outputs of the cell at ``index``."""
        return self.cell(index).locator(".jp-Cell-outputArea")

    def run(self, index: int, wait: bool = True) -> None:
        """Runs one cell, and waits until it is done."""
        self.page.evaluate("i => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = i }", index)
        self.command("notebook:run-cell", wait)

    def run_all(self, wait: bool = True) -> None:
        """Runs all cells, and waits until they are done."""
        self.command("notebook:run-all-cells", wait)

    def restart(self) -> None:
        """Restarts the kernel."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
        self.idle()

    def idle(self) -> None:
        """Waits until there is a kernel, and it is idle."""
        ready = "context?.isReady && context.session?.kernel?.status === 'idle'"
        script = f"() => {{ const context = window.jupyterapp.shell.currentWidget?.sessionContext; return {ready} }}"
        self.page.wait_for_function(script, timeout=SECONDS * 1000)

    def wait_for(self, text: str | re.Pattern[str], seconds: float = SECONDS) -> Any:
        """Waits until ``text`` is seen on the page, and returns where."""
        found = self.page.get_by_text(text).locator("visible=true").first
        found.wait_for(timeout=seconds * 1000)
        return found

    def wait_until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Waits until ``condition`` holds; the page goes on meanwhile."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"waited {seconds:g} s in vain: {what}"
            self.page.wait_for_timeout(100)

    def save(self) -> Any:
        """Saves the notebook, and returns it as it lies on disk."""
        self.command("docmanager:save")
        return nbformat.read(self.path, 4)

    def theme(self, name: str) -> None:
        """Changes to the theme ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self.command("apputils:change-theme", theme=name)
        light = json.dumps("Light" in name)
        self.page.wait_for_function(f"() => document.body.dataset.jpThemeLight === '{light}'")


def find_browser() -> str | None:
    """Where Chromium is."""
    return os.environ.get("LMKIT_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Takes the place of the check for threads: the browser's engine keeps some from test to test."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium; without one the tests are skipped, but never in continuous integration.

    Not for the whole session: its engine keeps an event loop running in this thread, which other tests would meet.
    """
    path = find_browser()
    if path is None:
        reason = f"no Chromium found (looked for {', '.join(BROWSERS)}; LMKIT_CHROMIUM names another)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of one's own, on this machine, with a token."""
    base = tmp_path_factory.mktemp("lab")
    root, runs = base / "work", base / "runs"
    settings = base / "config" / "lab" / "user-settings"
    for folder in (root, runs, settings):
        folder.mkdir(parents=True)
    _write_settings(settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    places = {f"JUPYTER_{kind}_DIR": str(base / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "JPY_", "LMKIT_"))},
        **places,
        "IPYTHONDIR": str(base / "ipython"),
        "LMKIT_RUNS": str(runs),
    }
    log = base / "lab.log"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"]
    command += [
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        f"--LabApp.user_settings_dir={settings}",
        f"--LabApp.workspaces_dir={base / 'workspaces'}",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=root, env=environment, stdout=file, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _await_server(server, f"{url}/api?token={token}", log)
        yield Lab(url, token, root, runs)
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def _write_settings(folder: Path) -> None:
    """No news, no tour, no autosave that could come between."""
    for name, value in {
        "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
    }.items():
        path = folder / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))


def _await_server(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            ended = server.poll() is not None
            assert not ended and time.monotonic() < until, f"JupyterLab did not start:\n{log.read_text()[-3000:]}"
            time.sleep(0.2)


@pytest.fixture
def notebook(
    chromium: Any, lab: Lab, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks with the cells that are given; a screenshot is kept when the test fails."""
    opened: list[Notebook] = []
    said: list[str] = []

    def make(*cells: str, width: int = 1400, height: int = 1200) -> Notebook:
        name = re.sub(r"\W+", "-", request.node.name).strip("-") + f"-{len(opened)}.ipynb"
        path = lab.root / name
        content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(content, path)
        page = chromium.new_page(viewport={"width": width, "height": height})
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        notebook = Notebook(page, lab, path)
        opened.append(notebook)
        return notebook.open()

    yield make
    failed = getattr(request.node, "failed", False)
    for i, shown in enumerate(opened):
        if failed:
            picture = tmp_path / f"screenshot-{i}.png"
            shown.page.screenshot(path=picture)
            print(f"screenshot: {picture}")
        shown.page.evaluate("() => window.jupyterapp?.serviceManager.sessions.shutdownAll()")
        shown.page.close()
    if failed and said:
        print("the browser said:", *said[-20:], sep="\n  ")


@pytest.fixture
def ended(lab: Any) -> Iterator[None]:
    """No test leaves a run behind."""
    yield
    live = [Run(folder) for folder in run_folders(lab.runs) if folder.status().live]
    for run in live:
        run.stop()
    for run in live:
        run.wait(60)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tells the fixtures of a test whether it failed."""
    report = yield
    if report.when in ("setup", "call") and report.failed:
        item.failed = True
    return report
