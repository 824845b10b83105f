"""The techniques: what can be done to a trained model before it is deployed. One file a group; a registry open to all.

A technique is a function that is given a ``Subject`` and a folder, leaves files there and returns their ``Artefact``.
What keeps it from that it raises as ``NotApplicable``, with the reason in words: that is a line of the table, and
stops nothing else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.backends import get_backend
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.measure import NotApplicable
from lmkit.errors import LmkitError, nearest

if TYPE_CHECKING:
    from lmkit.backends import Backend
    from lmkit.data.preparation import Dataset
    from lmkit.run import Run

__all__ = ["GROUPS", "NotApplicable", "Subject", "Technique", "find", "technique", "techniques"]

GROUPS = ("baseline", "compile", "convert", "quantize", "prune", "distil", "both ways")


@dataclass(frozen=True)
class Subject:
    """A trained model, and what a technique may need of the run that trained it."""

    run: Run

    @cached_property
    def backend(self) -> Backend:
        """The framework that it was trained in."""
        return get_backend(self.run.experiment.framework)

    @cached_property
    def data(self) -> Dataset:
        """The data, split and prepared as for training."""
        from lmkit.data.preparation import prepare

        spec = self.run.experiment
        return prepare(spec.data, spec.seed, spec.training.precision, self.run.path.parent)

    @property
    def model(self) -> Any:
        """The model, fresh from its checkpoint, so that no technique sees what another did to it."""
        return self.run.load_model("last")


class Technique(NamedTuple):
    """One thing that can be done.

    Attributes:
        name: as it is asked for, such as ``onnx-int8``.
        group: one of ``GROUPS``.
        help: what it does, in one line.
        make: leaves an artefact of a subject in a folder.
    """

    name: str
    group: str
    help: str
    make: Callable[[Subject, Path], Artefact]


_MODULES = ("baseline", "compile", "convert", "quantize")
_TECHNIQUES: dict[str, Technique] = {}


def technique(
    name: str, group: str
) -> Callable[[Callable[[Subject, Path], Artefact]], Callable[[Subject, Path], Artefact]]:
    """Makes a function a technique, documented by its first line."""

    def add(make: Callable[[Subject, Path], Artefact]) -> Callable[[Subject, Path], Artefact]:
        _TECHNIQUES[name] = Technique(name, group, (make.__doc__ or "").partition("\n")[0].rstrip("."), make)
        return make

    return add


def techniques() -> dict[str, Technique]:
    """All that there are, by name."""
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    return _TECHNIQUES


def find(name: str) -> Technique:
    """The technique called ``name``."""
    known = techniques()
    if name not in known:
        raise LmkitError(f"techniques: given {name!r}, {nearest(name, known)}")
    return known[name]
