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

import logging
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from lmkit.sweeping.engines import EngineLost
from lmkit.sweeping.engines.cluster import (
    TIMEOUT,
    VERSION,
    WORKER_DIED,
    ClusterFuture,
    Machine,
    WorkerDied,
    check_address,
    check_versions,
    describe_machine,
    no_answer,
    run_attempt,
)
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job
from lmkit.system.optional import require

HINT = "start one: ray start --head --node-ip-address 127.0.0.1, and use ray://127.0.0.1:10001 or ray://auto"

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
    require("ray", extra="ray", purpose="engine: ray://")
    name = f"ray://{address}"
    if address != "auto":
        check_address(name, address, HINT)
    elif cluster := os.environ.get("RAY_ADDRESS", "").removeprefix("ray://"):
        check_address(name, cluster, HINT)
    import ray

    owns_connection = not ray.is_initialized()
    if owns_connection:
        if address != "auto":
            _check_client_server(name, address)
        _init(name, address)
    try:
        return Ray(name, workers, owns_connection)
    except BaseException:
        if owns_connection:
            ray.shutdown()
        raise


def _init(name: str, address: str) -> None:
    """Connect this process to Ray."""
    import ray

    for last in (False, True):
        try:
            with _restored_signals():
                ray.init(name if address != "auto" else "auto", log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:
            with suppress(Exception):
                ray.shutdown()
            if last or not isinstance(error, ConnectionAbortedError):  # Ray's server for this client did not start
                raise no_answer(name, str(error).partition("\n")[0] or type(error).__name__, HINT) from None


def _check_client_server(name: str, address: str) -> None:
    """Raise a SweepError for a port where something else listens: Ray itself would try for minutes."""
    import grpc

    logging.getLogger("ray.client_builder").setLevel(logging.WARNING)  # it logs every connection
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT)
    except grpc.FutureTimeoutError:
        raise no_answer(name, f"no Ray client server answered within {TIMEOUT:g} seconds", HINT) from None
    finally:
        channel.close()


@contextmanager
def _restored_signals() -> Iterator[None]:
    """Restore the signal handlers that Ray replaces within the ``with`` block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
