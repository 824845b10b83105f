"""What every test has: a folder of runs of its own, and nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lmkit.deploy import limits
from lmkit.runfolder import RunFolder

LIMITS = limits.Limits(1, {"float32": 1e11, "int8": 4e11}, ((2**16, 1e11), (2**28, 1e10)))
"""What tests take for the machine's best."""

GRACE_SECONDS = 5
"""How long what a test has ended may take to be gone."""


def pytest_configure() -> None:
    """One thread a process: the models are tiny, and on a busy machine threads mostly wait for each other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # whoever runs us in the background may ignore Ctrl-C, which what we start would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_left_behind(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Gives the test its own LMKIT_RUNS and LMKIT_CACHE; fails it if a thread or a process of its own outlives it."""
    monkeypatch.setenv("LMKIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    limits.keep(LIMITS)  # else every test that compares would measure the machine
    threads, children = set(threading.enumerate()), _children()
    yield
    until = time.monotonic() + GRACE_SECONDS
    while (left := _left(threads, children, tmp_path)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in (p for p in left if isinstance(p, psutil.Process)):
        process.kill()
    assert not left, f"left behind by the test: {left}"


def _left(threads: set[threading.Thread], children: set[psutil.Process], runs: Path) -> list[object]:
    """Threads, workers and other children that came since, and are still alive."""
    # a daemon of another library (a notebook client's event loop) is its own affair, a thread of lmkit never is
    new = [t for t in set(threading.enumerate()) - threads if not t.daemon or _made_here(t)]
    return [*new, *(_children() - children), *_workers(runs)]


def _made_here(thread: threading.Thread) -> bool:
    return getattr(getattr(thread, "_target", None), "__module__", "").startswith("lmkit")


def _children() -> set[psutil.Process]:
    """This process's children, without the servers that stay for the next run."""
    found = set()
    for child in psutil.Process().children():
        try:
            if child.status() != psutil.STATUS_ZOMBIE and "lmkit.executors.forkserver" not in child.cmdline():
                found.add(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _workers(folder: Path) -> list[psutil.Process]:
    """The living workers of runs anywhere under ``folder``: they are no children of ours."""
    found = []
    for status in folder.rglob("status.json"):
        told = RunFolder(status.parent).status()
        if told.live and told.pid != psutil.Process().pid:
            found.append(psutil.Process(told.pid))
    return found
