"""What several families are built of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "sigmoid": nn.Sigmoid,
}

Modules = dict[str, nn.Module]
"""Modules in order, under the names that both frameworks share."""


class Residual(nn.Module):
    """x + f(x), or with a shortcut s that changes the channels, s(x) + f(x)."""

    def __init__(self, inside: Modules, shortcut: Modules | None = None) -> None:
        super().__init__()
        self.inside, self.shortcut = chain(inside), chain(shortcut or {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds what the modules inside make of ``x``."""
        return self.inside(x) + self.shortcut(x)


def chain(modules: Modules) -> nn.Sequential:
    """The modules one after the other."""
    return nn.Sequential(OrderedDict(modules))
