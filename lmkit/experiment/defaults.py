"""Defaults that depend on other parts of an experiment, and its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lmkit.experiment.messages import TAGS
from lmkit.specs.data import Data, DataSpec
from lmkit.specs.models import DATA, FOR_KIND, OF_KIND, TRAINING
from lmkit.specs.references import OBJECT, label


def complete(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with defaults for missing parts, which depend on the other parts."""
    values = _complete_earlier(values)
    data, model, training = (values.get(part) for part in ("data", "model", "training"))
    if "data" not in values or (isinstance(data, Mapping) and "source" not in data):
        data = {"source": _example_source(model), **(data or {})}
    kind = _data_kind(data)
    if "model" not in values:
        model = FOR_KIND[kind]
    if "training" not in values or isinstance(training, Mapping):
        defaults = {**TRAINING.get(_tag(model, "family"), {}), **OF_KIND.get(kind, {})}
        if isinstance(data, Mapping) and data.get("validation") == 0:
            defaults["early_stopping"] = None
        steps = (training or {}).get("steps")
        if isinstance(steps, int) and (warmup := defaults.get("schedule", {}).get("warmup", 0)):
            defaults["schedule"] = {**defaults["schedule"], "warmup": min(warmup, steps // 5)}
        training = {**defaults, **{part: _merge(defaults.get(part), value) for part, value in (training or {}).items()}}
    return {**values, "data": data, "model": model, "training": training}


TRAINING_FIELDS = {
    *("epochs", "steps", "seconds", "target_loss", "gradient_norm", "validate_every", "early_stopping", "loss"),
    *("metrics", "optimizer", "schedule", "clip_norm", "precision", "compile", "threads", "checkpoint_seconds"),
}
"""The fields of ``training`` in version 0.1, which every file that lmkit wrote names."""


def _complete_earlier(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with what versions before 0.3 did, where one of these wrote them all and had no field for it.

    Such a file names every field that its version had, as a person hardly does; a multilayer perceptron without an
    initializer started from that of He.
    """
    model, training = values.get("model"), values.get("training")
    is_written = isinstance(training, Mapping) and training.keys() >= TRAINING_FIELDS
    if is_written and isinstance(model, Mapping) and model.get("family") == "mlp" and "initializer" not in model:
        return {**values, "model": {**model, "initializer": "he"}}
    return values


def _example_source(model: Any) -> str:
    """Return the default source of data for a model: that of its preset, or of its family."""
    preset = model.get("preset") if isinstance(model, Mapping) else None
    name = model.get("family") if isinstance(model, Mapping) else model
    return DATA.get(f"{name}:{preset}" if preset else str(name)) or DATA.get(_tag(model, "family")) or DATA["mlp"]


def _data_kind(data: Any) -> str:
    """Return the kind of the data; ``table`` for invalid data, whose error is raised at validation."""
    try:
        return _DATA.validate_python(data).kind
    except (ValidationError, TypeError, ValueError):
        return "table"


_DATA: TypeAdapter[DataSpec] = TypeAdapter(Data)


def _merge(default: Any, value: Any) -> Any:
    """Return a part of ``training``, merged with its default if it has no tag."""
    if isinstance(default, Mapping) and isinstance(value, Mapping) and not any(tag in value for tag in TAGS):
        return {**default, **value}
    return value


def _tag(part: Any, field: str) -> str:
    """Return the value of a part's tag ``field``, without the preset."""
    value = part.get(field, "") if isinstance(part, Mapping) else part
    return value.partition(":")[0] if isinstance(value, str) else ""


def made_name(data: Any, model: Any) -> str:
    """Return the default name of an experiment: its data and its model.

    >>> made_name({"source": "tables/my prices.csv"}, "mlp:wide")
    'my-prices-mlp'
    """
    source = (data.get("source") if isinstance(data, Mapping) else data) or "breast_cancer"
    default = "own" if isinstance(model, Mapping) and "builder" in model else "mlp"
    family = (model.get("family") if isinstance(model, Mapping) else model) or default
    stem = label(source) if str(source).startswith(OBJECT) else Path(str(source)).stem.partition(":")[0]
    name = f"{stem}-{str(family).partition(':')[0]}"
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:64]
