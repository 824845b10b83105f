"""The model families as ``nn.Module``s, one file a family, found by the type of its specification."""

from __future__ import annotations

from typing import Any

from torch import nn

from lmkit.backends.torch.models.base import FAMILIES
from lmkit.specs.signature import Signature

__all__ = ["FAMILIES", "build"]


def build(spec: Any, signature: Signature) -> nn.Module:
    """Return the module of a specification: (rows, features) → logits (rows, outputs).

    Raises:
        NotImplementedHere: PyTorch has no such family.
    """
    return FAMILIES.get(type(spec))(spec, signature)
