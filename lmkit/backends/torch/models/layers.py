"""The layers that families are built of, in a registry by the kind of layer that ``ModelSpec.layers()`` names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from lmkit.backends.implementations import NotImplementedHere
from lmkit.specs.models import GCN, MLP, Layer
from lmkit.specs.models.base import EPSILON
from lmkit.specs.signature import Signature
from lmkit.system.registry import Registry

Modules = dict[str, nn.Module]
"""Modules in order, under the names that both frameworks share."""


class Context(NamedTuple):
    """What a layer may need of the model that it is built for.

    Attributes:
        spec: of the model.
        signature: of its rows.
        modules: built so far, outside blocks.
    """

    spec: Any
    signature: Signature
    modules: Modules


LayerBuilder = Callable[[Layer, Context], nn.Module]

LAYERS: Registry[LayerBuilder] = Registry("layer in PyTorch", None, error=NotImplementedHere)
"""Kind of layer → builder."""


def build_layer(layer: Layer, context: Context) -> nn.Module:
    """Return the module of one layer.

    Raises:
        NotImplementedHere: PyTorch has no such kind of layer.
    """
    return LAYERS.get(layer.kind)(layer, context)


class Residual(nn.Module):
    """x + f(x), or with a shortcut s that changes the channels, s(x) + f(x)."""

    def __init__(self, inside: Modules, shortcut: Modules | None = None) -> None:
        super().__init__()
        self.inside, self.shortcut = chain(inside), chain(shortcut or {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the output of the modules inside to ``x``."""
        return self.inside(x) + self.shortcut(x)


def chain(modules: Modules) -> nn.Sequential:
    """Return the modules one after the other."""
    return nn.Sequential(OrderedDict(modules))


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "sigmoid": nn.Sigmoid,
}


def activation(layer: Layer, _context: Context) -> nn.Module:
    """An activation."""
    return ACTIVATIONS[layer.kind]()


for _kind in ACTIVATIONS:
    LAYERS.add(_kind, activation)


@LAYERS.register("dense")
def dense(layer: Layer, _context: Context) -> nn.Module:
    """A dense layer."""
    fan_in, fan_out = layer.kernel
    return nn.Linear(fan_in, fan_out, bias="bias" in layer.weights)


@LAYERS.register("layer norm")
def layer_norm(layer: Layer, _context: Context) -> nn.Module:
    """Layer normalization over the last axis."""
    return nn.LayerNorm(layer.shape[-1], EPSILON, bias="beta" in layer.weights)


@LAYERS.register("rms norm")
def rms_norm(layer: Layer, _context: Context) -> nn.Module:
    """Root-mean-square normalization over the last axis."""
    return nn.RMSNorm(layer.shape[-1], EPSILON)


@LAYERS.register("dropout")
def dropout(_layer: Layer, context: Context) -> nn.Module:
    """Dropout, at the model's rate."""
    return nn.Dropout(context.spec.dropout)


def hidden_tail(spec: MLP | GCN, i: int, width: int) -> Modules:
    """Return what follows the weights of hidden layer ``i``: a normalization, the activation, dropout."""
    modules: Modules = {}
    if spec.normalization == "layer":
        modules[f"norm_{i}"] = nn.LayerNorm(width, EPSILON)
    modules[f"{spec.activation}_{i}"] = ACTIVATIONS[spec.activation]()
    if spec.dropout:
        modules[f"dropout_{i}"] = nn.Dropout(spec.dropout)
    return modules
