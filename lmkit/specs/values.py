"""The values of a target, and one value as JSON can hold it."""

from __future__ import annotations

from typing import Any, Protocol


def plain_value(value: Any) -> Any:
    """Return a class or a category as JSON can hold it: a whole float is an integer."""
    value = value.item() if hasattr(value, "item") else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


class TargetEncoding(Protocol):
    """What a fitted preprocessing holds of the target.

    Attributes:
        classes: the target's values, class 0 first; empty for numbers.
        target: ``shift`` and ``scale`` of numbers.
    """

    @property
    def classes(self) -> list[Any]: ...  # noqa: D102

    @property
    def target(self) -> dict[str, float]: ...  # noqa: D102
