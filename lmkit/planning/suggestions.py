"""Suggestions that reduce memory: what each saves, what it costs, and whether lmkit can do it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmkit.display.units import format_bytes
from lmkit.planning.counting import SIZES, Cost


class Suggestion(NamedTuple):
    """A change that needs less memory.

    Attributes:
        name: its name.
        total: bytes of training with the change, on each device.
        saves: bytes saved.
        time: factor of the time per step.
        sentence: its effect and its cost.
        does: the setting of an experiment that makes the change; empty if lmkit has none.
        fits: whether the change alone is enough.
    """

    name: str
    total: int
    saves: int
    time: float
    sentence: str
    does: str
    fits: bool


def suggest(
    kinds: Mapping[str, int], layer_costs: Sequence[Cost], experiment: Any, available: int, devices: Sequence[int]
) -> list[Suggestion]:
    """Return all suggestions that save memory, those that lmkit can do first.

    Args:
        kinds: bytes by kind, from ``estimate_memory``.
        layer_costs: the costs of each layer.
        experiment: the experiment that is planned.
        available: bytes of the device.
        devices: counts of devices among which weights may be divided.
    """
    suggestions: list[Suggestion] = []
    total, saved_activations = kinds["total"], sum(cost.saved_activations for cost in layer_costs)
    activations, rows = kinds["activations"], experiment.data.batch_size

    def add(name: str, saves: float, time: float, sentence: str, does: str = "") -> None:
        left = total - int(saves)
        if saves > 0:
            suggestions.append(Suggestion(name, left, int(saves), time, sentence, does, left <= available))

    if experiment.training.precision == "float64":
        halved = (total - kinds["framework"]) / 2
        add("single precision", halved, 0.5, "uses 32 bits per number instead of 64", "training.precision: float32")
    training = experiment.training
    if rows > 1 and not training.micro_batch and _rows_are_independent(layer_costs):
        need = total - available
        parts = next((k for k in _powers(rows) if activations * (1 - 1 / k) >= need), rows)
        parts = max(2, parts)
        saved, small = activations * (1 - 1 / parts), max(1, rows // parts)
        add(
            f"batches of {small}",
            saved,
            1.0,
            f"steps of {small} instead of {rows} rows: {parts} times as many steps per epoch with noisier gradients; "
            "tune the learning rate again",
            f"data.batch_size: {small}",
        )
        add(
            f"gradient accumulation over {parts} parts",
            saved,
            1.0,
            f"computes a step of {rows} rows in {parts} parts and adds up their gradients: the same result; each layer "
            f"is called {parts} times as often",
            f"training.micro_batch: {small}",
        )
    groups = _groups(layer_costs)
    has_blocks = any(cost.block is not None for cost in layer_costs)
    if groups > 1 and training.recompute == "none":
        add(
            "checkpointed activations",
            saved_activations - recomputed_bytes(layer_costs, SIZES[training.weight_dtype]),
            4 / 3,
            f"saves only the input of each of {groups} groups of layers and recomputes the rest in the backward pass "
            "(Chen et al., 2016): one more forward pass, a third of a step",
            "training.recompute: blocks" if has_blocks else "",
        )
    if training.precision == "float32":
        add(
            "16-bit numbers (mixed precision)",
            activations / 2,
            1.0,
            "activations in 16 bits; weights, gradients and Adam's means stay at 16 bytes per parameter, since the "
            "update uses 32 bits (Micikevicius et al., 2018); faster only on devices with 16-bit arithmetic, and about "
            "ten times slower on a processor without it",
            "training.precision: bfloat16",
        )
    model = kinds["weights"] + kinds["gradients"] + kinds["optimizer"]
    for n in (n for n in devices if n > 1):
        add(
            f"sharded over {n} devices",
            model * (1 - 1 / n),
            1.0,
            f"each of {n} devices keeps 1/{n} of weights, gradients and optimizer state (ZeRO-3, Rajbhandari et al., "
            f"2020) and computes its own rows: 1.5 times the communication of full replicas, "
            f"{format_bytes(3 * kinds['weights'])} per device and step",
        )
    return suggestions


def recomputed_bytes(layer_costs: Sequence[Cost], size: int) -> float:
    """Return the bytes of activations where the inside of each block is computed again in the backward pass.

    The input of each group of layers is saved, and one group at a time is recomputed (Chen et al., 2016).
    """
    saved = sum(cost.saved_activations for cost in layer_costs)
    return min(float(saved), saved / _groups(layer_costs) + _input_bytes(layer_costs, size))


def describe_verdict(suggestions: Sequence[Suggestion], total: int, available: int) -> str:
    """Return ``fits``, ``fits with …`` or ``does not fit``."""
    if total <= available:
        return "fits"
    names = [suggestion.name for suggestion in suggestions if suggestion.fits]
    if names:
        return f"fits with {names[0]}" + (f", or with {' or '.join(names[1:3])}" if names[1:] else "")
    return "does not fit"


def _powers(most: int) -> list[int]:
    """Return the powers of 2 from 2 to ``most``."""
    return [2**i for i in range(1, max(2, most.bit_length() + 1)) if 2**i <= most]


def _rows_are_independent(layer_costs: Sequence[Cost]) -> bool:
    """Return whether each row is computed by itself, so that a batch can be divided."""
    return not any(cost.kind.startswith("graph") for cost in layer_costs)


def _groups(layer_costs: Sequence[Cost]) -> int:
    """Return the number of groups of layers: the blocks of the model, else the square root of the layers."""
    blocks = {cost.block for cost in layer_costs if cost.block is not None}
    return len(blocks) or round(math.sqrt(sum(1 for cost in layer_costs if cost.parameters)))


def _input_bytes(layer_costs: Sequence[Cost], size: int) -> float:
    """Return the bytes of the inputs of all groups."""
    ends = list({cost.block: cost for cost in layer_costs if cost.block is not None}.values())
    if not ends:
        weighted = [cost for cost in layer_costs if cost.parameters]
        ends = weighted[:: max(1, len(weighted) // _groups(layer_costs))]
    return float(size * sum(cost.numbers for cost in ends))
