"""The target of a sweep: a template with fixed parameters, or an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lmkit.batch.templates import (
    OVERRIDES,
    Template,
    build_experiment,
    check_parameters,
    expand_sections,
    read_template,
    template_paths,
)
from lmkit.custom import trust
from lmkit.exceptions import SweepError
from lmkit.experiment.defaults import made_name
from lmkit.experiment.experiment import Experiment
from lmkit.experiment.schema import full_path
from lmkit.run.resolve import resolve_experiment
from lmkit.specs.plain import parse_value
from lmkit.sweeping.records import FixedParameters

SECTIONS = ("framework", "seed", "data", "model", "training")


class Target(NamedTuple):
    """What the trials of a sweep execute.

    Attributes:
        template: the notebook.
        fixed: what all trials have in common.
    """

    template: Template
    fixed: FixedParameters

    def experiment(self, varied: Mapping[str, Any]) -> Experiment | None:
        """Return the experiment of a trial; None where the template describes none.

        Raises:
            TemplateError, ConfigError: the parameters are invalid.
        """
        return build_experiment(self.template, check_parameters(self.template, self.fixed.bind(varied)))

    def check_overlap(self, varied: list[str]) -> None:
        """Raise a SweepError for a parameter that is varied twice, or both fixed and varied, under any name."""
        parameters = self.fixed.parameters
        seen: dict[str, str] = {}
        for name in varied:
            path = full_path(name)
            if path in seen:
                raise SweepError(f"{name} and {seen[path]} are the same parameter; use one of them")
            seen[path] = name
        for name in {**parameters, **parameters.get(OVERRIDES, {})}:
            if full_path(name) in seen:
                raise SweepError(f"{name}: both fixed and varied ({seen[full_path(name)]}); do one of them")


def resolve_target(
    source: Any,
    parameters: Mapping[str, Any] | None,
    typed: Mapping[str, str] | None,
    runs: str | Path | None = None,
    *,
    trusted: bool = False,
) -> Target:
    """Return the template that is executed, and what all trials have in common.

    Args:
        source: the name of a template or the path of a notebook; else what ``lmkit.run.resolve`` takes.
        parameters: parameters of all trials.
        typed: more parameters, as typed on a command line.
        runs: the folder of the runs.
        trusted: whether the code that the experiment names may run.

    Raises:
        UntrustedCode: it may not, and is not this user's.
    """
    if isinstance(source, str | Path) and (str(source) in template_paths() or str(source).lower().endswith(".ipynb")):
        template = read_template(source)
        return Target(template, FixedParameters(check_parameters(template, parameters or {}, typed)))
    values = {name: parse_value(text) for name, text in (typed or {}).items()}
    experiment = resolve_experiment(source, {**expand_sections(parameters or {}), **values}, runs=runs)
    trust.adopt(experiment, runs, text=trusted or source is None or isinstance(source, Mapping))
    configuration = experiment.to_dict()
    sections = {name: configuration[name] for name in SECTIONS}
    if experiment.name != made_name(experiment.data.source, experiment.model.family):
        sections["name"] = experiment.name
    return Target(read_template("train"), FixedParameters({}, sections))
