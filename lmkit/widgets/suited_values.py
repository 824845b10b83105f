"""The values of the form's fields that the user has not changed: they follow the data and the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from lmkit.exceptions import ConfigError
from lmkit.experiment.defaults import complete
from lmkit.experiment.experiment import Experiment
from lmkit.specs.data import DataSpec
from lmkit.specs.models import preset_of
from lmkit.specs.training import TrainingSpec


def update_defaults(values: Mapping[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with the defaults that suit their data and model, where they had those of ``previous``.

    Choosing a model or data in the form so trains what the same choice trains in ``lk.train``: the other of the two
    follows if it was the default, and so does each field of the data and of the training.

    Args:
        values: the values of the form.
        previous: the values before the last change by the user.
    """
    source, old_source = values["data"]["source"], previous["data"]["source"]
    model, old_model = values["model"], previous["model"]
    name, old_name = _name(model), _name(old_model)
    if source != old_source and model == old_model == _default_model(old_source):
        model = _default_model(source) or model
    elif name != old_name and old_source == _default_source(old_name):
        source = _default_source(name)
    updated = {**values, "model": model, "data": {**values["data"], "source": source}}
    before, after = _default_parts(previous["data"], old_name), _default_parts(updated["data"], _name(model))
    for part in before.keys() & after.keys():
        updated[part] = {
            field: after[part][field] if field != "source" and value == before[part].get(field) else value
            for field, value in updated[part].items()
        }
    return updated


def _name(model: Mapping[str, Any]) -> str:
    """Return the name of the preset that equals a model, or its family."""
    return preset_of(model) or str(model["family"])


def _default_model(source: str) -> dict[str, Any] | None:
    """Return the default model for a source of data; None if the source is invalid."""
    try:
        model: dict[str, Any] = Experiment(data={"source": source}).to_dict()["model"]
    except ConfigError:
        return None
    return model


def _default_source(model: str) -> str:
    """Return the default source of data for a preset or a family."""
    return str(complete({"model": model})["data"]["source"])


def _default_parts(data: Mapping[str, Any], model: str) -> dict[str, dict[str, Any]]:
    """Return the default values of the data and the training for some data and a model, even if they do not fit."""
    source = {"source": data["source"]}
    without = {"validation": 0} if data.get("validation") == 0 else {}
    values = complete({"data": {**source, **without}, "model": model})
    try:
        parts = {"data": DataSpec(**source), "training": TrainingSpec(**values["training"])}
    except ValidationError:
        return {}
    return {name: part.model_dump(mode="json") for name, part in parts.items()}
