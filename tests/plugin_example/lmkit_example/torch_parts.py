"""The implementations in PyTorch, imported when PyTorch builds one of them."""

from __future__ import annotations

from typing import Any

from torch import nn

from lmkit.backends.torch.models.layers import chain
from lmkit.backends.torch.optimizers import Optimizer
from lmkit.specs.signature import Signature


def build_affine(spec: Any, signature: Signature) -> nn.Module:
    """Return the model: (rows, features) → (rows, outputs)."""
    return chain({"dense_0": nn.Linear(signature.features, signature.outputs)})


class Sign(Optimizer):
    """Signs of the gradient."""

    def build_rule(self, spec: Any) -> Any:
        """Return the update rule."""

        def update(values: Any, gradients: Any, lr: float) -> None:
            for value, gradient in zip(values, gradients, strict=True):
                value.sub_(gradient.sign(), alpha=lr)

        return update
