"""A JupyterLab on this machine, and notebooks that are open in it in a headless Chromium.

with start_lab(folder) as lab, start_chromium(path) as context:
    notebook = new_notebook(context, lab, "name", "import lmkit as lk\\nlk.configure()").open()
    notebook.run(0)
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from lmkit.executors.shared_forkserver import SharedForkServer

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

    def close(self) -> None:
        """Ends the kernels, and closes the page."""
        self.page.evaluate("() => window.jupyterapp?.serviceManager.sessions.shutdownAll()")
        self.page.close()

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


@contextmanager
def start_chromium(path: str) -> Iterator[Any]:
    """A context of a headless Chromium; its pages share JupyterLab's code, which is fetched and compiled once."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS)
        yield browser.new_context()
        browser.close()


@contextmanager
def start_lab(base: Path, environment: Mapping[str, str] = os.environ, share_workers: bool = True) -> Iterator[Lab]:
    """A JupyterLab of one's own in ``base``, with a token.

    Args:
        base: a folder for its files.
        environment: its environment variables, of which those of Jupyter and lmkit are not taken.
        share_workers: kernels take workers of one server that has imported PyTorch, or else start one each.
    """
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
    variables = {
        **{k: v for k, v in environment.items() if not k.startswith(("JUPYTER", "JPY_", "LMKIT_"))},
        **places,
        "IPYTHONDIR": str(base / "ipython"),
        "LMKIT_RUNS": str(runs),
    }
    workers = SharedForkServer("torch", variables) if share_workers else None
    variables |= workers.variables if workers else {}
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
        server = subprocess.Popen(command, cwd=root, env=variables, stdout=file, stderr=subprocess.STDOUT)
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
        if workers:
            workers.close()


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
            if ended or time.monotonic() >= until:
                raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.2)


def new_notebook(
    context: Any, lab: Lab, name: str, *cells: str, said: list[str] | None = None, width: int = 1400, height: int = 1200
) -> Notebook:
    """Write a notebook of these cells, to be opened in a page of its own: ``new_notebook(…).open()``.

    Args:
        context: a context of Chromium.
        lab: where the notebook is written.
        name: the name of its file.
        cells: the source of each cell.
        said: takes the errors of the page's console.
        width, height: the size of the page in pixels.
    """
    errors: list[str] = [] if said is None else said
    path = lab.root / f"{name}.ipynb"
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    content.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(content, path)
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return Notebook(page, lab, path)
