"""How many threads a model is trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmkit.system.cores import available_cores

if TYPE_CHECKING:
    from lmkit.specs.models import ModelSpec
    from lmkit.specs.signature import Signature

SMALL_STEP = 2**24
"""Multiplications of a step up to which one thread is fastest: more would mostly wait for each other, and where several
runs share a machine they wait a hundred times longer than they work."""


def threads_for(
    model: ModelSpec,
    signature: Signature,
    batch_size: int,
    threads: int | None = None,
    multiplications: int = 0,
    processes: int = 1,
) -> int:
    """Return the number of threads for one operation on a CPU; 0 to leave it to the framework.

    Args:
        model: the model.
        signature: of its rows; a graph is computed as a whole, whatever the batch.
        batch_size: rows of a step.
        threads: set by the user.
        multiplications: of one row, where they are known only once the model is built.
        processes: of this machine that share a step, each with its part of the rows and of the cores.
    """
    if threads:
        return threads
    rows = 1 if signature.graph else batch_size
    work = rows * (model.multiplications(signature) or multiplications)
    if 0 < work < SMALL_STEP * processes:
        return 1
    return max(1, available_cores() // processes) if processes > 1 else 0
