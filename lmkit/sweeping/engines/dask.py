"""A Dask cluster that there is already: ``dask://HOST:PORT`` of its scheduler, or ``dask:///path/of/scheduler.json``.

A thread of a Dask worker executes one trial at a time. Workers want ``--nthreads`` of as many trials as their machine
is to execute at once; each trial is given its share of the machine's cores. Every machine needs lmkit, and the folders
of the sweep and of the runs under the same path.

On one machine::

    dask scheduler --host 127.0.0.1
    dask worker 127.0.0.1:8786 --nworkers 4 --nthreads 1
    lmkit sweep train --grid lr=0.1,0.01 --engine dask://127.0.0.1:8786

On Slurm (PBS, LSF, SGE, … alike) with `dask-jobqueue <https://jobqueue.dask.org>`_, from a process that goes on for as
long as the sweep, such as one in tmux on the login node::

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=8, processes=2, memory="32GB", walltime="12:00:00",
                           worker_extra_args=["--nthreads", "1"])
    cluster.scale(jobs=10)                # 20 trials at once, 4 cores each
    lk.sweep("train", grid=…, engine=f"dask://{cluster.scheduler_address}", workers=20)

A job that Slurm ends takes its trials with it; they are gone on with from their checkpoints by the next one. Dask asks
nobody for a password: whoever reaches the scheduler's port executes what they like. Where the network is not yours
alone, use its TLS: ``dask://tls://HOST:PORT``, with the certificates in Dask's configuration.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from lmkit.errors import SweepError
from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.remote import (
    PATIENCE,
    Promise,
    attempt,
    look_around,
    need,
    need_answer,
    need_lmkit,
    no_answer,
)
from lmkit.sweeping.trial import Job

HINT = "start one: dask scheduler --host 127.0.0.1, and dask worker HOST:PORT --nthreads 1"


class Dask:
    """The workers of a scheduler.

    Attributes:
        workers: how many trials at once.
        threads: how many threads each may use.
    """

    def __init__(self, name: str, client: Any, workers: int | None) -> None:
        self.name, self.client = name, client
        slots: dict[str, int] = client.nthreads()
        if not slots and workers is None:
            raise SweepError(
                f"engine: {name!r} has no workers yet; start some (dask worker HOST:PORT --nthreads 1), or say how "
                "many trials at once: workers=4"
            )
        machines = client.run(look_around, on_error="return") if slots else {}
        need_lmkit(name, machines)
        self.workers = workers or sum(slots.values())
        here: Counter[str] = Counter()
        for worker, machine in machines.items():
            here[machine.name] += slots.get(worker, 1)
        shares = [m.cores // min(here[m.name], self.workers) for m in machines.values()]
        self.threads = max(1, min(shares, default=1))

    def submit(self, job: Job) -> Promise:
        """Has it done by the next worker's thread that is free."""
        promise = Promise(job)
        try:
            # a key of its own: Dask keeps what it has executed under the same one
            promise.task = self.client.submit(attempt, job, promise.begun, pure=False)
            promise.task.add_done_callback(lambda task: promise.keep(lambda: self._result(task)))
        except Exception as error:
            promise.set_exception(self._lost(error))
        return promise

    def _result(self, task: Any) -> dict[str, Any]:
        from distributed import KilledWorker

        if task.status in ("cancelled", "lost"):
            raise self._lost(task.status)
        try:
            return dict(task.result(timeout=PATIENCE))
        except KilledWorker:
            raise SweepError("the workers that executed it died") from None

    def _lost(self, why: Any) -> EngineLost:
        return EngineLost(f"the scheduler of {self.name!r} is lost ({why})")

    def close(self) -> None:
        """Leaves the cluster, which goes on."""
        with suppress(Exception):
            self.client.close(timeout=PATIENCE)


def connect(address: str, workers: int | None) -> Dask:
    """The cluster of a scheduler.

    Raises:
        SweepError: it does not answer, or its workers cannot execute lmkit.
        MissingPackage: Dask is not installed.
    """
    need("distributed", "dask")
    name = f"dask://{address}"
    from distributed import Client

    given = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    if "address" in given:
        # a scheduler greets who connects; for who does not, Dask's client waits whatever it is told
        need_answer(name, address, HINT, greets=None if "tls://" in address else PATIENCE)
    try:
        client = Client(**given, timeout=PATIENCE, set_as_default=False)
    except Exception as error:
        raise no_answer(name, f"{type(error).__name__}: {error}", HINT) from None
    try:
        return Dask(name, client, workers)
    except BaseException:
        client.close(timeout=PATIENCE)
        raise
