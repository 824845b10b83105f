"""A running Dask cluster: ``dask://HOST:PORT`` of its scheduler, or ``dask:///path/of/scheduler.json``.

A thread of a Dask worker executes one trial at a time, so set ``--nthreads`` to the number of trials that a machine is
to execute at once; its cores are divided among them. Every machine needs lmkit, and the folders of the sweep and of
the runs under the same paths.

On one machine::

    dask scheduler --host 127.0.0.1
    dask worker 127.0.0.1:8786 --nworkers 4 --nthreads 1
    lmkit sweep train --grid lr=0.1,0.01 --engine dask://127.0.0.1:8786

On Slurm (likewise PBS, LSF, SGE, …) with `dask-jobqueue <https://jobqueue.dask.org>`_, from a process that runs for as
long as the sweep, such as one in tmux on the login node::

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=8, processes=2, memory="32GB", walltime="12:00:00",
                           worker_extra_args=["--nthreads", "1"])
    cluster.scale(jobs=10)                # 20 trials at once, 4 cores each
    lk.sweep("train", grid=…, engine=f"dask://{cluster.scheduler_address}", workers=20)

When Slurm ends a job, its trials resume from their checkpoints in the next one. Dask requires no password: anyone who
can reach the scheduler's port can execute code. On a shared network use its TLS: ``dask://tls://HOST:PORT``, with the
certificates in Dask's configuration.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from lmkit.exceptions import SweepError
from lmkit.executors.clusters import TIMEOUT, check_address, check_versions, describe_machine, no_answer
from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.engines.cluster import ClusterFuture, run_attempt
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job
from lmkit.system.optional import require

HINT = "start one: dask scheduler --host 127.0.0.1, and dask worker HOST:PORT --nthreads 1"


class Dask:
    """The workers of a scheduler.

    Attributes:
        workers: trials at a time.
        threads: threads of each trial.
    """

    def __init__(self, name: str, client: Any, workers: int | None) -> None:
        self.name, self.client = name, client
        slots: dict[str, int] = client.nthreads()
        if not slots and workers is None:
            raise SweepError(
                f"engine: {name!r} has no workers yet; start some (dask worker HOST:PORT --nthreads 1), or set the "
                "number of trials at a time: workers=4"
            )
        machines = client.run(describe_machine, on_error="return") if slots else {}
        check_versions(name, machines)
        self.workers = workers or sum(slots.values())
        slots_by_host: Counter[str] = Counter()
        for worker, machine in machines.items():
            slots_by_host[machine.name] += slots.get(worker, 1)
        shares = [m.cores // min(slots_by_host[m.name], self.workers) for m in machines.values()]
        self.threads = max(1, min(shares, default=1))

    def submit(self, job: Job) -> ClusterFuture:
        """Execute the job in the next free thread of a worker."""
        future = ClusterFuture(job)
        try:
            # not pure: Dask would return the result of an earlier call with equal arguments
            future.task = self.client.submit(run_attempt, job, future.earlier_attempts, pure=False)
            future.task.add_done_callback(lambda task: future.settle(lambda: self._result(task)))
        except Exception as error:
            future.set_exception(self._lost(error))
        return future

    def _result(self, task: Any) -> TrialOutcome:
        from distributed import KilledWorker

        if task.status in ("cancelled", "lost"):
            raise self._lost(task.status)
        try:
            outcome: TrialOutcome = task.result(timeout=TIMEOUT)
            return outcome
        except KilledWorker:
            raise SweepError("the workers that executed it died") from None

    def _lost(self, reason: Any) -> EngineLost:
        return EngineLost(f"the scheduler of {self.name!r} is lost ({reason})")

    def close(self) -> None:
        """Disconnect from the cluster, which keeps running."""
        with suppress(Exception):
            self.client.close(timeout=TIMEOUT)


def connect(address: str, workers: int | None) -> Dask:
    """Connect to the cluster of a scheduler.

    Raises:
        SweepError: it does not answer, or its workers cannot execute this version of lmkit.
        MissingPackage: Dask is not installed.
    """
    require("distributed", extra="dask", purpose="engine: dask://")
    name = f"dask://{address}"
    from distributed import Client

    location = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    if "address" in location:
        # a scheduler sends a greeting; without one, Dask's client ignores its timeout
        check_address(name, address, HINT, greeting_timeout=None if "tls://" in address else TIMEOUT)
    try:
        client = Client(**location, timeout=TIMEOUT, set_as_default=False)
    except Exception as error:
        raise no_answer(name, f"{type(error).__name__}: {error}", HINT) from None
    try:
        return Dask(name, client, workers)
    except BaseException:
        client.close(timeout=TIMEOUT)
        raise
