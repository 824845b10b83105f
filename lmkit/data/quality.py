"""What is wrong with data although it can be trained on: the same rows in two parts, uneven classes, idle columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from lmkit.data.preparation import Dataset

UNEVEN = 5
"""The largest class is that many times the smallest from which accuracy tells little."""

CHEAP = 2**22
"""Numbers in all rows up to which looking takes a few hundredths of a second."""

BLOCK = 2**18
"""Numbers that are hashed at once: they stay in a processor's cache."""


def warnings(data: Dataset, most: int | None = None) -> tuple[str, ...]:
    """What a person should know of prepared data before they trust a score, a sentence each; the gravest first.

    Rows are equal where all their prepared features are; they are counted by 64-bit hashes. Of a graph, whose rows are
    numbers of nodes, and of text only what makes sense is said.

    Args:
        data: the three parts.
        most: numbers in all parts beyond which rows are not compared; none: always.
    """
    import numpy as np

    parts = {name: getattr(data, name) for name in ("training", "validation", "test")}
    known = data.preprocessing
    found: list[str] = []
    if not all(isinstance(values, np.ndarray) for part in parts.values() for values in part):
        return ()
    numbers = sum(math.prod(part.X.shape) for part in parts.values())
    if (most is None or numbers <= most) and known.signature.graph is None:
        hashes = {name: row_hashes(part.X) for name, part in parts.items()}
        found += leaks(hashes)
        if known.task != "language":
            found += contradictions(hashes["training"], parts["training"].y)
    labels = getattr(known, "labels", [])
    if known.task in ("binary", "multiclass") and labels and parts["training"].y.size == len(parts["training"].X):
        found += imbalance([part.y.reshape(-1) for part in parts.values()], labels)
    return tuple(found)


def leaks(hashes: dict[str, np.ndarray]) -> list[str]:
    """Rows of validation and test that are in the training part as well.

    Args:
        hashes: part → (rows,), of each row's features.

    >>> import numpy as np
    >>> leaks({"training": np.array([1, 2, 3]), "validation": np.array([3, 3, 4]), "test": np.array([5])})
    ['leakage: 2 of 3 rows of the validation part are in the training part as well; its scores are too good']
    """
    import numpy as np

    found = []
    for name in ("validation", "test"):
        shared = int(np.isin(hashes[name], hashes["training"]).sum())
        if shared:
            found.append(
                f"leakage: {shared:,} of {len(hashes[name]):,} rows of the {name} part are in the training part as "
                "well; its scores are too good"
            )
    return found


def contradictions(hashes: np.ndarray, y: np.ndarray) -> list[str]:
    """Rows of the training part that are equal but for their target.

    >>> import numpy as np
    >>> contradictions(np.array([7, 8, 7]), np.array([0, 1, 1]))
    ['2 rows of the training part are equal to others but for their target; no model can be right about all of them']
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
    return [
        f"{rows:,} rows of the training part are equal to others but for their target; no model can be right about "
        "all of them"
    ]


def imbalance(y: list[np.ndarray], labels: list[str]) -> list[str]:
    """Classes of which one is many times as frequent as another.

    Args:
        y: the numbers of classes, of each part.
        labels: what the classes are called.

    >>> import numpy as np
    >>> imbalance([np.array([0] * 18 + [1] * 2)], ["well", "ill"])
    ["imbalance: 'ill' has 2 of 20 rows, 'well' 18; who always answers 'well' has an accuracy of 90%"]
    """
    import numpy as np

    counts = np.bincount(np.concatenate(y).astype(np.int64), minlength=len(labels))
    few, many = int(np.argmin(counts)), int(np.argmax(counts))
    if counts[many] <= UNEVEN * counts[few]:
        return []
    rows = int(counts.sum())
    return [
        f"imbalance: {labels[few]!r} has {counts[few]:,} of {rows:,} rows, {labels[many]!r} {counts[many]:,}; "
        f"who always answers {labels[many]!r} has an accuracy of {counts[many] / rows:.0%}"
    ]


def idle(X: np.ndarray, names: list[str]) -> list[str]:
    """Features, of X (rows, features), that are the same in every row of the training part: no harm, and no help."""
    import numpy as np

    same = np.flatnonzero(X.max(axis=0) == X.min(axis=0)) if len(X) else np.zeros(0, dtype=int)
    if not len(same):
        return []
    told = ", ".join(names[i] for i in same[:3]) + (", …" if len(same) > 3 else "")
    return [f"{len(same)} of {X.shape[1]} features are the same in every row of the training part ({told})"]


def row_hashes(X: np.ndarray) -> np.ndarray:
    """A 64-bit hash (rows,) of each row of X (rows, …), equal where the rows are.

    Each number, with its place, is mixed by SplitMix64 (Steele et al., 2014), and those of a row are added up.
    """
    import numpy as np

    X = np.asarray(X).reshape(len(X), math.prod(X.shape[1:]))
    places = np.random.SeedSequence(X.shape[1]).generate_state(X.shape[1], np.uint64)
    found = np.empty(len(X), dtype=np.uint64)
    step = max(1, BLOCK // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        rows = X[start : start + step]
        # 0 is added so that 0 and −0 are one
        whole = rows.astype(np.int64) if X.dtype.kind in "iub" else rows.astype(np.float64) + 0.0
        mixed = whole.view(np.uint64) + places
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            mixed ^= mixed >> np.uint64(shift)
            mixed *= np.uint64(factor)
        found[start : start + step] = mixed.sum(axis=1)
    return found
