"""The costs of a model's layers in a training step: operations, saved activations, bytes of a checkpoint.

A step takes three times the operations of the forward pass: backward, each matrix product becomes two, for the gradient
of its input and of its weights (Kaplan et al., 2020, section 2.1); the first layer needs only the second. No model is
built for it: a layer states its shapes and its multiplications.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from lmkit.backends.facts import COUNTERS, PAIRS, RULES, Rule
from lmkit.specs.models import Layer
from lmkit.specs.signature import Signature

SIZES = {"float32": 4, "float64": 8}
"""Precision → bytes per number."""

MOMENTS = ("momentum", "beta1", "beta2")
"""Settings of optimizers that are the decay of a running mean, an array as large as the weights."""


class Cost(NamedTuple):
    """The costs of one layer in a training step.

    Attributes:
        name, kind, shape, block: of the layer.
        parameters: number of trainable parameters.
        numbers: size of the output for all rows, in numbers.
        flops: operations forward and backward; a multiplication and its addition are two.
        saved_activations: bytes saved for the backward pass.
        workspace: bytes of input and output while the layer is computed.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    block: int | None
    parameters: int
    numbers: int
    flops: int
    saved_activations: int
    workspace: int

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, under the keys of ``lmkit plan --json``."""
        values = self._asdict() | {"shape": list(self.shape)}
        values["kept"], values["passing"] = values.pop("saved_activations"), values.pop("workspace")
        return values


def costs(
    layers: Sequence[Layer], signature: Signature, rows: int, framework: str, precision: str, heads: int = 0
) -> list[Cost]:
    """Return the costs of each layer in a step of ``rows`` rows, the loss last.

    Args:
        layers: the layers of the model, in order.
        signature: the inputs and outputs of the model.
        rows: the batch size; in a graph, all nodes are computed for any batch.
        framework: the framework, which decides what is saved.
        precision: ``float32`` or ``float64``.
        heads: heads of attention.

    >>> from lmkit.specs.models import MLP
    >>> spec, signature = MLP(hidden=[10]), Signature((30,), 1)
    >>> layer_costs = costs(spec.layers(signature), signature, 32, "torch", "float32")
    >>> [(cost.kind, cost.flops, cost.saved_activations) for cost in layer_costs]
    [('dense', 38400, 3840), ('relu', 0, 1280), ('dense', 1920, 0), ('loss', 0, 128)]
    """
    size, rules, pairs = SIZES[precision], RULES[framework], PAIRS[framework]
    times = rows
    if signature.graph is not None:  # its layers count multiplications over all nodes
        rows, times = len(signature.graph.features), 1
    input_size = signature.features * rows  # in numbers
    input_is_saved = bool(signature.vocabulary)  # tokens are small, and have no gradient
    has_weights_before = False
    layer_costs = []
    last = Layer("loss", "loss", layers[-1].shape)
    for layer in [*layers, last]:
        numbers = math.prod(layer.shape) * rows
        rule = rules.get(layer.kind, Rule(input=True))
        saved = numbers * (rule.extra * size + rule.octets)
        if rule.input and not input_is_saved:
            saved += input_size * size
        if layer.kind == "attention":
            positions = math.prod(layer.shape[:-1])
            saved += pairs * rows * heads * positions * positions * size
        workspace = (input_size + numbers) * size
        layer_costs.append(
            Cost(
                layer.name,
                layer.kind,
                layer.shape,
                layer.block,
                layer.parameters,
                numbers,
                2 * layer.multiplications * times * (3 if has_weights_before else 2),
                int(saved + (numbers * size if rule.output else 0)),
                workspace * (2 if layer.kind == "convolution" else 1),  # and reordered for its kernels
            )
        )
        input_is_saved = rule.output
        input_size = numbers
        has_weights_before = has_weights_before or layer.parameters > 0
    return layer_costs


def running_means(optimizer: Any) -> int:
    """Return how many arrays as large as the weights an optimizer keeps: Adam 2, SGD 1 with momentum, else 0.

    >>> from lmkit.specs.optimizers import SGD, Adam
    >>> running_means(Adam()), running_means(SGD(momentum=0.9)), running_means(SGD())
    (2, 1, 0)
    """
    # Adam keeps its means even with a decay of 0
    return sum(hasattr(optimizer, k) and (k != "momentum" or optimizer.momentum > 0) for k in MOMENTS)


def checkpoint_bytes(layers: Sequence[Layer], optimizer: Any, framework: str, precision: str) -> int:
    """Return the bytes of one checkpoint's files: weights and optimizer state, with their headers."""
    kind, size = {"float32": "F32", "float64": "F64"}[precision], SIZES[precision]
    weights = [(f"{layer.name}.{name}", shape, kind, size) for layer in layers for name, shape in layer.weights.items()]
    means, counters = running_means(optimizer), COUNTERS[framework]
    memory = [(f"{name}/{slot}", *rest) for name, *rest in weights for slot in ("square", "mean")[:means]]
    counted = [f"{name}/step" for name, *_ in weights if means > 1] if counters.per_weight else ["step"]
    memory += [(name, (), counters.kind, counters.size) for name in counted]
    memory += counters.random
    dropouts = sum(layer.kind == "dropout" for layer in layers)
    memory += [(f"random.{i}", *rest) for i in range(dropouts) for _, *rest in counters.dropout]
    return _file(weights) + _file(memory)


def _file(arrays: Sequence[Any]) -> int:
    """Return the bytes of a safetensors file: 8, a JSON header padded to a multiple of 8, the numbers."""
    header: dict[str, Any] = {}
    offset = 0
    for name, shape, kind, size in arrays:
        end = offset + math.prod(shape) * size
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    header_size = len(json.dumps(header, separators=(",", ":")))
    return 8 + -(-header_size // 8) * 8 + offset


def group_by_kind(layer_costs: Sequence[Cost]) -> list[tuple[str, list[Cost]]]:
    """Return the kinds of layers in the order of their first layer, each with the costs of its layers."""
    groups: dict[str, list[Cost]] = {}
    for cost in layer_costs:
        groups.setdefault(cost.kind, []).append(cost)
    return list(groups.items())
