"""A Ray cluster that there is already: ``ray://HOST:10001`` (Ray's client server), or ``ray://auto`` on its machines.

``auto`` is the cluster of $RAY_ADDRESS, or the one that runs on this machine. A process that is connected to Ray
already keeps its connection, and the trials go there. Each trial takes as many of Ray's CPUs as it has threads, and its
share of the GPUs, where there are some. Every machine needs lmkit, and the folders of the sweep and of the runs under
the same path.

On one machine::

    ray start --head --node-ip-address 127.0.0.1 --include-dashboard false
    lmkit sweep train --grid lr=0.1,0.01 --engine ray://auto

Ray listens on all interfaces, and unless RAY_AUTH_MODE=token is set it asks nobody for a password: whoever reaches it
executes what they like. Keep it behind a firewall.
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
from lmkit.sweeping.remote import (
    DIED,
    PATIENCE,
    VERSION,
    Machine,
    Promise,
    WorkerDied,
    attempt,
    look_around,
    need,
    need_answer,
    need_lmkit,
    no_answer,
)
from lmkit.sweeping.trial import Job

HINT = "start one: ray start --head --node-ip-address 127.0.0.1, and give ray://127.0.0.1:10001 or ray://auto"

FIRST_SECONDS = 30.0
"""How long a first worker may take to begin."""


class Ray:
    """The CPUs of a cluster.

    Attributes:
        workers: how many trials at once.
        threads: how many threads each may use.
    """

    def __init__(self, name: str, workers: int | None, own: bool) -> None:
        import ray

        self.name, self._own = name, own
        nodes = [n["Resources"] for n in ray.nodes() if n["Alive"]]
        cpus = [int(n.get("CPU", 0)) for n in nodes]
        self.workers = workers or max(1, sum(cpus))
        self.threads = threads(cpus, self.workers)
        gpus = share(sum(n.get("GPU", 0.0) for n in nodes), self.workers)
        self._options = {"num_cpus": self.threads, "num_gpus": gpus, "max_retries": 0}
        need_lmkit(name, {"": self._first(ray)})
        self._attempt = ray.remote(attempt)

    @staticmethod
    def _first(ray: Any) -> Machine | BaseException:
        """What a worker says of itself; a cluster that is full is not asked."""
        try:
            asked = ray.remote(look_around).options(num_cpus=0, max_retries=0).remote()
            return Machine(*ray.get(asked, timeout=FIRST_SECONDS))
        except ray.exceptions.GetTimeoutError:
            return Machine("", VERSION, 1)
        except Exception as error:
            return error

    def submit(self, job: Job) -> Promise:
        """Has it done where as many CPUs are free."""
        import ray

        promise = Taken(job)
        try:
            promise.task = self._attempt.options(**self._options).remote(job, promise.begun)
            promise.task.future().add_done_callback(lambda told: promise.keep(lambda: self._result(told)))
        except Exception as error:
            promise.set_exception(self._lost(error) if not ray.is_initialized() else error)
        return promise

    def _result(self, told: Any) -> dict[str, Any]:
        import ray

        try:
            return dict(told.result())
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError):
            raise WorkerDied(DIED) from None
        except ray.exceptions.RayError:
            raise
        except Exception as error:
            raise self._lost(error) from None

    def _lost(self, why: Any) -> EngineLost:
        return EngineLost(f"the cluster of {self.name!r} is lost ({why})")

    def close(self) -> None:
        """Leaves the cluster, which goes on; a connection that was there before stays."""
        import ray

        if self._own:
            with suppress(Exception):
                ray.shutdown()


class Taken(Promise):
    """How an attempt will end that Ray has taken."""

    def take_back(self) -> None:
        """Tells Ray that it is not wanted any more."""
        import ray

        ray.cancel(self.task)


def threads(cpus: Sequence[int], workers: int) -> int:
    """The most CPUs that so many trials at once can have each, none of them divided between machines."""
    most = max(cpus, default=1)
    return max((t for t in range(1, most + 1) if sum(c // t for c in cpus) >= workers), default=1)


def share(gpus: float, workers: int) -> float:
    """How many GPUs each of so many trials has: whole ones, or the part of one that divides it evenly."""
    if gpus < 1:
        return 0.0
    return float(gpus // workers) if gpus >= workers else 1 / math.ceil(workers / gpus)


def connect(address: str, workers: int | None) -> Ray:
    """The cluster with that address.

    Raises:
        SweepError: it does not answer, or its workers cannot execute lmkit.
        MissingPackage: Ray is not installed.
    """
    need("ray", "ray")
    name = f"ray://{address}"
    if address != "auto":
        need_answer(name, address, HINT)
    elif given := os.environ.get("RAY_ADDRESS", "").removeprefix("ray://"):
        need_answer(name, given, HINT)
    import ray

    own = not ray.is_initialized()
    if own:
        if address != "auto":
            _need_client_server(name, address)
        _init(name, address)
    try:
        return Ray(name, workers, own)
    except BaseException:
        if own:
            ray.shutdown()
        raise


def _init(name: str, address: str) -> None:
    """Connects this process."""
    import ray

    for last in (False, True):
        try:
            with _signals_kept():
                ray.init(name if address != "auto" else "auto", log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:
            with suppress(Exception):
                ray.shutdown()
            if last or not isinstance(error, ConnectionAbortedError):  # Ray's server for this client did not start
                raise no_answer(name, str(error).partition("\n")[0] or type(error).__name__, HINT) from None


def _need_client_server(name: str, address: str) -> None:
    """Refuses a port at which something else listens: Ray itself would try for minutes."""
    import grpc

    logging.getLogger("ray.client_builder").setLevel(logging.WARNING)  # what is passed on is nobody's news
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=PATIENCE)
    except grpc.FutureTimeoutError:
        raise no_answer(name, f"what listens there is no Ray, or silent for {PATIENCE:g} seconds", HINT) from None
    finally:
        channel.close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Meanwhile Ray may set what happens at a signal; afterwards it is what it was."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
