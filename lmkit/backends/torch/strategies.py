"""How a step is taken over devices. ``SingleDevice`` is the only strategy: one process, one device.

The trainer asks a strategy at every point where several processes would differ, so that the trainer itself knows no
rank (Lightning Fabric's design).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from lmkit.backends.torch.devices import default_device


class Strategy(Protocol):
    """How a step is taken over devices."""

    @property
    def device(self) -> torch.device:
        """The device of this process."""

    def setup(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the module that computes a step's outputs."""

    def local_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows of a batch that this process computes."""

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients of a step, averaged over all rows."""

    def gradient_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm ‖∇J‖₂ over all weights."""

    def reduce(self, losses: np.ndarray, count: np.ndarray) -> np.ndarray:
        """Return the mean losses (n,) of the steps of a call over all processes; this one computed ``count`` rows."""

    def to_array(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a copy of a parameter or an optimizer state as a whole, on the host."""

    def assign(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Set a parameter or an optimizer state from its values as a whole."""


class SingleDevice:
    """One process with one device.

    Args:
        device: its name; empty for the first GPU, where there is one.
    """

    def __init__(self, device: str = "") -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self._device) if self._device else default_device()

    def setup(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the module itself."""
        return model

    def local_rows(self, rows: torch.Tensor) -> torch.Tensor:
        """Return all rows."""
        return rows

    def backward(self, loss: torch.Tensor) -> None:
        """Compute the gradients."""
        loss.backward()

    def gradient_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm over all gradients."""
        return torch.nn.utils.get_total_norm(gradients)

    def reduce(self, losses: np.ndarray, count: np.ndarray) -> np.ndarray:  # noqa: ARG002 (part of the interface)
        """Return the losses."""
        return losses

    def to_array(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a copy on the host."""
        return tensor.detach().cpu().numpy().copy()

    def assign(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Copy the values."""
        tensor.copy_(values)
