"""This machine: a thread a worker. The work is done by the notebooks' kernels, which are processes already."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from lmkit.batch import kernelserver
from lmkit.sweeping.trial import Job, run_trial


class Threads:
    """A pool of threads."""

    def __init__(self, workers: int) -> None:
        kernelserver.hold()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="lmkit-trial")

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Has it done by the next thread that is free."""
        return self._pool.submit(run_trial, job)

    def close(self) -> None:
        """Waits for what is being done."""
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            kernelserver.let_go()


def connect(address: str, workers: int) -> Threads:
    """A pool of so many threads."""
    return Threads(workers)
