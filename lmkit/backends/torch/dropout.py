"""Dropout of some rows of a batch: the mask is drawn for the whole batch, so that its division changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

FUNCTIONS: tuple[Callable[..., torch.Tensor], ...] = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d)
"""Dropouts that multiply by a mask; ``torch.nn``'s modules call them."""


class BatchDropout(TorchFunctionMode):
    """A context in which rows ``begin:end`` of a batch are dropped out as they are in the batch of ``rows`` rows.

    The generator has to be where the batch begins; it ends where the batch ends. Dropout inside
    ``scaled_dot_product_attention`` and other draws of a custom model are drawn for the rows alone.
    """

    def __init__(self, rows: int, begin: int, end: int) -> None:
        super().__init__()
        self.rows, self.begin, self.end = rows, begin, end

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch; a dropout with a mask of the batch."""
        if func not in FUNCTIONS:
            return func(*args, **(kwargs or {}))
        return self._drop_out(func, *args, **(kwargs or {}))

    def _drop_out(
        self,
        function: Callable[..., torch.Tensor],
        input: torch.Tensor,  # noqa: A002 (PyTorch's name)
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,
    ) -> torch.Tensor:
        """Return the rows (rows, …) times their part of the mask, 0 or 1/(1 − p)."""
        if not training or len(input) != self.end - self.begin:
            return function(input, p, training, inplace)
        mask = function(input.new_ones((self.rows, *input.shape[1:])), p, True)
        return input * mask[self.begin : self.end].clone()


def random_states(device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the states of the generators of the processor and, where it is one, of a GPU."""
    if device.type == "cuda":
        return torch.get_rng_state(), torch.cuda.get_rng_state(device)
    return torch.get_rng_state(), torch.mps.get_rng_state() if device.type == "mps" else None


def set_random_states(states: tuple[torch.Tensor, torch.Tensor | None], device: torch.device) -> None:
    """Set the ``random_states``."""
    torch.set_rng_state(states[0])
    if states[1] is None:
        return
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
