"""What several families are built of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from lmkit.specs.models import GCN, MLP
from lmkit.specs.models.base import EPSILON

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


def following(spec: MLP | GCN, i: int, width: int) -> Modules:
    """What follows hidden layer ``i``: a normalization, the activation, dropout."""
    found: Modules = {}
    if spec.normalization == "layer":
        found[f"norm_{i}"] = nn.LayerNorm(width, EPSILON)
    found[f"{spec.activation}_{i}"] = ACTIVATIONS[spec.activation]()
    if spec.dropout:
        found[f"dropout_{i}"] = nn.Dropout(spec.dropout)
    return found
