"""Training in a process of its own, which outlives whoever started it.

Workers come from a *fork server*: a process that has imported the framework and forks a worker for each run, so only
the first start pays for the import. The server ends with the process that it serves; workers go on.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from lmkit.runfolder import RunFolder, process

_servers: dict[str, subprocess.Popen[bytes]] = {}


class WorkerExecutor:
    """Starts a detached worker and returns at once."""

    def start(self, folder: RunFolder) -> None:
        """Hands ``folder`` to a new worker."""
        job = {
            "folder": str(folder.path),
            "cwd": str(Path.cwd()),
            "environment": {"LMKIT_COMMAND": shlex.join(sys.argv), **os.environ},
        }
        framework = folder.experiment.framework
        line = json.dumps(job).encode() + b"\n"
        server = _server(framework)
        folder.write_status(replace(folder.status(), state="pending", heartbeat=time.time(), **process(server.pid)))
        try:
            _send(server, line)
        except OSError:  # it was killed since the last run
            _servers.pop(framework, None)
            server = _server(framework)
            folder.write_status(replace(folder.status(), state="pending", heartbeat=time.time(), **process(server.pid)))
            _send(server, line)


def _send(server: subprocess.Popen[bytes], line: bytes) -> None:
    assert server.stdin is not None
    server.stdin.write(line)
    server.stdin.flush()
    if not hasattr(os, "fork"):
        server.stdin.close()  # without fork the server itself becomes the worker, once nothing more can come


def _server(framework: str) -> subprocess.Popen[bytes]:
    """The server that has ``framework`` imported, or is about to."""
    server = _servers.get(framework)
    if server is None or server.poll() is not None or server.stdin is None or server.stdin.closed:
        server = subprocess.Popen(
            [sys.executable, "-m", "lmkit.executors.forkserver", framework],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal, or a restart of the kernel, is not meant for it
        )
        _servers[framework] = server
    return server
