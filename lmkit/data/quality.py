"""Warnings about data that can be trained on: leakage, contradictions, imbalance, constant columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

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

MAX_HASHED = 4096
"""Numbers of a row that ``hash_rows`` compares, at most, so that those of an image cost no more than a step."""

BLOCK_NUMBERS = 2**18
"""Numbers that are hashed at once: they fit the cache of a processor."""


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
        texts += leaks(hashes, targets, whole=data.batches is None or not getattr(data.batches, "uneven", False))
        if not task.per_position and not preprocessing.signature.vocabulary:
            texts += revealing(parts["training"], preprocessing)
        if not task.per_position:
            texts += contradictions(hashes["training"], parts["training"].y)
    labels = getattr(preprocessing, "labels", [])
    if task.exclusive_classes and labels and parts["training"].y.size == len(parts["training"].X):
        texts += imbalance([part.y.reshape(-1) for part in parts.values()], labels)
    return tuple(texts)


def leaks(hashes: dict[str, np.ndarray], targets: dict[str, np.ndarray], *, whole: bool = True) -> list[str]:
    """Return a warning for each of validation and test that shares rows with training.

    Rows with the same features and the same target are leakage. Where the targets of rows with the same features differ
    as well, they are more likely different rows that look alike, as people of one age and sex do.

    Args:
        hashes: part → (rows,), hashes of the features of each row.
        targets: part → (rows,), hashes of the target of each row.
        whole: whether the training part is all of it.

    >>> import numpy as np
    >>> parts = {"training": np.array([1, 2, 3]), "validation": np.array([3, 3, 4]), "test": np.array([5])}
    >>> leaks(parts, {name: part * 0 for name, part in parts.items()})
    ['leakage: 2 of 3 rows of the validation part are also in the training part; its scores are too good']
    """
    import numpy as np

    texts = []
    training = "the training part" if whole else f"the first {len(hashes['training']):,} rows of the training part"
    both = {name: _combine(hashes[name], targets[name]) for name in hashes}
    for name in ("validation", "test"):
        alike = int(np.isin(hashes[name], hashes["training"]).sum())
        shared = int(np.isin(both[name], both["training"]).sum())
        texts += _describe_leak(name, len(hashes[name]), alike, shared, training)
    return texts


def _combine(hashes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return hashes (rows,) of features and target."""
    combined: np.ndarray = hashes ^ (targets.astype(hashes.dtype) << 1)
    return combined


def _describe_leak(name: str, rows: int, alike: int, shared: int, training: str) -> list[str]:
    """Return a warning about a part; none where it shares no rows with the training part.

    Args:
        name: the name of the part.
        rows: its rows.
        alike: those with the features of a row of the training part.
        shared: those of them with the same target as well.
        training: what the training part is called.
    """
    if shared and shared == alike:
        return [
            f"leakage: {shared:,} of {rows:,} rows of the {name} part are also in {training}; its scores are too good"
        ]
    if shared:
        return [
            f"equal rows: {alike:,} of {rows:,} rows of the {name} part have the features of a row in {training}, "
            f"{alike - shared:,} of them only with another target; leakage if they are the same rows, and none if "
            "different ones look alike"
        ]
    return []


class StreamOverlap:
    """Counts the rows of the other parts that a stream of training batches holds as well, over its first epoch.

    Of rows with more than ``MAX_HASHED`` numbers some are compared, the same of each row: equal rows are always found,
    and of different ones those that are equal in all of these numbers.

    Args:
        parts: validation and test, prepared.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.batches = 0
        self._parts = {name: self._hash(part) for name, part in parts.items() if len(part.X)}
        self._rows = {name: len(part.X) for name, part in parts.items()}

    def _hash(self, part: Part) -> list[_Matches]:
        features, both = hash_rows(part)
        return [_Matches(features), _Matches(both)]

    def add(self, index: int, batch: Part) -> None:
        """Compare the rows of a batch of the first epoch; batches come in order, from the first on."""
        if index != self.batches:
            return  # of an epoch that was begun by another process
        self.batches += 1
        if self._parts:
            hashes = hash_rows(batch)
            for matches in self._parts.values():
                for each, values in zip(matches, hashes, strict=True):
                    each.add(values)

    def warnings(self) -> list[str]:
        """Return a warning for each of validation and test that shares rows with the batches so far."""
        texts = []
        for name, (features, both) in self._parts.items():
            texts += _describe_leak(name, self._rows[name], features.count, both.count, "the training part")
        return texts


class _Matches:
    """Which of some hashes (rows,) are among others."""

    def __init__(self, hashes: np.ndarray) -> None:
        import numpy as np

        self.values, self.counts = np.unique(hashes, return_counts=True)
        self.found = np.zeros(len(self.values), dtype=bool)

    def add(self, hashes: np.ndarray) -> None:
        import numpy as np

        places = np.minimum(np.searchsorted(self.values, hashes), len(self.values) - 1)
        self.found[places[self.values[places] == hashes]] = True

    @property
    def count(self) -> int:
        return int(self.counts[self.found].sum())


def hash_rows(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """Return hashes (rows,) of the features, and of features and target; of long rows some numbers are compared."""
    import numpy as np

    X = np.asarray(part.X).reshape(len(part.X), math.prod(np.shape(part.X)[1:]))
    if X.shape[1] > MAX_HASHED:
        X = X[:, np.sort(np.random.default_rng(0).choice(X.shape[1], MAX_HASHED, replace=False))]
    features = row_hashes(X)
    return features, _combine(features, row_hashes(np.asarray(part.y)))


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


def row_hashes(X: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash (rows,) of each row of X (rows, …), equal where the rows are.

    Each number, with its position, is mixed by SplitMix64 (Steele et al., 2014), and those of a row are added up.
    """
    import numpy as np

    X = np.asarray(X).reshape(len(X), math.prod(X.shape[1:]))
    positions = np.random.SeedSequence(X.shape[1]).generate_state(X.shape[1], np.uint64)
    hashes = np.empty(len(X), dtype=np.uint64)
    step = max(1, BLOCK_NUMBERS // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        rows = X[start : start + step]
        # + 0.0 makes 0 and −0 equal
        values = rows.astype(np.int64) if X.dtype.kind in "iub" else rows.astype(np.float64) + 0.0
        mixed = values.view(np.uint64) + positions
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= np.uint64(factor)
        hashes[start : start + step] = mixed.sum(axis=1)
    return hashes
