"""A fork server that processes share: one process owns it, and its child processes use it.

They find it by an environment variable. The server reads jobs from a named pipe, and ends when no process has the pipe
open.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lmkit.system.imports import import_settings
from lmkit.system.temporary import temporary_folder

SERVER_VARIABLE = "LMKIT_FORKSERVER"
"""The environment variable that describes a server: its framework, process, pipe and import settings."""


def start_server(
    framework: str, jobs: int, errors: int | IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start the process that forks the workers of a framework."""
    return subprocess.Popen(
        [sys.executable, "-m", "lmkit.executors.forkserver", framework],
        bufsize=0,
        stdin=jobs,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C or a restart of the kernel must not end it
    )


class SharedForkServer:
    """A fork server that child processes may use.

    It imports the framework at once, to be ready when the first job comes.

    Args:
        framework: whose workers it forks.
        environment: its variables.

    Attributes:
        variables: the environment variables by which other processes find it.
    """

    def __init__(self, framework: str, environment: Mapping[str, str]) -> None:
        self._folder = temporary_folder()  # only this user may send jobs
        jobs = Path(self._folder.name) / "jobs"
        os.mkfifo(jobs, 0o600)
        reading = os.open(jobs, os.O_RDONLY | os.O_NONBLOCK)
        self._writing = os.open(jobs, os.O_WRONLY)
        os.set_blocking(reading, True)
        try:
            self._process = start_server(framework, reading, subprocess.DEVNULL, environment)
        finally:
            os.close(reading)
        os.write(self._writing, b"\n")
        record = {"framework": framework, "pid": self._process.pid, "jobs": str(jobs)}
        self.variables = {SERVER_VARIABLE: json.dumps({**record, "settings": import_settings(environment)})}

    def close(self) -> None:
        """Let the server end after the jobs that were sent; the workers continue."""
        os.close(self._writing)
        self._folder.cleanup()
        threading.Thread(target=self._process.wait, daemon=True).start()


class ForkServerClient:
    """A client of the fork server of another process.

    Args:
        record: the value of the environment variable.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.pid: int = record["pid"]
        self._jobs, self._settings = record["jobs"], record["settings"]

    @property
    def serves(self) -> bool:
        """Whether it accepts a job: it is alive, and the settings that a framework reads at import are unchanged."""
        if self._settings != import_settings():
            return False
        try:
            os.close(self._open())
        except BrokenPipeError:
            return False
        return True

    def send(self, line: bytes) -> None:
        """Send a job; raise BrokenPipeError if the server is gone."""
        import fcntl  # exists wherever processes fork

        pipe = self._open()
        try:
            fcntl.flock(pipe, fcntl.LOCK_EX)  # a line is longer than an atomic write
            os.set_blocking(pipe, True)
            while line:
                line = line[os.write(pipe, line) :]
        finally:
            os.close(pipe)

    def _open(self) -> int:
        try:
            return os.open(self._jobs, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # the pipe is gone, or has no reader
            raise BrokenPipeError from None


def find_shared_server(framework: str) -> ForkServerClient | None:
    """Return the shared server for a framework, if there is one."""
    record = json.loads(os.environ.get(SERVER_VARIABLE, "{}"))
    return ForkServerClient(record) if record.get("framework") == framework else None
