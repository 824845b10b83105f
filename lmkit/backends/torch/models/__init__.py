"""The model families as ``nn.Module``s, one file a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from lmkit.backends.torch.models import cnn, gcn, mlp, own, transformer
from lmkit.specs.signature import Signature

FAMILIES: dict[str, Callable[[Any, Signature], nn.Module]] = {
    "mlp": mlp.build,
    "cnn": cnn.build,
    "gcn": gcn.build,
    "own": own.build,
    "transformer": transformer.build,
}


def build(spec: Any, signature: Signature) -> nn.Module:
    """The module of ``spec``'s family: (rows, features) → logits (rows, outputs)."""
    return FAMILIES[spec.family](spec, signature)
