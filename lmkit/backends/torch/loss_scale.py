"""The scale of the loss in float16, in which small gradients would be 0."""

from __future__ import annotations

from collections.abc import Sequence

import torch

FIRST, GROWTH_STEPS = 2.0**16, 2000
"""The first scale, and the steps without an overflow after which it is doubled (Micikevicius et al., 2018)."""


class LossScale:
    """A factor of the loss that is halved when gradients overflow and doubled when they have not for long.

    Attributes:
        state: name → tensor; in checkpoints.
    """

    def __init__(self) -> None:
        self.value, self.steps = torch.tensor(FIRST), torch.tensor(0.0)
        self.state = {"loss_scale/value": self.value, "loss_scale/steps": self.steps}

    def unscale(self, gradients: Sequence[torch.Tensor]) -> None:
        """Divide the gradients by the scale, in place."""
        torch._foreach_mul_(list(gradients), 1 / float(self.value))

    def update(self, is_finite: bool) -> None:
        """Change the scale after a step, whose gradients were finite or not."""
        if not is_finite:
            self.value.mul_(0.5).clamp_(min=1.0)
            self.steps.zero_()
            return
        self.steps.add_(1)
        if self.steps >= GROWTH_STEPS:
            self.value.mul_(2.0)
            self.steps.zero_()
