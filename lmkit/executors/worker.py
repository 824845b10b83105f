"""Training in a detached worker, which outlives the process that started it.

Workers come from a *fork server*: a process that has imported the framework and forks a worker for each run, so only
the first start pays for the import. The server ends with the process that it serves; workers continue.
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

from lmkit.executors.shared_forkserver import ForkServerClient, find_shared_server, start_server
from lmkit.runfolder.folder import RunFolder
from lmkit.system.environment import command
from lmkit.system.files import open_log
from lmkit.system.imports import import_settings
from lmkit.system.processes import process

FORKS = sys.platform == "linux"
"""Whether servers fork. On macOS system libraries do not survive a fork, and Windows has none: there a server trains
one run itself."""


class _Server:
    """A fork server of this process."""

    def __init__(self, framework: str, log: Path | None) -> None:
        self.settings = import_settings()
        descriptor = open_log(log) if log else os.open(os.devnull, os.O_WRONLY)
        with os.fdopen(descriptor, "ab") as errors:  # errors at start go to the log of the run, if there is one
            self.process = start_server(framework, subprocess.PIPE, errors)
        self.pid = self.process.pid

    @property
    def serves(self) -> bool:
        """Whether it accepts a job: it is alive, and the settings that a framework reads at import are unchanged."""
        stdin = self.process.stdin
        alive = stdin is not None and not stdin.closed and self.process.poll() is None
        return alive and self.settings == import_settings()

    def send(self, line: bytes) -> None:
        """Send a job; raise OSError if the server died."""
        assert self.process.stdin is not None
        while line:
            line = line[os.write(self.process.stdin.fileno(), line) :]
        if not FORKS:
            self.close()  # it trains the run once its input has ended

    def preload(self) -> None:
        """Import the framework now; an empty line is no job."""
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), b"\n")

    def close(self) -> None:
        """Let the server end."""
        assert self.process.stdin is not None
        self.process.stdin.close()


_servers: dict[str, _Server] = {}
_ended: list[_Server] = []
_lock = threading.Lock()


class WorkerExecutor:
    """Starts a detached worker and returns at once."""

    def start(self, folder: RunFolder) -> None:
        """Start a worker for ``folder``."""
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
                self._send(folder, _server(framework, folder.log), line)
            except BrokenPipeError:  # it just died; if the next one dies too, the run is lost
                with contextlib.suppress(BrokenPipeError):
                    self._send(folder, _server(framework, folder.log, restart=True), line)

    def _send(self, folder: RunFolder, server: _Server | ForkServerClient, line: bytes) -> None:
        status = replace(folder.status(), state="pending", heartbeat=time.time(), **process(server.pid))
        folder.write_status(status)
        server.send(line)


def prepare(framework: str) -> None:
    """Let a server import a framework, so that the first run of this process need not wait for that."""
    with _lock:
        server = _server(framework, None)
        if isinstance(server, _Server):
            with contextlib.suppress(BrokenPipeError):  # the next run starts another one
                server.preload()


def _server(framework: str, log: Path | None, restart: bool = False) -> _Server | ForkServerClient:
    """Return the server for ``framework``: a shared one, the one of this process, or a new one."""
    shared = find_shared_server(framework)
    if shared and shared.serves and not restart:
        return shared
    server = _servers.get(framework)
    if server is None or restart or not server.serves:
        if server is not None:
            server.close()
            _ended.append(server)
        _ended[:] = [s for s in _ended if s.process.poll() is None]  # ``poll`` reaps the others
        server = _servers[framework] = _Server(framework, log)
    return server


def _forget() -> None:
    """In a fork of this process, close its copies of the servers' pipes, so that the servers end with the parent."""
    global _lock
    _lock = threading.Lock()
    for server in _servers.values():
        server.close()
        server.process.returncode = 0  # not a child of this process
    _servers.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
