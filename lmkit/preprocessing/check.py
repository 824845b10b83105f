"""Checks of a preprocessing that was read from a file, before it is applied. They need no package."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lmkit.exceptions import shorten
from lmkit.preprocessing.formats import EITHER, PARTS
from lmkit.specs.tasks import TASKS

MAX_SIZE = 2**40
"""Values of a row, tokens of a vocabulary, nodes of a graph: more is no preprocessing."""


def check_preprocessing(preprocessing: Any) -> None:
    """Check the types of all values of a preprocessing, and that they fit each other.

    Raises:
        ValueError: one does not; the message names it.
    """
    for name, (is_valid, expected) in _FIELDS.items():
        value = getattr(preprocessing, name, None)
        if hasattr(preprocessing, name) and not is_valid(value):
            raise ValueError(f"{name}: given {shorten(value)}, expected {expected}")
    if not hasattr(preprocessing, "columns"):  # of a text
        return
    columns = set(preprocessing.columns)
    formats = getattr(preprocessing, "formats", {})
    columns |= {f"{name}.{part}" for name, layout in formats.items() for part in layout.get("parts", ())}
    names = (*preprocessing.numbers, *preprocessing.categories, *getattr(preprocessing, "missing_values", ()))
    if unknown := [n for n in names if n not in columns]:
        raise ValueError(f"columns: {shorten(unknown[0])} is missing")
    if not preprocessing.classes and not {"shift", "scale"} <= set(preprocessing.target):
        raise ValueError("target: expected shift and scale, as there are no classes")
    size, features = math.prod(preprocessing.shape), len(preprocessing.features)
    if features and size != features and not hasattr(preprocessing, "vocabulary"):
        raise ValueError(f"shape: given {shorten(preprocessing.shape)} for {features} features")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_SIZE**10


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_SIZE


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _all(values: Any, is_valid: Callable[[Any], bool]) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(map(is_valid, values))


def _mapping(values: Any, is_valid: Callable[[Any], bool]) -> bool:
    return isinstance(values, Mapping) and all(map(is_valid, values.values()))


def _is_scaling(fit: Any) -> bool:
    return _mapping(fit, lambda v: v is None or _is_number(v) or v != v) and {"fill", "shift", "scale"} <= set(fit)


def _is_encoding(fit: Any) -> bool:
    return (
        isinstance(fit, Mapping)
        and _all(fit.get("known"), _is_name)
        and isinstance(fit.get("fill"), str | int | float | None)
    )


def _is_format(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    if value.get("type") == "number":
        return value.get("decimal") in (".", ",", EITHER) and isinstance(value.get("unit", ""), str)
    is_date = _is_name(value.get("format")) and _is_number(value.get("newest"))
    parts = value.get("parts")
    return value.get("type") == "duration" or (is_date and _all(parts, lambda part: part in PARTS))


def _is_class(value: Any) -> bool:
    return isinstance(value, str | int | float)


_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "task": (lambda v: isinstance(v, str) and v in TASKS, "a task"),
    "numbers": (lambda v: _mapping(v, _is_scaling), "fill, shift and scale of each column"),
    "categories": (lambda v: _mapping(v, _is_encoding), "fill and known categories of each column"),
    "columns": (lambda v: _all(v, _is_name), "names of columns"),
    "classes": (lambda v: _all(v, _is_class), "values of the target"),
    "labels": (lambda v: _all(v, _is_name), "names of classes"),
    "target": (lambda v: _mapping(v, _is_number), "numbers"),
    "shape": (lambda v: _all(v, _is_count), "the shape of a row"),
    "formats": (lambda v: _mapping(v, _is_format), "the format of each column"),
    "missing_values": (lambda v: _mapping(v, lambda signs: _all(signs, _is_class)), "values of each column"),
    "raw_texts": (lambda v: isinstance(v, bool), "true or false"),
    "as_text": (lambda v: v is None or _all(v, _is_name), "names of columns"),
    "nodes": (lambda v: _all(v, _is_class), "names of nodes"),
    "column": (_is_name, "the name of a column"),
    "length": (lambda v: _is_count(v) and v > 0, "tokens of a row"),
    "vocabulary": (_is_count, "the number of tokens"),
    "bytes_a_token": (lambda v: _mapping(v, _is_number), "numbers"),
    "tokenizer": (_is_name, "the text of a tokenizer"),
}
"""Field → whether a value is valid, and what is expected."""
