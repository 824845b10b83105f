"""Temporary folders of this process. Those that a killed process left behind are removed by a later one.

The name of a folder says whose it is: ``lmkit-<machine>-<process>-<its start>-<random>``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import socket
import stat
import tempfile
from pathlib import Path

from lmkit.system.files import remove_directory
from lmkit.system.processes import is_alive, process

TICKS = 100
"""Parts of a second in which the start of a process is written."""

MAX_REMOVED = 100
"""Folders that one process removes at most."""

NAME = re.compile(r"lmkit-([0-9a-f]{4})-([0-9a-f]+)-([0-9a-f]+)-[^/]+")


def temporary_folder(*, ignore_cleanup_errors: bool = False) -> tempfile.TemporaryDirectory[str]:
    """Return a new folder that only this user may read; it is removed at the end of the ``with`` block."""
    remove_abandoned()
    owner = process()
    prefix = f"lmkit-{_machine()}-{owner['pid']:x}-{round(owner['pid_started'] * TICKS):x}-"
    return tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=ignore_cleanup_errors)


@functools.cache
def remove_abandoned() -> int:
    """Remove, once in a process, the folders of this user whose process is gone; return how many."""
    if not hasattr(os, "getuid"):
        return 0
    removed = 0
    with contextlib.suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob("lmkit-*"):
            if removed < MAX_REMOVED and _is_abandoned(path):
                remove_directory(path)
                removed += 1
    return removed


def _is_abandoned(path: Path) -> bool:
    """Whether a path is a folder of this user, of a process on this machine that is gone."""
    match = NAME.fullmatch(path.name)
    if match is None or match[1] != _machine():
        return False
    try:
        status = path.lstat()
        gone = not is_alive(int(match[2], 16), int(match[3], 16) / TICKS)
    except (OSError, OverflowError):
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and gone


@functools.cache
def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
