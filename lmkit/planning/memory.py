"""The peak memory of training, by kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lmkit.backends.facts import GRAPHS, WORKING_COPIES
from lmkit.data.batches import evaluation_batch_size
from lmkit.data.text.rows import IN_MEMORY
from lmkit.planning.counting import SIZES, Cost, running_means
from lmkit.planning.suggestions import recomputed_bytes
from lmkit.specs.signature import Signature
from lmkit.specs.tasks import get_task

CONTEXT = 500_000_000
"""Bytes of a GPU that the framework itself uses."""

KINDS = ("weights", "gradients", "optimizer", "activations", "data", "copies", "framework")
"""The kinds of memory, in the order of the tables."""

MEANINGS = {
    "weights": "trainable parameters",
    "gradients": "one number per trainable parameter",
    "optimizer": "running means of the optimizer",
    "activations": "activations kept for the backward pass, and the workspace of one layer",
    "data": "rows kept on the device",
    "copies": "best weights so far, and a checkpoint while it is saved",
    "framework": "the process and its compiled code",
}
"""Kind → its meaning."""


def estimate_memory(
    layer_costs: Sequence[Cost],
    signature: Signature,
    experiment: Any,
    sizes: dict[str, int],
    on_host: bool,
    framework: int,
) -> dict[str, int]:
    """Return the bytes at the peak, by kind, and their ``total``.

    Args:
        layer_costs: the costs of each layer in a step.
        signature: the inputs and outputs of the model.
        experiment: the experiment, with its optimizer, precision and batches.
        sizes: rows of each part of the data; empty if unknown, or not kept on the device.
        on_host: whether the device is the processor, so that copies and checkpoints share its memory.
        framework: bytes that the framework itself uses.
    """
    size = SIZES[experiment.training.weight_dtype]
    weights = size * sum(cost.parameters for cost in layer_costs)
    optimizer = weights * running_means(experiment.training.optimizer)
    step = step_bytes(layer_costs, experiment)
    activations = max(step, evaluation_bytes(layer_costs, signature, experiment, sizes))
    copies = 0
    if on_host:
        # a checkpoint copies weights and optimizer state while no gradients and activations exist; the initial weights
        # are drawn in float64, before anything else is allocated
        best, saving, drawn = weights, weights + optimizer, weights * 8 // size
        copies = best + max(0, saving - weights - activations, drawn - weights - optimizer - activations)
        copies += int(WORKING_COPIES[experiment.framework] * weights)
    kinds = {
        "weights": weights,
        "gradients": weights,
        "optimizer": optimizer,
        "activations": activations,
        "data": data_bytes(signature, experiment, sizes),
        "copies": copies,
        "framework": framework + len(layer_costs) * GRAPHS[experiment.framework] * (2 if signature.vocabulary else 1),
    }
    return {**kinds, "total": sum(kinds.values())}


def step_bytes(layer_costs: Sequence[Cost], experiment: Any) -> int:
    """Return the bytes of activations in a step: of one micro-batch, without what is recomputed, in its precision."""
    training, rows = experiment.training, int(experiment.data.batch_size)
    saved: float = sum(cost.saved_activations for cost in layer_costs)
    if training.recompute == "blocks" and any(cost.block is not None for cost in layer_costs):
        saved = recomputed_bytes(layer_costs, SIZES[training.weight_dtype])
    share = min(training.micro_batch or rows, rows) / rows
    half = 0.5 if training.precision in ("bfloat16", "float16") else 1.0
    return int((saved * half + max(cost.workspace for cost in layer_costs)) * share)


def data_bytes(signature: Signature, experiment: Any, sizes: dict[str, int]) -> int:
    """Return the bytes of the rows on the device: all rows, or one batch of a text that is read from a file."""
    size, batch = SIZES[experiment.training.weight_dtype], int(experiment.data.batch_size)
    if signature.graph is not None:
        return int(signature.graph.features.size) * size + int(signature.graph.edges.size) * 8
    if signature.vocabulary:  # inputs and targets, one token later; rows of large parts stay in their file
        in_memory = sum(rows for rows in sizes.values() if rows * signature.features <= IN_MEMORY)
        return (in_memory + batch) * signature.features * 2 * 4
    target = 8 if get_task(signature.task).integer_targets else size * signature.outputs
    return sum(sizes.values()) * (signature.features * size + target)


def evaluation_bytes(layer_costs: Sequence[Cost], signature: Signature, experiment: Any, sizes: dict[str, int]) -> int:
    """Return the largest workspace of a layer while a part of the data is evaluated, many rows at a time."""
    if signature.graph is not None:
        return 0
    batch = int(experiment.data.batch_size)
    rows = evaluation_batch_size((signature.features,), batch, has_tokens=bool(signature.vocabulary))
    if sizes:
        rows = min(rows, max(sizes.values()))
    return math.ceil(max(cost.workspace for cost in layer_costs) * rows / batch)
