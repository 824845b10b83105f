"""How a step is taken over devices. ``SingleDevice`` is the only strategy: one process, one device.

The trainer asks a strategy at every point where several processes would differ, so that the trainer itself knows no
rank. A strategy's methods are traced into the graph of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from lmkit.backends.tensorflow.devices import default_device


class Strategy(Protocol):
    """How a step is taken over devices.

    Attributes:
        max_steps: steps that one call may take; None for no limit.
    """

    max_steps: int | None

    @property
    def device(self) -> str:
        """The device of this process."""

    def local_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Return the rows of a batch that this process computes."""

    def reduce_gradients(self, loss: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the loss and the gradients of a step, averaged over all rows."""

    def gradient_norm(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the norm ‖∇J‖₂ over all weights."""

    def to_array(self, variable: Any) -> np.ndarray:
        """Return a copy of a weight or an optimizer state as a whole, on the host."""

    def assign(self, variable: Any, values: np.ndarray) -> None:
        """Set a weight or an optimizer state from its values as a whole."""


class SingleDevice:
    """One process with one device.

    Args:
        device: its name; empty for the first GPU, where there is one.
    """

    max_steps: int | None = None

    def __init__(self, device: str = "") -> None:
        self._device = device

    @property
    def device(self) -> str:
        """The device of this process."""
        return self._device or default_device()

    def local_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Return all rows."""
        return rows

    def reduce_gradients(self, loss: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return both as they are."""
        return loss, gradients

    def gradient_norm(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the norm over all gradients."""
        return tf.linalg.global_norm(gradients)

    def to_array(self, variable: Any) -> np.ndarray:
        """Return a copy on the host."""
        return np.array(variable.numpy())

    def assign(self, variable: Any, values: np.ndarray) -> None:
        """Assign the values."""
        variable.assign(values)
