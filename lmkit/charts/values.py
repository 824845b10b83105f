"""What the charts share: rounding of values, shortening of labels, the choice of a logarithmic axis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LOG_FACTOR = 20.0
"""Positive values that span more than this factor are drawn on a logarithmic axis."""


def round_value(value: float) -> float:
    """Round to five significant digits, the visible precision, at half the size of the output."""
    return float(f"{value:.5g}")


def round_values(values: Iterable[float]) -> list[float]:
    """Round each value to five significant digits."""
    return [round_value(v) for v in values]


def shorten(text: str, length: int = 16) -> str:
    """Cut ``text`` to at most ``length`` characters, the last one an ellipsis.

    >>> shorten("learning_rate", 8)
    'learnin…'
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def spans_decades(values: Sequence[float], factor: float = LOG_FACTOR) -> bool:
    """Whether the values are positive and their range exceeds ``factor``, so that a logarithmic axis suits them."""
    return min(values) > 0 and max(values) > factor * min(values)
