"""What the engines on other machines share: how a job is handed over, and the errors of a cluster.

A cluster retries lost jobs by its own rules, and may execute a job twice. Here only the sweep's driver retries: a job
that is executed although an attempt at it was started already raises WorkerDied.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.batch import warm_servers
from lmkit.exceptions import SweepError, shorten
from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.folder import TrialFolder
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import CANNOT_WRITE, Job, run_trial
from lmkit.system.cores import available_cores
from lmkit.system.environment import installed_versions
from lmkit.system.optional import install_command

TIMEOUT = 8.0
"""Seconds that a cluster may take to answer."""

VERSION = installed_versions(["lmkit"]).get("lmkit", "unknown")

WORKER_DIED = "the worker that executed it died"


class WorkerDied(SweepError):
    """The worker that executed a trial is gone."""


class Machine(NamedTuple):
    """Where a worker runs: the machine's name, the version of lmkit there, the cores that it may use."""

    name: str
    version: str
    cores: int


def describe_machine() -> Machine:
    """Return the machine of the worker that executes this."""
    return Machine(socket.gethostname(), VERSION, available_cores())


def run_attempt(job: Job, earlier_attempts: int) -> TrialOutcome:
    """Make an attempt at a trial, on a worker.

    Args:
        job: the attempt.
        earlier_attempts: attempts at the trial when the job was submitted.

    Raises:
        WorkerDied: another attempt was started since, and its worker was lost.
    """
    folder = TrialFolder(Path(job.folder))
    if not folder.path.is_dir():
        reason = "no such folder; runs and sweeps must have the same paths on every machine"
        return TrialOutcome("full", f"{CANNOT_WRITE}{job.folder!r} on {socket.gethostname()}: {reason}")
    if len(folder.attempts()) > earlier_attempts and folder.outcome() is None:
        raise WorkerDied(WORKER_DIED)
    _acquire_servers()
    return run_trial(job)


@functools.cache
def _acquire_servers() -> None:
    warm_servers.acquire()  # until this worker ends


class ClusterFuture(Future[TrialOutcome]):
    """The future outcome of an attempt on another machine.

    Args:
        job: the attempt.

    Attributes:
        task: the engine's own handle.
        earlier_attempts: attempts at the trial when the job was submitted.
    """

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._folder = TrialFolder(Path(job.folder))
        self.earlier_attempts = len(self._folder.attempts())
        self.task: Any = None

    def cancel(self) -> bool:
        """Cancel the job if it has not started; one that has is stopped through its trial's folder."""
        if len(self._folder.attempts()) > self.earlier_attempts or not super().cancel():
            return False
        self.set_running_or_notify_cancel()
        with suppress(Exception):
            self.cancel_task()
        return True

    def cancel_task(self) -> None:
        """Cancel the engine's task."""
        self.task.cancel()

    def settle(self, result: Callable[[], TrialOutcome]) -> None:
        """Set the result or the exception to what ``result()`` returns or raises."""
        if self.done():
            return
        try:
            outcome = result()
        except BaseException as error:  # an engine may signal a cancellation by any exception
            self.set_exception(error if isinstance(error, Exception) else EngineLost(str(error) or repr(error)))
        else:
            self.set_result(outcome)


# -- checks before anything starts ----------------------------------------------------------------


def check_address(engine: str, address: str, hint: str, greeting_timeout: float | None = None) -> None:
    """Raise a SweepError where nothing listens at ``[scheme://]HOST:PORT``.

    Args:
        engine: the engine's address as the user typed it.
        address: where to connect to.
        hint: how to start the cluster.
        greeting_timeout: seconds within which the other side must send something first; None: it need not.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not host or not port.isdigit():
        raise SweepError(f"engine: given {shorten(engine)}, expected HOST:PORT after '://'; {hint}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT / 2) as connection:
            if greeting_timeout is not None:
                connection.settimeout(greeting_timeout)
                connection.recv(1)
    except (OSError, OverflowError) as error:
        raise no_answer(engine, getattr(error, "strerror", None) or error, hint) from None


def no_answer(engine: str, reason: Any, hint: str) -> SweepError:
    """Return the error of an engine that does not answer."""
    return SweepError(f"engine: {engine!r} does not answer ({reason}); {hint}")


def check_versions(engine: str, machines: Mapping[str, Machine | BaseException]) -> None:
    """Raise a SweepError for a worker without lmkit, or with another version of it."""
    install = install_command("batch", version=VERSION)
    for worker, machine in machines.items():
        if isinstance(machine, BaseException):
            raise SweepError(
                f"engine: the worker {worker} of {engine!r} cannot execute lmkit ({type(machine).__name__}: "
                f"{machine}); install it there, and the framework: {install}"
            )
        if machine.version != VERSION:
            raise SweepError(
                f"engine: the worker {worker} of {engine!r} has lmkit {machine.version}, and this is "
                f"{VERSION}; install the same version on both: {install}"
            )
