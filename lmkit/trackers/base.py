"""Experiment trackers, each a module of this package or of another distribution (entry point ``lmkit.trackers``):

- ``TITLE``, ``PACKAGE``, ``EXTRA``: its name for people, the package that it needs, and lmkit's extra for that;
- ``default(info)``: where a run goes if nothing else is given;
- ``open_run(info, where, parent=None) -> TrackerRun``: the run in the tracker, created unless it
  exists, nested in another.

Values may be sent again: a tracker shows them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.exceptions import ConfigError
from lmkit.system import optional
from lmkit.system.registry import Registry

if TYPE_CHECKING:
    from lmkit.runfolder.status import Status
    from lmkit.sweeping.sweep import Sweep


class Point(NamedTuple):
    """A value at a step.

    Attributes:
        name: ``step/loss``, ``epoch/val_loss``, ``test/accuracy``, ``trial/val_loss``, …
        step: the step.
        value: the value.
        time: in seconds since 1970.
    """

    name: str
    step: int
    value: float
    time: float


@dataclass(frozen=True)
class RunInfo:
    """What a tracker shows as one run: a run, a sweep, or a trial of a sweep.

    Attributes:
        name: its name; of a trial, the sweep's name and the trial's number.
        identity: the tags by which an existing run is found, the most specific first.
        folder: its folder.
        runs: the folder of the runs.
        started: in seconds since 1970.
        settings: its configuration, by path.
        tags: more tags.
        files: the files of its folder that describe it.
        sweep: the sweep, if it is one.
    """

    name: str
    identity: Mapping[str, str]
    folder: Path
    runs: Path
    started: float
    settings: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[str] = ()
    sweep: Sweep | None = None


class TrackerRun(Protocol):
    """One run in one tracker.

    Attributes:
        where: the address or folder that a person opens.
    """

    where: str

    def log_points(self, points: Sequence[Point]) -> None:
        """Send values."""

    def log_text(self, name: str, step: int, text: str, time: float) -> None:
        """Send a text: a sample of a language model, or an event."""

    def rewind(self, step: int, time: float) -> None:
        """Mark that the run was resumed after ``step``: values of later steps are sent again."""

    def update_status(self, status: Status) -> None:
        """Send the status; all values before it were sent. After the end of a run nothing more is sent."""


def _unknown(message: str) -> ConfigError:
    return ConfigError([f"to: {message}"])


TRACKERS: Registry[ModuleType] = Registry(
    "tracker",
    "lmkit.trackers",
    "lmkit.trackers",
    requires=("TITLE", "PACKAGE", "EXTRA", "default", "open_run"),
    error=_unknown,
)
"""The trackers by name."""


def get_tracker(name: str) -> ModuleType:
    """Return the module of a tracker.

    Raises:
        ConfigError: no tracker has that name.
        MissingPackage: its package is not installed.
    """
    module = TRACKERS.get(name)
    optional.require(module.PACKAGE, extra=module.EXTRA)
    return module


def is_number(value: Any) -> bool:
    """Return whether a value is a number; True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def milliseconds(seconds: float) -> int:
    """Return seconds as whole milliseconds, in which trackers count."""
    return round(1000 * seconds)
