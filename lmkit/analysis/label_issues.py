"""Suspicious labels by confident learning (Northcutt, Jiang and Chuang, 2021, JAIR 70).

A row counts as confidently of class j where its probability of j reaches the threshold t_j, the mean probability of j
over the rows that are labelled j; of several such classes the most probable one counts. The counts by label i and
confident class j estimate how many rows labelled i are truly j. It needs probabilities of rows that the model was not
trained on: it has learned the labels of the others, the wrong ones too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lmkit.explanations.intervals import mean_interval

if TYPE_CHECKING:
    import numpy as np

TINY = 1e-6
"""The gain in probability that is rounding."""


class LabelIssues(NamedTuple):
    """Rows whose label is suspect.

    Attributes:
        rows: (issues,), the indices of the rows, the most suspicious first.
        suggested: (issues,), the class that each of them is confidently of.
        joint: (classes, classes), the estimated number of rows by label (row) and true class (column).
    """

    rows: np.ndarray
    suggested: np.ndarray
    joint: np.ndarray


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the counts (classes, classes) by label and confident class, and the confident class (rows,), −1 for none.

    Args:
        probabilities: (rows, classes), of rows that the model was not trained on.
        labels: (rows,), class numbers.

    >>> import numpy as np
    >>> shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.05, 0.95]])
    >>> confident_joint(shares, np.array([0, 0, 0, 1, 1]))[0].tolist()
    [[2, 0], [0, 1]]
    """
    import numpy as np

    classes = probabilities.shape[1]
    thresholds = np.array(
        [p[labels == j].mean() if (labels == j).any() else np.inf for j, p in enumerate(probabilities.T)]
    )
    above = probabilities >= thresholds
    confident = np.where(above.any(axis=1), np.where(above, probabilities, -1).argmax(axis=1), -1)
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels[confident >= 0], confident[confident >= 0]), 1)
    return counts, confident


def predicts_labels(probabilities: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether rows have a higher probability of their label than rows in general, beyond chance.

    The probability of a label less its mean over all rows is tested to be above 0 (Student's t, 2.5 %). Without that, a
    model cannot judge labels: half of the rows lie above any threshold.

    Args:
        probabilities: (rows, classes), of rows that the model was not trained on.
        labels: (rows,), class numbers.

    >>> import numpy as np
    >>> labels = np.arange(40) % 2
    >>> predicts_labels(np.full((40, 2), 0.5), labels), predicts_labels(0.8 * np.eye(2)[labels] + 0.1, labels)
    (False, True)
    """
    import numpy as np

    gains = (probabilities - probabilities.mean(axis=0))[np.arange(len(labels)), labels]
    return mean_interval(gains)[1] > TINY


def find_label_issues(probabilities: np.ndarray, labels: np.ndarray) -> LabelIssues:
    """Return the rows that are confidently of another class than their label, by their margin p(other) − p(label).

    The joint is calibrated: its rows sum to the number of rows with that label.

    Args:
        probabilities: (rows, classes), of rows that the model was not trained on.
        labels: (rows,), class numbers.
    """
    import numpy as np

    counts, confident = confident_joint(probabilities, labels)
    issues = np.flatnonzero((confident >= 0) & (confident != labels))
    margins = probabilities[issues, confident[issues]] - probabilities[issues, labels[issues]]
    order = np.argsort(-margins, kind="stable")
    sums = counts.sum(axis=1, keepdims=True)
    per_label = np.bincount(labels, minlength=len(counts))[:, None]
    joint = np.where(sums > 0, counts / np.maximum(sums, 1), np.eye(len(counts))) * per_label
    return LabelIssues(issues[order], confident[issues][order], joint)
