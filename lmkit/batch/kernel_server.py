"""The process that forks kernels: ``python -m lmkit.batch.kernel_server`` reads one job per line and writes its pid.

It has imported the modules that every kernel needs, and those of an experiment's notebook if one is to be trained, so
that a kernel starts within a few hundredths of a second. It computes nothing itself, so that it has no other threads
when it forks, and it ends with its input, that is, with the process that uses it.
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

from lmkit.system.imports import import_settings

PRELOAD = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.zmqshell",
    "lmkit.batch.parameter_usage",
    "lmkit.run.run",
)

PRELOAD_FOR_EXPERIMENTS = (
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.model_selection",
    "pandas",
    "lmkit.run.start",
    "lmkit.tables.dataset",
    "lmkit.tables",
    "lmkit.charts",
    "plotly.graph_objects",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
)
"""The modules that the notebook of an experiment imports first."""

INLINE = "module://matplotlib_inline.backend_inline"
"""Matplotlib's backend in a kernel; it is read at import."""


def main(experiments: bool) -> None:
    """Fork kernels until the input ends."""
    os.environ.setdefault("MPLBACKEND", INLINE)
    if sys.path[0] == "" or Path(sys.path[0]) == Path.cwd():
        del sys.path[0]  # a kernel adds it itself
    for name in (*PRELOAD, *(PRELOAD_FOR_EXPERIMENTS if experiments else ())):
        with contextlib.suppress(ImportError):  # the kernel raises it again, in a cell
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps ended kernels
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run_kernel(job)
        print(pid, flush=True)


def _run_kernel(job: Mapping[str, Any]) -> NoReturn:
    """Turn this process into a kernel."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        devnull = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(devnull, stream)
        os.environ.clear()
        os.environ.update(job["env"])
        if numpy := sys.modules.get("numpy"):
            numpy.random.seed()  # otherwise all kernels would draw the same numbers
        if job["cwd"]:
            os.chdir(job["cwd"])
        sys.argv = job["argv"]
        parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it ends with this server
        extension = "--ext=lmkit.batch.kernel_server"
        importlib.import_module("ipykernel.kernelapp").launch_new_instance(argv=[*job["argv"][1:], parent, extension])
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


def load_ipython_extension(_shell: Any) -> None:
    """Do what importing lmkit does in a kernel, since lmkit was imported before the kernel existed."""
    importlib.import_module("lmkit").teach_ipython()


class ForkedKernel:
    """A forked kernel, with the methods of ``subprocess.Popen`` that its manager uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
            self._process.create_time()  # process ids are reused
        except psutil.NoSuchProcess:
            self._process = None

    def poll(self) -> int | None:
        """Return the exit status; None while the kernel is alive."""
        if self.returncode is None and not (self._process and self._process.is_running()):
            self.returncode = -1
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the kernel's end; returns the exit status."""
        if self._process:
            try:
                self._process.wait(timeout)
            except psutil.TimeoutExpired:
                raise subprocess.TimeoutExpired("kernel", timeout or 0) from None
        return self.poll() or -1

    def send_signal(self, number: int) -> None:
        """Send a signal, if the kernel is alive."""
        if self.poll() is None and self._process:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._process.send_signal(number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class KernelServer:
    """A handle on the process that forks kernels.

    Args:
        environment: its variables; its kernels may change only those that no library reads at import.
        experiments: whether to import the modules of an experiment's notebook.
    """

    def __init__(self, environment: Mapping[str, str], experiments: bool = False) -> None:
        self._lock = threading.Lock()
        self._settings = import_settings(environment)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lmkit.batch.kernel_server", *(["experiments"] if experiments else [])],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # it ignores a Ctrl-C in the terminal
        )

    def fork(self, argv: Sequence[str], env: Mapping[str, str], cwd: str | None) -> ForkedKernel | None:
        """Fork a kernel with ``argv``; None if the server is gone, or ``env`` requires other imports."""
        if import_settings(env) != self._settings:
            return None
        job = json.dumps({"argv": list(argv), "env": dict(env), "cwd": cwd})
        with self._lock:
            try:
                assert self._process.stdin
                assert self._process.stdout
                self._process.stdin.write(job + "\n")
                self._process.stdin.flush()
                pid = self._process.stdout.readline()
            except (OSError, ValueError):
                return None
        return ForkedKernel(int(pid)) if pid.strip() else None

    def close(self) -> None:
        """End the process and its kernels."""
        with self._lock:
            self._process.terminate()
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process.wait()


if __name__ == "__main__":
    main("experiments" in sys.argv)
