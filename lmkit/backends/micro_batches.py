"""The division of a batch into micro-batches: how many, and whether their gradients add up to those of the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from lmkit.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmkit.experiment.experiment import Experiment

Additivity = Literal["mean", "sum", ""]
"""How the losses of micro-batches make up that of the batch: their mean, weighted by rows; their sum; or neither."""

TRIAL_ROWS = 7
"""Rows on which the losses of parts are compared with that of the batch."""


def micro_batch_size(experiment: Experiment) -> int:
    """Return the rows of a micro-batch: those of the batch where nothing is set."""
    batch = experiment.data.batch_size
    return min(experiment.training.micro_batch or batch, batch)


def check_divisible(
    *, rows: int, batch_norm: str, has_graph: bool, additivity: Additivity, loss: str, devices: int = 1
) -> None:
    """Check that gradients added up over micro-batches and devices are those of the batch.

    Args:
        rows: of a micro-batch.
        batch_norm: the name of a layer that normalizes over the rows of a batch; empty if there is none.
        has_graph: whether the rows are nodes of a graph.
        additivity: of the loss.
        loss: its name.
        devices: that share a batch.

    Raises:
        ConfigError: they are not; the message says why.
    """
    name, value = ("devices", devices) if devices > 1 else ("micro_batch", rows)
    field, instead = (
        f"training.{name}: given {value}, but ",
        "write devices: 1" if devices > 1 else "leave micro_batch out",
    )
    if has_graph:
        raise ConfigError([f"{field}a graph is computed as a whole for every step; {instead}"])
    if batch_norm:
        raise ConfigError(
            [
                f"{field}{batch_norm} normalizes over the rows that it is given, and would give other outputs than for "
                f"the batch; use layer or group normalization, or {instead}"
            ]
        )
    if not additivity:
        raise ConfigError(
            [
                f"{field}the loss {loss} of a batch is neither the mean nor the sum over its rows; let it return one "
                f"value per row, or {instead}"
            ]
        )


def find_additivity(loss: Callable[[slice], float], rows: int) -> Additivity:
    """Return how the loss of a batch follows from the losses of its parts, by trying it.

    Args:
        loss: returns the loss of some of the rows.
        rows: that there are.
    """
    cut = rows // 3
    if cut < 1:
        return "mean"
    whole, first, second = loss(slice(0, rows)), loss(slice(0, cut)), loss(slice(cut, rows))
    sums: dict[Additivity, float] = {
        "mean": (cut * first + (rows - cut) * second) / rows,
        "sum": first + second,
    }
    return next((name for name, value in sums.items() if np.isclose(whole, value, rtol=1e-4, atol=1e-7)), "")
