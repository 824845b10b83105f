"""Several processes with a device each, whose gradients are added up once a step.

The gradients go through the host's memory over the sockets of the run's processes, as one vector, added in the order of
the ranks: the sums are the same digits in every process. TensorFlow's own collectives would need a port for each of
them, and one step a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from lmkit.backends.tensorflow.devices import select_device
from lmkit.backends.tensorflow.strategies.single import SingleDevice
from lmkit.system.process_group import local_part

if TYPE_CHECKING:
    from lmkit.system.process_group import ProcessGroup


class MultiWorker(SingleDevice):
    """One process of several with a device each, which computes its rows of every micro-batch.

    Args:
        device: of this process; empty for the first GPU, where there is one.
        group: the processes.
    """

    compiles = False

    def __init__(self, device: str, group: ProcessGroup, _count: int = 0) -> None:
        super().__init__(device)
        select_device(device)
        self.group, self.rank = group, group.rank
        self.world = self.processes = group.world

    def local_rows(self, begin: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the rows of this process: an equal share of consecutive ones."""
        first, stop = local_part(begin, end, self.group.rank, self.world)
        return first, stop

    def reduce_gradients(self, loss: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return loss and gradients, added up over all processes as one vector."""
        values = [loss, *gradients]
        flat = tf.concat([tf.reshape(tf.cast(value, loss.dtype), [-1]) for value in values], 0)
        total = tf.numpy_function(self.group.sum, [flat], flat.dtype)
        total.set_shape(flat.shape)
        sizes = [value.shape.num_elements() for value in values]
        parts = [
            tf.cast(tf.reshape(part, value.shape), value.dtype)
            for part, value in zip(tf.split(total, sizes), values, strict=True)
        ]
        return parts[0], parts[1:]

    def gradient_norm(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the norm over all gradients, which every process has."""
        return tf.linalg.global_norm(gradients)

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all processes."""
        return self.group.sum(values)
