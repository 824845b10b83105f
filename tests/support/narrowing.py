"""A value whose type is known to a test but not to its annotation."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


def require_value(value: T | None) -> T:
    """Return a value that is not None; fail the test if it is."""
    assert value is not None
    return value


def require_type(value: object, kind: type[T]) -> T:
    """Return a value that is an instance of ``kind``; fail the test if it is not."""
    assert isinstance(value, kind), f"{value!r} is not an instance of {kind.__name__}"
    return value
