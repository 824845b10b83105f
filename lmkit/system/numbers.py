"""Reported numbers: finite or not, the best of several, their order, and strict JSON.

A reported number may be missing, NaN or infinite. Whatever compares such numbers does it here, so that one that is not
finite is never the best and never changes the order of the others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any


def finite_number(value: Any) -> float | None:
    """Return a finite number as a float; None for NaN, an infinity, a bool, a text, or nothing.

    >>> finite_number(2), finite_number(float("nan")), finite_number("2")
    (2.0, None, None)
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def order_key(value: Any, sign: int = 1) -> tuple[bool, float]:
    """Return the key that sorts numbers from the lowest (``sign`` −1: the highest); those not finite come last.

    >>> sorted([0.2, float("nan"), 0.1, None], key=order_key)
    [0.1, 0.2, nan, None]
    """
    number = finite_number(value)
    return (True, 0.0) if number is None else (False, sign * number)


def index_of_best(values: Iterable[Any], sign: int = 1) -> int | None:
    """Return the index of the lowest number (``sign`` −1: the highest); None where none is finite.

    >>> index_of_best([float("nan"), 0.3, 0.1]), index_of_best([None])
    (2, None)
    """
    numbers = [(sign * number, i) for i, value in enumerate(values) if (number := finite_number(value)) is not None]
    return min(numbers)[1] if numbers else None


def index_of_last_improvement(values: Iterable[Any], min_delta: float = 0.0) -> int | None:
    """Return the index of the last number that was lower than the best one before by more than ``min_delta``.

    So early stopping selects the weights that it restores. None where no number is finite.

    >>> index_of_last_improvement([0.9, 0.5, 0.48, 0.7]), index_of_last_improvement([0.9, 0.5, 0.48, 0.7], 0.05)
    (2, 1)
    """
    best, index = math.inf, None
    for i, value in enumerate(values):
        number = finite_number(value)
        if number is not None and number < best - min_delta:
            best, index = number, i
    return index


def to_json(
    value: Any,
    *,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    default: Callable[[Any], Any] | None = None,
) -> str:
    """Return ``value`` as JSON (RFC 8259), which has no NaN and no infinity: they become null.

    The options are those of ``json.dumps``.

    >>> to_json({"loss": float("nan"), "step": 3})
    '{"loss": null, "step": 3}'
    """
    try:
        return json.dumps(value, indent=indent, separators=separators, default=default, allow_nan=False)
    except ValueError:  # the common case is not copied
        finite = replace_not_finite(value)
        return json.dumps(finite, indent=indent, separators=separators, default=default, allow_nan=False)


def replace_not_finite(value: Any) -> Any:
    """Return plain values with None for each NaN and infinity.

    >>> replace_not_finite([1.0, {"a": float("inf")}])
    [1.0, {'a': None}]
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {k: replace_not_finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [replace_not_finite(v) for v in value]
    return value
