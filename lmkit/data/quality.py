"""Warnings about data that can be trained on: leakage, contradictions, imbalance, constant columns."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from lmkit.data.overlap import leaks, row_hashes
from lmkit.specs.tasks import get_task

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.batches import Part
    from lmkit.data.dataset import Dataset
    from lmkit.preprocessing.table import TablePreprocessing

IMBALANCE_RATIO = 5
"""The ratio of the largest to the smallest class from which accuracy is misleading."""

CHEAP_NUMBERS = 2**22
"""Numbers in all rows up to which the checks take a few hundredths of a second."""

MIN_REVEALING_ROWS, REVEALING_ROWS, MAX_REVEALING_COLUMNS = 50, 20_000, 200
"""Rows from which, and rows and columns up to which, features are compared with the target."""

FIRST_ROWS = 128
"""Rows by which most columns are seen not to be the target."""


def warnings(data: Dataset, max_numbers: int | None = None) -> tuple[str, ...]:
    """Return the warnings about prepared data, one sentence each; the most serious first.

    Rows are equal where all their prepared features are; they are compared by 64-bit hashes. Checks that make no sense
    for graphs, whose rows are node indices, and for text are left out. The warnings of the preparation come first.

    Args:
        data: the three parts.
        max_numbers: numbers in all parts up to which rows are compared; None: always.
    """
    import numpy as np

    parts = {name: getattr(data, name) for name in ("training", "validation", "test")}
    preprocessing = data.preprocessing
    task = get_task(preprocessing.task)
    texts: list[str] = list(data.warnings)
    if not all(isinstance(values, np.ndarray) for part in parts.values() for values in part):
        return tuple(texts)
    numbers = sum(math.prod(part.X.shape) for part in parts.values())
    if (max_numbers is None or numbers <= max_numbers) and preprocessing.signature.graph is None:
        hashes = {name: row_hashes(part.X) for name, part in parts.items()}
        targets = {name: row_hashes(part.y) for name, part in parts.items()}
        whole = data.batches is None or not getattr(data.batches, "uneven", False)
        widths = column_widths(preprocessing)
        texts += leaks(hashes, targets, whole=whole, features=parts["training"].X, widths=widths)
        if not task.per_position and not preprocessing.signature.vocabulary:
            texts += revealing(parts["training"], preprocessing)
        if not task.per_position:
            texts += contradictions(hashes["training"], parts["training"].y)
    labels = getattr(preprocessing, "labels", [])
    if task.exclusive_classes and labels and parts["training"].y.size == len(parts["training"].X):
        texts += imbalance([part.y.reshape(-1) for part in parts.values()], labels)
    return tuple(texts)


def column_widths(preprocessing: TablePreprocessing) -> list[int]:
    """Return the number of features of each column of a table: one, or one a category or part of a date; else empty."""
    numbers, categories = (getattr(preprocessing, name, None) or {} for name in ("numbers", "categories"))
    columns = [name if name in preprocessing.columns else name.rpartition(".")[0] for name in numbers]
    widths = [len(list(parts)) for _, parts in groupby(columns)]
    return widths + [len(fit["known"]) for fit in categories.values()]


def revealing(training: Part, preprocessing: TablePreprocessing) -> list[str]:
    """Return a warning for the columns that are nearly the target, which may be known only together with it."""
    names, is_sum = revealing_columns(training, preprocessing)
    if not names:
        return []
    drop, listed = ", ".join(names[:5]), ", ".join(map(repr, names[:5]))
    if is_sum:
        return [
            f"a sum of {listed} nearly is the target; if they are not known before the prediction, "
            f"use data: {{drop: [{drop}]}}"
        ]
    return [
        f"{listed} alone nearly {'is' if len(names) == 1 else 'are'} the target; if it is not known before the "
        f"prediction, use data: {{drop: [{drop}]}}"
    ]


def revealing_columns(training: Part, preprocessing: TablePreprocessing) -> tuple[list[str], bool]:
    """Return the columns that are nearly the target, and whether only a sum of them is.

    A column of numbers is nearly the target where their order is the same (|Spearman's ρ| ≥ 0.999), or for classes
    where sorting by it sorts the classes; some numbers of many where a sum of them is (R² ≥ 0.9999 of least squares).

    Args:
        training: the prepared training part.
        preprocessing: names its features.
    """
    import numpy as np

    names = list(getattr(preprocessing, "numbers", None) or {})
    task = get_task(preprocessing.task)
    X, y = training.X[:REVEALING_ROWS, : len(names)], training.y[:REVEALING_ROWS].reshape(-1)
    is_large = len(y) >= MIN_REVEALING_ROWS and 0 < len(names) <= MAX_REVEALING_COLUMNS
    if not is_large or len(y) != len(X) or len(preprocessing.shape) > 1:
        return [], False
    if task.exclusive_classes:
        revealed = [name for name, x in zip(names, X.T, strict=True) if _separates(x, y)]
    else:
        revealed = [name for name, x in zip(names, X.T, strict=True) if abs(_rank_correlation(x, y)) >= 0.999]
    if revealed:
        return revealed, False
    if task.numeric and np.ptp(y) > 0 and len(y) > 10 * len(names):
        design = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
        weights, *_ = np.linalg.lstsq(design, y.astype(np.float64), rcond=None)
        residual = y - design @ weights
        if 1 - (residual @ residual) / ((y - y.mean()) @ (y - y.mean())) >= 0.9999:
            used = [names[i] for i in np.flatnonzero(np.abs(weights[:-1]) > 0.01)]
            if len(used) <= max(1, len(names) // 2):  # a law that all features follow is learned, not given away
                return used, True
    return [], False


def _separates(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether sorting by a feature (rows,) sorts the classes (rows,) into one interval each, but for some rows."""
    import numpy as np

    limit = len(np.unique(y)) - 1 + len(y) // 500
    for rows in (FIRST_ROWS, len(y)):  # the class changes no more often among some of the rows
        order = np.lexsort((y[:rows], x[:rows]))
        values, classes = x[order], y[order]
        changes = classes[1:] != classes[:-1]
        if changes.sum() > limit or (values[1:] == values[:-1])[changes].any():
            return False
    return True


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Return Spearman's rank correlation; 0 where one is constant."""
    from scipy.stats import spearmanr

    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    return float(spearmanr(x, y).statistic)


def contradictions(hashes: np.ndarray, y: np.ndarray) -> list[str]:
    """Return a warning where rows of the training part have equal features and different targets.

    >>> import numpy as np
    >>> contradictions(np.array([7, 8, 7]), np.array([0, 1, 1]))
    ['2 rows of the training part equal other rows except for the target; no model can fit all of them']
    """
    import numpy as np

    order = np.argsort(hashes, kind="stable")
    hashes, y = hashes[order], np.asarray(y).reshape(len(y), -1)[order]
    starts = np.flatnonzero(np.append(True, hashes[1:] != hashes[:-1])) if len(hashes) else np.zeros(0, dtype=int)
    if len(starts) == len(hashes):
        return []
    differs = np.any(np.maximum.reduceat(y, starts) != np.minimum.reduceat(y, starts), axis=1)
    rows = int(np.diff(np.append(starts, len(hashes)))[differs].sum())
    if not rows:
        return []
    return [f"{rows:,} rows of the training part equal other rows except for the target; no model can fit all of them"]


def imbalance(y: list[np.ndarray], labels: list[str]) -> list[str]:
    """Return a warning where one class is many times as frequent as another.

    Args:
        y: class indices of each part.
        labels: the names of the classes.

    >>> import numpy as np
    >>> imbalance([np.array([0] * 18 + [1] * 2)], ["well", "ill"])
    ["imbalance: 'ill' has 2 of 20 rows, 'well' 18; always predicting 'well' has an accuracy of 90%"]
    """
    import numpy as np

    counts = np.bincount(np.concatenate(y).astype(np.int64), minlength=len(labels))
    smallest, largest = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[largest] <= IMBALANCE_RATIO * counts[smallest]:
        return []
    rows = int(counts.sum())
    return [
        f"imbalance: {labels[smallest]!r} has {counts[smallest]:,} of {rows:,} rows, {labels[largest]!r} "
        f"{counts[largest]:,}; always predicting {labels[largest]!r} has an accuracy of {counts[largest] / rows:.0%}"
    ]


def constant_columns(X: np.ndarray, names: list[str]) -> list[str]:
    """Return a warning where features of X (rows, features) are constant in the training part."""
    import numpy as np

    constant = np.flatnonzero(X.max(axis=0) == X.min(axis=0)) if len(X) else np.zeros(0, dtype=int)
    if not len(constant):
        return []
    first = ", ".join(names[i] for i in constant[:3]) + (", …" if len(constant) > 3 else "")
    return [f"{len(constant)} of {X.shape[1]} features are constant in the training part ({first})"]
