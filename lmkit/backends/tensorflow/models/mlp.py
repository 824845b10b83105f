"""The multilayer perceptron as a Keras model."""

from __future__ import annotations

import keras

from lmkit.backends.tensorflow.models.base import FAMILIES
from lmkit.backends.tensorflow.models.layers import hidden_tail
from lmkit.specs.models import MLP
from lmkit.specs.signature import Signature


@FAMILIES.register(MLP)
def build(spec: MLP, signature: Signature, precision: str) -> keras.Model:
    """Dense layers with a normalization, an activation, and dropout between them."""
    L = keras.layers
    inputs = x = keras.Input((signature.features,), dtype=precision)
    for i, (width, skips) in enumerate(zip(spec.hidden, spec.skips, strict=True)):
        before = x
        x = L.Dense(width, name=f"dense_{i}", dtype=precision)(x)
        x = hidden_tail(spec, i, before if skips else None, x, precision)
    return keras.Model(inputs, L.Dense(signature.outputs, name=f"dense_{len(spec.hidden)}", dtype=precision)(x))
