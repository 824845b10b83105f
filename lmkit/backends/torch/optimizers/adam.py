"""Adam."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch.optim.adam import adam

from lmkit.backends.torch.optimizers.base import Optimizer, Rule, optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.Adam)
class Adam(Optimizer):
    """Adaptive moments."""

    function: Rule = staticmethod(adam)

    def build_rule(self, spec: Any) -> Rule:
        """Return ``torch.optim``'s function; its state are the means of gradients and their squares, and a counter."""
        return partial(
            self.function,
            exp_avgs=self.slot("mean"),
            exp_avg_sqs=self.slot("square"),
            max_exp_avg_sqs=[],
            state_steps=self.slot("step", lambda v: torch.zeros((), dtype=torch.float32, device=v.device)),
            beta1=spec.beta1,
            beta2=spec.beta2,
            eps=spec.epsilon,
            amsgrad=False,
            weight_decay=getattr(spec, "weight_decay", 0.0),
            maximize=False,
            fused=True,
        )
