"""Custom models whose outputs are drawn anew each time, and that therefore cannot be looked into."""

from __future__ import annotations

from typing import Any

import keras
import torch


class Drawing(torch.nn.Module):
    """Dropout that is never switched off, or outputs without a gradient."""

    def __init__(self, features: int, outputs: int, detach: bool = False) -> None:
        super().__init__()
        self.layer, self.detach = torch.nn.Linear(features, outputs), detach

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.detach:
            x = torch.sign(x).detach()
            y: torch.Tensor = self.layer(x)
            return y
        return torch.nn.functional.dropout(self.layer(x), 0.5, training=True)


class Noise(keras.layers.Layer):  # type: ignore[misc]  # keras has no types
    """Noise that is added in evaluation too."""

    def call(self, x: Any) -> Any:
        return x + keras.random.normal(keras.ops.shape(x), dtype=x.dtype)


def never_same(features: int, outputs: int) -> keras.Model:
    """A Keras model that draws each time."""
    inputs = keras.Input((features,))
    return keras.Model(inputs, Noise()(keras.layers.Dense(outputs)(inputs)))
