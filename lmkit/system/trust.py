"""The record of what this user made or trusts on this machine: digests, in a file outside every run and bundle.

A folder cannot say by itself who made it, since its sender writes every file in it. So code is identified by a
SHA-256 of what would run, and the digests of code that this user ran before are appended to ``trusted.txt`` in the
user's data folder. A line is a digest, 65 bytes. A file that has grown to ``MAX_BYTES`` becomes ``trusted-old.txt``, so
that the record is bounded and the oldest entries are forgotten.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmkit.system.files import append_line
from lmkit.system.user_folders import data_folder

MAX_BYTES = 2**21
"""Size at which a new file is begun: about 32,000 digests."""

SESSION = "LMKIT_TRUSTED"
"""The environment variable that holds digests where the data folder cannot be written; child processes inherit it."""


def identify(*values: Any) -> str:
    """Return the SHA-256 of plain values.

    >>> identify("baseline", {"a": 1}) == identify("baseline", {"a": 1}) != identify("baseline", {"a": 2})
    True
    """
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def is_trusted(digest: str) -> bool:
    """Return whether a digest is on record."""
    if digest in os.environ.get(SESSION, "").split():
        return True
    for file in _files():
        with suppress(OSError):
            if digest.encode() in file.read_bytes().split():
                return True
    return False


def remember(digest: str) -> None:
    """Put a digest on record; in the environment of this process and its children if the file cannot be written."""
    if is_trusted(digest):
        return
    current, old = _files()
    try:
        current.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        append_line(current, digest.encode())
        if current.stat().st_size > MAX_BYTES:
            _begin_file(current, old)
    except OSError:
        os.environ[SESSION] = f"{os.environ.get(SESSION, '')} {digest}".strip()


def problem() -> str:
    """Return why nothing can be put on record for later sessions, and what to do; empty if it can."""
    folder = data_folder()
    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if existing.is_dir() and os.access(existing, os.W_OK):
        return ""
    return f"{str(folder)!r}, which would remember it, cannot be written: set LMKIT_DATA to a folder that can"


def _files() -> tuple[Path, Path]:
    """Return the file that is appended to, and the one before it."""
    folder = data_folder()
    return folder / "trusted.txt", folder / "trusted-old.txt"


def _begin_file(current: Path, old: Path) -> None:
    """Rename the current file, once: a process that appends meanwhile writes into the renamed file."""
    with current.with_suffix(".lock").open("a") as lock:
        with suppress(ImportError, OSError):  # Windows, and file systems without locks
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        if current.is_file() and current.stat().st_size > MAX_BYTES:
            current.replace(old)
