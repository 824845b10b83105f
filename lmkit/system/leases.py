"""Leases of GPUs: which of them this user's runs compute on, so that several runs share the GPUs there are.

A lease is a lock on a file of its own in the user's data folder, one folder per GPU. The system releases it when its
process ends, however that ends. A lease never waits: it goes to the GPU with the fewest leases, and runs share a GPU
where there are more runs than GPUs. Memory is therefore allocated as it is needed, in both frameworks.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

from lmkit.exceptions import LinkError
from lmkit.system.files import make_directory
from lmkit.system.locks import LockHeld, ProcessLock, has_locks
from lmkit.system.user_folders import data_folder

FOLDER = "gpus"
"""The folder of the leases, in the user's data folder."""

CHOICE_SECONDS = 10.0
"""Seconds that a process waits while another one takes a lease; after that it takes one all the same."""


@contextlib.contextmanager
def lease(gpus: Sequence[str], free: Sequence[int] = ()) -> Iterator[int]:
    """Hold a lease of the GPU with the fewest leases within a ``with`` block, and yield its position.

    Args:
        gpus: the names of the GPUs, at least one.
        free: bytes of free memory of each, which decides between GPUs with equally many leases; then the order does.
    """
    root = data_folder() / FOLDER
    folders = [root / re.sub(r"[^\w.-]", "_", name) for name in gpus]
    with contextlib.ExitStack() as stack:
        with _choice(root):
            counts = [count_leases(folder) for folder in folders]
            memory = [*free, *[0] * (len(gpus) - len(free))]
            position = min(range(len(gpus)), key=lambda i: (counts[i], -memory[i], i))
            path = folders[position] / f"{os.getpid()}-{secrets.token_hex(4)}.lease"
            _make_folder(path.parent.name)
            stack.enter_context(ProcessLock(path).hold())
        try:
            yield position
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def count_leases(folder: Path) -> int:
    """Return how many leases of a GPU are held; files of processes that died are deleted."""
    if not has_locks():
        return 0
    count = 0
    for path in folder.glob("*.lease"):
        if ProcessLock(path).is_held:
            count += 1
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return count


@contextlib.contextmanager
def _choice(root: Path) -> Iterator[None]:
    """Let one process at a time count leases and take one."""
    _make_folder()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(LockHeld):
            stack.enter_context(ProcessLock(root / "choice.lock").hold(CHOICE_SECONDS))
        yield


def _make_folder(*names: str) -> None:
    """Create the folder of a GPU; where that is not possible there are no leases, and every GPU counts as free."""
    with contextlib.suppress(OSError, LinkError):
        make_directory(data_folder(), FOLDER, *names)
