"""Several processes with a device each, whose gradients are averaged while they are computed (Li et al., 2020)."""

from __future__ import annotations

import contextlib
import os
import sys
from contextlib import AbstractContextManager
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from lmkit.backends.torch.models.custom import CustomModel
from lmkit.backends.torch.strategies.single import SingleDevice
from lmkit.system.process_group import TIMEOUT, local_part
from lmkit.system.temporary import temporary_folder

if TYPE_CHECKING:
    from lmkit.system.process_group import ProcessGroup

BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in signature(DistributedDataParallel).parameters
)
"""The argument that says whether buffers are copied from the first process in each step, as this version calls it."""


class DistributedDevices(SingleDevice):
    """One process of several with a device each, which computes its rows of every micro-batch.

    Args:
        device: of this process; empty for the first GPU, where there is one.
        group: the processes.
    """

    averages = True

    def __init__(self, device: str, group: ProcessGroup, _count: int = 0) -> None:
        super().__init__(device)
        self.group, self.rank = group, group.rank
        self.world = self.processes = group.world
        self._files = contextlib.ExitStack()
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.set_device(self.device)
        if group.address is None and not cuda:
            os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"  # no other machine is served
        distributed.init_process_group(
            "nccl" if cuda else "gloo",
            init_method=self._meeting_point(),
            rank=group.rank,
            world_size=group.world,
            timeout=timedelta(seconds=TIMEOUT),
        )

    def _meeting_point(self) -> str:
        """Return where the processes find each other: on one machine by a private file, so that no port is open."""
        if self.group.address is not None:
            return "env://"
        name = b""
        if self.group.rank == 0:
            folder = self._files.enter_context(temporary_folder(ignore_cleanup_errors=True))
            name = str(Path(folder) / "processes").encode()
        return f"file://{self.group.broadcast(name).decode()}"

    def setup(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the module whose backward pass averages the gradients."""
        # a custom model may leave parameters out of a step; buffers are the same everywhere, for they see all steps
        unused = isinstance(model, CustomModel)
        options: dict[str, Any] = {BUFFERS: False}
        return DistributedDataParallel(model, find_unused_parameters=unused, **options)

    def local_rows(self, begin: int, end: int) -> tuple[int, int]:
        """Return the rows of this process: an equal share of consecutive ones."""
        return local_part(begin, end, self.group.rank, self.world)

    def no_sync(self, model: torch.nn.Module) -> AbstractContextManager[None]:
        """Return the context in which the gradients of ``model`` are added, and not yet averaged."""
        assert isinstance(model, DistributedDataParallel)
        return model.no_sync()

    def reduce(self, values: np.ndarray) -> np.ndarray:
        """Return the sum over all processes."""
        return self.group.sum(values)

    def close(self) -> None:
        """Leave the processes."""
        with contextlib.suppress(RuntimeError, ValueError):
            distributed.destroy_process_group()
        self._files.close()
