"""The folder ``.notebooks`` of a folder of runs: notebooks that are executed, before they move into their run's folder.

Those that started no run, or several, stay there for ``MAX_AGE``. At most ``MAX_BYTES`` are kept: the oldest go first,
and none that was written within ``MIN_AGE``.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

FOLDER = ".notebooks"

DAY = 86400
"""Seconds."""

MAX_AGE, MIN_AGE = 30 * DAY, DAY

MAX_BYTES = 2**30

NAME = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{6}\.(ipynb|html|log)")


def new_notebook(root: Path, template: str) -> Path:
    """Return a path for the executed notebook of a template; the oldest files of the folder are removed."""
    folder = root / FOLDER
    remove_old(folder)
    return folder / f"{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}-{template}-{secrets.token_hex(3)}.ipynb"


def remove_old(folder: Path) -> int:
    """Remove notebooks, pages and logs above the bounds; return how many. Other files, and links, are left alone."""
    files, now = [], time.time()
    with contextlib.suppress(OSError):
        if not stat.S_ISDIR(folder.lstat().st_mode):
            return 0  # a link, which leads to files of others
        for path in folder.iterdir():
            status = path.lstat()
            if NAME.fullmatch(path.name) and stat.S_ISREG(status.st_mode):
                files.append((status.st_mtime, status.st_size, path))
    removed, size = 0, 0
    for modified, length, path in sorted(files, reverse=True):
        size += length
        age = now - modified
        if age > MAX_AGE or (size > MAX_BYTES and age > MIN_AGE):
            with contextlib.suppress(OSError):
                path.unlink()
                removed += 1
    return removed
