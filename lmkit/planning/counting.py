"""What a model's layers cost in a training step: products, what is kept for the way back, bytes of a checkpoint.

A step multiplies thrice what the way forward does: back, each product of matrices becomes two, for the gradient of its
input and that of its weights (Kaplan et al., 2020, section 2.1); of what takes the data itself only the second is
needed. Nothing is built to count: a layer says its shapes and its multiplications itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lmkit.specs.models import Layer
from lmkit.specs.signature import Signature

SIZES = {"float32": 4, "float64": 8}
"""Bytes of a number."""

KEPT = ("momentum", "beta1", "beta2")
"""Settings of optimizers that are the decay of a running mean, which is as large as the weights themselves."""


class Rule(NamedTuple):
    """What a framework keeps of a layer for the way back.

    Attributes:
        input: what comes in, unless it is kept already.
        output: what goes out.
        extra: besides, in numbers for each number that goes out.
        octets: besides, in bytes for each number that goes out.
    """

    input: bool = False
    output: bool = False
    extra: float = 0.0
    octets: float = 0.0


_LINEAR, _RESULT, _INPUT, _NOTHING = Rule(input=True), Rule(output=True), Rule(input=True), Rule()

_BOTH = {
    "dense": _LINEAR,
    "tied dense": _LINEAR,
    "convolution": _LINEAR,
    "relu": _RESULT,
    "tanh": _RESULT,
    "sigmoid": _RESULT,
    "layer norm": _INPUT,
    "group norm": _INPUT,
    "average pool": _INPUT,
    "flatten": _NOTHING,
    "average": _NOTHING,
    "add": _NOTHING,
    "positions": _NOTHING,
    "embedding": _NOTHING,
}

RULES: dict[str, dict[str, Rule]] = {
    "torch": {
        **_BOTH,
        "gelu": _INPUT,
        "swiglu": Rule(input=True, extra=1),  # silu(a), by which b is multiplied; a and b lie in the input
        "rms norm": Rule(input=True, extra=1),
        "attention": Rule(input=True, output=True),  # a fused kernel computes the weights of places anew
        "dropout": Rule(extra=1),
        "max pool": Rule(input=True, octets=8),  # the number of the largest
        "loss": Rule(extra=1),  # the logarithms of the shares
    },
    "tensorflow": {
        **_BOTH,
        "gelu": Rule(input=True, extra=4),  # written out in products and a tanh, each of which keeps its factors
        "swiglu": Rule(input=True, extra=3),
        "layer norm": Rule(input=True, extra=1),
        "group norm": Rule(input=True, extra=2),
        "rms norm": Rule(input=True, extra=2),
        "attention": Rule(input=True, output=True, extra=3),  # queries, keys and values, each brought together
        "dropout": Rule(extra=1, octets=1),
        "max pool": Rule(input=True, output=True),
        "loss": Rule(extra=1),
    },
}
"""Framework → kind of layer → what it keeps, as measured; ``tests/test_planner.py`` holds it to the frameworks."""

PAIRS = {"torch": 0.0, "tensorflow": 2.0}
"""Numbers that attention keeps for each head and pair of places; a fused kernel keeps none (Dao et al., 2022)."""

Array = tuple[str, tuple[int, ...], str, int]
"""Name, shape, safetensors's word for the type, and bytes of a number."""


class Counters(NamedTuple):
    """What a framework's checkpoint holds besides the optimizer's means.

    Attributes:
        kind, size: of the number that counts the steps: safetensors's word for its type, and its bytes.
        each: it is kept for each weight, by optimizers that need it; else one in all, always.
        random: the states of random numbers.
        dropout: the state of each layer that drops units.
    """

    kind: str
    size: int
    each: bool
    random: tuple[Array, ...] = ()
    dropout: tuple[Array, ...] = ()


COUNTERS = {
    "torch": Counters("F32", 4, each=True, random=(("random.cpu", (5056,), "U8", 1),)),
    "tensorflow": Counters("I64", 8, each=False, dropout=(("random.0", (2,), "U32", 4),)),
}
"""Framework → what its checkpoints hold besides."""


class Cost(NamedTuple):
    """What one layer costs in a training step.

    Attributes:
        name, kind, shape, block: of the layer.
        parameters: how many numbers it learns.
        numbers: that go out, for all rows.
        flops: operations forward and back, a multiplication and its addition being two.
        kept: bytes that it keeps for the way back.
        passing: bytes that it holds while it computes.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    block: int | None
    parameters: int
    numbers: int
    flops: int
    kept: int
    passing: int


def costs(
    layers: Sequence[Layer], signature: Signature, rows: int, framework: str, precision: str, heads: int = 0
) -> list[Cost]:
    """What each layer costs in a step of ``rows`` rows, the loss last.

    Args:
        layers: the model's, in order.
        signature: what it takes.
        rows: of a batch; in a graph all nodes are computed for whatever batch.
        framework: which keeps one thing or another.
        precision: ``float32`` or ``float64``.
        heads: of attention.

    >>> from lmkit.specs.models import MLP
    >>> spec, signature = MLP(hidden=[10]), Signature((30,), 1)
    >>> found = costs(spec.layers(signature), signature, 32, "torch", "float32")
    >>> [(cost.kind, cost.flops, cost.kept) for cost in found]
    [('dense', 38400, 3840), ('relu', 0, 1280), ('dense', 1920, 0), ('loss', 0, 128)]
    """
    size, rules, pairs = SIZES[precision], RULES[framework], PAIRS[framework]
    times = rows
    if signature.graph is not None:  # its layers count their multiplications for all nodes
        rows, times = len(signature.graph.features), 1
    entering = signature.features * rows  # numbers that come into a layer
    is_kept = bool(signature.vocabulary)  # tokens are small, and no gradient passes them
    learned = False
    found = []
    last = Layer("loss", "loss", layers[-1].shape)
    for layer in [*layers, last]:
        numbers = math.prod(layer.shape) * rows
        rule = rules.get(layer.kind, Rule(input=True))
        kept = numbers * (rule.extra * size + rule.octets)
        if rule.input and not is_kept:
            kept += entering * size
        if layer.kind == "attention":
            places = math.prod(layer.shape[:-1])
            kept += pairs * rows * heads * places * places * size
        passing = (entering + numbers) * size
        found.append(
            Cost(
                layer.name,
                layer.kind,
                layer.shape,
                layer.block,
                layer.parameters,
                numbers,
                2 * layer.multiplications * times * (3 if learned else 2),
                int(kept + (numbers * size if rule.output else 0)),
                passing * (2 if layer.kind == "convolution" else 1),  # and brought into the order of its kernels
            )
        )
        # what does not change the numbers' place in memory hands on the same ones
        is_kept = rule.output
        entering = numbers
        learned = learned or layer.parameters > 0
    return found


def running_means(optimizer: Any) -> int:
    """Arrays as large as the weights that an optimizer keeps: Adam two, SGD with momentum one, without none.

    >>> from lmkit.specs.optimizers import SGD, Adam
    >>> running_means(Adam()), running_means(SGD(momentum=0.9)), running_means(SGD())
    (2, 1, 0)
    """
    # Adam keeps its means even where they forget at once
    return sum(hasattr(optimizer, k) and (k != "momentum" or optimizer.momentum > 0) for k in KEPT)


def checkpoint_bytes(layers: Sequence[Layer], optimizer: Any, framework: str, precision: str) -> int:
    """Bytes of the files of one checkpoint: weights and the optimizer's memory, with the heads that name them."""
    kind, size = {"float32": "F32", "float64": "F64"}[precision], SIZES[precision]
    weights = [(f"{layer.name}.{name}", shape, kind, size) for layer in layers for name, shape in layer.weights.items()]
    means, counters = running_means(optimizer), COUNTERS[framework]
    memory = [(f"{name}/{slot}", *rest) for name, *rest in weights for slot in ("square", "mean")[:means]]
    counted = [f"{name}/step" for name, *_ in weights if means > 1] if counters.each else ["step"]
    memory += [(name, (), counters.kind, counters.size) for name in counted]
    memory += counters.random
    dropouts = sum(layer.kind == "dropout" for layer in layers)
    memory += [(f"random.{i}", *rest) for i in range(dropouts) for _, *rest in counters.dropout]
    return _file(weights) + _file(memory)


def _file(arrays: Sequence[Any]) -> int:
    """Bytes of a safetensors file: eight, a head as JSON filled up to a multiple of eight, the numbers."""
    head: dict[str, Any] = {}
    at = 0
    for name, shape, kind, size in arrays:
        after = at + math.prod(shape) * size
        head[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [at, after]}
        at = after
    written = len(json.dumps(head, separators=(",", ":")))
    return 8 + -(-written // 8) * 8 + at


def by_kind(found: Sequence[Cost]) -> Iterator[tuple[str, int, list[Cost]]]:
    """The costs of layers of one kind together, in the order in which they first come: kind, how many, their costs."""
    kinds: dict[str, list[Cost]] = {}
    for cost in found:
        kinds.setdefault(cost.kind, []).append(cost)
    for kind, several in kinds.items():
        yield kind, len(several), several
