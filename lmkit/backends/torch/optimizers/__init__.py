"""Optimizers in PyTorch, one file each, found by the type of their specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lmkit.backends.torch.optimizers.base import Optimizer, optimizers

__all__ = ["Optimizer", "build_optimizer", "optimizers"]


def build_optimizer(spec: Any, parameters: Mapping[str, torch.nn.Parameter]) -> Optimizer:
    """Return the optimizer of ``spec`` over named parameters.

    Raises:
        NotImplementedHere: PyTorch has no optimizer for this specification.
    """
    return optimizers.get(type(spec))(spec, parameters)
