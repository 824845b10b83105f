"""The model families as Keras models, one function a family."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from lmkit.specs.data import Shape
from lmkit.specs.models import MLP
from lmkit.specs.models.base import EPSILON


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


def mlp(spec: MLP, shape: Shape, outputs: int, precision: str) -> keras.Model:
    """Dense layers with a normalization, an activation, and dropout between them."""
    L = keras.layers
    inputs = x = keras.Input((math.prod(shape),), dtype=precision)
    for i, (width, skips) in enumerate(zip(spec.hidden, spec.skips, strict=True)):
        before = x
        x = L.Dense(width, name=f"dense_{i}", dtype=precision)(x)
        if spec.normalization == "layer":
            x = L.LayerNormalization(epsilon=EPSILON, name=f"norm_{i}", dtype=precision)(x)
        x = L.Activation(_ACTIVATIONS[spec.activation], name=f"{spec.activation}_{i}", dtype=precision)(x)
        if spec.dropout:
            x = L.Dropout(spec.dropout, name=f"dropout_{i}", dtype=precision)(x)
        if skips:
            x = L.Add(name=f"add_{i}", dtype=precision)([before, x])
    return keras.Model(inputs, L.Dense(outputs, name=f"dense_{len(spec.hidden)}", dtype=precision)(x))


FAMILIES: dict[str, Callable[[Any, Shape, int, str], keras.Model]] = {"mlp": mlp}


def build(spec: Any, shape: Shape, outputs: int, precision: str) -> keras.Model:
    """The model of ``spec``'s family: (rows, features) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, shape, outputs, precision)
