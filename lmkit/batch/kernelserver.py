"""The process that forks kernels: ``python -m lmkit.batch.kernelserver``, a job a line on its input, a pid a line back.

It has imported what every kernel begins with, so that a kernel is there in a few hundredths of a second, and where an
experiment is to be trained, what its notebook imports too. It computes nothing itself, so no thread of its own is there
when it forks, and it ends with its input, so with the process that it serves.
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from lmkit.imports import import_settings

PRELOAD = ("ipykernel.kernelapp", "ipykernel.ipkernel", "ipykernel.zmqshell", "lmkit.batch.reading", "lmkit.run")

PRELOAD_FOR_EXPERIMENTS = (
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.model_selection",
    "pandas",
    "lmkit.training",
    "lmkit.description",
    "lmkit.tables",
    "lmkit.charts",
    "plotly.graph_objects",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)
"""What the notebook of an experiment would spend its first seconds on importing."""

INLINE = "module://matplotlib_inline.backend_inline"
"""Where matplotlib draws in a kernel; it reads that while it is imported."""


def main(experiments: bool) -> None:
    """Forks kernels until the input ends."""
    os.environ.setdefault("MPLBACKEND", INLINE)
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # a kernel adds it by itself
    for name in (*PRELOAD, *(PRELOAD_FOR_EXPERIMENTS if experiments else ())):
        with contextlib.suppress(ImportError):  # the kernel meets it again, where somebody reads it
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
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()  # or all kernels would draw the same
        if job["cwd"]:
            os.chdir(job["cwd"])
        sys.argv = job["argv"]
        parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends where this server does
        taught = "--ext=lmkit.batch.kernelserver"
        importlib.import_module("ipykernel.kernelapp").launch_new_instance(argv=[*job["argv"][1:], parent, taught])
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def load_ipython_extension(shell: Any) -> None:
    """What importing lmkit does in a kernel: it was imported before there was one."""
    importlib.import_module("lmkit").teach_ipython()


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
    """The process that forks.

    Args:
        environment: its variables, of which its kernels may change only what no library reads while it is imported.
        experiments: whether it is to import what notebooks of experiments do.
    """

    def __init__(self, environment: Mapping[str, str], experiments: bool = False) -> None:
        self._lock = threading.Lock()
        self._settings = import_settings(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmkit.batch.kernelserver", *(["experiments"] if experiments else [])],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C in the terminal is not meant for it
        )

    def fork(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None) -> Forked | None:
        """A kernel started with ``argv``; None where the server is gone, or its imports would not be the kernel's."""
        if import_settings(env) != self._settings:
            return None
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
        """Ends it, with the kernels that there still are."""
        with self._lock:
            self._process.terminate()
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process.wait()


if __name__ == "__main__":
    main("experiments" in sys.argv)
