"""The multilayer perceptron as an ``nn.Module``."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from lmkit.backends.torch.models.layers import Modules, Residual, chain, following
from lmkit.specs.models import MLP
from lmkit.specs.signature import Signature


def build(spec: MLP, signature: Signature) -> nn.Module:
    """Dense layers with a normalization, an activation, and dropout between them."""
    modules: Modules = {}
    widths = spec.widths(signature)
    for i, ((fan_in, fan_out), skips) in enumerate(zip(pairwise(widths), [*spec.skips, False], strict=True)):
        own: Modules = {f"dense_{i}": nn.Linear(fan_in, fan_out)}
        if i < len(spec.hidden):
            own |= following(spec, i, fan_out)
        modules |= {f"add_{i}": Residual(own)} if skips else own
    return chain(modules)
