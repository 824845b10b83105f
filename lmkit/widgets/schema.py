"""A field of a JSON schema: its documentation, its bounds, and its values as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lmkit.experiment.schema import bounds
from lmkit.specs.plain import parse_value


def tag_of(members: Sequence[Mapping[str, Any]]) -> str:
    """Return the name of the constant that distinguishes several parts; empty if they share none."""
    if len(members) < 2 or not all("properties" in m for m in members):
        return ""
    shared = set.intersection(*({k for k, s in m["properties"].items() if "const" in s} for m in members))
    return min(shared, default="")


def documentation(schema: Mapping[str, Any]) -> str:
    """Return the description of a field with its bounds."""
    items = schema.get("items", {})
    limits = ", ".join(bounds({**schema, **items}))
    text = schema.get("description", "")
    return f"{text} {'Each' if items else 'Must be'} {limits}.".strip() if limits else text


UNSET = ""
"""The option of a menu for None."""

Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def codec(schema: Mapping[str, Any], optional: bool) -> Codec:
    """Return the functions from a control's value to a plain value and back."""
    kind = schema.get("type")
    if "enum" in schema:
        return (lambda v: None if v == UNSET else v), (lambda v: UNSET if v is None else v)
    if kind == "boolean" and not optional:
        return (lambda v: v), (lambda v: v)
    if kind == "string":
        return (lambda v: v or (None if optional else "")), (lambda v: v or "")
    if kind == "array":
        as_text = schema.get("items", {}).get("type") == "string"
        if optional:  # no text is None, and [] an empty list
            return (
                lambda v: _read_list(v, as_text) if v.strip() else None,
                lambda v: _write_list(v) or ("" if v is None else "[]"),
            )
        return (lambda v: _read_list(v, as_text)), _write_list
    return (lambda v: _read(v, optional)), _write


def _read(text: str, optional: bool = False) -> Any:
    text = text.strip()
    return parse_value(text) if text else None if optional else ""


def _write(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and parse_value(value) == value else json.dumps(value)


def _read_list(text: str, as_text: bool) -> list[Any]:
    """Parse ``64, 64`` or ``[64, 64]``; quote an item that holds a comma."""
    text = text.strip().removeprefix("[").removesuffix("]").strip()
    items = [t.strip() for t in next(csv.reader([text], skipinitialspace=True), [])]
    if items and not items[-1]:
        items.pop()  # a trailing comma while the user types
    return items if as_text else [_read(t) for t in items]


def _write_list(value: Iterable[Any] | None) -> str:
    texts = []
    for item in value or ():
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([item])
        texts.append(line.getvalue())
    return ", ".join(texts)
