"""An experiment as code: Python, YAML, a magic. Each makes an equal experiment."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_origin

import yaml

from lmkit.exceptions import ConfigError
from lmkit.experiment.defaults import made_name
from lmkit.experiment.experiment import Experiment
from lmkit.experiment.messages import TAGS
from lmkit.experiment.paths import WORDS
from lmkit.experiment.placeholders import escape
from lmkit.specs.base import Spec
from lmkit.specs.plain import _Dumper

LINE = 72
"""Maximum length of a line of Python, for narrow notebooks."""


def python(experiment: Experiment) -> str:
    """Return the cell that trains the experiment; default values are omitted."""
    arguments = "".join(f"    {k}={python_literal(v, 4, len(k) + 2)},\n" for k, v in differences(experiment).items())
    arguments = f"\n{arguments}" if arguments else ""
    return f"import lmkit as lk\n\nexperiment = lk.Experiment({arguments})\nrun = lk.train(experiment)\nrun"


def as_yaml(experiment: Experiment) -> str:
    """Return the file for ``lmkit train FILE.yaml``: the complete experiment."""
    return experiment.to_yaml().rstrip()


def magic(experiment: Experiment) -> str:
    """Return the cell magic that trains the experiment; default values are omitted."""
    body = _block(differences(experiment)).rstrip() or "# all values are defaults"
    return f"%%lmkit train\n{escape(body)}"


def differences(experiment: Experiment) -> dict[str, Any]:
    """Return the fewest values that make ``experiment``, in shorthand where one exists.

    A missing value takes a default that depends on the data and the model. So these are written first, and the rest is
    compared with the experiment that they make.

    >>> differences(Experiment(data="digits", training={"optimizer": {"name": "adam", "lr": 0.1}}))
    {'data': 'digits', 'training': {'optimizer': {'name': 'adam', 'lr': 0.1}}}
    """
    values: dict[str, Any] = {}
    for stage in DEPENDENCIES:
        # a value that is written can change the default of another
        while (merged := _merge(values, _missing(experiment, values, stage))) != values:
            values = merged
    if experiment.name == made_name(experiment.data.source, experiment.model.family):
        values.pop("name", None)
    order = [name for name in Experiment.model_fields if name in values]
    return {name: _shorten(name, values[name]) for name in order}


DEPENDENCIES = (("data.source",), ("data", "model"), ("training.steps",), tuple(Experiment.model_fields))
"""Paths of an experiment in the order in which the defaults of the later ones depend on the earlier ones."""


def _missing(experiment: Experiment, values: Mapping[str, Any], stage: Iterable[str]) -> dict[str, Any]:
    """Return the values at the paths of ``stage`` in which ``experiment`` differs from what ``values`` makes."""
    try:
        reference = Experiment(**values)
    except ConfigError:  # valid only with a value of a later stage
        return {}
    changes = _differences(experiment, reference)
    missing: dict[str, Any] = {}
    for path in stage:
        part, _, field = path.partition(".")
        if part in changes and (not field or field in changes[part]):
            missing[part] = {field: changes[part][field]} if field else changes[part]
    return missing


def _differences(part: Spec, reference: Spec) -> dict[str, Any]:
    """Return the fields of ``part`` that differ from those of ``reference``; a part with a tag is returned with it."""
    values = part.model_dump(mode="json")
    changes: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value, default = getattr(part, name), getattr(reference, name, field.get_default(call_default_factory=True))
        if value == default:
            continue
        if not isinstance(value, Spec):
            changes[name] = values[name]
            continue
        tags = {tag: getattr(value, tag) for tag in TAGS if _is_tag(value, tag)}
        # a part with a tag takes the defaults of its kind, one without takes those of the experiment
        inner = tags | _differences(value, default if isinstance(default, type(value)) and not tags else _DEFAULTS)
        changes[name] = inner or {first: values[name][first] for first in list(type(value).model_fields)[:1]}
    return changes


_DEFAULTS = Spec()
"""A reference without fields: each field is compared with the default of its class."""


def _merge(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with ``changes``; a part with a tag is replaced."""
    merged = dict(values)
    for name, value in changes.items():
        outer = merged.get(name)
        is_untagged = isinstance(value, Mapping) and not any(tag in value for tag in TAGS)
        merged[name] = _merge(outer, value) if is_untagged and isinstance(outer, Mapping) else value
    return merged


def _shorten(name: str, value: Any) -> Any:
    """Return a part as a word where its only field is the one that a word sets."""
    if not isinstance(value, Mapping):
        return value
    word = WORDS.get(name, "")
    return value[word] if set(value) == {word} else {k: _shorten(k, v) for k, v in value.items()}


def _is_tag(part: Spec, name: str) -> bool:
    """Whether the field is the tag of a union."""
    field = type(part).model_fields.get(name)
    return field is not None and get_origin(field.annotation) is Literal


def python_literal(value: Any, indent: int, extra: int) -> str:
    """Return a plain value as Python, on several lines if it and ``extra`` characters exceed one."""
    flat = _inline_literal(value)
    if indent + len(flat) + extra <= LINE or not isinstance(value, Mapping | list):
        return flat
    end, pad = "\n" + " " * indent, " " * (indent + 4)
    if isinstance(value, list):
        # one string per line: textwrap would break strings at spaces
        items = [f"{pad}{_inline_literal(v)}," for v in value] if any(isinstance(v, str) for v in value) else None
        numbers = ", ".join(map(_inline_literal, value)) + ","
        lines = items or textwrap.wrap(numbers, LINE, initial_indent=pad, subsequent_indent=pad)
        return "[\n" + "\n".join(lines) + end + "]"
    keys = {k: f"{_inline_literal(k)}: " for k in value}
    lines = [f"{pad}{keys[k]}{python_literal(v, indent + 4, len(keys[k]) + 1)}," for k, v in value.items()]
    return "{\n" + "\n".join(lines) + end + "}"


def _inline_literal(value: Any) -> str:
    """Return a plain value as Python on one line."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_inline_literal, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_inline_literal(k)}: {_inline_literal(v)}' for k, v in value.items())}}}"
    return repr(value)


class _Block(_Dumper):
    """Mappings in block style, lists on one line: without braces, which a magic replaces with variables."""


_Block.add_representer(list, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True))


def _block(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    text: str = yaml.dump(dict(values), None, _Block, sort_keys=False, default_flow_style=False, allow_unicode=True)
    return text
