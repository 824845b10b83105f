"""Trackers that a team has already, each a module of this package, called as it is asked for:

- ``PACKAGE`` and ``EXTRA``: what it needs, and what of lmkit installs that;
- ``default(entry)``: where an entry goes where nothing else is said;
- ``open(entry, where, parent=None) -> Mirror``: the entry there, made where it is not there yet, beneath another one.

What has been told before may be told again: a tracker shows it once.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lmkit.errors import ConfigError, MissingPackage, nearest

if TYPE_CHECKING:
    from lmkit.runfolder import Status
    from lmkit.sweeping.sweep import Sweep


class Point(NamedTuple):
    """A number at a step: its name (``step/loss``, ``epoch/val_loss``, ``test/accuracy``, ``trial/val_loss``), value,
    and seconds since 1970."""

    name: str
    step: int
    value: float
    time: float


@dataclass(frozen=True)
class Entry:
    """What a tracker shows as one: a run, a sweep, or a trial of one.

    Attributes:
        name: what it is called; a trial by its sweep's name and its number.
        known: the tags by which it is found again, the surest first.
        folder: where it is kept.
        runs: where the runs are kept.
        began: seconds since 1970.
        settings: what it was configured with, by path.
        facts: more tags.
        files: of its folder, the ones that describe it.
        sweep: whose entry it is, if it is a sweep's.
    """

    name: str
    known: Mapping[str, str]
    folder: Path
    runs: Path
    began: float
    settings: Mapping[str, Any]
    facts: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[str] = ()
    sweep: Sweep | None = None


class Mirror(Protocol):
    """One entry in one tracker.

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
        """Says where it stands; the numbers before it are whole. Of what has ended nothing more is told."""


def names() -> list[str]:
    """The trackers that there are."""
    return [module.name for module in pkgutil.iter_modules(__path__)]


def tracker(name: str) -> ModuleType:
    """The module of a tracker.

    Raises:
        ConfigError: there is no such tracker.
        MissingPackage: it is not installed; the message names the line that installs it.
    """
    if name not in names():
        raise ConfigError([f"to: given {name!r}, {nearest(name, names())}"])
    module = importlib.import_module(f"{__name__}.{name}")
    if importlib.util.find_spec(module.PACKAGE) is None:
        raise MissingPackage(
            f"{module.PACKAGE} is not installed; install it: python -m pip install 'lmkit[{module.EXTRA}]'"
        )
    return module


def number(value: Any) -> bool:
    """Whether it is a number, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def milliseconds(seconds: float) -> int:
    """Seconds since 1970 as the whole milliseconds that trackers count in."""
    return round(1000 * seconds)
