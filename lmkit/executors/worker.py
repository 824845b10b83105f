"""Training in a process of its own, which outlives whoever started it.

Workers come from a *fork server*: a process that has imported the framework and forks a worker for each run, so only
the first start pays for the import. The server ends with the process that it serves; workers go on.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from lmkit.environment import command
from lmkit.executors.lending import Borrowed, borrowed, start_server
from lmkit.imports import import_settings
from lmkit.runfolder import RunFolder, process

FORKS = sys.platform == "linux"
"""Elsewhere the system's own libraries do not survive a fork, or there is none: a server becomes a worker, once."""


class _Server:
    """A process that has a framework imported, or is about to."""

    def __init__(self, framework: str, log: Path) -> None:
        self.settings = import_settings()
        with log.open("ab") as errors:  # what keeps it from starting stands in the log of the run it was started for
            self.process = start_server(framework, subprocess.PIPE, errors)
        self.pid = self.process.pid

    @property
    def serves(self) -> bool:
        """Whether it takes another job: it lives, and what a framework reads at import is as it was."""
        stdin = self.process.stdin
        alive = stdin is not None and not stdin.closed and self.process.poll() is None
        return alive and self.settings == import_settings()

    def send(self, line: bytes) -> None:
        """Gives it a job; an OSError if it died."""
        assert self.process.stdin is not None
        while line:
            line = line[os.write(self.process.stdin.fileno(), line) :]
        if not FORKS:
            self.close()  # it becomes the worker, once nothing more can come

    def close(self) -> None:
        """Lets it end."""
        assert self.process.stdin is not None
        self.process.stdin.close()


_servers: dict[str, _Server] = {}
_ended: list[_Server] = []
_lock = threading.Lock()


class WorkerExecutor:
    """Starts a detached worker and returns at once."""

    def start(self, folder: RunFolder) -> None:
        """Hands ``folder`` to a new worker."""
        job = {
            "folder": str(folder.path),
            "cwd": str(Path.cwd()),
            "path": sys.path,
            "environment": {"LMKIT_COMMAND": command(), **os.environ},
        }
        framework = folder.experiment.framework
        line = json.dumps(job).encode() + b"\n"
        with _lock:
            try:
                self._hand_over(folder, _server(framework, folder.log), line)
            except BrokenPipeError:  # it died just now; where another does too, the run is lost and its log says why
                with contextlib.suppress(BrokenPipeError):
                    self._hand_over(folder, _server(framework, folder.log, anew=True), line)

    def _hand_over(self, folder: RunFolder, server: _Server | Borrowed, line: bytes) -> None:
        status = replace(folder.status(), state="pending", heartbeat=time.time(), **process(server.pid))
        folder.write_status(status)
        server.send(line)


def _server(framework: str, log: Path, anew: bool = False) -> _Server | Borrowed:
    """The server for ``framework``: one that this process may borrow, the one it has, or a new one."""
    lent = borrowed(framework)
    if lent and lent.serves and not anew:
        return lent
    server = _servers.get(framework)
    if server is None or anew or not server.serves:
        if server is not None:
            server.close()
            _ended.append(server)
        _ended[:] = [s for s in _ended if s.process.poll() is None]  # the rest is taken away by the poll
        server = _servers[framework] = _Server(framework, log)
    return server


def _forget() -> None:
    """In a fork of this process: the servers are the parent's, and must not outlive it because of us."""
    global _lock
    _lock = threading.Lock()
    for server in _servers.values():
        server.close()
        server.process.returncode = 0  # not ours to wait for
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
