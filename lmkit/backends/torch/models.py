"""The model families as ``nn.Module``s, one function a family."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from torch import nn

from lmkit.specs.models import MLP

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": lambda: nn.GELU(approximate="tanh"),
    "sigmoid": nn.Sigmoid,
}


def mlp(spec: MLP, inputs: int, outputs: int) -> nn.Module:
    """Dense layers with an activation, and dropout, between them."""
    layers: dict[str, nn.Module] = {}
    widths = spec.widths(inputs, outputs)
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        layers[f"dense_{i}"] = nn.Linear(fan_in, fan_out)
        if i < len(spec.hidden):
            layers[f"{spec.activation}_{i}"] = _ACTIVATIONS[spec.activation]()
            if spec.dropout:
                layers[f"dropout_{i}"] = nn.Dropout(spec.dropout)
    model = nn.Sequential()
    for name, layer in layers.items():
        model.add_module(name, layer)
    return model


FAMILIES: dict[str, Callable[[Any, int, int], nn.Module]] = {"mlp": mlp}


def build(spec: MLP, inputs: int, outputs: int) -> nn.Module:
    """The module of ``spec``'s family: (rows, inputs) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, inputs, outputs)
