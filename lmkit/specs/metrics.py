"""Metrics: their descriptions, and their arithmetic in NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Metric(NamedTuple):
    """The description of a metric.

    Attributes:
        name: the column of a history.
        meaning: one line that explains the value.
        axis: the title of the axis of its chart; empty where it is not drawn.
        higher_is_better: the direction of improvement.
        best: the upper end of the axis; none: the largest value that was measured.
    """

    name: str
    meaning: str
    axis: str = ""
    higher_is_better: bool = False
    best: float | None = None


ACCURACY = Metric("accuracy", "fraction of rows predicted correctly", "accuracy (fraction of rows)", True, 1.0)
AUC = Metric("auc", "area under the ROC curve; chance 0.5, best 1", "", True, 1.0)
MAE = Metric("mae", "mean absolute error, in the unit of the target")
R2 = Metric("r2", "fraction of the variance explained; best 1, predicting the mean 0", "R² (1 is perfect)", True, 1)
PERPLEXITY = Metric("perplexity", "e^loss: number of equally probable tokens with the same uncertainty")
BITS_PER_BYTE = Metric(
    "bits_per_byte",
    "bits per byte of text; comparable across tokenizers",
    "bits per byte of text",
)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax (…, classes) over the last axis, float64."""
    import numpy as np

    z = logits.astype(np.float64)
    raised = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def auc(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return the AUC as a metric, where every class occurs and none in every row."""
    import numpy as np

    if not (truth.any(axis=0).all() and not truth.all(axis=0).any() and np.isfinite(scores).all()):
        return {}
    return {"auc": area_under_roc(scores, truth)}


def area_under_roc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve, the mean over columns, by the ranks of the scores (Hanley and McNeil, 1982).

    Each column is sorted once, as integers in the order of the scores whose last bit is the truth: seven times quicker
    than ranks by ``argsort``, as it is taken every epoch. Scores that are equal but for that last bit count as equal.

    Args:
        scores: (rows, classes), finite, higher for rows that rather belong to the class.
        truth: (rows, classes), whether they do; each column holds both.

    >>> import numpy as np
    >>> area_under_roc(np.array([[0.1], [0.4], [0.35], [0.8]]), np.array([[False], [False], [True], [True]]))
    0.75
    """
    import numpy as np

    bits = (np.array(scores.T, dtype=np.float64, order="C") + 0.0).view(np.int64)  # + 0.0: there is one zero only
    bits ^= (bits >> 63) & np.int64(2**63 - 1)  # negative numbers in ascending order
    keys = (bits & -2) | truth.T
    keys.sort(axis=1)
    labels, values = keys & 1, keys >> 1
    rows, members = len(truth), labels.sum(axis=1)
    below = labels @ np.arange(rows) - members * (members - 1) / 2  # pairs in which the member has the higher score
    equal = values[:, 1:] == values[:, :-1]
    for column in np.flatnonzero(equal.any(axis=1)):
        begins = np.concatenate([[0], np.flatnonzero(~equal[column]) + 1])
        tied = np.add.reduceat(labels[column], begins)
        below[column] -= (tied * (np.diff(begins, append=rows) - tied)).sum() / 2  # equal scores count half
    return float((below / (members * (rows - members))).mean())
