"""What the optimizers share: their parameters and their state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lmkit.backends.implementations import Implementations

Rule = Callable[..., Any]
"""Updates values by gradients: ``rule(values, gradients, lr=…)``."""


class Optimizer:
    """An update rule over parameters, by PyTorch's fused operations as functions.

    The classes of ``torch.optim`` call the same functions, but wrap them for hooks and profilers, which costs more
    than a small step itself.

    Attributes:
        state: name of a parameter and of a slot → tensor; in checkpoints.
    """

    def __init__(self, spec: Any, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        self.names = list(parameters)
        self.parameters = list(parameters.values())
        self.values = [p.detach() for p in self.parameters]  # the same storage; updates leave no graph
        self.state: dict[str, torch.Tensor] = {}
        self.rule = self.build_rule(spec)

    def build_rule(self, spec: Any) -> Rule:
        """Return the update rule of a specification."""
        raise NotImplementedError

    def slot(self, name: str, initial: Callable[[torch.Tensor], torch.Tensor] = torch.zeros_like) -> list[torch.Tensor]:
        """Return state for every parameter, which checkpoints save as ``parameter/name``."""
        tensors = [initial(v) for v in self.values]
        self.state |= {f"{parameter}/{name}": t for parameter, t in zip(self.names, tensors, strict=True)}
        return tensors

    def step(self, rate: float) -> None:
        """Take one step θ ← θ − … at learning rate ``rate``, and drop the gradients."""
        self.rule(self.values, [p.grad for p in self.parameters], lr=rate)
        for p in self.parameters:
            p.grad = None


optimizers: Implementations[type[Optimizer]] = Implementations(
    "optimizer", "PyTorch", "torch", "lmkit.backends.torch.optimizers"
)
