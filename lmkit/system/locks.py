"""A lock on a file that a process holds for as long as it lives: the system releases it, however the process ends."""

from __future__ import annotations

import contextlib
import os
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmkit.system.files import NO_FOLLOW

try:
    import fcntl
except ImportError:  # Windows, where processes are known by their start time alone
    fcntl = None  # type: ignore[assignment]

RETRY_SECONDS = 0.02
"""A reader that looks whether a lock is free holds it for less than this."""


def has_locks() -> bool:
    """Return whether this platform has these locks."""
    return fcntl is not None


class LockHeld(Exception):
    """Another process holds the lock."""


class ProcessLock:
    """An exclusive lock between processes (flock): on one machine, and across machines where the file system has it.

    Where it has none, or the file cannot be created, the lock is always free: ``hold`` succeeds, ``is_held`` is false.

    Args:
        path: the file, which is created and stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: _Descriptor | None = None

    @property
    def file_is_deleted(self) -> bool:
        """Whether the file was deleted while this object holds the lock; one that was moved was not."""
        return self._descriptor is not None and os.fstat(self._descriptor.number).st_nlink == 0

    @contextmanager
    def hold(self, timeout: float = 1.0) -> Iterator[None]:
        """Hold the lock within a ``with`` block.

        Args:
            timeout: seconds to wait for another process.

        Raises:
            LockHeld: another process holds it.
        """
        number = -1
        if fcntl is not None:
            with contextlib.suppress(OSError):
                number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | NO_FOLLOW, 0o666)
        if number < 0:
            yield
            return
        descriptor = _Descriptor(number)
        try:
            deadline = time.monotonic() + timeout
            while not _try_lock(descriptor.number, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise LockHeld(str(self.path))
                time.sleep(RETRY_SECONDS)
            self._descriptor = descriptor
            yield
        finally:
            self._descriptor = None
            descriptor.close()

    @property
    def is_held(self) -> bool:
        """Whether a process holds it."""
        if fcntl is None:
            return False
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | NO_FOLLOW)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


class _Descriptor:
    """An open file that a fork of this process closes: else the fork would hold the lock after this process."""

    def __init__(self, number: int) -> None:
        self.number = number
        _descriptors.add(self)

    def close(self) -> None:
        """Close the file, which releases the lock."""
        _descriptors.discard(self)
        with contextlib.suppress(OSError):
            os.close(self.number)


_descriptors: weakref.WeakSet[_Descriptor] = weakref.WeakSet()


def _try_lock(descriptor: int, kind: int) -> bool:
    """Whether the file could be locked, or its file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # ENOLCK, ENOTSUP: no locks here
        return True
    return True


def _close_all() -> None:
    for descriptor in list(_descriptors):
        descriptor.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)
