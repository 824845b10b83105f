"""The model families as ``nn.Module``s, one function a family."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from lmkit.specs.models import CNN, MLP
from lmkit.specs.models.base import EPSILON
from lmkit.specs.signature import Shape, Signature

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
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
        self.inside, self.shortcut = _chain(inside), _chain(shortcut or {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds what the modules inside make of ``x``."""
        return self.inside(x) + self.shortcut(x)


class Places(nn.Module):
    """Flat rows (rows, features) → (rows, channels, …): the shared layout has the channels last, PyTorch's first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A view: nothing is moved."""
        return x.unflatten(1, self.shape).movedim(-1, 1)


class Flatten(nn.Module):
    """(rows, channels, …) → (rows, features), a place's channels beside each other as in the shared layout."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What ``Places`` did, undone."""
        return x.movedim(1, -1).flatten(1)


class Average(nn.Module):
    """(rows, channels, …) → (rows, channels), the mean over all places."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The mean over all places."""
        return x.flatten(2).mean(2)


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each place, (rows, channels, …)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalizes over the channels."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def _chain(modules: Modules) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def mlp(spec: MLP, signature: Signature) -> nn.Module:
    """Dense layers with a normalization, an activation, and dropout between them."""
    modules: Modules = {}
    widths = spec.widths(signature)
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


def cnn(spec: CNN, signature: Signature) -> nn.Module:
    """Blocks of convolutions and pooling over one or two dimensions, then dense layers."""
    shape = signature.shape
    flat = len(shape) == 3
    convolution = nn.Conv2d if flat else nn.Conv1d
    pools = {"max": nn.MaxPool2d if flat else nn.MaxPool1d, "average": nn.AvgPool2d if flat else nn.AvgPool1d}
    modules: Modules = {"places": Places(shape)}
    deep = shape[-1]
    for i, width in enumerate(spec.channels):
        own: Modules = {}
        entering = deep
        for n in range(i * spec.convolutions, (i + 1) * spec.convolutions):
            own[f"conv_{n}"] = convolution(deep, width, spec.kernel, padding=spec.kernel // 2)
            if spec.normalization == "layer":
                own[f"norm_{n}"] = ChannelNorm(width, EPSILON)
            elif spec.normalization == "group":
                own[f"norm_{n}"] = nn.GroupNorm(spec.groups, width, EPSILON)
            own[f"{spec.activation}_{n}"] = _ACTIVATIONS[spec.activation]()
            deep = width
        if spec.residual:
            differ = entering != width
            own = {f"add_{i}": Residual(own, {f"shortcut_{i}": convolution(entering, width, 1)} if differ else None)}
        modules |= own
        if spec.pooling != "none":
            modules[f"pool_{i}"] = pools[spec.pooling](2)
        if spec.dropout:
            modules[f"dropout_{i}"] = nn.Dropout(spec.dropout)
    modules["gather"] = Flatten() if spec.gather == "flatten" else Average()
    dense = [layer for layer in spec.layers(signature) if layer.kind == "dense"]
    for j, layer in enumerate(dense):
        modules[layer.name] = nn.Linear(*layer.kernel)
        if j < len(spec.dense):
            modules[f"{spec.activation}_{len(spec.channels) * spec.convolutions + j}"] = _ACTIVATIONS[spec.activation]()
            if spec.dropout:
                modules[f"dropout_{len(spec.channels) + j}"] = nn.Dropout(spec.dropout)
    return _chain(modules)


FAMILIES: dict[str, Callable[[Any, Signature], nn.Module]] = {"mlp": mlp, "cnn": cnn}


def build(spec: Any, signature: Signature) -> nn.Module:
    """The module of ``spec``'s family: (rows, features) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, signature)
