"""Adam."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lmkit.backends.tensorflow.optimizers.base import Optimizer, optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.Adam)
class Adam(Optimizer):
    """Adaptive moments."""

    def slot_names(self) -> Sequence[str]:
        """Return the means of gradients and of their squares."""
        return ("mean", "square")

    def update(self, v: tf.Variable, g: tf.Tensor, slots: Sequence[tf.Variable], rate: tf.Tensor, t: tf.Tensor) -> None:
        """Update one variable."""
        beta1, beta2 = tf.constant(self.spec.beta1, v.dtype), tf.constant(self.spec.beta2, v.dtype)
        power1, power2 = tf.pow(beta1, t), tf.pow(beta2, t)
        tf.raw_ops.ResourceApplyAdam(
            var=v.handle,
            m=slots[0].handle,
            v=slots[1].handle,
            beta1_power=power1,
            beta2_power=power2,
            lr=rate,
            beta1=beta1,
            beta2=beta2,
            # the operation adds ε to √v, the rule to √v̂ = √(v/(1−β₂ᵗ))
            epsilon=tf.constant(self.spec.epsilon, v.dtype) * tf.sqrt(1 - power2),
            grad=g,
        )
