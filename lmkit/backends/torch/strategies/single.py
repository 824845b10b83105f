"""One process with one device."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from lmkit.backends.torch.devices import default_device


class SingleDevice:
    """One process with one device.

    Args:
        device: its name; empty for the first GPU, where there is one.
    """

    world = processes = 1
    rank = 0
    averages = False

    def __init__(self, device: str = "") -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return torch.device(self._device) if self._device else default_device()

    def setup(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the module itself."""
        return model

    def local_rows(self, begin: int, end: int) -> tuple[int, int]:
        """Return all rows."""
        return begin, end

    def no_sync(self, model: torch.nn.Module) -> AbstractContextManager[None]:  # noqa: ARG002 (part of the interface)
        """Return a context that does nothing."""
        return contextlib.nullcontext()

    def evaluation(self) -> AbstractContextManager[Any]:
        """Return PyTorch's inference mode."""
        return torch.inference_mode()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients."""
        loss.backward()

    def gradient_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm over all gradients."""
        return torch.nn.utils.get_total_norm(gradients)

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the values."""
        return values

    def to_array(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a copy on the host."""
        return tensor.detach().cpu().numpy().copy()

    def assign(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Copy the values."""
        tensor.copy_(values)

    def close(self) -> None:
        """Do nothing."""
