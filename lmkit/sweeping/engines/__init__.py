"""Where the trials of a sweep are executed. An engine is one module here, found by the beginning of what names it.

``threads`` is this machine; ``scheme://…`` is the module ``scheme``, whose ``connect(address, workers)`` gives an
engine. Where an engine puts a trial, the folders of the sweep and of the runs must be found under the same paths.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from concurrent.futures import Future
from typing import Any, Protocol

from lmkit.errors import SweepError, nearest
from lmkit.sweeping.trial import Job

LOCAL = "threads"


class EngineLost(SweepError):
    """The engine does not answer any more, which says nothing about the trials that it had."""


class Engine(Protocol):
    """Executes jobs, as many at a time as it has workers.

    A future whose worker died raises; the driver then tries the trial again. One whose engine is gone raises
    EngineLost, and the driver ends. How a trial ended is known by its folder alone, so a job that is executed twice
    does no harm.

    Attributes:
        workers: how many at a time.
        threads: how many threads each may use.
    """

    workers: int
    threads: int

    def submit(self, job: Job) -> Future[dict[str, Any]]:
        """Has ``run_trial(job)`` called somewhere."""

    def close(self) -> None:
        """Gives back what it holds, once nothing more is submitted."""


def names() -> list[str]:
    """The engines there are."""
    return [m.name for m in pkgutil.iter_modules(__path__)]


def check_engine(engine: str) -> None:
    """Refuses the name of an engine that there is not."""
    scheme = engine.partition("://")[0]
    if scheme not in names():
        raise SweepError(f"engine: given {engine!r}, expected one such as 'threads' or 'NAME://…'; "
                         f"{nearest(scheme, names())}")  # fmt: skip


def connect(engine: str, workers: int | None) -> Engine:
    """The engine of that name, for so many trials at once; None: as many as it has room for.

    Raises:
        SweepError: there is none, or it cannot be reached.
        MissingPackage: it needs one that is not installed.
    """
    check_engine(engine)
    scheme, _, address = engine.partition("://")
    made: Engine = importlib.import_module(f"{__name__}.{scheme}").connect(address, workers)
    return made
