"""What is swept: a template with some parameters fixed, or an experiment; and what a trial's parameters make of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmkit.batch.templates import (
    OVERRIDES,
    Template,
    check_parameters,
    described_experiment,
    full_path,
    known_templates,
    read_template,
)
from lmkit.errors import SweepError
from lmkit.experiment import Experiment, made_name
from lmkit.specs.plain import parse_value

PARTS = ("framework", "seed", "data", "model", "training")


def setting(
    what: Experiment | Mapping[str, Any] | str | Path,
    parameters: Mapping[str, Any] | None,
    typed: Mapping[str, str] | None,
) -> tuple[Template, dict[str, Any]]:
    """The template to be executed, and what every trial has in common: ``parameters`` and ``experiment``."""
    text = str(what)
    if not isinstance(what, Experiment | Mapping) and text in known_templates():
        pass
    elif not isinstance(what, Experiment | Mapping) and text.endswith((".yaml", ".yml", ".json")):
        what = Experiment.load(text)
    elif isinstance(what, Mapping):
        what = Experiment.from_dict(what)
    if not isinstance(what, Experiment):
        template = read_template(what)
        return template, {"parameters": check_parameters(template, parameters or {}, typed), "experiment": None}
    read = {name: parse_value(text) for name, text in (typed or {}).items()}
    experiment = what.override({**(parameters or {}), **read})
    whole = experiment.to_dict()
    parts = {name: whole[name] for name in PARTS}
    if experiment.name != made_name(experiment.data.source, experiment.model.family):
        parts["name"] = experiment.name
    return read_template("train"), {"parameters": {}, "experiment": parts}


def bind(spec: Mapping[str, Any], varied: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters that the template of a trial is given."""
    if spec["experiment"] is None:
        return {**spec["parameters"], **varied}
    return {OVERRIDES: {**spec["experiment"], **{full_path(name): value for name, value in varied.items()}}}


def experiment_of(template: Template, spec: Mapping[str, Any], varied: Mapping[str, Any]) -> Experiment | None:
    """The experiment of a trial; None where the template describes none.

    Raises:
        TemplateError, ConfigError: its parameters cannot be.
    """
    return described_experiment(template, check_parameters(template, bind(spec, varied)))


def refuse_twice(spec: Mapping[str, Any], varied: list[str]) -> None:
    """Refuses a parameter that is varied twice, or both fixed and varied, by whatever name."""
    fixed = {**spec["parameters"], **spec["parameters"].get(OVERRIDES, {})}
    seen: dict[str, str] = {}
    for name in varied:
        path = full_path(name)
        if path in seen:
            raise SweepError(f"{name} and {seen[path]} are the same; give one of them")
        seen[path] = name
    for name in fixed:
        if full_path(name) in seen:
            raise SweepError(f"{name}: is given and varied ({seen[full_path(name)]}); do one of them")
