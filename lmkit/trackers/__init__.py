"""Trackers: runs and sweeps sent to TensorBoard or MLflow.

    run folder ──> export ──> TrackerRun (of one tracker)

The folders remain the source of truth. Values may be sent twice: a tracker shows them once. So a run or a sweep can be
sent while it trains, afterwards, again, and once more after a resume.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmkit.exceptions import ConfigError, LmkitError, RunNotFound, shorten
from lmkit.run.resolve import resolve_run
from lmkit.run.run import Run
from lmkit.sweeping.sweep import Sweep, find_sweep
from lmkit.system.environment import has_widgets
from lmkit.trackers.base import TRACKERS, RunInfo, TrackerRun, get_tracker
from lmkit.trackers.export import OpenRun, create_exporter

POLL_SECONDS = 1.0
"""How often a live run is read; reading takes at most a quarter of the time, with any number of trials."""

RETRIES = 5
"""The number of failures in a row, as while a server restarts, after which an export ends."""


class Export:
    """Runs and sweeps that are sent to a tracker; ``lk.mirror`` returns one.

    Attributes:
        places: the name of a run or sweep → where to see it.
        error: why nothing more is sent; None unless the tracker failed.
    """

    def __init__(self, sources: Sequence[Run | Sweep], to: str, open_run: OpenRun, every: int | None) -> None:
        self.to, self._open_run, self._every = to, open_run, every
        self.error: LmkitError | None = None
        self._exporters = [create_exporter(source, open_run, every) for source in sources]
        self.places = {exporter.source.name: exporter.where for exporter in self._exporters}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"lmkit mirror to {to}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        exporters, failures, restart = self._exporters, 0, False
        while exporters:
            started = time.monotonic()
            try:
                if restart:  # some values may have been sent before the failure: send all again
                    exporters = [create_exporter(e.source, self._open_run, self._every) for e in exporters]
                exporters = [exporter for exporter in exporters if exporter.poll()]
                failures, restart = 0, False
            except Exception as error:  # a tracker may raise anything
                failures, restart = failures + 1, True
                if failures >= RETRIES:
                    name = exporters[0].source.name
                    self.error = LmkitError(
                        f"{name} can no longer be sent to {_title(self.to)}: {error}; "
                        f"to send the rest: lmkit mirror {name} --to {self.to}"
                    )
                    return
            if exporters and self._stopped.wait(max(POLL_SECONDS, 3 * (time.monotonic() - started))):
                return

    def wait(self) -> Export:
        """Wait until the runs have ended and all of them is sent; return itself.

        Raises:
            LmkitError: the tracker failed.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)  # so that an interrupt arrives
        if self.error:
            raise self.error
        return self

    def stop(self) -> None:
        """Send no more of live runs."""
        self._stopped.set()

    def __repr__(self) -> str:
        sent = "is being sent" if self._thread.is_alive() else "sent"
        return "\n".join(f"{name} {sent} to {_title(self.to)}: {where}" for name, where in self.places.items())


Source = Run | Sweep | str | Path
"""A run or a sweep, or its name."""


def mirror(
    source: Source | Sequence[Source] = "last",
    to: str = "tensorboard",
    *,
    where: str | Path | None = None,
    every: int | None = None,
    wait: bool | None = None,
    runs: str | Path | None = None,
) -> Export:
    """Send runs and sweeps to a tracker: past values, and future ones while they train.

    A sweep is one run of MLflow with its trials nested in it; in TensorBoard it is a folder of runs, which the page
    HParams shows as a table.

    Args:
        source: a run or its name; a sweep, or its name if no run has it; or a list of these.
        to: ``tensorboard`` (event files) or ``mlflow`` (any tracking server).
        where: the folder of event files, or the tracking server's address (default: ``tensorboard`` in the folder of
            the runs; $MLFLOW_TRACKING_URI, else a database in the folder of the runs).
        every: steps per point of ``step/…``, which is their mean (default: such that a run has about 5,000 points).
        wait: return after the runs have ended (default: unless this is a notebook that shows widgets).
        runs: the folder of the runs.

    Raises:
        ConfigError: no tracker has that name.
        MissingPackage: the tracker is not installed; the message holds the command that installs it.
        LmkitError: the tracker cannot be reached.

    >>> import lmkit as lk
    >>> lk.mirror("last", to="tensorboard")  # doctest: +SKIP
    20261124-101500-mlp-1a2b3c sent to TensorBoard: runs/tensorboard/20261124-101500-mlp-1a2b3c
    """
    module = get_tracker(to)
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise ConfigError([f"every: given {shorten(every)}, expected a number of steps, at least 1"])
    sources: Any = list(source) if isinstance(source, list | tuple) and not _is_data(source) else [source]
    resolved = [_resolve(source, runs) for source in sources]

    def open_run(info: RunInfo, parent: TrackerRun | None) -> TrackerRun:
        run: TrackerRun = module.open_run(info, str(where) if where else module.default(info), parent)
        return run

    export = Export(resolved, to, open_run, every)
    if wait is None:
        wait = not (has_widgets() and any(map(_is_live, resolved)))
    return export.wait() if wait else export


def _is_data(sources: Sequence[Any]) -> bool:
    """Return whether a sequence holds anything but runs, sweeps and names."""
    return not all(isinstance(source, Source) for source in sources)


def _resolve(source: Any, runs: str | Path | None) -> Run | Sweep:
    if isinstance(source, Sweep):
        return source
    try:
        return resolve_run(source, runs=runs)
    except RunNotFound:
        if isinstance(source, str | Path) and (sweep := find_sweep(source, runs)):
            return sweep
        raise


def _is_live(source: Run | Sweep) -> bool:
    return source.state == "running" if isinstance(source, Sweep) else source.status.live


def _title(name: str) -> str:
    return str(TRACKERS.get(name).TITLE) if name in TRACKERS else name
