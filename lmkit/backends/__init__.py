"""The frameworks. A framework is chosen here, once, and then held as an object."""

from __future__ import annotations

import importlib
import importlib.util

from lmkit.backends.base import Backend, CannotNarrow, Removed, Steps, Trainer
from lmkit.backends.quiet import without_notes
from lmkit.errors import MissingPackage, nearest

__all__ = ["Backend", "CannotNarrow", "Removed", "Steps", "Trainer", "get_backend", "others", "require"]

_BACKENDS = {"torch": "lmkit.backends.torch", "tensorflow": "lmkit.backends.tensorflow"}


def require(name: str) -> None:
    """Checks that a framework is known and installed, without importing it.

    Raises:
        MissingPackage: it is not installed; the message names the line that installs it.
    """
    if name not in _BACKENDS:
        raise MissingPackage(f"framework: given {name!r}, {nearest(name, _BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise MissingPackage(f"{name} is not installed; install it: python -m pip install 'lmkit[{name}]'")


def others(name: str) -> list[str]:
    """The frameworks besides ``name``, installed or not."""
    return [other for other in _BACKENDS if other != name]


def get_backend(name: str) -> Backend:
    """The backend called ``name``; its framework is imported now.

    Raises:
        MissingPackage: it is not installed.
    """
    require(name)
    with without_notes():
        backend: Backend = importlib.import_module(_BACKENDS[name]).backend
    return backend
