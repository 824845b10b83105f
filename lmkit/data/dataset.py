"""A prepared data set: its three parts, and the order of its batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from lmkit.data.batches import Batches, Part, steps_per_epoch
from lmkit.preprocessing.table import TablePreprocessing

if TYPE_CHECKING:
    import numpy as np

    from lmkit.specs.outputs import OutputKind
    from lmkit.specs.tasks import TaskName

EAGER_BYTES = 64 * 2**20
"""Files up to this size are read and checked before a worker starts; the worker reads larger ones."""


class Dataset(NamedTuple):
    """The three parts of a data set, ready for a trainer.

    Attributes:
        batches: yields the training batches, where the device does not hold them; ``training`` may then contain only
            the first rows.
        notes: what was inferred about the data, a sentence each.
        warnings: what was changed or left out in preparing it, a sentence each.
        left_out: rows that an epoch leaves out, the last ones of its order.
    """

    training: Part
    validation: Part
    test: Part
    preprocessing: TablePreprocessing
    batches: Batches | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    left_out: int = 0

    @property
    def rows(self) -> int:
        """Rows per epoch."""
        return self.batches.rows if self.batches else len(self.training.X) - self.left_out

    @property
    def output_kind(self) -> OutputKind:
        """What the outputs of the model are; logits for arrays without a preprocessing."""
        return self.preprocessing.output_kind if self.preprocessing is not None else "logits"

    def order(self, seed: int, epoch: int) -> np.ndarray:
        """Return the training rows (rows,) of ``epoch`` (counted from 0) in their order."""
        return batch_order(seed, epoch, self.rows + self.left_out)[: self.rows]

    def without_single_row(self, batch_size: int) -> Dataset:
        """Return the data set with one row less in each epoch, where that row would be its last batch."""
        batches = self.batches
        if batches is None:
            return self._replace(left_out=1) if self.rows > 1 and self.rows % batch_size == 1 else self
        if getattr(batches, "uneven", False) or batches.count < 2 or batches.rows % batch_size != 1:
            return self
        return self._replace(batches=_FirstBatches(batches), left_out=1)

    @property
    def part_rows(self) -> dict[str, int]:
        """The number of rows of each part that has any."""
        rows = {"training": self.rows, "validation": len(self.validation.X), "test": len(self.test.X)}
        return {part: int(count) for part, count in rows.items() if count}

    def steps_per_epoch(self, batch_size: int) -> int:
        """Return the steps per epoch; the last one may have fewer rows than ``batch_size``."""
        return self.batches.count if self.batches else steps_per_epoch(self.rows, batch_size)

    def adapt(self, task: TaskName, output_kind: OutputKind) -> Dataset:
        """Return the data set for a model: its target as ``task`` encodes it, its outputs read as ``output_kind``.

        The task differs from the data's where a model has an output for each of two classes: class numbers take the
        place of 0 and 1.
        """
        data = self._replace(preprocessing=adapt(self.preprocessing, task, output_kind))
        if data.preprocessing.task == self.preprocessing.task:
            return data
        return data._replace(
            training=_with_class_numbers(self.training),
            validation=_with_class_numbers(self.validation),
            test=_with_class_numbers(self.test),
            batches=_ClassNumberBatches(self.batches) if self.batches else None,
        )


def adapt(preprocessing: TablePreprocessing, task: TaskName, output_kind: OutputKind) -> TablePreprocessing:
    """Return a preprocessing for a model: with its task, if that suits the data, and what its outputs are."""
    suits = (preprocessing.task, task) == ("binary", "multiclass")
    return replace(preprocessing, task=task if suits else preprocessing.task, output_kind=output_kind)


def _with_class_numbers(part: Part) -> Part:
    """Return a part of two classes with their numbers (rows,), int64, in place of 0 and 1 (rows, 1)."""
    import numpy as np

    return Part(part.X, np.asarray(part.y[:]).reshape(-1).astype(np.int64))


class _ClassNumberBatches:
    """Batches of two classes with their numbers; every other attribute is that of the batches themselves."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)

    def take(self, first: int) -> Iterator[Part]:
        """Iterate over the batches of the epoch from ``first`` on."""
        return map(_with_class_numbers, self.batches.take(first))


class _FirstBatches:
    """Batches without the last one of an epoch, which is a single row."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.rows, self.count = batches.rows - 1, batches.count - 1

    def epoch(self, number: int, order: np.ndarray) -> None:
        """Begin an epoch; the order has one row less than the batches."""
        import numpy as np

        missing = np.setdiff1d(np.arange(self.rows + 1), order)
        self.batches.epoch(number, np.concatenate([order, missing]))

    def take(self, first: int) -> Iterator[Part]:
        """Iterate over the batches of the epoch from ``first`` on."""
        return itertools.islice(self.batches.take(first), self.count - first)


def batch_order(seed: int, epoch: int, rows: int) -> np.ndarray:
    """Return the order (rows,) of the training rows in ``epoch`` (counted from 0), the same for every framework."""
    import numpy as np

    return np.random.default_rng([seed, 1, epoch]).permutation(rows)
