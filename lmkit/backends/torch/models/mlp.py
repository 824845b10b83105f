"""The multilayer perceptron as an ``nn.Module``."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from lmkit.backends.torch.models.base import FAMILIES
from lmkit.backends.torch.models.layers import Modules, Residual, chain, hidden_tail
from lmkit.specs.models import MLP
from lmkit.specs.signature import Signature


@FAMILIES.register(MLP)
def build(spec: MLP, signature: Signature) -> nn.Module:
    """Dense layers with a normalization, an activation, and dropout between them."""
    modules: Modules = {}
    widths = spec.widths(signature)
    for i, ((fan_in, fan_out), skips) in enumerate(zip(pairwise(widths), [*spec.skips, False], strict=True)):
        part: Modules = {f"dense_{i}": nn.Linear(fan_in, fan_out)}
        if i < len(spec.hidden):
            part |= hidden_tail(spec, i, fan_out)
        modules |= {f"add_{i}": Residual(part)} if skips else part
    return chain(modules)
