"""The techniques: what can be done to a trained model before it is deployed. One file a group; a registry open to all.

A technique is a function that is given a ``Subject`` and a folder, leaves files there and returns their ``Artefact``.
What keeps it from that it raises as ``NotApplicable``, with the reason in words: that is a line of the table, and
stops nothing else.

Some make another model of a subject, which is then deployed in its own framework, or handed to another technique:
``prune-50+onnx-int8-static``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.backends import get_backend
from lmkit.deploy.artefact import Artefact
from lmkit.deploy.process import NotApplicable
from lmkit.errors import LmkitError, nearest

if TYPE_CHECKING:
    import numpy as np

    from lmkit.backends import Backend, Removed
    from lmkit.data.preparation import Dataset
    from lmkit.run import Run
    from lmkit.specs.models import ModelSpec, Weights
    from lmkit.specs.signature import Signature

__all__ = [
    "FAITHFUL",
    "GROUPS",
    "NotApplicable",
    "Subject",
    "Technique",
    "find",
    "makes_model",
    "technique",
    "techniques",
]

GROUPS = ("baseline", "compile", "convert", "quantize", "prune", "distil", "both ways")


FAITHFUL = ("baseline", "compile", "convert", "both ways")
"""Groups of techniques that change how numbers are computed, not the numbers."""


class Made(NamedTuple):
    """What a technique that makes another model made it from, and what it made."""

    origin: Subject
    framework: str
    spec: ModelSpec
    weights: Weights
    recipe: dict[str, Any]
    removed: Sequence[Removed] = ()


@dataclass(frozen=True)
class Subject:
    """A trained model, and what a technique may need of the run that trained it.

    Attributes:
        run: the run.
        made: how the model came from the run's own, where a technique made it.
        exports: what exporters wrote of it, by format: several techniques begin with the same file.
    """

    run: Run
    made: Made | None = None
    exports: dict[str, bytes] = field(default_factory=dict, init=False, repr=False, compare=False)
    _after: dict[str, Subject] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def framework(self) -> str:
        """The framework that the model is in."""
        return self.made.framework if self.made else self.run.experiment.framework

    @cached_property
    def backend(self) -> Backend:
        """The same, as an object."""
        return get_backend(self.framework)

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self.made.spec if self.made else self.run.experiment.model

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.run.preprocessing.signature

    @cached_property
    def weights(self) -> Weights:
        """Its weights, in the layout that all frameworks share."""
        return self.made.weights if self.made else self.backend.weights(self.model)

    @property
    def recipe(self) -> dict[str, Any]:
        """How the model was made of the run's own; empty for that itself."""
        return self.made.recipe if self.made else {}

    @property
    def removed(self) -> Sequence[Removed]:
        """What was taken out of a model of somebody's own once it is built; its specification does not say so."""
        return self.made.removed if self.made else ()

    @property
    def few(self) -> np.ndarray:
        """Two rows, to try a model on."""
        import numpy as np

        return np.asarray(self.data.training.X[:2])

    @cached_property
    def data(self) -> Dataset:
        """The data, split and prepared as for training."""
        from lmkit.data.preparation import prepare

        if self.made:
            return self.made.origin.data
        spec = self.run.experiment
        return prepare(spec.data, spec.seed, spec.training.precision, self.run.path.parent)

    @property
    def model(self) -> Any:
        """The model, built anew each time, so that no technique sees what another did to it."""
        if not self.made:
            return self.run.built()
        return self.build(self.spec, self.weights)

    def build(self, spec: ModelSpec, weights: Weights) -> Any:
        """A model for the run's data, in the framework of this one."""
        model = self.backend.build(spec, self.signature, self.run.experiment.training.precision)
        if self.removed:
            self.backend.remove(model, self.few, self.removed)
        self.backend.set_weights(model, weights)
        return model

    def become(
        self,
        *,
        framework: str = "",
        spec: ModelSpec | None = None,
        weights: Weights | None = None,
        removed: Sequence[Removed] | None = None,
        **recipe: Any,
    ) -> Subject:
        """This subject with another model, which is the old one where nothing else is said."""
        weights = self.weights if weights is None else weights
        removed = self.removed if removed is None else removed
        return Subject(self.run, Made(self, framework or self.framework, spec or self.spec, weights, recipe, removed))

    def after(self, change: Technique) -> Subject:
        """What a technique that makes another model makes of it; made once."""
        if change.become is None:
            raise LmkitError(f"{change.name} makes no model that another technique can take")
        if change.name not in self._after:
            made = change.become(self)
            assert made.made
            recipe = {"technique": change.name, **made.recipe, **({"of": self.recipe} if self.recipe else {})}
            self._after[change.name] = Subject(self.run, made.made._replace(recipe=recipe))
        return self._after[change.name]


class Technique(NamedTuple):
    """One thing that can be done.

    Attributes:
        name: as it is asked for, such as ``onnx-int8``.
        group: one of ``GROUPS``.
        help: what it does, in one line.
        make: leaves an artefact of a subject in a folder.
        become: makes another model of a subject, that a further technique can take; none where it makes no model.
    """

    name: str
    group: str
    help: str
    make: Callable[[Subject, Path], Artefact]
    become: Callable[[Subject], Subject] | None = None


_TECHNIQUES: dict[str, Technique] = {}


def technique(
    name: str, group: str
) -> Callable[[Callable[[Subject, Path], Artefact]], Callable[[Subject, Path], Artefact]]:
    """Makes a function a technique, documented by its first line."""

    def add(make: Callable[[Subject, Path], Artefact]) -> Callable[[Subject, Path], Artefact]:
        _TECHNIQUES[name] = Technique(name, group, (make.__doc__ or "").partition("\n")[0].rstrip("."), make)
        return make

    return add


def makes_model(
    name: str, group: str, help: str = ""
) -> Callable[[Callable[[Subject], Subject]], Callable[[Subject], Subject]]:
    """Makes a function a technique that makes another model: deployed in its own framework, or by what follows a +."""

    def add(become: Callable[[Subject], Subject]) -> Callable[[Subject], Subject]:
        def make(subject: Subject, folder: Path) -> Artefact:
            from lmkit.deploy.techniques.baseline import own

            made = subject.after(_TECHNIQUES[name])
            return own(made, folder, made.recipe)

        told = help or (become.__doc__ or "").partition("\n")[0].rstrip(".")
        _TECHNIQUES[name] = Technique(name, group, told, make, become)
        return become

    return add


def techniques() -> dict[str, Technique]:
    """All that there are, by name; in the order of their groups."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_TECHNIQUES.items(), key=lambda item: GROUPS.index(item[1].group)))


def find(name: str) -> Technique:
    """The technique called ``name``; of several joined by +, each but the last makes the model that the next one takes.

    Raises:
        LmkitError: there is none; the message says which are meant, or can be.

    >>> find("prune-50+onnx").help
    'prune-50, then: ONNX, any number of rows, on ONNX Runtime'
    """
    known = techniques()
    first, plus, rest = name.partition("+")
    if first not in known:
        raise LmkitError(f"techniques: given {first!r}, {nearest(first, known)}")
    if not plus:
        return known[first]
    before, then = known[first], find(rest)
    if before.become is None:
        makers = ", ".join(t.name for t in known.values() if t.become)
        raise LmkitError(
            f"techniques: given {name!r}, but {first} makes no model that {then.name} could take; "
            f"expected before the +: {makers}"
        )
    return _joined(name, before, then)


def _joined(name: str, before: Technique, then: Technique) -> Technique:
    """A technique after another. It belongs to the group that changes numbers, where one does."""

    def make(subject: Subject, folder: Path) -> Artefact:
        made = subject.after(before)
        found = then.make(made, folder)
        return replace(found, recipe={**found.recipe, "technique": name, "of": made.recipe})

    def become(subject: Subject) -> Subject:
        return subject.after(before).after(then)

    group = then.group if before.group in FAITHFUL and then.group not in FAITHFUL else before.group
    return Technique(name, group, f"{before.name}, then: {then.help}", make, become if then.become else None)
