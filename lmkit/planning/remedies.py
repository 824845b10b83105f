"""What makes a model fit that does not: for each way what it saves, what it costs, and whether lmkit does it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lmkit.planning.counting import SIZES, Cost
from lmkit.planning.devices import amount_text


class Remedy(NamedTuple):
    """One way to take less memory.

    Attributes:
        name: what it is called.
        total: bytes that training takes then, on each device.
        saves: bytes fewer.
        time: how much longer a step takes, as a factor.
        sentence: what it does, and what it costs.
        does: how it is written in an experiment; empty where lmkit does not do it.
        fits: whether it is enough by itself.
    """

    name: str
    total: int
    saves: int
    time: float
    sentence: str
    does: str
    fits: bool


def remedies(
    kinds: Mapping[str, int], found: Sequence[Cost], experiment: Any, available: int, devices: Sequence[int]
) -> list[Remedy]:
    """Every way that changes something, those that lmkit does first.

    Args:
        kinds: bytes by kind, as ``memory`` counts them.
        found: what each layer costs.
        experiment: as it is planned.
        available: bytes that the device has.
        devices: counts of devices among which weights may be divided.
    """
    ways: list[Remedy] = []
    total, kept = kinds["total"], sum(cost.kept for cost in found)
    activations, rows = kinds["activations"], experiment.data.batch_size

    def add(name: str, saves: float, time: float, sentence: str, does: str = "") -> None:
        left = total - int(saves)
        if saves > 0:
            ways.append(Remedy(name, left, int(saves), time, sentence, does, left <= available))

    if experiment.training.precision == "float64":
        halved = (total - kinds["framework"]) / 2
        add("single precision", halved, 0.5, "every number in 32 bits instead of 64", "training.precision: float32")
    if rows > 1 and _alone(found):
        need = total - available
        parts = next((k for k in _powers(rows) if activations * (1 - 1 / k) >= need), rows)
        parts = max(2, parts)
        saved, small = activations * (1 - 1 / parts), max(1, rows // parts)
        add(
            f"batches of {small}",
            saved,
            1.0,
            f"steps of {small} instead of {rows} rows: {parts} times as many steps an epoch, whose gradients are "
            "noisier, so that the learning rate wants to be chosen anew",
            f"data.batch_size: {small}",
        )
        add(
            f"gradient accumulation over {parts} parts",
            saved,
            1.0,
            f"a step of {rows} rows in {parts} parts whose gradients are added up: the same mathematics; each layer "
            f"is called {parts} times as often",
        )
    groups = _groups(found)
    if groups > 1:
        # Chen et al., 2016: what enters each group is kept, and one group at a time is computed again
        again = kept / groups + _entering(found, SIZES[experiment.training.precision])
        add(
            "checkpointed activations",
            kept - again,
            4 / 3,
            f"only what enters each of {groups} groups of layers is kept, the rest computed again on the way back "
            "(Chen et al., 2016): one way forward more, a third of a step",
        )
    if experiment.training.precision == "float32":
        add(
            "16-bit numbers (mixed precision)",
            activations / 2,
            1.0,
            "activations in 16 bits; weights, gradients and Adam's means stay 16 bytes a parameter, for the update is "
            "made in 32 bits (Micikevicius et al., 2018); quicker only where the device multiplies 16-bit numbers",
        )
    model = kinds["weights"] + kinds["gradients"] + kinds["optimizer"]
    for n in (n for n in devices if n > 1):
        add(
            f"sharded over {n} devices",
            model * (1 - 1 / n),
            1.0,
            f"each of {n} devices keeps 1/{n} of weights, gradients and optimizer (ZeRO-3, Rajbhandari et al., "
            f"2020) and computes its own rows: half as much again is sent as where each keeps all, "
            f"{amount_text(3 * kinds['weights'])} a device and step",
        )
    return ways


def verdict(ways: Sequence[Remedy], total: int, available: int) -> str:
    """``fits``, ``fits with …`` or ``does not fit``."""
    if total <= available:
        return "fits"
    enough = [way.name for way in ways if way.fits]
    if enough:
        return f"fits with {enough[0]}" + (f", or with {' or '.join(enough[1:3])}" if enough[1:] else "")
    return "does not fit"


def _powers(most: int) -> list[int]:
    return [2**i for i in range(1, max(2, most.bit_length() + 1)) if 2**i <= most]


def _alone(found: Sequence[Cost]) -> bool:
    """Whether rows are computed each for itself, so that a batch can be cut."""
    return not any(cost.kind.startswith("graph") for cost in found)


def _groups(found: Sequence[Cost]) -> int:
    """Into how many groups layers are taken together: the model's own blocks, else the root of how many there are."""
    blocks = {cost.block for cost in found if cost.block is not None}
    return len(blocks) or round(math.sqrt(sum(1 for cost in found if cost.parameters)))


def _entering(found: Sequence[Cost], size: int) -> float:
    """Bytes of what enters each group."""
    ends = list({cost.block: cost for cost in found if cost.block is not None}.values())
    if not ends:
        weighted = [cost for cost in found if cost.parameters]
        ends = weighted[:: max(1, len(weighted) // _groups(found))]
    return float(size * sum(cost.numbers for cost in ends))
