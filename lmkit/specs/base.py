"""The base class of every part of a configuration: typed, immutable, without unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema

from lmkit.specs.documentation import field_documentation


class Spec(BaseModel):
    """A part of an experiment. The text under each field is its documentation."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        protected_namespaces=(),
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema with the documentation of the fields."""
        reference = handler(core_schema)
        properties = handler.resolve_ref_schema(reference).get("properties", {})
        for name, text in field_documentation(cls).items():
            if name in properties:
                properties[name].setdefault("description", text)
        return reference

    implementations: ClassVar[Mapping[str, str]] = {}
    """Framework → reference ``package.module:name`` of what implements this very class there; lmkit's own models and
    optimizers are registered in ``lmkit.backends`` instead."""


def short(key: str, default: str | None = None) -> BeforeValidator:
    """Return a validator that accepts a word for a part: ``optimizer: adam`` for ``optimizer: {name: adam}``.

    With a default kind, ``optimizer: {lr: 0.1}`` is of that kind.
    """

    def expand(value: Any) -> Any:
        if isinstance(value, str):
            return {key: value}
        if default and isinstance(value, dict) and key not in value:
            return {key: default, **value}
        return value

    return BeforeValidator(expand)


def as_tuple(values: Any) -> Any:
    """Return a list as a tuple, so that a part is immutable."""
    return tuple(values) if isinstance(values, list) else values


Names = Annotated[tuple[str, ...], Strict(False), BeforeValidator(as_tuple)]
"""Column names."""
