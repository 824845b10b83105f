"""What every part of a configuration has in common: typed, immutable, closed to unknown keys."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Strict


class Spec(BaseModel):
    """A part of an experiment. Fields are documented by the text under each."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def short(key: str, default: str | None = None) -> BeforeValidator:
    """Lets a bare word stand for a whole part: ``optimizer: adam`` for ``optimizer: {name: adam}``.

    Where there is a default kind, ``optimizer: {lr: 0.1}`` is of that kind.
    """

    def expand(value: Any) -> Any:
        if isinstance(value, str):
            return {key: value}
        if default and isinstance(value, dict) and key not in value:
            return {key: default, **value}
        return value

    return BeforeValidator(expand)


def several(values: Any) -> Any:
    """Lists become tuples, so that a part stays immutable."""
    return tuple(values) if isinstance(values, list) else values


Names = Annotated[tuple[str, ...], Strict(False), BeforeValidator(several)]
"""Column names."""
