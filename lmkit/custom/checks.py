"""Checks of a custom model as soon as it is built, independent of its framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from lmkit.custom.objects import describe_error
from lmkit.exceptions import ConfigError, DataError
from lmkit.specs.outputs import OutputKind, check_row_count
from lmkit.specs.signature import Shape, Signature
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

ModelClasses = Mapping[str, tuple[str, str]]
"""Class of a model → its framework, and the name by which users know the class."""


def check_built(model: Any, expected_type: type, framework: str, name: str, classes: ModelClasses) -> None:
    """Refuse what is no model, or the model of another framework."""
    if isinstance(model, expected_type):
        return
    bases = [f"{c.__module__}.{c.__qualname__}" for c in type(model).__mro__]
    expected = next(class_name for f, class_name in classes.values() if f == framework)
    for base in bases:
        if base in classes:
            other, class_name = classes[base]
            raise ConfigError(
                [
                    f"model.builder: {name} built a {class_name}, and the framework is {framework!r}, which trains a "
                    f"{expected}; use framework: {other}"
                ]
            )
    raise ConfigError([f"model.builder: {name} returned {_describe(model)}, expected a {expected}"])


def _describe(value: Any) -> str:
    if value is None:
        return "None (is its return missing?)"
    return f"the class {value.__name__}, not an instance" if isinstance(value, type) else f"a {type(value).__name__}"


def trial_rows(signature: Signature) -> np.ndarray:
    """Return two rows of zeros in the shape of the data's rows."""
    import numpy as np

    return np.zeros((2, *signature.shape), np.int64 if signature.vocabulary else np.float32)


def check_rows(predict: Callable[[np.ndarray], np.ndarray], X: np.ndarray, name: str) -> np.ndarray:
    """Return the outputs of up to three rows, after a check that one, two and three give as many rows of outputs.

    Args:
        predict: the model.
        X: rows (rows, …), prepared.
        name: of the builder.

    Raises:
        ConfigError: the model raises, or gives more or fewer outputs.
    """
    for count in (1, 2, 3):
        if count > len(X):
            break
        try:
            outputs = check_row_count(predict(X[:count]), count)
        except DataError as error:
            raise ConfigError([f"model.builder: the model of {name} takes no {count} rows: {error}"]) from None
        except Exception as error:
            raise ConfigError(
                [
                    f"model.builder: the model of {name} raised {describe_error(error)}, given {count} "
                    f"row{'s' if count > 1 else ''}; expected any number of rows: write x.view(x.shape[0], …) or "
                    ".squeeze(-1) instead of a fixed number of rows or a bare .squeeze()"
                ]
            ) from error
    return outputs


def describe_kind(kind: OutputKind) -> str:
    """Return what outputs are, in words."""
    return kind.replace("log_probabilities", "log-probabilities")


def axes_hint(signature: Signature) -> str:
    """Return what to write if rows are steps of a sequence and were taken for an image; empty for other rows.

    >>> axes_hint(Signature((20, 3, 1), 5))
    '; rows (20, 3) are taken for images: for 20 steps of 3 features write data.axes: sequence'
    """
    if len(signature.shape) != 3 or signature.shape[-1] != 1:
        return ""
    steps, features, _ = signature.shape
    return (
        f"; rows ({steps}, {features}) are taken for images: for {steps} steps of {features} features write "
        "data.axes: sequence"
    )


def check_outputs(shape: Shape | str, signature: Signature, name: str) -> None:
    """Check the shape of a model's outputs for ``trial_rows``.

    Args:
        shape: of the outputs, or the type of outputs that are no tensor.
        signature: the inputs and outputs that the data needs.
        name: of the builder.
    """
    task = get_task(signature.task)
    positions = signature.shape if task.per_position else ()
    expected = (2, *positions, signature.outputs)
    if shape == expected or (signature.task == "binary" and shape == (2, 2)):
        return
    if isinstance(shape, str):
        problem = f"returns a {shape}, expected a tensor"
    else:
        problem = f"returns {_rows(shape[1:])} for rows {_rows(signature.shape)}, expected {_rows(expected[1:])}"
    reason = task.logits_text.format(outputs=signature.outputs)
    raise ConfigError(
        [f"model.builder: the model of {name} {problem}: {reason}; {name} gets it as the parameter 'outputs'"]
    )


def _rows(shape: Shape) -> str:
    return f"(rows, {', '.join(map(str, shape))})" if shape else "(rows,)"
