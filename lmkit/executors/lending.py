"""A fork server that several processes use: one holds it, and lends it to those that it starts.

They find it by an environment variable. It takes jobs from a named pipe, and ends once nobody has that open.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lmkit.imports import import_settings

LENT = "LMKIT_FORKSERVER"
"""The environment variable that names a server: its framework, its process, its pipe and what it was started with."""


def start_server(
    framework: str, jobs: int, errors: int | IO[bytes], environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """The process that forks the workers of a framework."""
    return subprocess.Popen(
        [sys.executable, "-m", "lmkit.executors.forkserver", framework],
        bufsize=0,
        stdin=jobs,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env=environment,
        start_new_session=True,  # Ctrl-C in the terminal, or a restart of the kernel, is not meant for it
    )


class Lent:
    """A server that is lent.

    It begins at once with what it imports, so that it is ready when the first job comes.

    Args:
        framework: whose workers it forks.
        environment: its variables.

    Attributes:
        variables: what those need in their environment who are to use it.
    """

    def __init__(self, framework: str, environment: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="lmkit-")  # nobody else may send it jobs
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
        told = {"framework": framework, "pid": self._process.pid, "jobs": str(jobs)}
        self.variables = {LENT: json.dumps({**told, "settings": import_settings(environment)})}

    def close(self) -> None:
        """Lets it end, once it has taken up what it was sent; the workers go on."""
        os.close(self._writing)
        self._folder.cleanup()
        threading.Thread(target=self._process.wait, daemon=True).start()


class Borrowed:
    """A server that another process holds, to be used like one's own.

    Args:
        told: what the variable says of it.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.pid: int = told["pid"]
        self._jobs, self._settings = told["jobs"], told["settings"]

    @property
    def serves(self) -> bool:
        """Whether it takes another job: it lives, and what a framework reads at import is as it was."""
        if self._settings != import_settings():
            return False
        try:
            os.close(self._open())
        except BrokenPipeError:
            return False
        return True

    def send(self, line: bytes) -> None:
        """Gives it a job; a BrokenPipeError if it is gone."""
        import fcntl  # where processes fork, there is this

        pipe = self._open()
        try:
            fcntl.flock(pipe, fcntl.LOCK_EX)  # a line is longer than what is written at once by itself
            os.set_blocking(pipe, True)
            while line:
                line = line[os.write(pipe, line) :]
        finally:
            os.close(pipe)

    def _open(self) -> int:
        try:
            return os.open(self._jobs, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # the pipe is gone, or nobody reads it
            raise BrokenPipeError from None


def borrowed(framework: str) -> Borrowed | None:
    """The server that this process may use for a framework, if there is one."""
    told = json.loads(os.environ.get(LENT, "{}"))
    return Borrowed(told) if told.get("framework") == framework else None
