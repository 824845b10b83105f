"""What several families are built of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from lmkit.specs.models import GCN, MLP
from lmkit.specs.models.base import EPSILON


@keras.saving.register_keras_serializable("lmkit")
def gelu(x: Any) -> Any:
    """The tanh approximation. Keras's own takes its constants in float32, whatever ``x`` is: 1e-9 off in float64."""
    return 0.5 * x * (1 + keras.ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


ACTIVATIONS: dict[str, Callable[[Any], Any] | str] = {
    "relu": "relu",
    "tanh": "tanh",
    "gelu": gelu,
    "sigmoid": "sigmoid",
}


def followed(spec: MLP | GCN, i: int, before: Any, x: Any, precision: str) -> Any:
    """What follows hidden layer ``i``: a normalization, the activation, dropout; and ``before``, if any, is added."""
    L = keras.layers
    if spec.normalization == "layer":
        x = L.LayerNormalization(epsilon=EPSILON, name=f"norm_{i}", dtype=precision)(x)
    x = L.Activation(ACTIVATIONS[spec.activation], name=f"{spec.activation}_{i}", dtype=precision)(x)
    if spec.dropout:
        x = L.Dropout(spec.dropout, name=f"dropout_{i}", dtype=precision)(x)
    return x if before is None else L.Add(name=f"add_{i}", dtype=precision)([before, x])
