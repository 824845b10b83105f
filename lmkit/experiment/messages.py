"""Validation errors as sentences: the path, the value, what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lmkit.exceptions import MAX_LETTERS, nearest, shorten
from lmkit.specs.base import Spec
from lmkit.specs.documentation import field_documentation

TAGS = ("name", "family")
"""The fields that select one of several kinds of a part."""


MAX_PROBLEMS = 10
"""Problems of one experiment that are described."""

EXPECTATIONS = {
    r"^greater than or equal to ": "a number of at least ",
    r"^less than or equal to ": "a number of at most ",
    r"^(greater|less) than ": r"a number \1 than ",
    r"^a valid number.*": "a number",
    r"^a valid integer.*": "a whole number",
    r"^a valid boolean.*": "true or false",
    r"^a valid string.*": "a text",
}
"""How pydantic says what it expects → how the other messages do."""


def describe_errors(error: ValidationError, values: Any, root: type[Spec]) -> list[str]:
    """Return the first validation errors as sentences, and how many more there are; see ``describe_error``."""
    errors = error.errors(include_url=False)
    sentences = [describe_error(e, values, root) for e in errors[:MAX_PROBLEMS]]
    more = len(errors) - MAX_PROBLEMS
    return [*sentences, *([f"and {more:,} more problems"] if more > 0 else [])]


def describe_error(error: ErrorDetails, values: Any, root: type[Spec]) -> str:
    """Return one validation error as a sentence: path, what was given, what was expected.

    Args:
        error: as pydantic reports it.
        values: the values that were validated.
        root: the specification of the whole, such as ``Experiment``.
    """
    path = _written_path(error, values, root)
    where = ".".join(shorten_name(name) for name in path)
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        owner = _spec_at(path[:-1], values, root)
        part = f" of {tag_of(owner)!r}" if owner and len(_members(path[:-1], root)) > 1 else ""
        return f"{where}: unknown key{part}; {nearest(path[-1], owner.model_fields if owner else ())}"
    if kind == "union_tag_invalid":
        tag = context["discriminator"].strip("'")
        choices = [c.strip(" '") for c in context["expected_tags"].split(",")]
        return f"{where}.{tag}: given {shorten(context['tag'])}, {nearest(context['tag'], choices)}"
    if kind == "union_tag_not_found":
        return f"{where}: given {shorten(value)}, expected a mapping with {context['discriminator']}"
    if kind == "literal_error":
        choices = [c.strip(" '") for c in context["expected"].replace(" or ", ", ").split(",")]
        return f"{where}: given {shorten(value)}, {nearest(str(value), choices)}"
    if kind == "value_error":
        text = str(context["error"])
        return text if not where or text.startswith(where) else f"{where}: {text}"
    if kind in ("model_type", "model_attributes_type"):
        owner = _spec_at(path, values, root)
        names = ", ".join(owner.model_fields) if owner else "fields"
        return f"{where}: given {shorten(value)}, expected a mapping of {names}"
    if kind == "missing":
        owner = _spec_at(path[:-1], values, root)
        documentation = field_documentation(owner).get(path[-1]) if owner else None
        return f"{where}: missing; expected {(documentation or 'a value').rstrip('.')}"
    expected = "a list" if kind == "tuple_type" else _expectation(error["msg"])
    return f"{where}: given {shorten(value)}, expected {expected}"


def _expectation(message: str) -> str:
    """Return what pydantic expects, in the words of the other messages.

    >>> _expectation("Input should be greater than or equal to 1")
    'a number of at least 1'
    """
    text = re.sub(r"^(Input should be|String should have) ", "", message)
    for pattern, words in EXPECTATIONS.items():
        text = re.sub(pattern, words, text)
    return text


def shorten_name(name: str) -> str:
    """Return a name for a message, cut where it is long."""
    return name if len(name) <= MAX_LETTERS else f"{name[: MAX_LETTERS - 1]}…"


def _written_path(error: ErrorDetails, values: Any, root: type[Spec]) -> list[str]:
    """The path of an error without the tags of unions, which pydantic adds."""
    path: list[str] = []
    part = values
    for name in map(str, error["loc"]):
        tagged = isinstance(part, Mapping) and name not in part and name in (part.get(tag) for tag in TAGS)
        if tagged or name in (tag_of(spec) for spec in _members(path, root)):
            continue
        path.append(name)
        part = part.get(name) if isinstance(part, Mapping) else None
    return path


def tag_of(spec: type[Spec]) -> str:
    """Return the value that selects this kind of part, such as ``adam``."""
    return next((str(spec.model_fields[t].default) for t in TAGS if t in spec.model_fields), "")


def _members(path: list[str], root: type[Spec]) -> list[type[Spec]]:
    """The alternatives of the part at ``path``; empty where it has one only."""
    annotation: Any = root
    for name in path:
        annotations = [s.model_fields[name].annotation for s in _specs(annotation) if name in s.model_fields]
        if not annotations:
            return []
        annotation = annotations[0]
    members = _specs(annotation)
    return members if len(members) > 1 else []


def _specs(annotation: Any) -> list[type[Spec]]:
    """The specifications that an annotation admits."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _specs(get_args(annotation)[0])
    if get_origin(annotation) in (Union, type(int | str)):
        return [s for a in get_args(annotation) for s in _specs(a)]
    return []


def _spec_at(path: list[str], values: Any, root: type[Spec]) -> type[Spec] | None:
    """The specification of the part at ``path``, selected by its tag where it has alternatives."""
    spec: type[Spec] = root
    for name in path:
        if name not in spec.model_fields:
            return None
        values = values.get(name) if isinstance(values, Mapping) else None
        members = _specs(spec.model_fields[name].annotation)
        if not members:
            return None
        tags = [values.get(t) for t in TAGS] if isinstance(values, Mapping) else [values]
        spec = next(
            (s for s in members if any(s.model_fields[t].default in tags for t in TAGS if t in s.model_fields)),
            members[0],
        )
    return spec
