"""Processes, by id and start time."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

import psutil

PROC = Path("/proc")

PR_SET_PDEATHSIG = 1
"""The number by which Linux's ``prctl`` knows the signal that follows the death of the parent."""

WALL_CLOCK = 1e9
"""Start times from this on are seconds since 1970, as lmkit 0.2 wrote them; smaller ones are seconds since boot."""

TOLERANCE = 2.0
"""Seconds by which two times of the wall clock may differ for the same process, since that clock may be set."""


class _Entry(NamedTuple):
    """What the system says of a process: its state, and its start in seconds since boot."""

    state: str
    started: float


def process(pid: int | None = None) -> dict[str, Any]:
    """Return the id and start time of a process (default: this one), as in status.json; ids are reused.

    On Linux the start time counts from the boot of the machine, so that it stays the same when the clock is set.

    Raises:
        psutil.NoSuchProcess: there is no such process.
    """
    pid = pid or os.getpid()
    entry = _read_entry(pid)
    return {"pid": pid, "pid_started": entry.started if entry else psutil.Process(pid).create_time()}


def is_alive(pid: int, started: float) -> bool:
    """Whether the process with that id and start time is still running; a zombie is not."""
    if not (pid > 0 and started > 0):
        return False
    entry = _read_entry(pid)
    if entry and started < WALL_CLOCK:
        return entry.state not in "ZXx" and entry.started == started
    try:
        worker = psutil.Process(pid)
        # a process that was killed is a zombie, then for a moment dead, and then gone
        ended = worker.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not ended and abs(worker.create_time() - started) <= TOLERANCE
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return False


def end_with_parent(parent: int) -> None:
    """Let the system kill this process once the process that forked it is gone; only Linux does.

    Args:
        parent: id of that process; this one ends at once where it is gone already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _read_entry(pid: int) -> _Entry | None:
    """Return what /proc says of a process; None without such a process, or without /proc."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return _Entry(fields[0], int(fields[19]) / os.sysconf("SC_CLK_TCK"))
