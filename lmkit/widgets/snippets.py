"""An experiment as code: Python, YAML, a magic; each makes an equal experiment again."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any, Literal, get_origin

import yaml

from lmkit.experiment import TAGS, WORDS, Experiment, made_name
from lmkit.placeholders import escape
from lmkit.specs.base import Spec
from lmkit.specs.plain import _Dumper

LINE = 72
"""Characters of a line of Python, at most: what a narrow notebook shows."""


def python(experiment: Experiment) -> str:
    """The cell that trains it; what is at its default is left out."""
    made = "".join(f"    {k}={_literal(v, 4, len(k) + 2)},\n" for k, v in differences(experiment).items())
    made = f"\n{made}" if made else ""
    return f"import lmkit as lk\n\nexperiment = lk.Experiment({made})\nrun = lk.train(experiment)\nrun"


def as_yaml(experiment: Experiment) -> str:
    """The file that ``lmkit train FILE.yaml`` takes: the whole experiment."""
    return experiment.to_yaml().rstrip()


def magic(experiment: Experiment) -> str:
    """The cell magic that trains it; what is at its default is left out."""
    body = _block(differences(experiment)).rstrip() or "# everything is at its default"
    return f"%%lmkit train\n{escape(body)}"


def differences(experiment: Experiment) -> dict[str, Any]:
    """What must be said to get ``experiment``: what is not at its default, in the short form where there is one.

    >>> differences(Experiment(data="digits", training={"optimizer": {"name": "adam", "lr": 0.1}}))
    {'data': 'digits', 'training': {'optimizer': {'name': 'adam', 'lr': 0.1}}}
    """
    found = _differences(experiment)
    if experiment.name == made_name(experiment.data.source, experiment.model.family):
        found.pop("name", None)
    return found


def _differences(part: Spec) -> dict[str, Any]:
    values = part.model_dump(mode="json")
    found: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if value == field.get_default(call_default_factory=True):
            continue
        if not isinstance(value, Spec):
            found[name] = values[name]
            continue
        # the part's own defaults count once it is named, not those of the part that it replaces
        inner = {t: getattr(value, t) for t in TAGS if _is_tag(value, t)} | _differences(value)
        word = WORDS.get(name, "")
        first = next(iter(type(value).model_fields))
        found[name] = inner[word] if set(inner) == {word} else inner or {first: values[name][first]}
    return found


def _is_tag(part: Spec, name: str) -> bool:
    """Whether the field tells which kind of part it is."""
    field = type(part).model_fields.get(name)
    return field is not None and get_origin(field.annotation) is Literal


def _literal(value: Any, indent: int, beside: int) -> str:
    """A plain value in Python, over several lines where it and ``beside`` characters are too long for one."""
    flat = _flat(value)
    if indent + len(flat) + beside <= LINE or not isinstance(value, Mapping | list):
        return flat
    end, pad = "\n" + " " * indent, " " * (indent + 4)
    if isinstance(value, list):
        # a text may hold spaces, at which it must not be broken
        items = [f"{pad}{_flat(v)}," for v in value] if any(isinstance(v, str) for v in value) else None
        numbers = ", ".join(map(_flat, value)) + ","
        lines = items or textwrap.wrap(numbers, LINE, initial_indent=pad, subsequent_indent=pad)
        return "[\n" + "\n".join(lines) + end + "]"
    keys = {k: f"{_flat(k)}: " for k in value}
    lines = [f"{pad}{keys[k]}{_literal(v, indent + 4, len(keys[k]) + 1)}," for k, v in value.items()]
    return "{\n" + "\n".join(lines) + end + "}"


def _flat(value: Any) -> str:
    """A plain value in Python, on one line."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(map(_flat, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_flat(k)}: {_flat(v)}' for k, v in value.items())}}}"
    return repr(value)


class _Block(_Dumper):
    """Mappings in block style, lists on one line: no braces, which a magic fills from the notebook."""


_Block.add_representer(list, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True))


def _block(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    text: str = yaml.dump(dict(values), None, _Block, sort_keys=False, default_flow_style=False, allow_unicode=True)
    return text
