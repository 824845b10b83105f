"""The division of a batch into micro-batches: how many, and whether their gradients add up to those of the batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

import numpy as np

from lmkit.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lmkit.experiment.experiment import Experiment

Additivity = Literal["mean", "sum", ""]
"""How the losses of micro-batches make up that of the batch: their mean, weighted by rows; their sum; or neither."""

TRIAL_ROWS = 7
"""Rows on which the losses of parts are compared with that of the batch."""


Batch = TypeVar("Batch")
"""Rows and targets, as the framework holds them."""


class DividedStep(ABC, Generic[Batch]):
    """The part of a training step that says how a batch is divided into micro-batches and over devices.

    Attributes:
        batch_size: rows of a batch.
        micro_batch: rows of a micro-batch.
        world: devices that share a batch.
        has_graph: whether the rows are nodes of a graph, which cannot be divided.
        loss_name: of a custom loss; empty for another one.
        additivity: of the losses of micro-batches.
    """

    batch_size: int
    micro_batch: int
    world: int
    has_graph: bool
    loss_name: str
    additivity: Additivity

    def divide(self, rows: int, sample: Callable[[int], Batch]) -> None:
        """Take micro-batches of ``rows`` rows from the next step on.

        Args:
            rows: of a micro-batch; those of the batch or more: no division.
            sample: returns a number of rows and targets, on which a custom loss is tried.

        Raises:
            ConfigError: the model or the loss cannot be divided.
        """
        if rows < self.batch_size or self.world > 1:
            self.additivity = self._find_additivity(sample)
            check_divisible(
                rows=rows,
                batch_norm=self._batch_norm(),
                has_graph=self.has_graph,
                additivity=self.additivity,
                loss=self.loss_name,
                devices=self.world,
            )
        self.micro_batch = min(rows, self.batch_size)

    @abstractmethod
    def _find_additivity(self, sample: Callable[[int], Batch]) -> Additivity:
        """Return how the losses of micro-batches add up."""

    @abstractmethod
    def _batch_norm(self) -> str:
        """Return the name of a layer that normalizes over the rows of a batch; empty if there is none."""


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
