"""An optimizer, implemented in both frameworks: θ ← θ − α sign(g) (Bernstein et al., 2018)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lmkit.specs.base import Spec
from lmkit.specs.optimizers import OPTIMIZERS


@OPTIMIZERS.register
class Sign(Spec):
    """Steps of one length along the signs of the gradient."""

    implementations: ClassVar = {
        "torch": "lmkit_example.torch_parts:Sign",
        "tensorflow": "lmkit_example.tensorflow_parts:Sign",
    }

    name: Literal["sign"] = "sign"
    """Signs of the gradient."""
    lr: float = Field(0.01, gt=0)
    """Learning rate α."""
