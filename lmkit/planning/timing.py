"""How long a training step takes, from how fast a machine was measured to be.

Of each layer the longer of arithmetic and memory counts, as in the roofline model (Williams et al., 2009): arithmetic
at a rate that grows with the size of a product, memory by the numbers that pass. To it come what a step and each layer
take however small they are, and the update, which reads and writes each parameter's numbers once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmkit.planning.counting import Cost

SLOW = ("gelu", "swiglu", "tanh", "sigmoid", "layer norm", "group norm", "rms norm", "loss")
"""Kinds of layers that take an exponential or several passes for each number."""

QUICK_SHARE = 0.3
"""What another number takes, as a share of that."""


@dataclass(frozen=True)
class Speed:
    """How fast a framework trains on a machine.

    Attributes:
        step: seconds of a step besides its layers.
        layer: seconds of a layer with weights besides its arithmetic.
        memory: bytes that a worker takes which trains next to nothing.
        epoch: seconds of an epoch besides its steps.
        start: seconds until the first step, besides the layers'.
        start_layer: seconds until the first step for each layer.
        products: (operations of a layer in a step, seconds of one of them), the smallest first.
        element: seconds for a number that passes a slow layer, forward and back.
        parameter: seconds to read, multiply and update a weight.
        convolution: seconds of an operation of convolutions.
        attention: seconds of an operation of attention.
    """

    step: float
    layer: float
    memory: int
    epoch: float = 0.0
    start: float = 0.0
    start_layer: float = 0.0
    products: tuple[tuple[float, float], ...] = ()
    element: float = 0.0
    parameter: float = 0.0
    convolution: float = 0.0
    attention: float = 0.0

    def but(self, **known: Any) -> Speed:
        """With more that is known."""
        return replace(self, **known)

    def with_product(self, operations: float, seconds: float) -> Speed:
        """With the seconds of an operation in products of this size."""
        return replace(self, products=tuple(sorted([*self.products, (operations, seconds)])))

    def product(self, operations: float) -> float:
        """Seconds of an operation in a product of so many: between two sizes that were measured by their logarithms."""
        if not self.products:
            return 0.0
        (small, slow), (large, fast) = self.products[0], self.products[-1]
        if operations <= small or small == large:
            return slow
        share = min(1.0, math.log(operations / small) / math.log(large / small))
        return math.exp((1 - share) * math.log(slow) + share * math.log(fast))


def overhead_layers(found: Iterable[Cost]) -> float:
    """Layers by how many calls they are: one with weights, or an attention, counts whole; others a third."""
    return sum(1.0 if cost.parameters or cost.flops else 1 / 3 for cost in found)


def weighty(found: Iterable[Cost]) -> int:
    """Numbers that pass slow layers, which a layer's neighbours alone would not take."""
    return sum(cost.numbers for cost in found if cost.kind in SLOW)


def seconds_per_step(found: Sequence[Cost], speed: Speed) -> float:
    """Seconds of a training step."""
    total = speed.step + speed.layer * overhead_layers(found)
    for cost in found:
        rate = {"convolution": speed.convolution, "attention": speed.attention}.get(cost.kind)
        arithmetic = cost.flops * (speed.product(cost.flops) if rate is None else rate)
        passing = cost.numbers * speed.element * (1.0 if cost.kind in SLOW else QUICK_SHARE)
        total += max(arithmetic, passing) + cost.parameters * speed.parameter
    return total


def seconds_until_start(found: Sequence[Cost], speed: Speed) -> float:
    """Seconds that building the model, and compiling its step, take."""
    return speed.start + speed.start_layer * len(found)


def seconds_per_epoch(found: Sequence[Cost], speed: Speed, batch: int, sizes: dict[str, int]) -> float:
    """Seconds of an epoch besides its steps: the way forward, a third of a step, of the rows that are evaluated."""
    training = sizes.get("training", 0)
    rows = sizes.get("validation", 0) + min(training, max(2_000, training // 20))
    return speed.epoch + (seconds_per_step(found, speed) - speed.step) / 3 * rows / batch
