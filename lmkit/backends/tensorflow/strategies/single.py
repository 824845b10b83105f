"""One process with one device."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from lmkit.backends.tensorflow.devices import default_device
from lmkit.backends.tensorflow.strategies.base import Replica


class SingleDevice:
    """One process with one device.

    Args:
        device: its name; empty for the first GPU, where there is one.
    """

    world = processes = 1
    rank = 0
    compiles = True
    max_steps: int | None = None

    def __init__(self, device: str = "") -> None:
        self._device = device

    @property
    def device(self) -> str:
        """The device of this process."""
        return self._device or default_device()

    def local_rows(self, begin: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return all rows."""
        return begin, end

    def replicas(self, begin: tf.Tensor, end: tf.Tensor) -> list[Replica]:
        """Return the one device, where TensorFlow computes anyway."""
        return [(contextlib.nullcontext(), *self.local_rows(begin, end))]

    def reduce_gradients(self, loss: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return both as they are."""
        return loss, gradients

    def gradient_norm(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the norm over all gradients."""
        return tf.linalg.global_norm(gradients)

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values

    def to_array(self, variable: Any) -> np.ndarray:
        """Return a copy on the host."""
        return np.array(variable.numpy())

    def assign(self, variable: Any, values: np.ndarray) -> None:
        """Assign the values."""
        variable.assign(values)

    def close(self) -> None:
        """Do nothing."""
