"""The implementation in TensorFlow, imported when TensorFlow builds it."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lmkit.backends.tensorflow.optimizers import Optimizer


class Sign(Optimizer):
    """Signs of the gradient."""

    def update(self, v: Any, g: Any, slots: Any, rate: Any, t: Any) -> None:
        """Update one variable."""
        v.assign_sub(rate * tf.sign(g))
