"""The multilayer perceptron as a Keras model."""

from __future__ import annotations

import keras

from lmkit.backends.tensorflow.models.layers import ACTIVATIONS
from lmkit.specs.models import MLP
from lmkit.specs.models.base import EPSILON
from lmkit.specs.signature import Signature


def build(spec: MLP, signature: Signature, precision: str) -> keras.Model:
    """Dense layers with a normalization, an activation, and dropout between them."""
    L = keras.layers
    inputs = x = keras.Input((signature.features,), dtype=precision)
    for i, (width, skips) in enumerate(zip(spec.hidden, spec.skips, strict=True)):
        before = x
        x = L.Dense(width, name=f"dense_{i}", dtype=precision)(x)
        if spec.normalization == "layer":
            x = L.LayerNormalization(epsilon=EPSILON, name=f"norm_{i}", dtype=precision)(x)
        x = L.Activation(ACTIVATIONS[spec.activation], name=f"{spec.activation}_{i}", dtype=precision)(x)
        if spec.dropout:
            x = L.Dropout(spec.dropout, name=f"dropout_{i}", dtype=precision)(x)
        if skips:
            x = L.Add(name=f"add_{i}", dtype=precision)([before, x])
    return keras.Model(inputs, L.Dense(signature.outputs, name=f"dense_{len(spec.hidden)}", dtype=precision)(x))
