"""A running Ray cluster: ``ray://HOST:10001`` (Ray's client server), or ``ray://auto`` on one of its machines.

``auto`` is the cluster of $RAY_ADDRESS, or the one that runs on this machine. A process that is already connected to
Ray keeps its connection, and the trials are executed there. Each trial takes as many of Ray's CPUs as it has threads,
and its share of the GPUs, if any. Every machine needs lmkit, and the folders of the sweep and of the runs under the
same paths.

On one machine::

    ray start --head --node-ip-address 127.0.0.1 --include-dashboard false
    lmkit sweep train --grid lr=0.1,0.01 --engine ray://auto

Ray listens on all interfaces, and without RAY_AUTH_MODE=token it requires no password: anyone who can reach it can
execute code. Keep it behind a firewall.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from lmkit.executors.clusters import ENGINE, VERSION, Machine, check_versions, describe_machine
from lmkit.executors.ray_connection import check_cluster, connect_cluster
from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.engines.cluster import WORKER_DIED, ClusterFuture, WorkerDied, run_attempt
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job

START_TIMEOUT = 30.0
"""Seconds that the first worker may take to start."""


class Ray:
    """The CPUs of a cluster.

    Attributes:
        workers: trials at a time.
        threads: threads of each trial.
    """

    def __init__(self, name: str, workers: int | None, owns_connection: bool) -> None:
        import ray

        self.name, self._owns_connection = name, owns_connection
        nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        cpus = [int(n.get("CPU", 0)) for n in nodes]
        self.workers = workers or max(1, sum(cpus))
        self.threads = threads_per_trial(cpus, self.workers)
        gpus = gpus_per_trial(sum(n.get("GPU", 0.0) for n in nodes), self.workers)
        self._options = {"num_cpus": self.threads, "num_gpus": gpus, "max_retries": 0}
        check_versions(name, {"": self._describe_worker(ray)})
        self._run_attempt = ray.remote(run_attempt)

    @staticmethod
    def _describe_worker(ray: Any) -> Machine | BaseException:
        """Return the machine of a worker, or the error; a cluster without a free worker passes as the right version."""
        try:
            machine = ray.remote(describe_machine).options(num_cpus=0, max_retries=0).remote()
            return Machine(*ray.get(machine, timeout=START_TIMEOUT))
        except ray.exceptions.GetTimeoutError:
            return Machine("", VERSION, 1)
        except Exception as error:
            return error

    def submit(self, job: Job) -> ClusterFuture:
        """Execute the job on a machine with enough free CPUs."""
        import ray

        future = RayFuture(job)
        try:
            future.task = self._run_attempt.options(**self._options).remote(job, future.earlier_attempts)
            future.task.future().add_done_callback(lambda result: future.settle(lambda: self._result(result)))
        except Exception as error:
            future.set_exception(self._lost(error) if not ray.is_initialized() else error)
        return future

    def _result(self, result: Any) -> TrialOutcome:
        import ray

        try:
            outcome: TrialOutcome = result.result()
            return outcome
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError):
            raise WorkerDied(WORKER_DIED) from None
        except ray.exceptions.RayError:
            raise
        except Exception as error:
            raise self._lost(error) from None

    def _lost(self, reason: Any) -> EngineLost:
        return EngineLost(f"the cluster of {self.name!r} is lost ({reason})")

    def close(self) -> None:
        """Disconnect from the cluster, which keeps running; a connection from before stays."""
        import ray

        if self._owns_connection:
            with suppress(Exception):
                ray.shutdown()


class RayFuture(ClusterFuture):
    """The future outcome of an attempt that Ray executes."""

    def cancel_task(self) -> None:
        """Cancel Ray's task."""
        import ray

        ray.cancel(self.task)


def threads_per_trial(cpus: Sequence[int], workers: int) -> int:
    """Return the most CPUs that each of ``workers`` trials can have, none of them divided between machines."""
    most = max(cpus, default=1)
    return max((t for t in range(1, most + 1) if sum(c // t for c in cpus) >= workers), default=1)


def gpus_per_trial(gpus: float, workers: int) -> float:
    """Return the GPUs of each of ``workers`` trials: a whole number, or a fraction that divides one evenly."""
    if gpus < 1:
        return 0.0
    return float(gpus // workers) if gpus >= workers else 1 / math.ceil(workers / gpus)


def connect(address: str, workers: int | None) -> Ray:
    """Connect to the cluster with that address.

    Raises:
        SweepError: it does not answer, or its workers cannot execute this version of lmkit.
        MissingPackage: Ray is not installed.
    """
    name = f"ray://{address}"
    check_cluster(name, ENGINE)
    import ray

    owns_connection = connect_cluster(name, ENGINE)
    try:
        return Ray(name, workers, owns_connection)
    except BaseException:
        if owns_connection:
            ray.shutdown()
        raise
