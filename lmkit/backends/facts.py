"""What is known of each framework without importing it: what it saves for the backward pass, what its checkpoints hold,
how much memory it takes, and its names elsewhere. A further framework adds one row to each table."""

from __future__ import annotations

from typing import NamedTuple

FRAMEWORKS = {"torch": "lmkit.backends.torch", "tensorflow": "lmkit.backends.tensorflow"}
"""Framework → the module of its backend."""


PRELOAD = {"torch": ("torch",), "tensorflow": ("tensorflow", "keras")}
"""Framework → modules that a fork server imports in advance, for a worker would spend its first seconds on them."""


MODEL_CLASSES = {
    "torch.nn.modules.module.Module": ("torch", "torch.nn.Module"),
    "keras.src.models.model.Model": ("tensorflow", "keras.Model"),
}
"""Class of a custom model → its framework, and the name by which users know the class."""


EXPORT_TECHNIQUES = {"torch": "torch-export", "tensorflow": "saved-model"}
"""Framework → technique that exports a model with the framework's own tool."""


class Rule(NamedTuple):
    """What a framework saves of a layer for the backward pass.

    Attributes:
        input: the input, unless it is saved already.
        output: the output.
        extra: further numbers per number of the output.
        octets: further bytes per number of the output.
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
        "swiglu": Rule(input=True, extra=1),  # silu(a), by which b is multiplied; a and b are in the input
        "rms norm": Rule(input=True, extra=1),
        "attention": Rule(input=True, output=True),  # a fused kernel recomputes the attention weights
        "dropout": Rule(extra=1),
        "max pool": Rule(input=True, octets=8),  # the index of the largest
        "loss": Rule(extra=1),  # the log-probabilities
    },
    "tensorflow": {
        **_BOTH,
        "gelu": Rule(input=True, extra=4),  # written out in products and a tanh, each of which saves its factors
        "swiglu": Rule(input=True, extra=3),
        "layer norm": Rule(input=True, extra=1),
        "group norm": Rule(input=True, extra=2),
        "rms norm": Rule(input=True, extra=2),
        "attention": Rule(input=True, output=True, extra=3),  # queries, keys and values, each concatenated
        "dropout": Rule(extra=1, octets=1),
        "max pool": Rule(input=True, output=True),
        "loss": Rule(extra=1),
    },
}
"""Framework → kind of layer → what is saved, as measured; ``tests/integration/planning/test_plan.py`` compares it with
the frameworks."""


PAIRS = {"torch": 0.0, "tensorflow": 2.0}
"""Numbers that attention saves per head and pair of places; a fused kernel saves none (Dao et al., 2022)."""


Array = tuple[str, tuple[int, ...], str, int]
"""Name, shape, type in safetensors' notation, and bytes of a number."""


class Counters(NamedTuple):
    """What a framework's checkpoint holds besides the optimizer's means.

    Attributes:
        kind, size: the type of the step counter in safetensors' notation, and its bytes.
        per_weight: there is a counter per weight, for optimizers that need it; else there is one in all, always.
        random: the states of random generators.
        dropout: the state of each dropout layer.
    """

    kind: str
    size: int
    per_weight: bool
    random: tuple[Array, ...] = ()
    dropout: tuple[Array, ...] = ()


COUNTERS = {
    "torch": Counters("F32", 4, per_weight=True, random=(("random.cpu", (5056,), "U8", 1),)),
    "tensorflow": Counters("I64", 8, per_weight=False, dropout=(("random.0", (2,), "U32", 4),)),
}
"""Framework → what its checkpoints hold besides weights and means."""


TYPICAL = {"torch": 335_000_000, "tensorflow": 445_000_000}
"""Bytes of a worker that trains a tiny model, where they were not measured on this machine."""


WORKING_COPIES = {"torch": 0.0, "tensorflow": 2.0}
"""Further copies of the weights that a framework holds, as measured: TensorFlow releases the memory of gradients and of
copies to or from the host late."""


GRAPHS = {"torch": 0, "tensorflow": 2_000_000}
"""Bytes of each layer in the graphs that a framework compiles to train and to evaluate, as measured; twice as many of a
language model, for it has one more graph to generate text, and its layers consist of many operations."""


STRATEGIES: dict[str, tuple[str, ...]] = {
    "torch": ("single", "ddp", "fsdp"),
    "tensorflow": ("single", "mirrored", "multiworker"),
}
"""Framework → its strategies, by which a step is taken over devices."""


DISTRIBUTED = {"torch": "ddp", "tensorflow": "multiworker"}
"""Framework → the strategy of several processes, where none is named."""


ONE_PROCESS = ("single", "mirrored")
"""Strategies of one process, which drives all of its devices."""
