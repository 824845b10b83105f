"""This machine: a pool of threads. The work is done by the notebooks' kernels, which are processes already."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import psutil

from lmkit.batch import warm_servers
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job, run_trial
from lmkit.system.cores import available_cores

WORKER_BYTES = 2**30
"""Memory reserved for one trial: a kernel, and a worker with a framework."""


class Threads:
    """A pool of threads.

    Attributes:
        workers: trials at a time.
        threads: threads of each trial.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.threads = workers, threads_per_worker(workers)
        warm_servers.acquire()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lmkit-trial")

    def submit(self, job: Job) -> Future[TrialOutcome]:
        """Execute the job in the next free thread."""
        return self._pool.submit(run_trial, job)

    def close(self) -> None:
        """Wait for running jobs and end the pool."""
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            warm_servers.release()


def connect(_address: str, workers: int | None) -> Threads:
    """Return a pool of ``workers`` threads."""
    return Threads(workers or default_workers())


def default_workers() -> int:
    """Return the number of trials for which this machine has cores and memory."""
    return max(1, min(available_cores(), psutil.virtual_memory().available // WORKER_BYTES))


def threads_per_worker(workers: int) -> int:
    """Return the number of threads that each of ``workers`` trials may use."""
    return max(1, available_cores() // workers)
