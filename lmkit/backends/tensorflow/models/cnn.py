"""The convolutional network as a Keras model."""

from __future__ import annotations

from typing import Any

import keras

from lmkit.backends.tensorflow.models.base import FAMILIES
from lmkit.backends.tensorflow.models.layers import ACTIVATIONS
from lmkit.specs.models import CNN
from lmkit.specs.models.base import EPSILON
from lmkit.specs.signature import Signature


@FAMILIES.register(CNN)
def build(spec: CNN, signature: Signature, precision: str) -> keras.Model:
    """Blocks of convolutions and pooling over one or two dimensions, then dense layers."""
    L = keras.layers
    shape = signature.shape
    flat = len(shape) == 3
    convolution = L.Conv2D if flat else L.Conv1D
    pools = {
        "max": L.MaxPooling2D if flat else L.MaxPooling1D,
        "average": L.AveragePooling2D if flat else L.AveragePooling1D,
    }
    last = {"data_format": "channels_last", "dtype": precision}
    inputs = keras.Input((signature.features,), dtype=precision)
    x = L.Reshape(shape, name="places", dtype=precision)(inputs)

    def activate(x: Any, number: int) -> Any:
        return L.Activation(ACTIVATIONS[spec.activation], name=f"{spec.activation}_{number}", dtype=precision)(x)

    def drop(x: Any, number: int) -> Any:
        return L.Dropout(spec.dropout, name=f"dropout_{number}", dtype=precision)(x) if spec.dropout else x

    for i, width in enumerate(spec.channels):
        before = x
        for n in range(i * spec.convolutions, (i + 1) * spec.convolutions):
            x = convolution(width, spec.kernel, padding="same", name=f"conv_{n}", **last)(x)
            if spec.normalization == "layer":
                x = L.LayerNormalization(epsilon=EPSILON, name=f"norm_{n}", dtype=precision)(x)
            elif spec.normalization == "group":
                x = L.GroupNormalization(spec.groups, epsilon=EPSILON, name=f"norm_{n}", dtype=precision)(x)
            x = activate(x, n)
        if spec.residual:
            if before.shape[-1] != width:
                before = convolution(width, 1, name=f"shortcut_{i}", **last)(before)
            x = L.Add(name=f"add_{i}", dtype=precision)([before, x])
        if spec.pooling != "none":
            x = pools[spec.pooling](2, name=f"pool_{i}", **last)(x)
        x = drop(x, i)
    if spec.gather == "flatten":
        x = L.Flatten(name="gather", **last)(x)
    else:
        x = (L.GlobalAveragePooling2D if flat else L.GlobalAveragePooling1D)(name="gather", **last)(x)
    for j, width in enumerate(spec.dense):
        x = activate(L.Dense(width, name=f"dense_{j}", dtype=precision)(x), len(spec.channels) * spec.convolutions + j)
        x = drop(x, len(spec.channels) + j)
    return keras.Model(inputs, L.Dense(signature.outputs, name=f"dense_{len(spec.dense)}", dtype=precision)(x))
