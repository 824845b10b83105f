"""Mirrors: runs, told to the trackers that a team has already.

    run folder ──> Reading ──> Mirror (tensorboard | mlflow)

The run folder stays the truth. A mirror is one module of this package, called as it is asked for, with

- ``PACKAGE`` and ``EXTRA``: what it needs, and what of lmkit installs that;
- ``default(run)``: where it goes where nothing else is said;
- ``open(run, where) -> Mirror``.

What has been told before may be told again: a tracker shows it once. So a run can be mirrored while it trains, after
it, or twice.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.errors import ConfigError, LmkitError, MissingPackage, nearest
from lmkit.progress import has_widgets, sentence
from lmkit.run import Run, attach

if TYPE_CHECKING:
    from lmkit.runfolder import Status

POINTS = 5000
"""Of the steps of a run about so many points are told at most, each the mean of consecutive ones."""

LOOK_SECONDS = 1.0
"""How often a run that trains is looked at."""

TRIES = 5
"""So many looks in a row may fail, as while a server restarts, before a mirror is given up."""


class Point(NamedTuple):
    """A number at a step: its name (``step/loss``, ``epoch/val_loss``, ``test/accuracy``), value, and seconds since
    1970."""

    name: str
    step: int
    value: float
    time: float


class Mirror(Protocol):
    """One run in one tracker.

    Attributes:
        where: the place that a person opens.
    """

    where: str

    def points(self, points: Sequence[Point]) -> None:
        """Tells numbers."""

    def text(self, name: str, step: int, text: str, time: float) -> None:
        """Tells a text: what a language model wrote, or what happened."""

    def back(self, step: int, time: float) -> None:
        """Says that what comes after ``step`` is trained anew: the run was resumed there."""

    def state(self, status: Status) -> None:
        """Says where the run stands; the numbers before it are whole."""


class Reading:
    """What is new in a run's folder, as points.

    Args:
        run: the run.
        every: steps that one point stands for; none: as many as keep a run at about ``POINTS``.
    """

    def __init__(self, run: Run, every: int | None = None) -> None:
        self.run, self.every = run, every
        self._offsets = [0, 0]
        self._time = 0.0
        self._rows: list[tuple[int, dict[str, float], float]] = []

    def look(self, mirror: Mirror) -> Status:
        """Tells a mirror what has come since the last look; the status that was told with it."""
        status, folder = self.run.status, self.run.folder
        self.every = self.every or max(1, -(-status.steps // POINTS))
        blocks, self._offsets[0] = folder.metrics.read(self._offsets[0], quiet=True)
        events, self._offsets[1] = folder.events.read(self._offsets[1])
        self._time = self._time or (events[0].time if events else status.heartbeat)
        points: list[Point] = []
        for block in blocks:
            if "resumed" in block:
                mirror.points(points)
                self._rows, points = [], []
                mirror.back(block["resumed"], self._time)
            else:
                points += self._steps(block)
        if not status.live:
            points += self._bucket(len(self._rows))
        for event in events:
            if event.type == "epoch":
                points += [
                    Point(f"epoch/{name}", int(event.data["step"]), float(value), event.time)
                    for name, value in event.data.items()
                    if name not in ("epoch", "step", "seconds", "lr") and isinstance(value, int | float)
                ]
            elif event.type == "sample":
                said = f"{event.data['prompt']}{event.data['text']}"
                mirror.text("sample", int(event.data["step"]), said, event.time)
            elif said := sentence(event):
                mirror.text("events", int(event.data.get("step", 0)), said, event.time)
        if not status.live:
            tested = (status.metrics or {}).items()
            points += [Point(f"test/{name}", status.step, float(value), status.heartbeat) for name, value in tested]
        mirror.points(points)
        mirror.state(status)
        return status

    def _steps(self, block: Mapping[str, Any]) -> Iterable[Point]:
        """The points that a block completes. Its time is that of its last step; the others lie evenly before it."""
        losses = block.get("loss")
        if not isinstance(losses, list):
            return
        began, ended, n = self._time, float(block.get("time", self._time)), len(losses)
        for i in range(n):
            found = {name: block.get(name) for name in ("loss", "lr", "gradient_norm")}
            values = {name: value[i] if isinstance(value, list) else value for name, value in found.items()}
            row = {k: float("nan") if v is None else float(v) for k, v in values.items() if found[k] is not None}
            self._rows.append((int(block["step"]) + i, row, began + (ended - began) * (i + 1) / n))
            if self._rows[-1][0] % (self.every or 1) == 0:
                yield from self._bucket(len(self._rows))
        self._time = ended

    def _bucket(self, n: int) -> Iterable[Point]:
        """The mean of the first ``n`` rows that are kept, at the last one's step."""
        rows, self._rows = self._rows[:n], self._rows[n:]
        if not rows:
            return
        step, last, when = rows[-1]
        for name in last:
            values = [row[name] for _, row, _ in rows if row.get(name) == row.get(name) and name in row]
            told = values or [float("nan")]
            yield Point(f"step/{name}", step, last[name] if name == "lr" else sum(told) / len(told), when)


class Mirrored:
    """Runs that are told to a tracker. Made by ``mirror``.

    Attributes:
        places: run → where it is seen.
        error: why a run is told no longer, if it is not.
    """

    def __init__(self, runs: Sequence[Run], to: str, open: Callable[[Run], Mirror], every: int | None) -> None:
        self.to, self._open, self._every = to, open, every
        self.error: LmkitError | None = None
        self._readings = [(Reading(run, every), open(run)) for run in runs]
        self.places = {reading.run.name: mirror.where for reading, mirror in self._readings}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"lmkit mirror to {to}", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        left, failures, anew = self._readings, 0, False
        while left:
            try:
                if anew:  # some of what failed may have been told: all of it is told again
                    left = [(Reading(reading.run, self._every), self._open(reading.run)) for reading, _ in left]
                left = [(reading, mirror) for reading, mirror in left if reading.look(mirror).live]
                failures, anew = 0, False
            except Exception as error:  # a tracker raises whatever it likes
                failures, anew = failures + 1, True
                if failures >= TRIES:
                    name = left[0][0].run.name
                    self.error = LmkitError(
                        f"{self.to} takes nothing more of {name}: {error}; "
                        f"what it has missed is told by: lmkit mirror {name} --to {self.to}"
                    )
                    return
            if left and self._ended.wait(LOOK_SECONDS):
                return

    def wait(self) -> Mirrored:
        """Waits until the runs have ended and are told to their ends; returns itself.

        Raises:
            LmkitError: the tracker takes nothing more.
        """
        while self._thread.is_alive():
            self._thread.join(0.2)  # so that an interrupt is heard
        if self.error:
            raise self.error
        return self

    def stop(self) -> None:
        """Tells no more of runs that still train."""
        self._ended.set()

    def __repr__(self) -> str:
        how = "is told" if self._thread.is_alive() else "was told"
        return "\n".join(f"{name} {how} to {self.to}: {where}" for name, where in self.places.items())


def mirrors() -> list[str]:
    """The trackers that there are."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def mirror(
    run: Run | str | Path | Sequence[Run | str | Path] = "last",
    to: str = "tensorboard",
    *,
    where: str | Path | None = None,
    every: int | None = None,
    wait: bool | None = None,
    runs: str | Path | None = None,
) -> Mirrored:
    """Tells runs to a tracker: what there is, and what comes while they train.

    Args:
        run: a run, its name, or several.
        to: ``tensorboard`` (event files) or ``mlflow`` (any tracking server).
        where: the folder of event files, or the tracking server's address (default: ``tensorboard`` beside the runs;
            $MLFLOW_TRACKING_URI, else a database beside the runs).
        every: steps that one point of ``step/…`` is the mean of (default: so that a run has about 5,000).
        wait: return only once the runs have ended (default: unless somebody looks who sees it in a notebook).
        runs: where runs are kept.

    Raises:
        ConfigError: there is no such tracker.
        MissingPackage: it is not installed; the message names the line that installs it.
        LmkitError: it cannot be reached.

    >>> import lmkit as lk
    >>> lk.mirror("last", to="tensorboard")  # doctest: +SKIP
    20261124-101500-mlp-1a2b3c was told to tensorboard: runs/tensorboard/20261124-101500-mlp-1a2b3c
    """
    if to not in mirrors():
        raise ConfigError([f"to: given {to!r}, {nearest(to, mirrors())}"])
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise ConfigError([f"every: given {every!r}, expected a number of steps, at least 1"])
    module = _module(to)
    several: Any = [run] if isinstance(run, Run | str | Path) else list(run)
    found = [r if isinstance(r, Run) else attach(r, runs=runs) for r in several]
    mirrored = Mirrored(found, to, lambda r: module.open(r, str(where) if where else module.default(r)), every)
    if wait is None:
        wait = not (has_widgets() and any(r.status.live for r in found))
    return mirrored.wait() if wait else mirrored


def _module(name: str) -> ModuleType:
    module = importlib.import_module(f"{__name__}.{name}")
    if importlib.util.find_spec(module.PACKAGE) is None:
        raise MissingPackage(
            f"{module.PACKAGE} is not installed; install it: python -m pip install 'lmkit[{module.EXTRA}]'"
        )
    return module


def settings(run: Run) -> dict[str, str]:
    """A run's configuration as paths and words: ``training.optimizer.lr`` → ``0.01``."""
    return {path: str(value) for path, value in run.experiment.settings().items()}


def milliseconds(seconds: float) -> int:
    """Seconds since 1970 as the whole milliseconds that trackers count in."""
    return round(1000 * seconds)
