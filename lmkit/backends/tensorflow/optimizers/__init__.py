"""Optimizers in TensorFlow, one file each, found by the type of their specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from lmkit.backends.tensorflow.optimizers.base import Optimizer, optimizers

__all__ = ["Optimizer", "build_optimizer", "optimizers"]


def build_optimizer(spec: Any, variables: Mapping[str, tf.Variable]) -> Optimizer:
    """Return the optimizer of ``spec`` over named variables.

    Raises:
        NotImplementedHere: TensorFlow has no optimizer for this specification.
    """
    return optimizers.get(type(spec))(spec, variables)
