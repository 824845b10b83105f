"""An engine: one trial after the other, on this machine."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job, run_trial


class Serial:
    """One thread."""

    workers = threads = 1

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1)

    def submit(self, job: Job) -> Future[TrialOutcome]:
        """Execute the job after those before it."""
        return self._pool.submit(run_trial, job)

    def close(self) -> None:
        """End the thread."""
        self._pool.shutdown()


def connect(_address: str, _workers: int | None) -> Serial:
    """Return the engine."""
    return Serial()
