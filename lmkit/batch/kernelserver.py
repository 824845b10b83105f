"""The process that forks kernels: ``python -m lmkit.batch.kernelserver``, a job a line on its input, a pid a line back.

It has imported what every kernel begins with, so that a kernel is there in a few hundredths of a second. It computes
nothing itself, so no thread is there when it forks, and it ends with its input, so with the process that it serves.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import psutil

FORKS = sys.platform == "linux"
"""Elsewhere the system's own libraries do not survive a fork, or there is none."""

PRELOAD = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "lmkit.batch.reading", "lmkit.run")


def main() -> None:
    """Forks kernels until the input ends."""
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # a kernel adds it by itself
    for name in PRELOAD:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels here; the system takes them away
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(job)
        print(pid, flush=True)


def _become(job: Mapping[str, Any]) -> NoReturn:
    """Becomes a kernel."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        os.environ.clear()
        os.environ.update(job["env"])
        if job["cwd"]:
            os.chdir(job["cwd"])
        sys.argv = job["argv"]
        parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends where this server does
        importlib.import_module("ipykernel.kernelapp").launch_new_instance(argv=[*job["argv"][1:], parent])
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


class Forked:
    """A kernel that the server forked, in as much of ``subprocess.Popen`` as its manager asks for."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
            self._process.create_time()  # pids are used again
        except psutil.NoSuchProcess:
            self._process = None

    def poll(self) -> int | None:
        """None while it lives."""
        if self.returncode is None and not (self._process and self._process.is_running()):
            self.returncode = -1
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end."""
        if self._process:
            try:
                self._process.wait(timeout)
            except psutil.TimeoutExpired:
                raise subprocess.TimeoutExpired("kernel", timeout or 0) from None
        return self.poll() or -1

    def send_signal(self, number: int) -> None:
        """Sends it a signal, where it still lives."""
        if self.poll() is None and self._process:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)


class Server:
    """The process that forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmkit.batch.kernelserver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
        )

    def fork(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None) -> Forked | None:
        """A kernel started with ``argv``; None where the server is gone."""
        job = json.dumps({"argv": list(argv), "env": dict(env), "cwd": cwd})
        with self._lock:
            try:
                assert self._process.stdin and self._process.stdout
                self._process.stdin.write(job + "\n")
                self._process.stdin.flush()
                pid = self._process.stdout.readline()
            except (OSError, ValueError):
                return None
        return Forked(int(pid)) if pid.strip() else None

    def close(self) -> None:
        """Lets it end."""
        with self._lock:
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process.wait()


_server: Server | None = None
_holders = 0
_holding = threading.Lock()


@contextmanager
def forking() -> Iterator[None]:
    """Meanwhile the kernels that this process starts are forked, where the system can."""
    hold()
    try:
        yield
    finally:
        let_go()


def hold() -> None:
    """Begins to fork kernels, as ``forking`` does, until ``let_go``."""
    global _server, _holders
    with _holding:
        _holders += 1
        if FORKS and _server is None:
            _server = Server()


def let_go() -> None:
    """Ends what ``hold`` began."""
    global _server, _holders
    with _holding:
        _holders -= 1
        if _holders == 0 and _server is not None:
            _server.close()
            _server = None


def server() -> Server | None:
    """The server, while kernels are to be forked."""
    return _server


if __name__ == "__main__":
    main()
