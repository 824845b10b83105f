"""A real JupyterLab, and a page on a fresh notebook in a real browser.

Tests take the fixture ``notebook``: ``notebook("import lmkit as lk\\nlk.configure()")`` opens a notebook with these
cells and returns it, with its page (of Playwright) as ``.page``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_server import BROWSERS, Lab, Notebook, find_browser, new_notebook, start_chromium, start_lab

from lmkit.run.run import Run
from lmkit.runfolder.find import run_folders

FAILED = pytest.StashKey[bool]()
"""Whether the test of an item failed."""
SHARED = pytest.StashKey[tuple[list[Any], list[str]]]()
"""The notebooks that the tests of a module share, and what the browser said."""
KERNEL = """() => {
  const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
  return `${kernel?.status}, ${kernel?.connectionStatus}`;
}"""
"""The state of the kernel and of the connection to it."""


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Takes the place of the check for threads: the browser's engine keeps some from test to test."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A context of a headless Chromium; without one the tests are skipped, but never in continuous integration.

    All pages of a module share it. Not for the whole session: its engine keeps an event loop running in this thread,
    which other tests would meet.
    """
    path = find_browser()
    if path is None:
        reason = f"no Chromium found (looked for {', '.join(BROWSERS)}; LMKIT_CHROMIUM names another)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with start_chromium(path) as context:
        yield context


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab of one's own, on this machine, with a token."""
    with start_lab(tmp_path_factory.mktemp("lab")) as started:
        yield started


@pytest.fixture
def notebook(
    chromium: Any, lab: Lab, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Callable[..., Notebook]]:
    """Opens notebooks with these cells; a screenshot is kept when the test fails."""
    opened: list[Notebook] = []
    said: list[str] = []
    yield lambda *cells, **size: _open(chromium, lab, request.node.name, opened, said, *cells, **size)
    if request.node.stash.get(FAILED, False):
        _keep_evidence(opened, said, tmp_path)
    for shown in opened:
        shown.close()


@pytest.fixture(scope="module")
def lasting_notebook(chromium: Any, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Callable[..., Notebook]]:
    """The same for notebooks that the tests of a module share."""
    opened: list[Notebook] = []
    said: list[str] = []
    request.node.stash[SHARED] = opened, said
    yield lambda *cells, **size: _open(chromium, lab, request.node.path.stem, opened, said, *cells, **size)
    for shown in opened:
        shown.close()


@pytest.fixture(autouse=True)
def evidence(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Keeps screenshots of the notebooks that the tests of a module share when one of them fails."""
    yield
    if request.node.stash.get(FAILED, False):
        opened, said = request.node.getparent(pytest.Module).stash.get(SHARED, ([], []))
        _keep_evidence(opened, said, tmp_path)


def _keep_evidence(opened: list[Notebook], said: list[str], folder: Path) -> None:
    """Save a screenshot of each notebook, and print where, what its kernel is, and the browser's last errors."""
    for i, shown in enumerate(opened):
        picture = folder / f"screenshot-{i}.png"
        shown.page.screenshot(path=picture)
        print(f"screenshot: {picture}; the kernel: {shown.page.evaluate(KERNEL)}")
        print(f"the notebook's text:\n{shown.page.locator('.jp-Notebook').inner_text()[-3000:]}")
    if said:
        print("the browser said:", *said[-20:], sep="\n  ")


def _open(
    chromium: Any, lab: Lab, name: str, opened: list[Notebook], said: list[str], *cells: str, **size: int
) -> Notebook:
    """Write a notebook of these cells, and open it in a page of its own."""
    file = re.sub(r"\W+", "-", name).strip("-") + f"-{len(opened)}"
    opened.append(new_notebook(chromium, lab, file, *cells, said=said, **size))
    return opened[-1].open()


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
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tells the fixtures of a test whether it failed."""
    report = yield
    if report.when in ("setup", "call"):
        item.stash[FAILED] = report.failed
    return report
