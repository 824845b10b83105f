"""What is asked of a model of somebody's own as soon as it is built, whatever its framework."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lmkit.errors import ConfigError
from lmkit.specs.signature import Shape, Signature

if TYPE_CHECKING:
    import numpy as np

MODELS = {
    "torch.nn.modules.module.Module": ("torch", "torch.nn.Module"),
    "keras.src.models.model.Model": ("tensorflow", "keras.Model"),
}
"""Class → the framework that it is of, and what it is called there."""


def check_built(model: Any, wanted: type, framework: str, name: str) -> None:
    """Refuses what is no model, or that of another framework."""
    if isinstance(model, wanted):
        return
    bases = [f"{c.__module__}.{c.__qualname__}" for c in type(model).__mro__]
    expected = next(called for f, called in MODELS.values() if f == framework)
    for base in bases:
        if base in MODELS:
            other, called = MODELS[base]
            raise ConfigError(
                [f"model.builder: {name} built a {called}, and the framework is {framework!r}, which trains a "
                 f"{expected}; write framework: {other}"]
            )  # fmt: skip
    raise ConfigError([f"model.builder: {name} returned {_told(model)}, expected a {expected}"])


def _told(value: Any) -> str:
    if value is None:
        return "None (is its return missing?)"
    return f"the class {value.__name__}, not a model of it" if isinstance(value, type) else f"a {type(value).__name__}"


def trial_rows(signature: Signature) -> np.ndarray:
    """Two rows of zeros, as the data's rows are."""
    import numpy as np

    return np.zeros((2, *signature.shape), np.int64 if signature.vocabulary else np.float32)


def check_outputs(given: Shape | str, signature: Signature, name: str) -> None:
    """Refuses outputs of another shape than the data needs."""
    places = signature.shape if signature.task == "language" else ()
    expected = (2, *places, signature.outputs)
    if given == expected:
        return
    if isinstance(given, str):
        found = f"gives a {given}, expected a tensor"
    else:
        found = f"gives {_rows(given[1:])} for rows {_rows(signature.shape)}, expected {_rows(expected[1:])}"
    why = {
        "binary": "one logit for two classes", "multiclass": f"a logit for each of {signature.outputs} classes",
        "regression": "a number", "language": f"a logit for each of {signature.outputs} tokens at each place",
    }[signature.task]  # fmt: skip
    raise ConfigError(
        [f"model.builder: the model of {name} {found}: {why}; a parameter 'outputs' of {name} is given how many"]
    )


def _rows(shape: Shape) -> str:
    return f"(rows, {', '.join(map(str, shape))})" if shape else "(rows,)"
