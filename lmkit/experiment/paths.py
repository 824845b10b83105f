"""Paths of an experiment, such as ``training.optimizer.lr``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lmkit.experiment.messages import TAGS
from lmkit.specs.base import Spec

WORDS = {"data": "source", "model": "family", "optimizer": "name", "schedule": "name"}
"""Part → the field that a single word sets: ``optimizer: adam`` is ``optimizer: {name: adam}``."""


def with_paths(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an experiment with some complete paths changed."""
    for path in sorted(changes, key=lambda p: (p.count("."), p.rsplit(".", 1)[-1] not in TAGS)):
        *parents, last = path.split(".")
        part = values
        for parent in parents:
            inner = part.get(parent)
            if isinstance(inner, str) and parent in WORDS:
                inner = {WORDS[parent]: inner}  # a word for the part, and more of its fields, in the same call
            part[parent] = part = dict(inner) if isinstance(inner, Mapping) else {}
        value = changes[path]
        if last in TAGS and parents and part.get(last) != value:
            part.clear()
        part[last] = value
    return values


def paths(part: Spec, prefix: str = "") -> Iterator[str]:
    """Iterate over every path of ``part``, such as ``training.optimizer.lr``, groups before their members."""
    for name in type(part).model_fields:
        yield prefix + name
        value = getattr(part, name)
        if isinstance(value, Spec):
            yield from paths(value, f"{prefix}{name}.")
