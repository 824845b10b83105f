"""AdamW."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lmkit.backends.tensorflow.optimizers.adam import Adam
from lmkit.backends.tensorflow.optimizers.base import optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.AdamW)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    def update(self, v: tf.Variable, g: tf.Tensor, slots: Sequence[tf.Variable], rate: tf.Tensor, t: tf.Tensor) -> None:
        """Decay one variable, then update it."""
        if self.spec.weight_decay:
            v.assign_sub(v * (rate * tf.constant(self.spec.weight_decay, v.dtype)))
        super().update(v, g, slots, rate, t)
