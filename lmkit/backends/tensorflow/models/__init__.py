"""The model families as Keras models, one file a family, found by the type of its specification."""

from __future__ import annotations

from typing import Any

import keras

from lmkit.backends.tensorflow.models.base import FAMILIES
from lmkit.specs.signature import Signature

__all__ = ["FAMILIES", "build"]


def build(spec: Any, signature: Signature, precision: str) -> keras.Model:
    """Return the model of a specification: (rows, features) → logits (rows, outputs).

    Raises:
        NotImplementedHere: TensorFlow has no such family.
    """
    return FAMILIES.get(type(spec))(spec, signature, precision)
