"""The frameworks. A framework is chosen here, once, and then held as an object."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator

from lmkit.backends.base import Backend, Steps, Trainer
from lmkit.errors import MissingPackage, nearest

__all__ = ["Backend", "Steps", "Trainer", "get_backend", "others", "require"]

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
    with _without_notes():
        backend: Backend = importlib.import_module(_BACKENDS[name]).backend
    return backend


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Turns away what a framework prints while it loads: notes of its C++ side, which no setting silences."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
