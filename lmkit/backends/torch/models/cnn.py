"""The convolutional network as an ``nn.Module``."""

from __future__ import annotations

import torch
from torch import nn

from lmkit.backends.torch.models.base import FAMILIES
from lmkit.backends.torch.models.layers import ACTIVATIONS, Modules, Residual, chain
from lmkit.specs.models import CNN
from lmkit.specs.models.base import EPSILON
from lmkit.specs.signature import Shape, Signature


class Places(nn.Module):
    """Flat rows (rows, features) → (rows, channels, …): the shared layout has the channels last, PyTorch's first."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a view; nothing is copied."""
        return x.unflatten(1, self.shape).movedim(-1, 1)


class Flatten(nn.Module):
    """(rows, channels, …) → (rows, features), a place's channels side by side as in the shared layout."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Undo ``Places``."""
        return x.movedim(1, -1).flatten(1)


class Average(nn.Module):
    """(rows, channels, …) → (rows, channels), the mean over all places."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean over all places."""
        return x.flatten(2).mean(2)


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each place, (rows, channels, …)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize over the channels."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@FAMILIES.register(CNN)
def build(spec: CNN, signature: Signature) -> nn.Module:
    """Blocks of convolutions and pooling over one or two dimensions, then dense layers."""
    shape = signature.shape
    flat = len(shape) == 3
    convolution = nn.Conv2d if flat else nn.Conv1d
    pools = {"max": nn.MaxPool2d if flat else nn.MaxPool1d, "average": nn.AvgPool2d if flat else nn.AvgPool1d}
    modules: Modules = {"places": Places(shape)}
    deep = shape[-1]
    for i, width in enumerate(spec.channels):
        part: Modules = {}
        entering = deep
        for n in range(i * spec.convolutions, (i + 1) * spec.convolutions):
            part[f"conv_{n}"] = convolution(deep, width, spec.kernel, padding=spec.kernel // 2)
            if spec.normalization == "layer":
                part[f"norm_{n}"] = ChannelNorm(width, EPSILON)
            elif spec.normalization == "group":
                part[f"norm_{n}"] = nn.GroupNorm(spec.groups, width, EPSILON)
            part[f"{spec.activation}_{n}"] = ACTIVATIONS[spec.activation]()
            deep = width
        if spec.residual:
            differ = entering != width
            part = {f"add_{i}": Residual(part, {f"shortcut_{i}": convolution(entering, width, 1)} if differ else None)}
        modules |= part
        if spec.pooling != "none":
            modules[f"pool_{i}"] = pools[spec.pooling](2)
        if spec.dropout:
            modules[f"dropout_{i}"] = nn.Dropout(spec.dropout)
    modules["gather"] = Flatten() if spec.gather == "flatten" else Average()
    dense = [layer for layer in spec.layers(signature) if layer.kind == "dense"]
    for j, layer in enumerate(dense):
        modules[layer.name] = nn.Linear(layer.kernel[0], layer.kernel[1])
        if j < len(spec.dense):
            modules[f"{spec.activation}_{len(spec.channels) * spec.convolutions + j}"] = ACTIVATIONS[spec.activation]()
            if spec.dropout:
                modules[f"dropout_{len(spec.channels) + j}"] = nn.Dropout(spec.dropout)
    return chain(modules)
