"""AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.adamw import adamw

from lmkit.backends.torch.optimizers.adam import Adam
from lmkit.backends.torch.optimizers.base import Rule, optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.AdamW)
class AdamW(Adam):
    """Adam with decoupled weight decay."""

    function: Rule = staticmethod(adamw)
    operation: Callable[..., Any] = staticmethod(torch._fused_adamw_)
