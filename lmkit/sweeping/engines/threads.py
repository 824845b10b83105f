"""This machine: a thread a worker. The work is done by the notebooks' kernels, which are processes already."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psutil

from lmkit.batch import servers
from lmkit.sweeping.trial import Job, run_trial

WORKER_BYTES = 2**30
"""Memory that a trial is reckoned with: a kernel, and a worker with a framework."""


class Threads:
    """A pool of threads.

    Attributes:
        workers: how many.
        threads: how many threads the work of each may use.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.threads = workers, share(workers)
        servers.hold()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lmkit-trial")

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Has it done by the next thread that is free."""
        return self._pool.submit(run_trial, job)

    def close(self) -> None:
        """Waits for what is being done."""
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            servers.let_go()


def connect(address: str, workers: int | None) -> Threads:
    """A pool of so many threads."""
    return Threads(workers or room())


def room() -> int:
    """How many trials this machine has cores and memory for."""
    return max(1, min(os.cpu_count() or 1, psutil.virtual_memory().available // WORKER_BYTES))


def share(workers: int) -> int:
    """The threads that each of so many workers may use."""
    return max(1, (os.cpu_count() or 1) // workers)
