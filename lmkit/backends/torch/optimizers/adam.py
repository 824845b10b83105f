"""Adam."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.optim.adam import adam

from lmkit.backends.torch.optimizers.base import Optimizer, Rule, optimizers
from lmkit.specs import optimizers as specs


@optimizers.register(specs.Adam)
class Adam(Optimizer):
    """Adaptive moments; the state are the means of gradients and their squares, and a counter of steps."""

    function: Rule = staticmethod(adam)
    operation: Callable[..., Any] = staticmethod(torch._fused_adam_)

    def build_rule(self, spec: Any) -> Rule:
        """Return PyTorch's fused operation; ``torch.optim``'s function around it takes longer than a small step."""
        means, squares = self.slot("mean"), self.slot("square")
        options = {
            "beta1": spec.beta1,
            "beta2": spec.beta2,
            "eps": spec.epsilon,
            "amsgrad": False,
            "weight_decay": getattr(spec, "weight_decay", 0.0),
            "maximize": False,
        }
        if len({(v.device, v.dtype) for v in self.values}) != 1:  # the function sorts them into groups
            steps = self.slot("step", lambda v: torch.zeros((), dtype=torch.float32, device=v.device))
            moments = {"exp_avgs": means, "exp_avg_sqs": squares, "max_exp_avg_sqs": [], "state_steps": steps}
            return partial(self.function, **moments, **options, fused=True)

        counter = torch.zeros((), dtype=torch.float32, device=self.values[0].device)
        steps = self.slot("step", lambda _: counter)
        operation = partial(self.operation, **options)

        def update(values: list[torch.Tensor], gradients: list[torch.Tensor], lr: float) -> None:
            counter.add_(1)
            operation(values, gradients, means, squares, [], steps, lr=lr)

        return update
