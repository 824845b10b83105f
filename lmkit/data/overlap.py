"""Rows that two parts of the data share: how many, and how many would be equal by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.batches import Part

MAX_HASHED = 4096
"""Numbers of a row that ``hash_rows`` compares, at most, so that those of an image cost no more than a step."""

BLOCK_NUMBERS = 2**18
"""Numbers that are hashed at once: they fit the cache of a processor."""

CHANCE_ROWS = 2048
"""Rows from which ``chance_share`` follows, at most."""

CHANCE_FACTOR = 10
"""Multiple of the expected equal rows up to which they are no leakage: dependent columns are equal more often."""


def leaks(
    hashes: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    *,
    whole: bool = True,
    features: np.ndarray | None = None,
    widths: Sequence[int] = (),
) -> list[str]:
    """Return a warning for each of validation and test that shares rows with training.

    Rows with the same features and the same target are leakage. Where the targets of rows with the same features differ
    as well, or as many are expected by chance, they are more likely different rows that look alike, as people of one
    age and sex do.

    Args:
        hashes: part → (rows,), hashes of the features of each row.
        targets: part → (rows,), hashes of the target of each row.
        whole: whether the training part is all of it.
        features: of the training part (rows, …); None: no row is equal to another by chance.
        widths: the features of each column; empty: one each.

    >>> import numpy as np
    >>> parts = {"training": np.array([1, 2, 3]), "validation": np.array([3, 3, 4]), "test": np.array([5])}
    >>> leaks(parts, {name: part * 0 for name, part in parts.items()})
    ['leakage: 2 of 3 rows of the validation part are also in the training part; its scores are too good']
    """
    import numpy as np

    texts = []
    rows = len(hashes["training"])
    training = "the training part" if whole else f"the first {rows:,} rows of the training part"
    both = {name: _combine(hashes[name], targets[name]) for name in hashes}
    chance = None
    for name in ("validation", "test"):
        alike = int(np.isin(hashes[name], hashes["training"]).sum())
        shared = int(np.isin(both[name], both["training"]).sum())
        if shared and chance is None:
            chance = 0.0 if features is None else chance_share(features, rows, widths)
        texts += _describe_leak(name, len(hashes[name]), alike, shared, training, chance or 0.0)
    return texts


def _combine(hashes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return hashes (rows,) of features and target."""
    combined: np.ndarray = hashes ^ (targets.astype(hashes.dtype) << 1)
    return combined


def _describe_leak(name: str, rows: int, alike: int, shared: int, training: str, chance: float) -> list[str]:
    """Return a warning about a part; none where it shares no rows with the training part.

    Args:
        name: the name of the part.
        rows: its rows.
        alike: those with the features of a row of the training part.
        shared: those of them with the same target as well.
        training: what the training part is called.
        chance: the share of rows expected to have the features of a row of the training part by chance.
    """
    if not shared:
        return []
    equal = f"equal rows: {alike:,} of {rows:,} rows of the {name} part have the features of a row in {training}, "
    if is_by_chance(alike / rows, chance):
        return [
            f"{equal}{shared:,} of them its target as well; with so few different values about "
            f"{round(chance * rows):,} are equal by chance"
        ]
    if shared == alike:
        return [
            f"leakage: {shared:,} of {rows:,} rows of the {name} part are also in {training}; its scores are too good"
        ]
    return [
        f"{equal}{alike - shared:,} of them only with another target; leakage if they are the same rows, and none if "
        "different ones look alike"
    ]


def is_by_chance(share: float, chance: float) -> bool:
    """Return whether a share of equal rows is explained by the share that is expected by chance."""
    return share <= CHANCE_FACTOR * chance


def chance_share(X: np.ndarray, others: int, widths: Sequence[int] = ()) -> float:
    """Return the share of rows that would equal one of ``others`` further rows if columns were independent.

    The frequency of a value is that among the other rows, so that values which are all different count as never equal.

    Args:
        X: rows (rows, …), of which some are used.
        others: the number of further rows.
        widths: the features of each column, such as one a category, or the parts of a date; empty: one each.

    >>> import numpy as np
    >>> coins, numbers = np.arange(8).reshape(-1, 1) % 2, np.arange(8).reshape(-1, 1)
    >>> round(chance_share(coins, 2), 3), chance_share(np.hstack([coins, numbers]), 2)
    (0.673, 0.0)
    """
    import numpy as np

    X = np.asarray(X).reshape(len(X), math.prod(np.shape(X)[1:]))
    X = X[:: max(1, len(X) // CHANCE_ROWS)]
    rows = len(X)
    if rows < 2 or not others:
        return 0.0
    ends = np.cumsum(widths if sum(widths) == X.shape[1] else np.ones(X.shape[1], dtype=int))
    logs = np.zeros(rows)
    for start, end in zip(np.append(0, ends[:-1]), ends, strict=True):
        column = X[:, start] if end - start == 1 else row_hashes(X[:, start:end])
        _, codes, counts = np.unique(column, return_inverse=True, return_counts=True)
        with np.errstate(divide="ignore"):
            logs += np.log((counts[codes] - 1) / (rows - 1))
        if logs.max() + math.log(others) < -20:
            return 0.0
    with np.errstate(divide="ignore"):
        return float(-np.expm1(others * np.log1p(-np.exp(logs))).mean())


class StreamOverlap:
    """Counts the rows of the other parts that a stream of training batches holds as well, over its first epoch.

    Of rows with more than ``MAX_HASHED`` numbers some are compared, the same of each row: equal rows are always found,
    and of different ones those that are equal in all of these numbers.

    Args:
        parts: validation and test, prepared.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        import numpy as np

        self.batches = 0
        self._parts = {name: self._hash(part) for name, part in parts.items() if len(part.X)}
        self._rows = {name: len(part.X) for name, part in parts.items()}
        self._features = {name: np.asarray(part.X[:CHANCE_ROWS]) for name, part in parts.items()}
        self._seen = 0

    def _hash(self, part: Part) -> list[_Matches]:
        features, both = hash_rows(part)
        return [_Matches(features), _Matches(both)]

    def add(self, index: int, batch: Part) -> None:
        """Compare the rows of a batch of the first epoch; batches come in order, from the first on."""
        if index != self.batches:
            return  # of an epoch that was begun by another process
        self.batches += 1
        self._seen += len(batch.X)
        if self._parts:
            hashes = hash_rows(batch)
            for matches in self._parts.values():
                for each, values in zip(matches, hashes, strict=True):
                    each.add(values)

    def warnings(self) -> list[str]:
        """Return a warning for each of validation and test that shares rows with the batches so far."""
        texts = []
        for name, (features, both) in self._parts.items():
            counts = self._rows[name], features.count, both.count
            chance = chance_share(self._features[name], self._seen) if both.count else 0.0
            texts += _describe_leak(name, *counts, "the training part", chance)
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
