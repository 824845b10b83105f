"""The model families as ``nn.Module``s, one function a family."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from lmkit.specs.data import Shape
from lmkit.specs.models import MLP
from lmkit.specs.models.base import EPSILON

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "sigmoid": nn.Sigmoid,
}

Modules = dict[str, nn.Module]
"""Modules in order, under the names that both frameworks share."""


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inside: Modules) -> None:
        super().__init__()
        self.inside = _chain(inside)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds what the modules inside make of ``x``."""
        return x + self.inside(x)


def _chain(modules: Modules) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def mlp(spec: MLP, shape: Shape, outputs: int) -> nn.Module:
    """Dense layers with a normalization, an activation, and dropout between them."""
    modules: Modules = {}
    widths = spec.widths(shape, outputs)
    for i, ((fan_in, fan_out), skips) in enumerate(zip(pairwise(widths), [*spec.skips, False], strict=True)):
        own: Modules = {f"dense_{i}": nn.Linear(fan_in, fan_out)}
        if i < len(spec.hidden):
            if spec.normalization == "layer":
                own[f"norm_{i}"] = nn.LayerNorm(fan_out, EPSILON)
            own[f"{spec.activation}_{i}"] = _ACTIVATIONS[spec.activation]()
            if spec.dropout:
                own[f"dropout_{i}"] = nn.Dropout(spec.dropout)
        modules |= {f"add_{i}": Residual(own)} if skips else own
    return _chain(modules)


FAMILIES: dict[str, Callable[[Any, Shape, int], nn.Module]] = {"mlp": mlp}


def build(spec: Any, shape: Shape, outputs: int) -> nn.Module:
    """The module of ``spec``'s family: (rows, features) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, shape, outputs)
