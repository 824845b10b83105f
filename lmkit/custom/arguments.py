"""Objects of the user as arguments: replaced with references in an experiment, checked, and called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmkit.custom import pickling
from lmkit.custom.objects import (
    get_object,
    is_loaded,
    pickle_path,
    references,
    signature_of,
    signature_of_reference,
    to_reference,
)
from lmkit.exceptions import ConfigError, nearest
from lmkit.specs.frameworks import MODEL_BASES, class_names
from lmkit.specs.models.custom import PROVIDED, Custom
from lmkit.specs.references import KEPT, label

if TYPE_CHECKING:
    from lmkit.experiment.experiment import Experiment


def replace_with_references(
    values: Mapping[str, Any], root: str | Path | None = None, *, inline: bool = False
) -> dict[str, Any]:
    """Return parts of an experiment, or paths and values, with objects of the user replaced with references.

    ``model`` may be a function, a class or a ``functools.partial``; ``builder`` and ``loss`` too; ``metrics`` a list of
    functions. Everything else is unchanged.

    Raises:
        ConfigError: an object cannot be pickled, or a builder cannot be called with its arguments.
    """
    return {key: _replace(str(key), value, root, inline) for key, value in values.items()}


def _replace(path: str, value: Any, root: str | Path | None, inline: bool) -> Any:
    key = path.rpartition(".")[2]
    if key == "model" and callable(value):
        value = {"family": "own", "builder": value}
    if isinstance(value, Mapping):
        value = dict(value)
        if key == "model" and callable(value.get("builder")):
            value["builder"], arguments = _unwrap_partials(value["builder"])
            value["arguments"] = {**arguments, **(value.get("arguments") or {})}
        return {k: _replace(f"{path}.{k}", v, root, inline) for k, v in value.items()}
    if key == "builder" and callable(value):
        _check_builder(value)
        return to_reference(value, path, root, inline=inline)
    if key == "loss" and callable(value):
        return to_reference(value, path, root, inline=inline)
    if key == "metrics" and not isinstance(value, str):
        metrics = value if isinstance(value, list | tuple) else [value]
        return [to_reference(metric, path, root, inline=inline) if callable(metric) else metric for metric in metrics]
    return value


def _unwrap_partials(builder: Any) -> tuple[Any, dict[str, Any]]:
    """Return a builder without its partials, and the arguments of the partials."""
    arguments: dict[str, Any] = {}
    while isinstance(builder, functools.partial):
        signature = signature_of(builder.func)
        names = list(signature.parameters) if signature else []
        arguments = {**dict(zip(names, builder.args, strict=False)), **builder.keywords, **arguments}
        builder = builder.func
    return builder, arguments


def _check_builder(builder: Any) -> None:
    """Check that a builder is not a model itself."""
    if MODEL_BASES & class_names(builder):
        name = type(builder).__name__
        raise ConfigError(
            [
                f"model: given an instance of {name}, expected a function or class that builds it, so that a run can "
                f"start over: model={name}, or def build(): return {name}(…) and model=build"
            ]
        )


def check_objects(experiment: Experiment) -> None:
    """Check that the objects of an experiment exist and can be called as configured, as far as possible unloaded.

    Raises:
        ConfigError: for each problem what to write.
    """
    for path, reference in references(experiment).items():
        if is_loaded(reference):
            get_object(reference, path)
    model = experiment.model
    if isinstance(model, Custom):
        signature = signature_of_reference(model.builder, "model.builder")
        arguments_of(signature, model, dict.fromkeys(PROVIDED))


def arguments_of(signature: inspect.Signature | None, spec: Custom, provided: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a builder: those of ``spec``, and the parameters that ``provided`` supplies.

    Raises:
        ConfigError: an argument is missing, or the builder has no such parameter.
    """
    name = label(spec.builder)
    if signature is None:
        return dict(spec.arguments)
    parameters = signature.parameters
    kinds = {name: parameter.kind for name, parameter in parameters.items()}
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [name for name, kind in kinds.items() if kind in by_keyword]
    if inspect.Parameter.VAR_KEYWORD not in kinds.values():
        for argument in spec.arguments:
            if argument not in names:
                raise ConfigError(
                    [f"model.arguments: {name} has no parameter {argument!r}; {nearest(argument, names)}"]
                )
    arguments = dict(spec.arguments)
    for argument in names:
        if argument in arguments or parameters[argument].default is not inspect.Parameter.empty:
            continue
        if argument not in provided:
            raise ConfigError(
                [
                    f"model.arguments: {name} needs {argument!r}; use model: {{arguments: {{{argument}: …}}}}, or in "
                    f"Python model=functools.partial({name}, {argument}=…)"
                ]
            )
        arguments[argument] = provided[argument]
    return arguments


def load_metrics(experiment: Experiment) -> dict[str, Callable[..., Any]]:
    """Return name → function of the custom metrics of an experiment.

    Raises:
        ConfigError: a metric does not exist, or the data is text, which has no prediction per row.
    """
    training = experiment.training
    if training.metrics and experiment.data.kind == "text":
        raise ConfigError(
            ["training.metrics: given, but the data is text, which has no prediction per row; leave it out"]
        )
    return {label(metric): get_object(metric, "training.metrics") for metric in training.metrics}


def source_code(experiment: Experiment, root: str | Path | None = None) -> str:
    """Return the source of every object of an experiment, each under its path, as far as it is available."""
    texts = []
    for path, reference in references(experiment).items():
        if reference.startswith(KEPT):
            file = pickle_path(reference, root).with_suffix(".py")
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
        else:
            text = pickling.source(get_object(reference, path))
        texts.append(f"# {path}: {reference}\n{text or '# source not available'}".rstrip())
    return "\n\n\n".join(texts) + "\n" if texts else ""
