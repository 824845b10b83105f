"""What large models take on each of many devices, by the published formulas.

Training in mixed precision with Adam keeps 16 bytes a parameter: 2 for the weight and 2 for its gradient, in 16 bits,
and 12 for the optimizer: the weight in 32 bits and two running means (Rajbhandari et al., 2020, section 3.1). ZeRO
divides them among N devices, which otherwise each hold all, in three stages (section 5). To these come the activations,
which no stage divides (Korthikanti et al., 2022).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lmkit.specs.signature import Signature

WEIGHTS, GRADIENTS, OPTIMIZER = 2, 2, 12
"""Bytes a parameter, in mixed precision with Adam."""

GB = 10**9
"""Bytes of a gigabyte, as the papers and the makers of devices count."""

STRATEGIES = ("replicated", "ZeRO-1", "ZeRO-2", "ZeRO-3")
"""What is divided: nothing, the optimizer, the gradients too, the weights too."""

COMMUNICATION = {"replicated": 2.0, "ZeRO-1": 2.0, "ZeRO-2": 2.0, "ZeRO-3": 3.0}
"""Numbers that each device sends and receives a step, for each parameter (section 7)."""

RECOMPUTED = ("none", "selective", "full")
"""What is computed again on the way back: nothing, attention, or whole blocks."""

COUNTS, MEMORIES = (1, 8, 64), (24, 40, 80)
"""Devices, and gigabytes of each, that are tabled where nothing else is asked for."""

USABLE = 0.9
"""Share of a device that a plan may fill: the driver, communication and gaps take the rest."""


def state_bytes(parameters: int, devices: int, strategy: str) -> float:
    """Bytes of weights, gradients and optimizer on each device.

    With Ψ parameters and N devices: 16Ψ, 4Ψ + 12Ψ/N, 2Ψ + 14Ψ/N, 16Ψ/N (Rajbhandari et al., 2020, figure 1).

    >>> [round(state_bytes(7_500_000_000, 64, s) / 1e9, 1) for s in STRATEGIES]
    [120.0, 31.4, 16.6, 1.9]
    """
    divided = STRATEGIES.index(strategy)
    parts = (WEIGHTS, GRADIENTS, OPTIMIZER)  # the last is divided first
    return parameters * sum(b / (devices if i >= 3 - divided else 1) for i, b in enumerate(parts))


def block_activation_bytes(rows: int, places: int, width: int, heads: int, recomputed: str = "none") -> float:
    """Bytes of activations that one block keeps, in 16 bits, on one device.

    With s places, b rows, width h and a heads: sbh(34 + 5as/h) where all is kept, 34sbh where attention is computed
    again (as fused kernels do), 2sbh where the block is (Korthikanti et al., 2022, equations 2 and 6, table 2).

    >>> round(96 * block_activation_bytes(1, 2048, 12288, 96) / 1e9, 1)  # GPT-3, a row of 2048 tokens
    275.4
    """
    per = {"none": 34 + 5 * heads * places / width, "selective": 34.0, "full": 2.0}[recomputed]
    return places * rows * width * per


class Sharded(NamedTuple):
    """One way to hold a model.

    Attributes:
        devices: how many.
        memory: gigabytes of each.
        strategy: what is divided among them.
        recomputed: what is computed again on the way back.
        bytes: on each device.
        fits: whether that is within what a plan may fill.
    """

    devices: int
    memory: float
    strategy: str
    recomputed: str
    bytes: float
    fits: bool


def activation_bytes(model: Any, signature: Signature, rows: int, recomputed: str) -> float:
    """Bytes of a transformer's activations on one device, in 16 bits, logits and loss included.

    ``full`` adds the one block that is being computed again; logits are kept in 16 bits and the loss in 32
    (Korthikanti et al., 2022, section 4.3).
    """
    places, width, heads = model.places(signature), model.width, model.heads
    blocks = model.depth * block_activation_bytes(rows, places, width, heads, recomputed)
    if recomputed == "full":
        blocks += block_activation_bytes(rows, places, width, heads, "selective")
    logits = rows * signature.outputs * (places if signature.task == "language" else 1)
    return float(blocks + rows * places * width * 2 + logits * (2 + 4))


def ways(
    model: Any, signature: Signature, parameters: int, *, rows: int = 1, counts: tuple[int, ...] = COUNTS,
    memories: tuple[float, ...] = MEMORIES,
) -> list[Sharded]:  # fmt: skip
    """Every count of devices × memory × strategy, each with the least that must be computed again to fit.

    Where nothing fits, the way that takes least. ``rows`` are those that one device computes at a time.
    """
    found = []
    for devices in counts:
        for memory in memories:
            for strategy in STRATEGIES[: 1 if devices == 1 else None]:
                state = state_bytes(parameters, devices, strategy)
                for recomputed in ("selective", "full"):
                    total = state + activation_bytes(model, signature, rows, recomputed)
                    fits = total <= USABLE * memory * GB
                    if fits:
                        break
                found.append(Sharded(devices, memory, strategy, recomputed, total, fits))
    return found
