"""The lock of a sweep's folder: one process at a time drives a sweep."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmkit.exceptions import DamagedFile, SweepError
from lmkit.runfolder.status import LOST_AFTER, Status, vanished
from lmkit.sweeping.records import DriverRecord
from lmkit.system.files import create_json
from lmkit.system.locks import LockHeld, ProcessLock
from lmkit.system.processes import process
from lmkit.system.reading import read_bytes

ACQUIRE_ATTEMPTS = 3


class DriverLock:
    """The file that names the process which drives a sweep; its modification time is that process's heartbeat.

    The process also holds ``driver.lock`` for its life, by which other machines know that it lives.

    Args:
        folder: the sweep's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "lock"
        self.process_lock = ProcessLock(folder / "driver.lock")

    def holder(self) -> DriverRecord | None:
        """Return the process that drives the sweep; None where none does."""
        try:
            record = DriverRecord.read(self.path)
            if record is None:
                return None
            status = Status(
                heartbeat=self.path.stat().st_mtime,
                pid=record.pid,
                pid_started=record.pid_started,
                host=record.host,
            )
            return None if vanished(status) and not self.process_lock.is_held else record
        except (OSError, DamagedFile):  # another process removed it, or it is not the lock of a driver
            return None

    def check_free(self) -> None:
        """Raise a SweepError that names the process which drives the sweep, if one does."""
        if holder := self.holder():
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
            name = self.folder.name
            raise SweepError(
                f"sweep {name!r} is already running in process {holder.pid} on {holder.host} since {since}; "
                f"show it: lmkit sweeps {name}, stop it: lmkit stop-sweep {name}, or use another --name"
            )

    @contextmanager
    def acquire(self) -> Iterator[str]:
        """Hold the lock within a ``with`` block; yields this driver's token.

        Raises:
            SweepError: another process holds it.
        """
        record = DriverRecord(**process(), host=socket.gethostname(), token=secrets.token_hex(4), since=time.time())
        for _ in range(ACQUIRE_ATTEMPTS):
            try:
                created = create_json(self.path, record.to_dict(), indent=1)
            except OSError as error:
                raise SweepError(f"cannot write to sweep {self.folder.name!r}: {error.strerror}") from None
            if created:
                break
            digest = self._digest()
            self.check_free()
            if digest and self._may_remove(digest) and self._digest() == digest:
                self.path.unlink(missing_ok=True)  # its process has vanished
        if not self._holds(record):
            raise SweepError(f"sweep {self.folder.name!r} was started by another process just now")
        for mark in self.folder.glob(".lock.left-*"):
            mark.unlink(missing_ok=True)
        try:
            with self.process_lock.hold():
                yield record.token
        except LockHeld:
            raise SweepError(f"sweep {self.folder.name!r} is driven by another process") from None
        finally:
            self.path.unlink(missing_ok=True)

    def _holds(self, record: DriverRecord) -> bool:
        """Whether the lock is the one that this driver wrote."""
        try:
            return DriverRecord.read(self.path) == record
        except DamagedFile:
            return False

    def update_heartbeat(self) -> None:
        """Set the modification time of the lock to now."""
        with contextlib.suppress(OSError, NotImplementedError):
            os.utime(self.path, follow_symlinks=False)

    def _digest(self) -> str:
        """Return a digest of the lock's content; empty where the file is missing."""
        try:
            return hashlib.sha256(read_bytes(self.path)).hexdigest()[:12]
        except (OSError, DamagedFile):
            return ""

    def _may_remove(self, digest: str) -> bool:
        """Whether this process alone may remove the lock of a vanished driver: the first that marks it may.

        The digest of its content identifies a lock, so a slow process never removes the lock of its successor.
        """
        for attempt in itertools.count():
            mark = self.folder / f".lock.left-{digest}-{attempt}"
            try:
                mark.touch(exist_ok=False)
                return True
            except FileExistsError:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - mark.stat().st_mtime < LOST_AFTER:  # later: it died before it removed the lock
                        return False
        raise AssertionError("unreachable")
