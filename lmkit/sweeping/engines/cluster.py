"""What the engines on other machines share: how a job is handed over, and the errors of a cluster.

A cluster retries lost jobs by its own rules, and may execute a job twice. Here only the sweep's driver retries: a job
that is executed although an attempt at it was started already raises WorkerDied.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from lmkit.batch import warm_servers
from lmkit.exceptions import SweepError
from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.folder import TrialFolder
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import CANNOT_WRITE, Job, run_trial

WORKER_DIED = "the worker that executed it died"


class WorkerDied(SweepError):
    """The worker that executed a trial is gone."""


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
