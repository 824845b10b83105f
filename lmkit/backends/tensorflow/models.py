"""The model families as Keras models, one function a family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from lmkit.specs.models import MLP


@keras.saving.register_keras_serializable("lmkit")
def gelu(x: Any) -> Any:
    """The tanh approximation. Keras's own takes its constants in float32, whatever ``x`` is: 1e-9 off in float64."""
    return 0.5 * x * (1 + keras.ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


_ACTIVATIONS: dict[str, Callable[[Any], Any] | str] = {
    "relu": "relu",
    "tanh": "tanh",
    "gelu": gelu,
    "sigmoid": "sigmoid",
}


def mlp(spec: MLP, inputs: int, outputs: int, precision: str) -> keras.Model:
    """Dense layers with an activation, and dropout, between them."""
    layers: list[Any] = [keras.Input((inputs,), dtype=precision)]
    widths = spec.widths(inputs, outputs)
    for i, width in enumerate(widths[1:]):
        layers.append(keras.layers.Dense(width, name=f"dense_{i}", dtype=precision))
        if i < len(spec.hidden):
            layers.append(
                keras.layers.Activation(_ACTIVATIONS[spec.activation], name=f"{spec.activation}_{i}", dtype=precision)
            )
            if spec.dropout:
                layers.append(keras.layers.Dropout(spec.dropout, name=f"dropout_{i}", dtype=precision))
    return keras.Sequential(layers)


FAMILIES: dict[str, Callable[[Any, int, int, str], keras.Model]] = {"mlp": mlp}


def build(spec: MLP, inputs: int, outputs: int, precision: str) -> keras.Model:
    """The model of ``spec``'s family: (rows, inputs) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, inputs, outputs, precision)
