"""What several families are built of."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras


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
