"""The time of a training step, from the measured speed of a machine.

A layer takes the longer of arithmetic and memory traffic, as in the roofline model (Williams et al., 2009): arithmetic
at a rate that grows with the size of a product, memory by the numbers of its output. A fixed time per step and per
layer is added, and the update, which reads and writes each parameter once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lmkit.planning.counting import Cost

SLOW = ("gelu", "swiglu", "tanh", "sigmoid", "layer norm", "group norm", "rms norm", "loss")
"""Kinds of layers that compute an exponential or take several passes per number."""

QUICK_SHARE = 0.3
"""The time per number of other layers, as a share of that of the slow ones."""


@dataclass(frozen=True)
class Speed:
    """The speed of a framework on a machine.

    Attributes:
        step: fixed seconds per step.
        layer: fixed seconds per layer with weights.
        memory: bytes of a worker that trains a minimal model.
        epoch: fixed seconds per epoch.
        start: fixed seconds until the first step.
        start_layer: seconds until the first step per layer.
        products: (operations of a layer in a step, seconds per operation), the smallest first.
        element: seconds per number of a slow layer, forward and backward.
        parameter: seconds to read, multiply and update a weight.
        convolution: seconds per operation of convolutions.
        attention: seconds per operation of attention.
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

    def replace(self, **values: Any) -> Speed:
        """Return a copy with other values."""
        return replace(self, **values)

    def with_product(self, operations: float, seconds: float) -> Speed:
        """Return a copy with the seconds per operation in products of one size."""
        return replace(self, products=tuple(sorted([*self.products, (operations, seconds)])))

    def product(self, operations: float) -> float:
        """Return the seconds per operation in a product of a size, interpolated on logarithmic scales."""
        if not self.products:
            return 0.0
        (small, slow), (large, fast) = self.products[0], self.products[-1]
        if operations <= small or small == large:
            return slow
        share = min(1.0, math.log(operations / small) / math.log(large / small))
        return math.exp((1 - share) * math.log(slow) + share * math.log(fast))


def overhead_layers(layer_costs: Iterable[Cost]) -> float:
    """Return the number of layers weighted by their calls: 1 with weights or for attention, otherwise 1/3."""
    return sum(1.0 if cost.parameters or cost.flops else 1 / 3 for cost in layer_costs)


def slow_numbers(layer_costs: Iterable[Cost]) -> int:
    """Return the output size of all slow layers, in numbers."""
    return sum(cost.numbers for cost in layer_costs if cost.kind in SLOW)


def seconds_per_step(layer_costs: Sequence[Cost], speed: Speed) -> float:
    """Return the seconds of a training step."""
    total = speed.step + speed.layer * overhead_layers(layer_costs)
    for cost in layer_costs:
        rate = {"convolution": speed.convolution, "attention": speed.attention}.get(cost.kind)
        arithmetic = cost.flops * (speed.product(cost.flops) if rate is None else rate)
        traffic = cost.numbers * speed.element * (1.0 if cost.kind in SLOW else QUICK_SHARE)
        total += max(arithmetic, traffic) + cost.parameters * speed.parameter
    return total


def seconds_until_start(layer_costs: Sequence[Cost], speed: Speed) -> float:
    """Return the seconds to build the model and compile its step."""
    return speed.start + speed.start_layer * len(layer_costs)


def seconds_per_epoch(layer_costs: Sequence[Cost], speed: Speed, batch: int, sizes: dict[str, int]) -> float:
    """Return the seconds of an epoch besides its steps: forward passes (a third of a step) of the evaluated rows."""
    training = sizes.get("training", 0)
    rows = sizes.get("validation", 0) + min(training, max(2_000, training // 20))
    return speed.epoch + (seconds_per_step(layer_costs, speed) - speed.step) / 3 * rows / batch
