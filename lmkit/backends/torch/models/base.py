"""The registry of model families in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lmkit.backends.implementations import Implementations
from lmkit.specs.signature import Signature

FamilyBuilder = Callable[[Any, Signature], nn.Module]
"""Specification and signature → module: (rows, features) → logits (rows, outputs)."""

FAMILIES: Implementations[FamilyBuilder] = Implementations(
    "model family", "PyTorch", "torch", "lmkit.backends.torch.models"
)
