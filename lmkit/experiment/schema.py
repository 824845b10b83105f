"""The reader of the experiment's JSON schema, from which completion, the form, the templates and help follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from lmkit.experiment.experiment import Experiment
from lmkit.experiment.messages import TAGS
from lmkit.experiment.paths import paths
from lmkit.specs.data import BUNDLED, PYTHON_DOCS
from lmkit.specs.models import PRESETS
from lmkit.specs.training import DEVICES

SOURCES = (*BUNDLED, PYTHON_DOCS)

SUGGESTIONS: dict[str, Sequence[str]] = {
    "data": SOURCES,
    "data.source": SOURCES,
    "model": tuple(PRESETS),
    "training.device": DEVICES,
}
"""Path → values of a field whose type is text."""

BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
"""Keyword of JSON schema → its words."""


class SchemaReader:
    """A JSON schema with its references followed.

    Args:
        schema: of an object, as ``model_json_schema()`` gives it.

    >>> experiment_schema().values("framework")
    ['torch', 'tensorflow']
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._definitions: Mapping[str, Any] = schema.get("$defs", {})

    def resolve(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``schema`` with its reference followed; a keyword next to the reference wins."""
        if "$ref" not in schema:
            return dict(schema)
        return {**self.resolve(self._definitions[schema["$ref"].rpartition("/")[2]]), **schema}

    def alternatives(self, schema: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the alternatives that a schema allows, each resolved."""
        if "$ref" in schema:
            return self.alternatives(self._definitions[schema["$ref"].rpartition("/")[2]])
        options = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
        return [kind for option in options for kind in self.alternatives(option)] if options else [dict(schema)]

    def at(self, path: str) -> list[dict[str, Any]]:
        """Return the alternatives of the field at ``path``, such as ``training.optimizer``; the whole for ""."""
        kinds = self.alternatives(self.schema)
        for name in path.split(".") if path else ():
            fields = [kind["properties"][name] for kind in kinds if name in kind.get("properties", ())]
            kinds = [kind for field in fields for kind in self.alternatives(field)]
        return kinds

    def fields(self, path: str, values: Mapping[str, Any] | None = None) -> list[str]:
        """Return the fields of the part at ``path``, of the alternative that its ``values`` select."""
        kinds = self.at(path)
        selected = [kind for kind in kinds if tag(kind) in [(values or {}).get(name) for name in TAGS]]
        return list(dict.fromkeys(name for kind in selected or kinds for name in kind.get("properties", ())))

    def values(self, path: str) -> list[str]:
        """Return the values that the field at ``path`` may have, as far as they can be listed."""
        values = [*SUGGESTIONS.get(path, ())]
        for kind in self.at(path):
            name = tag(kind)
            values += [name] if name else []
            values += choices(kind)
            values += {"boolean": ["true", "false"], "null": ["null"]}.get(kind.get("type", ""), [])
        return list(dict.fromkeys(values))

    def paths(self) -> list[str]:
        """Return every path, of each alternative of each part."""

        def below(path: str) -> Iterator[str]:
            for name in self.fields(path):
                inner = f"{path}.{name}" if path else name
                yield inner
                yield from below(inner)

        return list(below(""))

    def describe(self, path: str) -> str:
        """Return the choices and bounds of the field at ``path``; empty if it has none."""
        texts = [text for kind in self.at(path) for text in (*choices(kind), " and ".join(bounds(kind))) if text]
        return ", ".join(dict.fromkeys(texts))


def tag(kind: Mapping[str, Any]) -> str | None:
    """Return the value that selects this alternative of a part, such as ``adam``."""
    properties = kind.get("properties", {})
    return next((field["const"] for name in TAGS if "const" in (field := properties.get(name, {}))), None)


def choices(kind: Mapping[str, Any]) -> list[str]:
    """Return the values that a schema enumerates."""
    return [str(value) for value in kind.get("enum", [kind["const"]] if "const" in kind else [])]


def bounds(kind: Mapping[str, Any]) -> list[str]:
    """Return the bounds of a number in words, such as ``at least 1``."""
    limits = {words: kind[keyword] for keyword, words in BOUNDS.items() if keyword in kind}
    return [f"{words} {value:g}" if isinstance(value, float) else f"{words} {value}" for words, value in limits.items()]


@cache
def experiment_schema() -> SchemaReader:
    """Return the reader of the experiment's schema."""
    return SchemaReader(Experiment.model_json_schema())


@cache
def short_names() -> dict[str, str]:
    """Return the names of paths: the end of a path where it is unique, and every first part; name → path."""
    everything = list(paths(Experiment()))
    ends = [path.rpartition(".")[2] for path in everything]
    unique = {end: path for end, path in zip(ends, everything, strict=True) if ends.count(end) == 1}
    return unique | {path: path for path in everything if "." not in path}


def full_path(name: str) -> str:
    """Return the path that a name stands for; the name itself where it stands for none.

    >>> full_path("lr")
    'training.optimizer.lr'
    """
    head, dot, rest = name.partition(".")
    return short_names().get(head, head) + dot + rest
