"""What engines on other machines have in common: how a job is handed over, and what is told where they are lost.

A cluster tries again what it lost by rules of its own, and may execute a job twice. Here who drives the sweep tries
again, and nobody else: a job that is executed although an attempt at it was begun already only says so.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.batch import servers
from lmkit.errors import MissingPackage, SweepError
from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.folder import TrialFolder, read_json
from lmkit.sweeping.trial import FULL, Job, run_trial

PATIENCE = 8.0
"""Seconds that a cluster may take to answer."""

VERSION = version("lmkit")

DIED = "the worker that executed it died"


class WorkerDied(SweepError):
    """The worker that executed a trial is gone."""


class Machine(NamedTuple):
    """Where a worker is: the machine's name, the version of lmkit there, the cores that it may use."""

    name: str
    version: str
    cores: int


def look_around() -> Machine:
    """Called on a worker: where it is."""
    able = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(socket.gethostname(), VERSION, able)


def attempt(job: Job, begun: int) -> dict[str, Any]:
    """Called on a worker: makes an attempt at a trial, of which so many were begun when the job was handed over.

    Raises:
        WorkerDied: one more was begun since, so that a worker was lost with it.
    """
    folder = TrialFolder(Path(job.folder))
    if not folder.path.is_dir():
        why = "there is no such folder; runs and sweeps must lie where every machine has them by the same path"
        return {"state": "full", "error": f"{FULL}{job.folder!r} on {socket.gethostname()}: {why}"}
    if len(folder.attempts()) > begun and read_json(folder.done) is None:
        raise WorkerDied(DIED)
    _keep_servers()
    return run_trial(job)


@functools.cache
def _keep_servers() -> None:
    servers.hold()  # for as long as this worker lives


class Promise(Future[dict[str, Any]]):
    """How an attempt on another machine will end.

    Args:
        job: what is to be attempted.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._folder = TrialFolder(Path(job.folder))
        self.begun = len(self._folder.attempts())
        self.task: Any = None

    def cancel(self) -> bool:
        """Takes it back, where it has not begun: one that has is to be asked to end, by its folder."""
        if len(self._folder.attempts()) > self.begun or not super().cancel():
            return False
        self.set_running_or_notify_cancel()
        with suppress(Exception):
            self.take_back()
        return True

    def take_back(self) -> None:
        """Tells the engine that it is not wanted any more."""
        self.task.cancel()

    def keep(self, result: Callable[[], dict[str, Any]]) -> None:
        """Settles it with what ``result()`` returns or raises."""
        if self.done():
            return
        try:
            told = result()
        except BaseException as error:  # an engine's own way of saying that it was cancelled may be any
            self.set_exception(error if isinstance(error, Exception) else EngineLost(str(error) or repr(error)))
        else:
            self.set_result(told)


# -- before anything starts -----------------------------------------------------------------------


def need(package: str, extra: str) -> None:
    """Refuses where a package is not installed."""
    if importlib.util.find_spec(package) is None:
        raise MissingPackage(
            f"engine: {extra}:// needs {package}, which is not installed; install it: pip install 'lmkit[{extra}]'"
        )


def need_answer(engine: str, address: str, hint: str, greets: float | None = None) -> None:
    """Refuses where nobody listens at ``[scheme://]HOST:PORT``, or does not speak first within ``greets`` seconds."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise SweepError(f"engine: given {engine!r}, expected HOST:PORT after '://'; {hint}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE / 2) as opened:
            if greets is not None:
                opened.settimeout(greets)
                opened.recv(1)
    except (OSError, OverflowError) as error:
        raise no_answer(engine, getattr(error, "strerror", None) or error, hint) from None


def no_answer(engine: str, why: Any, hint: str) -> SweepError:
    """The error that an engine does not answer."""
    return SweepError(f"engine: {engine!r} does not answer ({why}); {hint}")


def need_lmkit(engine: str, machines: Mapping[str, Machine | BaseException]) -> None:
    """Refuses workers that have no lmkit, or another one."""
    for worker, found in machines.items():
        if isinstance(found, BaseException):
            raise SweepError(
                f"engine: the worker {worker} of {engine!r} cannot execute lmkit ({type(found).__name__}: {found}); "
                f"install it there: pip install 'lmkit[batch]=={VERSION}' and the framework"
            )
        if found.version != VERSION:
            raise SweepError(
                f"engine: the worker {worker} of {engine!r} has lmkit {found.version}, and this is "
                f"{VERSION}; install the same on both: pip install 'lmkit[batch]=={VERSION}'"
            )
