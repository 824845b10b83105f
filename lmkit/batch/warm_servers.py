"""Processes started ahead while notebooks are executed: one that forks kernels, and one per framework for workers.

Only the first notebook waits for the imports that all of them share, and it imports in both processes at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lmkit.batch.kernel_server import KernelServer
from lmkit.executors.shared_forkserver import SharedForkServer
from lmkit.executors.worker import FORKS

_kernel_server: KernelServer | None = None
_forkservers: dict[str, SharedForkServer] = {}
_users = 0
_lock = threading.Lock()


@contextmanager
def in_use() -> Iterator[None]:
    """Keep prepared servers running within the ``with`` block."""
    acquire()
    try:
        yield
    finally:
        release()


def acquire() -> None:
    """Keep prepared servers running until ``release``."""
    global _users
    with _lock:
        _users += 1


def release() -> None:
    """End the servers, once every ``acquire`` is released."""
    global _kernel_server, _users
    with _lock:
        _users -= 1
        if _users:
            return
        if _kernel_server is not None:
            _kernel_server.close()
            _kernel_server = None
        for forkserver in _forkservers.values():
            forkserver.close()
        _forkservers.clear()


def prepare(environment: Mapping[str, str], framework: str | None = None) -> dict[str, str]:
    """Start the servers that are missing, if they are in use (``acquire``) and the system can fork.

    Args:
        environment: variables of the kernels to come, in addition to those of this process.
        framework: the framework of the experiment; None without an experiment.

    Returns:
        Variables by which a kernel finds the server of its workers.
    """
    global _kernel_server
    with _lock:
        if not FORKS or not _users:
            return {}
        variables = {**os.environ, **environment}
        if framework and framework not in _forkservers:
            _forkservers[framework] = SharedForkServer(framework, variables)
        if _kernel_server is None:
            _kernel_server = KernelServer(variables, experiments=framework is not None)
        return _forkservers[framework].variables if framework else {}


def kernel_server() -> KernelServer | None:
    """Return the server that forks kernels; None before ``prepare``."""
    return _kernel_server
