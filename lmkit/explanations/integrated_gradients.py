"""Integrated gradients (Sundararajan, Taly and Yan, 2017), by Gauss-Legendre quadrature, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Slopes = Callable[["np.ndarray", "np.ndarray"], tuple["np.ndarray", "np.ndarray"]]
"""Indices of rows (n,) and inputs (n, …) in their place → scores (n,) and their gradients (n, …)."""

TOLERANCE = 0.01
"""The remainder of completeness below which the number of points is enough."""

POINTS, MAX_POINTS = 16, 1024
"""Points of the first and of the last attempt."""

CANCELLED = 0.1
"""Share of Σ|attributions| that stands for the difference of the scores where positive and negative ones cancel."""


class IntegratedGradients(NamedTuple):
    """Attributions of the inputs of rows.

    Attributes:
        values: (rows, …), in the shape of the inputs; they sum to ``ends − starts`` but for the remainder.
        starts: (rows,), the score of the baseline.
        ends: (rows,), the score of the row.
        remainders: (rows,), |Σ values − (ends − starts)| as a share of the difference, or of a tenth of Σ|values|
            where that is larger.
        points: (rows,), points of the quadrature.
    """

    values: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    remainders: np.ndarray
    points: np.ndarray


def describe_remainder(remainders: np.ndarray, points: np.ndarray) -> str:
    """Return the largest remainder of some rows in words, with a caution where it is not below ``TOLERANCE``.

    >>> import numpy as np
    >>> describe_remainder(np.array([0.002]), np.array([16]))
    'Largest remainder 0.20% with 16 points.'
    """
    worst = float(remainders.max())
    caution = "" if worst < TOLERANCE else "; not below 1 %, so take these attributions with care"
    return f"Largest remainder {worst:.2%} with {int(points.max())} points{caution}."


def integrated_gradients(
    slopes: Slopes,
    inputs: np.ndarray,
    baselines: np.ndarray,
    *,
    piece: int = 1024,
    tolerance: float = TOLERANCE,
    max_points: int = MAX_POINTS,
) -> IntegratedGradients:
    """Return (x − x₀) ∫₀¹ ∇f(x₀ + t(x − x₀)) dt of each row; the points are doubled until completeness holds.

    Completeness: attributions sum to f(x) − f(x₀). A row whose remainder is below ``tolerance`` is not repeated.

    Args:
        slopes: returns scores f and gradients ∇f.
        inputs: x, (rows, …).
        baselines: x₀, (rows, …) or of one row (1, …).
        piece: inputs that are in memory at once.
        tolerance: the largest remainder, as a share.
        max_points: the largest number of points.

    >>> import numpy as np
    >>> def slopes(rows, x):  # of f = x₁² + 3 x₂
    ...     return x[:, 0] ** 2 + 3 * x[:, 1], np.stack([2 * x[:, 0], np.full(len(x), 3.0)], axis=1)
    >>> integrated_gradients(slopes, np.array([[2.0, 1.0]]), np.zeros((1, 2))).values.round(6).tolist()
    [[4.0, 3.0]]
    """
    import numpy as np

    rows = len(inputs)
    x = np.asarray(inputs, dtype=np.float64)
    start = np.broadcast_to(np.asarray(baselines, dtype=np.float64), x.shape)
    indices = np.arange(rows)
    starts, ends = (_scores(slopes, indices, part, piece) for part in (start, x))
    result = IntegratedGradients(np.zeros(x.shape), starts, ends, np.full(rows, np.inf), np.zeros(rows, dtype=np.int64))
    points, remaining = min(POINTS, max_points), indices
    while len(remaining):
        values = _integrate(slopes, remaining, start[remaining], x[remaining], points, piece)
        result.values[remaining] = values
        result.points[remaining] = points
        difference, flat = (ends - starts)[remaining], values.reshape(len(remaining), -1)
        size = np.maximum(np.abs(difference), CANCELLED * np.abs(flat).sum(axis=1))
        error = np.abs(flat.sum(axis=1) - difference)
        result.remainders[remaining] = np.divide(error, size, out=np.zeros(len(error)), where=size > 0)
        points *= 2
        remaining = remaining[result.remainders[remaining] >= tolerance] if points <= max_points else remaining[:0]
    return result


def _scores(slopes: Slopes, rows: np.ndarray, x: np.ndarray, piece: int) -> np.ndarray:
    import numpy as np

    parts = [slopes(rows[i : i + piece], x[i : i + piece])[0] for i in range(0, len(rows), piece)]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def _integrate(
    slopes: Slopes, rows: np.ndarray, start: np.ndarray, x: np.ndarray, points: int, piece: int
) -> np.ndarray:
    """Return the attributions (rows, …) with so many points; at most ``piece`` inputs are in memory."""
    import numpy as np

    places, weights = np.polynomial.legendre.leggauss(points)
    places, weights = (places + 1) / 2, weights / 2
    step_rows = max(1, piece // points)
    step_points = min(points, piece)
    total = np.zeros(x.shape)
    for i in range(0, len(rows), step_rows):
        part = slice(i, i + step_rows)
        difference = (x - start)[part]
        for j in range(0, points, step_points):
            t = places[j : j + step_points].reshape(1, -1, *(1,) * (x.ndim - 1))
            inputs = start[part][:, None] + t * difference[:, None]  # (rows, points, …)
            count, n = inputs.shape[:2]
            gradients = slopes(np.repeat(rows[part], n), inputs.reshape(count * n, *x.shape[1:]))[1]
            shaped = np.asarray(gradients, dtype=np.float64).reshape(inputs.shape)
            total[part] += difference * np.tensordot(weights[j : j + step_points], shaped, axes=(0, 1))
    return total
