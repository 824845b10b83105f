"""What is kept ready while notebooks are executed: a process that forks kernels, and for a framework one for workers.

So only the first notebook waits for what all of them import, and not even that one waits for one after the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lmkit.batch.kernelserver import Server
from lmkit.executors.lending import Lent
from lmkit.executors.worker import FORKS

_kernels: Server | None = None
_workers: dict[str, Lent] = {}
_holders = 0
_holding = threading.Lock()


@contextmanager
def kept() -> Iterator[None]:
    """Meanwhile servers that were made ready stay so."""
    hold()
    try:
        yield
    finally:
        let_go()


def hold() -> None:
    """Begins to keep servers, as ``kept`` does, until ``let_go``."""
    global _holders
    with _holding:
        _holders += 1


def let_go() -> None:
    """Ends what ``hold`` began."""
    global _kernels, _holders
    with _holding:
        _holders -= 1
        if _holders:
            return
        if _kernels is not None:
            _kernels.close()
            _kernels = None
        for lent in _workers.values():
            lent.close()
        _workers.clear()


def make_ready(environment: Mapping[str, str], framework: str | None = None) -> dict[str, str]:
    """Starts the servers that are not there yet, where they are kept and the system can fork.

    Args:
        environment: variables of the kernels to come, besides those of this process.
        framework: that of the experiment to be trained; None: there is none.

    Returns:
        Variables of such a kernel, by which it finds the server for its workers.
    """
    global _kernels
    with _holding:
        if not FORKS or not _holders:
            return {}
        variables = {**os.environ, **environment}
        if framework and framework not in _workers:
            _workers[framework] = Lent(framework, variables)
        if _kernels is None:
            _kernels = Server(variables, experiments=framework is not None)
        return _workers[framework].variables if framework else {}


def kernels() -> Server | None:
    """The server that forks kernels, once it was made ready."""
    return _kernels
