"""The scale of the loss in float16, in which small gradients would be 0."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

FIRST, GROWTH_STEPS = 2.0**16, 2000.0
"""The first scale, and the steps without an overflow after which it is doubled (Micikevicius et al., 2018)."""


class LossScale:
    """A factor of the loss that is halved when gradients overflow and doubled when they have not for long.

    Attributes:
        state: name → variable; in checkpoints.
    """

    def __init__(self) -> None:
        self.value, self.steps = (tf.Variable(v, dtype=tf.float32, trainable=False) for v in (FIRST, 0.0))
        self.state = {"loss_scale/value": self.value, "loss_scale/steps": self.steps}

    def unscale(self, gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Return the gradients divided by the scale."""
        return [g / tf.cast(self.value, g.dtype) for g in gradients]

    def update(self, is_finite: tf.Tensor) -> None:
        """Change the scale after a step, whose gradients were finite or not."""
        steps = tf.where(is_finite, self.steps + 1, 0.0)
        grows = steps >= GROWTH_STEPS
        factor = tf.where(is_finite, tf.where(grows, 2.0, 1.0), 0.5)
        self.value.assign(tf.maximum(self.value * factor, 1.0))
        self.steps.assign(tf.where(grows, 0.0, steps))
