"""Mirrors: runs and sweeps, told to the trackers that a team has already.

    folder ──> reading ──> Mirror (one of trackers/)

The folders stay the truth. What has been told before may be told again: a tracker shows it once. So a run or a sweep
can be mirrored while it goes on, after it, or twice; and again once somebody has gone on with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmkit.errors import ConfigError, LmkitError, RunNotFound
from lmkit.mirrors.reading import Open, reading
from lmkit.mirrors.trackers import Entry, Mirror, tracker
from lmkit.progress import has_widgets
from lmkit.run import Run, attach
from lmkit.sweeping.sweep import Sweep, named_sweep

LOOK_SECONDS = 1.0
"""How often what goes on is looked at; looking takes a quarter of the time at most, with however many trials."""

TRIES = 5
"""So many looks in a row may fail, as while a server restarts, before a mirror is given up."""


class Mirrored:
    """Runs and sweeps that are told to a tracker. Made by ``mirror``.

    Attributes:
        places: run or sweep → where it is seen.
        error: why nothing more is told, if that is so.
    """

    def __init__(self, sources: Sequence[Run | Sweep], to: str, open: Open, every: int | None) -> None:
        self.to, self._open, self._every = to, open, every
        self.error: LmkitError | None = None
        self._readings = [reading(source, open, every) for source in sources]
        self.places = {each.source.name: each.where for each in self._readings}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"lmkit mirror to {to}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        left, failures, anew = self._readings, 0, False
        while left:
            began = time.monotonic()
            try:
                if anew:  # some of what failed may have been told: all of it is told again
                    left = [reading(each.source, self._open, self._every) for each in left]
                left = [each for each in left if each.look()]
                failures, anew = 0, False
            except Exception as error:  # a tracker raises whatever it likes
                failures, anew = failures + 1, True
                if failures >= TRIES:
                    name = left[0].source.name
                    self.error = LmkitError(
                        f"{self.to} takes nothing more of {name}: {error}; "
                        f"what it has missed is told by: lmkit mirror {name} --to {self.to}"
                    )
                    return
            if left and self._ended.wait(max(LOOK_SECONDS, 3 * (time.monotonic() - began))):
                return

    def wait(self) -> Mirrored:
        """Waits until what is told has ended, and is told to its end; returns itself.

        Raises:
            LmkitError: the tracker takes nothing more.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)  # so that an interrupt is heard
        if self.error:
            raise self.error
        return self

    def stop(self) -> None:
        """Tells no more of what still goes on."""
        self._ended.set()

    def __repr__(self) -> str:
        how = "is told" if self._thread.is_alive() else "was told"
        return "\n".join(f"{name} {how} to {self.to}: {where}" for name, where in self.places.items())


Source = Run | Sweep | str | Path
"""A run or a sweep, or what it is called."""


def mirror(
    source: Source | Sequence[Source] = "last",
    to: str = "tensorboard",
    *,
    where: str | Path | None = None,
    every: int | None = None,
    wait: bool | None = None,
    runs: str | Path | None = None,
) -> Mirrored:
    """Tells runs and sweeps to a tracker: what there is, and what comes while they go on.

    A sweep is one run of MLflow with its trials nested beneath it; in TensorBoard it is a folder of runs, which the
    page HParams shows as a table.

    Args:
        source: a run or its name; a sweep, or its name where no run is called so; or several of these.
        to: ``tensorboard`` (event files) or ``mlflow`` (any tracking server).
        where: the folder of event files, or the tracking server's address (default: ``tensorboard`` beside the runs;
            $MLFLOW_TRACKING_URI, else a database beside the runs).
        every: steps that one point of ``step/…`` is the mean of (default: so that a run has about 5,000).
        wait: return only once all of it has ended (default: unless somebody looks who sees it in a notebook).
        runs: where runs are kept.

    Raises:
        ConfigError: there is no such tracker.
        MissingPackage: it is not installed; the message names the line that installs it.
        LmkitError: it cannot be reached.

    >>> import lmkit as lk
    >>> lk.mirror("last", to="tensorboard")  # doctest: +SKIP
    20261124-101500-mlp-1a2b3c was told to tensorboard: runs/tensorboard/20261124-101500-mlp-1a2b3c
    """
    module = tracker(to)
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise ConfigError([f"every: given {every!r}, expected a number of steps, at least 1"])
    several: Any = [source] if isinstance(source, Source) else list(source)
    found = [_found(each, runs) for each in several]

    def open(entry: Entry, parent: Mirror | None) -> Mirror:
        made: Mirror = module.open(entry, str(where) if where else module.default(entry), parent)
        return made

    mirrored = Mirrored(found, to, open, every)
    if wait is None:
        wait = not (has_widgets() and any(map(_goes_on, found)))
    return mirrored.wait() if wait else mirrored


def _found(source: Source, runs: str | Path | None) -> Run | Sweep:
    if isinstance(source, Run | Sweep):
        return source
    try:
        return attach(source, runs=runs)
    except RunNotFound:
        if sweep := named_sweep(source, runs):
            return sweep
        raise


def _goes_on(source: Run | Sweep) -> bool:
    return source.state == "running" if isinstance(source, Sweep) else source.status.live
