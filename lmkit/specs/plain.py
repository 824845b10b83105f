"""Plain values: what YAML and JSON can hold, and the text of one value as a person types it."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import PurePath
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML in which ``1e-3`` is a number, and a key that is written twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused below
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Quick(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same words, read ten times faster where libyaml is there; its complaints are worded otherwise."""


class _Dumper(yaml.SafeDumper):
    """Quotes a text that a reader of YAML 1.1, or ours, would take for something else."""


# YAML 1.1, which PyYAML reads, takes `1e-3` for text, `010` for eight, `1:30` for ninety, `on` for true and
# `2024-01-01` for a date, which JSON has not. Here the words are those of YAML 1.2.
_OURS = {
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "float": (
        re.compile(
            r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(inf|Inf|INF))$"
            r"|\.(nan|NaN|NAN)$"
        ),
        "-+0123456789.",
    ),
    "int": (re.compile(r"[-+]?(0|[1-9][0-9]*)$"), "-+0123456789"),
}
_Loader.yaml_implicit_resolvers = _Quick.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rsplit(":", 1)[1] not in (*_OURS, "timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, (_pattern, _first) in _OURS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, list(_first))


def load_written(text: str) -> Any:
    """The value in a text that ``dump_yaml`` wrote; ``yaml.YAMLError`` where it is none."""
    return yaml.load(text, _Quick)


def load_yaml(text: str) -> Any:
    """The value that a YAML (or JSON) text stands for; ``yaml.YAMLError`` where it is none."""
    return yaml.load(text, _Loader)  # a SafeLoader: it builds plain values only


def not_yaml(error: yaml.YAMLError) -> str:
    """What is wrong with a text that is no YAML, and where."""
    where = getattr(error, "problem_mark", None)
    line = f"line {where.line + 1}: " if where else ""
    return f"{line}not YAML: {getattr(error, 'problem', None) or error}"


def dump_yaml(value: Any) -> str:
    """The YAML text of a plain value, innermost collections on one line."""
    text: str = yaml.dump(value, None, _Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    return text


def parse_value(text: str) -> Any:
    """One value as typed on a command line; what is not YAML is the text itself.

    >>> [parse_value(t) for t in ("1e-3", "true", "[10, 10]", "null", "#fff")]
    [0.001, True, [10, 10], None, '#fff']
    """
    if "#" in text and not text.lstrip().startswith(("[", "{", '"', "'")):
        return text  # YAML would read a comment
    try:
        value = load_yaml(text)
    except yaml.YAMLError:
        return text
    return value if value is not None or text.strip() in ("null", "~", "None") else text


def plain(value: Any) -> Any:
    """``value`` with NumPy scalars, tuples and paths made into what YAML and JSON can hold."""
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    return value
