"""The connection to a Ray cluster that runs already: Ray never starts one by itself."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lmkit.executors.clusters import TIMEOUT, Asker, check_address, no_answer
from lmkit.system.optional import require

AUTO = "ray://auto"
"""The cluster of $RAY_ADDRESS, or the one of this machine."""

HINT = "start one: ray start --head --node-ip-address 127.0.0.1, and use ray://127.0.0.1:10001 or ray://auto"


def check_cluster(name: str, asker: Asker) -> None:
    """Check that Ray is installed, and that something listens at the address of a cluster.

    Args:
        name: ``ray://HOST:PORT``, or ``ray://auto``.
        asker: which setting names it.

    Raises:
        MissingPackage: Ray is not installed.
        LmkitError: (of the asker) nothing listens there.
    """
    require("ray", extra="ray", purpose=f"{asker.setting}: ray://")
    if name != AUTO:
        check_address(name, name.removeprefix("ray://"), HINT, asker=asker)
    elif cluster := os.environ.get("RAY_ADDRESS", "").removeprefix("ray://"):
        check_address(name, cluster, HINT, asker=asker)


def connect_cluster(name: str, asker: Asker) -> bool:
    """Connect this process, unless it is connected already; return whether ``ray.shutdown`` is due in the end.

    Raises:
        LmkitError: (of the asker) the cluster does not answer, or has another version of Ray.
    """
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # no call starts a cluster once this one is gone
    import ray

    if ray.is_initialized():
        return False
    if name != AUTO:
        _check_client_server(name, asker)
    _init(name, asker)
    return True


def _init(name: str, asker: Asker) -> None:
    """Connect this process to Ray."""
    import ray

    for last in (False, True):
        try:
            with _restored_signals():
                ray.init("auto" if name == AUTO else name, log_to_driver=False, logging_level=logging.ERROR)
            return
        except Exception as error:
            with suppress(Exception):
                ray.shutdown()
            if last or not isinstance(error, ConnectionAbortedError):  # Ray's server for this client did not start
                raise no_answer(name, str(error).partition("\n")[0] or type(error).__name__, HINT, asker) from None


def _check_client_server(name: str, asker: Asker) -> None:
    """Raise an error for a port where something else listens: Ray itself would try for minutes."""
    import grpc

    logging.getLogger("ray.client_builder").setLevel(logging.WARNING)  # it logs every connection
    channel = grpc.insecure_channel(name.removeprefix("ray://"))
    try:
        grpc.channel_ready_future(channel).result(timeout=TIMEOUT)
    except grpc.FutureTimeoutError:
        raise no_answer(name, f"no Ray client server answered within {TIMEOUT:g} seconds", HINT, asker) from None
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
