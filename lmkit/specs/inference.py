"""The task that a target suggests: one rule for tables, arrays, loaders and streams."""

from __future__ import annotations

from typing import Any, NamedTuple

from lmkit.specs.tasks import TaskName, get_task

MAX_CLASSES = 20
"""Different whole numbers up to which they are classes: more of them are an amount, as a score, an age or a count."""

SURE_CLASSES, ROWS_PER_CLASS = 10, 5
"""More different whole numbers than the first are classes only where each has on average so many rows."""


class Target(NamedTuple):
    """What a target holds.

    Attributes:
        distinct: its number of different values.
        rows: its number of rows.
        kind: ``texts``, ``truth values``, ``whole numbers`` or ``numbers with fractions``.
        low: the smallest number.
        high: the largest number.
        labels: whether whole numbers from 0 without a gap are the numbers of classes however many they are: beside
            images, or in a loader.
        more: whether there may be more different values, which were not counted.
    """

    distinct: int
    rows: int
    kind: str
    low: float = 0
    high: float = 0
    labels: bool = False
    more: bool = False

    @classmethod
    def of(cls, y: Any, rows: int | None = None, *, labels: bool = False, more: bool = False) -> Target:
        """Return what a target (rows,) holds, or the target with the different values ``y``.

        >>> Target.of([3.0, 1.0, 3.0])
        Target(distinct=2, rows=3, kind='whole numbers', low=1.0, high=3.0, labels=False, more=False)
        """
        import numpy as np

        rows = len(y) if rows is None else rows
        values = np.asarray(y)
        if values.dtype.kind == "O":
            values = np.asarray(values.tolist())  # numbers in a column of objects
        if values.dtype.kind not in "iuf":
            kind = "truth values" if values.dtype.kind == "b" else "texts"
            return cls(len(set(np.asarray(y).tolist())), rows, kind, labels=labels, more=more)
        numbers = np.unique(values[np.isfinite(values)])
        fractions = values.dtype.kind == "f" and bool((numbers % 1 != 0).any())
        kind = "numbers with fractions" if fractions else "whole numbers"
        low, high = (numbers[0].item(), numbers[-1].item()) if len(numbers) else (0, 0)
        return cls(len(numbers), rows, kind, low, high, labels, more)

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return self.kind in ("whole numbers", "numbers with fractions")

    def infer_task(self) -> TaskName:
        """Return the task that the target suggests.

        Text, and true and false, are classes. Numbers are a regression where one has a fraction. Whole numbers are
        classes where they are few: two always, and up to ``MAX_CLASSES`` where each has rows to learn from. So reason
        AutoGluon, which looks at the type and at the number of different values beside that of rows, and scikit-learn,
        which calls whole numbers classes and warns where they are many.

        >>> Target(35, 27_178, "whole numbers", 66, 100).infer_task()
        'regression'
        >>> Target.of([0.0, 1.0, 1.0]).infer_task()
        'binary'
        """
        if self.kind == "numbers with fractions" or (self.kind == "whole numbers" and self._is_amount):
            return "regression"
        return "binary" if self.distinct <= 2 else "multiclass"

    @property
    def _is_amount(self) -> bool:
        """Whether whole numbers are an amount rather than classes."""
        if self.labels and (self.low, self.high) == (0, self.distinct - 1):
            return False
        return self.distinct > MAX_CLASSES or (
            self.distinct > SURE_CLASSES and self.rows < ROWS_PER_CLASS * self.distinct
        )

    def describe(self, name: str, task: TaskName) -> str:
        """Return what the target holds, the task that was inferred from it, and how to get another.

        Args:
            name: of the target.
            task: the inferred task.

        >>> Target(35, 27_178, "whole numbers", 66, 100).describe("score", "regression")
        "'score' has 35 different whole numbers from 66 to 100: regression; for classes use data: {task: multiclass}"
        """
        more = "more than " if self.more else ""
        span = f" from {self.low:g} to {self.high:g}" if self.numeric and not self.more else ""
        meaning = get_task(task).describe(self.distinct)
        text = f"{name!r} has {more}{self.distinct:,} different {self.kind}{span}: {meaning}"
        if self.kind != "whole numbers" or task == "binary":
            return text
        if task == "regression":
            return f"{text}; for classes use data: {{task: multiclass}}"
        return f"{text}; for a number use data: {{task: regression}}"
