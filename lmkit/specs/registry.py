"""Kinds of a part of an experiment, such as optimizers: lmkit's own and those of other distributions."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field

from lmkit.exceptions import LmkitError, shorten
from lmkit.specs.base import Spec
from lmkit.system.registry import Registry

S = TypeVar("S", bound=type[Spec])


class SpecRegistry:
    """Specifications by their tag, the field that selects one of them.

    Args:
        kind: what is specified, such as ``optimizer``.
        group: of entry points whose modules register further specifications.
        tag: the field, such as ``name``; its type is a ``Literal`` of one text, which is also its default.
        base: a class of all specifications.

    >>> SHAPES = SpecRegistry("shape", "lmkit.shapes", "name")
    >>> @SHAPES.register
    ... class Circle(Spec):
    ...     name: Literal["circle"] = "circle"
    >>> SHAPES.names()
    ['circle']
    """

    def __init__(self, kind: str, group: str, tag: str, base: type[Spec] = Spec) -> None:
        self.kind, self.tag, self.base = kind, tag, base
        self._registry: Registry[type[Spec]] = Registry(kind, group, check=self._check)
        self._union: Any = None

    def register(self, spec_type: S) -> S:
        """Register a class, as a decorator, under its tag.

        Raises:
            LmkitError: its tag is not usable, or experiments were built without it already.
        """
        name = self._tag_of(spec_type)
        if self._union is not None:
            raise LmkitError(
                f"the {self.kind} {name!r} is registered after the first experiment; register it before, or in the "
                f"module of an entry point of the group {self._registry.group}"
            )
        self._registry.add(name, spec_type)
        return spec_type

    def names(self) -> list[str]:
        """Return the tags: lmkit's own first, then those of other distributions."""
        return self._registry.names()

    def items(self) -> list[tuple[str, type[Spec]]]:
        """Return the tags and their specifications: lmkit's own first, then those of other distributions."""
        return list(self._registry.items())

    def union(self) -> Any:
        """Return the discriminated union of all specifications; the entry points are loaded at the first call."""
        if self._union is None:
            types = tuple(spec_type for _, spec_type in self.items())
            self._union = Annotated[Union[types], Field(discriminator=self.tag)]  # noqa: UP007 (of a tuple)
        return self._union

    def _tag_of(self, spec_type: Any) -> str:
        """Return the tag of a specification, after a check that it can be in a union."""
        if not (isinstance(spec_type, type) and issubclass(spec_type, self.base)):
            raise LmkitError(f"given {shorten(spec_type)}, expected a subclass of {self.base.__name__}")
        field = spec_type.model_fields.get(self.tag)
        name = field.default if field else None
        if not field or get_origin(field.annotation) is not Literal or get_args(field.annotation) != (name,):
            raise LmkitError(f"{spec_type.__name__} has no field {self.tag}: Literal['x'] = 'x'")
        return str(name)

    def _check(self, name: str, spec_type: type[Spec]) -> None:
        """Raise unless a plugin's class is usable under this name."""
        tag = self._tag_of(spec_type)
        if tag != name:
            raise LmkitError(f"its {self.tag} is {tag!r}, but it is registered as {name!r}")
        spec_type.model_json_schema()
