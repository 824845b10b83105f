"""How much memory training takes, by what it is for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lmkit.data.batches import EVALUATED
from lmkit.data.text import IN_MEMORY
from lmkit.planning.counting import SIZES, Cost, running_means
from lmkit.specs.signature import Signature

TYPICAL = {"torch": 335_000_000, "tensorflow": 445_000_000}
"""Bytes that a worker takes which trains next to nothing, where it was not measured on this machine."""

CONTEXT = 500_000_000
"""Bytes of a GPU that a framework takes for itself."""

WORKING_COPIES = {"torch": 0.0, "tensorflow": 2.0}
"""Copies of the weights that a framework goes on holding besides, as measured: TensorFlow gives back late what
gradients and a copy to or from the host took."""

GRAPHS = {"torch": 0, "tensorflow": 2_000_000}
"""Bytes that each layer takes in the graphs that a framework compiles to train and to evaluate, as measured; of a
language twice as many, for there is one more to write text with, and its layers are many operations each."""

KINDS = ("weights", "gradients", "optimizer", "activations", "data", "copies", "framework")
"""What memory is for, in the order in which it is told."""

MEANINGS = {
    "weights": "what is learned",
    "gradients": "one number for each weight",
    "optimizer": "its running means",
    "activations": "what a batch leaves for the way back, and what passes through a layer meanwhile",
    "data": "the rows, where the device keeps them",
    "copies": "the best weights so far, and a checkpoint while it is written",
    "framework": "the process itself, and what it compiles",
}
"""Kind → in words."""


def memory(
    found: Sequence[Cost], signature: Signature, experiment: Any, sizes: dict[str, int], on_host: bool, framework: int
) -> dict[str, int]:
    """Bytes at the peak, by kind, and their ``total``.

    Args:
        found: what each layer costs in a step.
        signature: what the model takes.
        experiment: whose optimizer, precision and batches they are.
        sizes: rows of each part of the data; empty where they are not known, or not kept on the device.
        on_host: the device is the processor, so that copies and checkpoints share its memory.
        framework: bytes that the framework takes itself.
    """
    size = SIZES[experiment.training.precision]
    weights = size * sum(cost.parameters for cost in found)
    optimizer = weights * running_means(experiment.training.optimizer)
    step = sum(cost.kept for cost in found) + max(cost.passing for cost in found)
    activations = max(step, evaluation(found, signature, experiment, sizes))
    copies = 0
    if on_host:
        # a checkpoint is a copy of weights and optimizer, made while no gradients and activations are held; the first
        # weights are drawn in float64 before there is anything else
        best, saving, drawn = weights, weights + optimizer, weights * 8 // size
        copies = best + max(0, saving - weights - activations, drawn - weights - optimizer - activations)
        copies += int(WORKING_COPIES[experiment.framework] * weights)
    kept = {
        "weights": weights,
        "gradients": weights,
        "optimizer": optimizer,
        "activations": activations,
        "data": data(signature, experiment, sizes),
        "copies": copies,
        "framework": framework + len(found) * GRAPHS[experiment.framework] * (2 if signature.vocabulary else 1),
    }
    return {**kept, "total": sum(kept.values())}


def data(signature: Signature, experiment: Any, sizes: dict[str, int]) -> int:
    """Bytes of the rows that the device keeps: all of them, or of a text that lies in a file a batch."""
    size, batch = SIZES[experiment.training.precision], int(experiment.data.batch_size)
    if signature.graph is not None:
        return int(signature.graph.features.size) * size + int(signature.graph.edges.size) * 8
    if signature.vocabulary:  # a row twice, as it is and one token on; rows of large parts stay in their file
        kept = sum(rows for rows in sizes.values() if rows * signature.features <= IN_MEMORY)
        return (kept + batch) * signature.features * 2 * 4
    target = 8 if signature.task == "multiclass" else size
    return sum(sizes.values()) * (signature.features * size + target)


def evaluation(found: Sequence[Cost], signature: Signature, experiment: Any, sizes: dict[str, int]) -> int:
    """Bytes that pass through a layer at most while a part of the data is evaluated, many rows at a time."""
    if signature.graph is not None:
        return 0
    numbers = signature.features * (64 if signature.vocabulary else 1)  # as the trainers count a row
    batch = int(experiment.data.batch_size)
    at_once = max(batch, min(8192, EVALUATED // max(1, numbers)))
    if sizes:
        at_once = min(at_once, max(sizes.values()))
    return math.ceil(max(cost.passing for cost in found) * at_once / batch)
