"""The layout of a confusion matrix: its size, its tick labels, the shares behind its colours."""

from __future__ import annotations

from lmkit.display.plot import WIDTH, Matrix

MATRIX_NUMBERS = 20
"""The number of classes up to which a confusion matrix shows its counts."""

MATRIX_LABELS = 30
"""The largest number of classes of which each has a tick label."""

SHADE = "share of the true class"
"""The title of the colour bar, which a confusion matrix without counts has."""


def matrix_size(panel: Matrix) -> tuple[int, int, bool]:
    """Return the width and height in CSS pixels, and whether the tick labels of the x-axis are rotated."""
    n = len(panel.labels)
    side = min(480, 140 + 28 * n)
    label = 7 * max(len(label) for label in panel.labels)
    rotated = label > 0.95 * side / min(n, MATRIX_LABELS)
    bar = 0 if n <= MATRIX_NUMBERS else 90
    return min(WIDTH, 80 + label + side + bar), 80 + side + (int(0.7 * label) if rotated else 10), rotated


def tick_positions(matrix: Matrix) -> range:
    """Return the classes with a tick label: all, or every n-th if there are many."""
    return range(0, len(matrix.labels), -(-len(matrix.labels) // MATRIX_LABELS))


def row_shares(matrix: Matrix) -> list[list[float]]:
    """Return each row as shares of its sum, which the colours show."""
    return [[round(c / max(1, sum(row)), 3) for c in row] for row in matrix.counts]
