"""Stochastic gradient descent, with momentum and Nesterov's."""

from __future__ import annotations

from functools import partial

import torch
from torch.optim.sgd import sgd

from lmkit.backends.torch.optimizers.base import Optimizer, Rule, optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.SGD)
class SGD(Optimizer):
    """Stochastic gradient descent."""

    def build_rule(self, spec: specs.SGD) -> Rule:
        """Return ``torch.optim``'s function; its state is a velocity where there is momentum."""
        buffers: list[torch.Tensor | None] = [*self.slot("velocity")] if spec.momentum else [None] * len(self.values)
        return partial(
            sgd,
            momentum_buffer_list=buffers,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            dampening=0.0,
            weight_decay=0.0,
            maximize=False,
            fused=True,
        )
