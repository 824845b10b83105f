"""Implementations of one framework, found by the type of a specification."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar, cast

from lmkit.exceptions import LmkitError
from lmkit.system.registry import Registry

T = TypeVar("T")
S = TypeVar("S")


class NotImplementedHere(LmkitError):
    """A framework has no implementation of a specification."""


class Implementations(Generic[T]):
    """A registry from the type of a specification to its implementation in one framework.

    lmkit's own implementations register themselves; the specification of another distribution names its
    implementations in ``Spec.implementations``.

    Args:
        kind: what is implemented, such as ``optimizer``.
        framework: as errors name it.
        backend: as ``Experiment.framework`` names it.
        package: whose modules register implementations as they are imported.
    """

    def __init__(self, kind: str, framework: str, backend: str, package: str) -> None:
        self.kind, self.framework, self.backend = kind, framework, backend
        self._registry: Registry[tuple[type, T]] = Registry(kind, None, package, error=NotImplementedHere)

    def register(self, spec_type: type) -> Callable[[S], S]:
        """Return a decorator that registers the implementation of specifications of exactly this type."""

        def decorate(implementation: S) -> S:
            self._registry.add(spec_type.__name__, (spec_type, implementation))  # type: ignore[arg-type]
            return implementation

        return decorate

    def types(self) -> list[type]:
        """Return the types of specification that are implemented."""
        return [spec_type for _, (spec_type, _) in self._registry.items()]

    def get(self, spec_type: type) -> T:
        """Return the implementation for a type of specification; that of a base class does not count.

        Raises:
            NotImplementedHere: there is none, or it cannot be imported.
        """
        references = spec_type.__dict__.get("implementations", {})
        if self.backend in references:
            return self._import(spec_type, references[self.backend])
        if spec_type.__name__ not in self._registry:
            names = ", ".join(sorted(self._registry.names()))
            raise NotImplementedHere(
                f"{self.framework} has no {self.kind} {spec_type.__name__}; expected one of {names}"
            )
        registered, implementation = self._registry.get(spec_type.__name__)
        if registered is not spec_type:
            raise NotImplementedHere(f"{self.framework} has another {self.kind} called {spec_type.__name__}")
        return implementation

    def _import(self, spec_type: type, reference: str) -> T:
        try:
            return cast("T", pkgutil.resolve_name(reference))
        except Exception as error:  # another distribution's code may raise anything
            raise NotImplementedHere(
                f"{self.framework}'s {self.kind} {spec_type.__name__} cannot be imported from {reference!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
