"""The interface of a strategy: how a step is taken over devices.

The trainer asks a strategy at every point where several processes would differ, so that the trainer itself knows no
rank (Lightning Fabric's design).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch


class Strategy(Protocol):
    """How a step is taken over devices.

    Every process holds the same global batch, divided into the same micro-batches, and computes its own rows of each.
    Every process draws the masks of dropout for all rows of the batch, and so keeps the same random states.

    Attributes:
        world: devices that share a step.
        rank, processes: number of this process, from 0, and of processes.
        averages: whether the gradients that processes reduce are averaged instead of summed.
    """

    world: int
    rank: int
    processes: int
    averages: bool

    @property
    def device(self) -> torch.device:
        """The device of this process."""

    def setup(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the module that computes a step's outputs."""

    def local_rows(self, begin: int, end: int) -> tuple[int, int]:
        """Return first row and end of the rows that this process computes of the micro-batch of rows ``begin:end``.

        They may be none: the trainer then computes a single row at weight 0, for the others wait for its gradients.
        """

    def no_sync(self, model: torch.nn.Module) -> AbstractContextManager[None]:
        """Return the context of every micro-batch but a step's last: gradients are added, and not yet reduced.

        Args:
            model: that computes a step's outputs.
        """

    def evaluation(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass without gradients."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss."""

    def gradient_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm ‖∇J‖₂ over all weights."""

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of an array (…) over all processes, such as the losses (n,) of the steps of a call."""

    def to_array(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a copy of a parameter or an optimizer state as a whole, on the host."""

    def close(self) -> None:
        """Leave the other processes."""

    def assign(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Set a parameter or an optimizer state from its values as a whole."""
