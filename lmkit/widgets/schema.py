"""What a JSON schema says of a field: its documentation, its bounds, and how its value is typed as text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lmkit.specs.plain import parse_value


def tag_of(members: Sequence[Mapping[str, Any]]) -> str:
    """The field whose constant tells several parts apart; empty where there is none."""
    if len(members) < 2 or not all("properties" in m for m in members):
        return ""
    shared = set.intersection(*({k for k, s in m["properties"].items() if "const" in s} for m in members))
    return min(shared, default="")


_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


def documentation(schema: Mapping[str, Any]) -> str:
    """What the schema says of a field, and its bounds."""
    items = schema.get("items", {})
    bounds = ", ".join(f"{word} {(schema | items)[key]:g}" for key, word in _BOUNDS.items() if key in schema | items)
    text = schema.get("description", "")
    return f"{text} {'Each' if items else 'It is'} {bounds}.".strip() if bounds else text


Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]


def codec(schema: Mapping[str, Any], optional: bool) -> Codec:
    """How a control's value is read as a plain value, and how a plain value is written into the control."""
    kind = schema.get("type")
    if "enum" in schema or (kind == "boolean" and not optional):
        return (lambda v: v), (lambda v: v)
    if kind == "string":
        return (lambda v: v or (None if optional else "")), (lambda v: v or "")
    if kind == "array":
        words = schema.get("items", {}).get("type") == "string"
        return (lambda v: _read_list(v, words)), _write_list
    return (lambda v: _read(v, optional)), _write


def _read(text: str, optional: bool = False) -> Any:
    text = text.strip()
    return parse_value(text) if text else None if optional else ""


def _write(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and parse_value(value) == value else json.dumps(value)


def _read_list(text: str, words: bool) -> list[Any]:
    """``64, 64`` or ``[64, 64]``; a word that holds a comma is quoted."""
    text = text.strip().removeprefix("[").removesuffix("]").strip()
    items = [t.strip() for t in next(csv.reader([text], skipinitialspace=True), [])]
    if items and not items[-1]:
        items.pop()  # somebody is about to type the next one
    return items if words else [_read(t) for t in items]


def _write_list(value: Iterable[Any] | None) -> str:
    written = []
    for item in value or ():
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow([item])
        written.append(line.getvalue())
    return ", ".join(written)
