"""What the optimizers share: their variables and their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from lmkit.backends.implementations import Implementations


class Optimizer:
    """An update rule over resource variables, by TensorFlow's own fused operations.

    Keras's optimizers add ε to the uncorrected root and fold the learning rate into the velocity; these mean what
    ``lmkit.specs.optimizers`` writes, which is also what PyTorch does.

    Attributes:
        state: name of a variable and of a slot → variable, and the number of steps; in checkpoints.
    """

    def __init__(self, spec: Any, variables: Mapping[str, tf.Variable]) -> None:
        self.spec = spec
        self.variables = list(variables.values())
        names = self.slot_names()
        self.slots = [[tf.Variable(tf.zeros_like(v), trainable=False) for _ in names] for v in self.variables]
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.state = {"step": self.steps} | {
            f"{name}/{slot}": v
            for name, slots in zip(variables, self.slots, strict=True)
            for slot, v in zip(names, slots, strict=True)
        }

    def slot_names(self) -> Sequence[str]:
        """Return the names of the state of each variable."""
        return ()

    def update(self, v: tf.Variable, g: tf.Tensor, slots: Sequence[tf.Variable], rate: tf.Tensor, t: tf.Tensor) -> None:
        """Update one variable by its gradient, in step ``t``, counted from 1."""
        raise NotImplementedError

    def step(self, gradients: Sequence[tf.Tensor], rate: tf.Tensor) -> None:
        """Take one step θ ← θ − … at learning rate ``rate``."""
        t = tf.cast(self.steps.assign_add(1), rate.dtype)
        for v, g, slots in zip(self.variables, gradients, self.slots, strict=True):
            self.update(v, g, slots, rate, t)


optimizers: Implementations[type[Optimizer]] = Implementations(
    "optimizer", "TensorFlow", "tensorflow", "lmkit.backends.tensorflow.optimizers"
)
