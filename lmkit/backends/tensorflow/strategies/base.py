"""The interface of a strategy: how a step is taken over devices.

The trainer asks a strategy at every point where several processes would differ, so that the trainer itself knows no
rank. Some of a strategy's methods are traced into the graph of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

Replica = tuple[AbstractContextManager[Any], tf.Tensor, tf.Tensor]
"""The context in which a device computes, first row and end of its rows."""


class Strategy(Protocol):
    """How a step is taken over devices.

    Every process holds the same global batch, divided into the same micro-batches, and computes its own rows of each.
    Every process draws the masks of dropout for all rows of the batch, and so keeps the same random states.

    Attributes:
        world: devices that share a step.
        rank, processes: number of this process, from 0, and of processes.
        max_steps: steps that one call may take; None for no limit.
        compiles: whether a step can be compiled by XLA.
    """

    world: int
    rank: int
    processes: int
    compiles: bool
    max_steps: int | None

    @property
    def device(self) -> str:
        """The device of this process."""

    def local_rows(self, begin: tf.Tensor, end: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return first row and end of the rows that this process computes of the micro-batch of rows ``begin:end``.

        They may be none, and that is no special case: their sum of losses is 0.
        """

    def replicas(self, begin: tf.Tensor, end: tf.Tensor) -> list[Replica]:
        """Return the devices of this process, each with first row and end of its rows of the micro-batch."""

    def reduce_gradients(self, loss: tf.Tensor, gradients: list[tf.Tensor]) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the loss and the gradients of a step, summed over all processes; once a step."""

    def gradient_norm(self, gradients: Sequence[tf.Tensor]) -> tf.Tensor:
        """Return the norm ‖∇J‖₂ over all weights."""

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of an array over all processes, such as the outputs of the rows of a call."""

    def to_array(self, variable: Any) -> np.ndarray:
        """Return a copy of a weight or an optimizer state as a whole, on the host."""

    def close(self) -> None:
        """Leave the other processes."""

    def assign(self, variable: Any, values: np.ndarray) -> None:
        """Set a weight or an optimizer state from its values as a whole."""
