"""The registry of model families in TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lmkit.backends.implementations import Implementations
from lmkit.specs.signature import Signature

FamilyBuilder = Callable[[Any, Signature, str], Any]
"""Specification, signature and precision → model: (rows, features) → logits (rows, outputs)."""

FAMILIES: Implementations[FamilyBuilder] = Implementations(
    "model family", "TensorFlow", "tensorflow", "lmkit.backends.tensorflow.models"
)
