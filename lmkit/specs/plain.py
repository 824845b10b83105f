"""Plain values: the values of YAML and JSON, and the text of one value on a command line."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import PurePath
from typing import Any

import yaml

from lmkit.exceptions import ConfigError, shorten

MAX_DEPTH = 50
"""Levels of nested lists and mappings in a text or a value."""

MAX_NODES = 10_000
"""Values, keys, lists and mappings in a text."""

MAX_LETTERS = 2**22
"""Letters of a text."""

MAX_DIGITS = 100
"""Digits of an integer in a text."""


class _Plain(yaml.constructor.SafeConstructor):
    """Constructs plain values; a value that does not fit its tag, or a huge integer, is an error in the text."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            tag = node.tag.rpartition(":")[2]
            raise _error(f"given {shorten(node.value)}, expected a value of the type {tag}", node) from None

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > MAX_DIGITS:
            raise _error(f"an integer has {len(node.value)} digits, expected at most {MAX_DIGITS}", node)
        return super().construct_yaml_int(node)


_Plain.add_constructor("tag:yaml.org,2002:int", _Plain.construct_yaml_int)  # type: ignore[type-var]


def _error(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


class _Loader(_Plain, yaml.SafeLoader):
    """Safe YAML in which ``1e-3`` is a number, and a key that is written twice is an error.

    A text cannot cost more than its length: aliases, by which a few lines become millions of values, are refused.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent):
            problem = f"an alias (*{event.anchor or '':.20}) is not allowed; write the value out, or quote the text"
        elif self._depth >= MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
        elif self._nodes > MAX_NODES:
            problem = f"more than {MAX_NODES:,} values"
        else:
            self._depth += 1
            node = super().compose_node(parent, index)
            self._depth -= 1
            return node
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)  # type: ignore[arg-type]

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # an error below
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {shorten(key)} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Quick(_Plain, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """The same YAML, read ten times faster if libyaml is installed; its error messages differ."""


class _Dumper(yaml.SafeDumper):
    """Quotes texts that a reader of YAML 1.1 or ``_Loader`` would read as another type."""


# YAML 1.1, which PyYAML reads, takes `1e-3` for text, `010` for eight, `1:30` for ninety, `on` for true and
# `2024-01-01` for a date, which JSON has not. These are the types of YAML 1.2.
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


_COSTLY = re.compile(r"[*&!]|^[- ?]{24}", re.MULTILINE)
"""What ``dump_yaml`` does not write of an experiment: anchors, aliases, tags, and deep indentation."""


def load_written(text: str) -> Any:
    """Return the value of a text that ``dump_yaml`` wrote, quickly; any other text is read as by ``load_yaml``."""
    is_simple = len(text) < 100_000 and text.count("[") + text.count("{") < 1_000 and not _COSTLY.search(text)
    return yaml.load(text, _Quick) if is_simple else load_yaml(text)


def load_yaml(text: str) -> Any:
    """Return the value of a YAML (or JSON) text; raise ``yaml.YAMLError`` if it is invalid."""
    _check_length(text)
    return yaml.load(text, _Loader)  # a SafeLoader: it builds plain values only


def compose_yaml(text: str) -> yaml.Node | None:
    """Return the nodes of a YAML text with their places; raise ``yaml.YAMLError`` if it is invalid."""
    _check_length(text)
    node: yaml.Node | None = yaml.compose(text, _Loader)
    return node


def _check_length(text: str) -> None:
    if len(text) > MAX_LETTERS:
        raise yaml.YAMLError(f"{len(text):,} letters, expected at most {MAX_LETTERS:,}")


def not_yaml(error: yaml.YAMLError) -> str:
    """Return what is wrong with an invalid YAML text, and where."""
    where = getattr(error, "problem_mark", None)
    line = f"line {where.line + 1}: " if where else ""
    return f"{line}not YAML: {getattr(error, 'problem', None) or error}"


def dump_yaml(value: Any) -> str:
    """Return the YAML text of a plain value, innermost collections on one line."""
    text: str = yaml.dump(value, None, _Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    return text


def parse_value(text: str) -> Any:
    """Return the value of a text on a command line; text that is not YAML is a string.

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


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` with NumPy scalars, tuples and paths converted to values of YAML and JSON.

    Args:
        value: the value.
        depth: the level on which it lies in another one.

    Raises:
        ConfigError: it is nested too deep.
    """
    if depth > MAX_DEPTH:
        raise ConfigError([f"given {shorten(value)} in {MAX_DEPTH} others: nested too deep, expected plain values"])
    if isinstance(value, Mapping):
        return {k: plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    return value
