"""The forward pass of a training step in PyTorch: in 16 bits, with recomputed blocks, compiled."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lmkit.backends.torch.models.custom import CustomModel
from lmkit.backends.torch.models.layers import Residual
from lmkit.exceptions import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from lmkit.specs.training import TrainingSpec

COMPILER = "g++"
"""What the compiled step of a processor is compiled by."""

HALF_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}

Rows = Callable[[torch.Tensor], torch.Tensor]
"""Rows (rows, …) → outputs (rows, outputs)."""


class ForwardPass:
    """Computes the outputs of a training step as ``training`` asks; evaluation calls the model itself.

    Attributes:
        compute: rows → outputs; the model itself where nothing is set.
        row_context: returns the context in which a block is recomputed: that of the dropout of some rows.
        compiles: whether the model is compiled.
    """

    def __init__(self, model: nn.Module, training: TrainingSpec) -> None:
        self.model = model
        self.half = HALF_TYPES.get(training.precision)
        self.blocks = find_blocks(model) if training.recompute == "blocks" else []
        self.compiles = training.compile == "on"
        self.row_context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext
        if training.recompute == "blocks" and not self.blocks:
            raise ConfigError(
                [
                    "training.recompute: given blocks, but this model has none (a transformer, residual layers, or the "
                    "items of an nn.ModuleList); write training.recompute: none"
                ]
            )
        self.compute: Rows = model
        if self.compiles:
            self.compute = _compile(model)
        if self.half or self.blocks:
            self.compute = self._compute(self.compute)

    def _compute(self, compute: Rows) -> Rows:
        """Return the forward pass with what is set."""

        def forward(x: torch.Tensor) -> torch.Tensor:
            with contextlib.ExitStack() as contexts:
                if self.half:
                    contexts.enter_context(torch.autocast(x.device.type, self.half))
                if self.blocks:
                    contexts.enter_context(self._recomputed())
                z = compute(x)
            return z.float() if self.half else z

        return forward

    @contextlib.contextmanager
    def _recomputed(self) -> Iterator[None]:
        """Let the blocks save their inputs alone, and compute the rest again in the backward pass."""
        before = [vars(block).get("forward") for block in self.blocks]
        for block in self.blocks:
            block.forward = self._checkpointed(block.forward)
        try:
            yield
        finally:
            for block, forward in zip(self.blocks, before, strict=True):
                if forward is None:
                    del block.forward
                else:
                    block.forward = forward

    def _checkpointed(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def compute(*args: Any, **kwargs: Any) -> Any:
            contexts = contextlib.nullcontext(), self.row_context()
            return checkpoint(forward, *args, use_reentrant=False, context_fn=lambda: contexts, **kwargs)

        return compute


def find_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model: its residual parts; of a custom one the items of its outermost module lists."""
    custom = next((m for m in model.modules() if isinstance(m, CustomModel)), None)
    if custom is None:
        return [m for m in model.modules() if isinstance(m, Residual)]
    lists = {name: m for name, m in custom.module.named_modules() if isinstance(m, nn.ModuleList)}
    outer = [m for name, m in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    return [block for blocks in outer for block in blocks]


def _compile(model: nn.Module) -> Rows:
    """Return the compiled model; it is compiled when it is first called.

    Raises:
        ConfigError: the compiler of a processor's code is not installed.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and shutil.which(COMPILER) is None:
        raise ConfigError(
            [
                f"training.compile: given on, which needs a C++ compiler, and there is no {COMPILER} here; install it "
                f"(apt install {COMPILER}), or write training.compile: off"
            ]
        )
    import torch._inductor.config as inductor

    inductor.compile_threads = 1  # a pool of compilers would outlive the run
    compiled: Rows = torch.compile(model)
    return compiled
