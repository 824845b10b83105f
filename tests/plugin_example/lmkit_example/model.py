"""A model family: one dense layer; implemented in PyTorch only."""

from __future__ import annotations

from typing import ClassVar, Literal

from lmkit.specs.models import MODELS, Layer, ModelSpec
from lmkit.specs.signature import Signature


@MODELS.register
class Affine(ModelSpec):
    """An affine map of the features."""

    implementations: ClassVar = {"torch": "lmkit_example.torch_parts:build_affine"}

    family: Literal["affine"] = "affine"
    """One dense layer."""

    def layers(self, signature: Signature) -> list[Layer]:
        """Return the one layer."""
        return [Layer.linear("dense_0", "dense", (signature.outputs,), (signature.features, signature.outputs))]
