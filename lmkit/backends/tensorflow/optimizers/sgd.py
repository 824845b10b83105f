"""Stochastic gradient descent, with momentum and Nesterov's."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from lmkit.backends.tensorflow.optimizers.base import Optimizer, optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.SGD)
class SGD(Optimizer):
    """Stochastic gradient descent."""

    def slot_names(self) -> Sequence[str]:
        """Return the velocity, where there is momentum."""
        return ("velocity",) if self.spec.momentum else ()

    def update(self, v: tf.Variable, g: tf.Tensor, slots: Sequence[tf.Variable], rate: tf.Tensor, t: tf.Tensor) -> None:  # noqa: ARG002 (part of the interface)
        """Update one variable."""
        if not slots:
            tf.raw_ops.ResourceApplyGradientDescent(var=v.handle, alpha=rate, delta=g)
            return
        tf.raw_ops.ResourceApplyMomentum(
            var=v.handle,
            accum=slots[0].handle,
            lr=rate,
            grad=g,
            momentum=tf.constant(self.spec.momentum, v.dtype),
            use_nesterov=self.spec.nesterov,
        )
