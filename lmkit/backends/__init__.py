"""The frameworks. A framework is chosen here, once, and then held as an object."""

from __future__ import annotations

import importlib

from lmkit.backends.base import Backend, CannotPrune, LossSum, NoGradient, Removed, RowLosses, Steps, Trainer
from lmkit.backends.devices import check_device, check_named_device
from lmkit.backends.facts import FRAMEWORKS
from lmkit.backends.quiet import without_notes
from lmkit.backends.reading import Probe
from lmkit.exceptions import MissingPackage, nearest, shorten
from lmkit.system import optional

__all__ = [
    "Backend",
    "CannotPrune",
    "LossSum",
    "NoGradient",
    "Probe",
    "Removed",
    "RowLosses",
    "Steps",
    "Trainer",
    "check_device",
    "check_named_device",
    "get_backend",
    "others",
    "require",
]


def require(name: str) -> None:
    """Check that a framework exists and is installed, without importing it.

    Raises:
        MissingPackage: it is not installed; the message holds the command that installs it.
    """
    if name not in FRAMEWORKS:
        raise MissingPackage(f"framework: given {shorten(name)}, {nearest(name, FRAMEWORKS)}")
    optional.require(name, extra=name)


def others(name: str) -> list[str]:
    """Return the frameworks other than ``name``, installed or not."""
    return [other for other in FRAMEWORKS if other != name]


def get_backend(name: str) -> Backend:
    """Return the backend of a framework, which is imported now.

    Raises:
        MissingPackage: it is not installed.
    """
    require(name)
    with without_notes():
        backend: Backend = importlib.import_module(FRAMEWORKS[name]).backend
    return backend
