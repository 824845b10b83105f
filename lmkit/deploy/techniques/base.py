"""What a technique is, and the registry of techniques."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.deploy.artifact import Artifact
from lmkit.deploy.model_files import save_model
from lmkit.deploy.techniques.failures import explained
from lmkit.deploy.trained_model import TrainedModel
from lmkit.exceptions import LmkitError, nearest, shorten
from lmkit.system.registry import Registry

GROUPS = ("baseline", "compile", "convert", "quantize", "prune", "distil", "both ways")


FAITHFUL = ("baseline", "compile", "convert", "both ways")
"""Groups whose techniques compute the same numbers as the trained model."""

TOLERANCE = 1e-3
"""Largest difference between outputs that should be equal, as a share of the largest output."""


Make = Callable[[TrainedModel, Path], Artifact]
Transform = Callable[[TrainedModel], TrainedModel]


class Technique(NamedTuple):
    """A way to prepare a trained model for deployment.

    Attributes:
        name: such as ``onnx-int8-static``.
        group: one of ``GROUPS``.
        help: what it does, in one line.
        make: writes the artifact of a model into a folder.
        transform: derives another model, for a further technique; None where the technique derives none.
    """

    name: str
    group: str
    help: str
    make: Make
    transform: Transform | None = None


def _check_technique(name: str, technique: Technique) -> None:
    """Raise for a plugin's technique that cannot be listed."""
    if not isinstance(technique, Technique):
        raise LmkitError(f"given {shorten(technique)}, expected a function decorated with technique({name!r}, group)")
    if technique.group not in GROUPS:
        raise LmkitError(f"group: given {shorten(technique.group)}; {nearest(technique.group, GROUPS)}")


TECHNIQUES: Registry[Technique] = Registry("technique", "lmkit.techniques", __package__, check=_check_technique)


def technique(name: str, group: str) -> Callable[[Make], Make]:
    """Register a function as a technique; the first line of its docstring is its help."""

    def add(make: Make) -> Make:
        TECHNIQUES.add(name, Technique(name, group, _first_line(make), make))
        return make

    return add


def model_technique(name: str, group: str, summary: str = "") -> Callable[[Transform], Transform]:
    """Register a function that derives another model, deployed in its framework or by the technique after a ``+``."""

    def add(transform: Transform) -> Transform:
        def make(trained: TrainedModel, folder: Path) -> Artifact:
            result = trained.then(TECHNIQUES.get(name))
            return save_model(result, folder, result.recipe)

        TECHNIQUES.add(name, Technique(name, group, summary or _first_line(transform), make, transform))
        return transform

    return add


def _first_line(function: Callable[..., Any]) -> str:
    """Return the first line of a docstring without its full stop."""
    return (function.__doc__ or "").partition("\n")[0].rstrip(".")


def techniques() -> dict[str, Technique]:
    """Return name → technique, in the order of ``GROUPS``."""
    return dict(sorted(TECHNIQUES.items(), key=lambda item: GROUPS.index(item[1].group)))


def technique_packages() -> list[str]:
    """Return the packages that techniques build variants with: ``PACKAGES`` of their modules."""
    modules = dict.fromkeys(implementation_module(t) for t in techniques().values())
    return [package for name in modules for package in getattr(sys.modules.get(name), "PACKAGES", ())]


def implementation_module(technique: Technique) -> str:
    """Return the name of the module that implements a technique."""
    function: Any = technique.transform or technique.make
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__module__", "") or ""


def find(name: str) -> Technique:
    """Return the technique ``name``, or the chain of techniques ``a+b``, in which each derives the model of the next.

    Raises:
        LmkitError: unknown name, or a technique before a ``+`` that derives no model.

    >>> find("prune-50+onnx").help
    'prune-50, then: ONNX, any number of rows, on ONNX Runtime'
    """
    registered = techniques()
    head, plus, tail = name.partition("+")
    if head not in registered:
        raise LmkitError(f"techniques: given {shorten(head)}, {nearest(head, registered)}")
    if not plus:
        return _explained(registered[head])
    first, second = registered[head], find(tail)
    if first.transform is None:
        options = ", ".join(t.name for t in registered.values() if t.transform)
        raise LmkitError(
            f"techniques: given {shorten(name)}, but {head} does not produce a model for {second.name}; "
            f"expected before the +: {options}"
        )
    return _chain(name, first, second)


def _explained(technique: Technique) -> Technique:
    """Return one of lmkit's techniques with sentences for its converter's errors; the user's own errors stay."""
    if not implementation_module(technique).startswith("lmkit."):
        return technique
    return technique._replace(make=explained(technique.name, technique.group, technique.make))


def _chain(name: str, first: Technique, second: Technique) -> Technique:
    """Return one technique after another; its group is that of the one that changes numbers, if any."""

    def make(trained: TrainedModel, folder: Path) -> Artifact:
        result = trained.then(first)
        artifact = second.make(result, folder)
        return replace(artifact, recipe={**artifact.recipe, "technique": name, "of": result.recipe})

    def transform(trained: TrainedModel) -> TrainedModel:
        return trained.then(first).then(second)

    group = second.group if first.group in FAITHFUL and second.group not in FAITHFUL else first.group
    return Technique(name, group, f"{first.name}, then: {second.help}", make, transform if second.transform else None)
