"""Several processes with a device each, which also divide the weights and the optimizer's state (Zhao et al., 2023).

Each process holds a part of every weight; the whole is gathered for the forward and the backward pass, so that every
forward pass is a collective: validation and predictions are computed by all processes alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lmkit.backends.torch.strategies.ddp import DistributedDevices


class ShardedDevices(DistributedDevices):
    """One process of several with a device each and a part of the weights."""

    def setup(self, model: torch.nn.Module) -> torch.nn.Module:
        """Divide the weights of a module in place, and return it."""
        return cast("torch.nn.Module", fully_shard(model, reshard_after_forward=True))

    @contextmanager
    def no_sync(self, model: torch.nn.Module) -> Iterator[None]:
        """Add the gradients of ``model`` meanwhile, and do not average them yet."""
        sharded = cast("FSDPModule", model)
        sharded.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            sharded.set_requires_gradient_sync(True)

    def gradient_norm(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the norm over all gradients and processes."""
        norm: Any = super().gradient_norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def evaluation(self) -> AbstractContextManager[Any]:
        """Return the context of a forward pass without gradients; what inference mode gathers could not be divided."""
        return torch.no_grad()

    def to_array(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a copy of a whole on the host; a view would bind the memory that is freed after a pass."""
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return whole.detach().cpu().clone().numpy()

    def assign(self, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """Copy this process's part of the values."""
        if isinstance(tensor, DTensor):
            whole = values.to(tensor.device, tensor.dtype).contiguous()
            values = distribute_tensor(whole, tensor.device_mesh, tensor.placements)
        tensor.copy_(values)
