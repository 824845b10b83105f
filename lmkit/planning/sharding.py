"""The memory of large models on each of many devices, by the published formulas.

Training in mixed precision with Adam uses 16 bytes per parameter: 2 for the weight and 2 for its gradient, in 16 bits,
and 12 for the optimizer: the weight in 32 bits and two running means (Rajbhandari et al., 2020, section 3.1). ZeRO
divides them among N devices in three stages (section 5). Activations are added, which no stage divides
(Korthikanti et al., 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lmkit.display.table import Table
from lmkit.specs.signature import Signature
from lmkit.specs.tasks import get_task

WEIGHTS, GRADIENTS, OPTIMIZER = 2, 2, 12
"""Bytes per parameter, in mixed precision with Adam."""

GB = 10**9
"""Bytes of a gigabyte, as in the papers and data sheets."""

STRATEGIES = ("replicated", "ZeRO-1", "ZeRO-2", "ZeRO-3")
"""Strategies by what they divide: nothing, the optimizer state, also gradients, also weights."""

COMMUNICATION = {"replicated": 2.0, "ZeRO-1": 2.0, "ZeRO-2": 2.0, "ZeRO-3": 3.0}
"""Numbers that each device sends and receives per step and parameter (section 7)."""

RECOMPUTED = ("none", "selective", "full")
"""What is recomputed in the backward pass: nothing, attention, or whole blocks."""

COUNTS, MEMORIES = (1, 8, 64), (24, 40, 80)
"""Default counts of devices, and gigabytes of each."""

USABLE = 0.9
"""Usable share of a device's memory; driver, communication and fragmentation take the rest."""


def state_bytes(parameters: int, devices: int, strategy: str) -> float:
    """Return the bytes of weights, gradients and optimizer state on each device.

    With Ψ parameters and N devices: 16Ψ, 4Ψ + 12Ψ/N, 2Ψ + 14Ψ/N, 16Ψ/N (Rajbhandari et al., 2020, figure 1).

    >>> [round(state_bytes(7_500_000_000, 64, s) / 1e9, 1) for s in STRATEGIES]
    [120.0, 31.4, 16.6, 1.9]
    """
    stage = STRATEGIES.index(strategy)
    parts = (WEIGHTS, GRADIENTS, OPTIMIZER)  # the optimizer state is divided first
    return parameters * sum(b / (devices if i >= 3 - stage else 1) for i, b in enumerate(parts))


def block_activation_bytes(rows: int, positions: int, width: int, heads: int, recomputed: str = "none") -> float:
    """Return the bytes of activations that one block saves, in 16 bits, on one device.

    With s positions, b rows, width h and a heads: sbh(34 + 5as/h) if all are saved, 34sbh if attention is recomputed
    (as in fused kernels), 2sbh if the block is (Korthikanti et al., 2022, equations 2 and 6, table 2).

    >>> round(96 * block_activation_bytes(1, 2048, 12288, 96) / 1e9, 1)  # GPT-3, a row of 2048 tokens
    275.4
    """
    per = {"none": 34 + 5 * heads * positions / width, "selective": 34.0, "full": 2.0}[recomputed]
    return positions * rows * width * per


class Layout(NamedTuple):
    """One layout of a model over devices.

    Attributes:
        devices: the number of devices.
        memory: gigabytes of each.
        strategy: one of ``STRATEGIES``.
        recomputed: one of ``RECOMPUTED``.
        bytes: memory needed on each device.
        fits: whether it is within the usable memory.
    """

    devices: int
    memory: float
    strategy: str
    recomputed: str
    bytes: float
    fits: bool


def activation_bytes(model: Any, signature: Signature, rows: int, recomputed: str) -> float:
    """Return the bytes of a transformer's activations on one device, in 16 bits, with logits and loss.

    ``full`` adds the one block that is being recomputed; logits take 16 bits and the loss 32
    (Korthikanti et al., 2022, section 4.3).
    """
    positions, width, heads = model.places(signature), model.width, model.heads
    blocks = model.depth * block_activation_bytes(rows, positions, width, heads, recomputed)
    if recomputed == "full":
        blocks += block_activation_bytes(rows, positions, width, heads, "selective")
    logits = rows * signature.outputs * (positions if get_task(signature.task).per_position else 1)
    return float(blocks + rows * positions * width * 2 + logits * (2 + 4))


def list_layouts(
    model: Any,
    signature: Signature,
    parameters: int,
    *,
    rows: int = 1,
    counts: tuple[int, ...] = COUNTS,
    memories: tuple[float, ...] = MEMORIES,
) -> list[Layout]:
    """Return a layout for each count of devices × memory × strategy, with the least recomputation that fits.

    If none fits, the layout recomputes whole blocks. ``rows`` is the number of rows on one device.
    """
    layouts = []
    for devices in counts:
        for memory in memories:
            for strategy in STRATEGIES[: 1 if devices == 1 else None]:
                state = state_bytes(parameters, devices, strategy)
                for recomputed in ("selective", "full"):
                    total = state + activation_bytes(model, signature, rows, recomputed)
                    fits = total <= USABLE * memory * GB
                    if fits:
                        break
                layouts.append(Layout(devices, memory, strategy, recomputed, total, fits))
    return layouts


def sharded_table(layouts: Sequence[Layout]) -> Table:
    """Tabulate gigabytes per device, by count and memory of devices × strategy; * marks recomputed blocks."""
    rows = []
    for key in dict.fromkeys((layout.devices, layout.memory) for layout in layouts):
        cells = {one.strategy: one for one in layouts if (one.devices, one.memory) == key}
        texts = [_cell(cells[s]) if s in cells else None for s in STRATEGIES]
        rows.append((f"{key[0]} × {key[1]:g} GB", *texts))
    title = "GB per device, and whether it fits (*: with whole blocks recomputed)"
    return Table(title, ("devices", *STRATEGIES), tuple(rows))


def _cell(layout: Layout) -> str:
    mark = "*" if layout.recomputed == "full" else ""
    return f"{layout.bytes / GB:,.4g}{mark} {'fits' if layout.fits else 'no'}"
