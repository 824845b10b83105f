"""The model families as Keras models, one file a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from lmkit.backends.tensorflow.models import cnn, gcn, mlp, own, transformer
from lmkit.specs.signature import Signature

FAMILIES: dict[str, Callable[[Any, Signature, str], Any]] = {
    "mlp": mlp.build,
    "cnn": cnn.build,
    "gcn": gcn.build,
    "own": own.build,
    "transformer": transformer.build,
}


def build(spec: Any, signature: Signature, precision: str) -> keras.Model:
    """The model of ``spec``'s family: (rows, features) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, signature, precision)
