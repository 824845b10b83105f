"""What every test has: a folder of runs of its own, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lmkit.deploy.measure import roofline
from lmkit.exceptions import LmkitError
from lmkit.runfolder.folder import RunFolder

LIMITS = roofline.Roofline(1, {"float32": 1e11, "int8": 4e11}, ((2**16, 1e11), (2**28, 1e10)))
"""What tests take for the machine's best."""

GRACE_SECONDS = 5
"""How long what a test has ended may take to be gone."""


pytest_plugins = ["kernel_fixtures", "magic_fixtures", "sweep_fixtures", "task_fixtures", "widget_fixtures"]

TIERS = ("browser", "deploy", "process", "notebooks", "integration", "unit")
"""The folders of the tests, which are their markers, in the order in which they begin: the longest first."""

RETRIED = ("browser", "deploy", "process", "notebooks")
"""Tiers that wait for other processes: a failed test runs once more, and the summary names it as rerun."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its tier; pytest-xdist runs the tests of a file in one process, in the order of the tiers."""
    for item in items:
        tier = tier_of(item, config)
        item.add_marker(tier)
        if tier in RETRIED:
            item.add_marker(pytest.mark.flaky(reruns=1))
    items.sort(key=lambda item: TIERS.index(tier_of(item, config)))


def tier_of(item: pytest.Item, config: pytest.Config) -> str:
    """Return the folder below ``tests/`` that a test lies in; the notebooks themselves are a tier, too."""
    top, *below = item.path.relative_to(config.rootpath).parts
    return top if top == "notebooks" else below[0]


def pytest_configure() -> None:
    """One thread a process: the models are tiny, and on a busy machine threads mostly wait for each other."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # images of containers set this: each process of the tests would compile what it imports, TensorFlow for 8 s
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # PyTorch's compiler believes the processor's flags, and does not compile a program for each of them first
    os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")
    if "PYTEST_XDIST_WORKER" not in os.environ:  # its processes share what they train
        os.environ["LMKIT_DATA"] = tempfile.mkdtemp(prefix="lmkit-data-")
    # whoever runs us in the background may ignore Ctrl-C, which what we start would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    """Delete the record of the code that tests have run."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["LMKIT_DATA"], ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left_behind(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Gives the test its own LMKIT_RUNS and LMKIT_CACHE; fails it if a thread or a process of its own outlives it."""
    monkeypatch.setenv("LMKIT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("LMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no test cuts the power; every run would wait for the disk
    roofline.save_roofline(LIMITS)  # else every test that compares would measure the machine
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
    for pid in _child_pids():
        try:
            child = psutil.Process(pid)
            if child.status() != psutil.STATUS_ZOMBIE and "lmkit.executors.forkserver" not in child.cmdline():
                found.add(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _child_pids() -> list[int]:
    """Read from the kernel's own list where there is one: psutil reads every process of the machine, twice a test."""
    lists = list(Path("/proc/self/task").glob("*/children"))
    if not lists:
        return [child.pid for child in psutil.Process().children()]
    pids = []
    for path in lists:
        with contextlib.suppress(OSError):  # a thread that has ended hands its children to another
            pids += [int(pid) for pid in path.read_text().split()]
    return pids


def _workers(folder: Path) -> list[psutil.Process]:
    """The living workers of runs anywhere under ``folder``: they are no children of ours."""
    found = []
    for status in folder.rglob("status.json"):
        try:
            told = RunFolder(status.parent).status()
        except LmkitError:  # no status, or a damaged one
            continue
        if told.live and told.pid != psutil.Process().pid:
            found.append(psutil.Process(told.pid))
    return found
