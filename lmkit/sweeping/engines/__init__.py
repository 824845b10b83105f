"""Engines: where the trials of a sweep are executed; one module each, found by the scheme of its address.

``threads`` is this machine; ``scheme://…`` is the module ``scheme`` of this package, or of another distribution by an
entry point of the group ``lmkit.engines``. An engine's module has one function, ``connect(address, workers)``, which
returns an ``Engine``. The folders of the sweep and of the runs must have the same paths wherever it executes a trial.
"""

from __future__ import annotations

from concurrent.futures import Future
from types import ModuleType
from typing import Protocol

from lmkit.exceptions import SweepError, nearest, shorten
from lmkit.sweeping.records import TrialOutcome
from lmkit.sweeping.trial import Job
from lmkit.system.registry import Registry

LOCAL = "threads"

ENGINES: Registry[ModuleType] = Registry("engine", "lmkit.engines", __name__, requires=("connect",), error=SweepError)


class EngineLost(SweepError):
    """The engine no longer answers, which says nothing about the trials that it executes."""


class Engine(Protocol):
    """Executes jobs, at most ``workers`` at a time.

    A future raises if its worker died; the driver then retries the trial. It raises EngineLost if the engine is gone,
    and the driver ends. The trial's folder alone decides how a trial ended, so executing a job twice does no harm.

    Attributes:
        workers: trials at a time.
        threads: threads of each trial.
    """

    workers: int
    threads: int

    def submit(self, job: Job) -> Future[TrialOutcome]:
        """Execute ``run_trial(job)`` on a worker."""

    def close(self) -> None:
        """Release the engine's resources, after the last job."""


def check_engine(engine: str) -> None:
    """Raise a SweepError for the address of an unknown engine."""
    scheme = engine.partition("://")[0]
    if scheme not in ENGINES:
        raise SweepError(
            f"engine: given {shorten(engine)}, expected 'threads' or 'NAME://…'; {nearest(scheme, ENGINES, 'engines:')}"
        )


def connect(engine: str, workers: int | None) -> Engine:
    """Connect to an engine.

    Args:
        engine: its address.
        workers: trials at a time; None: as many as it has capacity for.

    Raises:
        SweepError: the engine is unknown or cannot be reached.
        MissingPackage: a package that it needs is not installed.
    """
    check_engine(engine)
    scheme, _, address = engine.partition("://")
    connected: Engine = ENGINES.get(scheme).connect(address, workers)
    return connected
